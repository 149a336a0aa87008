"""The commands; wiring only. Every one has --help with examples."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from zoneaxis import __version__
from zoneaxis.errors import SettingsError, ZoneAxisError

app = typer.Typer(
    help="Crystal orientation maps from 4D-STEM, by networks trained on dynamical simulations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()

ScanPath = Annotated[
    Path, typer.Argument(help="4D-STEM scan: .hspy, .blo, .mib, .dm4, .tvips, ...")
]
CrystalName = Annotated[str, typer.Option(help="Built-in name (LiNiO2) or path of a CIF.")]
MapOut = Annotated[Path, typer.Option(help="Map to write: .ang for other programs, .h5 for all.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Size of a pattern pixel in 1/Å, where the file does not say.")
]
StepSize = Annotated[
    float | None, typer.Option(help="Scan step in nm, where the file does not say.")
]
Voltage = Annotated[float, typer.Option(help="Accelerating voltage in kV.")]
Convergence = Annotated[float, typer.Option(help="Semi-angle of convergence in mrad.")]
Precession = Annotated[float, typer.Option(help="Precession angle in degrees.")]
LargestK = Annotated[float, typer.Option(help="Largest wave vector in 1/Å.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with 2 and one message when the user can mend it."""
    warnings.showwarning = _show_warning
    try:
        app(args=arguments, prog_name="zoneaxis")
    except ZoneAxisError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command(epilog="zoneaxis build --crystal LiNiO2 --preset demo --out dataset")
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
    with _progress("simulating", "patterns") as advance:
        build_dataset(recipe, out, workers=workers, progress=advance)
    console.print(f"Data set {recipe.id} in [bold]{out}[/]: datasets.load_dataset({str(out)!r})")


@app.command(epilog="zoneaxis train --data dataset --out model")
def train(
    data: Annotated[Path, typer.Option(help="Folder that `zoneaxis build` made.")],
    out: Annotated[Path, typer.Option(help="Folder of the trained model.")],
    model: Annotated[
        str, typer.Option(help="Network in timm's registry.")
    ] = "zoneaxis_polar_small",
    images: Annotated[int, typer.Option(help="Augmented patterns to learn from.")] = 40_000,
    batch_size: Annotated[int, typer.Option(help="Patterns a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine.")] = 1e-3,
    label_step_deg: Annotated[float, typer.Option(help="Spacing of direction classes.")] = 3.0,
    seed: Seed = 0,
) -> None:
    """Train a network on a data set, with augmentations drawn while streaming."""
    from zoneaxis.files import require_writable
    from zoneaxis.models.training import TrainingSettings
    from zoneaxis.models.training import train as train_model

    require_writable(out / "config.json")
    settings = TrainingSettings(
        model=model,
        images=images,
        batch_size=batch_size,
        learning_rate=learning_rate,
        label_step_deg=label_step_deg,
        seed=seed,
    )
    with _progress("training", "patterns", "loss") as advance:
        seen = 0

        def report(done: int, loss: float) -> None:
            nonlocal seen
            advance(done - seen, settings.steps * settings.batch_size, f"{loss:.3f}")
            seen = done

        indexer = train_model(data, settings, progress=report)
    indexer.save_pretrained(out)
    for name, value in indexer.training.items():
        if name.startswith("validation"):
            console.print(f"{name.replace('_', ' ')}: {value:.3g}", highlight=False)
    console.print(f"Model in [bold]{out}[/]: zoneaxis index SCAN --model {out} --out map.ang")


@app.command(epilog="zoneaxis index scan.blo --model model --out map.ang")
def index(
    scan: ScanPath,
    model: Annotated[Path, typer.Option(help="Folder that `zoneaxis train` made.")],
    out: MapOut,
    inv_angstrom_per_pixel: PixelSize = None,
    step_nm: StepSize = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Mark points with less as not indexed, 0 to 1.")
    ] = None,
) -> None:
    """Index a scan with a trained network."""
    from zoneaxis.models.indexer import NetworkIndexer

    def load() -> NetworkIndexer:
        return NetworkIndexer.from_pretrained(model).with_min_confidence(min_confidence)

    _index(load, scan, out, inv_angstrom_per_pixel, step_nm)


@app.command(epilog="zoneaxis match scan.blo --crystal LiNiO2 --out map.ang")
def match(
    scan: ScanPath,
    out: MapOut,
    crystal: CrystalName = "LiNiO2",
    inv_angstrom_per_pixel: PixelSize = None,
    step_nm: StepSize = None,
    step_deg: Annotated[float, typer.Option(help="Spacing of the templates.")] = 2.0,
    n_best: Annotated[int, typer.Option(help="Distinct solutions kept for each point.")] = 3,
    min_q: Annotated[
        float, typer.Option(help="Points with a lower correlation index are not indexed.")
    ] = 0.15,
    camera_length_error: Annotated[
        float, typer.Option(help="Try camera lengths off by up to this share, e.g. 0.1.")
    ] = 0.0,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.8,
) -> None:
    """Index a scan by ASTAR-style template matching."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.template_matching import TemplateIndexer, camera_scales

    def load() -> TemplateIndexer:
        return TemplateIndexer(
            load_crystal(crystal),
            Optics(voltage_kv, convergence_mrad, precession_deg, k_max),
            step_deg=step_deg,
            n_best=n_best,
            min_q=min_q,
            camera_scales=camera_scales(camera_length_error),
        )

    _index(load, scan, out, inv_angstrom_per_pixel, step_nm)


@app.command(epilog="zoneaxis phantom --out phantom.hspy")
def phantom(
    out: Annotated[Path, typer.Option(help="Scan to write, .hspy; the truth goes beside it.")],
    crystal: CrystalName = "LiNiO2",
    rows: Annotated[int, typer.Option(help="Scan points down.")] = 48,
    columns: Annotated[int, typer.Option(help="Scan points across.")] = 64,
    grains: Annotated[int, typer.Option(help="Number of grains.")] = 30,
    counts: Annotated[float, typer.Option(help="Electrons a pattern.")] = 1e5,
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

    recipe = Phantom(shape=(rows, columns), grains=grains, counts=counts, seed=seed)
    optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
    scan_path, truth_path = write_phantom(out, load_crystal(crystal), optics, recipe)
    console.print(f"Scan in [bold]{scan_path}[/], truth in [bold]{truth_path}[/]")


@app.command(epilog="zoneaxis compare network.ang astar.ang --scan scan.blo --out report.html")
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

    for path in filter(None, (out, json)):
        require_writable(path)
    structure = load_crystal(crystal) if crystal else None
    first, second = (OrientationMap.load(p, structure) for p in (map_path, reference_path))
    names = map_path.name, reference_path.name
    comparison = compare_maps(first, second)
    console.print(comparison.table(names))
    if json:
        with atomic_path(json) as path:
            path.write_text(comparison.to_json())
    if out:
        opened = Scan.open(scan, inv_angstrom_per_pixel=inv_angstrom_per_pixel) if scan else None
        optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
        write_report(out, first, second, comparison, scan=opened, optics=optics, names=names)
        console.print(f"Report in [bold]{out}[/]")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        console.print(f"zoneaxis {__version__}", highlight=False)
        raise typer.Exit


def _index(
    load: Callable[[], object],
    scan: Path,
    out: Path,
    inv_angstrom_per_pixel: float | None,
    step_nm: float | None,
) -> None:
    from zoneaxis.files import require_writable
    from zoneaxis.scans.indexing import index_scan
    from zoneaxis.scans.scan import Scan

    if out.suffix not in (".ang", ".h5"):
        raise SettingsError(f"--out {out}: the name of a map ends in .ang or .h5.")
    require_writable(out)
    opened = Scan.open(scan, inv_angstrom_per_pixel=inv_angstrom_per_pixel, step_nm=step_nm)
    indexer = load()
    rows, columns = opened.shape
    with _progress("indexing", "patterns") as advance:
        advance(0, rows * columns)
        found = index_scan(indexer, opened, progress=lambda done: advance(done, rows * columns))
    found.save(out)
    share = found.indexed.mean()
    console.print(f"{rows} x {columns} points, {share:.1%} indexed, in [bold]{out}[/]")


class _Rate(ProgressColumn):
    """Things done per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def _progress(doing: str, things: str, shown: str = "") -> Iterator[Callable[..., None]]:
    """Yield advance(done, total, value) that drives a bar with rate and remaining time."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(things),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(doing, total=None, value="")

        def advance(done: int, total: int, value: str = "") -> None:
            bars.update(task, advance=done, total=total, value=f"{shown} {value}".strip())

        yield advance


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    Console(stderr=True).print(f"[yellow]Warning:[/] {message}", highlight=False, soft_wrap=True)
