from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.errors import ScanError
from zoneaxis.scans.centers import beam_centers, beam_radius, fit_drift
from zoneaxis.scans.scan import Scan

RADIUS = 3.0


def drift(rows, cols):
    return 24 + 0.05 * cols - 0.002 * rows * cols, 25 - 0.1 * rows + 0.004 * rows**2


@pytest.fixture(scope="module")
def scan():
    """Disks that drift, with noise; one pattern without, one with a false beam."""
    rows, cols = np.indices((9, 12))
    x, y = drift(rows, cols)
    v, u = np.mgrid[:48, :48]
    distance = np.hypot(u - x[..., None, None], v - y[..., None, None])
    patterns = 500 * np.clip(RADIUS + 0.5 - distance, 0, 1)
    patterns[2, 3] = 500 * np.clip(RADIUS + 0.5 - np.hypot(u - 21, v - 27), 0, 1)
    counts = np.random.default_rng(0).poisson(patterns + 1).astype(np.uint16)
    counts[4, 5] = 0
    return Scan(da.from_array(counts, chunks=(4, 4, 48, 48)), 1.0, None, Path("drift.hspy"))


def test_radius(scan):
    assert beam_radius(scan.read(slice(0, 2), slice(0, 4)).reshape(-1, 48, 48)) == pytest.approx(
        RADIUS, abs=0.2
    )


def test_beam_centers(scan):
    mask = np.ones((9, 12), bool)
    mask[0, 0] = False
    done = []
    centers = beam_centers(scan.masked(mask), progress=done.append)
    assert sum(done) == 108
    known = np.isfinite(centers).all(axis=-1)
    assert np.argwhere(~known).tolist() == [[0, 0], [4, 5]]
    known[2, 3] = False
    true = np.stack(drift(*np.indices((9, 12))), axis=-1)
    assert np.linalg.norm((centers - true)[known], axis=-1).max() < 0.1


def test_one_bad_pattern_does_not_bend_the_drift(scan):
    centers = beam_centers(scan)
    fitted = fit_drift(centers).centers((9, 12))
    true = np.stack(drift(*np.indices((9, 12))), axis=-1)
    assert np.linalg.norm(fitted - true, axis=-1).max() < 0.05
    assert np.linalg.norm(centers[2, 3] - fitted[2, 3]) > 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (2, 2), (9, 1)])
def test_few_points_have_a_simple_drift(shape):
    centers = np.stack(np.broadcast_arrays(*drift(*np.indices(shape))), axis=-1)
    assert np.isfinite(fit_drift(centers).centers(shape)).all()
    assert fit_drift(centers, degree=0).centers((3, 3)).std(axis=(0, 1)) == pytest.approx([0, 0])


def test_no_beam():
    with pytest.raises(ScanError, match="No pattern shows a direct beam"):
        fit_drift(np.full((2, 2, 2), np.nan))
