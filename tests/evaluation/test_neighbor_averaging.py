import dask.array as da
import numpy as np

from zoneaxis.evaluation.correlation import NEIGHBORS
from zoneaxis.evaluation.neighbor_averaging import (
    averaged_scan,
    equal_weights,
    similarity_weights,
)
from zoneaxis.scans.scan import Scan

SHAPE = (5, 8)


def scan_of(patterns, chunks=(2, 3), **settings):
    return Scan(da.from_array(patterns, chunks=(*chunks, -1, -1)), 1.0, 0.05, "test", **settings)


def test_neighbors_average_as_the_paper_has_it():
    patterns = np.random.default_rng(0).integers(1, 50, (6, 7, 4, 5)).astype(np.uint16)
    scan = scan_of(patterns)
    averaged = averaged_scan(scan)
    for row, col in ((2, 3), (0, 0), (5, 2)):
        block = patterns[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
        found = averaged.read(slice(row, row + 1), slice(col, col + 1))[0, 0]
        np.testing.assert_allclose(found, block.mean(axis=(0, 1)), rtol=1e-5)
    assert (averaged.shape, averaged.step_nm) == (scan.shape, scan.step_nm)
    assert averaged.patterns.dtype == np.float32


def test_the_average_is_lazy_and_the_same_in_any_chunks(monkeypatch):
    from zoneaxis.evaluation import neighbor_averaging

    monkeypatch.setattr(neighbor_averaging, "CHUNK_BYTES", 1)  # chunks of 8 x 8 points
    patterns = np.random.default_rng(0).random((19, 21, 4, 4)).astype(np.float32)
    small = averaged_scan(scan_of(patterns))
    assert small.patterns.numblocks[:2] == (3, 3)
    monkeypatch.setattr(neighbor_averaging, "CHUNK_BYTES", 1e9)
    whole = averaged_scan(scan_of(patterns)).patterns.compute()
    np.testing.assert_allclose(small.patterns.compute(), whole, rtol=1e-6)


def test_bad_and_masked_patterns_do_not_spread():
    patterns = np.full((5, 5, 4, 4), 7.0, np.float32)
    patterns[1, 1, 0, 0], patterns[3, 3] = np.nan, 900.0
    mask = np.ones((5, 5), bool)
    mask[3, 3] = False
    averaged = averaged_scan(scan_of(patterns, mask=mask)).patterns.compute()
    good = mask.copy()
    good[1, 1] = False
    np.testing.assert_allclose(averaged[good], 7.0, rtol=1e-6)
    assert np.isnan(averaged[1, 1, 0, 0])


def test_weights_fall_with_likeness_whatever_the_noise():
    coefficient = np.full((*SHAPE, 8), 0.9)
    coefficient[..., 2], coefficient[..., 3] = 0.9 * 0.45, 0.9 * 0.2
    coefficient[0, :, 0] = np.nan
    clean, noisy = (similarity_weights(f * coefficient, 0.125) for f in (1.0, 0.3))
    np.testing.assert_allclose(clean, noisy)
    np.testing.assert_allclose(clean[..., 1], 0.125)
    np.testing.assert_allclose(clean[..., 2], 0.125 / 2)
    assert (clean[..., 3] == 0).all()
    assert (clean[0, :, 0] == 0).all()


def test_a_line_scan_keeps_its_boundaries():
    coefficient = np.full((1, 4, 8), np.nan)
    left, right = NEIGHBORS.index((0, -1)), NEIGHBORS.index((0, 1))
    coefficient[0, :, left], coefficient[0, :, right] = (np.nan, 0.9, 0.2, 0.8), (0.9, 0.2, 0.8, 0)
    coefficient[0, -1, right] = np.nan
    weights = similarity_weights(coefficient, 1.0)[0]
    assert weights[:, left].tolist() == [0, 1, 0, 1]
    assert weights[:, right].tolist() == [1, 0, 1, 0]


def test_equal_weights_end_at_the_edge():
    weights = equal_weights(SHAPE, 0.125)
    assert weights[2, 3].sum() == 1
    assert weights[0, 0].sum() == 3 * 0.125
    assert weights[0, 0, NEIGHBORS.index((1, 1))] == 0.125
