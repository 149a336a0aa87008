"""Calibration of a scan from its own patterns: pixel size, ellipse and the direct beam's drift."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.errors import ScanError
from zoneaxis.files import atomic_path
from zoneaxis.scans.centers import BeamDrift, beam_radius, fit_drift
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.peaks import Peaks, find_peaks, joined
from zoneaxis.scans.pixel_size import PixelSize, find_ellipse, find_pixel_size
from zoneaxis.scans.sampling import Sample, sample
from zoneaxis.scans.scan import Scan

SAMPLED = 1024  # patterns that a calibration looks at
BATCH = 64
SIGNIFICANT = 3.0  # standard errors that an ellipse must differ from a circle
OFF_SPREADS, OFF_PX = 4.0, 0.5  # a center farther from the drift is taken for a bad pattern's
SIDE = 4  # the scan is cut into SIDE x SIDE blocks, which are resampled for the errors


@dataclass(frozen=True)
class Calibration:
    """What was measured of a scan.

    Attributes:
        size: of a pattern pixel, with error and rivals.
        ellipse: a circle where the rings are round within the error.
        ellipse_error: standard error of the ellipse's ratio.
        drift: of the direct beam over the scan.
        beam_radius_px: of the direct beam.
        frame: (height, width) of the patterns.
    """

    size: PixelSize
    ellipse: Ellipse
    ellipse_error: float
    drift: BeamDrift
    beam_radius_px: float
    frame: tuple[int, int]

    def apply(self, scan: Scan) -> Scan:
        """Return the scan centered, with round rings and the pixel size, lazily.

        Raises:
            ScanError: the calibration is of patterns of another size.
        """
        if scan.patterns.shape[2:] != self.frame:
            raise ScanError(
                f"The calibration is of patterns of {self.frame[0]} x {self.frame[1]} pixels, "
                f"those of {scan.path} are {scan.patterns.shape[2]} x {scan.patterns.shape[3]}."
            )
        straight = scan.centered(self.drift.centers(scan.shape), self.ellipse)
        return straight.with_pixel_size(self.size.inv_angstrom_per_pixel)

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            ScanError: no such file, or no calibration in it.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            size, drift = values["size"], values["drift"]
            return cls(
                size=PixelSize(**size | {"rivals": tuple(size["rivals"])}),
                ellipse=Ellipse(**values["ellipse"]),
                ellipse_error=values["ellipse_error"],
                drift=BeamDrift(**drift | {k: tuple(drift[k]) for k in ("column_px", "row_px")}),
                beam_radius_px=values["beam_radius_px"],
                frame=tuple(values["frame"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ScanError(
                f"{path} is no calibration ({error}): expected a file that `zoneaxis calibrate "
                "--json` wrote."
            ) from error


def calibrate(
    scan: Scan,
    crystal: Crystal,
    *,
    near_inv_angstrom: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Measure pixel size, ellipse and drift on about a thousand patterns from all over the scan.

    Args:
        scan: its own pixel size is not looked at.
        crystal: what the specimen is made of; an error of its lattice is one of the pixel size.
        near_inv_angstrom: a rough pixel size; without it 0.003 to 0.08 1/Angstrom are searched.
        progress: called with the number of patterns done since the last call.

    Raises:
        ScanError: the file cannot be read, or shows too few disks.
    """
    chosen = _by_blocks(sample(scan, SAMPLED))
    radius_px = beam_radius(chosen.patterns[:: max(1, len(chosen.rows) // 64)])
    own = _own_centers(chosen.patterns, radius_px)
    drift, center_px = _with_drift(own, chosen, scan.shape)
    peaks = _peaks(chosen.patterns, center_px, radius_px, progress)
    size = find_pixel_size(peaks, crystal, near_inv_angstrom=near_inv_angstrom)
    ellipse, error = find_ellipse(peaks, crystal, size.inv_angstrom_per_pixel)
    if ellipse.ratio - 1 < SIGNIFICANT * error:
        ellipse = Ellipse()
    else:
        straight = replace(peaks, offset_px=peaks.offset_px @ ellipse.matrix.T)
        better = find_pixel_size(straight, crystal, near_inv_angstrom=size.inv_angstrom_per_pixel)
        size = replace(better, rivals=size.rivals)
    return Calibration(size, ellipse, error, drift, radius_px, tuple(scan.patterns.shape[2:]))


def _by_blocks(chosen: Sample) -> Sample:
    """Order patterns by blocks of the scan, so that neighbors are resampled together."""
    row, col = (x * SIDE // (x.max() + 1) for x in (chosen.rows, chosen.cols))
    order = np.argsort(row * SIDE + col, kind="stable")
    return Sample(chosen.patterns[order], chosen.rows[order], chosen.cols[order])


def _own_centers(patterns: np.ndarray, radius_px: float) -> np.ndarray:
    """Return (column, row) of each direct beam, shape (n, 2)."""
    return torch.cat(
        [direct_beam_center(batch, radius_px) for batch in torch.from_numpy(patterns).split(BATCH)]
    ).numpy()


def _with_drift(
    own: np.ndarray, chosen: Sample, shape: tuple[int, int]
) -> tuple[BeamDrift, np.ndarray]:
    """Return the beam's drift, and each pattern's own center unless that is far off it."""
    known = np.full((*shape, 2), np.nan)
    known[chosen.rows, chosen.cols] = own
    drift = fit_drift(known)
    smooth = drift.centers(shape)[chosen.rows, chosen.cols]
    off = np.linalg.norm(own - smooth, axis=1) > OFF_SPREADS * drift.spread_px + OFF_PX
    return drift, np.where(off[:, None], smooth, own)


def _peaks(
    patterns: np.ndarray,
    center_px: np.ndarray,
    radius_px: float,
    progress: Callable[[int], None] | None,
) -> Peaks:
    parts = []
    for start in range(0, len(patterns), BATCH):
        batch = slice(start, start + BATCH)
        parts.append(find_peaks(patterns[batch], center_px[batch], radius_px))
        if progress is not None:
            progress(len(patterns[batch]))
    return joined(parts, BATCH)
