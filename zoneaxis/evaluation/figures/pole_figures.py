"""Pole figures and inverse pole figures: where the crystals of a map point, as densities.

Densities are in multiples of a random distribution (MRD). They are counted in Lambert's equal-area
projection, r = 2 sin(theta / 2), where equal areas are equal solid angles everywhere, and smoothed
there. Pole figures are drawn in it, seen along the beam as the maps are: x to the right, y down,
z in the middle, into the page.
"""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.scans.orientation_map import OrientationMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure, SubFigure

SIGMA_DEG = 4.0  # of the smoothing
CELLS = 320  # across the projection of the whole sphere, 4 wide
RIM = np.sqrt(2)  # radius at which the hemisphere ends
COLORS = "cividis"
# Lattice planes by crystal system: their names, and Miller indices.
_HEXAGONAL = {"{0001}": (0, 0, 1), r"{10$\bar{1}$0}": (1, 0, 0), r"{11$\bar{2}$0}": (1, 1, 0)}
_AXES = {"{100}": (1, 0, 0), "{010}": (0, 1, 0), "{001}": (0, 0, 1)}
POLES = {
    "cubic": {"{001}": (0, 0, 1), "{011}": (0, 1, 1), "{111}": (1, 1, 1)},
    "hexagonal": _HEXAGONAL,
    "trigonal": _HEXAGONAL,
    "tetragonal": {"{001}": (0, 0, 1), "{100}": (1, 0, 0), "{110}": (1, 1, 0)},
    "orthorhombic": _AXES,
    "monoclinic": _AXES,
    "triclinic": _AXES,
}


def pole_directions(map: OrientationMap, hkl: tuple[int, int, int]) -> np.ndarray:
    """Return the normals of a family of lattice planes at every indexed point.

    Args:
        map: of a single phase.
        hkl: Miller indices of one plane of the family.

    Returns:
        Unit vectors in the sample frame, both senses of each plane, shape (n, 3).
    """
    crystal = map.crystal
    normal = np.array(hkl) @ crystal.reciprocal_inv_angstrom
    family = _family(crystal, normal / np.linalg.norm(normal))
    return (family @ map.matrices[map.indexed]).reshape(-1, 3)


def density(directions: np.ndarray) -> np.ndarray:
    """Return the density of directions in multiples of a random one.

    Args:
        directions: unit vectors, shape (n, 3).

    Returns:
        Over the equal-area projection of the sphere about +z, the square -2..2 of x (columns)
        and y (rows), shape (CELLS, CELLS); zero beyond the sphere's rim at 2.
    """
    from scipy.ndimage import gaussian_filter

    x, y = _lambert(directions).T
    counts, *_ = np.histogram2d(y, x, bins=CELLS, range=[[-2, 2], [-2, 2]])
    smooth = gaussian_filter(counts, np.deg2rad(SIGMA_DEG) * CELLS / 4)
    random = len(directions) * (4 / CELLS) ** 2 / (4 * np.pi)
    return smooth / random


def pole_figures(figure: "Figure | SubFigure", map: OrientationMap) -> list["Axes"]:
    """Draw the pole densities of the crystal system's usual planes; return their axes.

    Args:
        figure: empty, about three times as wide as high.
        map: of a single phase, at least one point of it indexed.
    """
    from matplotlib.patches import Circle

    poles = POLES[map.crystal.point_group.system]
    axes = figure.subplots(1, len(poles)).tolist()
    for ax, (name, hkl) in zip(axes, poles.items(), strict=True):
        rim = Circle((0, 0), RIM, fill=False, linewidth=0.8)
        image = ax.imshow(
            density(pole_directions(map, hkl)),
            cmap=COLORS,
            vmin=0,
            extent=(-2, 2, 2, -2),
            interpolation="bilinear",
        )
        ax.add_patch(rim)
        image.set_clip_path(rim)
        ax.set(xlim=(-1.01 * RIM, 1.01 * RIM), ylim=(1.01 * RIM, -1.01 * RIM), title=name)
        ax.axis("off")
        for label, place in {"x": (1.12 * RIM, 0), "y": (0, 1.12 * RIM)}.items():
            ax.text(*place, label, ha="center", va="center")
        _density_bar(image, ax)
    return axes


def beam_density(figure: "Figure | SubFigure", map: OrientationMap) -> "Axes":
    """Draw how often the beam runs along which crystal direction; return the axes.

    Args:
        figure: empty.
        map: of a single phase, at least one point of it indexed.
    """
    import orix.plot  # noqa: F401  registers the projection "ipf"
    from orix.measure import pole_density_function
    from orix.vector import Vector3d
    from scipy.ndimage import map_coordinates

    laue = map.crystal.point_group.laue
    beams = np.concatenate([map.matrices[map.indexed][..., 2] @ op.T for op in laue.to_matrix()])
    # The grid and its mask are orix's; its smoothing depends on the distance from the pole.
    drawn, (x, y) = pole_density_function(Vector3d(beams[:1]), symmetry=laue)
    middle = [(v[1:, 1:] + v[:-1, :-1] + v[1:, :-1] + v[:-1, 1:]) / 4 for v in (x, y)]
    cells = (_lambert(_from_stereographic(*middle)) + 2) * CELLS / 4 - 0.5
    values = map_coordinates(density(beams), [cells[..., 1], cells[..., 0]], order=1)
    ax = figure.add_subplot(projection="ipf", symmetry=laue)
    image = ax.pcolormesh(x, y, np.ma.array(values, mask=drawn.mask), cmap=COLORS, vmin=0)
    ax.set_title("")
    _density_bar(image, ax)
    return ax


def plane_names(crystal: Crystal) -> str:
    """Return which planes `pole_figures` draws, in plain text."""
    return ", ".join(POLES[crystal.point_group.system]).replace(r"$\bar{", "-").replace("}$", "")


def _family(crystal: Crystal, direction: np.ndarray) -> np.ndarray:
    """Return the equivalents of a direction and of its opposite, shape (n, 3)."""
    family = crystal.proper_operators @ direction
    return np.unique(np.round(np.concatenate([family, -family]), 9), axis=0)


def _lambert(directions: np.ndarray) -> np.ndarray:
    """Return the equal-area projection about +z, shape (..., 2); -z goes to the rim."""
    z = directions[..., 2:]
    return directions[..., :2] * np.sqrt(2 / np.maximum(1 + z, 1e-9))


def _from_stereographic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the directions of stereographic coordinates, shape (..., 3)."""
    r2 = x**2 + y**2
    return np.stack([2 * x, 2 * y, 1 - r2], axis=-1) / (1 + r2)[..., None]


def _density_bar(image: "ScalarMappable", ax: "Axes") -> None:
    ax.figure.colorbar(image, ax=ax, label="density (MRD)", shrink=0.7, aspect=16, pad=0.09)
