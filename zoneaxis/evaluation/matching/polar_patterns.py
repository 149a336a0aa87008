"""Patterns as template matching compares them: on a polar grid, compressed, free of background."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.polar import (
    checkerboard,
    direct_beam_center,
    ring_background,
    rings_inside,
    smooth_polar,
)
from zoneaxis.errors import SettingsError

N_RADII, N_ANGLES = 48, 180
FEWEST_RINGS = 8  # in the frame
POWER = 0.25  # of intensities, in patterns and templates alike
BLUR_INV_ANGSTROM = 0.03  # patterns are smoothed by it before the power, which would lift noise
SMALLEST_BLUR_PX = 0.6  # or the halves of a checkerboard would not look alike
NARROWEST_DISK_PX = 1.4  # a narrower one may miss one of the halves
SLOWEST = 5  # turns of what counts around the beam
COARSER = 2  # every second angle tells whether the halves agree
TINY = 1e-20


@dataclass(frozen=True, eq=False)
class PolarGrid:
    """Where patterns and templates are compared.

    Attributes:
        radii_inv_angstrom: of the rings, evenly spaced, shape (r,).
        n_angles: a, around each ring.
        sigma_inv_angstrom: standard deviation of a template's spots.
    """

    radii_inv_angstrom: torch.Tensor
    n_angles: int
    sigma_inv_angstrom: float

    @classmethod
    def of(cls, optics: Optics) -> "PolarGrid":
        """Return rings from outside the direct beam to k_max, and spots as wide as blurred disks.

        Raises:
            SettingsError: the direct beam leaves too little.
        """
        radius, last = optics.disk_radius_inv_angstrom, optics.k_max_inv_angstrom
        first = radius + 2 * BLUR_INV_ANGSTROM
        if last < 2 * first:
            raise SettingsError(
                f"Disks of radius {radius:.3f} 1/Angstrom leave nothing to compare up to "
                f"k_max = {last:g}: lower the convergence."
            )
        sigma = math.hypot(radius / 2, BLUR_INV_ANGSTROM)
        return cls(torch.linspace(first, last, N_RADII), N_ANGLES, sigma)

    @property
    def least_reach_inv_angstrom(self) -> float:
        """How far a frame must reach to show enough rings."""
        return float(self.radii_inv_angstrom[FEWEST_RINGS])

    @property
    def step_inv_angstrom(self) -> float:
        """Distance between neighboring rings."""
        return float(self.radii_inv_angstrom[1] - self.radii_inv_angstrom[0])

    def weighted(self, polar: torch.Tensor, inside: float | torch.Tensor = 1.0) -> torch.Tensor:
        """Return polar images (..., r, a) free of each ring's mean, weighted by the radius.

        Args:
            polar: of any number of angles.
            inside: 0 for rings that count for nothing, shape (..., r).
        """
        weight = self.radii_inv_angstrom * inside
        return (polar - polar.mean(dim=-1, keepdim=True)).mul_(weight[..., None])


@dataclass(frozen=True, eq=False)
class PolarPatterns:
    """Weighted, compressed polar patterns of a batch.

    Attributes:
        spectrum: over the angle, as `torch.fft.rfft` returns it, shape (b, r, a // 2 + 1).
        power: sum of squares of each polar pattern, shape (b,).
        center_px: column and row of the direct beams, shape (b, 2).
        inside: 1 for rings that lie in the frame, else 0, shape (b, r).
        agreement: correlation of the two halves of each pattern, -1 to 1, shape (b,); 1 where
            disks are too narrow to be halved.
    """

    spectrum: torch.Tensor
    power: torch.Tensor
    center_px: torch.Tensor
    inside: torch.Tensor
    agreement: torch.Tensor


def polar_patterns(
    patterns: torch.Tensor,
    inv_angstrom_per_pixel: float,
    grid: PolarGrid,
    disk_radius_inv_angstrom: float,
) -> PolarPatterns:
    """Return what is compared with templates, about each pattern's direct beam.

    Args:
        patterns: counts or fractions of the beam, shape (b, height, width).
        inv_angstrom_per_pixel: size of a pixel.
        grid: of the templates.
        disk_radius_inv_angstrom: radius of a disk.
    """
    pixel, radii = inv_angstrom_per_pixel, grid.radii_inv_angstrom
    center = direct_beam_center(patterns, disk_radius_inv_angstrom / pixel)
    inside = rings_inside(patterns.shape[1:], center, pixel, radii).float()
    blur = max(BLUR_INV_ANGSTROM, SMALLEST_BLUR_PX * pixel)
    stride = max(1, round(blur / pixel))

    def smooth(patterns: torch.Tensor) -> torch.Tensor:
        return smooth_polar(patterns, center, pixel, radii, grid.n_angles, blur, stride)

    polar = smooth(patterns)
    background = ring_background(polar)
    agreement = torch.ones(len(patterns))
    if 2 * disk_radius_inv_angstrom >= NARROWEST_DISK_PX * pixel:
        white = smooth(patterns * checkerboard(*patterns.shape[1:]))
        halves = torch.stack([white, polar - white])[..., ::COARSER] - background / 2
        # The root weighs them towards their bright disks.
        halves = grid.weighted(halves.clamp_min_(0).sqrt_(), inside)
        # A beam off the center and rings that are not round turn slowly around it; disks do not.
        both = torch.view_as_real(torch.fft.rfft(halves, dim=-1)[..., SLOWEST:])
        agreement = F.cosine_similarity(*both.flatten(2), eps=TINY).clamp(-1, 1)
    polar = grid.weighted(polar.sub_(background).clamp_min_(0).pow_(POWER), inside)
    power = polar.square().sum(dim=(1, 2))
    return PolarPatterns(torch.fft.rfft(polar, dim=-1), power, center, inside, agreement)
