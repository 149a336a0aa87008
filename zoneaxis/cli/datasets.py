"""`zoneaxis build`: a data set of simulated patterns."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.options import CrystalName, PixelSize, Seed, Voltage
from zoneaxis.cli.terminal import progress_bar, say


def build(
    out: Annotated[Path, typer.Option(help="Folder of the data set; a stopped build goes on.")],
    crystal: CrystalName = "LiNiO2",
    preset: Annotated[str, typer.Option(help="test, demo or default.")] = "default",
    directions: Annotated[int | None, typer.Option(help="Beam directions to simulate.")] = None,
    thicknesses: Annotated[int | None, typer.Option(help="Thicknesses of each direction.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels along an edge.")] = None,
    inv_angstrom_per_pixel: PixelSize = None,
    k_max: Annotated[float | None, typer.Option(help="Largest wave vector in 1/Å.")] = None,
    voltage_kv: Voltage = 300.0,
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core.")] = None,
) -> None:
    """Simulate a labeled data set: Parquet that `datasets.load_dataset` opens."""
    from zoneaxis.dataset_builder.build import build as build_dataset
    from zoneaxis.dataset_builder.recipe import preset as recipe_of
    from zoneaxis.diffraction.crystal import load_crystal

    changes = {
        "resolution": directions,
        "thicknesses": thicknesses,
        "size": size,
        "inv_angstrom_per_pixel": inv_angstrom_per_pixel,
        "k_max_inv_angstrom": k_max,
    }
    if directions is not None:
        changes["scheme"] = "random"
    recipe = recipe_of(
        preset,
        load_crystal(crystal),
        voltage_kv=voltage_kv,
        seed=seed,
        **{name: value for name, value in changes.items() if value is not None},
    )
    with progress_bar("simulating", "patterns") as advance:
        build_dataset(recipe, out, workers=workers, progress=advance)
    say(f"Data set {recipe.id} in {out}: datasets.load_dataset({str(out)!r})")
