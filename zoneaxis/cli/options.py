"""Options that several commands share, with the same name, unit and help in each."""

from pathlib import Path
from typing import Annotated

import typer

ScanPath = Annotated[
    Path, typer.Argument(help="4D-STEM scan: .hspy, .blo, .mib, .dm4, .tvips, ...")
]
MODEL = "One that comes with zoneaxis, folder that `zoneaxis train` made, or user/name on the Hub."
CrystalName = Annotated[str, typer.Option(help="Built-in name (LiNiO2) or path of a CIF.")]
MapCrystals = Annotated[
    list[str],
    typer.Option(
        "--crystal",
        metavar="TEXT",
        help="Name or CIF, for each phase once; default: what the maps carry.",
        show_default=False,
    ),
]
MapOut = Annotated[
    Path,
    typer.Option(
        help="Map to write: .ang or .ctf for other programs (score as IQ or BC, reliability as CI "
        "or MAD), .h5 for everything."
    ),
]
PixelSize = Annotated[
    float | None,
    typer.Option(help="Size of a pattern pixel, as recorded, in 1/Å; default: the file's."),
]
StepSize = Annotated[float | None, typer.Option(help="Scan step in nm; default: the file's.")]
VOLTAGE = "Accelerating voltage in kV."
CONVERGENCE = "Semi-angle of convergence in mrad."
PRECESSION = "Precession angle in degrees."
LARGEST_K = "Simulate no wave vector beyond, in 1/Å."
Voltage = Annotated[float, typer.Option(help=VOLTAGE)]
Convergence = Annotated[float, typer.Option(help=CONVERGENCE)]
Precession = Annotated[float, typer.Option(help=PRECESSION)]
LargestK = Annotated[float, typer.Option(help=LARGEST_K)]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same result.")
]
