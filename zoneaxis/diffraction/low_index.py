"""Low-index directions [uvw] of a crystal: names for zone axes and for axes of rotation.

The crystal's main axes come first, those of the highest symmetry before all. Then the lattice says
which are low, not the numbers: the shorter the lattice vector, the denser the zone. The lattice is
centered as the space group's symbol says, rhombohedral ones obverse.
"""

import numpy as np

from zoneaxis.diffraction.crystal import Crystal

LONGEST = 2.5  # times the longest edge: beyond, indices say nothing to a reader
HEXAGONAL_AXES = ("trigonal", "hexagonal")
H, T = 1 / 2, 1 / 3
CENTERING = {
    "A": [(0, H, H)],
    "C": [(H, H, 0)],
    "I": [(H, H, H)],
    "F": [(0, H, H), (H, 0, H), (H, H, 0)],
    "H": [(2 * T, T, T), (T, 2 * T, 2 * T)],  # diffpy's letter for R on hexagonal axes
}


def low_index_directions(crystal: Crystal, apart_deg: float) -> np.ndarray:
    """Return directions of short lattice vectors that lie apart, in the order given above.

    Of equivalent ones (Laue group) there is one. Most other directions of the crystal lie within
    `apart_deg` of one of them.

    Args:
        crystal: whose lattice and Laue group count.
        apart_deg: smallest angle between any two.

    Returns:
        Indices uvw, int, shape (n, 3).
    """
    uvw = _by_length(crystal)
    unit = _unit(uvw @ crystal.lattice_angstrom)
    chosen, free = [], np.ones(len(uvw), bool)
    while free.any():
        first = int(free.argmax())
        chosen.append(first)
        free &= ~(_cosines(unit, unit[[first]], crystal)[:, 0] > np.cos(np.deg2rad(apart_deg)))
        free[first] = False
    return uvw[chosen]


def nearest_direction(
    vectors: np.ndarray, uvw: np.ndarray, crystal: Crystal
) -> tuple[np.ndarray, np.ndarray]:
    """Return which direction, up to the Laue group, is nearest to each vector, and how near.

    Args:
        vectors: in the crystal frame, of any length, shape (n, 3).
        uvw: the directions' indices, shape (m, 3).
        crystal: of both.

    Returns:
        Number of the direction, int, and angle in degrees, NaN for a vector of NaN; each (n,).
    """
    cosine = _cosines(_unit(vectors), _unit(uvw @ crystal.lattice_angstrom), crystal)
    best = cosine.max(axis=1)
    return cosine.argmax(axis=1), np.rad2deg(np.arccos(np.clip(best, -1, 1)))


def direction_label(uvw: np.ndarray, crystal: Crystal) -> str:
    """Return "[110]", or on hexagonal axes the four indices, "[11-20]", of a direction.

    Args:
        uvw: indices, int, shape (3,).
        crystal: whose axes they count along.
    """
    u, v, w = (int(i) for i in uvw)
    if crystal.point_group.system in HEXAGONAL_AXES:
        indices = np.array([2 * u - v, 2 * v - u, -u - v, 3 * w])
    else:
        indices = np.array([u, v, w])
    indices = indices // max(np.gcd.reduce(indices), 1)
    return f"[{(' ' if np.abs(indices).max() > 9 else '').join(map(str, indices))}]"


def _by_length(crystal: Crystal) -> np.ndarray:
    """Return uvw without a common factor, the lowest first, shape (n, 3)."""
    edges = np.array(crystal.cell[:3])
    longest = LONGEST * edges.max()
    uvw = np.indices(2 * (longest // edges).astype(int) + 1).reshape(3, -1).T
    uvw = uvw - uvw.max(axis=0) // 2
    uvw = uvw[np.gcd.reduce(uvw, axis=1) == 1]
    length = np.linalg.norm(uvw @ crystal.lattice_angstrom, axis=1) / _divisor(uvw, crystal)
    uvw, length = uvw[length <= longest], length[length <= longest]
    vectors = _unit(uvw @ crystal.lattice_angstrom)
    turned = np.einsum("sij,nj->sni", _laue_rotations(crystal), vectors)
    order = (np.abs((turned * vectors).sum(axis=-1)) > 1 - 1e-6).sum(axis=0)
    main = np.where(order > 2, order, 0)  # 2 is any direction in a mirror plane
    # Among equivalents, the one that people write: few minus signs, [001], [11-20].
    sign = -1 if crystal.point_group.system in HEXAGONAL_AXES else 1
    written = *(sign * uvw.T[::-1]), -uvw.sum(axis=1), (uvw < 0).sum(axis=1)
    return uvw[np.lexsort((*written, np.round(length, 6), -main))]


def _divisor(uvw: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return how many lattice points lie along each uvw, 1 to 3, shape (n,)."""
    from diffpy.structure.spacegroups import GetSpaceGroup

    shifts = np.array(CENTERING.get(GetSpaceGroup(crystal.space_group).short_name[0], []))
    divisor = np.ones(len(uvw))
    for n in (2, 3) if len(shifts) else ():
        off = uvw[:, None] / n - shifts
        divisor[(np.abs(off - np.round(off)) < 1e-6).all(axis=2).any(axis=1)] = n
    return divisor


def _cosines(vectors: np.ndarray, directions: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return the cosine of each vector with the nearest equivalent of each direction, (n, m)."""
    best = np.full((len(vectors), len(directions)), -1.0)
    for operator in _laue_rotations(crystal):
        # The Laue group has the inversion: a direction and its opposite are one.
        best = np.maximum(best, np.abs(vectors @ (directions @ operator.T).T))
    return best


def _laue_rotations(crystal: Crystal) -> np.ndarray:
    return crystal.point_group.laue.proper_subgroup.to_matrix()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
