"""How well spots at any place fit a polar pattern: correlation without a grid of templates.

Convolved with the profile of a spot, a pattern becomes a landscape; a template's correlation with
the pattern is then the sum of the landscape's heights at its spots, times their weights, at any
orientation, in-plane angle, camera length and center.
"""

import math

import torch
import torch.nn.functional as F

from zoneaxis.evaluation.matching.polar_patterns import PolarGrid


def landscape(spectrum: torch.Tensor, grid: PolarGrid) -> torch.Tensor:
    """Return polar patterns convolved with the profile of a template's spot.

    Args:
        spectrum: of weighted polar patterns over the angle (`torch.fft.rfft`), (b, r, a // 2 + 1).
        grid: of the patterns.

    Returns:
        Shape (b, r, a + 1): the first angle stands at the end, too.
    """
    radii, sigma = grid.radii_inv_angstrom, grid.sigma_inv_angstrom
    along = torch.exp(-0.5 * ((radii[:, None] - radii) / sigma) ** 2) * radii
    turns = sigma / radii[:, None] * torch.arange(spectrum.shape[-1])
    around = sigma / radii[:, None] * (grid.n_angles / math.sqrt(2 * math.pi))
    around = around * torch.exp(-0.5 * turns**2)
    mixed = torch.view_as_real(spectrum).flatten(2)
    mixed = torch.matmul(along, mixed).unflatten(2, (-1, 2))
    heights = torch.fft.irfft(torch.view_as_complex(mixed) * around, n=grid.n_angles, dim=-1)
    return torch.cat([heights, heights[..., :1]], dim=-1)


def heights_at(
    heights: torch.Tensor, radius_inv_angstrom: torch.Tensor, angle: torch.Tensor, grid: PolarGrid
) -> torch.Tensor:
    """Return landscapes at places, bilinearly; 0 beyond the first and the last ring.

    Args:
        heights: what `landscape` returned, shape (b, r, a + 1).
        radius_inv_angstrom: of the places, shape (b, ...).
        angle: of the places in radians, shape (b, ...).
        grid: of the landscapes.

    Returns:
        Shape (b, ...).
    """
    first, last = float(grid.radii_inv_angstrom[0]), float(grid.radii_inv_angstrom[-1])
    y = (radius_inv_angstrom - first) * (2 / (last - first)) - 1
    x = torch.remainder(angle, 2 * math.pi) * (1 / math.pi) - 1
    places = torch.stack([x, y], dim=-1).flatten(1, -2)[:, None]
    found = F.grid_sample(heights[:, None], places, align_corners=True)
    return found[:, 0, 0].unflatten(1, radius_inv_angstrom.shape[1:])


def template_norm(grid: PolarGrid) -> float:
    """Return what the root of `spots_power` is to be multiplied by: a template's norm.

    A spot of height 1 at radius r has the sum of squares r^2 times the area pi sigma^2 of a squared
    Gaussian, over that of a point of the grid, r dr dphi.
    """
    spot = math.pi * grid.sigma_inv_angstrom**2
    return math.sqrt(spot / (grid.step_inv_angstrom * 2 * math.pi / grid.n_angles))


def spots_power(
    weight: torch.Tensor,
    radius_inv_angstrom: torch.Tensor,
    reach_inv_angstrom: torch.Tensor,
    grid: PolarGrid,
) -> torch.Tensor:
    """Return the sum of squares of spots far apart from each other, up to a constant factor.

    Args:
        weight: heights of the spots, shape (b, ..., s).
        radius_inv_angstrom: where they are, shape (b, ..., s).
        reach_inv_angstrom: of each pattern's last ring inside the frame, shape (b,).
        grid: of the patterns.

    Returns:
        Shape (b, ...).
    """
    edge = reach_inv_angstrom.view(-1, *[1] * (weight.dim() - 1)) + grid.step_inv_angstrom / 2
    seen = (1 + torch.erf((edge - radius_inv_angstrom) / grid.sigma_inv_angstrom)) / 2
    return (weight.square() * radius_inv_angstrom * seen).sum(dim=-1)
