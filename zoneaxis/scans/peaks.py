"""Diffracted disks found in measured patterns: where they stand, relative to the direct beam."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction.blur import blurred
from zoneaxis.diffraction.polar import polar_resample

BLUR_PER_RADIUS = 0.6  # a disk smoothed by this share of its radius has one maximum
BACKGROUND_BLUR = 2.5  # times the blur of the disks; what is wider is background
CENTER_ITERATIONS = 3
NOISE = 8.0  # standard deviations that a disk must rise above the background
ANGLES = 180  # at which a ring is looked at
FAINTEST = 0.005  # of the direct beam, on the scale of square roots
DIRECT_BEAM = 2.0  # radii about the center where no other disk can be told from the direct beam


@dataclass(frozen=True, eq=False)
class Peaks:
    """Disks of many patterns, n in all.

    Attributes:
        pattern: index of the pattern that each was found in, shape (n,).
        offset_px: (column, row) relative to the direct beam, shape (n, 2).
        height: above the background, in the patterns' unit, shape (n,).
        inner_px: no disk was looked for nearer to the direct beam.
        outer_px: nor farther from it.
    """

    pattern: np.ndarray
    offset_px: np.ndarray
    height: np.ndarray
    inner_px: float
    outer_px: float

    def stretched(self, matrix: np.ndarray) -> "Peaks":
        """Return the disks at other places, offset (x, y) -> matrix (2, 2) times offset."""
        return replace(self, offset_px=self.offset_px @ matrix.T)


def joined(parts: list[Peaks], batch: int) -> Peaks:
    """Return the disks of batches of patterns, of `batch` each, as those of all of them."""
    return Peaks(
        pattern=np.concatenate([part.pattern + i * batch for i, part in enumerate(parts)]),
        offset_px=np.concatenate([part.offset_px for part in parts]),
        height=np.concatenate([part.height for part in parts]),
        inner_px=parts[0].inner_px,
        outer_px=parts[0].outer_px,
    )


def find_peaks(patterns: np.ndarray, center_px: np.ndarray, radius_px: float) -> Peaks:
    """Find the disks of patterns: what stands out of its surroundings and of its ring.

    Square roots of the counts are searched, whose noise is the same everywhere and in which a
    disk is more even; the disk's place is its center of mass.

    Args:
        patterns: non-negative, shape (n, height, width).
        center_px: (column, row) of each direct beam, shape (n, 2).
        radius_px: of the disks.
    """
    height, width = patterns.shape[1:]
    sigma = max(BLUR_PER_RADIUS * radius_px, 0.7)
    values = (torch.as_tensor(patterns, dtype=torch.float32) + 0.375).sqrt()
    raised = blurred(values, sigma) - blurred(values, BACKGROUND_BLUR * sigma)
    center = torch.as_tensor(center_px, dtype=torch.float32)
    x = torch.arange(width) - center[:, :1]
    y = torch.arange(height) - center[:, 1:]
    distance = torch.hypot(x[:, None, :], y[:, :, None])
    inner = DIRECT_BEAM * radius_px + 1
    outer = min(height, width) / 2 - max(radius_px, 1) - 1
    searched = (distance >= inner) & (distance <= outer)
    reach = max(1, round(radius_px))
    highest = F.max_pool2d(raised[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
    level, noise = (
        ring.gather(1, distance.round().long().clamp_max(ring.shape[1] - 1).flatten(1))
        for ring in _ring_statistics(raised, center, outer)
    )
    above = raised - level.view_as(raised)
    faintest = FAINTEST * above.masked_fill(distance > inner, 0).amax(dim=(1, 2))
    floor = torch.maximum(NOISE * noise.view_as(raised), faintest[:, None, None])
    found = searched & (raised == highest) & (above > floor.clamp_min(1e-12))
    pattern, row, column = torch.nonzero(found, as_tuple=True)
    above_zero = (values - blurred(values, BACKGROUND_BLUR * sigma)).clamp_min(0)
    place = torch.stack([column, row], dim=1).float()
    for _ in range(CENTER_ITERATIONS):
        place = _center_of_mass(above_zero, pattern, place, radius_px + 0.5)
    offset = place - center[pattern]
    return Peaks(
        pattern=pattern.numpy(),
        offset_px=offset.double().numpy(),
        height=above[pattern, row, column].numpy(),
        inner_px=inner,
        outer_px=outer,
    )


def _ring_statistics(
    raised: torch.Tensor, center: torch.Tensor, outer: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return median and standard deviation of each ring of pixels, whatever the disks on it.

    Amorphous rings are thus a background, and their noise is no disk.

    Returns:
        Both of shape (n, rings), one ring a pixel from the center.
    """
    radii = torch.arange(int(outer) + 2, dtype=torch.float32)
    polar = polar_resample(raised, center, 1.0, radii, ANGLES)
    level = polar.median(dim=-1).values
    return level, 1.4826 * (polar - level[..., None]).abs().median(dim=-1).values


def _center_of_mass(
    values: torch.Tensor, pattern: torch.Tensor, place: torch.Tensor, radius_px: float
) -> torch.Tensor:
    """Return the center of mass (column, row) of the pixels near each place, shape (n, 2)."""
    reach = int(radius_px) + 1
    step = torch.arange(-reach, reach + 1)
    column, row = (place[:, i].round().long()[:, None] + step for i in (0, 1))
    window = values[
        pattern[:, None, None],
        row.clamp(0, values.shape[1] - 1)[:, :, None],
        column.clamp(0, values.shape[2] - 1)[:, None, :],
    ]
    away = torch.hypot((column - place[:, :1])[:, None, :], (row - place[:, 1:])[:, :, None])
    # A soft edge a pixel wide: the center moves continuously.
    weight = window * (radius_px + 0.5 - away).clamp(0, 1)
    total = weight.sum(dim=(1, 2)).clamp_min(1e-12)
    return torch.stack(
        [(weight.sum(dim=1) * column).sum(1) / total, (weight.sum(dim=2) * row).sum(1) / total],
        dim=1,
    )
