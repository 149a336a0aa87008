from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.errors import ScanError
from zoneaxis.scans.indexing import Indexed, index_scan, require_frame, usable
from zoneaxis.scans.scan import Scan


class MeanIndexer:
    """Answers with what the patterns hold, so that a test sees where each one went."""

    def __init__(self, crystal):
        self.crystals = (crystal,)
        self.batches = []

    def index(self, patterns, inv_angstrom_per_pixel):
        assert patterns.dtype == np.float32
        self.batches.append(len(patterns))
        mean = patterns.mean(axis=(1, 2))
        return Indexed(
            euler_deg=np.stack([np.stack([mean, mean, mean], -1)] * 2, axis=1).astype(float),
            score=np.stack([mean, mean / 2], axis=1),
            reliability=mean,
            indexed=mean != 7,
            properties={"thickness_nm": mean},
        )


def scan_of(values, chunks="auto", path="scan.hspy", pixel=0.02):
    patterns = np.broadcast_to(values[..., None, None], (*values.shape, 4, 4)).copy()
    return Scan(da.from_array(patterns, chunks=chunks), 3.0, pixel, Path(path))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 256])
@pytest.mark.parametrize("chunks", [(2, 3, 4, 4), (6, 10, 4, 4), (1, 1, 4, 2), (4, 10, 4, 4)])
def test_every_pattern_gets_its_place(nickelate, chunks, batch_size):
    values = np.arange(1, 61, dtype=np.uint16).reshape(6, 10)
    indexer, done = MeanIndexer(nickelate), []
    found = index_scan(
        indexer, scan_of(values, chunks), batch_size=batch_size, progress=done.append
    )
    np.testing.assert_array_equal(found.score[..., 0], values)
    np.testing.assert_array_equal(found.euler_deg[..., 1, 2], values)
    np.testing.assert_array_equal(found.properties["thickness_nm"], values)
    np.testing.assert_array_equal(found.indexed, values != 7)
    assert found.euler_deg.shape == (6, 10, 2, 3)
    assert (found.euler_deg.dtype, found.score.dtype) == (np.float64, np.float32)
    assert found.step_nm == 3.0
    assert found.crystal is nickelate
    assert sum(done) == 60
    assert max(indexer.batches) <= batch_size


@pytest.mark.parametrize("batch_size", [1, 10, 100])
def test_each_chunk_is_read_once(nickelate, batch_size):
    reads = []

    def load(block, block_info=None):
        reads.append(tuple(block_info[None]["chunk-location"][:2]))
        return block

    scan = scan_of(np.ones((8, 12)), (4, 3, 4, 4))
    lazy = scan.patterns.map_blocks(load, dtype=float, meta=np.empty((0, 0, 0, 0)))
    reads.clear()
    index_scan(MeanIndexer(nickelate), Scan(lazy, 1.0, 0.02, scan.path), batch_size=batch_size)
    assert sorted(reads) == [(i, j) for i in range(2) for j in range(4)]


def test_bad_patterns_are_not_indexed(nickelate):
    patterns = np.ones((2, 4, 4, 4))
    patterns[0, 0, 1, 1] = np.nan
    patterns[0, 1, 0, 0] = np.inf
    patterns[0, 2, 3, 3] = -1
    patterns[1, 0] = 0
    patterns[1, 1, 0, 0] = 1e300  # beyond float32
    before = patterns.copy()
    scan = Scan(da.from_array(patterns), 1.0, 0.02, Path("scan.hspy"))
    message = r"^5 of 8 patterns hold .* not indexed \(1 of them hold no counts at all\)"
    with pytest.warns(UserWarning, match=message):
        found = index_scan(MeanIndexer(nickelate), scan, batch_size=3)
    np.testing.assert_array_equal(
        found.indexed, [[False, False, False, True], [False, False, True, True]]
    )
    assert (found.score[~found.indexed] == 0).all()
    assert np.isnan(found.properties["thickness_nm"][~found.indexed]).all()
    np.testing.assert_array_equal(patterns, before)


def test_usable():
    patterns = np.zeros((3, 2, 2), np.float32)
    patterns[1, 0, 0] = 1
    patterns[2] = [[np.nan, 1], [1, 1]]
    assert usable(patterns).tolist() == [False, True, False]


def test_require_frame():
    require_frame((64, 32), 0.02, 0.32)
    for pixel in (0.019, float("nan")):
        with pytest.raises(ScanError, match="--inv-angstrom-per-pixel"):
            require_frame((64, 32), pixel, 0.32)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_scan_without_usable_pattern(nickelate, value):
    with pytest.raises(ScanError, match="no usable pattern"):
        index_scan(MeanIndexer(nickelate), scan_of(np.full((2, 2), value)))


def test_unknown_pixel_size(nickelate):
    with pytest.raises(ScanError, match="--inv-angstrom-per-pixel"):
        index_scan(MeanIndexer(nickelate), scan_of(np.ones((2, 2)), pixel=None))


def test_file_that_breaks_while_reading(nickelate):
    def fail(block):
        raise OSError("Can't read data (inflate() failed)")

    scan = scan_of(np.ones((2, 2)), path="broken.hspy")
    lazy = scan.patterns.map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0, 0)))
    with pytest.raises(ScanError, match=r"broken\.hspy cannot be read.*inflate"):
        index_scan(MeanIndexer(nickelate), Scan(lazy, 1.0, 0.02, scan.path))


def test_patterns_of_a_few_pixels_are_refused():
    with pytest.raises(ScanError, match="--bin"):
        require_frame((15, 128), 0.2, 1.0)
    require_frame((16, 128), 0.2, 1.0)
