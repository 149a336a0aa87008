"""Scans written as HyperSpy files, with calibrated axes."""

from pathlib import Path
from typing import Any

import numpy as np

from zoneaxis import __version__
from zoneaxis.errors import OutputError
from zoneaxis.files import atomic_path, require_writable

CHUNK = 8  # points along each side of a stored chunk


def require_scan_path(path: str | Path) -> Path:
    """Return `path` if `write_scan` can write there; to be called before a long computation.

    Raises:
        OutputError: another suffix than .hspy, or no writable place.
    """
    path = require_writable(path)
    if path.suffix != ".hspy":
        raise OutputError(f"{path}: scans are written as HyperSpy files; name it *.hspy.")
    return path


def write_scan(
    path: str | Path,
    patterns: np.ndarray,
    *,
    step_nm: float,
    inv_angstrom_per_pixel: float,
    title: str,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Write patterns as a compressed HyperSpy file with calibrated axes.

    Args:
        path: to be written, *.hspy.
        patterns: counts, shape (rows, cols, height, width), direct beam at [h // 2, w // 2].
        step_nm: distance between neighboring points.
        inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.
        title: what viewers call the scan.
        origin: how the patterns came about; stored as original metadata.

    Raises:
        OutputError: the file cannot be written.
    """
    from rsciio.hspy import file_writer

    path = require_scan_path(path)
    signal = {
        "data": patterns,
        "axes": _axes(patterns.shape, step_nm, inv_angstrom_per_pixel),
        "metadata": {
            "General": {"title": title},
            "Signal": {"signal_type": "electron_diffraction"},
        },
        "original_metadata": origin or {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "zoneaxis", "package_version": __version__},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
    }
    chunks = (*(min(CHUNK, n) for n in patterns.shape[:2]), *patterns.shape[2:])
    with atomic_path(path) as temporary:
        file_writer(
            str(temporary), signal, chunks=chunks, compression="gzip", show_progressbar=False
        )
    return path


def _axes(
    shape: tuple[int, ...], step_nm: float, inv_angstrom_per_pixel: float
) -> list[dict[str, Any]]:
    axes = []
    for name, size, navigate in zip(
        ("y", "x", "ky", "kx"), shape, (True, True, False, False), strict=True
    ):
        scale = step_nm if navigate else inv_angstrom_per_pixel
        axes.append(
            {
                "_type": "UniformDataAxis",
                "name": name,
                "units": "nm" if navigate else "1/Å",
                "navigate": navigate,
                "is_binned": False,
                "size": size,
                "scale": scale,
                "offset": 0.0 if navigate else -(size // 2) * scale,
            }
        )
    return axes
