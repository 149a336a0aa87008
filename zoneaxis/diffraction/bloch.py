"""Dynamical diffraction: the incident wave propagated through the crystal's structure matrix.

The beams' amplitudes obey psi(t) = exp(2 pi i t M) psi(0), t along the foil normal n, with

    M_gh = U_{g-h} / (2 k_n)  (g != h),    M_gg = s_g + i U'_0 / (2 k_n),

k_n and s_g along n. All incident tilts of one direction share the off-diagonal part; the
exponential is applied, never formed (`propagation.py`).

Source: M. De Graef, Introduction to Conventional TEM (2003), eqs. 5.51-5.60; he writes 2 k_0 s_g
where a foil as steep as ours may be asks for 2 k_n s_g. As in py4DSTEM, g_n is neglected beside k_n
in the coupling: 1e-5 of the beam, 1e-3 with a foil 20 degrees steep and 5e-3 with 60.
"""

from collections.abc import Iterator

import numpy as np
import psutil
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
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks, check_tilts, sufficient_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.propagation import TERMS, propagate
from zoneaxis.diffraction.structure_factors import StructureFactors, checked_factors
from zoneaxis.errors import SettingsError

THICKEST_NM = 10_000.0  # no electrons come through more
# Directions propagated together: enough to hide the calls, few enough for a processor's cache.
BATCH_BYTES = {"cpu": 24e6, "cuda": 4e9}


def bloch_disks(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    *,
    tilts: torch.Tensor | None = None,
    azimuths: int = PRECESSION_AZIMUTHS,
    selection: BeamSelection = DEFAULT_SELECTION,
    foil_normal: np.ndarray | None = None,
    method: str = "WK-CP",
    factors: StructureFactors | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Disks:
    """Simulate the disks of a batch of beam directions dynamically.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2).
        thicknesses_nm: thicknesses along the foil normal, shape (z,); all from one propagation.
        tilts: incident tilts in units of the semi-angle of convergence, shape (t, 2);
            `sufficient_tilts` by default, `disk_tilts(0)` for the central one alone.
        azimuths: positions on the precession cone.
        selection: which reflections become beams.
        foil_normal: in the Cartesian crystal frame, shape (3,) or (b, 3), of any length and
            sense; along the beam by default. A normal known in the sample frame is
            G @ normal, and then belongs to one phi1.
        method: of `structure_factors`: "WK" without absorption, say.
        factors: what `structure_factors` returned for this crystal, to save the time.
        dtype: torch.float32, or torch.float64 for twice the time.
        device: "cpu" or "cuda", where to compute; the disks stay there.

    Returns:
        Disks of all directions, (b, z, n, t).

    Raises:
        SettingsError: a value out of its range, an array of another shape, no reflection but the
            direct beam, or disks that would not fit in memory.
    """
    directions_deg, thicknesses_nm = check_inputs(directions_deg, thicknesses_nm)
    check_illumination(azimuths, device)
    if dtype not in (torch.float32, torch.float64):
        raise SettingsError(f"dtype {dtype}: expected torch.float32 or torch.float64.")
    if tilts is None:
        tilts = sufficient_tilts(optics, thicknesses_nm.max())
    tilts = check_tilts(tilts).to(device)
    # Twice the largest wave vector: every difference of two beams is needed.
    factors = checked_factors(
        factors, crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom, method
    )
    normals = foil_normals(foil_normal, directions_deg, device)
    beams = select_beams(factors, optics, directions_deg, selection, device)
    k = incident_wave_vectors(optics, tilts, azimuths)
    shape = (len(beams.hkl), len(thicknesses_nm), beams.hkl.shape[1], len(tilts))
    check_memory(shape, len(k), dtype, device)
    intensity = torch.zeros(shape, dtype=dtype, device=device)
    lengths = torch.as_tensor(10 * thicknesses_nm)
    table = torch.as_tensor(factors.table, device=device)
    largest = min(BATCH_BYTES[torch.device(device).type], _free_memory(device) / 8)
    for rows in _batches(beams.count, len(k) * len(tilts), len(lengths), largest / dtype.itemsize):
        part = beams[rows]
        normal = None if normals is None else normals[rows]
        # For the mean k_n all waves can share the matrix, good to 2e-6 up to a spread of 1e-4.
        spread = 0 if dtype == torch.float64 else 1e-4
        matrices = _structure_matrices(part, table, k.flatten(0, 1), normal, spread)
        psi = propagate(*matrices, lengths, dtype=dtype)
        flux = psi.abs().square_().unflatten(-1, (len(k), -1)).mean(dim=-2)
        intensity[rows, :, : flux.shape[2]] = flux
    q = disk_places(beams, optics, normals).to(dtype)
    return Disks(beams.hkl.to(torch.int16), q, intensity, tilts, optics.disk_radius_inv_angstrom)


def check_inputs(
    directions_deg: np.ndarray, thicknesses_nm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float arrays of shape (b, 2) and (z,).

    Raises:
        SettingsError: another shape, no direction, an angle that is not finite, or a thickness
            that is not above 0 and below 10 micrometers.
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
    if not ((thicknesses > 0) & (thicknesses <= THICKEST_NM)).all():
        raise SettingsError(
            f"Thicknesses {thicknesses.tolist()} nm: expected positive numbers up to "
            f"{THICKEST_NM:g}."
        )
    return directions, thicknesses


def check_illumination(azimuths: int, device: torch.device | str) -> None:
    """Refuse what neither simulator can do.

    Raises:
        SettingsError: no azimuth, or a device that is not there.
    """
    if not isinstance(azimuths, int) or azimuths < 1:
        raise SettingsError(f"{azimuths} azimuths of precession: expected a number from 1.")
    kind = str(device).split(":")[0]
    if kind not in BATCH_BYTES or (kind == "cuda" and not torch.cuda.is_available()):
        there = [k for k in BATCH_BYTES if k == "cpu" or torch.cuda.is_available()]
        raise SettingsError(f"device {device}: expected one of {', '.join(there)}.")


def _free_memory(device: torch.device | str) -> float:
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def check_memory(
    shape: tuple[int, ...], azimuths: int, dtype: torch.dtype, device: torch.device | str
) -> None:
    """Refuse disks of (directions, thicknesses, beams, tilts) that are too many.

    Raises:
        SettingsError: they need more memory than is free, and how much.
    """
    free = _free_memory(device)
    directions, thicknesses, beams, tilts = (float(n) for n in shape)
    # The result, and what one direction takes on the way: batches shrink to that.
    waves = 2 * (TERMS + 4 * thicknesses) * azimuths * tilts
    needed = dtype.itemsize * beams * (directions * thicknesses * tilts + waves)
    needed += 100 * beams**2
    if needed > free:
        raise SettingsError(
            f"Disks of {shape[0]} directions x {shape[1]} thicknesses x {shape[2]} beams x "
            f"{shape[3]} tilts need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: "
            "simulate fewer directions at a time, or select fewer beams."
        )


def _batches(
    count: torch.Tensor, waves: int, thicknesses: int, numbers: float
) -> Iterator[torch.Tensor]:
    """Yield indices in batches of similar matrix size, so that padding costs little."""
    order = count.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        n = int(count[order[start]])
        size = max(1, int(numbers / (2 * n * ((TERMS + 4 * thicknesses) * waves + n))))
        yield order[start : start + size]
        start += size


def _structure_matrices(
    beams: Beams,
    table: torch.Tensor,
    k: torch.Tensor,
    normal: torch.Tensor | None,
    spread: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return what `propagate` takes first, padded by zeros."""
    strides = torch.tensor(table.stride(), device=k.device)
    center = (torch.tensor(table.shape, device=k.device) // 2 * strides).sum()
    place = (beams.hkl * strides).sum(dim=-1)
    u = table.flatten()[place[:, :, None] - place[:, None] + center]
    present = beams.present
    u *= present[:, :, None] & present[:, None]
    u.diagonal(dim1=1, dim2=2).zero_()
    k_n = normal_components(k, normal)
    mean_k_n = k_n.mean(dim=-1, keepdim=True)
    errors = excitation_errors(beams.g_inv_angstrom, k, normal)
    absorbed = 1j * table.flatten()[center].imag / (2 * k_n)
    obliquity = mean_k_n / k_n
    if (obliquity - 1).abs().max() <= spread:
        obliquity = None
    return u / (2 * mean_k_n), (errors + absorbed) * present[..., None], obliquity
