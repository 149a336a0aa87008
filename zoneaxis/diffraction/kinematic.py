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

from zoneaxis.diffraction.beams import (
    DEFAULT_SELECTION,
    PRECESSION_AZIMUTHS,
    Beams,
    BeamSelection,
    disk_places,
    excitation_errors,
    foil_normals,
    incident_wave_vectors,
    normal_components,
    select_beams,
)
from zoneaxis.diffraction.bloch import check_illumination, check_inputs, check_memory
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks, check_tilts, disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.structure_factors import StructureFactors, checked_factors

ENVELOPE_SIGMA_INV_ANGSTROM = 0.02
BATCH_VALUES = 4_000_000  # excitation errors held at once; bounds the memory

# (|U| / 2 k_n and excitation errors, both (b, 1, n, azimuths, t)) -> intensities (b, z, n, t)
_Intensity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def kinematic_disks(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    *,
    tilts: torch.Tensor | None = None,
    azimuths: int = PRECESSION_AZIMUTHS,
    selection: BeamSelection = DEFAULT_SELECTION,
    foil_normal: np.ndarray | None = None,
    method: str = "WK",
    factors: StructureFactors | None = None,
    device: torch.device | str = "cpu",
) -> Disks:
    """Simulate the disks of a batch of beam directions kinematically.

    The direct beam keeps intensity 1: the approximation takes nothing from it, so the total
    grows with the thickness and means something for thin crystals only.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2).
        thicknesses_nm: thicknesses, shape (z,).
        tilts: incident tilts in units of the semi-angle of convergence, shape (t, 2); the
            central one alone by default.
        azimuths: positions on the precession cone.
        selection: which reflections become beams, the same ones as in `bloch_disks`.
        foil_normal: as in `bloch_disks`.
        method: of `structure_factors`, whose absolute values are taken.
        factors: what `structure_factors` returned for this crystal, to save the time.
        device: "cpu" or "cuda", where to compute; the disks stay there.

    Returns:
        Disks of all directions, (b, z, n, t).

    Raises:
        SettingsError: as in `bloch_disks`.
    """
    directions_deg, thicknesses_nm = check_inputs(directions_deg, thicknesses_nm)
    check_illumination(azimuths, device)
    tilts = check_tilts(disk_tilts(0) if tilts is None else tilts).to(device)
    thickness = torch.as_tensor(thicknesses_nm * 10, device=device)[:, None, None, None]

    def intensity(coupling: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        waves = 2 * torch.pi * thickness * coupling * torch.sinc(error * thickness)
        values = waves.square_().mean(dim=-2)
        values[:, :, 0] = 1
        return values

    k_max = optics.k_max_inv_angstrom
    factors = checked_factors(factors, crystal, optics.voltage_kv, k_max, method)
    waves = incident_wave_vectors(optics, tilts, azimuths)
    beams = select_beams(factors, optics, directions_deg, selection, tilts.device)
    normals = foil_normals(foil_normal, directions_deg, tilts.device)
    shape = (len(beams.hkl), len(thicknesses_nm), beams.hkl.shape[1], len(tilts))
    check_memory(shape, len(waves), torch.float32, device)
    return _disks(optics, factors, beams, tilts, waves, normals, shape[1], intensity)


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
        SettingsError: directions of another shape, or no reflection but the direct beam.
    """
    directions_deg, _ = check_inputs(directions_deg, np.ones(1))

    def intensity(coupling: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        envelope = torch.exp(-0.5 * (error / sigma_inv_angstrom) ** 2)
        values = ((2 / optics.wavelength_angstrom * coupling) ** 2 * envelope).mean(dim=-2)
        values[:, :, 0] = 0
        return values

    k_max = optics.k_max_inv_angstrom
    factors = checked_factors(factors, crystal, optics.voltage_kv, k_max, "WK")
    tilts = disk_tilts(0)
    waves = incident_wave_vectors(optics, tilts)
    beams = select_beams(factors, optics, directions_deg, BeamSelection(3 * sigma_inv_angstrom))
    return _disks(optics, factors, beams, tilts, waves, None, 1, intensity)


def _disks(
    optics: Optics,
    factors: StructureFactors,
    beams: Beams,
    tilts: torch.Tensor,
    waves: torch.Tensor,
    normals: torch.Tensor | None,
    n_thicknesses: int,
    intensity: _Intensity,
) -> Disks:
    u = torch.as_tensor(np.abs(factors.lookup(beams.hkl.cpu().numpy())), device=tilts.device)
    k = waves.flatten(0, 1)
    batch = max(1, BATCH_VALUES // (beams.hkl.shape[1] * len(k) * n_thicknesses))
    parts = []
    for rows in torch.arange(len(u), device=tilts.device).split(batch):
        normal = None if normals is None else normals[rows]
        errors = excitation_errors(beams.g_inv_angstrom[rows], k, normal)
        coupling = u[rows, :, None] / (2 * normal_components(k, normal))
        values = intensity(*(x.unflatten(-1, waves.shape[:2])[:, None] for x in (coupling, errors)))
        parts.append((values * beams.present[rows][:, None, :, None]).float())
    return Disks(
        beams.hkl.to(torch.int16),
        disk_places(beams, optics, normals).float(),
        torch.cat(parts),
        tilts,
        optics.disk_radius_inv_angstrom,
    )
