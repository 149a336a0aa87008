"""`zoneaxis build` and `zoneaxis verify`: data sets of simulated or measured patterns."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from zoneaxis.cli.options import CrystalName, Seed, Voltage
from zoneaxis.cli.terminal import progress_bar, say
from zoneaxis.errors import SettingsError

Range = tuple[float, float] | None
ONLY_OF_SCANS = {
    "scan",
    "labels",
    "min_q",
    "min_r",
    "grain_tolerance_deg",
    "smallest_grain",
    "direct_beam_px",
}
OF_SCANS = ONLY_OF_SCANS | {
    "out",
    "crystal",
    "voltage_kv",
    "convergence_mrad",
    "precession_deg",
    "inv_angstrom_per_pixel",
    "validation_share",
    "seed",
}
OF_RECIPES = {"out", "recipe", "workers", "scheduler", "device"}
NO_SETTINGS = OF_RECIPES | {"crystal", "preset", "directions", "step_deg", "scan", "labels"}
RECIPE_NAMES = {"k_max": "k_max_inv_angstrom"}


def build(
    context: typer.Context,
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
        Path | None, typer.Option(help="A recipe.json, or its folder: build exactly that.")
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
        Path | None, typer.Option(help="Reference map of the scan: .ang, .ctf or .h5.")
    ] = None,
    min_q: Annotated[
        float | None, typer.Option(help="Of the scan, points of at least this correlation index.")
    ] = None,
    min_r: Annotated[
        float | None, typer.Option(help="Of the scan, points of at least this reliability.")
    ] = None,
    grain_tolerance_deg: Annotated[
        float, typer.Option(help="Neighbors in a map that differ by less are of one grain.")
    ] = 5.0,
    smallest_grain: Annotated[
        int, typer.Option(help="Leave out grains of a map with fewer points.")
    ] = 1,
    direct_beam_px: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="ROW COLUMN", help="Direct beam in a scan's patterns; else found."),
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
    from zoneaxis.dataset_builder.recipe import Recipe, read_recipe
    from zoneaxis.dataset_builder.recipe import preset as preset_of
    from zoneaxis.diffraction.crystal import load_crystal

    given = _given(context)
    if scan is not None or labels is not None:
        _refuse(given, OF_SCANS, "--scan")
        return _of_scan(given)
    _refuse(given, OF_RECIPES if recipe is not None else given.keys() - ONLY_OF_SCANS, "--recipe")
    if recipe is not None:
        chosen = read_recipe(recipe)
        if not isinstance(chosen, Recipe):
            raise SettingsError(f"{recipe} is of a scan: build it with --scan and --labels.")
    else:
        chosen = preset_of(preset, load_crystal(crystal), **_changes(preset, given))
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


def _given(context: typer.Context) -> dict[str, Any]:
    """Return the options that the user gave, without those that were left at their default."""
    source = context.get_parameter_source
    return {n: v for n, v in context.params.items() if source(n).name != "DEFAULT"}


def _refuse(given: dict[str, Any], known: Collection[str], why: str) -> None:
    """Refuse options that would have no effect.

    Raises:
        SettingsError: there is one.
    """
    if strange := given.keys() - known:
        option = min(strange).replace("_", "-")
        where = "without --scan" if min(strange) in ONLY_OF_SCANS else f"with {why}"
        raise SettingsError(f"--{option} has no meaning {where}: leave it out.")


def _changes(preset: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe that differ from the preset's."""
    changes = {RECIPE_NAMES.get(n, n): v for n, v in given.items() if n not in NO_SETTINGS}
    if "precession_deg" in changes:
        changes = {"precessed_share": 1.0, **changes}
    directions, step_deg = given.get("directions"), given.get("step_deg")
    if directions is not None and step_deg is not None:
        raise SettingsError("--directions and --step-deg exclude each other: give one.")
    if directions is not None:
        changes |= {"scheme": "random", "resolution": directions}
    elif step_deg is not None:
        scheme = "stepped" if preset == "stepped" else "equispaced"
        changes |= {"scheme": scheme, "resolution": step_deg}
    return changes


def _of_scan(given: dict[str, Any]) -> None:
    """Make a data set of a scan and its map."""
    from zoneaxis.dataset_builder.recipe import read_recipe
    from zoneaxis.dataset_builder.scan_dataset import build_scan_dataset
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.scans.scan import Scan

    for name in ("scan", "labels", "crystal"):
        if name not in given:
            raise SettingsError(f"--{name} is missing: --scan, --labels and --crystal go together.")
    settings = {n: v for n, v in given.items() if n not in NO_SETTINGS}
    pixel = settings.pop("inv_angstrom_per_pixel", None)
    for name in settings.keys() & {"convergence_mrad", "precession_deg"}:
        low, high = settings[name]
        if low != high:
            raise SettingsError(f"A scan has one {name}: give the same value twice.")
        settings[name] = low
    out = given["out"]
    with progress_bar("reading", "patterns") as advance:
        build_scan_dataset(
            Scan.open(given["scan"], inv_angstrom_per_pixel=pixel),
            given["labels"],
            out,
            load_crystal(given["crystal"]),
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
        say(f"{name}: {reason}{': built again' if name in found.rebuilt else ''}")
    for name in found.changed:
        say(f"{name}: other bytes than before, from another kind of machine or library")
    say(
        f"{found.whole} of {found.files} files were whole; {found.rows:,} "
        f"patterns of {found.directions:,} directions; no direction of the crystal is farther "
        f"than {found.largest_gap_deg:.1f} degrees from one of them"
    )
    if len(found.bad) > len(found.rebuilt):
        raise typer.Exit(1)
