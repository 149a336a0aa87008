"""The numerics alone; `test_bloch.py` has the physics."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.special import jv

from zoneaxis.diffraction import propagation
from zoneaxis.diffraction.propagation import propagate

LENGTHS = torch.tensor([300.0, 20.0, 1000.0, 450.0], dtype=torch.float64)


def matrices(kind, seed=0, b=3, n=12, waves=5):
    """Off-diagonal matrices and diagonals as those of a crystal, in 1/Angstrom."""
    rng = np.random.default_rng(seed)
    matrix = 2e-3 * (rng.normal(size=(b, n, n)) + 1j * rng.normal(size=(b, n, n)))
    matrix = matrix + np.conj(matrix.swapaxes(1, 2))  # without a center of inversion
    diagonal = rng.uniform(-0.05, 0.05, (b, n, waves)).astype(complex)
    if kind == "real":
        matrix = matrix.real.astype(complex)
    if kind == "absorbing":
        loss = rng.normal(size=(b, n, n)) / 50
        loss = loss @ loss.swapaxes(1, 2)
        matrix += 1j * loss
        diagonal += 1j * loss.diagonal(axis1=1, axis2=2).mean(axis=1)[:, None, None]
    matrix[:, range(n), range(n)] = 0
    return torch.from_numpy(matrix), torch.from_numpy(diagonal)


def exact(matrix, diagonal, lengths, obliquity=1.0):
    b, n, waves = diagonal.shape
    obliquity = np.broadcast_to(obliquity, (b, 1, waves))
    psi = np.zeros((b, len(lengths), n, waves), dtype=complex)
    for i, z, w in np.ndindex(b, len(lengths), waves):
        whole = matrix[i].numpy() * obliquity[i, 0, w] + np.diag(diagonal[i, :, w].numpy())
        psi[i, z, :, w] = expm(2j * np.pi * float(lengths[z]) * whole)[:, 0]
    return psi


@pytest.mark.parametrize("kind", ["real", "hermitian", "absorbing"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-11)])
def test_is_the_matrix_exponential(kind, dtype, tolerance):
    matrix, diagonal = matrices(kind)
    found = propagate(matrix, diagonal, None, LENGTHS, dtype)
    assert found.dtype == (torch.complex64 if dtype == torch.float32 else torch.complex128)
    np.testing.assert_allclose(found, exact(matrix, diagonal, LENGTHS), atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", ["real", "absorbing"])
def test_the_matrix_may_differ_by_a_factor_from_wave_to_wave(kind):
    matrix, diagonal = matrices(kind)
    obliquity = torch.linspace(0.9, 1.2, 5, dtype=torch.float64)[None, None].expand(3, -1, -1)
    found = propagate(matrix, diagonal, obliquity, LENGTHS, torch.float64)
    expected = exact(matrix, diagonal, LENGTHS, obliquity.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-11, rtol=0)


def test_inputs_are_left_alone():
    matrix, diagonal = matrices("absorbing")
    copies = matrix.clone(), diagonal.clone()
    propagate(matrix, diagonal, None, LENGTHS)
    assert torch.equal(matrix, copies[0])
    assert torch.equal(diagonal, copies[1])


def test_uncoupled_beams_stay_dark():
    diagonal = torch.linspace(-0.02, 0.02, 4, dtype=torch.complex128)[None, :, None]
    flux = propagate(torch.zeros(1, 4, 4).cdouble(), diagonal, None, LENGTHS).abs().square()
    expected = torch.zeros_like(flux)
    expected[:, :, 0] = 1
    torch.testing.assert_close(flux, expected, atol=1e-6, rtol=0)


def test_the_interval_holds_the_spectrum_closely():
    matrix, diagonal = matrices("hermitian", n=40)
    largest = torch.linalg.eigvalsh(matrix + torch.diag_embed(diagonal[..., 0])).max()
    bound = propagation._upper_bound(matrix.abs(), diagonal.real[..., :1])
    assert largest < bound < 3 * largest


def test_coefficients_are_bessel_functions_without_the_tail():
    found = propagation._chebyshev_coefficients(LENGTHS, 0.05, torch.float64)
    order = np.arange(found.shape[1])
    expected = jv(order, 2 * np.pi * 0.05 * LENGTHS.numpy()[:, None])
    expected *= (2.0 - (order == 0)) * (-1.0) ** (order // 2)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    longest = 2 * np.pi * 0.05 * 1000
    assert abs(jv(found.shape[1], longest)) < 1e-15
    assert found.shape[1] < 1.4 * longest
