"""What tells two orientations apart whose zero-order Laue zones look alike.

[10-10] and [1-100] of a rhombohedral crystal, 60 degrees about c from each other, have the same
zero-order Laue zone kinematically. Dynamically they differ, by way of beams of the higher zones:
a selection without those (its largest excitation error small, its k_max short) cannot show it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from zoneaxis.diffraction.beams import DEFAULT_SELECTION, BeamSelection, select_beams
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.errors import SettingsError

ZERO_ORDER_INV_ANGSTROM = 0.03  # height over the plane through the origin, for axes a little off
SAME_PLACE_INV_ANGSTROM = 0.01


@dataclass(frozen=True, eq=False)
class ZoneAxisPair:
    """Intensities of the zero-order Laue zone of two orientations, spot by spot.

    Attributes:
        hkl: Miller indices in either, int, shape (2, n, 3); the direct beam first.
        q_inv_angstrom: the spots' common place in the pattern, shape (n, 2).
        kinematic: intensities, float64, shape (2, z, n).
        dynamic: the same by Bloch waves.
        unpaired: spots of either that the other lacks, shape (2,).
    """

    hkl: np.ndarray
    q_inv_angstrom: np.ndarray
    kinematic: np.ndarray
    dynamic: np.ndarray
    unpaired: tuple[int, int]

    def relative_difference(self, kind: str) -> np.ndarray:
        """Return 2 (a - b) / (a + b) of "kinematic" or "dynamic" intensities, shape (z, n)."""
        a, b = getattr(self, kind)
        return 2 * (a - b) / np.maximum(a + b, np.finfo(float).tiny)


def compare_zone_axes(
    crystal: Crystal,
    optics: Optics,
    euler_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    *,
    tilts: torch.Tensor | None = None,
    selection: BeamSelection = DEFAULT_SELECTION,
    method: str = "WK-CP",
) -> ZoneAxisPair:
    """Simulate two orientations kinematically and dynamically, and pair their spots by place.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector; let it reach the first-order Laue zone.
        euler_deg: (phi1, Phi, phi2) of both, shape (2, 3).
        thicknesses_nm: thicknesses, shape (z,).
        tilts: incident tilts as in `bloch_disks`, averaged; the central one alone by default.
        selection: which reflections become beams, of any Laue zone.
        method: of `structure_factors`.

    Returns:
        The spots that both show, paired.

    Raises:
        SettingsError: not two orientations, or as in `bloch_disks`.
    """
    euler_deg = np.asarray(euler_deg, dtype=float)
    if euler_deg.shape != (2, 3):
        raise SettingsError(f"Orientations of shape {euler_deg.shape}: expected (2, 3).")
    directions = euler_deg[:, 1:]
    tilts = disk_tilts(0) if tilts is None else tilts
    k_max = 2 * optics.k_max_inv_angstrom
    factors = structure_factors(crystal, optics.voltage_kv, k_max, method)
    settings = {"tilts": tilts, "selection": selection, "factors": factors}
    disks = [
        kinematic_disks(crystal, optics, directions, thicknesses_nm, **settings),
        bloch_disks(crystal, optics, directions, thicknesses_nm, dtype=torch.float64, **settings),
    ]
    beams = select_beams(factors, optics, directions, selection)
    low = beams.present & (beams.g_inv_angstrom[..., 2].abs() < ZERO_ORDER_INV_ANGSTROM)
    rows = [low[i].nonzero()[:, 0].numpy() for i in (0, 1)]
    turns = matrices_from_euler(np.pad(euler_deg[:, :1], ((0, 0), (0, 2))))[:, :2, :2]
    q = [beams.g_inv_angstrom[i, rows[i], :2].numpy() @ turns[i] for i in (0, 1)]
    first, second = _pairs(*q)
    chosen = rows[0][first], rows[1][second]
    kinematic, dynamic = (
        np.stack([d.mean_intensity[i][:, chosen[i]].double().numpy() for i in (0, 1)])
        for d in disks
    )
    hkl = np.stack([beams.hkl[i, chosen[i]].numpy() for i in (0, 1)])
    unpaired = tuple(len(r) - len(first) for r in rows)
    return ZoneAxisPair(hkl, q[0][first], kinematic, dynamic, unpaired)


def first_laue_zone_inv_angstrom(crystal: Crystal, optics: Optics, uvw: np.ndarray) -> float:
    """Return the radius of the ring of the first-order Laue zone, beam along [u v w].

    Its reciprocal lattice plane lies H = 1 / |r| above the zero-order one, r the shortest lattice
    vector along the axis, and meets the Ewald sphere at sqrt(2 k0 H - H^2); infinite if never.

    Args:
        crystal: whose lattice, centering included, counts.
        optics: for the wavelength.
        uvw: indices of the zone axis, int, shape (3,).
    """
    vector = np.asarray(uvw) // np.gcd.reduce(uvw)
    shares = [n for n in (3, 2, 1) if _is_lattice_vector(vector / n, crystal)]
    height = shares[0] / np.linalg.norm(vector @ crystal.lattice_angstrom)
    square = 2 * height / optics.wavelength_angstrom - height**2
    return float(np.sqrt(square)) if square > 0 else float("inf")


def _is_lattice_vector(fractional: np.ndarray, crystal: Crystal) -> bool:
    offset = fractional - crystal.centering
    return bool(np.isclose(offset, np.round(offset), atol=1e-3).all(axis=1).any())


def _pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of the places of `a` (n, 2) and `b` (m, 2) that are the same."""
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    nearest = distance.argmin(axis=1)
    first = np.flatnonzero(distance.min(axis=1) < SAME_PLACE_INV_ANGSTROM)
    return first, nearest[first]
