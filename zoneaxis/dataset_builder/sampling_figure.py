"""The sampling of a data set as the paper's Fig. 1 shows it, with the density that it comes to."""

from typing import TYPE_CHECKING

import numpy as np
from orix.quaternion import Symmetry
from orix.vector import Vector3d

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import beam_directions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"train": "#0072b2", "both": "#009e73", "validation": "#d55e00"}  # Okabe and Ito
LARGEST_INDEX = 9  # of a zone axis that has a name
MOST_POINTS = 4000
EVEN_POINTS = 50_000
ON_EDGE_DEG = 1e-3  # rings of a grid on an edge count to the bin that begins there


def sampling_figure(
    crystal: Crystal, group: Symmetry, euler_deg: np.ndarray, held_out: np.ndarray
) -> "Figure":
    """Draw directions in the stereographic projection of a sector, and their density over Phi.

    Args:
        crystal: for the names of the sector's corners.
        group: point group whose sector all directions are brought to.
        euler_deg: (phi1, Phi, phi2) of each row of a data set, shape (n, 3).
        held_out: which rows are for validation, bool, shape (n,).
    """
    from matplotlib.figure import Figure

    euler, number = np.unique(euler_deg, axis=0, return_inverse=True)
    rows = np.bincount(number.ravel())
    share = np.bincount(number.ravel(), held_out) / rows
    kind = np.select([share == 0, share == 1], ["train", "validation"], "both")
    beams = in_sector(beam_directions(euler), group)
    hemispheres = [1, -1] if _even(group)[:, 2].min() < -0.01 else [1]
    figure = Figure(figsize=(4 + 4 * len(hemispheres), 4), layout="constrained")
    *maps, density = figure.subplots(1, 1 + len(hemispheres))
    for ax, sign in zip(maps, hemispheres, strict=True):
        draw_sector(ax, crystal, group, sign)
        _draw_directions(ax, beams, kind, sign)
    legend = maps[0].legend(loc="upper left", bbox_to_anchor=(0, 0), frameon=False, ncols=3)
    for handle in legend.legend_handles:
        handle.set_sizes([16])
    _draw_density(density, beams, group)
    return figure


def zone_axis(crystal: Crystal, direction: np.ndarray) -> str | None:
    """Return the name of a direction as matplotlib's mathematics, four indices if hexagonal.

    Args:
        crystal: whose lattice counts.
        direction: in the crystal frame, of any length, shape (3,).

    Returns:
        None where no lattice direction of small indices lies there.
    """
    u, v, w = direction @ crystal.reciprocal_inv_angstrom.T
    a, b, *_, gamma = crystal.cell
    indices = np.array([u, v, w])
    if a == b and gamma == 120:
        indices = np.array([2 * u - v, 2 * v - u, -u - v, 3 * w]) / 3
    indices = indices / np.abs(indices).max()
    for largest in range(1, LARGEST_INDEX + 1):
        whole = np.round(indices * largest).astype(int)
        if np.abs(indices * largest - whole).max() < 0.01:
            names = [f"\\bar{{{-i}}}" if i < 0 else str(i) for i in whole]
            return f"$[{''.join(names)}]$"
    return None


def in_sector(beams: np.ndarray, group: Symmetry) -> np.ndarray:
    """Return the equivalents of unit vectors (n, 3) that lie in the group's sector."""
    return Vector3d(beams).in_fundamental_sector(group).data


def _even(group: Symmetry) -> np.ndarray:
    """Return directions spread evenly over the group's sector (Fibonacci lattice), (n, 3)."""
    i = np.arange(EVEN_POINTS) + 0.5
    z, azimuth = 1 - 2 * i / EVEN_POINTS, i * np.pi * (3 - 5**0.5)
    radius = np.sqrt(1 - z**2)
    return in_sector(np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], 1), group)


def project(beams: np.ndarray, sign: int) -> np.ndarray:
    """Return the stereographic projection, (n, 2), NaN beyond the hemisphere of that sign."""
    height = sign * beams[:, 2:]
    return np.where(height > -1e-6, beams[:, :2] / (1 + height.clip(-1e-6)), np.nan)


def draw_sector(ax: "Axes", crystal: Crystal, group: Symmetry, sign: int) -> None:
    """Draw the outline of a group's sector and name its corners."""
    sector = group.fundamental_sector
    angle = np.linspace(0, 2 * np.pi, 361)
    equator = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    edges = sector.edges.unit.data if sector.edges.size else equator
    outline = project(np.concatenate([edges, edges[:1]]), sign)
    ax.plot(*outline.T, color="black", linewidth=0.8)
    crossed = np.where((Vector3d(equator) <= sector)[:, None], equator, np.nan)
    ax.plot(*project(crossed, sign).T, color="black", linewidth=0.8)
    corners = sector.vertices.unit.data
    middle = np.nanmean(outline, axis=0)
    for corner, (x, y) in zip(corners, project(corners, sign), strict=True):
        if np.isfinite(x) and (name := zone_axis(crystal, corner)):
            away = np.sign(np.round([x, y] - middle, 2)).astype(int)
            ax.annotate(
                name,
                (x, y),
                5 * away,
                textcoords="offset points",
                ha=("right", "center", "left")[away[0] + 1],
                va=("top", "center", "bottom")[away[1] + 1],
            )
    ax.set_aspect("equal")
    ax.margins(0.12)
    ax.set_axis_off()


def _draw_directions(ax: "Axes", beams: np.ndarray, kind: np.ndarray, sign: int) -> None:
    """Draw a point for each direction, or for some where there are very many."""
    shown = np.random.default_rng(0).permutation(len(beams))[:MOST_POINTS]
    size = 300 / max(50, len(shown)) ** 0.65
    for name, color in COLORS.items():
        if (these := kind[shown] == name).any():
            ax.scatter(
                *project(beams[shown][these], sign).T,
                s=size * (1 if name == "train" else 2),
                color=color,
                linewidth=0,
                label=f"{name}: {(kind == name).sum():,}",
                zorder=2 if name == "train" else 3,
            )


def _draw_density(ax: "Axes", beams: np.ndarray, group: Symmetry) -> None:
    """Draw how many directions lie at each Phi, relative to an even spread over the sector."""
    from matplotlib.ticker import LogLocator, NullFormatter

    tilt, even = (np.rad2deg(np.arccos(b[:, 2].clip(-1, 1))) for b in (beams, _even(group)))
    # Broad against the step of a grid, which a histogram would show otherwise.
    edges = np.linspace(0, even.max(), int(np.clip(len(tilt) ** 0.5 / 3, 3, 12)) + 1)
    found, expected = (
        np.histogram((t + ON_EDGE_DEG).clip(0, edges[-1]), edges)[0] / len(t) for t in (tilt, even)
    )
    density = found / expected
    ax.axhline(1, color="0.6", linewidth=0.8)
    ax.stairs(density, edges, baseline=None, color="black", linewidth=1.3)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(min(0.2, 0.8 * density[density > 0].min()), max(5, 1.3 * density.max()))
    ax.set_xlim(0, edges[-1])
    ax.set_xlabel("Φ (°)")
    ax.set_ylabel("directions per solid angle, relative to an even spread")
    ax.spines[["top", "right"]].set_visible(False)
