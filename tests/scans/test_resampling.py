"""The direct beam stays at [n // 2, n // 2], counts are kept, and all is lazy."""

import pickle
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.writing import write_scan

EVERYTHING = slice(None), slice(None)


def scan_of(patterns, pixel=0.02):
    return Scan(da.from_array(patterns, chunks=(1, 2, 8, 8)), 3.0, pixel, Path("scan.hspy"))


def spot(shape, place, counts=100):
    patterns = np.zeros((2, 3, *shape), np.uint16)
    patterns[..., place[0], place[1]] = counts
    return patterns


def center_of_mass(pattern):
    y, x = np.indices(pattern.shape)
    return (x * pattern).sum() / pattern.sum(), (y * pattern).sum() / pattern.sum()


def test_crop():
    values = np.arange(6).reshape(2, 3, 1, 1) * np.ones((16, 16))
    scan = scan_of(values).masked(np.array([[1, 0, 1], [1, 1, 1]])).crop(slice(0, 1), slice(1, 3))
    assert scan.shape == (1, 2)
    assert scan.step_nm == 3.0
    assert scan.mask.tolist() == [[False, True]]
    assert scan.read(*EVERYTHING)[..., 0, 0].tolist() == [[1, 2]]
    with pytest.raises(SettingsError, match="no point of the 1 x 2 lies in rows 1 to 3"):
        scan.crop(slice(1, 3), slice(0, 2))


@pytest.mark.parametrize(("n", "size"), [(16, 8), (16, 7), (17, 8), (17, 7), (16, 16)])
def test_cropped_patterns_keep_the_beam(n, size):
    scan = scan_of(spot((n, n), (n // 2, n // 2))).crop_patterns(size)
    pattern = scan.read(*EVERYTHING)[1, 2]
    assert pattern.shape == (size, size)
    assert pattern[size // 2, size // 2] == 100
    with pytest.raises(SettingsError, match="cannot be cropped"):
        scan.crop_patterns(n + 1)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(16, 16), (17, 15), (31, 24), (12, 12)])
def test_binned_patterns_keep_beam_and_counts(shape, factor):
    place = shape[0] // 2, shape[1] // 2
    scan = scan_of(spot(shape, place)).bin(factor)
    assert scan.inv_angstrom_per_pixel == pytest.approx(0.02 * factor)
    assert scan.patterns.dtype == np.float32
    binned = scan.read(*EVERYTHING)[0, 0]
    assert binned[binned.shape[0] // 2, binned.shape[1] // 2] == 100
    assert binned.sum() == 100
    assert min(s - b * factor for s, b in zip(shape, binned.shape, strict=True)) < 2 * factor


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bins_share_no_pixel(factor):
    """Counts of Poisson's distribution stay so, and those of neighbors independent."""
    patterns = np.random.default_rng(0).poisson(4, (2, 3, 96, 96))
    binned = scan_of(patterns).bin(factor).read(*EVERYTHING)
    assert binned.var() == pytest.approx(4 * factor**2, rel=0.05)
    apart = binned - binned.mean()
    for one, next_ in ((apart[..., 1:], apart[..., :-1]), (apart[..., 1:, :], apart[..., :-1, :])):
        assert abs((one * next_).mean()) < 0.05 * apart.var()


def test_moved_patterns_keep_their_noise():
    patterns = np.random.default_rng(0).poisson(4, (2, 3, 96, 96))
    moved = scan_of(patterns).centered(np.array([47.6, 48.3]), Ellipse(1.02, 30.0))
    middle = moved.read(*EVERYTHING)[..., 4:-4, 4:-4]
    assert middle.var() == pytest.approx(4, rel=0.05)
    apart = middle - middle.mean()
    assert (apart[..., 1:] * apart[..., :-1]).mean() < 0.05 * apart.var()


@pytest.mark.parametrize("factor", [0, -1, 16])
def test_senseless_bins(factor):
    with pytest.raises(SettingsError, match=f"cannot be binned by {factor}"):
        scan_of(spot((16, 16), (8, 8))).bin(factor)


def test_counts_add_up():
    patterns = np.random.default_rng(0).poisson(5, (2, 3, 15, 15))
    binned = scan_of(patterns).bin(3).read(*EVERYTHING)
    expected = patterns.reshape(2, 3, 5, 3, 5, 3).sum(axis=(3, 5))
    np.testing.assert_array_equal(binned, expected)


def test_centered():
    patterns = spot((16, 20), (5, 12))
    centers = np.full((2, 3, 2), (12.0, 5.0))
    centers[0, 0] = 11.5, 5
    moved = scan_of(patterns).centered(centers).read(*EVERYTHING)
    assert moved[1, 2, 8, 10] == 100
    assert center_of_mass(moved[0, 0]) == pytest.approx((10.5, 8), abs=0.5)  # to the next pixel


@pytest.mark.parametrize("angle", [0.0, 30.0, 135.0])
def test_undistorted(angle):
    """Spots on an ellipse whose long axis is `angle` come to lie on a circle."""
    ellipse = Ellipse(1.1, angle)
    patterns = np.zeros((1, 4, 65, 65), np.float32)
    y, x = np.mgrid[:65, :65] - 32
    for i, turn in enumerate(np.deg2rad([0, 40, 80, 120])):
        place = np.linalg.inv(ellipse.matrix) @ (20 * np.array([np.cos(turn), np.sin(turn)]))
        patterns[0, i] = np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / 4)
    round_ = scan_of(patterns).undistorted(ellipse).read(*EVERYTHING)[0]
    assert [np.hypot(*(np.array(center_of_mass(p)) - 32)) for p in round_] == pytest.approx(
        [20] * 4, abs=0.5
    )
    far = np.linalg.inv(ellipse.matrix) @ [np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]
    assert np.hypot(*far) == pytest.approx(1.1**0.5)
    assert np.linalg.det(ellipse.matrix) == pytest.approx(1)


def test_masks():
    scan = scan_of(spot((16, 16), (8, 8)))
    first, second = np.ones((2, 2, 3), bool)
    first[0, 0] = second[1, 1] = False
    assert scan.masked(first).masked(second).mask.tolist() == (first & second).tolist()
    with pytest.raises(ScanError, match=r"3 x 2, the scan scan\.hspy 2 x 3"):
        scan.masked(first.T)
    with pytest.raises(ScanError, match="leaves no point"):
        scan.masked(~first & ~second)


def test_what_was_done_is_done_again_elsewhere(tmp_path):
    patterns = np.random.default_rng(0).poisson(5, (4, 5, 16, 16)).astype(np.uint16)
    path = write_scan(
        tmp_path / "s.hspy", patterns, step_nm=1, inv_angstrom_per_pixel=0.02, title=""
    )
    scan = Scan.open(path, shape=(5, 4)).crop(slice(0, 3), slice(1, 4))
    scan = scan.centered(np.array([8.3, 7.9]), Ellipse(1.02, 10)).crop_patterns(14).bin(2)
    scan = scan.masked(np.eye(3)).with_pixel_size(0.05)
    again = pickle.loads(pickle.dumps(scan))
    assert again.inv_angstrom_per_pixel == 0.05
    np.testing.assert_array_equal(again.mask, np.eye(3, dtype=bool))
    np.testing.assert_array_equal(again.read(*EVERYTHING), scan.read(*EVERYTHING))
