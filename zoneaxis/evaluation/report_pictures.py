"""The pictures of the report and their captions, as base64 PNG."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation import figures
from zoneaxis.evaluation.comparison import FRIENDS, RIGHT_DEG, Comparison
from zoneaxis.evaluation.image_axes import is_flat
from zoneaxis.evaluation.pattern_fit import PatternFit, fit_pattern
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP_IN = 2.8  # longer side of a map is at most 1.4 of it, so that three stand side by side
COLOR_BAR_IN = 0.75
LEGEND_IN = 0.8
MARGIN_IN = 0.4
PLOT_SIZE_IN = (3.6, 3.0)
CSS_PX_PER_IN = 96

MapPair = tuple[OrientationMap, OrientationMap]


@dataclass(frozen=True)
class Picture:
    """A figure as the template wants it.

    Attributes:
        png: the image in base64.
        width_px: natural width on the page; all pictures share one scale.
        caption: what is seen.
        rows: cells of a small table under the caption.
    """

    png: str
    width_px: int
    caption: str
    rows: tuple[tuple[str, ...], ...] = ()


def orientation_pictures(maps: MapPair, names: tuple[str, str]) -> list[Picture]:
    """Return IPF maps of both along the beam, the color key, and IPF maps along x."""
    key = _figure(2.4, 2.4)
    crystal = maps[0].crystal
    figures.ipf_key(key, crystal)
    laue = crystal.point_group.laue.name
    caption = f"Color key: directions of {crystal.name}, Laue group {laue}."
    along_beam, along_x = (
        [
            _map_picture(
                one.shape,
                lambda ax, one=one, axis=axis: figures.ipf_map(ax, one, axis),
                f"{name}, IPF-{axis.upper()}: the crystal direction {where}. Black: not indexed.",
            )
            for one, name in zip(maps, names, strict=True)
        ]
        for axis, where in (("z", "along the beam"), ("x", "to the right"))
    )
    return [*along_beam, _picture(key, caption), *along_x]


def misorientation_pictures(
    comparison: Comparison, step_nm: float, chosen: np.ndarray, names: tuple[str, str]
) -> list[Picture]:
    """Return the map of raw misorientations, its histogram, and who indexed which point.

    Args:
        comparison: of the two maps.
        step_nm: step of the scan.
        chosen: points to number, (row, column), shape (n, 2).
        names: what the map and the reference are called.
    """

    def draw(ax: "Axes") -> None:
        figures.misorientation_map(ax, comparison, step_nm)
        _mark_points(ax, chosen)

    shape = comparison.indexed_map.shape
    marks = " The numbers mark the patterns shown below." if len(chosen) else ""
    histogram = _figure(*PLOT_SIZE_IN)
    figures.misorientation_histogram(histogram.add_subplot(), comparison)
    return [
        _map_picture(
            shape,
            draw,
            f"Raw misorientation. Gray: not indexed by {names[0]} or {names[1]}.{marks}",
            bar_in=COLOR_BAR_IN,
        ),
        _picture(
            histogram,
            "Misorientations, raw and modulo the false friends of diffraction patterns: what a "
            "colored line moves to the left was mistaken for its friend.",
        ),
        _map_picture(
            shape,
            lambda ax: figures.agreement_map(ax, comparison, step_nm, names),
            "Points indexed by both, by one, or by neither.",
            below_in=LEGEND_IN,
        ),
    ]


def confidence_pictures(
    maps: MapPair, comparison: Comparison, names: tuple[str, str]
) -> list[Picture]:
    """Return score and reliability of both maps, and what rejecting by them would buy."""
    pictures = [
        _map_picture(
            one.shape,
            lambda ax, one=one, quantity=quantity: figures.confidence_map(ax, one, quantity),
            f"{name}: {quantity}. Gray: not indexed.",
            bar_in=COLOR_BAR_IN,
        )
        for one, name in zip(maps, names, strict=True)
        for quantity in ("score", "reliability")
    ]
    figure = _figure(*PLOT_SIZE_IN)
    figures.risk_coverage(figure.add_subplot(), comparison)
    caption = (
        f"What rejecting buys: of the points that {names[0]} is surest of, the share off by more "
        f"than {RIGHT_DEG:g}°. A curve that falls to the left belongs to a confidence of use."
    )
    return [*pictures, _picture(figure, caption)]


def pattern_pictures(
    maps: MapPair,
    comparison: Comparison,
    scan: Scan,
    optics: Optics,
    chosen: np.ndarray,
    names: tuple[str, str],
) -> list[Picture]:
    """Return measured patterns beside simulated ones of both orientations.

    Args:
        maps: map and reference; one of them has a crystal with sites.
        comparison: of the two.
        scan: with a pixel size.
        optics: of the simulation.
        chosen: (row, column) of each pattern, shape (n, 2).
        names: what the map and the reference are called.
    """
    crystal = crystal_with_sites(maps)
    factors = structure_factors(crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom)
    pixel = scan.inv_angstrom_per_pixel
    pictures = []
    for number, (row, col) in enumerate(chosen.tolist(), start=1):
        measured = np.asarray(scan.patterns[row, col], dtype=np.float32)
        panels, rows = {}, []
        for one, name in zip(maps, names, strict=True):
            euler = one.euler_deg[row, col, 0]
            known = one.properties.get("thickness_nm")
            thickness = float("nan") if known is None else float(known[row, col])
            fit = fit_pattern(
                measured, euler, crystal, optics, pixel, thickness_nm=thickness, factors=factors
            )
            panels[f"simulated: {name}"] = fit.pattern
            rows.append(_pattern_row(name, euler, one.score[row, col, 0], fit))
        angles = comparison.misorientation_deg
        apart = ", ".join(f"{angles[f][row, col]:.1f}° {FRIENDS[f]}" for f in comparison.friends)
        figure = _figure(5.5, 2.2)
        figures.pattern_pair(
            figure, measured, panels, pixel, optics.disk_radius_inv_angstrom, fit.center_px
        )
        caption = f"{number}. Row {row}, column {col}. Misorientation {apart}."
        pictures.append(_picture(figure, caption, tuple(rows)))
    return pictures


def crystal_with_sites(maps: MapPair) -> Crystal | None:
    """Return the first crystal that knows its atoms, if one does: map files often do not."""
    return next((one.crystal for one in maps if len(one.crystal.numbers)), None)


def _pattern_row(name: str, euler: np.ndarray, score: float, fit: PatternFit) -> tuple[str, ...]:
    return (
        name,
        ", ".join(f"{angle:.1f}" for angle in euler),
        f"{score:.2f}",
        f"{fit.thickness_nm:.0f}" + (" (fit)" if fit.fitted else ""),
        f"{fit.correlation:.2f}",
    )


def _mark_points(ax: "Axes", points: np.ndarray) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    for number, (row, col) in enumerate(points, start=1):
        ax.plot(col, row, "o", mfc="none", mec="white", ms=7, mew=2.5)
        ax.plot(col, row, "o", mfc="none", mec="black", ms=7, mew=1.2)
        ax.annotate(
            str(number),
            (col, row),
            xytext=(5, 4),
            textcoords="offset points",
            weight="bold",
            path_effects=halo,
            annotation_clip=False,
        )


def _map_picture(
    shape: tuple[int, int],
    draw: Callable[["Axes"], None],
    caption: str,
    *,
    bar_in: float = 0.0,
    below_in: float = 0.0,
) -> Picture:
    if is_flat(shape):
        bar_in, below_in = 0.0, below_in + bar_in
    scale = min(MAP_IN / shape[1], 1.4 * MAP_IN / shape[0])
    height, width = (max(scale * n, 0.5) for n in shape)
    figure = _figure(max(width, 2.0) + bar_in, height + MARGIN_IN + below_in)
    draw(figure.add_subplot())
    return _picture(figure, caption)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _picture(figure: "Figure", caption: str, rows: tuple[tuple[str, ...], ...] = ()) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.06)
    png = buffer.getvalue()
    width = int.from_bytes(png[16:20], "big")  # of the header that every PNG begins with
    width_px = round(width * CSS_PX_PER_IN / figures.STYLE["savefig.dpi"])
    return Picture(base64.b64encode(png).decode("ascii"), width_px, caption, rows)
