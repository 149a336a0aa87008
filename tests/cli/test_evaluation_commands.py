"""overlay, ambiguity, zone-axes, correlate and smooth, as users type them."""

import json

import numpy as np
import pytest

from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan


@pytest.fixture(scope="module")
def point(work):
    """A point inside the particle, indexed by all maps, as the option has it."""
    maps = [OrientationMap.load(work / name) for name in ("scan.truth.h5", "t.h5")]
    row, column = np.argwhere(maps[0].indexed & maps[1].indexed)[0]
    return f"{row},{column}"


def test_overlay(run, work, point, tmp_path):
    done = run(
        *("overlay", work / "scan.hspy", work / "scan.truth.h5", "--reference", work / "t.h5"),
        *("--point", point, "--k-max", 1.0, "--thickness-nm", 30, "--out", tmp_path / "o.png"),
    )
    assert done.code == 0, done.err
    assert f"Figure in {tmp_path / 'o.png'}" in done.out
    assert (tmp_path / "o.png").stat().st_size > 10_000


@pytest.mark.parametrize("model", [True, False])
def test_ambiguity(run, work, point, tmp_path, model):
    asked = ("--model", work / "model") if model else ("--step-deg", 10)
    done = run(
        *("ambiguity", work / "scan.hspy", "--point", point, *asked, "--k-max", 1.0),
        *("--out", tmp_path / "a.svg", "--json", tmp_path / "a.json"),
    )
    assert done.code == 0, done.err
    assert "best" in done.out
    (values,) = json.loads((tmp_path / "a.json").read_text())
    assert f"{values['row']},{values['column']}" == point
    first = values["candidates"][0]
    assert (first["relation"], first["share"]) == ("best", 1.0)
    assert len(values["candidates"]) > 1
    assert "<svg" in (tmp_path / "a.svg").read_text()[:2000]


def test_zone_axes(run, work, tmp_path):
    """[0001] has the shorter lattice vector, so that few beams reach its first zone."""
    out = tmp_path / "z.png"
    done = run(
        *("zone-axes", "[0001]", "[000-1]", "--thickness-nm", 10, "--out", out, "--size", 64),
        *("--inv-angstrom-per-pixel", 0.05, "--model", work / "model"),
    )
    assert done.code == 0, done.err
    assert "largest relative difference, kinematic: " in done.out
    assert out.stat().st_size > 10_000


def test_correlate(run, work, tmp_path):
    done = run(
        *("correlate", work / "scan.hspy", "--crop", 0, 6, 0, 10),
        *("--out", tmp_path / "c.pdf", "--data", tmp_path / "c.npz"),
    )
    assert done.code == 0, done.err
    with np.load(tmp_path / "c.npz") as data:
        assert data["coefficient"].shape == (6, 10, 8)
        assert {data[name].shape for name in ("mean", "lowest", "spots")} == {(6, 10)}
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("scan", [True, False])
def test_smooth(run, work, tmp_path, scan):
    beside = ("--scan", work / "scan.hspy") if scan else ()
    done = run("smooth", work / "t.h5", *beside, "--out", tmp_path / "s.h5")
    assert done.code == 0, done.err
    before, after = (OrientationMap.load(p) for p in (work / "t.h5", tmp_path / "s.h5"))
    np.testing.assert_array_equal(before.indexed, after.indexed)
    assert not np.array_equal(before.score, after.score)


@pytest.mark.parametrize("average", ["all", "similar"])
def test_neighbors_are_averaged_before_matching(run, work, tmp_path, average):
    arguments = "match", work / "scan.hspy", "--step-deg", 10, "--average", average
    done = run(*arguments, "--out", tmp_path / "m.h5")
    assert done.code == 0, done.err
    found, plain = (OrientationMap.load(p) for p in (tmp_path / "m.h5", work / "t.h5"))
    assert not np.array_equal(found.score, plain.score)


def test_bad_figures_and_files(fails, work, point, tmp_path):
    scan, truth = work / "scan.hspy", work / "scan.truth.h5"
    fails("ends in .png", "correlate", scan, "--out", tmp_path / "c.txt")
    fails(".npz", "correlate", scan, "--out", tmp_path / "c.png", "--data", tmp_path / "c.csv")
    at = "--point", point, "--out", tmp_path / "x.png"
    fails("ends in .json", "ambiguity", scan, *at, "--json", tmp_path / "a.txt")
    fails("--share 0.0", "ambiguity", scan, *at, "--share", 0)
    fails("No map", "overlay", scan, tmp_path / "none.h5", *at)
    fails("give a map of this scan", "overlay", scan, truth, *at, "--crop", 0, 5, 0, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [("3", "--point 12,30"), ("a,b", "--point 12,30"), ("0,99", "columns 0 to 9")],
)
def test_bad_points(fails, work, tmp_path, text, words):
    for command in (
        ("ambiguity", work / "scan.hspy"),
        ("overlay", work / "scan.hspy", work / "t.h5"),
    ):
        fails(words, *command, "--point", text, "--out", tmp_path / "x.png")


def test_points_without_an_orientation_or_a_pattern(fails, work, scan_of, tmp_path):
    truth = OrientationMap.load(work / "scan.truth.h5")
    row, column = np.argwhere(~truth.indexed)[0]
    arguments = work / "scan.hspy", work / "scan.truth.h5", "--out", tmp_path / "x.png"
    fails("has no orientation there", "overlay", *arguments, "--point", f"{row},{column}")
    patterns = Scan.open(work / "scan.hspy").patterns[:1, :2].compute().astype(np.float32)
    patterns[0, 1] = np.nan
    scan = scan_of(tmp_path / "bad.hspy", patterns)
    fails("holds NaN", "ambiguity", scan, "--point", "0,1", "--out", tmp_path / "x.png")


def test_a_thickness_that_cannot_be(fails, work, point, tmp_path):
    arguments = work / "scan.hspy", work / "scan.truth.h5", "--point", point
    fails("above 0", "overlay", *arguments, "--out", tmp_path / "x.png", "--thickness-nm", 0)


def test_a_model_of_another_crystal(fails, work, point, silver, tmp_path):
    """Its answers would be drawn among simulations of the other."""
    asked = "--model", work / "model", "--crystal", silver, "--out", tmp_path / "x.png"
    fails("is a model of LiNiO2", "ambiguity", work / "scan.hspy", "--point", point, *asked)
    fails("is a model of LiNiO2", "zone-axes", "[100]", "[110]", *asked)


def test_bad_zone_axes(fails, tmp_path):
    out = "--out", tmp_path / "z.png"
    fails("is no zone axis", "zone-axes", "[10-10]", "up", *out)
    fails("begins at", "zone-axes", "[10-10]", "[1-100]", *out, "--size", 1024)
    fails("ask one of them", "zone-axes", "[10-10]", "[1-100]", *out, "--match", "--model", "m")


def test_bad_smoothing(fails, work, scan_of, tmp_path):
    out = "--out", tmp_path / "s.h5"
    wrong = "--out", tmp_path / "s.png"
    fails("the name of a map ends in .ang or .ctf or .h5", "smooth", work / "t.h5", *wrong)
    fails("No CIF at", "smooth", work / "t.h5", *out, "--crystal", tmp_path / "none.cif")
    fails("--weight 2.0", "smooth", work / "t.h5", *out, "--weight", 2)
    fails("--power 0.0", "smooth", work / "t.h5", *out, "--power", 0)
    fails("--same-deg 0.0", "smooth", work / "t.h5", *out, "--same-deg", 0)
    small = scan_of(tmp_path / "small.hspy", np.ones((2, 2, 64, 64), np.uint16))
    fails("give the scan that the map is of", "smooth", work / "t.h5", *out, "--scan", small)
    match = "match", work / "scan.hspy", "--average", "all", *out
    fails("leave --workers", *match, "--workers", 2)
