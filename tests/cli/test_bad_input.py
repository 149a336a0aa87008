"""Whatever a user gets wrong ends in code 2 and one message."""

import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from zoneaxis.scans.orientation_map import OrientationMap


def index(work: Path, scan: Path, out: Path) -> tuple[object, ...]:
    return "index", scan, "--model", work / "model", "--out", out


def test_no_scan(fails, work, tmp_path):
    fails("nowhere.hspy", *index(work, tmp_path / "nowhere.hspy", tmp_path / "m.ang"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_scan(fails, work, tmp_path, share):
    whole = (work / "scan.hspy").read_bytes()
    path = tmp_path / "cut.hspy"
    path.write_bytes(whole[: int(share * len(whole))])
    fails("cut.hspy", *index(work, path, tmp_path / "m.ang"))


def test_damaged_chunks(fails, work, tmp_path):
    whole = bytearray((work / "scan.hspy").read_bytes())
    path = tmp_path / "damaged.hspy"
    with h5py.File(work / "scan.hspy") as file:
        (experiment,) = file["Experiments"].values()
        chunk = experiment["data"].id.get_chunk_info(0)
    whole[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(whole)
    fails("damaged.hspy cannot be read from row 0", *index(work, path, tmp_path / "m.ang"))


@pytest.mark.parametrize("name", ["text.hspy", "text.blo", "text.txt", "text.mib"])
def test_a_file_that_is_no_scan(fails, work, tmp_path, name):
    (tmp_path / name).write_text("Dear microscope,\n" * 100)
    fails(name, *index(work, tmp_path / name, tmp_path / "m.ang"))


def test_a_folder_for_a_scan(fails, work, tmp_path):
    fails(str(tmp_path), *index(work, tmp_path, tmp_path / "m.ang"))


def test_not_four_dimensions(fails, work, tmp_path):
    from rsciio.hspy import file_writer

    signal = {
        "data": np.zeros((16, 16)),
        "axes": [
            {"name": name, "size": 16, "navigate": False, "scale": 1.0, "offset": 0.0, "units": ""}
            | {"_type": "UniformDataAxis", "is_binned": False}
            for name in "yx"
        ],
        "metadata": {"General": {"title": "image"}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "zoneaxis", "package_version": "0"},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
    }
    file_writer(str(tmp_path / "image.hspy"), signal, show_progressbar=False)
    words = "expected real numbers in four dimensions"
    fails(words, *index(work, tmp_path / "image.hspy", tmp_path / "m.ang"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
@pytest.mark.parametrize("command", ["index", "match"])
def test_not_one_usable_pattern(fails, work, scan_of, tmp_path, value, command):
    scan = scan_of(tmp_path / "bad.hspy", np.full((2, 3, 32, 32), value, np.float32))
    options = ["--model", work / "model"] if command == "index" else ["--step-deg", 20]
    fails("no usable pattern", command, scan, *options, "--out", tmp_path / "m.ang")
    assert not (tmp_path / "m.ang").exists()


def test_unknown_pixel_size(elsewhere, work, tmp_path):
    """In a process of its own: the unknown step is a warning, the pixel size an error."""
    np.save(tmp_path / "scan.npy", np.ones((2, 2, 32, 32), np.float32))
    done = elsewhere(*index(work, tmp_path / "scan.npy", tmp_path / "m.ang"))
    assert done.returncode == 2
    warning, error = done.stderr.splitlines()
    assert warning == "Warning: scan.npy has no scan step in nm: taking 1 nm."
    assert error.startswith("Error: ")
    assert error.endswith("with --inv-angstrom-per-pixel.")


@pytest.mark.parametrize("option", ["--inv-angstrom-per-pixel", "--step-nm"])
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_impossible_calibrations(fails, work, tmp_path, option, value):
    arguments = index(work, work / "scan.hspy", tmp_path / "m.ang")
    fails("it must be > 0", *arguments, option, value)


@pytest.mark.parametrize("command", ["build", "match", "phantom", "compare"])
def test_a_broken_cif(fails, work, tmp_path, command):
    (tmp_path / "broken.cif").write_text("data_\n_cell_length_a 1.0\nloop_\n")
    truth = work / "scan.truth.h5"
    arguments = {
        "build": ("--out", tmp_path / "data"),
        "match": (work / "scan.hspy", "--out", tmp_path / "m.ang"),
        "phantom": ("--out", tmp_path / "p.hspy"),
        "compare": (truth, truth),
    }
    fails("broken.cif", command, *arguments[command], "--crystal", tmp_path / "broken.cif")


def test_an_unknown_crystal(fails, tmp_path):
    fails("Unobtainium", "build", "--crystal", "Unobtainium", "--out", tmp_path / "data")


def test_a_frame_beyond_the_simulation(fails, tmp_path):
    arguments = "build", "--preset", "test", "--out", tmp_path / "data"
    fails("raise k_max, or take fewer or smaller pixels", *arguments, "--size", 64)
    fails("thickness_nm", *arguments, "--thickness-nm", 50, 10)
    fails("validation_share", *arguments, "--validation-share", 1.5)
    assert not (tmp_path / "data").exists()


def test_a_data_set_without_parquet(fails, tiny_dataset, tmp_path):
    arguments = "train", "--out", tmp_path / "model", "--data"
    fails("holds no recipe.json", *arguments, tmp_path)
    fails("holds no recipe.json", *arguments, tmp_path / "nowhere")
    shutil.copytree(tiny_dataset, tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.parquet"):
        path.unlink()
    fails("holds no train-00000-of-*.parquet", *arguments, tmp_path / "data")


def test_checkpoints_that_are_none(fails, work, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(work / "model", model)
    arguments = "index", work / "scan.hspy", "--out", tmp_path / "m.ang", "--model", model
    fails("expected 0 to 1", *arguments, "--min-confidence", 2)
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))
    fails("Pickled weights (pytorch_model.bin) are not opened", *arguments)
    (model / "pytorch_model.bin").rename(model / "model.safetensors")
    fails("no safetensors file", *arguments)
    (model / "config.json").unlink()
    fails("holds no config.json", *arguments)


def test_an_unknown_network(fails, tiny_dataset, tmp_path):
    arguments = "train", "--data", tiny_dataset, "--out", tmp_path / "model"
    fails("No network 'resnet51'", *arguments, "--model", "resnet51")
    fails("images = 0: expected", *arguments, "--images", 0)


def test_a_reference_of_another_shape(fails, run, work, tmp_path):
    small = run("phantom", "--out", tmp_path / "p.hspy", "--rows", 4, "--columns", 5, "--grains", 2)
    assert small.code == 0
    fails("8 x 10", "compare", work / "n.ang", tmp_path / "p.truth.h5")


def test_maps_that_are_none(fails, work, tmp_path):
    (tmp_path / "x.ang").write_text("not a map")
    fails("x.ang", "compare", tmp_path / "x.ang", work / "n.ang")
    fails("No map at", "compare", work / "n.ang", tmp_path / "y.ang")
    fails("is not a map file", "compare", work / "n.ang", work / "scan.hspy")


def outputs(work: Path, data: Path) -> dict[str, tuple[object, ...]]:
    scan, truth = work / "scan.hspy", work / "scan.truth.h5"
    return {
        "build": ("build", "--preset", "test", "--out"),
        "train": ("train", "--data", data, "--images", 1, "--out"),
        "index": ("index", scan, "--model", work / "model", "--out"),
        "match": ("match", scan, "--out"),
        "phantom": ("phantom", "--rows", 4, "--columns", 4, "--grains", 2, "--out"),
        "report": ("compare", truth, truth, "--out"),
        "json": ("compare", truth, truth, "--json"),
    }


ENDINGS = {"index": ".ang", "match": ".h5", "phantom": ".hspy", "report": ".html", "json": ".json"}


@pytest.mark.parametrize("name", ["build", "train", *ENDINGS])
def test_an_output_below_a_file(fails, work, tiny_dataset, tmp_path, name):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / f"out{ENDINGS.get(name, '')}"
    fails(str(tmp_path / "file"), *outputs(work, tiny_dataset)[name], out)


@pytest.mark.parametrize("name", ENDINGS)
def test_an_output_that_is_a_folder(fails, work, tiny_dataset, tmp_path, name):
    out = tmp_path / f"out{ENDINGS[name]}"
    out.mkdir()
    fails("is a folder", *outputs(work, tiny_dataset)[name], out)


@pytest.mark.parametrize("name", ENDINGS)
def test_a_wrong_suffix(fails, work, tiny_dataset, tmp_path, name):
    fails("out.txt", *outputs(work, tiny_dataset)[name], tmp_path / "out.txt")
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("suffix", [".ang", ".ctf", ".h5"])
def test_a_scan_of_a_single_column(run, work, scan_of, tmp_path, suffix):
    scan = scan_of(tmp_path / "line.hspy", np.ones((3, 1, 64, 64), np.float32))
    out = tmp_path / f"m{suffix}"
    assert run(*index(work, scan, out)).code == 0
    assert OrientationMap.load(out).shape == (3, 1)


# Data sets

SCAN = "--scan", "no.hspy", "--labels", "m.ang", "--crystal", "LiNiO2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scan", "s.hspy"), "--labels is missing"),
        (("--labels", "m.ang"), "--scan is missing"),
        (("--scan", "s.hspy", "--labels", "m.ang"), "--crystal is missing"),
        ((*SCAN, "--directions", 4), "--directions has no meaning with --scan"),
        ((*SCAN, "--workers", 1), "--workers has no meaning with --scan"),
        ((*SCAN, "--convergence-mrad", 1, 2), "one convergence_mrad"),
        (SCAN, "no.hspy"),
        (("--min-q", 1), "--min-q has no meaning without --scan"),
        (("--recipe", "recipe.json", "--seed", 3), "--seed has no meaning with --recipe"),
        (("--recipe", "recipe.json", "--preset", "test"), "--preset has no meaning with"),
        (("--directions", 4, "--step-deg", 2), "exclude each other"),
        (("--recipe", "nowhere/recipe.json"), "nowhere holds no recipe.json"),
        (("--scheduler", "nowhere:x", "--preset", "test"), "No Dask scheduler answers"),
        (("--device", "tpu", "--preset", "test"), "device = tpu"),
        (("--absorption", "black", "--preset", "test"), "expected one of Lobato"),
    ],
)
def test_build(fails, tmp_path, arguments, words):
    fails(words, "build", *arguments, "--out", tmp_path / "data")


def test_verify_without_a_data_set(fails, tmp_path):
    fails("name a folder that `build` made", "verify", tmp_path)
