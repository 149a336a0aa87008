"""What a calibration of a scan found: pixel size, ellipse and the direct beam's drift."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from zoneaxis.errors import ScanError
from zoneaxis.files import atomic_path
from zoneaxis.scans.centers import BeamDrift
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.pixel_size import PixelSize
from zoneaxis.scans.scan import Scan


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
