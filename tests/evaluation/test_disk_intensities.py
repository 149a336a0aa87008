import numpy as np
import pytest

from zoneaxis.evaluation.disk_intensities import disk_intensities

RADIUS_PX = 4.0
PLACES = np.array([[40.0, 30.0], [64.3, 52.8], [20.5, 70.1]])
SUMS = np.array([3.0, 0.2, 1.0])


@pytest.fixture
def pattern():
    """Three uniform disks with a smooth background, 96 x 100."""
    row, column = np.indices((96, 100))
    image = 1e-3 * np.exp(-((row - 48) ** 2 + (column - 50) ** 2) / 5000)
    for (x, y), total in zip(PLACES, SUMS, strict=True):
        inside = np.hypot(column - x, row - y) < RADIUS_PX - 0.5
        image = image + total * inside / inside.sum()
    return image


def test_sums_come_without_the_background(pattern):
    np.testing.assert_allclose(disk_intensities(pattern, PLACES, RADIUS_PX), SUMS, atol=2e-3)


def test_an_overlapping_disk_adds_its_share_and_is_no_background(pattern):
    places = np.vstack([PLACES, PLACES[0] + [5.0, 0.0]])  # dark itself
    found = disk_intensities(pattern, places, RADIUS_PX)
    np.testing.assert_allclose(found[:3], SUMS, atol=2e-3)
    assert 0.1 < found[3] < SUMS[0]


def test_disks_at_the_edge_or_hemmed_in_are_not_measured(pattern):
    crowd = [[50 + 9 * np.cos(a), 48 + 9 * np.sin(a)] for a in np.arange(0, 2 * np.pi, 0.3)]
    places = np.array([[2.0, 40.0], [95.0, 40.0], [50.0, 2.0], [50.0, 94.0], [50.0, 48.0], *crowd])
    assert np.isnan(disk_intensities(pattern, places, RADIUS_PX)[:5]).all()
