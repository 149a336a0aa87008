"""`zoneaxis calibrate` and `virtual`: a scan is looked at before it is indexed."""

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoneaxis.cli.figures import SUFFIXES, figure_to
from zoneaxis.cli.options import CrystalName, PixelSize, Precession, ScanPath, StepSize, Voltage
from zoneaxis.cli.scan_options import (
    Bin,
    CalibrationFile,
    Crop,
    CropPatterns,
    Mask,
    ScanShape,
    open_scan,
)
from zoneaxis.cli.terminal import complain, progress_bar, say
from zoneaxis.errors import ScanError, SettingsError

if TYPE_CHECKING:
    from zoneaxis.scans.calibration import Calibration
    from zoneaxis.scans.detectors import Detector
    from zoneaxis.scans.scan import Scan
    from zoneaxis.scans.survey import Survey


FIGURE_IN = (7.2, 3.5)
POOREST_FIT = 0.5  # log likelihood a disk; 1 to 2 are usual


class Kind(StrEnum):
    """Detectors whose size follows from the direct beam's."""

    BRIGHT = "bright-field"
    DARK = "dark-field"


def calibrate(
    context: typer.Context,
    scan: ScanPath,
    crystal: CrystalName = "LiNiO2",
    inv_angstrom_per_pixel: Annotated[
        float | None,
        typer.Option(help="Rough size of a pixel in 1/Å, right within 15 %; default: the file's."),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Do not believe the file: search 0.003 to 0.08.")
    ] = False,
    search_px: Annotated[
        float | None,
        typer.Option(help="How far the beam may be from the middle; default: 4 % of the frame."),
    ] = None,
    scan_shape: ScanShape = None,
    mask: Mask = None,
    voltage_kv: Voltage = 300.0,
    precession_deg: Precession = 0.0,
    json: Annotated[Path | None, typer.Option(help="For --calibration of other commands.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Picture to write: .png, .pdf, .svg.")] = None,
) -> None:
    """Measure pixel size, ellipse and drift of a scan on the reflections of its crystal."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.evaluation.calibration import calibrate as calibrate_survey
    from zoneaxis.evaluation.figures.scan_figures import calibration_figure
    from zoneaxis.scans.survey import survey_scan

    _require_outputs({json: (".json",), figure: SUFFIXES})
    structure = load_crystal(crystal)
    opened = open_scan(context.params)
    near = None if from_scratch else opened.inv_angstrom_per_pixel
    with progress_bar("looking at", "patterns") as advance:
        survey = survey_scan(opened, search_px=search_px, progress=advance)
    found = calibrate_survey(
        survey,
        structure,
        near_inv_angstrom=near,
        voltage_kv=voltage_kv,
        precession_deg=precession_deg,
    )
    _tell(found, survey, near)
    say(f"Fit         log likelihood {found.size.gain:.2f} a disk above places at random")
    if found.size.gain < POOREST_FIT:
        doubt = f"the disks hardly lie where {structure.name} has its: another crystal?"
        complain("Warning", "yellow", doubt)
    if figure:
        with figure_to(figure, *FIGURE_IN) as canvas:
            calibration_figure(canvas, survey, found, structure)
    if found.size.rivals:
        sizes = ", ".join(
            f"{s:.5f}" for s in (found.size.inv_angstrom_per_pixel, *found.size.rivals)
        )
        raise ScanError(
            f"Pixel sizes of {sizes} 1/Å fit about equally well: say which is nearer with "
            "--inv-angstrom-per-pixel, or take a scan with more grains."
        )
    if json:
        found.save(json)
        say(f"Calibration in {json}")


def virtual(
    context: typer.Context,
    scan: ScanPath,
    out: Annotated[
        Path, typer.Option(help="Image to write, a pixel a point: .png, .tif, or .npy for counts.")
    ],
    detector: Annotated[
        Kind, typer.Option(help="Its radii follow from the direct beam's.")
    ] = Kind.DARK,
    inner_px: Annotated[float, typer.Option(help="With --outer-px: a detector of your own.")] = 0.0,
    outer_px: Annotated[float | None, typer.Option(help="Outer radius in pixels.")] = None,
    at_px: Annotated[
        tuple[float, float],
        typer.Option(metavar="X Y", help="Its place relative to the direct beam, e.g. on a spot."),
    ] = (0.0, 0.0),
    save_mask: Annotated[
        Path | None,
        typer.Option(help="Mask to write by Otsu's threshold, .png or .npy, for --mask."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Image beside the detector, to look at: .png, .pdf, .svg.")
    ] = None,
    inv_angstrom_per_pixel: PixelSize = None,
    step_nm: StepSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    mask: Mask = None,
) -> None:
    """Make a virtual bright field, dark field or other image of a scan, and a mask from it."""
    from zoneaxis.evaluation.figures.scan_figures import virtual_figure
    from zoneaxis.scans.detectors import IMAGES, otsu_mask, save_image, virtual_images

    if outer_px is not None and detector is not Kind.DARK:
        raise SettingsError("--detector and --outer-px exclude each other: give one.")
    images = (*IMAGES, ".npy")
    _require_outputs({out: images, save_mask: images, figure: SUFFIXES})
    opened = open_scan(context.params)
    chosen = _detector(opened, detector, inner_px, outer_px, at_px)
    total = opened.shape[0] * opened.shape[1]
    with progress_bar("summing", "patterns") as advance:
        (image,) = virtual_images(opened, [chosen], progress=lambda done: advance(done, total))
    save_image(out, image)
    radii = f"{chosen.inner_px:.1f} to {chosen.outer_px:.1f} pixels"
    if (pixel := opened.inv_angstrom_per_pixel) is not None:
        radii += f" ({chosen.inner_px * pixel:.3f} to {chosen.outer_px * pixel:.3f} 1/Å)"
    say(f"Detector from {radii}; image in {out}")
    if save_mask:
        # Where the detector holds the direct beam, vacuum is bright and the specimen dark.
        holds_beam = chosen.inner_px == 0 and math.hypot(*chosen.offset_px) < chosen.outer_px
        measured = otsu_mask(-image if holds_beam else image)
        save_image(save_mask, measured)
        say(f"{measured.mean():.1%} of {total} points are specimen; mask in {save_mask}")
    if figure:
        with figure_to(figure, *FIGURE_IN) as canvas:
            virtual_figure(canvas, opened, chosen, image)


def _detector(
    scan: "Scan",
    kind: Kind,
    inner_px: float,
    outer_px: float | None,
    at_px: tuple[float, float],
) -> "Detector":
    from zoneaxis.scans.detectors import Detector, bright_field, dark_field

    if outer_px is not None:
        return Detector(inner_px, outer_px, tuple(at_px))
    if inner_px or tuple(at_px) != (0.0, 0.0):
        raise SettingsError("--inner-px and --at-px have no meaning without --outer-px.")
    return bright_field(scan) if kind is Kind.BRIGHT else dark_field(scan)


def _require_outputs(suffixes: dict[Path | None, tuple[str, ...]]) -> None:
    from zoneaxis.files import require_writable

    for path, allowed in suffixes.items():
        if path is None:
            continue
        if path.suffix.lower() not in allowed:
            raise SettingsError(f"{path}: expected a name that ends in {', '.join(allowed)}.")
        require_writable(path)


def _tell(found: "Calibration", survey: "Survey", near: float | None) -> None:
    size, ellipse = found.size, found.ellipse
    value, error = size.inv_angstrom_per_pixel, size.error_inv_angstrom_per_pixel
    against = "" if near is None else f", {value / near - 1:+.2%} against {near:g}"
    say(f"Pixel size  {value:.6f} ± {error:.6f} 1/Å{against}; from {size.n_peaks} disks")
    if ellipse.ratio > 1:
        shape = (
            f"{ellipse.ratio:.4f} ± {found.ellipse_error:.4f}, long axis {ellipse.angle_deg:.0f}°"
        )
    else:
        shape = f"none beyond ± {found.ellipse_error:.4f}"
    say(f"Ellipse     {shape}")
    column, row = survey.center_px.mean(axis=0)
    across, down = survey.drift_range_px
    say(
        f"Beam        at column {column:.2f}, row {row:.2f}, radius {found.beam_radius_px:.1f} px; "
        f"drift {across:.2f} x {down:.2f} px, single patterns ± {found.drift.spread_px:.2f} px"
    )
