"""Which beam directions a data set holds; in-plane rotations cost nothing and are never sampled."""

from typing import Literal

import numpy as np
from orix.vector import Vector3d

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions

Scheme = Literal["equispaced", "random"]


def random_directions(crystal: Crystal, count: int, seed: int) -> np.ndarray:
    """Return quasi-random directions, uniform over the sector of the crystal's full point group.

    A scrambled Halton sequence on the sphere fills the sector evenly at any count, and no
    direction repeats a grid that a network could learn instead of the physics.

    Args:
        crystal: whose symmetry cuts the sphere.
        count: number of directions.
        seed: of the scrambling.

    Returns:
        (Phi, phi2) in degrees, shape (count, 2).
    """
    from scipy.stats import qmc

    sector = crystal.point_group.fundamental_sector
    sequence = qmc.Halton(2, seed=seed)
    found = np.empty((0, 2))
    while len(found) < count:
        u, v = sequence.random(8 * count).T
        polar, azimuth = np.arccos(1 - 2 * u), 2 * np.pi * v
        inside = Vector3d.from_polar(azimuth=azimuth, polar=polar) <= sector
        phi2 = (np.pi / 2 - azimuth) % (2 * np.pi)
        found = np.concatenate([found, np.rad2deg(np.stack([polar, phi2], axis=1))[inside]])
    return found[:count]


def directions_of(scheme: Scheme, crystal: Crystal, resolution: float, seed: int) -> np.ndarray:
    """Return the directions of a scheme, in the order in which they are simulated.

    Args:
        scheme: "equispaced" or "random".
        crystal: whose symmetry cuts the sphere.
        resolution: step in degrees for "equispaced", number of directions for "random".
        seed: of the sequence, and of the order.

    Returns:
        (Phi, phi2) in degrees, shape (n, 2), shuffled: any run of rows covers the sector.
    """
    if scheme == "random":
        directions = random_directions(crystal, int(resolution), seed)
    else:
        directions = sample_directions(crystal, resolution, mirrored=True)
    return np.random.default_rng(seed).permutation(directions)
