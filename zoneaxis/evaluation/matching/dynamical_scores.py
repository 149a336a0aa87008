"""How well dynamical patterns near given orientations fit, by the landscape of a pattern."""

from dataclasses import dataclass

import numpy as np
import torch

from zoneaxis.evaluation.matching.candidates import vertex
from zoneaxis.evaluation.matching.dynamical_library import DynamicalLibrary
from zoneaxis.evaluation.matching.polar_patterns import TINY, PolarGrid
from zoneaxis.evaluation.matching.refinement import Refined
from zoneaxis.evaluation.matching.spot_scores import (
    heights_at,
    spots_power,
    template_norm,
)

POWER = 0.35  # of dynamical intensities: predicted ones deserve more contrast than kinematic ones


@dataclass(frozen=True, eq=False)
class DynamicalScores:
    """The best of the directions and thicknesses near each orientation.

    Attributes:
        matrices: orientations, shape (b, c, 3, 3).
        score: Q, shape (b, c).
    """

    matrices: np.ndarray
    score: np.ndarray


def dynamical_scores(
    library: DynamicalLibrary,
    found: Refined,
    heights: torch.Tensor,
    power: torch.Tensor,
    reach_inv_angstrom: torch.Tensor,
    grid: PolarGrid,
) -> DynamicalScores:
    """Search directions and thicknesses round orientations whose geometry is known.

    Args:
        library: of the crystal.
        found: orientations, camera scales and centers, (b, c).
        heights: landscapes of the patterns, shape (b, r, a + 1).
        power: sum of squares of each pattern, shape (b,).
        reach_inv_angstrom: of each pattern's last ring inside the frame, shape (b,).
        grid: of the landscapes.
    """
    b, c = found.score.shape
    places = library.locate(found.matrices.reshape(-1, 3, 3))
    scale, shift = found.camera_scale.ravel(), found.shift_inv_angstrom.reshape(-1, 2)
    tilt, score = places.tilt_rad.copy(), np.zeros(b * c)
    for i in np.argsort(places.fan):  # each fan is simulated once, however many are kept
        fan, row = library.fan(int(places.fan[i])), i // c
        q = library.spots(fan, places, i) / scale[i] + torch.from_numpy(shift[i])
        weight = library.around(fan, tilt[i])[..., 1:].float().pow_(POWER)
        fits = _correlations(weight, q[1:].float(), heights[row], reach_inv_angstrom[row], grid)
        *place, peak = _peak(fits)
        score[i] = peak / max(float(power[row]), TINY) ** 0.5
        corner = library.corner(tilt[i]) - library.half
        tilt[i] = (corner + place) * library.step_rad
    matrices = library.tilted(places, tilt).reshape(b, c, 3, 3)
    return DynamicalScores(matrices, score.reshape(b, c))


def _correlations(
    weight: torch.Tensor,
    q: torch.Tensor,
    heights: torch.Tensor,
    reach: torch.Tensor,
    grid: PolarGrid,
) -> torch.Tensor:
    """Return correlations of heights at q (n, 2) with weights (z, m, m, n), shape (z, m, m)."""
    radius, angle = q.norm(dim=-1), torch.atan2(q[:, 1], q[:, 0])
    height = heights_at(heights[None], radius[None], angle[None], grid)[0]
    square = spots_power(weight, radius, reach[None], grid)
    return (weight @ height) / (template_norm(grid) * square.clamp_min(TINY).sqrt())


def _peak(q: torch.Tensor) -> tuple[float, float, float]:
    """Return row and column of the greatest value (z, m, m), between grid points, and it."""
    z, x, y = (int(i) for i in np.unravel_index(int(q.argmax()), q.shape))
    peak, offsets = float(q[z, x, y]), []
    for line, at in ((q[z, :, y], x), (q[z, x], y)):
        if 0 < at < len(line) - 1:
            offset, height = vertex(line[at - 1], line[at], line[at + 1])
            offsets.append(float(offset))
            peak = max(peak, float(height))
        else:
            offsets.append(0.0)
    return x + offsets[0], y + offsets[1], peak
