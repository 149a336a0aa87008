"""Calibration of a scan from its own patterns: pixel size, ellipse and the direct beam's drift."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import ScanError
from zoneaxis.files import atomic_path
from zoneaxis.scans.centers import BeamDrift
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.pixel_size import PixelSize, find_ellipse, find_pixel_size
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.survey import Survey

FEWEST_PATTERNS = 16  # of fewer, mostly of one grain, not even the error of an ellipse is known
SIGNIFICANT = 3.0  # standard errors that an ellipse must differ from a circle


@dataclass(frozen=True)
class Calibration:
    """What was measured of a scan.

    Attributes:
        size: of a pattern pixel, with error and rivals.
        ellipse: a circle where the rings are round within the error, or the patterns too few.
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
    survey: Survey, crystal: Crystal, *, near_inv_angstrom: float | None = None
) -> Calibration:
    """Measure pixel size and ellipse on the disks of a survey.

    Args:
        survey: of a scan whose specimen is all or mostly of the crystal.
        crystal: an error of its lattice is one of the pixel size.
        near_inv_angstrom: a rough pixel size; without it 0.003 to 0.08 1/Angstrom are searched.

    Raises:
        ScanError: too few disks, or no pixel size near the rough one fits.
    """
    peaks = survey.peaks
    size = find_pixel_size(peaks, crystal, near_inv_angstrom=near_inv_angstrom)
    ellipse, error = find_ellipse(peaks, crystal, size.inv_angstrom_per_pixel)
    few = len(survey.patterns) < FEWEST_PATTERNS
    if few or ellipse.ratio - 1 < SIGNIFICANT * error:
        ellipse = Ellipse()
    else:
        straight = peaks.stretched(ellipse.matrix)
        better = find_pixel_size(straight, crystal, near_inv_angstrom=size.inv_angstrom_per_pixel)
        size = replace(better, rivals=size.rivals)
    frame = tuple(survey.patterns.shape[1:])
    return Calibration(size, ellipse, error, survey.drift, survey.beam_radius_px, frame)
