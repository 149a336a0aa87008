"""`index` and `match`: phases, runs that are stopped, workers, and what users get wrong."""

import os
import sys
from dataclasses import replace
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pytest

from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.models import pretrained
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.shipped import DEFAULT_MODEL
from zoneaxis.scans.orientation_map import OrientationMap


@pytest.fixture
def matching(work, tmp_path):
    """The start of a command that matches quickly."""
    return "match", work / "scan.hspy", "--step-deg", 10, "--out", tmp_path / "m.h5"


@pytest.fixture
def big(work, scan_of, tmp_path):
    """A scan of several blocks and batches: 24 x 24 points of 48 x 48 pixels."""
    patterns = np.random.default_rng(0).poisson(3, (24, 24, 48, 48)).astype(np.uint16)
    return scan_of(tmp_path / "big.hspy", patterns)


def same(path, other):
    a, b = OrientationMap.load(path), OrientationMap.load(other)
    for name in ("euler_deg", "score", "reliability", "phase"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_the_last_line(run, matching):
    done = run(*matching)
    line = done.out.splitlines()[-1]
    assert line.startswith("8 x 10 points, ")
    assert "% indexed, " in line
    assert f" patterns/s, in {matching[-1]}" in line


@pytest.mark.parametrize("suffix", [".h5", ".ang", ".ctf"])
def test_phases(run, work, silver, tmp_path, suffix):
    out = tmp_path / f"m{suffix}"
    phases = "--crystal", "LiNiO2", "--crystal", silver
    done = run("match", work / "scan.hspy", *phases, "--step-deg", 8, "--out", out)
    assert done.code == 0, done.err
    assert "% indexed (LiNiO2 " in done.out
    assert "%, Ag " in done.out
    found = OrientationMap.load(out)
    assert [crystal.name for crystal in found.crystals] == ["LiNiO2", "Ag"]
    assert (found.phase == 0).sum() > (found.phase == 1).sum()
    if suffix == ".h5":
        assert {"phase_reliability", "phase_0_score"} <= found.properties.keys()


# The model that comes with zoneaxis


def test_index_without_a_model(run, fails, work, silver, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    command = "index", work / "scan.hspy", "--out", tmp_path / "map.ang"
    fails("comes without its default model zoneaxis_polar_small", *command)
    copytree(work / "model", tmp_path / DEFAULT_MODEL)
    done = run(*command)
    assert done.code == 0, done.err
    line = f"{DEFAULT_MODEL} for LiNiO2: trained for 300 kV, 1.3 to 1.8 mrad, no precession, 5 to"
    assert done.out.splitlines()[0].startswith(line)
    same(tmp_path / "map.ang", work / "n.ang")
    assert run(*command, "--crystal", "LiNiO2").code == 0
    words = f"{DEFAULT_MODEL} is a model of LiNiO2 (space group 166, not 225): take one of Ag, or"
    fails(f"{words} train it: `zoneaxis build --crystal CIF", *command, "--crystal", silver)


# Bloch waves


class Refined:
    """Stands in for RefinedIndexer: keeps what the proposer says, as sure as can be."""

    def __init__(self, proposer, crystal, optics) -> None:
        self.proposer, self.crystals, self.optics = proposer, (crystal,), optics

    def index(self, patterns, pixel):
        found = self.proposer.index(patterns, pixel)
        kind = type(self.proposer).__name__
        told = {kind: self.optics.precession_deg, "k_max": self.optics.k_max_inv_angstrom}
        extra = {name: np.full(len(patterns), value) for name, value in told.items()}
        return replace(found, properties=found.properties | extra)


def test_bloch_waves_decide(run, fails, work, silver, tmp_path, monkeypatch):
    module = SimpleNamespace(RefinedIndexer=Refined)
    monkeypatch.setitem(sys.modules, "zoneaxis.evaluation.refined_indexer", module)
    out = tmp_path / "m.h5"
    index = "index", work / "scan.hspy", "--model", work / "model", "--out", out
    assert run(*index, "--refine", "--precession-deg", 0.5).code == 0
    found = OrientationMap.load(out).properties
    assert (found["NetworkIndexer"] == 0.5).all()
    recipe = NetworkIndexer.from_pretrained(work / "model").recipe
    np.testing.assert_allclose(found["k_max"], recipe.k_max_inv_angstrom, rtol=1e-6)
    own = run(*index, "--refine")
    assert "Warning" not in own.out + own.err
    other = run(*index, "--refine", "--k-max", 1.1, "--voltage-kv", 80)
    assert other.code == 0
    assert "refined for 80" in " ".join((other.out + other.err).split())
    np.testing.assert_allclose(OrientationMap.load(out).properties["k_max"], 1.1, rtol=1e-6)
    fails("--k-max has no effect without --refine", *index, "--k-max", 1.5)
    match = "match", work / "scan.hspy", "--step-deg", 10, "--out", out, "--refine", "bloch_waves"
    assert run(*match).code == 0
    assert (OrientationMap.load(out).properties["TemplateIndexer"] == 0).all()
    phases = "--crystal", "LiNiO2", "--crystal", silver
    fails("bloch_waves compares orientations of one phase", *match, *phases)


# Runs that are stopped


@pytest.fixture
def interrupt(monkeypatch):
    """Return a function that presses Ctrl-C when so many patterns are indexed."""

    def after(patterns):
        index, seen = TemplateIndexer.index, []

        def until(self, batch, pixel):
            if sum(seen) >= patterns:
                raise KeyboardInterrupt
            seen.append(len(batch))
            return index(self, batch, pixel)

        monkeypatch.setattr(TemplateIndexer, "index", until)

    return after


def test_ctrl_c_and_again(run, fails, big, tmp_path, interrupt, monkeypatch):
    arguments = "match", big, "--step-deg", 20, "--min-q", 0, "--out"
    assert run(*arguments, tmp_path / "whole.h5").code == 0
    with monkeypatch.context():
        interrupt(100)
        stopped = run(*arguments, tmp_path / "m.h5")
    assert stopped.code == 130
    words = "indexing stopped at 192 of 576 patterns; what is done is kept, and the same command"
    assert words in stopped.err
    assert not (tmp_path / "m.h5").exists()
    other = "match", big, "--step-deg", 30, "--min-q", 0, "--out", tmp_path / "m.h5"
    fails("192 points of an unfinished run with other settings (step_deg was 20.0, is 30", *other)
    monkeypatch.undo()
    interrupt(576 - 192)  # no more is left
    assert run(*arguments, tmp_path / "m.h5").code == 0
    same(tmp_path / "m.h5", tmp_path / "whole.h5")
    assert not list(tmp_path.glob(".*"))


def test_a_scan_damaged_in_the_middle(fails, big, tmp_path):
    import h5py

    with h5py.File(big) as file:
        (experiment,) = file["Experiments"].values()
        chunk = experiment["data"].id.get_chunk_info(4)
    content = bytearray(big.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    big.write_bytes(content)
    words = (
        "the file is damaged, truncated or gone. 192 of 576 points are done: what is done is kept"
    )
    fails(words, "match", big, "--step-deg", 20, "--out", tmp_path / "m.h5")


# What users get wrong


def test_crystals_that_do_not_fit(fails, work, matching, silver, tmp_path):
    fails("Two phases are the same crystal", *matching, "--crystal", silver, "--crystal", silver)
    fails("No CIF at", *matching, "--crystal", silver, "--crystal", tmp_path / "nowhere.cif")
    index = "index", work / "scan.hspy", "--model", work / "model", "--out", tmp_path / "m.h5"
    fails("is a model of LiNiO2 (space group 166, not 225)", *index, "--crystal", silver)


def test_clusters_that_are_none(fails, matching, monkeypatch):
    monkeypatch.setattr("zoneaxis.cluster.SECONDS_TO_CONNECT", 1)
    fails("workers = 0: expected 1 or more", *matching, "--workers", 0)
    fails("--workers and --scheduler exclude", *matching, "--workers", 2, "--scheduler", "a:1")
    fails("No Dask scheduler answers at nowhere:x", *matching, "--scheduler", "nowhere:x")


def test_unknown_pixel_size(fails, tmp_path):
    np.save(tmp_path / "scan.npy", np.ones((2, 2, 32, 32), np.float32))
    arguments = "match", tmp_path / "scan.npy", "--step-nm", 1, "--out", tmp_path / "m.h5"
    fails("with --inv-angstrom-per-pixel.", *arguments)


def test_an_output_that_cannot_be_written(fails, matching, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    fails("Cannot make the folder", *matching[:-1], tmp_path / "file" / "m.h5")
    fails("the name of a map ends in .ang or .ctf or .h5", *matching[:-1], tmp_path / "m.png")
    monkeypatch.setattr("zoneaxis.files.os.access", lambda path, mode: mode != os.W_OK)
    fails("choose a folder that you own", *matching)


def test_refinement_templates_and_reliability(run, fails, matching):
    """What is asked for is done: each option changes the map, in its own way."""
    command, out = matching[:-1], matching[-1]

    def found(*options: object) -> OrientationMap:
        run(*command, out, *options)
        return OrientationMap.load(out)

    usual = found()
    assert "camera_scale" not in usual.properties
    coarse = found("--refine", "nothing")
    assert np.median(usual.score[..., 0]) > np.median(coarse.score[..., 0])
    camera = found("--refine", "orientation", "--refine", "camera_length")
    assert np.isfinite(camera.properties["camera_scale"][camera.indexed]).all()
    dynamical = found("--dynamical-nm", 20, "--dynamical-nm", 40)
    assert not np.array_equal(dynamical.score, usual.score)
    strict = found("--min-reliability", 0.05)
    kept = usual.indexed & (usual.reliability >= 0.05)
    np.testing.assert_array_equal(strict.indexed, kept)
    assert 0 < kept.sum() < usual.indexed.sum()
    fails("--min-reliability 2", *command, out, "--min-reliability", 2)
