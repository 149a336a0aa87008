"""The commands as users type them; what they compute is tested where it is computed."""

import inspect
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from orix import io

import zoneaxis.cli
from zoneaxis.cli import COMMANDS, main, models
from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

FOUND_SHARE = 0.3
NAMES = sorted(command.__name__.replace("_", "-") for command in COMMANDS)


def test_every_step_left_its_files(work):
    assert {p.name for p in work.iterdir()} >= {"scan.hspy", "scan.truth.h5", "n.ang", "t.h5"}
    assert {p.name for p in (work / "model").iterdir()} == {
        "README.md",
        "config.json",
        "figures",
        "labels.safetensors",
        "logs",
        "model.safetensors",
    }
    assert OrientationMap.load(work / "n.ang").shape == (8, 10)


def test_orix_reads_the_ang(work):
    read = io.load(str(work / "n.ang"))
    assert read.shape == (8, 10)
    assert read.scan_unit == "um"
    assert read.phases[1].name == "LiNiO2"
    assert {"iq", "ci"} <= set(read.prop)
    indexed = read.phase_id != -1
    assert 0 <= read.iq[indexed].min() <= read.iq[indexed].max() <= 1
    assert 0 <= read.ci[indexed].min() <= read.ci[indexed].max() <= 1


@pytest.mark.parametrize("name", ["n.ang", "t.h5"])
def test_compare(run, work, tmp_path, name):
    done = run(
        *("compare", work / name, work / "scan.truth.h5", "--scan", work / "scan.hspy"),
        *("--out", tmp_path / "r.html", "--json", tmp_path / "r.json"),
    )
    assert done.code == 0
    assert "misorientation" in done.out
    assert f"Report in {tmp_path / 'r.html'}\n" in done.out
    assert "<html" in (tmp_path / "r.html").read_text()
    assert isinstance(json.loads((tmp_path / "r.json").read_text()), dict)


def test_template_matching_finds_the_phantom(work):
    """Few points, a coarse bank: yet a frame that was wrong anywhere would find nothing."""
    found, truth = (OrientationMap.load(work / name) for name in ("t.h5", "scan.truth.h5"))
    angle = misorientation_deg(found.matrices, truth.matrices, truth.crystal.proper_operators)
    assert (angle[truth.indexed] < 10).mean() > FOUND_SHARE


@pytest.mark.filterwarnings("always:.*patterns hold NaN")
def test_one_bad_pattern_is_left_out(run, work, scan_of, tmp_path):
    patterns = Scan.open(work / "scan.hspy").patterns[:2, 3:6].compute().astype(np.float32)
    patterns[0, 1, 5, 5] = np.nan
    patterns[1, 0, 5, 5] = -1
    patterns[1, 2] = 0
    scan = scan_of(tmp_path / "bad.hspy", patterns)
    bad = np.array([[False, True, False], [True, False, True]])
    network, templates = (
        ("index", scan, "--model", work / "model"),
        ("match", scan, "--step-deg", 10),
    )
    for arguments in (network, templates):
        done = run(*arguments, "--out", tmp_path / "map.h5")
        assert done.code == 0, done.err
        assert done.err.startswith("Warning: 3 of 6 patterns hold NaN"), done.err
        found = OrientationMap.load(tmp_path / "map.h5")
        assert not found.indexed[bad].any()
        assert (found.score[~bad][:, 0] > 0).all()


def test_a_threshold_leaves_out_more(run, work, tmp_path):
    arguments = "index", work / "scan.hspy", "--model", work / "model", "--min-confidence", 1
    assert run(*arguments, "--out", tmp_path / "m.h5").code == 0
    assert not OrientationMap.load(tmp_path / "m.h5").indexed.any()


def test_brackets_in_names_are_no_markup(run, fails, work, tmp_path):
    folder = tmp_path / "a[b]" / "[/red]"
    folder.mkdir(parents=True)
    shutil.copy(work / "n.ang", folder / "n.ang")
    done = run("compare", folder / "n.ang", folder / "n.ang", "--out", folder / "r.html")
    assert f"Report in {folder / 'r.html'}\n" in done.out
    fails(f"No map at {folder / 'x.ang'}.", "compare", folder / "x.ang", folder / "n.ang")


def test_build_takes_every_range(run, tmp_path):
    done = run(
        *("build", "--preset", "test", "--directions", 4, "--thicknesses", 1, "--seed", 3),
        *("--thickness-nm", 20, 40, "--convergence-mrad", 0.5, 0.7, "--validation-share", 0.5),
        *("--precession-deg", 0.2, 0.3, "--k-max", 1.6, "--workers", 1),
        *("--out", tmp_path / "data"),
    )
    assert done.code == 0, done.err
    assert "k_max 1.6 1/Å = 31 mrad at 300 kV; 4 directions, 4 patterns, 288 classes\n" in done.out
    recipe = read_recipe(tmp_path / "data")
    assert recipe.thickness_nm == (20, 40)
    assert recipe.convergence_mrad == (0.5, 0.7)
    assert (recipe.precession_deg, recipe.precessed_share) == ((0.2, 0.3), 1)
    assert recipe.validation_share == 0.5
    assert (recipe.k_max_inv_angstrom, recipe.scheme) == (1.6, "random")


def test_build_from_a_recipe_and_verify(run, tiny_dataset, tmp_path):
    folder = tmp_path / "again"
    run("build", "--recipe", tiny_dataset / "recipe.json", "--out", folder, "--workers", 1)
    shard = "patterns/train-00000-of-00001.parquet"
    whole = (folder / shard).read_bytes()
    assert whole == (tiny_dataset / shard).read_bytes()
    assert "5 of 5 files were whole; 48 patterns of 24 directions" in run("verify", folder).out
    (folder / shard).write_bytes(whole[:-1])
    done = run("verify", folder, "--check-only")
    assert done.code == 1
    assert f"{shard}: {len(whole) - 1:,} bytes, expected {len(whole):,}\n" in done.out
    done = run("verify", folder, "--workers", 1)
    assert done.code == 0
    assert f"{len(whole):,}: built again\n4 of 5 files were whole" in done.out
    assert (folder / shard).read_bytes() == whole


def test_build_from_a_scan(run, work, tmp_path):
    done = run(
        *("build", "--scan", work / "scan.hspy", "--labels", work / "n.ang", "--seed", 1),
        *("--crystal", "LiNiO2", "--smallest-grain", 2, "--min-r", 0),
        *("--convergence-mrad", 1.5, 1.5, "--out", tmp_path / "data"),
    )
    assert done.code == 0, done.err
    recipe = read_recipe(tmp_path / "data")
    assert (recipe.kind, recipe.scan_name, recipe.seed) == ("scan", "scan.hspy", 1)
    assert (recipe.smallest_grain, recipe.min_r, recipe.min_q) == (2, 0, None)
    assert recipe.convergence_mrad == (1.5, 1.5)


# Help, version, usage


def test_version(run):
    assert run("--version").out == f"zoneaxis {zoneaxis.__version__}\n"


def test_as_a_module():
    command = [sys.executable, "-m", "zoneaxis", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"zoneaxis {zoneaxis.__version__}\n"


@pytest.mark.parametrize("name", NAMES)
def test_help(run, name):
    done = run(name, "--help")
    assert done.code == 0
    assert f"zoneaxis {name} " in done.out


def test_help_lists_the_commands(run):
    out = run("--help").out
    assert NAMES == [
        "ambiguity",
        "build",
        "calibrate",
        "compare",
        "correlate",
        "export",
        "grains",
        "index",
        "match",
        "overlay",
        "phantom",
        "publish",
        "report",
        "smooth",
        "train",
        "verify",
        "virtual",
        "zone-axes",
    ]
    assert all(name in out for name in NAMES)


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", "--colour", "red"],
        ["paint"],
        ["train", "--data", "data"],
        ["phantom", "--out", "s.hspy", "--rows", "many"],
        ["phantom", "--out", "s.hspy", "--seed", "-1"],
        [],
    ],
)
def test_usage_errors(run, arguments):
    done = run(*arguments)
    assert done.code == 2
    assert "Usage: zoneaxis" in done.out + done.err
    assert "Traceback" not in done.err


def test_warnings_are_shown_and_the_hook_is_given_back(capsys, monkeypatch):
    def app(**_: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("two\nlines [in] one", stacklevel=1)

    before = warnings.showwarning
    monkeypatch.setattr(zoneaxis.cli, "app", app)
    main([])
    assert capsys.readouterr().err == "Warning: two lines [in] one\n"
    assert warnings.showwarning is before


def test_in_a_process_of_its_own(elsewhere, work, tmp_path):
    help_ = elsewhere("--help")
    assert (help_.returncode, help_.stderr) == (0, "")
    missing = elsewhere("match", tmp_path / "scan.blo", "--out", tmp_path / "m.ang")
    assert missing.returncode == 2
    assert missing.stderr.startswith("Error: ")
    assert missing.stderr.count("\n") == 1
    done = elsewhere(
        "index", work / "scan.hspy", "--model", work / "model", "--out", tmp_path / "m.h5"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f" patterns/s, in {tmp_path / 'm.h5'}\n" in done.stdout


def test_help_is_quick():
    """No library that is slow to import stands between a user and the help."""
    code = (
        "import sys, zoneaxis.cli\n"
        "print(*{'torch', 'numpy', 'orix', 'timm', 'datasets', 'py4DSTEM'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_defaults_of_training_are_those_of_its_settings():
    """They are written twice, for the help must not import torch."""
    from zoneaxis.models.settings import TrainingSettings

    shown = []
    for name, parameter in inspect.signature(models.train).parameters.items():
        default = parameter.annotation.__metadata__[0].show_default
        if isinstance(default, str):
            assert default == str(getattr(TrainingSettings(), name)), name
            shown.append(name)
    unshown = {"augmentation", "clip_grad", "extras", "seed"}  # seed is the option's own
    assert set(shown) == set(vars(TrainingSettings())) - unshown


def test_training_with_options(work, run, tiny_dataset, tmp_path):
    """Options reach the settings, a preset stands behind them, and a model can be fine-tuned."""
    shared = ("--data", tiny_dataset, "--images", 32, "--batch-size", 16)
    few = ("--validation-patterns", 16)
    paper = run(
        *("train", *shared, *few, "--preset", "paper", "--model", "test_zoneaxis_cnn"),
        *("--out", tmp_path / "paper", "--extra", "thickness_nm", "--epoch-images", 16),
    )
    assert paper.code == 0, paper.err
    ours = json.loads((tmp_path / "paper" / "config.json").read_text())["zoneaxis"]["training"]
    assert (ours["schedule"], ours["average"], ours["label_step_deg"]) == ("plateau", 0.0, None)
    assert (ours["images"], ours["extras"], len(ours["history"])) == (32, ["thickness_nm"], 2)
    tuned = run("train", *shared, *few, "--from", tmp_path / "paper", "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    ours = json.loads((tmp_path / "tuned" / "config.json").read_text())["zoneaxis"]["training"]
    assert ours["model"] == "test_zoneaxis_cnn"
    vain = run("train", *shared, "--from", tmp_path / "paper", "--head", "flat", "--out", "x")
    assert vain.code == 2
    assert "--head has no effect with --from" in vain.err
    again = run("train", *shared, *few, "--out", tmp_path / "tuned")
    assert again.code == 2
    assert "holds a trained model" in again.err
