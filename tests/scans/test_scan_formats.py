"""What each format of rosettasciio gives, as far as files of it can be made here."""

import gc

import dask.array as da
import numpy as np
import pytest
from scan_files import PIXEL, STEP_NM, write_mib, write_mrc, write_with

from zoneaxis.errors import ScanError
from zoneaxis.scans.scan import Scan

pytestmark = pytest.mark.filterwarnings("ignore:.*has no scan step", "ignore:.*cannot be")
EVERYTHING = slice(None), slice(None)


@pytest.fixture
def counts():
    return np.random.default_rng(0).integers(1, 200, (4, 5, 16, 16), dtype=np.uint8)


@pytest.mark.parametrize(
    ("plugin", "name", "step_nm", "pixel"),
    [
        ("hspy", "scan.hspy", STEP_NM, PIXEL),
        ("hspy", "scan.hdf5", STEP_NM, PIXEL),
        ("zspy", "scan.zspy", STEP_NM, PIXEL),
        ("emd", "scan.emd", STEP_NM, PIXEL),
        ("emd", "scan.de5", STEP_NM, PIXEL),
        ("nexus", "scan.nxs", STEP_NM, PIXEL),
        ("blockfile", "scan.blo", STEP_NM, None),  # it knows cm on the camera only
        ("numpy", "scan.npy", 1.0, None),
    ],
)
def test_scans(tmp_path, counts, plugin, name, step_nm, pixel):
    scan = Scan.open(write_with(plugin, tmp_path / name, counts))
    assert isinstance(scan.patterns, da.Array)
    assert scan.patterns.numblocks[2:] == (1, 1)
    assert scan.step_nm == pytest.approx(step_nm)
    assert scan.inv_angstrom_per_pixel == (None if pixel is None else pytest.approx(pixel))
    np.testing.assert_array_equal(scan.read(*EVERYTHING), counts)


def write_stack(kind, path, stack):
    if kind == "mrc":
        return write_mrc(path, stack)
    return write_mib(path, stack) if kind == "mib" else write_with(kind, path, stack)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("mrc", "scan.mrc"), ("mib", "scan.mib"), ("tvips", "scan_000.tvips"), ("ripple", "s.rpl")],
)
def test_stacks_become_scans(tmp_path, counts, kind, name):
    path = write_stack(kind, tmp_path / name, counts.reshape(20, 16, 16))
    assert Scan.open(path).patterns.shape[2:] == (16, 16)
    scan = Scan.open(path, shape=(4, 5), inv_angstrom_per_pixel=PIXEL)
    assert scan.shape == (4, 5)
    assert scan.inv_angstrom_per_pixel == PIXEL
    np.testing.assert_array_equal(scan.read(*EVERYTHING), counts)
    with pytest.raises(ScanError, match="20 patterns, which do not make a scan of 4 x 4"):
        Scan.open(path, shape=(4, 4))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tiff_becomes_a_scan(tmp_path, counts):
    path = write_with("tiff", tmp_path / "scan.tif", counts)
    np.testing.assert_array_equal(Scan.open(path, shape=(4, 5)).read(*EVERYTHING), counts)
    gc.collect()  # its reader leaves the file open


def test_pixels_that_cannot_be(tmp_path, counts):
    """TVIPS files tell the pixels of the camera in nm as if they were 1/nm."""
    path = write_with("tvips", tmp_path / "scan_000.tvips", counts[0])
    with pytest.warns(UserWarning, match=r"2\.5 1/Angstrom large, which cannot be"):
        scan = Scan.open(path, step_nm=1.0)
    assert scan.inv_angstrom_per_pixel is None


def test_pickled_axes_are_not_read(tmp_path, counts):
    path = write_with("pantarhei", tmp_path / "scan.prz", counts)
    with pytest.raises(ScanError, match="kind that cannot be read"):
        Scan.open(path)


def test_whole_patterns_in_chunks_of_bounded_size(tmp_path):
    """20 GB that lie nowhere: the reader's own chunks would cut patterns into pieces."""
    shape = (400, 400, 256, 256)
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.uint16, shape)
    scan = Scan.open(tmp_path / "large.npy")
    assert scan.patterns.chunksize[2:] == (256, 256)
    assert np.prod(scan.patterns.chunksize) * 2 <= 2**25
    assert not scan.read(slice(390, 400), slice(0, 4)).any()
