"""Beam directions: those that cover what symmetry leaves of the sphere, and zone axes by name."""

import re

import numpy as np
from orix.sampling import sample_S2
from scipy.spatial import cKDTree

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import beam_directions, reduce_euler
from zoneaxis.errors import SettingsError

SAME = 1 - 1e-9  # cosine of the angle between directions that count as one


def sample_directions(crystal: Crystal, step_deg: float, mirrored: bool = False) -> np.ndarray:
    """Return a nearly even grid of beam directions over the crystal's fundamental sector.

    Spherified cube (edge-equalized) of orix, cut to the sector of the proper point group, one
    direction of each orbit: what orix keeps on the rim a second time is left out. At 2 degrees
    point group 32 has 2162 directions, the paper's number, of which none is doubled; -3m has 1042
    of orix's 1057. The grid is not that of a 3-fold axis, so that some neighbors across the rim
    of 32 are nearer than the step.

    Args:
        crystal: whose symmetry cuts the sphere.
        step_deg: spacing of neighboring directions in degrees.
        mirrored: cut to the sector of the full point group instead; patterns of the rest are
            x-mirrors (`orientations.mirrored`). The same where `crystal.mirror` is None.

    Returns:
        (Phi, phi2) in degrees, in the region of `orientations.reduce_euler`, shape (n, 2).

    Raises:
        SettingsError: the step is not within 0.1 to 30 degrees.
    """
    if not 0.1 <= step_deg <= 30:
        raise SettingsError(f"step_deg = {step_deg}: expected 0.1 to 30 degrees.")
    group, operators = crystal.point_group.proper_subgroup, crystal.proper_operators
    if mirrored and crystal.mirror is not None:
        group, operators = crystal.point_group, full_operators(crystal)
    directions = sample_S2(step_deg, method="spherified_cube_edge")
    beams = directions[directions <= group.fundamental_sector].data
    # Contiguous, as in `orientations.euler_from_matrices`: else not the same in every process.
    x, y, z = np.ascontiguousarray(beams[first_of_orbits(beams, operators)].T)
    tilt = np.arctan2(np.hypot(x, y), z)
    euler = np.rad2deg(np.stack([np.zeros_like(tilt), tilt, np.arctan2(x, y)], axis=-1))
    return reduce_euler(euler, crystal)[:, 1:]


def full_operators(crystal: Crystal) -> np.ndarray:
    """Return the proper operators and, where there are any, those that mirror: (n, 3, 3)."""
    proper = crystal.proper_operators
    return proper if crystal.mirror is None else np.concatenate([proper, crystal.mirror @ proper])


def first_of_orbits(beams: np.ndarray, operators: np.ndarray) -> np.ndarray:
    """Return which directions have no equivalent before them in the list.

    Args:
        beams: unit vectors, all different, shape (n, 3).
        operators: of a whole group, shape (s, 3, 3).

    Returns:
        bool, shape (n,).
    """
    tree = cKDTree(beams)
    first = np.arange(len(beams))
    for operator in operators:
        # n stands for "none within the bound", so that the minimum passes over it.
        _, found = tree.query(beams @ operator.T, distance_upper_bound=np.sqrt(2 - 2 * SAME))
        first = np.minimum(first, found)
    return first == np.arange(len(beams))


def nearest_equivalent_deg(
    directions: np.ndarray, others: np.ndarray, operators: np.ndarray
) -> np.ndarray:
    """Return the angle from each direction to the nearest equivalent of the others.

    Args:
        directions: (Phi, phi2) in degrees, shape (n, 2).
        others: (Phi, phi2) in degrees, shape (m, 2).
        operators: that make directions equal, shape (s, 3, 3).

    Returns:
        Angles in degrees, shape (n,).
    """
    beams, targets = (beam_directions(np.insert(d, 0, 0.0, axis=1)) for d in (directions, others))
    chord, _ = cKDTree(targets).query(np.einsum("sij,nj->nsi", operators, beams))
    return np.rad2deg(2 * np.arcsin(chord.min(axis=1) / 2))


def parse_zone_axis(text: str, crystal: Crystal) -> np.ndarray:
    """Read a zone axis: "[110]", "1 -1 0", or of hexagonal axes "[10-10]".

    Four indices are U V T W with T = -(U + V), of which [u v w] = [U - T, V - T, W].

    Args:
        text: three or four whole numbers, one digit each unless blanks or commas part them.
        crystal: whose axes are meant.

    Returns:
        [u v w] without a common factor, int, shape (3,).

    Raises:
        SettingsError: not that, or four indices on axes that are not hexagonal.
    """
    plain = text.strip().strip("[]<>").strip()
    parted = re.fullmatch(r"-?\d+([\s,]+-?\d+)+", plain)
    indices = [int(n) for n in re.findall(r"-?\d+" if parted else r"-?\d", plain)]
    written = re.sub(r"[\s,]", "", plain) == "".join(map(str, indices))
    if not written or len(indices) not in (3, 4) or not any(indices):
        raise SettingsError(
            f"'{text}' is no zone axis: expected three or four whole numbers, not all 0, as in "
            "[110], [1 -1 0] or [10-10]."
        )
    if len(indices) == 4:
        u, v, t, w = indices
        a, b, *_, gamma = crystal.cell
        if not (abs(a - b) < 1e-3 * a and abs(gamma - 120) < 1e-2):
            raise SettingsError(
                f"'{text}' has four indices, and {crystal.name} no hexagonal axes: give three."
            )
        if u + v + t:
            raise SettingsError(
                f"'{text}': of four indices the third is minus the sum of the first two, {-u - v}."
            )
        indices = [u - t, v - t, w]
    return np.array(indices) // np.gcd.reduce(indices)


def zone_axis_euler(uvw: np.ndarray, crystal: Crystal, phi1_deg: float = 0.0) -> np.ndarray:
    """Return the Bunge angles of a crystal that the beam passes along [u v w], shape (3,).

    Args:
        uvw: indices of the direction, shape (3,).
        crystal: whose axes they count along.
        phi1_deg: in-plane angle in degrees.
    """
    x, y, z = np.asarray(uvw) @ crystal.lattice_angstrom
    tilt = np.arctan2(np.hypot(x, y), z)
    turn = np.arctan2(x, y) if np.hypot(x, y) > 1e-9 * abs(z) else 0.0
    return np.array([phi1_deg, np.rad2deg(tilt), np.rad2deg(turn) % 360])
