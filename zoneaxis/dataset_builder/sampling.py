"""Which orientations a data set holds: the paper's three schemes, and grids of all orientations.

A pattern depends on the beam direction (Phi, phi2); phi1 only turns it. The schemes sample
directions, and phi1 is 0 unless a scheme says otherwise.
"""

from typing import Literal

import numpy as np
from orix.quaternion import Orientation, Symmetry
from orix.sampling import get_sample_fundamental
from orix.vector import Vector3d

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import full_operators, sample_directions
from zoneaxis.diffraction.orientations import beam_directions, reduce_euler

Scheme = Literal["random", "stepped", "equispaced", "so3"]
Sector = Literal["full", "proper"]
SAME_DECIMALS = 6  # of unit vectors that count as one direction


def sector_group(crystal: Crystal, sector: Sector) -> Symmetry:
    """Return the point group whose sector is sampled: the crystal's full one or its proper part."""
    whole = sector == "full" and crystal.mirror is not None
    return crystal.point_group if whole else crystal.point_group.proper_subgroup


def random_directions(
    crystal: Crystal, count: int, seed: int, sector: Sector = "full"
) -> np.ndarray:
    """Return quasi-random directions, uniform over a sector of the crystal's point group.

    A scrambled Halton sequence on the sphere fills the sector evenly at any count, and no
    direction repeats a grid that a network could learn instead of the physics.

    Args:
        crystal: whose symmetry cuts the sphere.
        count: number of directions.
        seed: of the scrambling.
        sector: of the full point group, or the proper one's, twice as large where mirrors exist.

    Returns:
        (Phi, phi2) in degrees, shape (count, 2).
    """
    from scipy.stats import qmc

    region = sector_group(crystal, sector).fundamental_sector
    sequence = qmc.Halton(2, seed=seed)
    found = np.empty((0, 2))
    while len(found) < count:
        u, v = sequence.random(8 * count).T
        polar, azimuth = np.arccos(1 - 2 * u), 2 * np.pi * v
        inside = Vector3d.from_polar(azimuth=azimuth, polar=polar) <= region
        phi2 = (np.pi / 2 - azimuth) % (2 * np.pi)
        found = np.concatenate([found, np.rad2deg(np.stack([polar, phi2], axis=1))[inside]])
    # phi1 is free, so that what the reduction makes of it does not matter.
    return reduce_euler(np.insert(found[:count], 0, 0.0, axis=1), crystal)[:, 1:]


def stepped_directions(
    crystal: Crystal, step_deg: float, Phi_end_deg: float | None = None
) -> np.ndarray:
    """Return the directions of equal steps in Phi and phi2, as the paper's second data set.

    They crowd round Phi = 0, where all phi2 are one direction. For point group 32, 2.5 degrees
    give 37 x 48 = 1776 directions, with 144 steps of phi1 255,744 classes (248,832 without
    Phi = 90; the paper prints "about 500,000", which Phi to 180 would give).

    Args:
        crystal: whose proper point group bounds phi2, and Phi to 90 or 180 degrees.
        step_deg: of both angles; the last phi2 lies below its bound, the last Phi on it.
        Phi_end_deg: another end of Phi.

    Returns:
        (Phi, phi2) in degrees, shape (n, 2).
    """
    _, phi_end, phi2_end = crystal.point_group.proper_subgroup.euler_fundamental_region
    phi_end = phi_end if Phi_end_deg is None else Phi_end_deg
    # Counted, for sums of steps would miss the end by rounding.
    phi = step_deg * np.arange(np.floor(phi_end / step_deg + 1e-9) + 1)
    phi2 = step_deg * np.arange(np.ceil(phi2_end / step_deg - 1e-9))
    return np.stack(np.meshgrid(phi, phi2, indexing="ij"), axis=-1).reshape(-1, 2)


def equispaced_orientations(crystal: Crystal, step_deg: float) -> np.ndarray:
    """Return a nearly even grid over all orientations that symmetry tells apart.

    orix's cubochoric grid, cut to the fundamental zone of the proper point group.

    Args:
        crystal: whose symmetry cuts the zone.
        step_deg: mean misorientation of neighbors in degrees.

    Returns:
        (phi1, Phi, phi2) in degrees, shape (n, 3).
    """
    group = crystal.point_group.proper_subgroup
    zone = get_sample_fundamental(step_deg, point_group=group, method="cubochoric")
    return reduce_euler(np.rad2deg(Orientation(zone.data).to_euler()), crystal)


def orientations_of(
    scheme: Scheme,
    crystal: Crystal,
    resolution: float,
    seed: int,
    sector: Sector = "full",
    Phi_end_deg: float | None = None,
    random_phi1: bool = False,
) -> np.ndarray:
    """Return the orientations of a scheme, in the order in which they are simulated.

    Args:
        scheme: "random", "stepped", "equispaced" (directions) or "so3" (whole orientations).
        crystal: whose symmetry cuts the sphere.
        resolution: number of directions for "random", step in degrees for the others.
        seed: of the sequence, of phi1 and of the order.
        sector: for "random" and "equispaced"; the others always cover the proper group's.
        Phi_end_deg: for "stepped".
        random_phi1: draw an in-plane angle for each direction.

    Returns:
        (phi1, Phi, phi2) in degrees, shape (n, 3), shuffled: any run of rows covers the sector.
        Directions that symmetry or a mirror makes equal follow each other.
    """
    if scheme == "so3":
        euler = equispaced_orientations(crystal, resolution)
    else:
        if scheme == "random":
            directions = random_directions(crystal, int(resolution), seed, sector)
        elif scheme == "stepped":
            directions = stepped_directions(crystal, resolution, Phi_end_deg)
        else:
            directions = sample_directions(crystal, resolution, mirrored=sector == "full")
        euler = np.insert(directions, 0, 0.0, axis=1)
    if random_phi1:
        euler[:, 0] = np.random.default_rng([seed, 1]).uniform(0, 360, len(euler))
    group = equal_directions(euler, crystal)
    rank = np.argsort(np.random.default_rng(seed).permutation(group.max() + 1))
    return euler[np.argsort(rank[group], kind="stable")]


def equal_directions(euler_deg: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return a number for each orientation, the same for equal, equivalent and mirrored directions.

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (n, 3).
        crystal: whose symmetry makes directions equal.

    Returns:
        0, 1, ... in the order of first appearance, shape (n,).
    """
    orbit = np.einsum("sij,nj->nsi", full_operators(crystal), beam_directions(euler_deg))
    orbit = np.round(orbit, SAME_DECIMALS) + 0.0  # no -0
    last = np.array([max(map(tuple, images)) for images in orbit])
    _, first, number = np.unique(last, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number.ravel()]
