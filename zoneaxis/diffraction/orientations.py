"""Bunge angles, orientation matrices and symmetry-reduced misorientations.

An orientation matrix G is passive, sample to crystal: v_crystal = G v_sample, with
G = Z(phi2) X(Phi) Z(phi1). Its third column is the beam direction in the crystal. The sample
frame is the pattern's: x to the right, y down, z along the beam.
"""

import numpy as np

from zoneaxis.diffraction.crystal import Crystal

ROTATE_180_ABOUT_BEAM = np.diag([-1.0, -1.0, 1.0])
MIRROR_X = np.diag([-1.0, 1.0, 1.0])
MIRROR_Y = np.diag([1.0, -1.0, 1.0])


def matrices_from_euler(euler_deg: np.ndarray) -> np.ndarray:
    """Return orientation matrices of Bunge angles.

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (..., 3).

    Returns:
        G, float64, shape (..., 3, 3).
    """
    angles = np.deg2rad(np.asarray(euler_deg, dtype=np.float64))
    (c1, c, c2), (s1, s, s2) = (np.moveaxis(f(angles), -1, 0) for f in (np.cos, np.sin))
    rows = [
        [c1 * c2 - s1 * s2 * c, s1 * c2 + c1 * s2 * c, s2 * s],
        [-c1 * s2 - s1 * c2 * c, -s1 * s2 + c1 * c2 * c, c2 * s],
        [s1 * s, -c1 * s, c],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def euler_from_matrices(matrices: np.ndarray) -> np.ndarray:
    """Return Bunge angles of orientation matrices; phi2 = 0 where Phi is 0 or 180.

    Args:
        matrices: G, shape (..., 3, 3).

    Returns:
        (phi1, Phi, phi2) in degrees, phi1 and phi2 in [0, 360), shape (..., 3).
    """
    g = np.moveaxis(np.asarray(matrices, dtype=np.float64), (-2, -1), (0, 1))
    # Contiguous: of strided numbers NumPy 1.26 takes the arctan2 by one of two codes, depending on
    # where they lie in memory, and the last digit with it.
    g = np.ascontiguousarray(g)
    sin_phi = np.hypot(g[2, 0], g[2, 1])
    phi = np.arctan2(sin_phi, g[2, 2])
    pole = sin_phi < 1e-9
    phi1 = np.where(pole, np.arctan2(g[0, 1], g[0, 0]), np.arctan2(g[2, 0], -g[2, 1]))
    phi2 = np.where(pole, 0.0, np.arctan2(g[0, 2], g[1, 2]))
    euler = np.rad2deg(np.stack([phi1 % (2 * np.pi), phi, phi2 % (2 * np.pi)], axis=-1))
    euler[..., [0, 2]] %= 360.0
    return euler


def beam_directions(euler_deg: np.ndarray) -> np.ndarray:
    """Return the beam direction in the crystal frame, unit vectors of shape (..., 3).

    It depends on (Phi, phi2) alone: (sin Phi sin phi2, sin Phi cos phi2, cos Phi).

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (..., 3).
    """
    _, phi, phi2 = np.moveaxis(np.deg2rad(np.asarray(euler_deg, dtype=np.float64)), -1, 0)
    return np.stack([np.sin(phi) * np.sin(phi2), np.sin(phi) * np.cos(phi2), np.cos(phi)], axis=-1)


def misorientation_deg(first: np.ndarray, second: np.ndarray, operators: np.ndarray) -> np.ndarray:
    """Return the smallest rotation angle of S G1 G2^T over the operators S, in degrees.

    G maps sample to crystal, so that S, a proper operator of the point group, acts on the
    crystal side: S G1 and G1 are the same orientation of the crystal. Acting with S on G2, or
    exchanging G1 and G2, gives the same angle.

    Args:
        first: G1, shape (..., 3, 3), broadcast against `second`.
        second: G2, shape (..., 3, 3).
        operators: proper symmetry operators S, shape (n, 3, 3).

    Returns:
        Angles in [0, 180], shape (...).
    """
    trace = _traces(first, second, operators).max(axis=-1)
    return np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1.0, 1.0)))


def _traces(first: np.ndarray, second: np.ndarray, operators: np.ndarray) -> np.ndarray:
    """Return trace(S G1 G2^T) for each operator S, shape (..., n)."""
    difference = np.asarray(second) @ np.swapaxes(np.asarray(first), -1, -2)
    # trace(S D^T) is the elementwise product, one operator at a time: memory stays that of D.
    flat = difference.reshape(*difference.shape[:-2], 9)
    return flat @ np.asarray(operators).reshape(-1, 9).T


def mean_orientation(
    matrices: np.ndarray, weights: np.ndarray, near: np.ndarray, operators: np.ndarray
) -> np.ndarray:
    """Return the weighted chordal mean of orientations, each as its equivalent nearest to `near`.

    Args:
        matrices: G, shape (n, c, 3, 3).
        weights: of each, shape (n, c).
        near: an orientation close to those that count, shape (n, 3, 3).
        operators: proper symmetry operators S, shape (s, 3, 3).

    Returns:
        Rotation matrices, shape (n, 3, 3).
    """
    aligned = nearest_equivalents(matrices, near[:, None], operators)
    return nearest_rotations(np.einsum("nc,ncij->nij", weights, aligned))


def nearest_equivalents(
    matrices: np.ndarray, near: np.ndarray, operators: np.ndarray
) -> np.ndarray:
    """Return of the equivalents S G of each orientation the one nearest to another orientation.

    Args:
        matrices: G, shape (..., 3, 3).
        near: the other orientations, broadcast against `matrices`.
        operators: proper symmetry operators S, shape (s, 3, 3).

    Returns:
        Rotation matrices, shape (..., 3, 3).
    """
    return operators[_traces(matrices, near, operators).argmax(axis=-1)] @ matrices


def nearest_rotations(sums: np.ndarray) -> np.ndarray:
    """Return the rotations nearest to sums of rotation matrices: their chordal means.

    Args:
        sums: shape (n, 3, 3).
    """
    left, _, right = np.linalg.svd(sums)
    left[..., 2] *= np.linalg.det(left @ right)[:, None]  # a rotation, not a reflection
    return left @ right


def pseudo_symmetric_deg(
    first: np.ndarray, second: np.ndarray, crystal: Crystal
) -> dict[str, np.ndarray]:
    """Return misorientations, raw and modulo the false friends of diffraction patterns.

    `beam_180`: 180 degrees about the beam, which the zero-order Laue zone alone cannot tell.
    `c_60`: 60 degrees about c, the pseudo-hexagonal friend of trigonal crystals (equal to raw
    wherever the crystal already has that rotation).

    Args:
        first: G1, shape (n, 3, 3).
        second: G2, shape (n, 3, 3).
        crystal: whose proper symmetry reduces the angles.

    Returns:
        Angles in degrees under "raw", "beam_180" and "c_60", each of shape (n,).
    """
    operators = crystal.proper_operators
    raw = misorientation_deg(first, second, operators)
    turned = misorientation_deg(first @ ROTATE_180_ABOUT_BEAM, second, operators)
    about_c = matrices_from_euler(np.array([60.0, 0.0, 0.0]))
    sixfold = np.concatenate([operators, about_c @ operators, about_c.T @ operators])
    friend = misorientation_deg(first, second, sixfold)
    return {"raw": raw, "beam_180": np.minimum(raw, turned), "c_60": np.minimum(raw, friend)}


def mirrored(euler_deg: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return the orientations whose patterns are the x-mirrors of the given ones' patterns.

    G' = M G diag(-1, 1, 1) with M an improper operator of the crystal's own point group; for
    -3m, (0, Phi, phi2) goes to an equivalent of (0, Phi, 120 - phi2).

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (..., 3).
        crystal: must have an improper operator (`crystal.mirror` is not None).

    Returns:
        Bunge angles in degrees, shape (..., 3).
    """
    return euler_from_matrices(crystal.mirror @ matrices_from_euler(euler_deg) @ MIRROR_X)


def reduce_euler(euler_deg: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return equivalent Bunge angles whose beam direction lies in the fundamental region.

    The region is that of the proper point group, chosen as the equivalent with the smallest
    Phi, then the smallest phi2: Phi 0..90 and phi2 0..120 for point group 32.

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (..., 3).
        crystal: whose proper symmetry reduces them.

    Returns:
        Bunge angles in degrees, shape (..., 3).
    """
    matrices = matrices_from_euler(euler_deg)[..., None, :, :]
    candidates = euler_from_matrices(crystal.proper_operators @ matrices)
    phi, phi2 = (np.round(candidates[..., i], 6) for i in (1, 2))
    best = np.lexsort((phi2 % 360, phi), axis=-1)[..., :1, None]
    return np.take_along_axis(candidates, best, axis=-2)[..., 0, :]
