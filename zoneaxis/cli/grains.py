"""`zoneaxis grains`: the grains of a map and their boundaries."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from zoneaxis.cli.figures import require_figure_path
from zoneaxis.cli.map_files import load_map, require_outputs, write_json
from zoneaxis.cli.options import MapCrystals
from zoneaxis.cli.terminal import console, say


def grains(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Orientation map.")],
    crystal: MapCrystals = (),
    tolerance_deg: Annotated[
        float, typer.Option(help="Neighbors that differ by less are of one grain.")
    ] = 5.0,
    smallest_grain: Annotated[
        int, typer.Option(help="Smaller regions, in points, are specks and of no grain.")
    ] = 5,
    largest_hole: Annotated[
        int, typer.Option(help="Larger holes, in points, are not given to the grains around.")
    ] = 10,
    twin: Annotated[
        list[str],
        typer.Option(
            metavar="TEXT",
            help='Name boundaries of a twin: angle and direction, "60 1 1 1"; may be given several '
            "times.",
            show_default=False,
        ),
    ] = (),
    out: Annotated[Path | None, typer.Option(help="Numbers to write, .json.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Segment a map into grains: sizes, mean orientations, boundaries, suspicious neighbors."""
    from zoneaxis.evaluation.boundaries import Twin, find_boundaries
    from zoneaxis.evaluation.figures.grain_figures import write_grains_figure
    from zoneaxis.evaluation.grains import find_grains

    require_outputs({out: ".json"})
    if figure:
        require_figure_path(figure)
    twins = [Twin.parse(text) for text in twin]
    found = find_grains(load_map(map_path, crystal), tolerance_deg, smallest_grain, largest_hole)
    boundaries = find_boundaries(found, twins)
    console.print(found.table(escape(map_path.name)))
    console.print(boundaries.table())
    if out:
        write_json(out, {**found.to_dict(), "boundaries": boundaries.to_dict()})
    if figure:
        write_grains_figure(figure, found, boundaries)
        say(f"Picture in {figure}")
