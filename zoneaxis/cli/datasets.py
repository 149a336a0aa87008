"""`zoneaxis build`: a data set of simulated patterns."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.options import CrystalName, Seed, Voltage
from zoneaxis.cli.terminal import progress_bar, say

Range = tuple[float, float] | None


def build(
    out: Annotated[Path, typer.Option(help="Folder of the data set; a stopped build goes on.")],
    crystal: CrystalName = "LiNiO2",
    preset: Annotated[
        str, typer.Option(help="test, demo or default: every option not given.")
    ] = "default",
    directions: Annotated[int | None, typer.Option(help="Beam directions to simulate.")] = None,
    thicknesses: Annotated[int | None, typer.Option(help="Thicknesses of each direction.")] = None,
    thickness_nm: Annotated[
        Range, typer.Option(metavar="LOW HIGH", help="Range of the thicknesses in nm.")
    ] = None,
    convergence_mrad: Annotated[
        Range,
        typer.Option(metavar="LOW HIGH", help="Range of the semi-angle of convergence in mrad."),
    ] = None,
    precession_deg: Annotated[
        list[float] | None, typer.Option(help="Precession angle in degrees; repeat it for more.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels along an edge.")] = None,
    inv_angstrom_per_pixel: Annotated[
        float | None, typer.Option(help="Size of a pixel to simulate in 1/Å.")
    ] = None,
    k_max: Annotated[
        float | None,
        typer.Option(help="Simulate no wave vector beyond, in 1/Å; at least the pattern's edge."),
    ] = None,
    validation_share: Annotated[
        float | None, typer.Option(help="Share of the directions held out, 0 to 1.")
    ] = None,
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
        "scheme": None if directions is None else "random",
        "thicknesses": thicknesses,
        "thickness_nm": thickness_nm,
        "convergence_mrad": convergence_mrad,
        "precession_deg": precession_deg or None,  # typer gives [] for none
        "size": size,
        "inv_angstrom_per_pixel": inv_angstrom_per_pixel,
        "k_max_inv_angstrom": k_max,
        "validation_share": validation_share,
    }
    recipe = recipe_of(
        preset,
        load_crystal(crystal),
        voltage_kv=voltage_kv,
        seed=seed,
        **{name: value for name, value in changes.items() if value is not None},
    )
    angle = recipe.optics(recipe.mean_convergence_mrad, 0.0).largest_angle_mrad
    say(f"k_max {recipe.k_max_inv_angstrom:g} 1/Å = {angle:.0f} mrad at {voltage_kv:g} kV")
    with progress_bar("simulating", "patterns") as advance:
        build_dataset(recipe, out, workers=workers, progress=advance)
    say(f"Data set {recipe.id} in {out}: datasets.load_dataset({str(out)!r})")
