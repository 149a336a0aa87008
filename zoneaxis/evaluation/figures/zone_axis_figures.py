"""Two zone axes that look alike: their patterns, their spots, and what an indexer says."""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.zone_axes import ZoneAxisPair
from zoneaxis.evaluation.ambiguity import DirectionScores
from zoneaxis.evaluation.figures.ambiguity_figures import draw_confidence_difference
from zoneaxis.evaluation.figures.pattern_figures import pattern_image
from zoneaxis.evaluation.zone_axis_pair import bright_differences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure, SubFigure


def draw_zone_axes(
    figure: "Figure | SubFigure",
    pair: ZoneAxisPair,
    patterns: np.ndarray,
    euler_deg: np.ndarray,
    names: tuple[str, str],
    inv_angstrom_per_pixel: float,
    disk_radius_inv_angstrom: float,
    scores: DirectionScores | None = None,
) -> None:
    """Draw both patterns, the differences of their spots, and those of an indexer's confidences.

    Args:
        figure: empty figure or subfigure: 2 x 2 panels, and a third column with scores.
        pair: intensities of one thickness.
        patterns: dynamical, without the first-order Laue zone, shape (2, size, size).
        euler_deg: (phi1, Phi, phi2) of both, shape (2, 3).
        names: of the zone axes.
        inv_angstrom_per_pixel: size of a pixel.
        disk_radius_inv_angstrom: of the disks.
        scores: of an indexer for the two patterns.
    """
    if scores is not None:
        figure, right = figure.subfigures(1, 2, width_ratios=(2.1, 1.3))
        right = right.subfigures(3, 1, height_ratios=(1, 2, 1))[1]
        marked = dict(zip("ab", euler_deg, strict=True))
        ax = draw_confidence_difference(right, scores, marked)
        ax.set_title("what the indexer thinks of a, less of b", pad=24)
    grid = figure.subplots(2, 2)
    size = patterns.shape[-1]
    center = (size // 2, size // 2)
    for ax, pattern, letter, name in zip(grid[0], patterns, "ab", names, strict=True):
        pattern_image(ax, pattern, inv_angstrom_per_pixel, disk_radius_inv_angstrom, center)
        ax.set_title(f"{letter}: {name}, dynamic")
    reach = size / 2 * inv_angstrom_per_pixel
    largest = max(
        float(np.abs(bright_differences(pair, k)).max()) for k in ("kinematic", "dynamic")
    )
    limit = max(min(largest, 2.0), 1e-3)
    for ax, kind in zip(grid[1], ("kinematic", "dynamic"), strict=True):
        disks = _differences(ax, pair, kind, disk_radius_inv_angstrom, limit, reach)
    figure.colorbar(disks, ax=grid[1], label="2 (a - b) / (a + b)", shrink=0.8)


def _differences(
    ax: "Axes", pair: ZoneAxisPair, kind: str, radius: float, limit: float, reach: float
) -> "ScalarMappable":
    """Draw relative differences disk by disk, faint disks hollow; return what makes a color bar."""
    from matplotlib.collections import EllipseCollection

    difference = bright_differences(pair, kind)
    wide = np.full(len(difference), 2 * radius)
    disks = EllipseCollection(
        wide,
        wide,
        np.zeros_like(wide),
        units="xy",
        offsets=pair.q_inv_angstrom[1:],
        offset_transform=ax.transData,
        array=difference,
        cmap="PuOr_r",
        edgecolors="0.55",
        linewidths=0.6,
    )
    disks.set_clim(-limit, limit)
    ax.add_collection(disks)
    ax.plot(0, 0, "+", color="0.3")
    ax.set_xlim(-reach, reach)
    ax.set_ylim(reach, -reach)
    ax.set_aspect("equal")
    ax.set_xlabel(r"$q_x$ (Å$^{-1}$)")
    ax.set_ylabel(r"$q_y$ (Å$^{-1}$)")
    ax.set_title(f"{kind}: at most {np.abs(difference).max():.2g}")
    return disks
