"""Figures of grains and boundaries, each drawn into axes that the caller owns.

Grains have the inverse pole figure color of their mean orientation along the beam.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.evaluation.boundaries import Boundaries, random_misorientations_deg
from zoneaxis.evaluation.figures.image_axes import draw_map
from zoneaxis.evaluation.figures.map_figures import STYLE, ipf_colors
from zoneaxis.evaluation.grains import Grains
from zoneaxis.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

LINE = 1.2
SUSPICIOUS, TWIN, ORDINARY = "#ff00c8", "white", "black"
NO_GRAIN, GRAIN = 0.55, 0.93  # gray levels
BIN_DEG = 5.0
MAP_IN = 4.6  # longer side of a map, at most


def grain_map(ax: "Axes", grains: Grains, boundaries: Boundaries | None = None) -> None:
    """Draw the grains in IPF colors of the beam direction, and their boundaries by kind.

    Args:
        ax: empty axes.
        grains: of a map.
        boundaries: theirs; none are drawn without.
    """
    from matplotlib.lines import Line2D

    colors = ipf_colors(grains.mean_map)
    colors[grains.labels < 0] = NO_GRAIN
    draw_map(ax, colors, grains.step_nm)
    if boundaries is None:
        return
    twin = (boundaries.kind != "") & ~boundaries.suspicious
    kinds = (
        ("boundary", ORDINARY, ~twin & ~boundaries.suspicious),
        ("twin", TWIN, twin),
        ("false friend, likely misindexed", SUSPICIOUS, boundaries.suspicious),
    )
    _draw_lines(ax, boundaries, boundaries.kind != "", colors=ORDINARY, linewidths=2.5 * LINE)
    for _, color, chosen in kinds:
        _draw_lines(ax, boundaries, chosen, colors=color)
    handles = [
        Line2D([], [], color=color, linewidth=2, label=name) for name, color, c in kinds if c.any()
    ]
    if handles:
        ax.legend(
            handles=handles,
            frameon=True,
            facecolor="0.75",
            edgecolor="none",
            loc="upper right",
            bbox_to_anchor=(1.0, -0.02),
            borderaxespad=0.2,
        )


def boundary_map(ax: "Axes", boundaries: Boundaries) -> None:
    """Draw the boundaries, colored by misorientation; those between phases are black.

    Args:
        ax: empty axes.
        boundaries: of a map.
    """
    grains = boundaries.grains
    gray = np.where(grains.labels >= 0, GRAIN, NO_GRAIN)
    draw_map(ax, np.repeat(gray[..., None], 3, axis=2), grains.step_nm)
    angle = boundaries.misorientation_deg
    known = np.isfinite(angle)
    _draw_lines(ax, boundaries, ~known, colors="black")
    top = np.ceil(angle[known].max() / 10) * 10 if known.any() else 10.0
    lines = _draw_lines(ax, boundaries, known, cmap="plasma", clim=(0, top), linewidths=2)
    lines.set_array(angle[_segments(boundaries, known)[1]])
    ax.figure.colorbar(lines, ax=ax, label="misorientation (°)", shrink=0.9, aspect=18)


def boundary_histogram(ax: "Axes", boundaries: Boundaries) -> None:
    """Draw the misorientations by boundary length, and those of random pairs of crystals.

    Args:
        ax: empty axes.
        boundaries: of a map.
    """
    grains, angle = boundaries.grains, boundaries.misorientation_deg
    known = np.isfinite(angle)
    random = [random_misorientations_deg(crystal) for crystal in grains.crystals]
    top = max(values.max() for values in random)
    edges = np.arange(0, top + BIN_DEG, BIN_DEG)
    total = max(boundaries.length_nm[known].sum(), 1e-12)
    for chosen, color, name in (
        (known, "#56b4e9", "all"),
        (known & boundaries.suspicious, SUSPICIOUS, "false friends"),
    ):
        length, _ = np.histogram(angle[chosen], edges, weights=boundaries.length_nm[chosen])
        ax.stairs(100 * length / total, edges, fill=True, color=color, label=name)
    for crystal, values in zip(grains.crystals, random, strict=True):
        share = np.histogram(values, edges)[0] / len(values)
        name = f"random {crystal.name}" if len(random) > 1 else "random"
        ax.stairs(100 * share, edges, color="black", linewidth=1.3, label=name)
    ax.set_xlim(0, edges[-1])
    ax.set_xlabel("misorientation (°)")
    ax.set_ylabel(f"boundary length per {BIN_DEG:g}° (%)")
    ax.legend(frameon=False, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)


def grain_size_histogram(ax: "Axes", grains: Grains) -> None:
    """Draw how many grains, and how much of the area, have which diameter.

    Args:
        ax: empty axes.
        grains: of a map.
    """
    diameter, unit = grains.diameter_nm, "nm"
    if np.median(diameter) >= 1000:
        diameter, unit = diameter / 1000, "µm"
    low, high = np.log10(diameter.min()), np.log10(diameter.max())
    count = int(np.clip(np.sqrt(len(grains)) + 1, 3, 20))
    edges = np.logspace(low - 0.02, high + 0.02, count + 1)
    number = np.histogram(diameter, edges)[0] / len(grains)
    area = np.histogram(diameter, edges, weights=grains.points)[0] / grains.points.sum()
    ax.stairs(100 * number, edges, fill=True, color="#56b4e9", label="of the grains")
    ax.stairs(100 * area, edges, color="#d55e00", linewidth=1.3, label="of their area")
    ax.set_xscale("log")
    _label_decades(ax)
    ax.set_xlabel(f"diameter of the circle of equal area ({unit})")
    ax.set_ylabel("share (%)")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def grains_figure(grains: Grains, boundaries: Boundaries) -> "Figure":
    """Return a figure of the four above; make and draw it within `rc_context(STYLE)`.

    Args:
        grains: of a map.
        boundaries: theirs.
    """
    from matplotlib.figure import Figure

    rows, cols = grains.labels.shape
    width = MAP_IN * min(1.0, max(cols / rows, 0.6))
    height = MAP_IN * min(1.0, max(rows / cols, 0.6))
    figure = Figure((2 * width + 2.2, height + 3.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(height + 0.8, 2.8))
    left, right = top.subplots(1, 2)
    grain_map(left, grains, boundaries)
    left.set_title(f"{len(grains)} grains, IPF-Z of their means")
    boundary_map(right, boundaries)
    right.set_title(f"{len(boundaries)} boundaries")
    left, right = bottom.subplots(1, 2)
    grain_size_histogram(left, grains)
    boundary_histogram(right, boundaries)
    return figure


def write_grains_figure(path: str | Path, grains: Grains, boundaries: Boundaries) -> None:
    """Write `grains_figure` as a picture.

    Args:
        path: .png.
        grains: of a map.
        boundaries: theirs.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib import rc_context

    with atomic_path(path) as temporary, rc_context(STYLE):
        grains_figure(grains, boundaries).savefig(temporary)


def _draw_lines(
    ax: "Axes", boundaries: Boundaries, chosen: np.ndarray, **style: object
) -> "LineCollection":
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        _segments(boundaries, chosen)[0], **{"linewidths": LINE, "capstyle": "round", **style}
    )
    ax.add_collection(lines, autolim=False)
    return lines


def _segments(boundaries: Boundaries, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of points along some boundaries, (n, 2, 2) as x and y, and whose each is.

    Args:
        boundaries: of a map.
        chosen: which of them, bool, shape (m,).
    """
    segments, numbers = [], []
    for edges, start, end in (
        (boundaries.edges[0], (0.5, -0.5), (0.5, 0.5)),
        (boundaries.edges[1], (-0.5, 0.5), (0.5, 0.5)),
    ):
        rows, cols = np.nonzero((edges >= 0) & np.append(chosen, False)[edges])
        points = np.stack([cols, rows], axis=1)
        segments.append(np.stack([points + start, points + end], axis=1))
        numbers.append(edges[rows, cols])
    return np.concatenate(segments), np.concatenate(numbers)


def _label_decades(ax: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
