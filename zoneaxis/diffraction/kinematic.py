"""Kinematic diffraction: every reflection on its own, in the first Born approximation.

With the excitation error s and the thickness t a reflection has the intensity

    I_g = (pi t |U_g| / k_0)^2 sinc^2(s_g t),    sinc(x) = sin(pi x) / (pi x),

the thin limit of the Bloch waves of `bloch.py`. Template matching asks less of a template: where
spots are and roughly how strong, whatever the thickness. `enveloped_disks` therefore replaces the
thickness fringes by a smooth envelope, exp(-s_g^2 / (2 sigma^2)).

Sources: M. De Graef, Introduction to Conventional TEM (2003), section 2.6.5; C. Ophus et al.,
Microsc. Microanal. 28, 390 (2022) for the envelope.
"""

from collections.abc import Callable

import numpy as np
import torch

from zoneaxis.diffraction.bloch import check_inputs, excitation_errors, incident_wave_vectors
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks, disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import StructureFactors, structure_factors

ENVELOPE_SIGMA_INV_ANGSTROM = 0.02
BATCH_VALUES = 4_000_000  # excitation errors held at once; bounds the memory

# (U (b, n), excitation errors (b, n, azimuths, t)) -> intensities (b, z, n, t)
_Intensity = Callable[[np.ndarray, np.ndarray], np.ndarray]


def kinematic_disks(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    *,
    rings: int = 0,
    max_excitation_error_inv_angstrom: float = 0.05,
    factors: StructureFactors | None = None,
) -> Disks:
    """Simulate the disks of a batch of beam directions kinematically.

    The direct beam keeps intensity 1: the approximation takes nothing from it, so the total
    grows with the thickness and means something for thin crystals only.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2).
        thicknesses_nm: thicknesses, shape (z,).
        rings: tilts per disk, 1 + 3 r (r + 1); 0 takes the central tilt alone.
        max_excitation_error_inv_angstrom: beams farther from the Ewald sphere are left out.
        factors: what `structure_factors` returned for this crystal, to save the time.

    Raises:
        SettingsError: a thickness that is not positive, or directions of another shape.
    """
    directions_deg, thicknesses_nm = check_inputs(directions_deg, thicknesses_nm)
    thickness = thicknesses_nm[:, None, None, None] * 10  # (z, 1, 1, 1)

    def intensity(u: np.ndarray, error: np.ndarray) -> np.ndarray:
        strength = np.pi * optics.wavelength_angstrom * thickness * u[:, None, :, None, None]
        values = (strength * np.sinc(error[:, None] * thickness)) ** 2
        values[:, :, 0] = 1
        return values.mean(axis=-2)

    factors = factors or _factors(crystal, optics)
    reach = max_excitation_error_inv_angstrom
    return _disks(factors, optics, directions_deg, rings, reach, intensity, len(thicknesses_nm))


def enveloped_disks(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    *,
    sigma_inv_angstrom: float = ENVELOPE_SIGMA_INV_ANGSTROM,
    factors: StructureFactors | None = None,
) -> Disks:
    """Return |U_g|^2 exp(-s_g^2 / (2 sigma^2)) of each beam, what a template is made of.

    Args:
        crystal: the specimen.
        optics: with precession, the envelope is averaged over the cone.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2).
        sigma_inv_angstrom: width of the envelope; beams beyond three of it are left out.
        factors: what `structure_factors` returned for this crystal, to save the time.

    Returns:
        Disks of one thickness and one tilt; intensities in 1/Angstrom^4, the direct beam's 0.

    Raises:
        SettingsError: directions of another shape.
    """
    directions_deg, _ = check_inputs(directions_deg, np.ones(1))

    def intensity(u: np.ndarray, error: np.ndarray) -> np.ndarray:
        envelope = np.exp(-0.5 * (error / sigma_inv_angstrom) ** 2).mean(axis=-2)
        values = u[..., None] ** 2 * envelope
        values[:, 0] = 0
        return values[:, None]

    factors = factors or _factors(crystal, optics)
    return _disks(factors, optics, directions_deg, 0, 3 * sigma_inv_angstrom, intensity, 1)


def _factors(crystal: Crystal, optics: Optics) -> StructureFactors:
    k_max = optics.k_max_inv_angstrom
    return structure_factors(crystal, optics.voltage_kv, k_max, absorption=False)


def _disks(
    factors: StructureFactors,
    optics: Optics,
    directions_deg: np.ndarray,
    rings: int,
    max_error: float,
    intensity: _Intensity,
    n_thicknesses: int,
) -> Disks:
    tilts = disk_tilts(rings)
    k = incident_wave_vectors(optics, tilts.numpy())
    length2 = (factors.g_inv_angstrom**2).sum(axis=1)
    order = np.argsort(length2, kind="stable")
    order = order[length2[order] <= optics.k_max_inv_angstrom**2 + 1e-9]
    batch = max(1, BATCH_VALUES // (len(order) * k.shape[0] * k.shape[1] * n_thicknesses))
    hkl, q, values = [], [], []
    for start in range(0, len(directions_deg), batch):
        angles = np.pad(directions_deg[start : start + batch], ((0, 0), (1, 0)))
        g = factors.g_inv_angstrom[order] @ matrices_from_euler(angles)
        error = excitation_errors(g, k.reshape(-1, 3)).reshape(*g.shape[:2], *k.shape[:2])
        near = np.abs(error).min(axis=(2, 3)) <= max_error
        # The nearest to the direct beam first, and behind them what only fills the array.
        chosen = np.argsort(~near, axis=1, kind="stable")[:, : near.sum(axis=1).max()]
        kept = np.take_along_axis(near, chosen, axis=1)[..., None]
        error = np.take_along_axis(error, chosen[..., None, None], axis=1)
        u = np.abs(factors.u_inv_angstrom2[order][chosen])
        values.append(intensity(u, error) * kept[:, None])
        hkl.append(factors.hkl[order][chosen] * kept)
        q.append(np.take_along_axis(g[..., :2], chosen[..., None], axis=1) * kept)
    return Disks(
        torch.from_numpy(_joined(hkl, 1, np.int16)),
        torch.from_numpy(_joined(q, 1, np.float32)),
        torch.from_numpy(_joined(values, 2, np.float32)),
        tilts,
        optics.disk_radius_inv_angstrom,
    )


def _joined(parts: list[np.ndarray], axis: int, dtype: type) -> np.ndarray:
    """Concatenate batches that differ in length along `axis`, padded there with zeros."""
    width = max(part.shape[axis] for part in parts)
    padded = []
    for part in parts:
        pad = [(0, 0)] * part.ndim
        pad[axis] = (0, width - part.shape[axis])
        padded.append(np.pad(part, pad))
    return np.concatenate(padded).astype(dtype)
