"""`zoneaxis report`: a page to look through a map, point by point."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.map_files import load_map, require_outputs
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
from zoneaxis.cli.terminal import say


def report(
    context: typer.Context,
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Orientation map.")],
    out: Annotated[Path, typer.Option(help="Report to write, .html.")],
    crystal: MapCrystals = (),
    scan: Annotated[Path | None, typer.Option(help="Show its patterns beside simulations.")] = None,
    points: Annotated[int, typer.Option(min=0, help="Patterns beside dynamical ones.")] = 6,
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
    """Write a page with linked maps, patterns and figures of a map; `compare` adds a reference."""
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.report.page import write_report

    require_outputs({out: ".html"})
    optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
    found = load_map(map_path, crystal)
    opened = open_scan(context.params) if scan else None
    write_report(out, found, scan=opened, optics=optics, points=points, names=(map_path.name,))
    say(f"Report in {out}")
