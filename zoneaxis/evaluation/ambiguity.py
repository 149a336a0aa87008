"""Which orientations a pattern cannot tell apart, and how confidence spreads over directions.

How to read the list of candidates of a point: the first is the answer. Whatever else has a `share`
near 1 was found nearly as good by the indexer. A false friend without a score was not offered by
it, but has a pattern that differs in intensities alone, or in spots of higher Laue zones. `fit` is
the correlation of the measured pattern with the dynamical simulation of each: where the answer's
is clearly the highest, intensities decide; where two are alike within some 0.01, nothing does.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.low_index import low_index_directions
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    beam_directions,
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
    reduce_euler,
)
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation.pattern_fit import fit_pattern

SHARE = 0.9  # of the best score: whatever reaches it vies with the best
MAIN_ZONES, ZONES_APART_DEG = 4, 15.0  # zone axes whose half turns no pattern tells nearby
FRIEND_DEG = 5.0  # an orientation nearer than this to a false friend is that friend
SAME_DIRECTION = 1e-6  # of unit vectors


@dataclass(frozen=True)
class Candidate:
    """An orientation that a pattern may have.

    Attributes:
        euler_deg: (phi1, Phi, phi2).
        relation: to the best: "best", a false friend, or how far apart.
        misorientation_deg: from the best.
        score: of the indexer; NaN where it did not offer the orientation.
        share: score over the best one's.
        fit: correlation of the measured pattern with the simulation, NaN where not simulated.
        thickness_nm: at which the simulation fits best.
    """

    euler_deg: tuple[float, float, float]
    relation: str
    misorientation_deg: float
    score: float = float("nan")
    share: float = float("nan")
    fit: float = float("nan")
    thickness_nm: float = float("nan")


def false_friends(euler_deg: np.ndarray, crystal: Crystal) -> dict[str, np.ndarray]:
    """Return the orientations whose patterns look much like that of the given one.

    180 degrees about the beam leave the zero-order Laue zone as it is; 60 degrees about c are the
    pseudo-hexagonal friend of trigonal crystals. A crystal without a center of symmetry has the
    kinematic pattern of its inverse, which a turned crystal often is: 90 degrees about c of
    zincblende. Those that the crystal's symmetry makes the same orientation are left out.

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (3,).
        crystal: whose symmetry counts.

    Returns:
        Bunge angles of each, shape (3,), by name.
    """
    here = matrices_from_euler(np.asarray(euler_deg, dtype=float))
    friends = {name: left @ here @ right for name, (left, right) in friend_turns(crystal).items()}
    kept: dict[str, np.ndarray] = {}
    for name, matrix in friends.items():
        others = np.stack([here, *kept.values()])
        if misorientation_deg(others, matrix, crystal.proper_operators).min() > FRIEND_DEG:
            kept[name] = matrix
    return {n: reduce_euler(euler_from_matrices(m), crystal) for n, m in kept.items()}


def friend_turns(crystal: Crystal) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what makes false friends L G R of an orientation G: L and R, by name.

    Args:
        crystal: whose symmetry counts. Some friends may still be equivalent to G.
    """
    here, beam = np.eye(3), "180° about the beam"
    of_crystal = {}
    if crystal.point_group.system == "trigonal":
        of_crystal["60° about c"] = matrices_from_euler(np.array([60.0, 0.0, 0.0]))
    for turn in crystal.point_group.laue.proper_subgroup.to_matrix():
        if not np.isclose(turn, crystal.proper_operators, atol=1e-6).all(axis=(1, 2)).any():
            of_crystal["inverted"] = turn
            break
    turns = {beam: (here, ROTATE_180_ABOUT_BEAM)}
    for name, turn in of_crystal.items():
        turns |= {name: (turn, here), f"{name}, {beam}": (turn, ROTATE_180_ABOUT_BEAM)}
    return turns


def main_zone_axes(crystal: Crystal) -> np.ndarray:
    """Return the `MAIN_ZONES` shortest zone axes and their equivalents, unit vectors (n, 3)."""
    main = low_index_directions(crystal, ZONES_APART_DEG)[:MAIN_ZONES] @ crystal.lattice_angstrom
    main = main / np.linalg.norm(main, axis=1, keepdims=True)
    return np.concatenate(main @ crystal.proper_operators)


def zone_half_turns(matrices: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return orientations turned by 180 degrees about the main zone axis nearest to the beam.

    The zero-order Laue zone of an axis has a center of symmetry: as long as a pattern shows no
    other, it is the same after that turn, wherever near the axis the beam is.

    Args:
        matrices: G, shape (..., 3, 3).
        axes: of the crystal, what `main_zone_axes` returns, shape (n, 3).
    """
    axis = axes[np.abs(matrices[..., 2] @ axes.T).argmax(axis=-1)]
    return 2 * axis[..., None] * (axis[..., None, :] @ matrices) - matrices


def candidates(
    euler_deg: np.ndarray, score: np.ndarray, crystal: Crystal, share: float = SHARE
) -> list[Candidate]:
    """List the orientations that one pattern cannot tell apart, the best first.

    Args:
        euler_deg: the n best, best first, shape (k, 3).
        score: of each, shape (k,).
        crystal: of the point.
        share: of the best score that another must reach.

    Returns:
        The n best that reach it, then the false friends of the best that are not among them.
    """
    best = float(score[0])
    matrices = matrices_from_euler(euler_deg)
    operators = crystal.proper_operators
    apart = misorientation_deg(matrices, matrices[0], operators)
    friends = false_friends(euler_deg[0], crystal)
    listed = []
    reached = (score > 0) & (score >= share * best)
    for i in (0, *(1 + np.flatnonzero(reached[1:]))):
        relation = "best" if i == 0 else f"{apart[i]:.0f}° apart"
        for name, friend in list(friends.items()):
            if misorientation_deg(matrices[i], matrices_from_euler(friend), operators) < FRIEND_DEG:
                relation = name
                del friends[name]
        angles = tuple(float(angle) for angle in euler_deg[i])
        listed.append(
            Candidate(
                angles,
                relation,
                misorientation_deg=float(apart[i]),
                score=float(score[i]),
                share=float(score[i]) / best if best > 0 else float("nan"),
            )
        )
    for name, friend in friends.items():
        angle = misorientation_deg(matrices_from_euler(friend), matrices[0], operators)
        listed.append(Candidate(tuple(float(a) for a in friend), name, float(angle)))
    return listed


def with_fits(
    listed: list[Candidate],
    measured: np.ndarray,
    crystal: Crystal,
    optics: Optics,
    inv_angstrom_per_pixel: float,
) -> list[Candidate]:
    """Return candidates with the correlation of the measured pattern with each one's simulation.

    Args:
        listed: of one pattern.
        measured: the pattern, shape (h, w).
        crystal: with its sites.
        optics: of the simulation; the farther k_max reaches, the more it can tell.
        inv_angstrom_per_pixel: size of a pixel.
    """
    factors = structure_factors(crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom, "WK-CP")
    fits = [
        fit_pattern(
            measured,
            np.array(candidate.euler_deg),
            crystal,
            optics,
            inv_angstrom_per_pixel,
            factors=factors,
        )
        for candidate in listed
    ]
    return [
        replace(candidate, fit=fit.correlation, thickness_nm=fit.thickness_nm)
        for candidate, fit in zip(listed, fits, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class DirectionScores:
    """What an indexer thinks of every beam direction of a grid, pattern by pattern.

    Attributes:
        crystal: whose symmetry makes directions equal.
        directions_deg: the grid, (Phi, phi2), shape (d, 2).
        values: probabilities, or correlation indices, shape (n, d).
        additive: probabilities, which add up where directions fall on one point; of others the
            highest counts.
    """

    crystal: Crystal
    directions_deg: np.ndarray
    values: np.ndarray
    additive: bool = True

    def merged(self) -> "DirectionScores":
        """Return the scores of different directions: classes may differ in-plane alone."""
        reduced = reduce_euler(np.insert(self.directions_deg, 0, 0.0, axis=1), self.crystal)
        keys = np.round(beam_directions(reduced) / SAME_DIRECTION).astype(np.int64)
        _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        values = np.zeros((len(self.values), len(first)))
        collect = np.add if self.additive else np.maximum
        collect.at(values.T, group.ravel(), self.values.T)
        return replace(self, directions_deg=reduced[first, 1:], values=values)

    def at_beams(self, beams: np.ndarray) -> np.ndarray:
        """Look up points of the inverse pole figure, which has the symmetry of the Laue group.

        One point stands for several directions of the proper point group, a beam and its opposite
        at least. Of each, the nearest direction of the grid is taken.

        Args:
            beams: unit vectors in the crystal frame, shape (m, 3).

        Returns:
            Shape (n, m).
        """
        grid = beam_directions(np.insert(self.directions_deg, 0, 0.0, axis=1))
        everywhere = np.einsum("sij,dj->sdi", self.crystal.proper_operators, grid)
        tree = cKDTree(everywhere.reshape(-1, 3))
        cosets = _laue_cosets(self.crystal)
        places = np.sort([tree.query(beams @ c.T)[1] % len(grid) for c in cosets], axis=0)
        found = self.values[:, places]
        # On a mirror plane all of them are one direction, which counts once.
        found[:, 1:][:, np.diff(places, axis=0) == 0] = 0
        return found.sum(axis=1) if self.additive else found.max(axis=1)


def _laue_cosets(crystal: Crystal) -> list[np.ndarray]:
    """Return one operator of the Laue group for each coset of the proper point group."""
    proper = crystal.proper_operators
    rotations = crystal.point_group.laue.proper_subgroup.to_matrix()
    cosets: list[np.ndarray] = []
    for operator in (*rotations, *-rotations):
        known = [member @ coset for coset in cosets for member in proper]
        if not any(np.allclose(operator, k, atol=1e-6) for k in known):
            cosets.append(operator)
    return cosets
