"""The commands; wiring only, a file for each noun. Every one has --help with an example."""

import sys
import warnings
from typing import Annotated

import typer

from zoneaxis import __version__
from zoneaxis.cli import (
    ambiguities,
    comparisons,
    datasets,
    grains,
    maps,
    models,
    neighbors,
    phantoms,
    publishing,
    reports,
    scans,
)
from zoneaxis.cli.terminal import complain, say, show_warning
from zoneaxis.errors import ZoneAxisError

COMMANDS = {
    datasets.build: "zoneaxis build --crystal LiNiO2 --preset demo --out dataset",
    datasets.verify: "zoneaxis verify dataset",
    publishing.publish: "zoneaxis publish dataset user/name",
    publishing.export: "zoneaxis export model --out model.onnx",
    models.train: "zoneaxis train --data dataset --out model",
    scans.calibrate: "zoneaxis calibrate scan.blo --crystal LiNiO2 --json cal.json --figure c.png",
    scans.virtual: "zoneaxis virtual scan.blo --detector dark-field --out df.png --figure df.pdf",
    maps.index: "zoneaxis index scan.blo --out map.ang",
    maps.match: "zoneaxis match scan.blo --crystal LiNiO2 --out map.ang",
    phantoms.phantom: "zoneaxis phantom --out phantom.hspy",
    comparisons.compare: "zoneaxis compare a.ang b.ang --crystal LiNiO2 --scan a.blo --out a.html",
    grains.grains: "zoneaxis grains map.ang --crystal LiNiO2 --out grains.json --figure grains.png",
    ambiguities.overlay: "zoneaxis overlay scan.blo map.ang --point 12,30 --out overlay.png",
    ambiguities.ambiguity: "zoneaxis ambiguity scan.blo --point 12,30 --out ambiguity.png",
    ambiguities.zone_axes: "zoneaxis zone-axes '[10-10]' '[1-100]' --model model --out axes.png",
    neighbors.correlate: "zoneaxis correlate scan.blo --out boundaries.png",
    neighbors.smooth: "zoneaxis smooth map.h5 --scan scan.blo --power 8 --out smooth.h5",
    reports.report: "zoneaxis report map.ang --crystal LiNiO2 --scan scan.blo --out map.html",
}

app = typer.Typer(
    help="Crystal orientation maps from 4D-STEM, by networks trained on dynamical simulations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for _command, _example in COMMANDS.items():
    app.command(epilog=_example)(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with 2 and one message when the user can mend it."""
    with warnings.catch_warnings():  # puts showwarning back in the end
        warnings.showwarning = show_warning
        try:
            app(args=arguments, prog_name="zoneaxis")
        except ZoneAxisError as error:
            complain("Error", "bold red", error)
            sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        say(f"zoneaxis {__version__}")
        raise typer.Exit
