"""`zoneaxis compare`: a map against a reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from zoneaxis.cli.map_files import load_map, require_outputs, write_json
from zoneaxis.cli.options import (
    Convergence,
    LargestK,
    MapCrystals,
    PixelSize,
    Precession,
    Voltage,
)
from zoneaxis.cli.scan_options import (
    Bin,
    CalibrationFile,
    Crop,
    CropPatterns,
    Mask,
    ScanShape,
    open_scan,
)
from zoneaxis.cli.terminal import console, say
from zoneaxis.errors import MapError

if TYPE_CHECKING:
    from zoneaxis.evaluation.comparison import Comparison
    from zoneaxis.scans.orientation_map import OrientationMap

IDENTITY = "identity"


def compare(
    context: typer.Context,
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Orientation map.")],
    reference_path: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Map or truth.")],
    crystal: MapCrystals = (),
    by: Annotated[
        list[str],
        typer.Option(
            metavar="TEXT",
            help="Break down by grain, zone-axis, thickness, phase, score or reliability; may be "
            "given several times.",
            show_default=False,
        ),
    ] = (),
    largest_risk: Annotated[
        float | None,
        typer.Option(help="Choose a threshold that leaves at most this share of wrong points."),
    ] = None,
    frame: Annotated[
        str, typer.Option(help="Take the map's orientations to another sample frame, e.g. x180.")
    ] = IDENTITY,
    grid: Annotated[
        str, typer.Option(help="Turn or flip the map's grid of points in the same way.")
    ] = IDENTITY,
    scan: Annotated[Path | None, typer.Option(help="Show its patterns beside simulations.")] = None,
    out: Annotated[Path | None, typer.Option(help="Report to write, .html.")] = None,
    json: Annotated[Path | None, typer.Option(help="Figures to write, .json.")] = None,
    inv_angstrom_per_pixel: PixelSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    mask: Mask = None,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.7,
) -> None:
    """Compare a map with a reference: table, JSON and a report to look at."""
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.comparison import compare as compare_maps
    from zoneaxis.evaluation.frames import in_frame
    from zoneaxis.evaluation.report.page import write_report

    require_outputs({out: ".html", json: ".json"})
    first, second = (load_map(path, crystal) for path in (map_path, reference_path))
    names = map_path.name, reference_path.name
    first = in_frame(first, frame, grid)
    if frame == grid == IDENTITY:
        _suggest_frame(first, second)
    comparison = compare_maps(first, second)
    console.print(comparison.table((escape(names[0]), escape(names[1]))))
    details = _details(comparison, (first, second), by, largest_risk)
    if json:
        write_json(json, {**comparison.to_dict(), "frame": frame, "grid": grid, **details})
    if out:
        opened = open_scan(context.params) if scan else None
        optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
        write_report(out, first, second, comparison, scan=opened, optics=optics, names=names)
        say(f"Report in {out}")


def _suggest_frame(map: "OrientationMap", reference: "OrientationMap") -> None:
    from zoneaxis.evaluation.frames import clearly_better, fit_frames

    fits = fit_frames(map, reference)
    if better := clearly_better(fits):
        here = next((f"{fit.within_5:.1%}" for fit in fits if not fit.options), "nothing")
        say(
            f"The maps would agree in another frame: median {better.median_deg:.2f}°, "
            f"{better.within_5:.1%} within 5°, instead of {here}. To apply it: {better.options}"
        )


def _details(
    comparison: "Comparison",
    maps: tuple["OrientationMap", "OrientationMap"],
    by: list[str],
    largest_risk: float | None,
) -> dict[str, Any]:
    """Print what was asked for beyond the table, and return it for the JSON."""
    from zoneaxis.evaluation.breakdown import break_down
    from zoneaxis.evaluation.grain_matching import match_grains
    from zoneaxis.evaluation.grains import find_grains

    details: dict[str, Any] = {}
    for name in by:
        rows = break_down(name, comparison, *maps)
        console.print(rows.table())
        details.setdefault("breakdowns", []).append(rows.to_dict())
    if "grain" in by:
        match = match_grains(*(find_grains(map) for map in maps))
        console.print(match.table())
        details["grains"] = match.to_dict()
    if largest_risk is not None:
        details["thresholds"] = _thresholds(comparison, largest_risk)
    return details


def _thresholds(comparison: "Comparison", largest_risk: float) -> list[dict[str, Any]]:
    """Print a threshold of score and one of reliability, or why there is none."""
    from zoneaxis.evaluation.thresholds import choose_threshold

    found, failed = [], []
    for quantity in comparison.confidence:
        try:
            found.append(choose_threshold(comparison, quantity, largest_risk))
        except MapError as error:
            failed.append(error)
    for line in (*(threshold.sentence() for threshold in found), *map(str, failed)):
        say(line)
    return [threshold.to_dict() for threshold in found]
