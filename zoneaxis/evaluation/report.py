"""One self-contained HTML page that shows how a map and its reference agree, and where not."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import MapError, ScanError
from zoneaxis.evaluation import figures, report_pictures
from zoneaxis.evaluation.comparison import FRIENDS, Comparison
from zoneaxis.files import atomic_path
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "report.html.jinja"
PACKAGES = ("zoneaxis", "torch", "orix", "numpy", "matplotlib")
WINDOW = 0.04  # share of the points around a rank among which the place is free


def write_report(
    path: str | Path,
    map: OrientationMap,
    reference: OrientationMap,
    comparison: Comparison,
    *,
    scan: Scan | None = None,
    optics: Optics | None = None,
    points: int = 6,
    title: str = "Orientation map against reference",
    names: tuple[str, str] = ("network", "reference"),
) -> Path:
    """Write the report; whatever it shows is inside the one file.

    Args:
        path: the HTML file.
        map: what is judged.
        reference: what it is judged by.
        comparison: `compare(map, reference)`.
        scan: the patterns; with them, measured patterns stand beside simulated ones.
        optics: of the simulation; 300 kV and 1.5 mrad if not given.
        points: how many patterns to show, at most.
        title: heading of the page.
        names: what the map and the reference are called.

    Returns:
        `path`.

    Raises:
        MapError: the scan is of another shape than the maps, or neither map has a crystal with
            sites.
        ScanError: the scan has no pixel size.
        OutputError: the file cannot be written.
    """
    from matplotlib import rc_context

    maps = (map, reference)
    if scan is not None:
        _require_simulable(scan, maps)
    chosen = choose_points(comparison, points if scan is not None else 0)
    with atomic_path(path) as temporary, rc_context(figures.STYLE):
        page = _template().render(
            title=title,
            names=names,
            comparison=comparison,
            friends=[FRIENDS[friend] for friend in comparison.friends],
            orientations=report_pictures.orientation_pictures(maps, names),
            misorientations=report_pictures.misorientation_pictures(
                comparison, map.step_nm, chosen, names
            ),
            confidences=report_pictures.confidence_pictures(maps, comparison, names),
            patterns=report_pictures.pattern_pictures(
                maps, comparison, scan, optics or Optics(), chosen, names
            )
            if len(chosen)
            else [],
            settings=_settings(maps, scan, optics, names),
        )
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _template() -> "Template":
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("zoneaxis.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def choose_points(comparison: Comparison, count: int) -> np.ndarray:
    """Return points from the best to the worst agreement, the denser the worse.

    Among the points of about the same rank, the one farthest from those already chosen is taken:
    the choice is deterministic and spread over the map.

    Args:
        comparison: of the two maps.
        count: how many, at most.

    Returns:
        (row, column) of each, int, shape (n, 2).
    """
    raw = comparison.misorientation_deg["raw"]
    places = np.argwhere(np.isfinite(raw))
    places = places[np.argsort(raw[tuple(places.T)], kind="stable")]
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


def _require_simulable(scan: Scan, maps: report_pictures.MapPair) -> None:
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
    if report_pictures.crystal_with_sites(maps) is None:
        raise MapError(
            "Neither map knows the atoms of its crystal, which the simulated patterns of the "
            "report need: give --crystal, or leave the scan out."
        )


def _settings(
    maps: report_pictures.MapPair,
    scan: Scan | None,
    optics: Optics | None,
    names: tuple[str, str],
) -> list[tuple[str, str]]:
    map = maps[0]
    cell = ", ".join(f"{v:.5g}" for v in map.crystal.cell)
    rows = [
        (
            "crystal",
            f"{map.crystal.name}, point group {map.crystal.point_group.name}, cell {cell} (Å, °)",
        ),
        ("map", f"{map.shape[0]} rows x {map.shape[1]} columns"),
        *((f"step of {n}", f"{m.step_nm:g} nm") for n, m in zip(names, maps, strict=True)),
    ]
    if scan is not None:
        used = optics or Optics()
        rows += [
            ("scan", scan.path.name),
            ("pattern pixel", f"{scan.inv_angstrom_per_pixel:.5g} 1/Å"),
            (
                "optics of the simulation",
                f"{used.voltage_kv:g} kV, {used.convergence_mrad:g} mrad, precession "
                f"{used.precession_deg:g}°, to {used.k_max_inv_angstrom:g} 1/Å",
            ),
        ]
    return [*rows, ("versions", f"Python {platform.python_version()}, {_versions()}")]


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
