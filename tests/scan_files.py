"""Small scans in every format that can be written here."""

import importlib
import warnings
from pathlib import Path

import numpy as np

from zoneaxis.scans.writing import _axes

STEP_NM, PIXEL = 2.5, 0.03


def write_with(plugin: str, path: Path, data: np.ndarray) -> Path:
    """Write counts, shape (rows, cols, h, w) or (n, h, w), with a writer of rosettasciio."""
    axes = _axes((1, *data.shape)[-4:], STEP_NM, PIXEL)[-data.ndim :]
    for i, axis in enumerate(axes):
        axis["index_in_array"] = i
    signal = {
        "data": data,
        "axes": axes,
        "metadata": {"General": {"title": "t"}, "Signal": {"signal_type": "electron_diffraction"}},
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "zoneaxis", "package_version": "0"},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the writers think of units
        importlib.import_module(f"rsciio.{plugin}").file_writer(str(path), signal)
    return path


def write_mrc(path: Path, data: np.ndarray) -> Path:
    """Write a stack as MRC 2014, mode 6 (uint16)."""
    n, height, width = data.shape
    header = np.zeros(256, "<i4")
    header[:4] = width, height, n, 6
    header[7:10] = width, height, n
    path.write_bytes(header.tobytes() + data.astype("<u2").tobytes())
    return path


def write_mib(path: Path, data: np.ndarray) -> Path:
    """Write a stack as a Merlin camera does, upside down as its readers expect, big-endian."""
    with path.open("wb") as file:
        for i, pattern in enumerate(data):
            fields = ("MQ1", f"{i + 1:06}", "00384", "01", f"{data.shape[2]:04}")
            fields += (f"{data.shape[1]:04}", "U16", "   1x1", "01")
            fields += ("2026-01-01 00:00:00.000000", "0.001", "0", "0", "0")
            fields += ("2026-01-01T00:00:00.000000000Z", "1000000ns", "12", "")
            file.write(",".join(fields).encode().ljust(384, b" "))
            file.write(pattern[::-1].astype(">u2").tobytes())
    return path
