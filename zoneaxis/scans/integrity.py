"""Whether a scan file holds all the patterns that its header promises."""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from zoneaxis.errors import ScanError

FRAME_MARK = b"\xaa\x55"  # precedes each pattern of a blockfile
FRAME_HEADER = 6  # bytes: the mark, and the pattern's number


def check_complete(path: Path, shape: tuple[int, ...]) -> None:
    """Find files whose size or content contradicts their header, which readers do not notice.

    Args:
        path: the scan file.
        shape: of the patterns that were found in it, (rows, cols, height, width).

    Raises:
        ScanError: header and data disagree.
    """
    suffix = path.suffix.lower()
    if suffix == ".blo":
        _check_blockfile(path, shape)
    elif suffix == ".npy":
        _check_numpy(path)
    elif suffix == ".zspy":
        _warn_of_gaps(path, *_zarr_chunks(path, shape))
    elif h5py.is_hdf5(path):
        _warn_of_gaps(path, *_hdf5_chunks(path, shape))


def _check_blockfile(path: Path, shape: tuple[int, ...]) -> None:
    rows, cols, height, width = shape
    with path.open("rb") as file:
        header = file.read(18)
        start = int.from_bytes(header[12:16], "little")
        size = path.stat().st_size - start
        frame = height * width + FRAME_HEADER
        _require_size(path, size, rows * cols * frame)
        for i in (0, rows * cols - 1):
            file.seek(start + i * frame)
            if file.read(len(FRAME_MARK)) != FRAME_MARK:
                raise ScanError(
                    f"{path}: pattern {i + 1} does not begin where the header says. The header "
                    "is damaged: export the scan again."
                )


def _check_numpy(path: Path) -> None:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else None
        shape, _, dtype = (read or np.lib.format.read_array_header_2_0)(file)
        start = file.tell()
    _require_size(path, path.stat().st_size - start, math.prod(shape) * dtype.itemsize)


def _require_size(path: Path, size: int, expected: int) -> None:
    if size != expected:
        raise ScanError(
            f"{path} holds {size} bytes of patterns, its header speaks of {expected}: the file "
            "is truncated, or its header is damaged."
        )


def _zarr_chunks(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the same as `_hdf5_chunks`; a chunk of Zarr 2 is a file below its array's folder."""
    for described in path.rglob(".zarray"):
        array = json.loads(described.read_text(encoding="utf-8"))
        if math.prod(array["shape"]) == math.prod(shape):
            files = described.parent.rglob("*")
            written = sum(file.is_file() and not file.name.startswith(".") for file in files)
            return written, _n_chunks(array["shape"], array["chunks"])
    return 0, 0


def _n_chunks(shape: Sequence[int], chunks: Sequence[int]) -> int:
    return math.prod(-(-n // chunk) for n, chunk in zip(shape, chunks, strict=True))


def _hdf5_chunks(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many chunks of the patterns were written, and how many there should be."""
    counts = []

    def count(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.size == math.prod(shape) and item.chunks:
            counts.append((item.id.get_num_chunks(), _n_chunks(item.shape, item.chunks)))

    with h5py.File(path) as file:
        file.visititems(count)
    return counts[0] if counts else (0, 0)


def _warn_of_gaps(path: Path, written: int, expected: int) -> None:
    if written < expected:
        warnings.warn(
            f"{path.name}: {expected - written} of {expected} blocks of patterns were never "
            "written; the patterns in them are empty and are not indexed.",
            stacklevel=4,
        )
