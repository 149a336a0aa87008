"""RefinedIndexer: another indexer proposes, Bloch waves decide.

Each proposal and its false friends are moved to where a kinematic template fits best, camera length
and center included, and are then compared with dynamical patterns of all directions and thicknesses
nearby. Two things speak for a candidate: Q, the correlation index of template matching with
dynamical weights, and the proposer's own score p. Its probability is the softmax over candidates of

    a Q + b log p,

with a and b fitted on simulated patterns. At the best orientation the inside of the disks is
fitted, which tells the thickness.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
    reduce_euler,
)
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.ambiguity import friend_turns, main_zone_axes, zone_half_turns
from zoneaxis.evaluation.matching.disk_fit import Measured, fit_disks
from zoneaxis.evaluation.matching.dynamical_library import DynamicalLibrary
from zoneaxis.evaluation.matching.dynamical_scores import DynamicalScores, dynamical_scores
from zoneaxis.evaluation.matching.polar_patterns import PolarGrid, PolarPatterns, polar_patterns
from zoneaxis.evaluation.matching.refinement import Refined, Refiner
from zoneaxis.evaluation.matching.spot_scores import landscape, template_norm
from zoneaxis.scans.indexing import Indexed, Indexer, require_frame

BATCH = 32
PROPOSALS, WITH_FRIENDS = 5, 3  # of the proposer; the best of them bring their false friends
FRIEND_SHARE = 0.5  # of the proposal's score, for its friend that was not proposed
LEAST_SCORE = 1e-3  # of a proposal
DISTINCT_DEG = 5.0
THICKNESSES_NM = tuple(range(5, 101, 5))
CAMERA_SCALES = tuple(1 + 0.02 * i for i in range(-5, 6))
Q_WEIGHT, LOG_WEIGHT = 90.0, 0.8
PARAMETERS = ("orientation", "camera_length", "center")
PROPERTIES = ("dynamical_q", "camera_scale", "thickness_nm", "thickness_error_nm", "alternatives")
LIKELY = 0.05  # share of the best one's probability that makes another orientation possible


class RefinedIndexer:
    """Refines what another indexer proposes and decides anew; implements Indexer.

    Attributes:
        proposer: whose n best are looked at.
        crystal: of all proposals.
        optics: of the simulation.
    """

    def __init__(
        self,
        proposer: Indexer,
        crystal: Crystal,
        optics: Optics,
        *,
        n_best: int = 5,
        camera_scales: Sequence[float] = CAMERA_SCALES,
        thicknesses_nm: Sequence[float] = THICKNESSES_NM,
    ) -> None:
        """Prepare the simulation; patterns are simulated when they are needed first.

        Args:
            proposer: of this crystal alone.
            crystal: with its sites.
            optics: illumination and largest wave vector.
            n_best: how many distinct solutions are returned.
            camera_scales: factors on the pixel size that refinement starts from.
            thicknesses_nm: that are compared, ascending.

        Raises:
            SettingsError: the proposer knows several phases, or a setting is out of range.
        """
        if len(proposer.crystals) != 1:
            raise SettingsError("Refinement takes one phase at a time: index with one crystal.")
        if n_best < 1 or not len(camera_scales) or not min(camera_scales) > 0:
            raise SettingsError("Refinement: expected n_best from 1 and positive camera scales.")
        self.proposer, self.crystal, self.optics = proposer, crystal, optics
        self.crystals = (crystal,)
        self._n_best, self._scales = n_best, tuple(camera_scales)
        self._turns = tuple(friend_turns(crystal).values())
        self._zone_axes = main_zone_axes(crystal)
        self._grid = PolarGrid.of(optics)
        self._refiner = Refiner(crystal, optics, self._grid, PARAMETERS)
        self._library = DynamicalLibrary(crystal, optics, np.array(thicknesses_nm, dtype=float))

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Index patterns without changing them; those that the proposer rejects stay rejected.

        Args:
            patterns: counts or fractions of the beam, shape (n, height, width).
            inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.

        Returns:
            Scores are probabilities of the candidates, the reliability 1 - second / first. Beside
            the proposer's properties: "dynamical_q", "thickness_nm", "thickness_error_nm",
            "camera_scale" and "alternatives", how many other orientations have at least a 20th
            of the best one's probability; they are among the n best.

        Raises:
            ScanError: the frame ends before the reflections begin: the pixel size is wrong.
        """
        least = self._grid.least_reach_inv_angstrom
        require_frame(patterns.shape[1:], inv_angstrom_per_pixel, least)
        proposed = self.proposer.index(patterns, inv_angstrom_per_pixel)
        rows = np.flatnonzero(proposed.indexed)
        parts = [
            self._refined(patterns[part], inv_angstrom_per_pixel, proposed, part)
            for part in np.split(rows, range(BATCH, len(rows), BATCH))
            if len(part)
        ]
        return _filled(proposed, rows, parts, self._n_best)

    @torch.inference_mode()
    def _refined(
        self, patterns: np.ndarray, pixel: float, proposed: Indexed, rows: np.ndarray
    ) -> dict[str, np.ndarray]:
        counts = torch.from_numpy(patterns.astype(np.float32))
        matrices, score = self._candidates(proposed.euler_deg[rows], proposed.score[rows])
        polar = polar_patterns(counts, pixel, self._grid, self.optics.disk_radius_inv_angstrom)
        geometry, dynamical = self._compared(polar, matrices)
        evidence = Q_WEIGHT * dynamical.score + LOG_WEIGHT * np.log(score)
        order, probability = self._decided(dynamical.matrices, evidence)
        best = np.arange(len(rows)), order[:, 0]
        camera = geometry.camera_scale[best], geometry.shift_inv_angstrom[best]
        radii = self._grid.radii_inv_angstrom
        measured = Measured.of(counts, pixel, polar.center_px, *camera, radii)
        fit = fit_disks(self._library, dynamical.matrices[best], measured)
        found = np.take_along_axis(dynamical.matrices, order[..., None, None], axis=1)
        found[:, 0] = fit.matrices
        return {
            "euler_deg": reduce_euler(euler_from_matrices(found), self.crystal),
            "score": probability.astype(np.float32),
            "alternatives": (probability[:, 1:] >= LIKELY * probability[:, :1]).sum(axis=1),
            "dynamical_q": dynamical.score[best],
            "camera_scale": camera[0],
            "thickness_nm": fit.thickness_nm,
            "thickness_error_nm": fit.error_nm,
        }

    def _candidates(
        self, euler_deg: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return proposals and false friends, (b, c, 3, 3), and what the proposer gives them."""
        matrices = matrices_from_euler(euler_deg[:, :PROPOSALS])
        score = score[:, :PROPOSALS].clip(LEAST_SCORE)
        best = matrices[:, :WITH_FRIENDS]
        friends = [left @ best @ right for left, right in self._turns]
        friends.append(zone_half_turns(best, self._zone_axes))
        inherited = [FRIEND_SHARE * score[:, :WITH_FRIENDS]] * len(friends)
        return np.concatenate([matrices, *friends], 1), np.concatenate([score, *inherited], 1)

    def _compared(
        self, polar: PolarPatterns, matrices: np.ndarray
    ) -> tuple[Refined, DynamicalScores]:
        """Return the geometry of each candidate, and how well Bloch waves fit around it."""
        heights = landscape(polar.spectrum, self._grid)
        reach = (self._grid.radii_inv_angstrom * polar.inside).amax(dim=1)
        norm = template_norm(self._grid) * polar.power.sqrt()
        norm = norm[:, None].expand(matrices.shape[:2])
        geometry = self._refiner.refine(matrices, heights, norm, reach, self._scales)
        scores = dynamical_scores(self._library, geometry, heights, polar.power, reach, self._grid)
        return geometry, scores

    def _decided(self, matrices: np.ndarray, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the best distinct candidates and their probabilities, (b, k).

        Where nothing is left, the first one is repeated with probability 0.
        """
        rows, left = np.arange(len(evidence)), evidence.copy()
        order, kept = [], []
        for _ in range(self._n_best):
            best = left.argmax(axis=1)
            kept.append(left[rows, best])
            order.append(np.where(kept[-1] > -np.inf, best, order[0] if order else best))
            away = misorientation_deg(
                matrices, matrices[rows, best][:, None], self.crystal.proper_operators
            )
            left = np.where(away < DISTINCT_DEG, -np.inf, left)
        weight = np.exp(np.stack(kept, axis=1) - kept[0][:, None])
        return np.stack(order, axis=1), weight / weight.sum(axis=1, keepdims=True)


def _filled(
    proposed: Indexed, rows: np.ndarray, parts: list[dict[str, np.ndarray]], n_best: int
) -> Indexed:
    """Return what was refined among what was not, which keeps its orientations."""
    n = len(proposed.indexed)
    k = proposed.euler_deg.shape[1]
    euler = np.repeat(proposed.euler_deg[:, :1], n_best, axis=1)
    score = np.zeros((n, n_best), np.float32)
    euler[:, : min(k, n_best)] = proposed.euler_deg[:, :n_best]
    score[:, : min(k, n_best)] = proposed.score[:, :n_best]
    reliability = proposed.reliability.copy()
    properties = {name: np.full(n, np.nan, np.float32) for name in PROPERTIES}
    if parts:
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        euler[rows], score[rows] = found["euler_deg"], found["score"]
        second = score[rows, 1] if n_best > 1 else 0
        reliability[rows] = 1 - second / score[rows, 0]
        for name, column in properties.items():
            column[rows] = found[name]
    properties = {**proposed.properties, **properties}
    return replace(
        proposed, euler_deg=euler, score=score, reliability=reliability, properties=properties
    )
