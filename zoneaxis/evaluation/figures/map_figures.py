"""Figures of orientation maps and of their comparison, each drawn into axes that the caller owns.

Maps are drawn in the sample frame: origin in the upper left corner, x to the right, y down, z
along the beam, into the page. Nothing here touches pyplot or global matplotlib state; wrap calls in
`matplotlib.rc_context(STYLE)` for the fonts of the report.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.figures.image_axes import (
    color_bar,
    draw_map,
    robust_limits,
    with_gray,
)
from zoneaxis.evaluation.metrics import FRIENDS, RIGHT_DEG
from zoneaxis.scans.orientation_map import OrientationMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from zoneaxis.evaluation.thresholds import Threshold

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.8,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
}
FRIEND_COLORS = {"raw": "#000000", "beam_180": "#0072b2", "c_60": "#d55e00"}  # Okabe and Ito
CONFIDENCE_COLORS = {"score": "#0072b2", "reliability": "#d55e00"}
AGREEMENT = {
    "both": "#56b4e9",
    "{0} only": "#e69f00",
    "{1} only": "#882255",
    "neither": "#000000",
}
SMALLEST_DEG, LARGEST_DEG = 0.5, 100.0
TICKS_DEG = (0.5, 1, 2, 5, 10, 20, 50, 100)
CHUNK_POINTS = 1 << 17


def ipf_colors(map: OrientationMap, direction: str = "z") -> np.ndarray:
    """Return inverse pole figure colors (TSL) of the best orientations, shape (rows, cols, 3).

    Each phase has the colors of its own Laue group. Points without an orientation are black.

    Args:
        map: the orientations.
        direction: sample direction whose crystal direction is colored: "x", "y", or "z", the beam.
    """
    from orix.plot.direction_color_keys import DirectionColorKeyTSL
    from orix.vector import Vector3d

    colors = np.zeros((*map.shape, 3))
    for number, crystal in enumerate(map.crystals):
        key = DirectionColorKeyTSL(crystal.point_group.laue)
        rows, cols = np.nonzero(map.phase == number)
        for start in range(0, rows.size, CHUNK_POINTS):
            part = rows[start : start + CHUNK_POINTS], cols[start : start + CHUNK_POINTS]
            matrices = matrices_from_euler(map.euler_deg[part][:, 0])
            colors[part] = key.direction2color(Vector3d(matrices[:, :, "xyz".index(direction)]))
    return colors.clip(0, 1)


def ipf_map(ax: "Axes", map: OrientationMap, direction: str = "z") -> None:
    """Draw an orientation map in IPF colors, black where not indexed, with a scale bar.

    Args:
        ax: empty axes.
        map: the orientations.
        direction: sample direction to color by: "x", "y", or "z", the beam direction.
    """
    draw_map(ax, ipf_colors(map, direction), map.step_nm)


def ipf_key(figure: "Figure | SubFigure", crystal: Crystal) -> "Axes":
    """Draw the IPF color key of a crystal's Laue group with Miller labels; return its axes.

    Args:
        figure: empty figure or subfigure.
        crystal: whose symmetry decides the sector.
    """
    import orix.plot  # noqa: F401  registers the projection "ipf"

    laue = crystal.point_group.laue
    ax = figure.add_subplot(projection="ipf", symmetry=laue)
    ax.plot_ipf_color_key(show_title=False)
    ax.set_title("")
    return ax


def misorientation_map(
    ax: "Axes", comparison: Comparison, step_nm: float, friend: str = "raw"
) -> None:
    """Draw misorientations on a logarithmic scale, gray where either map is not indexed.

    Args:
        ax: empty axes.
        comparison: of the two maps.
        step_nm: step of the scan.
        friend: one of `comparison.friends`.
    """
    from matplotlib.colors import LogNorm

    angles = comparison.misorientation_deg[friend].clip(min=SMALLEST_DEG)
    image = draw_map(
        ax, angles, step_nm, cmap=with_gray("viridis"), norm=LogNorm(SMALLEST_DEG, LARGEST_DEG)
    )
    bar = color_bar(image, ax, "misorientation (°)")
    bar.set_ticks(TICKS_DEG, labels=[f"{tick:g}" for tick in TICKS_DEG])
    bar.minorticks_off()


def misorientation_histogram(ax: "Axes", comparison: Comparison, bin_deg: float = 2.0) -> None:
    """Draw how many points have which misorientation, raw and modulo each false friend.

    Args:
        ax: empty axes.
        comparison: of the two maps.
        bin_deg: width of a bin.
    """
    from matplotlib.ticker import NullFormatter

    largest = np.nanmax(comparison.misorientation_deg["raw"], initial=10.0)
    edges = np.arange(0.0, largest + bin_deg, bin_deg)
    for friend, grid in comparison.misorientation_deg.items():
        counts, _ = np.histogram(grid[np.isfinite(grid)], bins=edges)
        share = 100 * counts / max(counts.sum(), 1)
        color = FRIEND_COLORS[friend]
        if friend == "raw":
            ax.stairs(share, edges, color=color, linewidth=0, fill=True, alpha=0.18)
        ax.stairs(share, edges, color=color, label=FRIENDS[friend], linewidth=1.3)
    ax.set_ylim(10.0 ** np.floor(np.log10(100 / comparison.counts["indexed_both"])), 150)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(0, edges[-1])
    ax.set_xlabel("misorientation (°)")
    ax.set_ylabel(f"points per {bin_deg:g}° (%)")
    ax.legend(frameon=False, loc="upper right")
    _open_frame(ax)


def confidence_map(
    ax: "Axes", map: OrientationMap, quantity: str = "score", label: str | None = None
) -> None:
    """Draw a quantity of a map with its color bar, gray where not indexed.

    Args:
        ax: empty axes.
        map: the orientations.
        quantity: "score" (of the best orientation), "reliability", or one of the properties.
        label: of the color bar; the quantity by default.
    """
    values = {"score": map.score[..., 0], "reliability": map.reliability, **map.properties}
    shown = np.where(map.indexed, values[quantity], np.nan)
    low, high = robust_limits(shown)
    image = draw_map(ax, shown, map.step_nm, cmap=with_gray("cividis"), vmin=low, vmax=high)
    color_bar(image, ax, label or quantity)


def confidence_histogram(ax: "Axes", map: OrientationMap) -> None:
    """Draw how many of the indexed points have which score and reliability.

    Args:
        ax: empty axes.
        map: the orientations.
    """
    there = map.indexed
    # Files of other programs may hold scores that are no shares.
    edges = np.linspace(0, max(1.0, map.score[..., 0][there].max(initial=0)), 51)
    for name, color in CONFIDENCE_COLORS.items():
        values = map.score[..., 0] if name == "score" else map.reliability
        counts, _ = np.histogram(values[there], bins=edges)
        ax.stairs(100 * counts / max(there.sum(), 1), edges, color=color, label=name, linewidth=1.3)
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("value")
    ax.set_ylabel(f"points per {edges[1]:.2g} (%)")
    ax.legend(frameon=False)
    _open_frame(ax)


def agreement(comparison: Comparison) -> np.ndarray:
    """Return which maps index a point, as numbers of `AGREEMENT`, int, shape (rows, cols)."""
    mine, theirs = comparison.indexed_map, comparison.indexed_reference
    return np.select([mine & theirs, mine, theirs], [0, 1, 2], 3)


def agreement_map(
    ax: "Axes",
    comparison: Comparison,
    step_nm: float,
    names: tuple[str, str] = ("map", "reference"),
) -> None:
    """Draw which points are indexed by both maps, by one, or by neither.

    Args:
        ax: empty axes.
        comparison: of the two maps.
        step_nm: step of the scan.
        names: what the map and the reference are called.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    kind = agreement(comparison)
    colors = list(AGREEMENT.values())
    draw_map(ax, kind, step_nm, cmap=ListedColormap(colors), vmin=-0.5, vmax=3.5)
    counts = np.bincount(kind.ravel(), minlength=4)
    handles = [
        Patch(facecolor=color, edgecolor="0.5", label=f"{label.format(*names)}: {count:,}")
        for (label, color), count in zip(AGREEMENT.items(), counts, strict=True)
    ]
    ax.legend(
        handles=handles,
        title="indexed by",
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=2,
    )


def risk_coverage(
    ax: "Axes", comparison: Comparison, thresholds: Sequence["Threshold"] = ()
) -> None:
    """Draw the share of wrong points against the share kept, most confident first.

    Args:
        ax: empty axes.
        comparison: of the two maps.
        thresholds: to be marked with what they keep and risk.
    """
    kept = 100 * comparison.risk_coverage["coverage"]
    top = 1.0
    for (quantity, color), line in zip(CONFIDENCE_COLORS.items(), ("o-", "s--"), strict=True):
        share = 100 * comparison.risk_coverage[quantity]
        top = max(top, 1.08 * share.max())
        ax.plot(kept, share, line, color=color, markersize=3, linewidth=1.3, label=quantity)
    for chosen in thresholds:
        place, color = (
            (100 * chosen.coverage, 100 * chosen.risk),
            CONFIDENCE_COLORS[chosen.quantity],
        )
        ax.plot(*place, "*", color=color, markeredgecolor="black", markersize=11, zorder=3)
        ax.annotate(f"{chosen.value:.4g}", place, (0, 8), textcoords="offset points", ha="center")
    ax.set_xlim(0, 103)
    ax.set_ylim(0, top)
    ax.set_xlabel("points kept, most confident first (%)")
    ax.set_ylabel(f"of these, off by more than {RIGHT_DEG:g}° (%)")
    ax.legend(frameon=False, title="ranked by")
    _open_frame(ax)


def _open_frame(ax: "Axes") -> None:
    ax.spines[["top", "right"]].set_visible(False)
