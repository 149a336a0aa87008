"""The exponential of structure matrices, applied to the incident wave.

The vectors of one Chebyshev series serve every thickness at once. Where the matrix is real (an
inversion center at the origin, no absorption) so are they, at a quarter of the cost.

Source: H. Tal-Ezer, R. Kosloff, J. Chem. Phys. 81, 3967 (1984).
"""

from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import pad

TERMS = 32  # of the series summed at once
# Absorption lifts the spectrum off the real axis, where the series' terms grow exponentially: it is
# begun anew after amplitudes have fallen by e^2, and its interval widened until they grow by e^4.
ABSORBED_AT_ONCE = 2.0


def propagate(
    matrix: torch.Tensor,
    diagonal: torch.Tensor,
    obliquity: torch.Tensor | None,
    thicknesses_angstrom: torch.Tensor,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return exp(2 pi i t (matrix + diag)) applied to the direct beam, for every incident wave.

    Args:
        matrix: off-diagonal part in 1/Angstrom, complex, shape (b, n, n).
        diagonal: per incident wave, complex, shape (b, n, w).
        obliquity: what to multiply the matrix by for each wave, shape (b, 1, w); None is 1.
        thicknesses_angstrom: shape (z,).
        dtype: precision, torch.float32 or torch.float64.

    Returns:
        Amplitudes, complex, shape (b, z, n, w); beam 0 is the incident one.
    """
    waves = diagonal.shape[-1]
    # Matrix products are fastest in multiples of the processor's vectors.
    diagonal = pad(diagonal, (0, -waves % 8))
    if obliquity is not None:
        obliquity = pad(obliquity, (0, -waves % 8)).to(dtype)
    longest = float(thicknesses_angstrom.max())
    middle, half, steps = _interval(matrix, diagonal, obliquity, longest)
    step, scale = matrix / half, (diagonal - middle) / half
    if not (step.imag.any() or scale.imag.any()):
        step, scale = step.real, scale.real
    if dtype == torch.float32:
        step, scale = (x.to(torch.complex64 if x.is_complex() else dtype) for x in (step, scale))
    wave = torch.zeros_like(scale)
    wave[:, 0] = 1
    parts, places = [], []
    for start, stop in pairwise(np.linspace(0, longest, steps + 1)):
        inside = (start < thicknesses_angstrom) & (thicknesses_angstrom <= stop)
        places.append(inside.nonzero()[:, 0])
        lengths = torch.cat([thicknesses_angstrom[inside], torch.tensor([stop])]) - start
        coefficients = _chebyshev_coefficients(lengths, float(half), dtype)
        psi = _chebyshev_series(step, scale, obliquity, wave, coefficients.to(scale.device, dtype))
        factor = torch.exp(2j * torch.pi * lengths.to(wave.device)[:, None, None, None] * middle)
        psi *= factor.to(psi)
        parts.append(psi[:-1, ..., :waves])
        wave = psi[-1]
    order = torch.cat(places).argsort().to(wave.device)
    return torch.cat(parts)[order].transpose(0, 1)


def _interval(
    matrix: torch.Tensor, diagonal: torch.Tensor, obliquity: torch.Tensor | None, longest: float
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return the spectrum's middle (b, 1, w), its half width, and how often to begin anew."""
    coupling = matrix.abs() * (1 if obliquity is None else obliquity.max())
    high = _upper_bound(coupling, diagonal.real.amax(dim=-1, keepdim=True))
    low = -_upper_bound(coupling, -diagonal.real.amin(dim=-1, keepdim=True))
    # A direct beam alone has no spectrum's width to divide by.
    half = ((high - low) / 2).clamp(min=1e-3)
    anomalous = (matrix - matrix.mH).abs() / 2
    absorbed = 2 * np.pi * longest * float(_upper_bound(anomalous, 0 * diagonal.real[..., :1]))
    steps = max(1, int(np.ceil(absorbed / ABSORBED_AT_ONCE)))
    # The mean absorption is all beams' own, and leaves the series with the middle.
    middle = (high + low) / 2 + 1j * diagonal.imag[:, :1]
    return middle, half * (1 + (absorbed / steps) ** 2 / 32), steps


def _upper_bound(coupling: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
    """Bound the eigenvalues by max_i (A w)_i / w_i, true of any w > 0 (Collatz, Wielandt).

    Args:
        coupling: magnitudes off the diagonal, shape (b, n, n).
        diagonal: shape (b, n, 1).
    """
    least = diagonal.min()
    above, weight = diagonal - least, torch.ones_like(diagonal)
    for _ in range(8):
        product = above * weight + coupling @ weight
        bound = (product / weight).max()
        weight = (product / product.amax().clamp(min=1e-30)).clamp(min=1e-6)
    return least + bound


def _chebyshev_coefficients(
    thicknesses_angstrom: torch.Tensor, half: float, dtype: torch.dtype
) -> torch.Tensor:
    """Return (2 - delta_k0) (-1)^(k // 2) J_k(2 pi half t), float64, shape (z, terms)."""
    argument = 2 * np.pi * half * thicknesses_angstrom.numpy().astype(float)
    n = int(argument.max() + 12 * argument.max() ** (1 / 3) + 16)
    # Fourier coefficients of exp(i x sin(phi)), which beyond n are no more than rounding.
    phi = np.pi / n * np.arange(2 * n)
    bessel = np.fft.fft(np.exp(1j * np.outer(argument, np.sin(phi)))).real[:, :n] / (2 * n)
    order = np.arange(n)
    weights = (2.0 - (order == 0)) * (-1.0) ** (order // 2) * bessel
    felt = np.abs(weights).max(axis=0) > 0.1 * torch.finfo(dtype).eps
    return torch.from_numpy(weights[:, : max(2, np.flatnonzero(felt)[-1] + 1)])


def _chebyshev_series(
    step: torch.Tensor,
    scale: torch.Tensor,
    obliquity: torch.Tensor | None,
    wave: torch.Tensor,
    coefficients: torch.Tensor,
) -> torch.Tensor:
    """Return sum_k i^(k % 2) c_k T_k(A) wave, complex, shape (z, b, n, w).

    Args:
        step: off-diagonal part of A, scaled to a spectrum within -1..1, shape (b, n, n).
        scale: diagonals of A, shape (b, n, w); real if `step` is.
        obliquity: factor of the off-diagonal part, real, shape (b, 1, w); None is 1.
        wave: amplitudes to begin with, as `scale`.
        coefficients: c_k, real, shape (z, terms).
    """
    recent = scale.new_zeros(TERMS, *scale.shape)  # a ring: T_k stands at k modulo its length
    recent[0] = wave
    recent[1] = step @ (wave if obliquity is None else wave * obliquity) + scale * wave
    step, scale = 2 * step, 2 * scale
    flat = (torch.view_as_real(recent) if recent.is_complex() else recent).flatten(1)
    even, odd = flat.new_zeros(2, len(coefficients), flat.shape[1])
    last = coefficients.shape[1] - 1
    for k in range(1, last + 1):
        j = k % TERMS
        if k > 1:
            wave = recent[j - 1] if obliquity is None else recent[j - 1] * obliquity
            torch.baddbmm(recent[j - 2], step, wave, beta=-1, out=recent[j])
            recent[j].addcmul_(scale, recent[j - 1])
        if j == TERMS - 1 or k == last:
            even.addmm_(coefficients[:, k - j : k + 1 : 2], flat[: j + 1 : 2])
            odd.addmm_(coefficients[:, k - j + 1 : k + 1 : 2], flat[1 : j + 1 : 2])
    shape = (len(coefficients), *scale.shape)
    if recent.is_complex():
        even, odd = (torch.view_as_complex(x.view(*shape, 2)) for x in (even, odd))
        psi = even + 1j * odd
    else:
        psi = torch.complex(even, odd).view(shape)
    return psi
