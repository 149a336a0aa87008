"""`calibrate` and `virtual`, and what the options of a scan do to `match`."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

SIZE = 8, 10


def test_calibrate(run, work, tmp_path):
    done = run(
        *("calibrate", work / "scan.hspy", "--json", tmp_path / "c.json"),
        *("--figure", tmp_path / "c.png", "--inv-angstrom-per-pixel", 0.026),
    )
    assert done.code == 0, done.err
    assert "against 0.026; from" in done.out
    assert f"Figure in {tmp_path / 'c.png'}\n" in done.out
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (1440, 700)
    values = json.loads((tmp_path / "c.json").read_text())
    assert values["size"]["inv_angstrom_per_pixel"] == pytest.approx(0.025, rel=0.04)
    arguments = "match", work / "scan.hspy", "--step-deg", 10, "--calibration", tmp_path / "c.json"
    done = run(*arguments, "--out", tmp_path / "m.h5")
    assert done.code == 0, done.err
    assert OrientationMap.load(tmp_path / "m.h5").shape == SIZE


def test_virtual(run, work, tmp_path):
    scan = work / "scan.hspy"
    done = run(
        *("virtual", scan, "--out", tmp_path / "d.png", "--save-mask", tmp_path / "m.png"),
        *("--figure", tmp_path / "d.svg"),
    )
    assert done.code == 0, done.err
    assert "of 80 points are specimen; mask in" in done.out
    with Image.open(tmp_path / "d.png") as image:
        assert image.size == SIZE[::-1]
    assert (tmp_path / "d.svg").stat().st_size > 10_000
    done = run("virtual", scan, "--out", tmp_path / "all.npy", "--outer-px", 999, "--crop", *"1435")
    assert done.code == 0, done.err
    total = Scan.open(scan).patterns.sum(axis=(2, 3)).compute()
    np.testing.assert_array_equal(np.load(tmp_path / "all.npy"), total[1:4, 3:5])


def test_a_mask_leaves_points_out(run, work, tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[2:5, 3:8] = True
    np.save(tmp_path / "m.npy", mask)
    arguments = "match", work / "scan.hspy", "--step-deg", 10, "--min-q", 0, "--min-agreement", -1
    done = run(*arguments, "--mask", tmp_path / "m.npy", "--out", tmp_path / "m.h5")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(OrientationMap.load(tmp_path / "m.h5").indexed, mask)


@pytest.mark.parametrize("name", ["dark-field", "bright-field"])
def test_a_mask_from_a_virtual_image(run, work, tmp_path, name):
    """The phantom's amorphous rim scatters more than its crystals: dark field takes the rim."""
    options = work / "scan.hspy", "--bin", 2, "--crop-patterns", 120
    match = "match", *options, "--step-deg", 10, "--min-q", 0, "--min-agreement", -1
    done = run(*match, "--mask", name, "--out", tmp_path / "m.h5")
    assert done.code == 0, done.err
    assert f"of the points are left by --mask {name}\n" in done.out
    indexed = OrientationMap.load(tmp_path / "m.h5").indexed
    run("virtual", *options, "--detector", name, "--out", tmp_path / "i.npy",
        "--save-mask", tmp_path / "m.npy")  # fmt: skip
    np.testing.assert_array_equal(indexed, np.load(tmp_path / "m.npy"))
    truth = OrientationMap.load(work / "scan.truth.h5")
    rim = truth.properties["amorphous"] > 0.5
    expected = truth.indexed if name == "bright-field" else rim
    assert (indexed & expected).sum() > 0.8 * expected.sum()
    assert (indexed & ~expected).sum() < 0.1 * expected.sum()


def test_bad_options(fails, work, tmp_path):
    scan, out = work / "scan.hspy", ("--out", tmp_path / "x.png")
    fails("expected a name that ends in .png", "virtual", scan, "--out", tmp_path / "x.jpg")
    fails("no meaning without --outer-px", "virtual", scan, *out, "--inner-px", 3)
    fails("from 9 to 3 pixels", "virtual", scan, *out, "--inner-px", 9, "--outer-px", 3)
    for crop in ((8, 9, 0, 1), (0, 9, 0, 1), (3, 3, 0, 1), (0, -1, 0, 1), (0, 1, 0, 11)):
        fails(
            "scan.hspy has rows 0 to 8 and columns 0 to 10", "virtual", scan, *out, "--crop", *crop
        )
    fails("cannot be binned by 0", "virtual", scan, *out, "--bin", 0)
    fails("cannot be cropped", "virtual", scan, *out, "--crop-patterns", 0)
    fails("--scan-shape", "virtual", scan, *out, "--scan-shape", 9, 9)
    fails("gray is no mask", "virtual", scan, *out, "--mask", "gray")
    fails("is no calibration", "virtual", scan, *out, "--calibration", tmp_path / "c.json")
    np.save(tmp_path / "m.npy", np.ones((3, 3)))
    fails("mask is 3 x 3, the scan", "virtual", scan, *out, "--mask", tmp_path / "m.npy")
    fails("x.txt", "calibrate", scan, "--json", tmp_path / "x.txt")
    fails("No pixel size within 15%", "calibrate", scan, "--inv-angstrom-per-pixel", 0.06)


def test_cut_scans(fails, work, tmp_path):
    cut = tmp_path / "cut.hspy"
    shutil.copy(work / "scan.hspy", cut)
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size // 2)
    fails("cut.hspy", "calibrate", cut)
    fails("cut.hspy", "virtual", cut, "--out", tmp_path / "x.png")
