"""Templates, their mirrors, and scores at spots against a brute-force correlation."""

import math

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.kinematic import enveloped_disks, kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices, matrices_from_euler
from zoneaxis.diffraction.polar import draw_polar_spots
from zoneaxis.diffraction.render import render
from zoneaxis.evaluation.matching.candidates import (
    N_SHIFTS,
    best_candidates,
    candidate_scores,
    correlations,
    vertex,
)
from zoneaxis.evaluation.matching.polar_patterns import PolarGrid, PolarPatterns, polar_patterns
from zoneaxis.evaluation.matching.spot_scores import heights_at, landscape, spots_power
from zoneaxis.evaluation.matching.template_bank import strongest_spots, template_bank

OPTICS = Optics(k_max_inv_angstrom=1.6)
GRID = PolarGrid(torch.linspace(0.13, 1.6, 48), 180, 0.048)


@pytest.fixture(scope="module")
def bank(nickelate):
    return template_bank(nickelate, OPTICS, GRID, step_deg=6.0)


@pytest.fixture(scope="module")
def polar(nickelate) -> PolarPatterns:
    rng = np.random.default_rng(2)
    euler = rng.uniform([0, 0, 0], [360, 90, 120], (6, 3))
    disks = kinematic_disks(nickelate, OPTICS, euler[:, 1:], np.array([5.0]))
    drawn = render(disks, 128, 0.03, torch.from_numpy(euler[:, 0].copy()))[:, 0]
    return polar_patterns(drawn, 0.03, GRID, OPTICS.disk_radius_inv_angstrom)


def drawn_templates(bank, template: torch.Tensor) -> torch.Tensor:
    """Weighted templates as images, drawn anew from their spots, (n, r, a)."""
    direction, sign = bank.split(template)
    radius, angle = bank.radius_inv_angstrom[direction], sign[:, None] * bank.angle[direction]
    q = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    drawn = draw_polar_spots(
        q, bank.weight[direction], GRID.sigma_inv_angstrom, GRID.radii_inv_angstrom, GRID.n_angles
    )
    return GRID.weighted(drawn)


def test_mirrored_templates_are_those_of_the_mirrored_orientations(nickelate, bank):
    """Simulated on their own, they have their spots where the flipped ones have theirs."""
    n = len(bank.weight)
    assert len(bank.matrices) == 2 * n
    chosen = torch.arange(n, 2 * n, 17)
    matrices = bank.matrices[chosen.numpy()]
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-9)
    euler = euler_from_matrices(matrices)
    q, weight = strongest_spots(enveloped_disks(nickelate, OPTICS, euler[:, 1:]))
    turn = matrices_from_euler(euler * [1, 0, 0])[:, :2, :2]
    q = q @ torch.from_numpy(turn).float()
    drawn = draw_polar_spots(q, weight, GRID.sigma_inv_angstrom, GRID.radii_inv_angstrom, 180)
    torch.testing.assert_close(
        GRID.weighted(drawn), drawn_templates(bank, chosen), atol=2e-3, rtol=0
    )


def test_a_group_without_mirrors_has_a_template_for_each_direction():
    from dataclasses import replace

    from zoneaxis.diffraction.crystal import load_crystal

    crystal = load_crystal("LiNiO2")
    chiral = replace(crystal, space_group=155)  # 32 itself; the sites do not matter here
    full, half = (template_bank(c, OPTICS, GRID, step_deg=9.0) for c in (chiral, crystal))
    assert len(full.matrices) == len(full.weight)
    assert len(half.matrices) == 2 * len(half.weight)
    assert abs(len(full.matrices) - len(half.matrices)) < 0.15 * len(half.matrices)


def test_low_frequencies_correlate_as_by_brute_force(bank, polar):
    correlation, norm = correlations(bank, polar)
    assert correlation.shape == (N_SHIFTS, 6, len(bank.matrices))
    pattern = torch.fft.irfft(polar.spectrum, n=180, dim=-1)
    templates = drawn_templates(bank, torch.arange(len(bank.matrices)))

    def low(images: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(images, dim=-1)
        spectrum[..., 21:] = 0
        return torch.fft.irfft(spectrum, n=180, dim=-1)

    pattern, templates = low(pattern), low(templates)
    lengths = pattern.flatten(1).norm(dim=1)[:, None] * templates.flatten(1).norm(dim=1)
    for shift in (0, 12, 36):  # that fall on whole angles of the grid
        turned = templates.roll(shift * 180 // N_SHIFTS, dims=-1)
        expected = torch.einsum("bra,nra->bn", pattern, turned) / lengths
        torch.testing.assert_close(correlation[shift] / norm, expected, atol=2e-5, rtol=0)


def test_spots_score_as_whole_templates_do(bank, polar):
    """The best candidates of each pattern, against the sum over all pixels of the polar images."""
    heights = landscape(polar.spectrum, GRID)
    template, angle = best_candidates(*correlations(bank, polar), 64)
    power = polar.power[:, None] * (polar.inside @ bank.ring_power.T)
    matrices, score = candidate_scores(bank, template, angle, heights, power.sqrt(), GRID)
    pattern = torch.fft.irfft(polar.spectrum, n=180, dim=-1)
    fine = torch.arange(1440) * (2 * math.pi / 1440)
    for b in range(len(template)):
        images = drawn_templates(bank, template[b, :8])
        products = torch.fft.rfft(pattern[b]) * torch.fft.rfft(images).conj()
        curve = torch.fft.irfft(products.sum(dim=1), n=1440) * (1440 / 180)
        q = curve / (images.flatten(1).norm(dim=1) * pattern[b].norm())[:, None]
        apart = torch.remainder(fine - angle[b, :8, None] + math.pi, 2 * math.pi) - math.pi
        near = q.masked_fill(apart.abs() > math.radians(4), -1)
        np.testing.assert_allclose(score[b, :8], near.amax(dim=1), rtol=0.03, atol=0.004)
    assert matrices.shape == (*score.shape, 3, 3)


def test_heights_are_zero_beyond_the_rings_and_periodic(polar):
    heights = landscape(polar.spectrum, GRID)
    radius = torch.tensor([[0.05, 1.8, 0.8, 0.8]]).expand(6, -1)
    angle = torch.tensor([[0.3, 0.3, 0.3, 0.3 - 4 * math.pi]]).expand(6, -1)
    found = heights_at(heights, radius, angle, GRID)
    assert (found[:, :2] == 0).all()
    torch.testing.assert_close(found[:, 2], found[:, 3], atol=1e-3, rtol=1e-4)
    assert found[:, 2].abs().max() > 0


def test_power_of_a_spot_falls_to_half_on_the_last_ring():
    reach = torch.tensor([1.0])
    radius = reach + GRID.step_inv_angstrom / 2
    for distance, share in ((0.0, 0.5), (-0.2, 1.0), (0.2, 0.0)):
        place = (radius + distance)[:, None]
        power = spots_power(torch.ones(1, 1), place, reach, GRID)
        assert float(power / place[0]) == pytest.approx(share, abs=1e-4)


def test_dynamical_templates_differ_from_kinematic_ones_of_the_same_directions(nickelate, bank):
    dynamical = template_bank(nickelate, OPTICS, GRID, step_deg=6.0, thicknesses_nm=(20, 50))
    np.testing.assert_allclose(dynamical.matrices, bank.matrices)
    first = dynamical.weight / dynamical.weight[:, :1]
    assert float((first[:, 1:6] - bank.weight[:, 1:6] / bank.weight[:, :1]).abs().mean()) > 0.05


def test_vertex_of_a_parabola():
    x = torch.tensor([-1.0, 0.0, 1.0])
    offset, height = vertex(*(3 - 2 * (x - 0.3) ** 2))
    assert (float(offset), float(height)) == pytest.approx((0.3, 3.0), abs=1e-6)
    offset, height = vertex(*torch.tensor([1.0, 2.0, 4.0]))  # bent upwards: the higher end
    assert (float(offset), float(height)) == (1.0, 4.0)
