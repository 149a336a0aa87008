"""How a scan is opened: options that all commands with a scan share, and what they do to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoneaxis.cli.terminal import say
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np

    from zoneaxis.scans.scan import Scan

ScanShape = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar="ROWS COLUMNS", help="Of the scan, where the file is a mere stack."),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(help="What `calibrate --json` wrote: pixel size, ellipse, drift of the beam."),
]
Crop = Annotated[
    tuple[int, int, int, int] | None,
    typer.Option(
        metavar="TOP BOTTOM LEFT RIGHT",
        help="Take rows TOP to BOTTOM, columns LEFT to RIGHT, counted from 0, the ends left out.",
    ),
]
CropPatterns = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Take so many pixels in the middle of each.")
]
Bin = Annotated[int, typer.Option(help="Add up the counts of so many pixels, down and across.")]
Mask = Annotated[
    str | None,
    typer.Option(
        help="Leave points out: image or .npy, 0 where left out, a value for each point (that "
        "--crop leaves); or dark-field or bright-field: by that image's Otsu threshold, which may "
        "take amorphous material for the specimen: look at it by `virtual --save-mask` first."
    ),
]


def open_scan(given: Mapping[str, Any]) -> "Scan":
    """Open a scan as a command's options say, those that the command lacks left out.

    The order is: calibration, crop of the scan, crop of the patterns, binning, mask.

    Args:
        given: the command's options by name, `context.params`.
    """
    from zoneaxis.scans.calibration import Calibration
    from zoneaxis.scans.scan import Scan

    pixel = given.get("inv_angstrom_per_pixel")
    scan = Scan.open(
        given["scan"],
        inv_angstrom_per_pixel=pixel,
        step_nm=given.get("step_nm"),
        shape=given.get("scan_shape"),
    )
    if path := given.get("calibration"):
        scan = Calibration.load(path).apply(scan)
        scan = scan if pixel is None else scan.with_pixel_size(pixel)
    if crop := given.get("crop"):
        top, bottom, left, right = crop
        rows, columns = scan.shape
        if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
            raise SettingsError(
                f"--crop {top} {bottom} {left} {right}: {scan.path} has rows 0 to {rows} and "
                f"columns 0 to {columns}, the ends left out."
            )
        scan = scan.crop(slice(top, bottom), slice(left, right))
    if (size := given.get("crop_patterns")) is not None:
        scan = scan.crop_patterns(size)
    if (factor := given.get("bin", 1)) != 1:
        scan = scan.bin(factor)
    if mask := given.get("mask"):
        scan = scan.masked(_mask(mask, scan))
        say(f"{scan.mask.mean():.1%} of the points are left by --mask {mask}")
    return scan


def _mask(name: str, scan: "Scan") -> "np.ndarray":
    from zoneaxis.scans import detectors

    if name == "dark-field":
        return detectors.otsu_mask(*detectors.virtual_images(scan, [detectors.dark_field(scan)]))
    if name == "bright-field":
        return detectors.otsu_mask(*-detectors.virtual_images(scan, [detectors.bright_field(scan)]))
    return detectors.load_mask(Path(name))
