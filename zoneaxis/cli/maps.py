"""`zoneaxis index` and `match`: orientation maps of a scan."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoneaxis.cli.options import (
    MODEL,
    Convergence,
    CrystalName,
    LargestK,
    MapOut,
    PixelSize,
    Precession,
    ScanPath,
    StepSize,
    Voltage,
)
from zoneaxis.cli.terminal import progress_bar, say
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    from zoneaxis.scans.indexing import Indexer


def index(
    scan: ScanPath,
    model: Annotated[str, typer.Option(help=MODEL)],
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
    ] = 0.12,
    min_agreement: Annotated[
        float,
        typer.Option(
            help="Points where two halves of the pattern correlate less are noise, not indexed."
        ),
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
            min_agreement=min_agreement,
            camera_scales=camera_scales(camera_length_error),
        )

    _index(load, scan, out, inv_angstrom_per_pixel, step_nm)


def _index(
    load: Callable[[], "Indexer"],
    scan: Path,
    out: Path,
    inv_angstrom_per_pixel: float | None,
    step_nm: float | None,
) -> None:
    from zoneaxis.files import require_writable
    from zoneaxis.scans.indexing import index_scan
    from zoneaxis.scans.orientation_map import SUFFIXES
    from zoneaxis.scans.scan import Scan

    if out.suffix not in SUFFIXES:
        raise SettingsError(f"--out {out}: the name of a map ends in {' or '.join(SUFFIXES)}.")
    require_writable(out)
    opened = Scan.open(scan, inv_angstrom_per_pixel=inv_angstrom_per_pixel, step_nm=step_nm)
    rows, columns = opened.shape
    indexer = load()
    with progress_bar("indexing", "patterns") as advance:
        advance(0, rows * columns)
        found = index_scan(indexer, opened, progress=lambda done: advance(done, rows * columns))
    found.save(out)
    share = found.indexed.mean()
    say(f"{rows} x {columns} points, {share:.1%} indexed, in {out}")
