"""Dynamical diffraction: the incident wave propagated through the crystal's structure matrix.

The beams' amplitudes obey psi(t) = exp(2 pi i t M) psi(0) with the structure matrix

    M_gh = U_{g-h} / (2 k_n)  (g != h),    M_gg = (2 k_0 s_g + i U'_0) / (2 k_n).

All incident tilts of one direction share the off-diagonal part; the exponential is applied, never
formed, as a Chebyshev series whose vectors serve every thickness at once.

Sources: M. De Graef, Introduction to Conventional TEM (2003), eqs. 5.51-5.60; H. Tal-Ezer,
R. Kosloff, J. Chem. Phys. 81, 3967 (1984) for the propagation.
"""

from collections.abc import Iterator

import numpy as np
import torch

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks, disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import StructureFactors, structure_factors
from zoneaxis.errors import SettingsError

PRECESSION_AZIMUTHS = 16
BATCH = 16  # directions propagated together: enough to hide call overhead, small enough for cache


def bloch_disks(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    *,
    rings: int = 2,
    max_excitation_error_inv_angstrom: float = 0.05,
    absorption: bool = True,
    factors: StructureFactors | None = None,
) -> Disks:
    """Simulate the disks of a batch of beam directions dynamically.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2).
        thicknesses_nm: thicknesses, shape (z,); all from one propagation.
        rings: tilts per disk, 1 + 3 r (r + 1); 0 takes the central tilt alone.
        max_excitation_error_inv_angstrom: beams farther from the Ewald sphere are left out.
        absorption: include core and phonon absorption.
        factors: what `structure_factors` returned for this crystal, to save the time.

    Raises:
        SettingsError: a thickness that is not positive, or directions of another shape.
    """
    directions_deg, thicknesses_nm = check_inputs(directions_deg, thicknesses_nm)
    factors = factors or structure_factors(
        crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom, absorption
    )
    tilts = disk_tilts(rings)
    wave_vectors = incident_wave_vectors(optics, tilts.numpy())
    beams = [
        select_beams(factors, optics, direction, max_excitation_error_inv_angstrom)
        for direction in directions_deg
    ]
    width = max(len(hkl) for hkl, _ in beams)
    n_tilts = len(tilts)
    intensity = torch.zeros(len(beams), len(thicknesses_nm), width, n_tilts)
    for rows in _similar_sizes([len(hkl) for hkl, _ in beams]):
        matrix, diagonal = _structure_matrices([beams[i] for i in rows], factors, wave_vectors)
        psi = propagate(matrix, diagonal, torch.as_tensor(thicknesses_nm) * 10)
        flux = psi.abs().square().unflatten(-1, (-1, n_tilts)).mean(dim=-2)
        intensity[rows, :, : flux.shape[2]] = flux
    hkl = torch.zeros(len(beams), width, 3, dtype=torch.int16)
    q = torch.zeros(len(beams), width, 2)
    for i, (indices, g) in enumerate(beams):
        hkl[i, : len(indices)] = torch.as_tensor(indices, dtype=torch.int16)
        q[i, : len(indices)] = torch.as_tensor(g[:, :2], dtype=torch.float32)
    return Disks(hkl, q, intensity, tilts, optics.disk_radius_inv_angstrom)


def check_inputs(
    directions_deg: np.ndarray, thicknesses_nm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float arrays of shape (b, 2) and (z,).

    Raises:
        SettingsError: another shape, no direction, an angle that is not finite, or a thickness
            that is not positive.
    """
    directions = np.asarray(directions_deg, dtype=float)
    thicknesses = np.atleast_1d(np.asarray(thicknesses_nm, dtype=float))
    if directions.ndim != 2 or directions.shape[1] != 2 or not len(directions):
        raise SettingsError(
            f"Directions of shape {directions.shape}: expected (n, 2), (Phi, phi2)."
        )
    if not np.isfinite(directions).all():
        raise SettingsError("Directions: an angle is NaN or infinite.")
    if thicknesses.ndim != 1 or not thicknesses.size:
        raise SettingsError(f"Thicknesses of shape {thicknesses.shape}: expected (n,).")
    if not np.isfinite(thicknesses).all() or thicknesses.min() <= 0:
        raise SettingsError(f"Thicknesses {thicknesses.tolist()} nm: expected positive numbers.")
    return directions, thicknesses


def incident_wave_vectors(
    optics: Optics, tilts: np.ndarray, azimuths: int = PRECESSION_AZIMUTHS
) -> np.ndarray:
    """Return the incident wave vectors in the pattern frame, 1/Angstrom.

    Args:
        optics: convergence and precession.
        tilts: within the cone, in units of the semi-angle, shape (t, 2).
        azimuths: positions on the precession cone; 1 when there is no precession.

    Returns:
        Shape (a, t, 3), of length 1 / wavelength.
    """
    k0 = 1 / optics.wavelength_angstrom
    turn = np.arange(azimuths if optics.precession_deg else 1) * (2 * np.pi / azimuths)
    cone = (
        k0 * np.sin(np.deg2rad(optics.precession_deg)) * np.stack([np.cos(turn), np.sin(turn)], 1)
    )
    in_plane = cone[:, None] + optics.disk_radius_inv_angstrom * tilts[None]
    k_z = np.sqrt(k0**2 - (in_plane**2).sum(axis=-1, keepdims=True))
    return np.concatenate([in_plane, k_z], axis=-1)


def excitation_errors(g: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return how far beyond reflections the Ewald sphere lies along the beam, 1/Angstrom.

    Args:
        g: reflections in the pattern frame, shape (..., 3).
        k: incident wave vectors, shape (t, 3).

    Returns:
        s, negative outside the sphere, shape (..., t).
    """
    toward = -(2 * g @ k.T + (g**2).sum(axis=-1, keepdims=True))
    return toward / (2 * (k[:, 2] + g[..., 2:]))


def select_beams(
    factors: StructureFactors,
    optics: Optics,
    direction_deg: np.ndarray,
    max_excitation_error_inv_angstrom: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Miller indices (n, 3), the direct beam first, and g in the pattern frame (n, 3)."""
    matrix = matrices_from_euler(np.array([0.0, *direction_deg]))
    g = factors.g_inv_angstrom @ matrix
    along = np.array([[0, 0, 1 / optics.wavelength_angstrom]])
    length2 = (g**2).sum(axis=1)
    # A tilted beam sees every point closer by up to its tilt times |g|.
    tilt = np.deg2rad(optics.precession_deg) + 1e-3 * optics.convergence_mrad
    reach = max_excitation_error_inv_angstrom + tilt * np.sqrt(length2)
    near = np.abs(excitation_errors(g, along)[:, 0]) <= reach
    chosen = np.flatnonzero(near & (length2 <= optics.k_max_inv_angstrom**2))
    chosen = chosen[np.argsort(length2[chosen], kind="stable")]
    return factors.hkl[chosen], g[chosen]


def _structure_matrices(
    beams: list[tuple[np.ndarray, np.ndarray]], factors: StructureFactors, k: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return off-diagonal matrices (b, n, n) and diagonals (b, n, a t), complex128, padded by 0."""
    k = k.reshape(-1, 3)
    width = max(len(hkl) for hkl, _ in beams)
    matrix = np.zeros((len(beams), width, width), dtype=np.complex128)
    diagonal = np.zeros((len(beams), width, len(k)), dtype=np.complex128)
    k0, k_n = np.linalg.norm(k[0]), k[:, 2]
    mean_k_n = k_n.mean()
    absorbed = 1j * factors.lookup(np.zeros(3, dtype=int)).imag
    for i, (hkl, g) in enumerate(beams):
        n = len(hkl)
        u = factors.lookup(hkl[:, None] - hkl[None])
        np.fill_diagonal(u, 0)
        matrix[i, :n, :n] = u / (2 * mean_k_n)
        diagonal[i, :n] = (2 * k0 * excitation_errors(g, k) + absorbed) / (2 * k_n)
    return torch.from_numpy(matrix), torch.from_numpy(diagonal)


def propagate(
    matrix: torch.Tensor, diagonal: torch.Tensor, thicknesses_angstrom: torch.Tensor
) -> torch.Tensor:
    """Return exp(2 pi i t (matrix + diag)) applied to the direct beam, for every tilt.

    Args:
        matrix: off-diagonal part in 1/Angstrom, complex, shape (b, n, n).
        diagonal: per incident tilt, complex, shape (b, n, t).
        thicknesses_angstrom: shape (z,).

    Returns:
        Amplitudes, complex64, shape (b, z, n, t); beam 0 is the incident one.
    """
    radius = matrix.abs().sum(dim=-1).max()
    low, high = diagonal.real.min() - radius, diagonal.real.max() + radius
    # A direct beam alone has no spectrum's width to divide by.
    middle, half = (high + low) / 2, ((high - low) / 2).clamp(min=1e-3)
    coefficients = _chebyshev_coefficients(thicknesses_angstrom, middle, half)
    step = (matrix / half).to(torch.complex64)
    scale = ((diagonal - middle) / half).to(torch.complex64)
    previous = torch.zeros_like(scale)
    previous[:, 0] = 1
    current = step @ previous + scale * previous
    total = torch.zeros(len(scale), len(thicknesses_angstrom), *scale.shape[1:], dtype=scale.dtype)
    step, scale = 2 * step, 2 * scale
    vectors = [previous, current]
    for start in range(0, coefficients.shape[1], 16):
        terms = coefficients[:, start : start + 16]
        while len(vectors) < terms.shape[1]:
            following = torch.baddbmm(previous, step, current, beta=-1).addcmul_(scale, current)
            vectors.append(following)
            previous, current = current, following
        series = torch.stack(vectors[: terms.shape[1]])
        total += torch.einsum("zk,kbnt->bznt", terms, series)
        vectors = vectors[terms.shape[1] :]
    return total


def _chebyshev_coefficients(
    thicknesses_angstrom: torch.Tensor, middle: torch.Tensor, half: torch.Tensor
) -> torch.Tensor:
    """Return the series' coefficients (2 - delta_k0) i^k J_k(2 pi half t), shape (z, terms)."""
    from scipy.special import jv

    phase = 2 * np.pi * thicknesses_angstrom.numpy().astype(float)
    argument = phase * float(half)
    terms = int(argument.max() + 12 * argument.max() ** (1 / 3) + 16)
    order = np.arange(terms)
    weights = (2 - (order == 0)) * 1j**order * jv(order, argument[:, None])
    return torch.from_numpy(weights * np.exp(1j * phase * float(middle))[:, None]).to(
        torch.complex64
    )


def _similar_sizes(sizes: list[int]) -> Iterator[list[int]]:
    """Yield indices in batches of similar matrix size, so that padding costs little."""
    order = np.argsort(sizes, kind="stable")
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH].tolist()
