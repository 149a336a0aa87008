"""`zoneaxis phantom`: a synthetic scan whose truth is known."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.options import Convergence, CrystalName, LargestK, Precession, Seed, Voltage
from zoneaxis.cli.terminal import say


def phantom(
    out: Annotated[Path, typer.Option(help="Scan to write, .hspy; the truth goes beside it.")],
    crystal: CrystalName = "LiNiO2",
    rows: Annotated[int, typer.Option(help="Scan points down.")] = 48,
    columns: Annotated[int, typer.Option(help="Scan points across.")] = 64,
    grains: Annotated[int, typer.Option(help="Number of grains.")] = 30,
    counts: Annotated[float, typer.Option(help="Electrons a pattern.")] = 1e5,
    thickness_nm: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="Thinnest and thickest end of the wedge in nm."),
    ] = (10.0, 80.0),
    shift_px: Annotated[
        float, typer.Option(help="Standard deviation of the beam's place in pixels.")
    ] = 0.5,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.9,
    seed: Seed = 0,
) -> None:
    """Simulate the scan of a polycrystalline specimen whose orientations are known."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.scans.phantom import Phantom, write_phantom

    recipe = Phantom(
        shape=(rows, columns),
        grains=grains,
        counts=counts,
        thickness_nm=thickness_nm,
        shift_px=shift_px,
        seed=seed,
    )
    optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
    scan_path, truth_path = write_phantom(out, load_crystal(crystal), optics, recipe)
    say(f"Scan in {scan_path}, truth in {truth_path}")
