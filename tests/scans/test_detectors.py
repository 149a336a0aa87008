from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from PIL import Image

from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.scans.detectors import (
    Detector,
    bright_field,
    dark_field,
    load_mask,
    otsu_mask,
    save_image,
    virtual_images,
)
from zoneaxis.scans.scan import Scan

INSIDE = np.zeros((6, 8), bool)
INSIDE[1:5, 2:7] = True


@pytest.fixture(scope="module")
def scan():
    """A direct beam everywhere; where the specimen is, a part of it in a spot at (12, -5)."""
    y, x = np.mgrid[:40, :40] - 20
    beam, spot = np.hypot(x, y) <= 2, np.hypot(x - 12, y + 5) <= 2
    counts = np.where(INSIDE[..., None, None], 70 * beam + 30 * spot, 100 * beam)
    return Scan(da.from_array(counts, chunks=(4, 4, 40, 40)), 1.0, None, Path("s.hspy"))


def test_images_count_what_falls_on_the_detector(scan):
    detectors = [bright_field(scan), dark_field(scan), Detector(0, 3, (12, -5)), Detector(0, 99)]
    done = []
    bright, dark, spot, all_ = virtual_images(scan, detectors, progress=done.append)
    assert sum(done) == INSIDE.size
    pixels = 13  # of a disk of radius 2
    np.testing.assert_array_equal(bright, np.where(INSIDE, 70, 100) * pixels)
    np.testing.assert_array_equal(dark, np.where(INSIDE, 30, 0) * pixels)
    np.testing.assert_array_equal(spot, dark)
    np.testing.assert_array_equal(all_, scan.patterns.sum(axis=(2, 3)))
    np.testing.assert_array_equal(otsu_mask(dark), INSIDE)
    np.testing.assert_array_equal(otsu_mask(-bright), INSIDE)


def test_masked_points_have_no_value(scan):
    (image,) = virtual_images(scan.masked(INSIDE), [Detector(0, 5)])
    np.testing.assert_array_equal(np.isfinite(image), INSIDE)
    with pytest.raises(ScanError, match="are equal"):
        otsu_mask(image)


def test_senseless_detectors(scan):
    with pytest.raises(SettingsError, match="from 5 to 5 pixels"):
        Detector(5, 5)
    with pytest.raises(SettingsError, match="holds no pixel of 40 x 40"):
        virtual_images(scan, [Detector(0, 3, (90, 0))])


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp", "m.npy"])
def test_masks_are_kept_in_files(tmp_path, name):
    save_image(tmp_path / name, INSIDE)
    np.testing.assert_array_equal(load_mask(tmp_path / name), INSIDE)


@pytest.mark.parametrize(
    ("name", "values", "mode"),
    [
        ("float.tif", np.float32(0.3) * INSIDE, "F"),
        ("16_bit.tif", np.uint16(3) * INSIDE, "I;16"),
        ("blue.png", np.uint8(2) * INSIDE[..., None] * np.array([0, 0, 1], np.uint8), "RGB"),
        ("opaque.png", np.stack([*[np.uint8(9) * INSIDE] * 3, INSIDE | np.uint8(255)], -1), "RGBA"),
        ("palette.png", np.uint8(255) * INSIDE, "P"),
        ("1_bit.png", INSIDE, "1"),
    ],
)
def test_masks_of_other_programs(tmp_path, name, values, mode):
    image = Image.fromarray(values)
    image = image.convert("P") if mode == "P" else image
    assert image.mode == mode
    image.save(tmp_path / name)
    np.testing.assert_array_equal(load_mask(tmp_path / name), INSIDE)


def test_files_that_are_no_masks(tmp_path):
    np.save(tmp_path / "cube.npy", np.ones((2, 2, 2)))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    (tmp_path / "text.png").write_text("no image")
    for name in ("cube.npy", "words.npy", "objects.npy", "text.png", "absent.png", "mask.jpg"):
        with pytest.raises(ScanError, match=name):
            load_mask(tmp_path / name)
