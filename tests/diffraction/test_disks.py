from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.disks import (
    Disks,
    check_tilts,
    disk_tilts,
    fit_degree,
    fit_matrix,
    monomials,
    sufficient_tilts,
)
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import SettingsError

AXIS = torch.linspace(-0.9, 0.9, 7)
SQUARE = torch.cartesian_prod(AXIS, AXIS)
SQUARE = SQUARE[SQUARE.norm(dim=1) < 1.1] / 1.1  # 45: the corners lie outside


@pytest.mark.parametrize(("rings", "count"), [(0, 1), (1, 7), (2, 19), (3, 37)])
def test_tilts_fill_the_unit_disk_evenly(rings, count):
    tilts = disk_tilts(rings).double()
    assert tilts.shape == (count, 2)
    radius = tilts.norm(dim=1)
    assert radius[0] == 0
    assert radius.max() < 1
    np.testing.assert_allclose(tilts.mean(dim=0), 0, atol=1e-7)
    if rings:
        # Mean r^2 of a uniform disk is 1/2; the central tilt stands for a share of 1 / count.
        assert float((radius**2).mean()) == pytest.approx(0.5, abs=0.5 / count**2 + 1e-6)
        covariance = tilts.T @ tilts / count
        assert float(covariance[0, 0] - covariance[1, 1]) == pytest.approx(0, abs=1e-6)
        assert float(covariance[0, 1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("rings", "degree"), [(0, 0), (1, 2), (2, 4), (3, 6)])
def test_fit_recovers_every_polynomial_of_its_degree(rings, degree):
    tilts = disk_tilts(rings)
    assert fit_degree(tilts) == degree
    terms = monomials(tilts.double(), degree)
    assert terms.shape == (len(tilts), (degree + 1) * (degree + 2) // 2)
    coefficients = torch.randn(terms.shape[1], generator=torch.Generator().manual_seed(0))
    found = fit_matrix(tilts) @ (terms.float() @ coefficients)
    torch.testing.assert_close(found, coefficients, atol=2e-4, rtol=1e-3)


def test_degree_of_any_tilts():
    assert [fit_degree(disk_tilts(rings)) for rings in range(6)] == [0, 2, 4, 6, 6, 6]
    generator = torch.Generator().manual_seed(0)
    angle, radius = torch.rand(2, 45, generator=generator) * torch.tensor([[2 * np.pi], [1.0]])
    scattered = radius.sqrt()[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    line, circle = torch.stack([AXIS, 0 * AXIS], 1), disk_tilts(3)[-18:]
    assert len(SQUARE) == 45
    assert fit_degree(SQUARE) == fit_degree(scattered) == 6
    assert fit_degree(scattered[:8]) <= 2
    assert fit_degree(line) == fit_degree(SQUARE[:1].expand(20, -1)) == 0
    assert fit_degree(circle) == 1  # x^2 + y^2 is constant there
    assert fit_degree(0.1 * SQUARE) < 4  # says little about the outline


def test_tilts_of_a_user_are_checked():
    assert check_tilts(SQUARE.double().numpy()).dtype == torch.float32
    for wrong in (torch.zeros(3), torch.zeros(4, 3), torch.zeros(0, 2)):
        with pytest.raises(SettingsError, match="expected"):
            check_tilts(wrong)
    for wrong in (1.01, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="unit"):
            check_tilts(torch.tensor([[0.0, 0.1], [0.0, wrong]]))
    check_tilts(torch.tensor([[0.6, 0.8]]))


def test_disks_move_to_a_device():
    disks = Disks(
        torch.zeros(1, 2, 3, dtype=torch.int16), torch.ones(1, 2, 2), torch.ones(1, 1, 2, 7),
        disk_tilts(1), 0.1,
    )  # fmt: skip
    moved = disks.to("meta")
    for name, value in vars(disks).items():
        if isinstance(value, torch.Tensor):
            assert getattr(moved, name).device.type == "meta"
    assert moved.radius_inv_angstrom == 0.1
    assert torch.equal(disks.to("cpu").q_inv_angstrom, disks.q_inv_angstrom)


def test_fit_does_not_amplify_noise():
    for rings in (1, 2, 3):
        tilts = disk_tilts(rings)
        smooth = monomials(tilts, fit_degree(tilts)) @ fit_matrix(tilts)
        assert torch.linalg.matrix_norm(smooth, 2) < 1.001  # a projection


def test_mean_intensity_averages_over_the_disk():
    tilts = disk_tilts(2)
    slope = 0.3 + 0.1 * tilts[:, 0] - 0.2 * tilts[:, 1]
    bowl = (tilts**2).sum(dim=1)
    intensity = torch.stack([slope, bowl])[None, None]
    disks = Disks(
        torch.zeros(1, 2, 3, dtype=torch.int16), torch.zeros(1, 2, 2), intensity, tilts, 0.1
    )
    assert disks.mean_intensity.shape == (1, 1, 2)
    assert disks.mean_intensity[0, 0].tolist() == pytest.approx([0.3, 0.5], abs=2e-3)


def test_thicker_crystals_and_wider_cones_get_more_tilts():
    optics = Optics(convergence_mrad=1.5, k_max_inv_angstrom=1.5)
    counts = [len(sufficient_tilts(optics, t)) for t in (5.0, 50.0, 60.0, 100.0, 500.0)]
    assert counts == [19, 19, 37, 61, 61]
    assert len(sufficient_tilts(replace(optics, convergence_mrad=3.0), 50.0)) == 61


def test_sufficient_tilts_follow_the_disks(nickelate):
    fine = disk_tilts(7)
    directions = np.array([[12.0, 33.0], [47.5, 101.0], [63.0, 15.0], [81.0, 70.0]])
    for thickness, tolerance in ((20.0, 1e-3), (50.0, 0.02), (75.0, 0.04), (100.0, 0.12)):
        exact = bloch_disks(nickelate, Optics(), directions, [thickness], tilts=fine).intensity
        coarse = bloch_disks(nickelate, Optics(), directions, [thickness])
        terms = monomials(fine, fit_degree(coarse.tilts))
        fitted = coarse.intensity @ fit_matrix(coarse.tilts).T @ terms.T
        error = (fitted - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert error < tolerance
