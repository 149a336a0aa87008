from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.errors import ScanError
from zoneaxis.scans.sampling import sample
from zoneaxis.scans.scan import Scan


def scan_of(shape):
    """Every pattern holds its row and its column, from 1."""
    rows, cols = np.indices(shape, np.float32)[..., None, None] + 1
    patterns = np.concatenate([rows, cols], axis=-1)
    return Scan(da.from_array(patterns, chunks=(50, 50, 1, 2)), 1.0, None, Path("s.hspy"))


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (60, 60), (25, 300), (1, 9000), (9000, 1)])
def test_a_grid_over_the_whole_scan(shape):
    """Also of a stack, a scan of one row: never more patterns than were asked for."""
    chosen = sample(scan_of(shape), 64)
    assert min(np.prod(shape), 30) <= len(chosen.rows) <= 64
    np.testing.assert_array_equal(chosen.patterns[:, 0, 0], chosen.rows + 1)
    np.testing.assert_array_equal(chosen.patterns[:, 0, 1], chosen.cols + 1)
    for index, n in zip((chosen.rows, chosen.cols), shape, strict=True):
        places = np.unique(index)
        step = np.diff(places)[0] if len(places) > 1 else n
        assert (np.diff(places) == step).all()
        assert max(places[0], n - 1 - places[-1]) <= step


def test_what_is_masked_or_bad_is_left_out():
    scan = scan_of((4, 4))
    patterns = scan.patterns.compute()
    patterns[1, 1] = np.nan
    scan = Scan(da.from_array(patterns), 1.0, None, Path("s.hspy"))
    chosen = sample(scan.masked(np.arange(16).reshape(4, 4) < 7), 16)
    assert (chosen.rows * 4 + chosen.cols).tolist() == [0, 1, 2, 3, 4, 6]
    with pytest.raises(ScanError, match=r"s\.hspy: none of 1 patterns from all over"):
        sample(scan.crop(slice(1, 2), slice(1, 2)), 16)
