"""`zoneaxis compare`: a map against a reference."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from zoneaxis.cli.options import Convergence, LargestK, PixelSize, Precession, Voltage
from zoneaxis.cli.terminal import console, say
from zoneaxis.errors import SettingsError


def compare(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Orientation map.")],
    reference_path: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Map or truth.")],
    crystal: Annotated[
        str | None, typer.Option(help="Name or CIF; default: what the maps carry.")
    ] = None,
    scan: Annotated[Path | None, typer.Option(help="Show its patterns beside simulations.")] = None,
    out: Annotated[Path | None, typer.Option(help="Report to write, .html.")] = None,
    json: Annotated[Path | None, typer.Option(help="Figures to write, .json.")] = None,
    inv_angstrom_per_pixel: PixelSize = None,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.7,
) -> None:
    """Compare a map with a reference: table, JSON and a report to look at."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.comparison import compare as compare_maps
    from zoneaxis.evaluation.report import write_report
    from zoneaxis.files import atomic_path, require_writable
    from zoneaxis.scans.orientation_map import OrientationMap
    from zoneaxis.scans.scan import Scan

    for path, suffix in ((out, ".html"), (json, ".json")):
        if path and path.suffix != suffix:
            raise SettingsError(f"{path}: expected a name that ends in {suffix}.")
        if path:
            require_writable(path)
    structure = load_crystal(crystal) if crystal else None
    first, second = (OrientationMap.load(p, structure) for p in (map_path, reference_path))
    names = map_path.name, reference_path.name
    comparison = compare_maps(first, second)
    console.print(comparison.table((escape(names[0]), escape(names[1]))))
    if json:
        with atomic_path(json) as path:
            path.write_text(comparison.to_json(), encoding="utf-8")
    if out:
        opened = Scan.open(scan, inv_angstrom_per_pixel=inv_angstrom_per_pixel) if scan else None
        optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
        write_report(out, first, second, comparison, scan=opened, optics=optics, names=names)
        say(f"Report in {out}")
