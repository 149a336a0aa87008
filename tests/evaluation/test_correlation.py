import dask.array as da
import numpy as np
import pytest
import torch

from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.correlation import (
    NEIGHBORS,
    correlate_neighbors,
    count_spots,
)
from zoneaxis.scans.scan import Scan

PIXEL, RADIUS = 0.05, 0.1  # 1/Angstrom: disks of 2 pixels
SIZE = 48


def scan_of(patterns, chunks=(2, 3), **settings):
    lazy = da.from_array(patterns, chunks=(*chunks, -1, -1))
    return Scan(lazy, 1.0, PIXEL, "test", **settings)


def spots(places, height=200.0, size=SIZE, background=4.0):
    """A pattern with a direct beam in the middle and disks of 2 pixels at offsets (x, y)."""
    y, x = np.mgrid[:size, :size] - size // 2
    pattern = np.full((size, size), background)
    for px, py in [(0, 0), *places]:
        pattern[np.hypot(x - px, y - py) <= 2] += height if (px, py) != (0, 0) else 50 * height
    return pattern


@pytest.fixture(scope="module")
def two_grains():
    rng = np.random.default_rng(0)
    left, right = spots([(10, 3), (-8, 7), (0, -15)]), spots([(4, 12), (-13, -5), (9, -9)])
    grid = np.array([[left] * 4 + [right] * 3] * 5)
    return rng.poisson(grid).astype(np.uint16)


def test_plain_coefficients_are_numpys(two_grains):
    rng = np.random.default_rng(1)
    patterns = rng.integers(1, 9, (3, 4, SIZE, SIZE)).astype(np.uint16)
    patterns[..., SIZE // 2, SIZE // 2] = 60000  # the direct beam, where nothing moves it
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    near = np.hypot(y, x) < 6
    patterns[..., near & (np.hypot(y, x) > 0)] = 0
    found = correlate_neighbors(scan_of(patterns), RADIUS, plain=True).coefficient
    outside = np.hypot(y, x) > 1.5 * 2 + 1
    for row, col in np.ndindex(3, 4):
        for i, (down, right) in enumerate(NEIGHBORS):
            r, c = row + down, col + right
            if 0 <= r < 3 and 0 <= c < 4:
                pair = patterns[row, col][outside], patterns[r, c][outside]
                assert found[row, col, i] == pytest.approx(np.corrcoef(*pair)[0, 1], abs=2e-5)
            else:
                assert np.isnan(found[row, col, i])


@pytest.mark.parametrize("chunks", [(1, 1), (2, 3), (5, 7)])
def test_blocks_make_no_difference(two_grains, chunks):
    whole = correlate_neighbors(scan_of(two_grains, (5, 7)), RADIUS)
    parts = correlate_neighbors(scan_of(two_grains, chunks), RADIUS, batch_size=4)
    np.testing.assert_allclose(parts.coefficient, whole.coefficient, atol=1e-5)
    np.testing.assert_array_equal(parts.spots, whole.spots)


def test_the_boundary_shows(two_grains):
    found = correlate_neighbors(scan_of(two_grains), RADIUS)
    assert found.mean[:, [0, 1, 2, 5, 6]].min() > 0.85
    assert found.mean[:, 3:5].max() < 0.75
    assert found.lowest[:, 3:5].max() < 0.2


def test_the_correlation_is_blind_to_gain_and_to_where_the_beam_stands(two_grains):
    shifted = np.roll(two_grains, (2, -1), axis=(2, 3)) * 3
    mixed = np.where(np.arange(7)[:, None, None] % 2, shifted, two_grains)
    found = correlate_neighbors(scan_of(mixed), RADIUS)
    assert found.mean[:, [0, 1, 2, 5, 6]].min() > 0.8


def test_bad_and_masked_points_are_nobodys_neighbors(two_grains):
    patterns = two_grains.astype(np.float32)
    patterns[1, 1, 3, 3], patterns[3, 1] = np.nan, 0
    mask = np.ones((5, 7), bool)
    mask[2, 5] = False
    found = correlate_neighbors(scan_of(patterns, mask=mask), RADIUS)
    for point in ((1, 1), (3, 1), (2, 5)):
        assert np.isnan(found.coefficient[point]).all()
        assert np.isnan(found.spots[point])
        assert np.isnan(found.mean[point])
        assert np.isnan(found.lowest[point])
    assert (
        np.isnan(found.coefficient[0, 0]).sum() == 6
    )  # three beyond each edge but one, and (1, 1)
    assert np.isfinite(found.mean[0, 0])


def test_spots_are_counted_and_add_up_where_grains_overlap():
    first, second = [(10, 3), (-8, 7), (0, -15)], [(4, 12), (-13, -5), (9, -9), (15, 15)]
    rng = np.random.default_rng(0)
    drawn = [spots([]), spots(first), spots(second), spots(first + second)]
    for gain in (1.0, 37.0, 0.01):
        patterns = torch.tensor(gain * rng.poisson(drawn), dtype=torch.float32)
        assert count_spots(patterns, 2.0).tolist() == [0, 3, 4, 7]


@pytest.mark.parametrize("background", [0.003, 0.05, 1.0, 30.0])
def test_noise_is_no_spot(background):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 32
    bell = background * np.exp(-(x**2 + y**2) / 800) + 900 * (np.hypot(x, y) <= 2)
    patterns = torch.tensor(rng.poisson(bell, (300, 64, 64)), dtype=torch.float32)
    assert count_spots(patterns, 2.0).mean() <= 0.01


def test_refuses_what_makes_no_sense(two_grains):
    lazy = da.from_array(two_grains)
    with pytest.raises(SettingsError, match="--inv-angstrom-per-pixel"):
        correlate_neighbors(Scan(lazy, 1.0, None, "test"), RADIUS)
    with pytest.raises(SettingsError, match="do not fit"):
        correlate_neighbors(Scan(lazy, 1.0, 0.01, "test"), RADIUS)
