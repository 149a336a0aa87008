"""The report of a map, alone or against a reference: one HTML file that needs nothing else.

Its linked maps, report.js, work on what `explorer_data` puts into the page; the figures below
them stand for themselves, on paper too. A page of 200 x 200 points takes about 6 MB, with a
reference 14 MB, with the scan 25 MB: patterns of up to 64 x 64 pixels, of all points where there
are no more than 4,882, else of a grid of points.
"""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import MapError, ScanError
from zoneaxis.evaluation.boundaries import find_boundaries
from zoneaxis.evaluation.comparison import Comparison, compare
from zoneaxis.evaluation.figures import map_figures, pole_figures
from zoneaxis.evaluation.grains import Grains, find_grains
from zoneaxis.evaluation.metrics import ANGLE_METRICS, FOUND_METRIC, MASK_METRICS, format_metric
from zoneaxis.evaluation.report import pictures
from zoneaxis.evaluation.report.data import explorer_data, known_crystals
from zoneaxis.evaluation.report.pictures import Maps, Names
from zoneaxis.evaluation.report.scan import view_scan
from zoneaxis.evaluation.report.tables import (
    breakdown_tables,
    chosen_thresholds,
    grain_tables,
    metrics_table,
)
from zoneaxis.files import atomic_path
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

TEMPLATE = "report.html.jinja"
PACKAGES = ("zoneaxis", "torch", "orix", "numpy", "matplotlib")
WINDOW = 0.04  # share of the points around a rank among which the place is free


def write_report(
    path: str | Path,
    map: OrientationMap,
    reference: OrientationMap | None = None,
    comparison: Comparison | None = None,
    *,
    scan: Scan | None = None,
    optics: Optics | None = None,
    points: int = 6,
    title: str = "",
    names: tuple[str, ...] = ("map", "reference"),
) -> Path:
    """Write the report of a map, alone or against a reference, as one file that holds everything.

    Args:
        path: the HTML file.
        map: what is judged.
        reference: what it is judged by, if there is anything.
        comparison: `compare(map, reference)`, to save the time.
        scan: the patterns; with them, measured patterns stand beside simulated ones.
        optics: of the simulation; 300 kV and 1.5 mrad if not given.
        points: how many patterns to show beside dynamical simulations, at most.
        title: heading of the page; says what the report is of if not given.
        names: what the map and the reference are called.

    Returns:
        `path`.

    Raises:
        MapError: the scan is of another shape than the map, neither map has a crystal with sites,
            or no point is indexed.
        ScanError: the scan has no pixel size, or cannot be read.
        OutputError: the file cannot be written.
    """
    from matplotlib import rc_context

    maps = (map,) if reference is None else (map, reference)
    names = names[: len(maps)]
    if not map.indexed.any():
        raise MapError("No point of the map is indexed: there is nothing to report.")
    if reference is not None:
        comparison = comparison or compare(map, reference)
    if scan is not None:
        _require_simulable(scan, maps)
    with atomic_path(path) as temporary, rc_context(map_figures.STYLE):
        page = _page(maps, comparison, scan, optics or Optics(), points, title, names)
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _page(
    maps: Maps,
    comparison: Comparison | None,
    scan: Scan | None,
    optics: Optics,
    points: int,
    title: str,
    names: Names,
) -> str:
    map = maps[0]
    rank = -map.score[..., 0]
    if comparison is not None:
        # Points of another phase have no angle, and are the worst.
        angle = comparison.misorientation_deg["raw"]
        rank = np.where(comparison.indexed_both, np.nan_to_num(angle, nan=360.0), np.nan)
    chosen = choose_points(np.where(map.indexed, rank, np.nan), points if scan is not None else 0)
    view = view_scan(scan, optics.disk_radius_inv_angstrom) if scan is not None else None
    grains = tuple(_grains(one) for one in maps)
    thresholds, sentences = chosen_thresholds(comparison) if comparison else ([], [])
    keys = pictures.key_pictures(maps)
    places = {laue: key.place for laue, key in keys.items()}
    shown = {
        "title": title or " against ".join(("Orientation map", *names[1:])),
        "names": names,
        "map": map,
        "scan": scan,
        "comparison": comparison,
        "headline": _headline(map, comparison),
        "data": _json(explorer_data(maps, names, comparison, grains, view, optics, places)),
        "keys": keys,
        "orientations": [*pictures.orientation_pictures(maps, names), *keys.values()],
        "sigma": f"{pole_figures.SIGMA_DEG:g}",
        "textures": pictures.texture_pictures(maps, names),
        "confidences": pictures.confidence_pictures(maps, comparison, thresholds, names),
        "thresholds": sentences,
        "settings": _settings(maps, scan, optics, names),
        **_grain_section(grains, names[0]),
    }
    if comparison is not None:
        shown |= _comparison_section(maps, comparison, chosen, names)
    if len(chosen):
        patterns = pictures.pattern_pictures(maps, comparison, scan, optics, chosen, names)
        shown["patterns"] = patterns
    return _template().render(shown)


def _comparison_section(
    maps: Maps, comparison: Comparison, chosen: np.ndarray, names: Names
) -> dict[str, Any]:
    misorientations = pictures.misorientation_pictures(comparison, maps[0].step_nm, chosen, names)
    return {
        "metrics": metrics_table(comparison, names),
        "misorientations": misorientations,
        "breakdowns": list(breakdown_tables(comparison, maps)),
    }


def _grain_section(grains: tuple[Grains | None, ...], name: str) -> dict[str, Any]:
    if grains[0] is None:
        return {}
    boundaries = find_boundaries(grains[0])
    reference = grains[1] if len(grains) > 1 else None
    return {
        "grain_pictures": pictures.grain_pictures(grains[0], boundaries, name),
        "grain_tables": grain_tables(grains[0], boundaries, reference, name),
    }


def _grains(map: OrientationMap) -> Grains | None:
    """Return the grains of a map, None where all are specks."""
    try:
        return find_grains(map)
    except MapError:
        return None


def _headline(map: OrientationMap, comparison: Comparison | None) -> list[tuple[str, str]]:
    """Return the few numbers that a reader wants first, each with what it means."""
    if comparison is None:
        score = np.median(map.score[..., 0][map.indexed])
        return [(f"{map.indexed.mean():.1%}", "indexed"), (f"{score:.3f}", "median score")]
    chosen = (FOUND_METRIC, *ANGLE_METRICS[:1], MASK_METRICS[0])
    meanings = ("of the reference's points within 5°", "median misorientation", "indexed")
    return [
        (format_metric(metric, comparison.metrics[metric.name]), meaning)
        for metric, meaning in zip(chosen, meanings, strict=True)
        if metric.name in comparison.metrics
    ]


def _json(values: dict[str, Any]) -> "Markup":
    """Return JSON that may stand in a script element: no "<" can end it."""
    from markupsafe import Markup

    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _template() -> "Template":
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("zoneaxis.evaluation.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def choose_points(values: np.ndarray, count: int) -> np.ndarray:
    """Return points from the smallest to the largest value, the denser the larger.

    Among the points of about the same rank, the one farthest from those already chosen is taken:
    the choice is deterministic and spread over the map.

    Args:
        values: how bad a point is, NaN where it is not to be taken, shape (rows, cols).
        count: how many, at most.

    Returns:
        (row, column) of each, int, shape (n, 2).
    """
    places = np.argwhere(np.isfinite(values))
    places = places[np.argsort(values[tuple(places.T)], kind="stable")]
    if len(places) <= count:
        return places
    half = int(WINDOW * len(places) / 2)
    chosen: list[np.ndarray] = []
    steps = 1 - np.linspace(1, 0, count) ** 2
    for rank in np.unique((steps * (len(places) - 1)).astype(int)):
        near = places[max(rank - half, 0) : rank + half + 1]
        gaps = [np.hypot(*(near - place).T) for place in chosen]
        best = np.argmax(np.min(gaps, axis=0)) if gaps else len(near) // 2
        chosen.append(near[best])
    return np.array(chosen, dtype=int).reshape(-1, 2)


def _require_simulable(scan: Scan, maps: Maps) -> None:
    map = maps[0]
    if tuple(scan.shape) != tuple(map.shape):
        raise MapError(
            f"The scan {scan.path} has {scan.shape[0]} x {scan.shape[1]} points (rows x columns), "
            f"the map {map.shape[0]} x {map.shape[1]}: give the scan that the map was made from."
        )
    if scan.inv_angstrom_per_pixel is None:
        raise ScanError(
            f"{scan.path} does not say its pixel size, which the simulated patterns of the report "
            "need: give --inv-angstrom-per-pixel, or leave the scan out."
        )
    bare = [c.name for known in known_crystals(maps) for c in known if not len(c.numbers)]
    if bare:
        raise MapError(
            f"No map knows the atoms of {bare[0]}, which the simulated patterns of the report "
            "need: give --crystal, or leave the scan out."
        )


def _settings(maps: Maps, scan: Scan | None, optics: Optics, names: Names) -> list[tuple[str, str]]:
    map = maps[0]
    rows = [
        (
            "crystal",
            f"{crystal.name}, point group {crystal.point_group.name}, cell "
            f"{', '.join(f'{v:.5g}' for v in crystal.cell)} (Å, °)",
        )
        for crystal in map.crystals
    ]
    rows += [
        ("map", f"{map.shape[0]} rows x {map.shape[1]} columns"),
        *((f"step of {n}", f"{m.step_nm:g} nm") for n, m in zip(names, maps, strict=True)),
    ]
    if scan is not None:
        rows += [
            ("scan", scan.path.name),
            ("pattern pixel", f"{scan.inv_angstrom_per_pixel:.5g} 1/Å"),
        ]
    rows.append(
        (
            "optics of the simulation",
            f"{optics.voltage_kv:g} kV, {optics.convergence_mrad:g} mrad, precession "
            f"{optics.precession_deg:g}°, to {optics.k_max_inv_angstrom:g} 1/Å",
        )
    )
    return [*rows, ("versions", f"Python {platform.python_version()}, {_versions()}")]


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
