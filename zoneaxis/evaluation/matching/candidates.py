"""From polar patterns to the orientations that may be: every template, then the best in full.

All templates are compared by the lower angular frequencies, at all in-plane angles at once. The
best, six sectors of in-plane angle apart, are scored by all frequencies at their spots.
"""

import math
from functools import cache

import numpy as np
import torch

from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.evaluation.matching.polar_patterns import TINY, PolarGrid, PolarPatterns
from zoneaxis.evaluation.matching.spot_scores import heights_at
from zoneaxis.evaluation.matching.template_bank import FREQUENCIES, TemplateBank

N_SHIFTS = 48  # in-plane angles at which all templates are compared
SECTORS = 6  # each template offers its best angle in each: 60 degrees about a zone axis may vie
TURN_DEG = 2.0  # to either side of a candidate; a parabola finds the angle between


def correlations(bank: TemplateBank, polar: PolarPatterns) -> tuple[torch.Tensor, torch.Tensor]:
    """Return correlations by the lower frequencies, and what makes Q of them.

    With P = a + i b and T = c + i d, P T* and, for the mirrored template, P T are made of the same
    four products.

    Args:
        bank: t templates.
        polar: b patterns.

    Returns:
        At N_SHIFTS in-plane angles, (shifts, b, t), and norms, (b, t): Q is their ratio.
    """
    n, total = len(bank.weight), len(bank.matrices)
    low = polar.spectrum[..., 1 : FREQUENCIES + 1].permute(2, 0, 1)
    parts = torch.bmm(torch.cat([low.real, low.imag], dim=1), bank.spectra)
    (ac, ad), (bc, bd) = (half.split(n, dim=2) for half in parts.chunk(2, dim=1))
    products = parts.new_empty(2, *ac.shape[:2], total)
    torch.add(ac, bd, out=products[0, ..., :n])
    torch.sub(bc, ad, out=products[1, ..., :n])
    if total > n:
        torch.sub(ac, bd, out=products[0, ..., n:])
        torch.add(bc, ad, out=products[1, ..., n:])
    power = low.abs().square().sum(dim=(0, 2))
    norm = (power[:, None] * (polar.inside @ bank.low_ring_power.T)).sqrt().clamp_min(TINY)
    turned = _inverse_transform(FREQUENCIES, N_SHIFTS) @ products.flatten(2).flatten(0, 1)
    return turned.unflatten(1, (ac.shape[1], total)), norm.repeat(1, total // n)


def best_candidates(
    correlation: torch.Tensor, norm: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the templates that fit best, and their in-plane angles in radians, both (b, c).

    Args:
        correlation: what `correlations` returned, shape (shifts, b, t).
        norm: likewise, shape (b, t).
        count: c, if there are as many.
    """
    best = correlation.unflatten(0, (SECTORS, -1)).amax(dim=1) / norm
    best = best.permute(1, 0, 2).flatten(1)
    _, chosen = best.topk(min(count, best.shape[1]), dim=1)
    sector, template = chosen // norm.shape[1], chosen % norm.shape[1]
    width = N_SHIFTS // SECTORS
    rows = torch.arange(len(norm))[:, None, None]
    shifts = sector[..., None] * width + torch.arange(-1, width + 1)
    near = correlation[shifts % N_SHIFTS, rows, template[..., None]]
    place = near[..., 1:-1].argmax(dim=-1, keepdim=True)
    offset, _ = vertex(*(near.gather(-1, place + i)[..., 0] for i in range(3)))
    return template, (sector * width + place[..., 0] + offset) * (2 * math.pi / N_SHIFTS)


def candidate_scores(
    bank: TemplateBank,
    template: torch.Tensor,
    angle: torch.Tensor,
    heights: torch.Tensor,
    norm: torch.Tensor,
    grid: PolarGrid,
) -> tuple[np.ndarray, np.ndarray]:
    """Return orientations (b, c, 3, 3) and Q (b, c) of candidates, by all frequencies.

    Args:
        bank: of the templates.
        template: candidates of each pattern, shape (b, c).
        angle: their in-plane angles in radians, shape (b, c).
        heights: landscapes of the patterns, shape (b, r, a + 1).
        norm: root of the power of pattern times template, shape (b, n).
        grid: of the patterns.
    """
    direction, sign = bank.split(template)
    turn = math.radians(TURN_DEG)
    turned = angle[..., None] + torch.tensor([-turn, 0, turn])
    at = (sign[..., None] * bank.angle[direction])[:, :, None] + turned[..., None]
    radius = bank.radius_inv_angstrom[direction][:, :, None].expand_as(at)
    sums = heights_at(heights, radius, at, grid) * bank.weight[direction][:, :, None]
    offset, peak = vertex(*sums.sum(dim=-1).unbind(-1))
    score = peak / norm.gather(1, direction).clamp_min(TINY)
    phi1 = np.rad2deg((angle + offset * turn).double().numpy())
    turns = matrices_from_euler(np.stack([phi1, 0 * phi1, 0 * phi1], axis=-1))
    return bank.matrices[template.numpy()] @ turns, score.clamp(0, 1).numpy()


def vertex(
    before: torch.Tensor, at: torch.Tensor, after: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where, in steps of -1 to 1, parabolas through three values peak, and how high."""
    slope, bend = (after - before) / 2, 2 * at - before - after
    offset = torch.where(bend > 0, slope / bend.clamp_min(TINY), slope.sign()).clamp(-1, 1)
    return offset, at + slope * offset - bend * offset**2 / 2


@cache
def _inverse_transform(frequencies: int, n: int) -> torch.Tensor:
    """Return what turns real and imaginary parts of frequencies 1 to f into n values, (n, 2 f)."""
    angles = torch.arange(n)[:, None] * (2 * torch.pi / n) * torch.arange(1, frequencies + 1)
    return torch.cat([angles.cos(), -angles.sin()], dim=1)
