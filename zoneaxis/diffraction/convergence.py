"""How the disks' intensities converge as more reflections become beams."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from zoneaxis.diffraction.beams import BeamSelection
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks, disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.errors import SettingsError


@dataclass(frozen=True)
class Convergence:
    """One selection against the widest.

    Attributes:
        k_max_inv_angstrom: largest wave vector of the beams.
        max_excitation_error_inv_angstrom: as in `BeamSelection`.
        beams: mean number over the directions.
        largest_difference: of any beam's intensity, as a fraction of the incident beam.
        r_factor: sum |I - I_widest| / sum I_widest over the scattered beams of this selection's
            k_max.
    """

    k_max_inv_angstrom: float
    max_excitation_error_inv_angstrom: float
    beams: float
    largest_difference: float
    r_factor: float


def beam_convergence(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    *,
    k_max_inv_angstrom: Sequence[float] | None = None,
    max_excitation_errors_inv_angstrom: Sequence[float] = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12),
    tilts: torch.Tensor | None = None,
    method: str = "WK-CP",
) -> list[Convergence]:
    """Compare selections of beams with the widest of them.

    Args:
        crystal: the specimen.
        optics: illumination; its own k_max is not used if others are given.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2); take some that matter.
        thicknesses_nm: thicknesses, shape (z,).
        k_max_inv_angstrom: largest wave vectors to try; that of `optics`, 1.25 and 1.5 times it
            by default.
        max_excitation_errors_inv_angstrom: to try with each of them.
        tilts: incident tilts as in `bloch_disks`; the central one alone by default.
        method: of `structure_factors`.

    Returns:
        One row for each pair, the widest selection last: it is compared with itself.

    Raises:
        SettingsError: nothing to try, or as in `bloch_disks`.
    """
    k_max = k_max_inv_angstrom
    if k_max is None:
        k_max = optics.k_max_inv_angstrom * np.array([1.0, 1.25, 1.5])
    ladder = [
        (replace(optics, k_max_inv_angstrom=float(k)), BeamSelection(float(s)))
        for k in sorted(k_max)
        for s in sorted(max_excitation_errors_inv_angstrom)
    ]
    if not ladder:
        raise SettingsError("No k_max or no excitation error to try: give at least one of each.")
    tilts = disk_tilts(0) if tilts is None else tilts
    widest = ladder[-1][0]
    factors = structure_factors(crystal, optics.voltage_kv, 2 * widest.k_max_inv_angstrom, method)

    def simulated(optics: Optics, selection: BeamSelection) -> Disks:
        return bloch_disks(
            crystal, optics, directions_deg, thicknesses_nm,
            tilts=tilts, selection=selection, factors=factors,
        )  # fmt: skip

    reference = _by_hkl(simulated(*ladder[-1]))
    return [_row(*rung, _by_hkl(simulated(*rung)), reference, crystal) for rung in ladder]


def _by_hkl(disks: Disks) -> list[dict[tuple[int, ...], np.ndarray]]:
    """Return {hkl: intensities (z, t)} of each direction."""
    tables = []
    for hkl, intensity in zip(disks.hkl.tolist(), disks.intensity.numpy(), strict=True):
        beams = {tuple(h): intensity[:, i] for i, h in enumerate(hkl) if i == 0 or any(h)}
        tables.append(beams)
    return tables


def _row(
    optics: Optics,
    selection: BeamSelection,
    found: list[dict[tuple[int, ...], np.ndarray]],
    reference: list[dict[tuple[int, ...], np.ndarray]],
    crystal: Crystal,
) -> Convergence:
    largest = off = total = 0.0
    for beams, widest in zip(found, reference, strict=True):
        for hkl, expected in widest.items():
            length = np.linalg.norm(hkl @ crystal.reciprocal_inv_angstrom)
            difference = np.abs(beams.get(hkl, 0.0) - expected)
            largest = max(largest, float(difference.max()))
            if 0 < length <= optics.k_max_inv_angstrom:
                off += float(difference.sum())
                total += float(expected.sum())
    return Convergence(
        optics.k_max_inv_angstrom,
        selection.max_excitation_error_inv_angstrom,
        float(np.mean([len(beams) for beams in found])),
        largest,
        off / total if total else 0.0,
    )
