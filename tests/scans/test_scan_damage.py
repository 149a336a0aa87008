"""A damaged file is refused, or what can be read of it is right."""

import shutil

import h5py
import numpy as np
import pytest
from scan_files import write_mrc, write_with

from zoneaxis.errors import ScanError
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.writing import write_scan

EVERYTHING = slice(None), slice(None)
CUTS = 50


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).integers(1, 200, (6, 5, 16, 16), dtype=np.uint8)


def write(folder, suffix, counts):
    path = folder / f"whole{suffix}"
    if suffix == ".hspy":
        return write_scan(path, counts, step_nm=1, inv_angstrom_per_pixel=0.03, title="t")
    return write_with({".blo": "blockfile", ".npy": "numpy"}[suffix], path, counts)


@pytest.mark.filterwarnings("ignore:.*has no scan step")
@pytest.mark.parametrize("suffix", [".blo", ".hspy", ".npy"])
def test_truncated_at_random_places(tmp_path, counts, suffix):
    content = write(tmp_path, suffix, counts).read_bytes()
    cuts = np.random.default_rng(1).integers(0, len(content), CUTS)
    for i, size in enumerate(cuts.tolist()):
        path = tmp_path / f"cut{i}{suffix}"  # HDF5 remembers names
        path.write_bytes(content[:size])
        with pytest.raises(ScanError, match=path.name):
            Scan.open(path).read(*EVERYTHING)


HEADER = {"start": (12, 4), "side": (20, 2), "columns": (24, 2), "rows": (26, 2)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("start", 0), ("start", 4000), ("start", 10**9), ("side", 15), ("side", 17)],
        *[("columns", 4), ("columns", 6), ("columns", 0), ("rows", 5), ("rows", 60000)],
    ],
)
def test_a_blockfile_whose_header_lies(tmp_path, counts, field, value):
    content = bytearray(write(tmp_path, ".blo", counts).read_bytes())
    place, size = HEADER[field]
    content[place : place + size] = value.to_bytes(size, "little")
    path = tmp_path / "lie.blo"
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"lie\.blo"):
        Scan.open(path)


def test_a_blockfile_shifted_by_some_bytes(tmp_path, counts):
    content = bytearray(write(tmp_path, ".blo", counts).read_bytes())
    start = int.from_bytes(content[12:16], "little")
    content[12:16] = (start + 7).to_bytes(4, "little")
    path = tmp_path / "shifted.blo"
    path.write_bytes(content + bytes(7))
    with pytest.raises(ScanError, match="pattern 1 does not begin where the header says"):
        Scan.open(path)


def test_hspy_axes_that_lie(tmp_path, counts):
    path = write(tmp_path, ".hspy", counts)
    with h5py.File(path, "r+") as file:
        (experiment,) = file["Experiments"].values()
        experiment["axis-0"].attrs["size"] = 7
    with pytest.raises(ScanError, match="header speaks of 7 x 5 x 16 x 16, its data are 6 x 5"):
        Scan.open(path)


@pytest.mark.filterwarnings("ignore:.*has no scan step")
def test_more_data_than_the_header_says(tmp_path, counts):
    path = write(tmp_path, ".npy", counts)
    path.write_bytes(path.read_bytes() + bytes(100))
    with pytest.raises(ScanError, match=r"whole\.npy holds 7780 bytes"):
        Scan.open(path)
    stack = write_mrc(tmp_path / "cut.mrc", counts.reshape(30, 16, 16))
    stack.write_bytes(stack.read_bytes()[:-1000])
    with pytest.raises(ScanError, match=r"cut\.mrc cannot be read"):
        Scan.open(stack)


def test_chunks_that_were_never_written(tmp_path, counts):
    """An acquisition that was stopped: HDF5 and Zarr read zeros without a word."""
    path = tmp_path / "stopped.hspy"
    write_scan(path, np.tile(counts, (3, 1, 1, 1)), step_nm=1, inv_angstrom_per_pixel=1, title="")
    with h5py.File(path, "r+") as file:
        (experiment,) = file["Experiments"].values()
        old = experiment["data"]
        chunks, first = old.chunks, old[:8]
        del experiment["data"]
        new = experiment.create_dataset("data", old_shape := (18, 5, 16, 16), "u1", chunks=chunks)
        new[:8] = first
        assert old_shape == new.shape
    with pytest.warns(UserWarning, match=r"stopped\.hspy: 2 of 3 blocks .* never written"):
        scan = Scan.open(path, inv_angstrom_per_pixel=0.03)
    assert not scan.read(slice(8, 18), slice(0, 5)).any()


def test_zarr_files_that_are_missing(tmp_path, counts):
    path = write_with("zspy", tmp_path / "scan.zspy", counts)
    (chunk,) = path.glob("Experiments/t/data/0/0/0/0")
    chunk.unlink()
    with pytest.warns(UserWarning, match="1 of 1 blocks"):
        Scan.open(path)
    shutil.rmtree(path / "Experiments")
    with pytest.raises(ScanError, match=r"scan\.zspy"):
        Scan.open(path)
