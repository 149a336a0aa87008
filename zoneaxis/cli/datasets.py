"""`zoneaxis build` and `zoneaxis verify`: data sets of simulated or measured patterns."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zoneaxis.cli.options import CrystalName, Seed, Voltage
from zoneaxis.cli.terminal import progress_bar, say
from zoneaxis.errors import SettingsError

Range = tuple[float, float] | None
SCAN_SETTINGS = {
    "voltage_kv",
    "convergence_mrad",
    "precession_deg",
    "validation_share",
    "seed",
    "min_q",
    "min_r",
}


def build(
    out: Annotated[Path, typer.Option(help="Folder of the data set; a stopped build goes on.")],
    crystal: CrystalName = "LiNiO2",
    preset: Annotated[
        str,
        typer.Option(
            help="test, demo, default, or the paper's random, stepped, equispaced: every option "
            "not given."
        ),
    ] = "default",
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe.json: build that, no other option of content.")
    ] = None,
    directions: Annotated[
        int | None, typer.Option(help="So many quasi-random beam directions.")
    ] = None,
    step_deg: Annotated[
        float | None, typer.Option(help="Equispaced (or stepped) beam directions, in degrees.")
    ] = None,
    thicknesses: Annotated[int | None, typer.Option(help="Thicknesses of each direction.")] = None,
    thickness_nm: Annotated[
        Range, typer.Option(metavar="LOW HIGH", help="Range of the thicknesses in nm.")
    ] = None,
    convergence_mrad: Annotated[
        Range,
        typer.Option(metavar="LOW HIGH", help="Range of the semi-angle of convergence in mrad."),
    ] = None,
    precession_deg: Annotated[
        Range, typer.Option(metavar="LOW HIGH", help="Range of the precession angle in degrees.")
    ] = None,
    precessed_share: Annotated[
        float | None,
        typer.Option(help="Share of the batches that are precessed, 0 to 1; 1 with an angle."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels along an edge.")] = None,
    inv_angstrom_per_pixel: Annotated[
        float | None, typer.Option(help="Size of a pixel to simulate in 1/Å.")
    ] = None,
    k_max: Annotated[
        float | None,
        typer.Option(help="Simulate no wave vector beyond, in 1/Å; at least the pattern's edge."),
    ] = None,
    absorption: Annotated[
        str | None, typer.Option(help="WK, WK-P, WK-CP, Lobato, ...: structure factors.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="What validation holds out: directions or rows.")
    ] = None,
    validation_share: Annotated[
        float | None, typer.Option(help="Share of the rows held out, 0 to 1.")
    ] = None,
    voltage_kv: Voltage = 300.0,
    seed: Seed = 0,
    scan: Annotated[
        Path | None, typer.Option(help="Take the patterns of this scan instead, with --labels.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Reference map of the scan: .ang or .h5.")
    ] = None,
    min_q: Annotated[
        float | None, typer.Option(help="Of the scan, points of at least this correlation index.")
    ] = None,
    min_r: Annotated[
        float | None, typer.Option(help="Of the scan, points of at least this reliability.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler whose workers do the work.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where one is.")] = "auto",
) -> None:
    """Make a labeled data set, Parquet that `datasets.load_dataset` opens.

    It is simulated; with --scan and --labels it is made of measured patterns and a map of them.
    """
    from zoneaxis.dataset_builder.build import build as build_dataset
    from zoneaxis.dataset_builder.plan import plan_of
    from zoneaxis.dataset_builder.recipe import preset as preset_of
    from zoneaxis.dataset_builder.recipe import read_recipe
    from zoneaxis.diffraction.crystal import load_crystal

    if precession_deg is not None and precessed_share is None:
        precessed_share = 1.0
    changes = {
        **_sampling(preset, directions, step_deg),
        "thicknesses": thicknesses,
        "thickness_nm": thickness_nm,
        "convergence_mrad": convergence_mrad,
        "precession_deg": precession_deg,
        "precessed_share": precessed_share,
        "size": size,
        "inv_angstrom_per_pixel": inv_angstrom_per_pixel,
        "k_max_inv_angstrom": k_max,
        "absorption": absorption,
        "split": split,
        "validation_share": validation_share,
        "voltage_kv": voltage_kv,
        "seed": seed,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if scan is not None or labels is not None:
        return _of_scan(scan, labels, out, crystal, {**given, "min_q": min_q, "min_r": min_r})
    if recipe is not None:
        chosen = read_recipe(recipe)
    else:
        chosen = preset_of(preset, load_crystal(crystal), **given)
    plan = plan_of(chosen.to_json())
    numbers, phi1 = plan.class_grid(chosen)
    angle = chosen.optics(chosen.mean_convergence_mrad, 0.0).largest_angle_mrad
    say(
        f"k_max {chosen.k_max_inv_angstrom:g} 1/Å = {angle:.0f} mrad at {chosen.voltage_kv:g} kV; "
        f"{len(numbers):,} directions, {plan.rows().total():,} patterns, "
        f"{len(numbers) * len(phi1):,} classes"
    )
    with progress_bar("simulating", "patterns") as advance:
        build_dataset(
            chosen, out, workers=workers, scheduler=scheduler, device=device, progress=advance
        )
    say(f"Data set {chosen.id} in {out}: datasets.load_dataset({str(out)!r})")


def _of_scan(
    scan: Path | None, labels: Path | None, out: Path, crystal: str, settings: dict[str, Any]
) -> None:
    """Make a data set of a scan and its map; options of a simulation are refused."""
    from zoneaxis.dataset_builder.recipe import read_recipe
    from zoneaxis.dataset_builder.scan_dataset import build_scan_dataset
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.scans.scan import Scan

    if scan is None or labels is None:
        raise SettingsError("--scan and --labels belong together: give both.")
    pixel = settings.pop("inv_angstrom_per_pixel", None)
    settings.pop("precessed_share", None)
    for name in ("convergence_mrad", "precession_deg"):
        low, high = settings.get(name, (0.0, 0.0))
        if low != high:
            raise SettingsError(f"A scan has one {name}: give the same value twice.")
        if name in settings:
            settings[name] = low
    if strange := settings.keys() - SCAN_SETTINGS:
        option = min(strange).replace("_", "-")
        raise SettingsError(f"--{option} is of simulations: leave it out with --scan.")
    with progress_bar("reading", "patterns") as advance:
        build_scan_dataset(
            Scan.open(scan, inv_angstrom_per_pixel=pixel),
            labels,
            out,
            load_crystal(crystal),
            progress=advance,
            **settings,
        )
    say(f"Data set {read_recipe(out).id} in {out}: datasets.load_dataset({str(out)!r})")


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Report bad files, build none again.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core.")] = None,
) -> None:
    """Check the files of a data set, and build again those that are missing or damaged."""
    from zoneaxis.dataset_builder.verify import verify as verify_dataset

    found = verify_dataset(folder, rebuild=not check_only, workers=workers)
    for name, reason in found.bad.items():
        say(f"{name}: {reason}{': built again' if found.rebuilt else ''}")
    for name in found.changed:
        say(f"{name}: other bytes than before, from another kind of machine or library")
    say(
        f"{found.files - len(found.bad)} of {found.files} files were whole; {found.rows:,} "
        f"patterns of {found.directions:,} directions; no direction of the crystal is farther "
        f"than {found.largest_gap_deg:.1f} degrees from one of them"
    )
    if found.bad and check_only:
        raise typer.Exit(1)


def _sampling(preset: str, directions: int | None, step_deg: float | None) -> dict[str, object]:
    """Return the settings of scheme and resolution that the options ask for, if they do."""
    if directions is not None and step_deg is not None:
        raise SettingsError("--directions and --step-deg exclude each other: give one.")
    if directions is not None:
        return {"scheme": "random", "resolution": directions}
    if step_deg is not None:
        scheme = "stepped" if preset == "stepped" else "equispaced"
        return {"scheme": scheme, "resolution": step_deg}
    return {}
