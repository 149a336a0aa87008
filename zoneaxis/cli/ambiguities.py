"""`zoneaxis overlay`, `ambiguity` and `zone-axes`: what patterns show, and what they leave open."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from zoneaxis.cli.figures import FigureOut, figure_to, require_figure_path
from zoneaxis.cli.map_files import load_map
from zoneaxis.cli.options import (
    MODEL,
    Convergence,
    CrystalName,
    LargestK,
    MapCrystals,
    PixelSize,
    Precession,
    ScanPath,
    Voltage,
)
from zoneaxis.cli.scan_options import Bin, CalibrationFile, Crop, CropPatterns, ScanShape, open_scan
from zoneaxis.cli.terminal import console, say
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np

    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.ambiguity import Candidate, DirectionScores
    from zoneaxis.scans.indexing import Indexer
    from zoneaxis.scans.orientation_map import OrientationMap
    from zoneaxis.scans.scan import Scan

FARTHEST_ZONE = 8.0  # 1/Angstrom; a first-order Laue zone beyond is not simulated

Points = Annotated[
    list[str],
    typer.Option("--point", metavar="ROW,COLUMN", help="Point of the scan from 0; repeatable."),
]
Model = Annotated[str | None, typer.Option(help=f"{MODEL} Without it, template matching.")]
MapPath = Annotated[Path, typer.Argument(metavar="MAP", help="Orientation map of the scan.")]
ThicknessNm = Annotated[
    float | None, typer.Option(help="Of the simulations in nm; the one that fits best if absent.")
]


def overlay(
    context: typer.Context,
    scan: ScanPath,
    map_path: MapPath,
    point: Points,
    out: FigureOut,
    reference: Annotated[
        Path | None, typer.Option(help="Map whose kinematic patterns are shown beside.")
    ] = None,
    crystal: MapCrystals = (),
    thickness_nm: ThicknessNm = None,
    inv_angstrom_per_pixel: PixelSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.7,
) -> None:
    """Draw measured patterns with the simulation of the orientation found laid over them."""
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.figures.overlay_figures import draw_overlay
    from zoneaxis.evaluation.overlay import overlay as lay_over

    require_figure_path(out)
    if thickness_nm is not None and not thickness_nm > 0:
        raise SettingsError(f"--thickness-nm {thickness_nm:g}: expected a number above 0.")
    paths = [map_path, *([reference] if reference else [])]
    maps = [load_map(path, crystal) for path in paths]
    points = [_point(text) for text in point]
    opened, patterns = _open(context.params, points)
    for path, found in zip(paths, maps, strict=True):
        _require_indexed(path, found, opened.shape, points)
    optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
    names = tuple(path.name for path in (map_path, reference or map_path))
    with figure_to(out, 13, 3.7 * len(points)) as figure:
        rows = figure.subfigures(len(points), 1, squeeze=False)[:, 0]
        for row, at, pattern in zip(rows, points, patterns, strict=True):
            drawn = lay_over(
                pattern,
                maps[0].euler_deg[at][0],
                maps[0].crystals[maps[0].phase[at]],
                optics,
                opened.inv_angstrom_per_pixel,
                reference_euler_deg=maps[-1].euler_deg[at][0],
                thickness_nm=float("nan") if thickness_nm is None else thickness_nm,
            )
            row.supylabel(f"point {at[0]}, {at[1]}", fontsize="medium")
            draw_overlay(row, drawn, names)


def ambiguity(
    context: typer.Context,
    scan: ScanPath,
    point: Points,
    out: FigureOut,
    model: Model = None,
    crystal: Annotated[
        str | None,
        typer.Option(
            help="Name or CIF: of the templates (default: LiNiO2), or refuse a model of another.",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Of the best score that another must reach, to be a rival.")
    ] = 0.9,
    step_deg: Annotated[float, typer.Option(help="Spacing of the templates.")] = 2.0,
    json: Annotated[Path | None, typer.Option(help="Lists to write, .json.")] = None,
    inv_angstrom_per_pixel: PixelSize = None,
    scan_shape: ScanShape = None,
    calibration: CalibrationFile = None,
    crop: Crop = None,
    crop_patterns: CropPatterns = None,
    bin: Bin = 1,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
    precession_deg: Precession = 0.0,
    k_max: LargestK = 1.7,
) -> None:
    """Show which orientations the patterns of some points cannot tell apart.

    For each point: the pattern, what the indexer thinks of every beam direction, the simulations
    of the two likeliest orientations in two colors, and a list. In the list, "share" is the score
    over the best one's, "fit" the correlation of the pattern with the dynamical simulation: where
    two are alike within some 0.01, nothing in the pattern decides between them.
    """
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.evaluation.ambiguity import candidates, with_fits
    from zoneaxis.evaluation.figures.ambiguity_figures import draw_ambiguity
    from zoneaxis.files import atomic_path, require_writable

    require_figure_path(out)
    if json is not None and require_writable(json).suffix != ".json":
        raise SettingsError(f"--json {json}: the name of the lists ends in .json.")
    if not 0 < share <= 1:
        raise SettingsError(f"--share {share}: expected above 0, up to 1.")
    points = [_point(text) for text in point]
    opened, patterns = _open(context.params, points)
    optics = Optics(voltage_kv, convergence_mrad, precession_deg, k_max)
    indexer, score = _scorer(model, crystal, optics, step_deg)
    pixel, structure = opened.inv_angstrom_per_pixel, indexer.crystals[0]
    found, scores = indexer.index(patterns, pixel), score(patterns, pixel)
    lists = []
    for euler, values, pattern in zip(found.euler_deg, found.score, patterns, strict=True):
        listed = candidates(euler, values, structure, share)
        lists.append(with_fits(listed, pattern, structure, optics, pixel))
    for at, listed in zip(points, lists, strict=True):
        console.print(_table(at, listed))
    if json is not None:
        with atomic_path(json) as path:
            path.write_text(_as_json(points, lists), encoding="utf-8")
        say(f"Lists in {json}")
    with figure_to(out, 13, 3.9 * len(points)) as figure:
        rows = figure.subfigures(len(points), 1, squeeze=False)[:, 0]
        for i, row in enumerate(rows):
            row.supylabel("point {}, {}".format(*points[i]), fontsize="medium")
            draw_ambiguity(row, patterns[i], lists[i], scores, i, optics, pixel)


def zone_axes(
    first: Annotated[str, typer.Argument(help="Zone axis, e.g. [10-10], [110] or '1 -1 0'.")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    out: FigureOut,
    crystal: CrystalName = "LiNiO2",
    thickness_nm: Annotated[float, typer.Option(help="Of the specimen in nm.")] = 50.0,
    phi1_deg: Annotated[
        tuple[float, float], typer.Option(metavar="FIRST SECOND", help="In-plane angles.")
    ] = (0.0, 0.0),
    model: Annotated[
        str | None, typer.Option(help=f"{MODEL} Shows whether it tells the axes apart.")
    ] = None,
    match: Annotated[bool, typer.Option(help="Ask template matching instead.")] = False,
    step_deg: Annotated[float, typer.Option(help="Spacing of the templates.")] = 2.0,
    size: Annotated[int, typer.Option(help="Of the patterns asked about, in pixels.")] = 128,
    inv_angstrom_per_pixel: Annotated[
        float, typer.Option(help="Of the patterns asked about, in 1/Å.")
    ] = 0.025,
    voltage_kv: Voltage = 300.0,
    convergence_mrad: Convergence = 1.5,
) -> None:
    """Compare two zone axes kinematically and dynamically; can an indexer tell them apart?"""
    import numpy as np

    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.diffraction.directions import parse_zone_axis, zone_axis_euler
    from zoneaxis.diffraction.optics import Optics
    from zoneaxis.diffraction.zone_axes import compare_zone_axes, first_laue_zone_inv_angstrom
    from zoneaxis.evaluation.figures.zone_axis_figures import draw_zone_axes
    from zoneaxis.evaluation.zone_axis_pair import bright_differences, zero_order_patterns

    require_figure_path(out)
    if model is not None and match:
        raise SettingsError("--model and --match: ask one of them.")
    structure = load_crystal(crystal)
    axes = [parse_zone_axis(text, structure) for text in (first, second)]
    euler = np.stack(
        [zone_axis_euler(uvw, structure, p) for uvw, p in zip(axes, phi1_deg, strict=True)]
    )
    rings = [first_laue_zone_inv_angstrom(structure, Optics(voltage_kv), uvw) for uvw in axes]
    reach = min(FARTHEST_ZONE, 1.03 * max(rings))
    optics = Optics(voltage_kv, convergence_mrad, 0.0, reach)
    frame = {"size": size, "inv_angstrom_per_pixel": inv_angstrom_per_pixel}
    patterns = zero_order_patterns(
        structure, optics, euler, thickness_nm, **frame, first_zone_inv_angstrom=min(rings)
    )
    scores = None
    if model is not None or match:
        near = Optics(voltage_kv, convergence_mrad, 0.0, 0.95 * size / 2 * inv_angstrom_per_pixel)
        _, score = _scorer(model, crystal, near, step_deg)
        scores = score(patterns, inv_angstrom_per_pixel)
    pair = compare_zone_axes(structure, optics, euler, np.array([thickness_nm]))
    say(
        f"{len(pair.hkl[0]) - 1} spots of the zero-order Laue zone in both, {pair.unpaired[0]} and "
        f"{pair.unpaired[1]} in one alone; first-order Laue zones at {rings[0]:.2f} and "
        f"{rings[1]:.2f} 1/Å"
    )
    for kind in ("kinematic", "dynamic"):
        largest = abs(bright_differences(pair, kind)).max()
        say(f"largest relative difference, {kind}: {largest:.2g}")
    with figure_to(out, *((11, 7) if scores is not None else (7, 7))) as figure:
        draw_zone_axes(
            figure,
            pair,
            patterns,
            euler,
            (first, second),
            inv_angstrom_per_pixel,
            optics.disk_radius_inv_angstrom,
            scores,
        )


def _point(text: str) -> tuple[int, int]:
    """Read "12,30", row and column.

    Raises:
        SettingsError: not two whole numbers.
    """
    try:
        row, column = (int(number) for number in text.replace(",", " ").split())
    except ValueError as error:
        raise SettingsError(
            f"--point {text}: expected row and column from 0, as in --point 12,30."
        ) from error
    return row, column


def _open(given: Mapping[str, Any], points: list[tuple[int, int]]) -> tuple["Scan", "np.ndarray"]:
    """Open a scan of known pixel size and read the patterns of some points, (n, h, w)."""
    import numpy as np

    from zoneaxis.scans.indexing import usable

    opened = open_scan(given)
    if opened.inv_angstrom_per_pixel is None:
        raise SettingsError(
            f"{opened.path} does not say how large a pattern pixel is: give it in 1/Angstrom "
            "with --inv-angstrom-per-pixel."
        )
    rows, columns = opened.shape
    for row, column in points:
        if not (0 <= row < rows and 0 <= column < columns):
            raise SettingsError(
                f"--point {row},{column}: {opened.path} has rows 0 to {rows - 1} and columns 0 to "
                f"{columns - 1}."
            )
    read = [opened.read(slice(r, r + 1), slice(c, c + 1))[0, 0] for r, c in points]
    patterns = np.stack(read).astype(np.float32)
    for (row, column), good in zip(points, usable(patterns), strict=True):
        if not good:
            raise SettingsError(
                f"--point {row},{column}: its pattern holds NaN, inf, negative or no counts; "
                "choose another point."
            )
    return opened, patterns


def _require_indexed(
    path: Path, found: "OrientationMap", shape: tuple[int, int], points: list[tuple[int, int]]
) -> None:
    if found.shape != shape:
        raise SettingsError(
            f"{path} has {found.shape[0]} x {found.shape[1]} points and the scan {shape[0]} x "
            f"{shape[1]}: give a map of this scan."
        )
    for row, column in points:
        if not found.indexed[row, column]:
            raise SettingsError(
                f"--point {row},{column}: {path} has no orientation there; choose another point."
            )


def _scorer(
    model: str | None, crystal: str | None, optics: "Optics", step_deg: float
) -> tuple["Indexer", "Callable[[np.ndarray, float], DirectionScores]"]:
    """Return an indexer, a network's or of templates, and what it thinks of all directions."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.evaluation.ambiguity import DirectionScores

    if model is not None:
        from zoneaxis.models.indexer import NetworkIndexer

        wanted = None if crystal is None else load_crystal(crystal)
        network = NetworkIndexer.from_pretrained(model, crystal=wanted)

        def confidences(patterns: "np.ndarray", pixel: float) -> DirectionScores:
            values = network.confidences(patterns, pixel)
            return DirectionScores(network.crystal, network.labels.directions_deg, values).merged()

        return network, confidences

    from zoneaxis.diffraction.orientations import euler_from_matrices
    from zoneaxis.evaluation.template_matching import TemplateIndexer

    structure = load_crystal(crystal or "LiNiO2")
    templates = TemplateIndexer(structure, optics, step_deg=step_deg, n_best=5)

    def correlations(patterns: "np.ndarray", pixel: float) -> DirectionScores:
        directions = euler_from_matrices(templates.matrices)[:, 1:]
        values = templates.correlations(patterns, pixel)
        return DirectionScores(templates.crystals[0], directions, values, additive=False)

    return templates, correlations


def _table(point: tuple[int, int], listed: "list[Candidate]") -> Table:
    table = Table(title=f"point {point[0]}, {point[1]}", title_justify="left")
    for name in ("", "phi1, Phi, phi2 (°)", "relation", "score", "share", "fit", "nm"):
        table.add_column(name, justify="left" if name == "relation" else "right")
    for number, c in enumerate(listed, 1):
        angles = ", ".join(f"{angle:.1f}" for angle in c.euler_deg)
        scores = ("-" if value != value else f"{value:.3f}" for value in (c.score, c.share))
        table.add_row(
            str(number), angles, c.relation, *scores, f"{c.fit:.2f}", f"{c.thickness_nm:g}"
        )
    return table


def _as_json(points: list[tuple[int, int]], lists: "list[list[Candidate]]") -> str:
    from dataclasses import asdict
    from json import dumps

    def plain(candidate: "Candidate") -> dict[str, object]:
        values = asdict(candidate)
        return {name: None if v != v else v for name, v in values.items()}  # JSON has no NaN

    values = [
        {"row": row, "column": column, "candidates": [plain(c) for c in listed]}
        for (row, column), listed in zip(points, lists, strict=True)
    ]
    return dumps(values, indent=1, ensure_ascii=False) + "\n"
