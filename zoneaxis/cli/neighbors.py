"""`zoneaxis correlate` and `smooth`: what neighboring points of a scan have in common."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoneaxis.cli.figures import FigureOut, figure_to, require_figure_path
from zoneaxis.cli.map_files import load_map, require_map_path
from zoneaxis.cli.options import (
    Convergence,
    MapCrystals,
    MapOut,
    PixelSize,
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
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    from zoneaxis.evaluation.correlation import NeighborCorrelation
    from zoneaxis.scans.scan import Scan


class Neighbors(StrEnum):
    """Which neighbors each pattern is averaged with before it is indexed."""

    NONE = "none"
    ALL = "all"
    SIMILAR = "similar"


Average = Annotated[
    Neighbors,
    typer.Option(
        help="Average each pattern with its eight neighbors first: all, or as far as they are "
        "similar, which keeps grain boundaries."
    ),
]


def averaged(scan: "Scan", given: Mapping[str, Any]) -> "Scan":
    """Return a scan averaged as the option `average` of a command says, and no other way.

    Raises:
        SettingsError: other processes are asked to do the work, which cannot open such a scan.
    """
    from zoneaxis.evaluation.neighbor_averaging import averaged_scan, similarity_weights

    if given["average"] == Neighbors.NONE:
        return scan
    if given.get("workers") not in (None, 1) or given.get("scheduler"):
        raise SettingsError("--average works in one process: leave --workers and --scheduler out.")
    if given["average"] == Neighbors.ALL:
        return averaged_scan(scan)
    optics = given.get("voltage_kv", 300.0), given.get("convergence_mrad", 1.5)
    return averaged_scan(scan, similarity_weights(correlation_of(scan, *optics).coefficient, 1.0))


def correlate(
    context: typer.Context,
    scan: ScanPath,
    out: FigureOut,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Arrays to write, .npz: mean, lowest, spots, and coefficient with each of the "
            "eight neighbors."
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option(help="Correlate recorded intensities, background and all.")
    ] = False,
    step_nm: StepSize = None,
    inv_angstrom_per_pixel: PixelSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    mask: Mask = None,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
) -> None:
    """Map how alike neighboring patterns are, and how many spots each has: grain boundaries."""
    import numpy as np

    from zoneaxis.evaluation.figures.correlation_figures import draw_correlation
    from zoneaxis.evaluation.figures.image_axes import is_flat
    from zoneaxis.files import atomic_path, require_writable

    require_figure_path(out)
    if data is not None and require_writable(data).suffix != ".npz":
        raise SettingsError(f"--data {data}: the name of the arrays ends in .npz.")
    opened = open_scan(context.params)
    found = correlation_of(opened, voltage_kv, convergence_mrad, plain)
    if data is not None:
        names = ("mean", "lowest", "spots", "coefficient")
        with atomic_path(data) as path:
            np.savez_compressed(path, **{name: getattr(found, name) for name in names})
        say(f"Arrays in {data}")
    with figure_to(out, *((6, 7) if is_flat(opened.shape) else (13, 3.3))) as figure:
        draw_correlation(figure, found, opened.step_nm)


def smooth(
    context: typer.Context,
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Orientation map, n best.")],
    out: MapOut,
    crystal: MapCrystals = (),
    scan: Annotated[
        Path | None,
        typer.Option(help="The map's scan: neighbors with unlike patterns then do not count."),
    ] = None,
    weight: Annotated[
        float, typer.Option(help="Of a neighbor's scores, beside 1 of the point's own.")
    ] = 0.125,
    power: Annotated[
        float,
        typer.Option(
            help="Of the scores, relative to each point's best: 1 for a network's, which are "
            "probabilities, 8 for those of template matching."
        ),
    ] = 1.0,
    same_deg: Annotated[
        float, typer.Option(help="Orientations nearer than this vote for each other.")
    ] = 5.0,
    inv_angstrom_per_pixel: PixelSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    mask: Mask = None,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
) -> None:
    """Add the scores of the eight neighbors to each point's own; with --scan, boundaries stay."""
    from zoneaxis.evaluation.neighbor_averaging import equal_weights, similarity_weights
    from zoneaxis.evaluation.neighbor_votes import vote

    require_map_path(out)
    if not 0 <= weight <= 1:
        raise SettingsError(f"--weight {weight}: expected 0 to 1.")
    if not 0 < power <= 100:
        raise SettingsError(f"--power {power}: expected above 0, up to 100.")
    if not 0 < same_deg <= 30:
        raise SettingsError(f"--same-deg {same_deg}: expected above 0, up to 30.")
    found = load_map(map_path, crystal)
    weights = equal_weights(found.shape, weight)
    if scan is not None:
        opened = open_scan(context.params)
        if opened.shape != found.shape:
            raise SettingsError(
                f"{scan} has {opened.shape[0]} x {opened.shape[1]} points and {map_path} "
                f"{found.shape[0]} x {found.shape[1]}: give the scan that the map is of."
            )
        alike = correlation_of(opened, voltage_kv, convergence_mrad).coefficient
        weights = similarity_weights(alike, weight)
    vote(found, weights, power=power, same_deg=same_deg).save(out)
    say(f"Smoothed map in {out}")


def correlation_of(
    scan: "Scan", voltage_kv: float, convergence_mrad: float, plain: bool = False
) -> "NeighborCorrelation":
    """Correlate the patterns of a scan with their neighbors, with a progress bar."""
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.correlation import correlate_neighbors

    radius = Optics(voltage_kv, convergence_mrad).disk_radius_inv_angstrom
    points = scan.shape[0] * scan.shape[1]
    with progress_bar("correlating", "patterns") as advance:
        advance(0, points)
        return correlate_neighbors(
            scan, radius, plain=plain, progress=lambda done: advance(done, points)
        )
