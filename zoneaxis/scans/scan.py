"""Scan: the patterns of a 4D-STEM measurement, opened lazily from any file rosettasciio reads."""

import importlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from zoneaxis import __version__
from zoneaxis.errors import OutputError, ScanError
from zoneaxis.files import atomic_path, require_writable

NM_PER_UNIT = {"a": 0.1, "pm": 1e-3, "nm": 1.0, "um": 1e3, "mm": 1e6, "m": 1e9}
INVERSE = ("^-1", "**-1", "⁻¹", "-1")  # the longest ending that fits comes first
CHUNK = 8  # points along each side of a stored chunk
LARGEST_ANISOTROPY = 0.02  # beyond it, one pixel size for both axes would shift the disks


@dataclass(frozen=True, eq=False)
class Scan:
    """Patterns on a grid of points, in the frames of the conventions: x right, y down.

    Attributes:
        patterns: lazy counts, shape (rows, cols, height, width).
        step_nm: distance between neighboring points.
        inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom; None if unknown.
        path: the file it came from.
        mask: points that count, bool, shape (rows, cols); the others are as if never measured.
            None: all of them.
        history: how it came about, "open" first: each method of Scan with its arguments. A pickle
            holds it in place of the patterns, so that another process opens the file by itself.
    """

    patterns: da.Array
    step_nm: float
    inv_angstrom_per_pixel: float | None
    path: Path
    mask: np.ndarray | None = None
    history: tuple[tuple[str, dict[str, Any]], ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.history:
            return _again, (self.history,)
        return Scan, tuple(getattr(self, field.name) for field in fields(self))

    @property
    def shape(self) -> tuple[int, int]:
        """Points of the scan: (rows, cols)."""
        return self.patterns.shape[:2]

    def read(self, rows: slice, cols: slice) -> np.ndarray:
        """Return the patterns of a region, shape (n rows, n cols, height, width).

        Raises:
            ScanError: the file is damaged, truncated or gone.
        """
        try:
            # Not on a cluster that the caller may have: it would be sent the file's content.
            return self.patterns[rows, cols].compute(scheduler="threads")
        except Exception as error:  # each file library raises its own kind
            raise ScanError(
                f"{self.path} cannot be read from row {rows.start}, column {cols.start} ({error}): "
                "the file is damaged, truncated or gone."
            ) from error

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        inv_angstrom_per_pixel: float | None = None,
        step_nm: float | None = None,
    ) -> "Scan":
        """Open a scan without reading its patterns.

        The first four-dimensional signal of the file is taken, else the first stack of patterns
        (three dimensions), which becomes a scan of one row.

        Args:
            path: any file that rosettasciio reads.
            inv_angstrom_per_pixel: overrides the file's pixel size, in 1/Angstrom.
            step_nm: overrides the file's scan step, in nm.

        Raises:
            ScanError: missing, damaged or unsupported file, or no real-valued patterns in it.
        """
        path = Path(path)
        for name, value in (("pixel size", inv_angstrom_per_pixel), ("step", step_nm)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ScanError(f"The {name} given for {path.name} is {value}: it must be > 0.")
        patterns, axes = _patterns(_signals(path), path)
        if inv_angstrom_per_pixel is None:
            inv_angstrom_per_pixel = _scale(axes[2:], inverse=True, path=path)
        if step_nm is None:
            step_nm = _scale(axes[:2], inverse=False, path=path)
        if step_nm is None:
            warnings.warn(f"{path.name} has no scan step in nm: taking 1 nm.", stacklevel=2)
            step_nm = 1.0
        # Workers of a cluster may have another current folder.
        opened = {
            "path": path.absolute(),
            "inv_angstrom_per_pixel": inv_angstrom_per_pixel,
            "step_nm": step_nm,
        }
        history = (("open", opened),)
        return cls(patterns, step_nm, inv_angstrom_per_pixel, path, history=history)


def _again(history: tuple[tuple[str, dict[str, Any]], ...]) -> Scan:
    scan: Any = Scan
    for method, arguments in history:
        scan = getattr(scan, method)(**arguments)
    return scan


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


def length_in_nm(unit: Any) -> float | None:
    """Return a unit of length in nm ("µm" -> 1000.0); None for anything else."""
    return NM_PER_UNIT.get(_plain(unit))


def inverse_length_in_inv_angstrom(unit: Any) -> float | None:
    """Return a reciprocal unit in 1/Angstrom ("nm^-1" and "1/nm" -> 0.1); None for others."""
    text = _plain(unit)
    if text.startswith("1/"):
        length = NM_PER_UNIT.get(text[2:])
    else:
        ending = next((e for e in INVERSE if text.endswith(e)), None)
        length = NM_PER_UNIT.get(text.removesuffix(ending)) if ending else None
    return None if length is None else NM_PER_UNIT["a"] / length


def _plain(unit: Any) -> str:
    """Spell a unit in lower-case ASCII, without TeX, blanks and brackets."""
    text = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
    for written, plain in (("angstroms", "a"), ("angstrom", "a"), ("\\aa", "a"), ("\\mu", "u")):
        text = text.lower().replace(written, plain)
    text = text.translate({ord(c): None for c in "${}() _\\"})
    # Both code points of each letter are in use: micro sign and mu, Angstrom sign and A-ring.
    return text.translate(str.maketrans("\u00b5\u03bc\u00e5\u212b\u2212", "uuaa-"))


def _plugins(path: Path) -> list[dict[str, Any]]:
    import rsciio

    extension = path.suffix.removeprefix(".").lower()
    plugins = [
        plugin
        for plugin in rsciio.IO_PLUGINS
        if extension in (e.lower() for e in plugin["file_extensions"])
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
        with warnings.catch_warnings():
            # A reader's doubts about metadata, and files it leaves open, do not concern the user.
            warnings.simplefilter("ignore")
            try:
                reader = importlib.import_module(plugin["api"])
                signals = reader.file_reader(str(path), lazy=True)
                readable = True
            except Exception as error:  # the readers raise whatever their parsing trips over
                failures.append(f"{plugin['name']}: {str(error).strip() or type(error).__name__}")
        yield from signals
    if not readable:
        raise ScanError(
            f"{path} cannot be read; it is damaged, truncated or of another format "
            f"({'; '.join(failures)})."
        )


def _patterns(
    signals: Iterator[dict[str, Any]], path: Path
) -> tuple[da.Array, list[dict[str, Any]]]:
    """Return the first 4-D signal, else the first stack, as 4-D data with its four axes."""
    seen, stack = [], None
    for signal in signals:
        data, axes = signal["data"], [dict(axis) for axis in signal["axes"]]
        shape = tuple(getattr(data, "shape", ()))
        seen.append(" x ".join(map(str, shape)) + f" {getattr(data, 'dtype', '')}")
        if len(shape) not in (3, 4) or data.dtype.kind not in "iuf" or 0 in shape:
            continue
        order = _scan_axes_first(axes, len(shape))
        if order is None:
            continue
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


def _scan_axes_first(axes: list[dict[str, Any]], n_dimensions: int) -> list[int] | None:
    """Return the order of axes that puts the pattern last; None for spectra and the like."""
    signal = [i for i, axis in enumerate(axes) if not axis.get("navigate")]
    if len(axes) != n_dimensions or len(signal) in (0, n_dimensions):
        return list(range(n_dimensions))  # a reader that does not tell: .npy and some HDF5
    if len(signal) != 2:
        return None
    return [i for i in range(n_dimensions) if i not in signal] + signal


def _scale(axes: list[dict[str, Any]], *, inverse: bool, path: Path) -> float | None:
    """Return the mean scale of two axes, in 1/Angstrom if `inverse`, else in nm."""
    convert = inverse_length_in_inv_angstrom if inverse else length_in_nm
    scales = []
    for axis in axes:
        factor, scale = convert(axis.get("units")), axis.get("scale")
        if factor is not None and scale and math.isfinite(scale):
            scales.append(abs(float(scale)) * factor)
    if not scales:
        return None
    mean = sum(scales) / len(scales)
    if max(scales) - min(scales) > LARGEST_ANISOTROPY * mean:
        what = "pattern pixels" if inverse else "scan steps"
        warnings.warn(f"{path.name}: {what} differ along x and y; taking {mean:g}.", stacklevel=3)
    return mean
