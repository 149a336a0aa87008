"""Refining orientations beyond the grid of templates, with camera length and center if asked.

A kinematic template is computed anew at each trial: its spots move with the orientation, and their
weights follow the excitation errors. Each parameter is moved to the vertex of the parabola through
three values of Q, all at once, with steps that shrink; what does not improve Q is not taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from zoneaxis.diffraction.beams import excitation_errors
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.kinematic import ENVELOPE_SIGMA_INV_ANGSTROM
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.matching.candidates import vertex
from zoneaxis.evaluation.matching.polar_patterns import POWER, TINY, PolarGrid
from zoneaxis.evaluation.matching.spot_scores import heights_at, spots_power

# Parameters in the order of a state: rotation about x, y, z, logarithm of the scale, shift in x, y.
PARAMETERS = {"orientation": (0, 1, 2), "camera_length": (3,), "center": (4, 5)}
N_PARAMETERS = 6
STEPS = (*(math.radians(1.0),) * 3, 0.02, 0.02, 0.02)  # radians, relative, 1/Angstrom
ITERATIONS = 2
SHRINK = 0.5
FEWEST_SPOTS, MOST_SPOTS = 64, 512  # of a trial; those that are best excited at the start
SPARE = 1.5  # of them, times those of a typical template: others appear as the crystal turns
AZIMUTHS = 8  # on half of a precession cone, whose other half is excited alike


@dataclass(frozen=True, eq=False)
class Refined:
    """What refinement found for each pattern and start.

    Attributes:
        matrices: orientations, shape (b, k, 3, 3).
        score: Q, shape (b, k).
        camera_scale: factor on the pixel size, shape (b, k).
        shift_inv_angstrom: of the center, x and y, shape (b, k, 2).
    """

    matrices: np.ndarray
    score: np.ndarray
    camera_scale: np.ndarray
    shift_inv_angstrom: np.ndarray


class Refiner:
    """Moves orientations to where a kinematic template fits best."""

    def __init__(
        self,
        crystal: Crystal,
        optics: Optics,
        grid: PolarGrid,
        parameters: Sequence[str] = ("orientation",),
        *,
        typical_spots: int = FEWEST_SPOTS,
    ) -> None:
        """Look up the reflections.

        Args:
            crystal: with its sites.
            optics: illumination and largest wave vector.
            grid: of the landscapes.
            parameters: what is refined: "orientation", "camera_length", "center".
            typical_spots: of a template; the larger the cell, the more.

        Raises:
            SettingsError: another parameter.
        """
        unknown = [name for name in parameters if name not in PARAMETERS]
        if unknown:
            raise SettingsError(f"Cannot refine {unknown[0]!r}: expected {', '.join(PARAMETERS)}.")
        factors = structure_factors(crystal, optics.voltage_kv, optics.k_max_inv_angstrom, "WK")
        length = np.linalg.norm(factors.g_inv_angstrom, axis=1)
        chosen = (length > 0) & (np.abs(factors.u_inv_angstrom2) > 0)
        self._g = torch.from_numpy(factors.g_inv_angstrom[chosen]).float()
        self._u2 = torch.from_numpy(np.abs(factors.u_inv_angstrom2[chosen]) ** 2).float()
        self._optics, self._grid = optics, grid
        self._n_spots = min(max(int(SPARE * typical_spots), FEWEST_SPOTS), MOST_SPOTS)
        self._active = sorted(i for name in parameters for i in PARAMETERS[name])

    def refine(
        self,
        matrices: np.ndarray,
        heights: torch.Tensor,
        norm: torch.Tensor,
        reach_inv_angstrom: torch.Tensor,
        camera_scales: Sequence[float] = (1.0,),
    ) -> Refined:
        """Refine several orientations of each pattern.

        Args:
            matrices: where to start, shape (b, k, 3, 3).
            heights: landscapes of the patterns, shape (b, r, a + 1).
            norm: root of the sum of squares of each pattern, times that of the template over its
                `spots_power`, shape (b, k).
            reach_inv_angstrom: of each pattern's last ring inside the frame, shape (b,).
            camera_scales: factors on the pixel size, of which each start takes the best.
        """
        start = torch.from_numpy(matrices).float()
        g, u2 = self._excited(start)
        steps = torch.tensor(STEPS)
        scales = torch.zeros(len(camera_scales), N_PARAMETERS)
        scales[:, 3] = torch.tensor(camera_scales).log()
        state = scales[0].expand(*start.shape[:2], -1)
        if len(scales) > 1:
            tried = scales.expand(*start.shape[:2], -1, -1)
            q = self._q(tried, start, g, u2, heights, norm, reach_inv_angstrom)
            state = scales[q.argmax(dim=-1)]
        best, best_q = state, None
        for shrink in (SHRINK**i for i in range(ITERATIONS)):
            trials = self._trials(state, steps * shrink)
            q = self._q(trials, start, g, u2, heights, norm, reach_inv_angstrom)
            best, best_q = _better(best, best_q, state, q[..., 0])
            state = best + _vertices(q, self._active) * steps * shrink
        q = self._q(state[:, :, None], start, g, u2, heights, norm, reach_inv_angstrom)[..., 0]
        best, best_q = _better(best, best_q, state, q)
        return Refined(
            (start @ _rotations(best[..., :3])).double().numpy(),
            best_q.clamp(0, 1).numpy(),
            best[..., 3].exp().numpy(),
            best[..., 4:].numpy(),
        )

    def _excited(self, matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return reflections (b, k, s, 3) and their |U|^2 (b, k, s) that count nearby."""
        near = self._weights(self._g @ matrices, self._u2, 2 * ENVELOPE_SIGMA_INV_ANGSTROM)
        _, order = near.topk(min(self._n_spots, near.shape[-1]), dim=-1)
        return self._g[order], self._u2[order]

    def _weights(self, q: torch.Tensor, u2: torch.Tensor, sigma: float) -> torch.Tensor:
        """Return the heights of spots at q (..., 3)."""
        k0 = 1 / self._optics.wavelength_angstrom
        axis = q.new_tensor([[0.0, 0.0, k0]])
        error = excitation_errors(q.flatten(0, -3), axis)[..., 0].unflatten(0, q.shape[:-2])
        if self._optics.precession_deg:
            azimuth = (torch.arange(AZIMUTHS) + 0.5) * (math.pi / AZIMUTHS)
            tilt = math.tan(math.radians(self._optics.precession_deg)) * azimuth.cos()
            error = error[..., None] + q[..., :2].norm(dim=-1, keepdim=True) * tilt
            envelope = torch.exp(-0.5 * (error / sigma) ** 2).mean(dim=-1)
        else:
            envelope = torch.exp(-0.5 * (error / sigma) ** 2)
        return (u2 * envelope) ** POWER

    def _trials(self, state: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return the state, then each active parameter less and more, (b, k, 1 + 2 p, 6)."""
        moves = torch.diag(steps)[self._active]
        around = torch.stack([-moves, moves], dim=1).flatten(0, 1)
        return state[:, :, None] + torch.cat([torch.zeros(1, N_PARAMETERS), around])

    def _q(
        self,
        states: torch.Tensor,
        start: torch.Tensor,
        g: torch.Tensor,
        u2: torch.Tensor,
        heights: torch.Tensor,
        norm: torch.Tensor,
        reach: torch.Tensor,
    ) -> torch.Tensor:
        """Return Q of trial states, (b, k, t)."""
        q = g[:, :, None] @ (start[:, :, None] @ _rotations(states[..., :3]))
        weight = self._weights(q, u2[:, :, None], ENVELOPE_SIGMA_INV_ANGSTROM)
        # A larger pixel puts a reflection nearer to the center of the pattern as it was resampled.
        place = q[..., :2] / states[..., None, 3:4].exp() + states[..., None, 4:]
        radius = place.norm(dim=-1)
        angle = torch.atan2(place[..., 1], place[..., 0])
        sums = (heights_at(heights, radius, angle, self._grid) * weight).sum(dim=-1)
        squares = spots_power(weight, radius, reach, self._grid)
        return sums / (norm[..., None] * squares.sqrt()).clamp_min(TINY)


def _better(
    best: torch.Tensor, best_q: torch.Tensor | None, state: torch.Tensor, q: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whichever state has the larger Q, and that."""
    if best_q is None:
        return state, q
    return torch.where((q > best_q)[..., None], state, best), torch.maximum(q, best_q)


def _vertices(q: torch.Tensor, active: Sequence[int]) -> torch.Tensor:
    """Return where the parabolas through trials peak, in steps of -1 to 1, (b, k, 6)."""
    offsets, _ = vertex(q[..., 1::2], q[..., :1], q[..., 2::2])
    moved = q.new_zeros(*q.shape[:2], N_PARAMETERS)
    moved[..., list(active)] = offsets
    return moved


def _rotations(vector: torch.Tensor) -> torch.Tensor:
    """Return rotation matrices of rotation vectors in radians, (..., 3) -> (..., 3, 3).

    Rodrigues' formula.
    """
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    angle = vector.norm(dim=-1)[..., None, None]
    first = torch.sinc(angle / math.pi)
    second = torch.sinc(angle / (2 * math.pi)).square() / 2
    return torch.eye(3) + first * cross + second * (cross @ cross)
