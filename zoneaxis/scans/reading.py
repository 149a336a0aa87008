"""The patterns of a scan file, found lazily by any of rosettasciio's readers, with their axes."""

import importlib
import inspect
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da

from zoneaxis.errors import ScanError
from zoneaxis.scans.units import inverse_length_in_inv_angstrom, length_in_nm

CHUNK_SIZE = "32MiB"  # where the reader leaves the choice
LARGEST_ANISOTROPY = 0.02  # beyond it, one pixel size for both axes would shift the disks
LARGEST_PIXEL_INV_ANGSTROM = 0.5  # a larger one would hold a whole Brillouin zone
PICKLED = ("PantaRhei",)  # without what is pickled in them, the order of their axes is unknown

Axes = list[dict[str, Any]]


def read_lazily(path: Path) -> tuple[da.Array, Axes]:
    """Return the patterns of a file, shape (rows, cols, height, width), and its four axes.

    The first four-dimensional signal is taken, else the first stack of patterns (three
    dimensions), which becomes a scan of one row.

    Raises:
        ScanError: missing, damaged or unsupported file, or no real-valued patterns in it.
    """
    seen, stack = [], None
    for signal in _signals(path):
        data, axes = signal["data"], [dict(axis) for axis in signal["axes"]]
        shape = tuple(getattr(data, "shape", ()))
        seen.append(" x ".join(map(str, shape)) + f" {getattr(data, 'dtype', '')}")
        if len(shape) not in (3, 4) or data.dtype.kind not in "iuf" or 0 in shape:
            continue
        order = _scan_axes_first(axes, len(shape))
        if order is None:
            continue
        _check_sizes(axes, shape, path)
        data = da.asarray(data)
        if order != sorted(order):
            data = data.transpose(order)
        axes = [axes[i] for i in order] if len(axes) == len(order) else [{}] * len(order)
        if len(shape) == 4:
            return data, axes
        stack = stack or (data[None], [{}, *axes])
    if stack is None:
        raise ScanError(
            f"{path} holds no patterns (found: {', '.join(seen) or 'nothing'}): expected real "
            "numbers in four dimensions (rows, columns, height, width), or a stack of three."
        )
    return stack


def reshaped(patterns: da.Array, shape: tuple[int, int], path: Path) -> da.Array:
    """Return patterns as a scan of another shape (rows, cols).

    Raises:
        ScanError: the file holds more or fewer patterns than that.
    """
    n = math.prod(patterns.shape[:2])
    if min(shape) < 1 or math.prod(shape) != n:
        raise ScanError(
            f"{path} holds {n} patterns, which do not make a scan of {shape[0]} x {shape[1]}. "
            "Check --scan-shape (rows, then columns)."
        )
    return patterns.reshape(*shape, *patterns.shape[2:])


def pixel_size(axes: Axes, path: Path) -> float | None:
    """Return the size of a pattern pixel in 1/Angstrom; None where the file does not say."""
    size = _scale(axes[2:], inverse_length_in_inv_angstrom, "pattern pixels", path)
    if size is not None and size > LARGEST_PIXEL_INV_ANGSTROM:
        warnings.warn(
            f"{path.name} says that a pattern pixel is {size:g} 1/Angstrom large, which cannot "
            "be: it is left out of account.",
            stacklevel=3,
        )
        return None
    return size


def step(axes: Axes, path: Path) -> float | None:
    """Return the step of the scan in nm; None where the file does not say."""
    return _scale(axes[:2], length_in_nm, "scan steps", path)


def _plugins(path: Path) -> list[dict[str, Any]]:
    import rsciio

    extension = path.suffix.removeprefix(".").lower()
    plugins = [
        plugin
        for plugin in rsciio.IO_PLUGINS
        if extension in (e.lower() for e in plugin["file_extensions"])
        and plugin["name"] not in PICKLED
    ]
    if not plugins:
        raise ScanError(
            f"{path} is of a kind that cannot be read: expected a 4D-STEM file such as "
            ".hspy, .zspy, .blo, .mib, .dm4, .tvips or .emd."
        )
    # HDF5 is claimed by many; HyperSpy's own reader is the pickiest about what it accepts.
    return sorted(plugins, key=lambda plugin: plugin["name"] != "HSPY")


def _signals(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the signals of a file, read by each plugin that claims its extension."""
    if not path.exists():
        raise ScanError(f"No scan at {path}.")
    if path.is_dir() and path.suffix.lower() != ".zspy":
        raise ScanError(f"{path} is a folder: name the scan file in it.")
    failures, readable = [], False
    for plugin in _plugins(path):
        signals = []
        with warnings.catch_warnings(), dask.config.set({"array.chunk-size": CHUNK_SIZE}):
            # A reader's doubts about metadata, and files it leaves open, do not concern the user.
            warnings.simplefilter("ignore")
            try:
                signals = _read(importlib.import_module(plugin["api"]).file_reader, str(path))
                readable = True
            except Exception as error:  # the readers raise whatever their parsing trips over
                failures.append(f"{plugin['name']}: {str(error).strip() or type(error).__name__}")
        yield from signals
    if not readable:
        raise ScanError(
            f"{path} cannot be read; it is damaged, truncated or of another format "
            f"({'; '.join(failures)})."
        )


def _read(file_reader: Any, path: str) -> list[dict[str, Any]]:
    """Read lazily, whole patterns a chunk where the reader lets us choose."""
    signals = file_reader(path, lazy=True)
    first = signals[0]["data"] if signals else None
    split = isinstance(first, da.Array) and first.ndim in (3, 4) and max(first.numblocks[-2:]) > 1
    if split and "chunks" in inspect.signature(file_reader).parameters:
        chunks = ("auto",) * (first.ndim - 2) + (-1, -1)
        return file_reader(path, lazy=True, chunks=chunks)
    return signals


def _scan_axes_first(axes: Axes, n_dimensions: int) -> list[int] | None:
    """Return the order of axes that puts the pattern last; None for spectra and the like."""
    signal = [i for i, axis in enumerate(axes) if not axis.get("navigate")]
    if len(axes) != n_dimensions or len(signal) in (0, n_dimensions):
        return list(range(n_dimensions))  # a reader that does not tell: .npy and some HDF5
    if len(signal) != 2:
        return None
    return [i for i in range(n_dimensions) if i not in signal] + signal


def _check_sizes(axes: Axes, shape: tuple[int, ...], path: Path) -> None:
    sizes = tuple(axis.get("size", n) for axis, n in zip(axes, shape, strict=False))
    if len(axes) == len(shape) and sizes != shape:
        raise ScanError(
            f"{path}: its header speaks of {' x '.join(map(str, sizes))}, its data are "
            f"{' x '.join(map(str, shape))}. The file is damaged: export the scan again."
        )


def _scale(axes: Axes, convert: Any, what: str, path: Path) -> float | None:
    """Return the mean scale of two axes in the unit that `convert` gives."""
    scales = []
    for axis in axes:
        factor, scale = convert(axis.get("units")), axis.get("scale")
        if factor is not None and scale and math.isfinite(scale):
            scales.append(abs(float(scale)) * factor)
    if not scales:
        return None
    mean = sum(scales) / len(scales)
    if max(scales) - min(scales) > LARGEST_ANISOTROPY * mean:
        warnings.warn(f"{path.name}: {what} differ along x and y; taking {mean:g}.", stacklevel=3)
    return mean
