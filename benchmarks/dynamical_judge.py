"""Where two maps differ: which of them do dynamical patterns support, and could any pattern tell?

Both orientations of a point are moved to where their dynamical pattern fits the measured one best,
by a degree or two: maps are off by that much, and half a degree already spoils intensities. What
the search itself is worth, points tell where the maps agree: it begins at two places and should end
at one. Differences of fit that are usual there say nothing.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
    pseudo_symmetric_deg,
)
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation.ambiguity import main_zone_axes
from zoneaxis.evaluation.metrics import RIGHT_DEG
from zoneaxis.evaluation.pattern_fit import PatternFit, correlation, fit_pattern
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

STEPS_DEG = (1.5, 1.0, 0.75, 0.5, 0.25)
TILTS = 8
USUAL = 0.9  # share of the agreeing points whose difference of fit is noise of the search
KINDS = ("agree", "zone_180", "c_60", "beam_180", "c_60 and beam_180", "other")
NEAR_ZONE_DEG = 5.0


@dataclass(frozen=True)
class Verdict:
    """What dynamical patterns say of two orientations of a point.

    Attributes:
        fits: correlation of the measured pattern with that of the map, and of the reference.
        alike: correlation of these two simulated patterns; as high as where the maps agree, no
            pattern of this scan could tell the orientations apart.
    """

    fits: tuple[float, float]
    alike: float

    @property
    def ahead(self) -> float:
        """By how much the map fits better."""
        return self.fits[0] - self.fits[1]


def kinds(first: np.ndarray, second: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return how orientations differ, as numbers of `KINDS`, shape (n,).

    Args:
        first: orientation matrices, shape (n, 3, 3).
        second: orientation matrices, shape (n, 3, 3).
        crystal: whose false friends count.
    """
    angles = pseudo_symmetric_deg(first, second, crystal)
    both = pseudo_symmetric_deg(first @ ROTATE_180_ABOUT_BEAM, second, crystal)["c_60"]
    zone = zone_half_turn_deg(first, second, crystal)
    order = angles["raw"], zone, angles["c_60"], angles["beam_180"], both
    return np.select([angle <= RIGHT_DEG for angle in order], range(5), 5)


def zone_half_turn_deg(first: np.ndarray, second: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Return misorientations modulo a half turn about a zone axis near the beam, shape (n,).

    The zero-order Laue zone of an axis has a center of symmetry. A crystal turned by 180 degrees
    about the axis therefore shows the same spots with the same intensities, wherever the beam.

    Args:
        first: orientation matrices, shape (n, 3, 3).
        second: orientation matrices, shape (n, 3, 3).
        crystal: whose main zone axes count.
    """
    operators = crystal.proper_operators
    angles = misorientation_deg(first, second, operators)
    for axis in main_zone_axes(crystal):
        near = np.abs(first[:, :, 2] @ axis) >= np.cos(np.deg2rad(NEAR_ZONE_DEG))
        turned = (2 * np.outer(axis, axis) - np.eye(3)) @ first[near]
        angles[near] = np.minimum(angles[near], misorientation_deg(turned, second[near], operators))
    return angles


def judge(
    scan: Scan, map: OrientationMap, reference: OrientationMap, points: np.ndarray, optics: Optics
) -> list[Verdict]:
    """Return what dynamical patterns say at some points, each of them indexed in both maps.

    Args:
        scan: the patterns.
        map: of the scan.
        reference: of the same scan.
        points: row and column of each, shape (n, 2).
        optics: of the simulation.
    """
    factors = structure_factors(map.crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom)
    radius_px = optics.disk_radius_inv_angstrom / scan.inv_angstrom_per_pixel
    verdicts = []
    for row, col in points:
        measured = scan.read(slice(row, row + 1), slice(col, col + 1))[0, 0].astype(np.float32)
        fit = partial(
            fit_pattern,
            measured,
            crystal=map.crystal,
            optics=optics,
            inv_angstrom_per_pixel=scan.inv_angstrom_per_pixel,
            factors=factors,
        )
        mine, theirs = (best_fit(fit, m.euler_deg[row, col, 0]) for m in (map, reference))
        alike = correlation(mine.pattern, theirs.pattern, radius_px, mine.center_px)
        verdicts.append(Verdict((mine.correlation, theirs.correlation), alike))
    return verdicts


def best_fit(fit: partial[PatternFit], euler_deg: np.ndarray) -> PatternFit:
    """Return the dynamical pattern that fits best near an orientation.

    Args:
        fit: Bunge angles, shape (3,) -> their pattern beside the measured one.
        euler_deg: where the search begins, shape (3,).
    """
    here, best = np.asarray(euler_deg), fit(euler_deg)
    for step in STEPS_DEG:
        around = euler_from_matrices(matrices_from_euler(here) @ _turns(step))
        fits = [fit(euler) for euler in around]
        leader = int(np.argmax([f.correlation for f in fits]))
        if fits[leader].correlation > best.correlation:
            here, best = around[leader], fits[leader]
    return best


def tally(verdicts: list[Verdict], margin: float) -> dict[str, float]:
    """Return how many points speak for map, reference or neither, and the medians behind it.

    Args:
        verdicts: of at least one point.
        margin: by which a fit must be better.
    """
    ahead = np.array([verdict.ahead for verdict in verdicts])
    fits = np.median([verdict.fits for verdict in verdicts], axis=0)
    return {
        "points": len(verdicts),
        "for_map": int((ahead > margin).sum()),
        "for_reference": int((ahead < -margin).sum()),
        "for_neither": int((np.abs(ahead) <= margin).sum()),
        "median_fit_map": round(float(fits[0]), 3),
        "median_fit_reference": round(float(fits[1]), 3),
        "median_alike": round(float(np.median([v.alike for v in verdicts])), 3),
    }


def usual_difference(verdicts: list[Verdict]) -> float:
    """Return the difference of fit that most points stay below where the maps agree."""
    return round(float(np.quantile([abs(v.ahead) for v in verdicts], USUAL)), 4)


def _turns(step_deg: float) -> np.ndarray:
    """Return tilts by a step and turns in the plane by half of it, shape (TILTS + 2, 3, 3)."""
    angle = np.arange(TILTS) * 2 * np.pi / TILTS
    tilts = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    about_beam = [[0, 0, 0.5], [0, 0, -0.5]]
    vectors = np.deg2rad(step_deg) * np.concatenate([tilts, about_beam])
    return Rotation.from_rotvec(vectors).as_matrix()
