"""Scan: the patterns of a 4D-STEM measurement, opened lazily from any file rosettasciio reads."""

import math
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.integrity import check_complete
from zoneaxis.scans.reading import pixel_size, read_lazily, reshaped, step
from zoneaxis.scans.resampling import bin_patterns, crop_patterns, resample_patterns


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

    def __repr__(self) -> str:
        rows, cols, height, width = self.patterns.shape
        return (
            f"Scan {self.path.name}: {rows} x {cols} points, {self.step_nm:g} nm apart, patterns "
            f"of {height} x {width} {self.patterns.dtype} pixels of "
            f"{self.inv_angstrom_per_pixel or float('nan'):.5g} 1/Angstrom"
        )

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
        except MemoryError:
            raise
        except Exception as error:  # each file library raises its own kind
            first = rows.start or 0, cols.start or 0
            raise ScanError(
                f"{self.path} cannot be read from row {first[0]}, column {first[1]} ({error}): "
                "the file is damaged, truncated or gone."
            ) from error

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        inv_angstrom_per_pixel: float | None = None,
        step_nm: float | None = None,
        shape: tuple[int, int] | None = None,
    ) -> "Scan":
        """Open a scan without reading its patterns, but for the last one: it must be there.

        The first four-dimensional signal of the file is taken, else the first stack of patterns
        (three dimensions), which becomes a scan of one row.

        Args:
            path: any file that rosettasciio reads.
            inv_angstrom_per_pixel: overrides the file's pixel size, in 1/Angstrom.
            step_nm: overrides the file's scan step, in nm.
            shape: (rows, cols) of the scan, where the file holds a mere stack or is mistaken.

        Raises:
            ScanError: missing, damaged or unsupported file, no real-valued patterns in it, or
                another number of them than its header or `shape` says.
        """
        path = Path(path)
        for name, value in (("pixel size", inv_angstrom_per_pixel), ("step", step_nm)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ScanError(f"The {name} given for {path.name} is {value}: it must be > 0.")
        patterns, axes = read_lazily(path)
        check_complete(path, patterns.shape)
        if inv_angstrom_per_pixel is None:
            inv_angstrom_per_pixel = pixel_size(axes, path)
        if step_nm is None:
            step_nm = step(axes, path)
        if step_nm is None:
            warnings.warn(f"{path.name} has no scan step in nm: taking 1 nm.", stacklevel=2)
            step_nm = 1.0
        if shape is not None:
            patterns = reshaped(patterns, shape, path)
        # Workers of a cluster may have another current folder.
        opened = {
            "path": path.absolute(),
            "inv_angstrom_per_pixel": inv_angstrom_per_pixel,
            "step_nm": step_nm,
            "shape": shape,
        }
        scan = cls(patterns, step_nm, inv_angstrom_per_pixel, path, history=(("open", opened),))
        rows, cols = scan.shape
        scan.read(slice(rows - 1, rows), slice(cols - 1, cols))
        return scan

    def _then(self, method: str, arguments: dict[str, Any], **changes: Any) -> "Scan":
        """Return the scan with changes, which calling `method` again will make again."""
        history = (*self.history, (method, arguments)) if self.history else ()
        return replace(self, history=history, **changes)

    def crop(self, rows: slice, cols: slice) -> "Scan":
        """Return a region of the scan, its mask with it.

        Raises:
            SettingsError: no point lies in it, or it leaves out points in between.
        """
        if {rows.step, cols.step} - {None, 1}:
            raise SettingsError("A scan is cropped to neighboring points: take slices of step 1.")
        patterns = self.patterns[rows, cols]
        if 0 in patterns.shape:
            raise SettingsError(
                f"{self.path}: no point of the {self.shape[0]} x {self.shape[1]} lies in rows "
                f"{rows.start} to {rows.stop}, columns {cols.start} to {cols.stop}."
            )
        mask = None if self.mask is None else self.mask[rows, cols]
        arguments = {"rows": rows, "cols": cols}
        return self._then("crop", arguments, patterns=patterns, mask=mask)

    def crop_patterns(self, height: int, width: int | None = None) -> "Scan":
        """Return the scan with the middle of its patterns; square if no width is given.

        Raises:
            SettingsError: the patterns are smaller than that.
        """
        size = height, width or height
        frame = self.patterns.shape[2:]
        if min(size) < 1 or size[0] > frame[0] or size[1] > frame[1]:
            raise SettingsError(
                f"{self.path}: patterns of {frame[0]} x {frame[1]} pixels cannot be cropped to "
                f"{size[0]} x {size[1]}."
            )
        patterns = crop_patterns(self.patterns, *size)
        arguments = {"height": size[0], "width": size[1]}
        return self._then("crop_patterns", arguments, patterns=patterns)

    def bin(self, factor: int) -> "Scan":
        """Return the scan with the counts of factor x factor pixels added up; see `bin_patterns`.

        Raises:
            SettingsError: not even one bin fits into the frame.
        """
        if not 1 <= factor < min(self.patterns.shape[2:]):
            raise SettingsError(
                f"{self.path}: patterns of {self.patterns.shape[2]} x {self.patterns.shape[3]} "
                f"pixels cannot be binned by {factor}."
            )
        pixel = self.inv_angstrom_per_pixel
        return self._then(
            "bin",
            {"factor": factor},
            patterns=bin_patterns(self.patterns, factor),
            inv_angstrom_per_pixel=None if pixel is None else pixel * factor,
        )

    def masked(self, mask: np.ndarray) -> "Scan":
        """Return the scan with the points that are False in the mask left out, too.

        Args:
            mask: shape (rows, cols).

        Raises:
            ScanError: the mask has another shape, or leaves nothing.
        """
        mask = np.asarray(mask, bool)
        if mask.shape != self.shape:
            raise ScanError(
                f"The mask is {' x '.join(map(str, mask.shape))}, the scan {self.path} "
                f"{self.shape[0]} x {self.shape[1]} points: expected one value a point."
            )
        mask = mask if self.mask is None else mask & self.mask
        if not mask.any():
            raise ScanError(f"The mask leaves no point of {self.path}.")
        return self._then("masked", {"mask": mask}, mask=mask)

    def centered(self, center_px: np.ndarray, ellipse: Ellipse | None = None) -> "Scan":
        """Return the scan with every direct beam moved to pixel [n // 2, n // 2].

        Args:
            center_px: (column, row) of the direct beam at each point, shape (rows, cols, 2), or
                one for all, shape (2,).
            ellipse: taken out in the same interpolation.
        """
        centers = np.broadcast_to(center_px, (*self.shape, 2))
        matrix = None if ellipse is None else ellipse.matrix
        return self._then(
            "centered",
            {"center_px": np.asarray(center_px), "ellipse": ellipse},
            patterns=resample_patterns(self.patterns, centers, matrix),
        )

    def undistorted(self, ellipse: Ellipse) -> "Scan":
        """Return the scan with its elliptical rings made round, about pixel [n // 2, n // 2]."""
        height, width = self.patterns.shape[2:]
        return self.centered(np.array([width // 2, height // 2]), ellipse)

    def with_pixel_size(self, inv_angstrom_per_pixel: float) -> "Scan":
        """Return the scan with another pixel size, in 1/Angstrom."""
        values = {"inv_angstrom_per_pixel": inv_angstrom_per_pixel}
        return self._then("with_pixel_size", values, **values)


def _again(history: tuple[tuple[str, dict[str, Any]], ...]) -> Scan:
    scan: Any = Scan
    for method, arguments in history:
        scan = getattr(scan, method)(**arguments)
    return scan
