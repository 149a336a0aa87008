"""`zoneaxis index` and `match`: orientation maps of a scan."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoneaxis.cli.map_files import require_map_path
from zoneaxis.cli.neighbors import Average, Neighbors, averaged
from zoneaxis.cli.options import (
    CONVERGENCE,
    LARGEST_K,
    MODEL,
    PRECESSION,
    VOLTAGE,
    Convergence,
    LargestK,
    MapOut,
    PixelSize,
    Precession,
    ScanPath,
    StepSize,
    Voltage,
)
from zoneaxis.cli.scan_options import (
    Bin,
    CalibrationFile,
    Crop,
    CropPatterns,
    Mask,
    ScanShape,
    open_scan,
)
from zoneaxis.cli.terminal import progress_bar, say
from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.models.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.scans.indexing import Indexer
    from zoneaxis.scans.orientation_map import OrientationMap
    from zoneaxis.scans.partial_map import PartialMap
    from zoneaxis.scans.scan import Scan

HOW = {"out", "workers", "scheduler", "min_reliability"}  # what each point gets is the same
OPTICS = ("voltage_kv", "convergence_mrad", "precession_deg", "k_max")
KEPT = "what is done is kept, and the same command goes on"
Workers = Annotated[
    int | None, typer.Option(help="Processes of one thread each; default: one of all threads.")
]
MinReliability = Annotated[
    float, typer.Option(help="Mark points of a lower reliability as not indexed, 0 to 1.")
]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler whose workers do the work.")
]


class Refinement(StrEnum):
    """What template matching may refine."""

    ORIENTATION = "orientation"
    CAMERA_LENGTH = "camera_length"
    CENTER = "center"
    BLOCH_WAVES = "bloch_waves"
    NOTHING = "nothing"


def index(
    context: typer.Context,
    scan: ScanPath,
    out: MapOut,
    model: Annotated[str, typer.Option(help=MODEL)] = DEFAULT_MODEL,
    crystal: Annotated[
        str | None, typer.Option(help="Refuse a model of another crystal: built-in name or CIF.")
    ] = None,
    inv_angstrom_per_pixel: PixelSize = None,
    step_nm: StepSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    mask: Mask = None,
    average: Average = Neighbors.NONE,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Mark points with less as not indexed, 0 to 1; default: the model's."),
    ] = None,
    min_reliability: MinReliability = 0.0,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Compare the best orientations and their false friends with Bloch waves: finer, "
            "slower. Voltage, convergence and k_max are the model's unless given, precession 0.",
        ),
    ] = False,
    voltage_kv: Annotated[float | None, typer.Option(help=VOLTAGE)] = None,
    convergence_mrad: Annotated[float | None, typer.Option(help=CONVERGENCE)] = None,
    precession_deg: Annotated[float | None, typer.Option(help=PRECESSION)] = None,
    k_max: Annotated[float | None, typer.Option(help=LARGEST_K)] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Index a scan with a trained network; a run that was stopped goes on."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.models.card import trained_for
    from zoneaxis.models.indexer import NetworkIndexer
    from zoneaxis.models.pretrained import find_pretrained

    given = [name for name in OPTICS if context.params[name] is not None]
    if given and not refine:
        option = given[0].replace("_", "-")
        raise SettingsError(f"--{option} has no effect without --refine: leave it out.")

    def load() -> tuple["Indexer", list[Path]]:
        wanted = None if crystal is None else load_crystal(crystal)
        folder = find_pretrained(model)
        indexer = NetworkIndexer.from_pretrained(folder, crystal=wanted)
        say(f"{model} for {indexer.crystal.name}: trained for {trained_for(indexer.recipe)}")
        indexer = indexer.with_min_confidence(min_confidence)
        if not refine:
            return indexer, [folder]
        own = indexer.recipe
        optics = _optics(
            context.params,
            (own.voltage_kv, own.mean_convergence_mrad, 0.0, own.k_max_inv_angstrom),
        )
        say(
            f"Refined with {optics.voltage_kv:g} kV, {optics.convergence_mrad:.3g} mrad, "
            f"precession {optics.precession_deg:g} degrees, k_max {optics.k_max_inv_angstrom:.3g}"
        )
        if optics.voltage_kv != own.voltage_kv:
            say(
                f"Warning: the model was trained for {own.voltage_kv:g} kV, and what it "
                f"proposes is refined for {optics.voltage_kv:g}: give the microscope's to both."
            )
        return _refined(indexer, optics), [folder]

    _index(load, context.params)


def match(
    context: typer.Context,
    scan: ScanPath,
    out: MapOut,
    crystal: Annotated[
        list[str],
        typer.Option(help="Built-in name (LiNiO2) or path of a CIF; several times for phases."),
    ] = ("LiNiO2",),
    inv_angstrom_per_pixel: PixelSize = None,
    step_nm: StepSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    mask: Mask = None,
    average: Average = Neighbors.NONE,
    step_deg: Annotated[float, typer.Option(help="Spacing of the templates.")] = 2.0,
    n_best: Annotated[int, typer.Option(help="Distinct solutions kept for each point.")] = 3,
    min_q: Annotated[
        float, typer.Option(help="Points with a lower correlation index are not indexed.")
    ] = 0.12,
    min_agreement: Annotated[
        float,
        typer.Option(
            help="Points where two halves of the pattern correlate less are noise, not indexed."
        ),
    ] = 0.15,
    min_reliability: MinReliability = 0.0,
    refine: Annotated[
        list[Refinement],
        typer.Option(
            help="What is refined beyond the templates' spacing; several times for more. "
            "bloch_waves compares the best solutions and their false friends with dynamical ones."
        ),
    ] = (Refinement.ORIENTATION,),
    dynamical_nm: Annotated[
        list[float] | None,
        typer.Option(
            help="Templates from Bloch waves at this thickness, several times to average over "
            "more; default: kinematic."
        ),
    ] = None,
    camera_length_error: Annotated[
        float, typer.Option(help="Try camera lengths off by up to this share, e.g. 0.1.")
    ] = 0.0,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.8,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Index a scan by ASTAR-style template matching; a run that was stopped goes on.

    With several crystals each point gets the phase whose best template matches best.
    """
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.evaluation.template_matching import TemplateIndexer, camera_scales
    from zoneaxis.scans.phase_indexer import PhaseIndexer

    if len(crystal) > 1 and Refinement.BLOCH_WAVES in refine:
        raise SettingsError(
            "--refine bloch_waves compares orientations of one phase and cannot choose among "
            "several: give one --crystal, or another --refine."
        )
    own = [r.value for r in refine if r not in (Refinement.BLOCH_WAVES, Refinement.NOTHING)]

    def of_phase(name: str) -> "Indexer":
        indexer = TemplateIndexer(
            load_crystal(name),
            _optics(context.params),
            step_deg=step_deg,
            n_best=n_best,
            min_q=min_q,
            min_agreement=min_agreement,
            camera_scales=camera_scales(camera_length_error),
            thicknesses_nm=dynamical_nm or (),
            refine=own,
        )
        if Refinement.BLOCH_WAVES in refine:
            return _refined(indexer, _optics(context.params))
        return indexer

    def load() -> tuple["Indexer", list[Path]]:
        indexers = [of_phase(name) for name in crystal]
        return indexers[0] if len(indexers) == 1 else PhaseIndexer(indexers), []

    _index(load, context.params)


def _optics(given: Mapping[str, Any], own: Sequence[float | None] = (None,) * 4) -> "Optics":
    """Return the optics that are given, each of `own` where it is not."""
    from zoneaxis.diffraction.optics import Optics

    options = (given[name] for name in OPTICS)
    return Optics(*(o if v is None else v for v, o in zip(options, own, strict=True)))


def _refined(proposer: "Indexer", optics: "Optics") -> "Indexer":
    """Return an indexer of one crystal whose answers Bloch waves decide."""
    from zoneaxis.evaluation.refined_indexer import RefinedIndexer

    (crystal,) = proposer.crystals
    return RefinedIndexer(proposer, crystal, optics)


def _index(load: Callable[[], tuple["Indexer", list[Path]]], given: Mapping[str, Any]) -> None:
    """Index a scan and write its map.

    Args:
        load: returns the indexer, and files beyond those in `given` that it was made from; called
            once all else is known to be right.
        given: the command's options, by which a stopped run is known, too.
    """
    from zoneaxis.scans.partial_map import PartialMap, as_text

    out = require_map_path(given["out"])
    if not 0 <= given["min_reliability"] <= 1:
        raise SettingsError(f"--min-reliability {given['min_reliability']:g}: expected 0 to 1.")
    scan = averaged(open_scan(given), given)
    indexer, files = load()
    settings = as_text({name: v for name, v in given.items() if name not in HOW}, files)
    with PartialMap.beside(out, settings) as partial:
        with _address(given["workers"], given["scheduler"]) as scheduler:
            found, rate = _indexed(indexer, scan, partial, scheduler)
        found = found.confident(reliability=given["min_reliability"])
        found.save(out)
    rows, columns = scan.shape
    share = f"{found.indexed.mean():.1%} indexed{_phases(found)}"
    say(f"{rows} x {columns} points, {share}, {rate:,.0f} patterns/s, in {out}")


@contextmanager
def _address(workers: int | None, scheduler: str | None) -> Iterator[str | None]:
    """Yield the address of a scheduler, of a cluster of our own if so many workers are wanted."""
    from zoneaxis.cluster import local_cluster

    if workers is not None and scheduler is not None:
        raise SettingsError("--workers and --scheduler exclude each other: give one.")
    if workers is None or workers == 1:
        yield scheduler
    else:
        with local_cluster(workers) as address:
            yield address


def _indexed(
    indexer: "Indexer", scan: "Scan", partial: "PartialMap", scheduler: str | None
) -> tuple["OrientationMap", float]:
    """Return the map, and the patterns a second of this run."""
    from zoneaxis.scans.indexing import index_scan

    total, times = scan.shape[0] * scan.shape[1], []
    with progress_bar("indexing", "patterns", kept=KEPT) as advance:

        def progress(done: int) -> None:
            advance(done, total)
            times.append((done, time.perf_counter()))

        try:
            found = index_scan(
                indexer, scan, progress=progress, partial=partial, scheduler=scheduler
            )
        except ScanError as error:
            if not partial.columns:
                raise
            done = total - partial.waiting.sum()
            raise ScanError(
                f"{error} {done} of {total} points are done: {KEPT} once the file can be read. "
                "For a map of what is readable, --crop the rest and take another --out."
            ) from error
    (before, start), (_, end) = times[0], times[-1]
    return found, (total - before) / max(end - start, 1e-9)


def _phases(found: "OrientationMap") -> str:
    """Return the share of each phase, if there are several."""
    if len(found.crystals) == 1:
        return ""
    shares = ((found.phase == i).mean() for i in range(len(found.crystals)))
    named = zip(found.crystals, shares, strict=True)
    return f" ({', '.join(f'{crystal.name} {share:.1%}' for crystal, share in named)})"
