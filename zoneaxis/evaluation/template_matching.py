"""TemplateIndexer: ASTAR-style template matching, the reference that networks are held against.

A bank of templates, kinematic or dynamical, covers the symmetry-reduced beam directions. Pattern
and template are compared on a polar grid, where an in-plane rotation is a shift: one Fourier
transform over the angle correlates all in-plane angles at once. The correlation index is

    Q = sum P T / sqrt(sum P^2 sum T^2)

of a pattern P and a template T that are compressed (a power of about 1/4 each, for dynamical
intensities follow the kinematic ones loosely), weighted by the radius, and free of their mean on
each ring (so that a missing or a surplus spot costs). The reliability is R = 1 - Q2 / Q1, with Q2
the best solution that is distinct from the first.

All templates are compared by the lower angular frequencies; those change where a spot is by a few
degrees, not which templates are good. The best of them are scored in full, by the heights that the
pattern, convolved with the profile of a spot, has at the template's spots.

Q alone does not tell crystal from noise, whose Q grows as electrons become few. Each pattern is
therefore halved, the black and the white pixels of a checkerboard: disks stand in both halves,
noise does not, at any dose and whatever the camera's gain.

Sources: E. Rauch, L. Dupuy, Arch. Metall. Mater. 50, 87 (2005) for Q and R; C. Ophus et al.,
Microsc. Microanal. 28, 390 (2022) for the correlation over polar rings and the powers.
"""

from collections.abc import Sequence

import numpy as np
import torch

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices, reduce_euler
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.matching.candidates import best_candidates, candidate_scores, correlations
from zoneaxis.evaluation.matching.polar_patterns import (
    TINY,
    PolarGrid,
    PolarPatterns,
    polar_patterns,
)
from zoneaxis.evaluation.matching.refinement import Refiner
from zoneaxis.evaluation.matching.solutions import distinct_solutions, refined_solutions
from zoneaxis.evaluation.matching.spot_scores import landscape, spots_power
from zoneaxis.evaluation.matching.template_bank import template_bank
from zoneaxis.scans.indexing import Indexed, require_frame

BATCH = 32
CANDIDATES = 64  # enough to reach beyond the neighbors of the best solution, 1 degree apart
MOST_CANDIDATES = 1024
MOST_SOLUTIONS = 20


class TemplateIndexer:
    """Finds orientations by correlation with templates; implements Indexer.

    Attributes:
        crystal: whose templates are compared.
        optics: with the precession and k_max of the templates.
        matrices: orientation of each template (phi1 = 0), shape (n, 3, 3).
    """

    def __init__(
        self,
        crystal: Crystal,
        optics: Optics,
        *,
        step_deg: float = 2.0,
        n_best: int = 3,
        min_q: float = 0.12,
        min_agreement: float = 0.15,
        distinct_deg: float = 5.0,
        camera_scales: Sequence[float] = (1.0,),
        thicknesses_nm: Sequence[float] = (),
        refine: Sequence[str] = ("orientation",),
    ) -> None:
        """Compute the bank of templates.

        Args:
            crystal: the specimen.
            optics: illumination; rings of a pattern beyond k_max, or beyond the frame, are not
                compared, so k_max may reach as far as the camera does.
            step_deg: spacing of the templates' beam directions.
            n_best: how many distinct solutions are returned.
            min_q: patterns whose best correlation index is below are not indexed.
            min_agreement: patterns whose two halves, of every second pixel, correlate less are
                not indexed: what they show is noise. Noise scatters round 0 with a standard
                deviation of about 0.05, if pixels are independent. Not asked where disks are
                narrower than 1.4 pixels.
            distinct_deg: solutions closer than this are one (never less than 1.5 steps).
            camera_scales: factors on the pixel size to try on each pattern, each at the full
                cost; the best is kept. `(0.91, 0.94, ..., 1.09)` for a camera length known to 10 %.
            thicknesses_nm: take templates from Bloch waves, averaged over these thicknesses;
                kinematic ones if there are none.
            refine: which of "orientation", "camera_length" and "center" are refined beyond the
                grid, for each solution, by kinematic templates; nothing if empty.

        Raises:
            SettingsError: a setting out of its range.
        """
        _check_settings(n_best, min_q, min_agreement, camera_scales)
        self.crystal = crystal
        self.crystals = (crystal,)
        self.optics = optics
        self._camera_scales = np.array(camera_scales, dtype=float)
        self._n_best = n_best
        self._refine = tuple(refine)
        self._min_q = min_q
        self._min_agreement = min_agreement
        self._step_deg = step_deg
        self._distinct_deg = max(distinct_deg, 1.5 * step_deg)
        self._grid = PolarGrid.of(optics)
        self._bank = template_bank(
            crystal, optics, self._grid, step_deg=step_deg, thicknesses_nm=thicknesses_nm
        )
        self._n_candidates = int(min(CANDIDATES / min(step_deg, 1) ** 2, MOST_CANDIDATES))
        self._refiner = None
        if refine:
            spots = self._bank.typical_spots
            self._refiner = Refiner(crystal, optics, self._grid, refine, typical_spots=spots)

    @property
    def matrices(self) -> np.ndarray:
        """Orientation of each template at phi1 = 0, shape (n, 3, 3)."""
        return self._bank.matrices

    @torch.inference_mode()
    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Index patterns without changing them.

        Args:
            patterns: counts or fractions of the beam, shape (n, height, width).
            inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.

        Returns:
            Scores are correlation indices Q. A distinct solution that was not found among the
            best candidates repeats the first one with score 0. The property "agreement" is what
            `min_agreement` is compared with.

        Raises:
            ScanError: the frame ends before the templates begin: the pixel size is wrong.
        """
        least = self._grid.least_reach_inv_angstrom
        require_frame(patterns.shape[1:], inv_angstrom_per_pixel, least)
        parts = [
            self._index_scales(patterns[i : i + BATCH], inv_angstrom_per_pixel)
            for i in range(0, max(len(patterns), 1), BATCH)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        score, agreement = found["score"].astype(np.float32), found["agreement"]
        reliability = 1 - score[:, 1] / np.maximum(score[:, 0], 1e-6)
        indexed = (score[:, 0] >= max(self._min_q, 1e-6)) & (agreement >= self._min_agreement)
        return Indexed(
            euler_deg=found["euler"][:, : self._n_best],
            score=score[:, : self._n_best],
            reliability=np.where(indexed, reliability, 0).astype(np.float32),
            indexed=indexed,
            properties={"agreement": agreement, **self._camera(found)},
        )

    def _camera(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what was searched or refined of the camera."""
        properties = {}
        if len(self._camera_scales) > 1 or "camera_length" in self._refine:
            properties["camera_scale"] = found["scale"]
        if "center" in self._refine:
            x, y = found["shift_px"].T
            properties |= {"center_shift_x_px": x, "center_shift_y_px": y}
        return properties

    @torch.inference_mode()
    def correlations(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> np.ndarray:
        """Return how well each template fits at its best in-plane angle.

        Args:
            patterns: counts or fractions of the beam, shape (n, height, width).
            inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.

        Returns:
            Q of the lower angular frequencies, shape (n, templates); see `matrices`.
        """
        parts = [np.zeros((0, len(self.matrices)), np.float32)]
        for i in range(0, len(patterns), BATCH):
            batch = torch.from_numpy(patterns[i : i + BATCH].astype(np.float32))
            polar = self._polar(batch, inv_angstrom_per_pixel)
            correlation, norm = correlations(self._bank, polar)
            parts.append((correlation.amax(dim=0) / norm).clamp(0, 1).numpy())
        return np.concatenate(parts)

    def _index_scales(self, patterns: np.ndarray, pixel: float) -> dict[str, np.ndarray]:
        """Return what `_index_batch` does, at each pattern's best camera scale."""
        copied = torch.from_numpy(patterns.astype(np.float32))
        tries = []
        for scale in self._camera_scales:
            found = self._index_batch(copied, pixel * scale)
            shift_px = found["shift"] / (pixel * scale)
            tries.append({**found, "scale": scale * found["scale"], "shift_px": shift_px})
        best = np.stack([found["score"][:, 0] for found in tries]).argmax(axis=0)
        rows = np.arange(len(patterns))
        return {name: np.stack([f[name] for f in tries])[best, rows] for name in tries[0]}

    def _polar(self, patterns: torch.Tensor, pixel: float) -> PolarPatterns:
        return polar_patterns(patterns, pixel, self._grid, self.optics.disk_radius_inv_angstrom)

    def _index_batch(self, patterns: torch.Tensor, pixel: float) -> dict[str, np.ndarray]:
        """Return the distinct solutions, best first, with what is known beside them."""
        polar = self._polar(patterns, pixel)
        template, angle = best_candidates(*correlations(self._bank, polar), self._n_candidates)
        heights = landscape(polar.spectrum, self._grid)
        power = polar.power[:, None] * (polar.inside @ self._bank.ring_power.T)
        candidates = candidate_scores(
            self._bank, template, angle, heights, power.sqrt(), self._grid
        )
        operators = self.crystal.proper_operators
        matrices, score, chosen = distinct_solutions(
            *candidates,
            operators,
            count=max(self._n_best, 2),
            step_deg=self._step_deg,
            distinct_deg=self._distinct_deg,
        )
        camera = {"scale": np.ones(len(score)), "shift": np.zeros((len(score), 2))}
        if self._refiner is not None:
            direction, _ = self._bank.split(template.gather(1, torch.from_numpy(chosen)))
            reach = (self._grid.radii_inv_angstrom * polar.inside).amax(dim=1)
            weight, radius = self._bank.weight, self._bank.radius_inv_angstrom
            alone = spots_power(weight[direction], radius[direction], reach, self._grid)
            norm = (power.gather(1, direction) / alone.clamp_min(TINY)).sqrt()
            found = self._refiner.refine(matrices, heights, norm, reach)
            matrices, score, camera = refined_solutions(
                found, score, operators, same_deg=self._step_deg / 2
            )
        euler = reduce_euler(euler_from_matrices(matrices), self.crystal)
        return {"euler": euler, "score": score, "agreement": polar.agreement.numpy(), **camera}


def camera_scales(largest_error: float) -> tuple[float, ...]:
    """Return factors on the pixel size that cover a camera length off by up to a share.

    Args:
        largest_error: 0 for a calibrated camera, 0.1 for one known to 10 %.

    Raises:
        SettingsError: not within 0 to 0.3.
    """
    if not 0 <= largest_error <= 0.3:
        raise SettingsError(f"Camera length error {largest_error}: expected a share of 0 to 0.3.")
    # Steps of 3 %: the outermost spots are then off by less than their own size.
    steps = round(largest_error / 0.03)
    return tuple(1 + 0.03 * i for i in range(-steps, steps + 1))


def _check_settings(
    n_best: int, min_q: float, min_agreement: float, camera_scales: Sequence[float]
) -> None:
    if not 1 <= n_best <= MOST_SOLUTIONS:
        raise SettingsError(f"n_best = {n_best}: expected 1 to {MOST_SOLUTIONS}.")
    if not 0 <= min_q < 1:
        raise SettingsError(f"min_q = {min_q}: expected 0 to 1.")
    if not -1 <= min_agreement < 1:
        raise SettingsError(f"min_agreement = {min_agreement}: expected -1 to 1.")
    if not len(camera_scales) or not min(camera_scales) > 0:
        raise SettingsError(f"camera_scales = {camera_scales}: expected positive factors.")
