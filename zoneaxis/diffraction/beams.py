"""Beams: the incident waves of an illumination, and the reflections that they excite."""

from dataclasses import dataclass

import numpy as np
import torch

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import StructureFactors
from zoneaxis.errors import SettingsError

PRECESSION_AZIMUTHS = 16
STEEPEST_FOIL_DEG = 60.0
TESTED_VALUES = 2_000_000  # reflections x directions looked at together; bounds the memory


@dataclass(frozen=True)
class BeamSelection:
    """Which reflections become beams; `beam_convergence` tells what a choice costs.

    Attributes:
        max_excitation_error_inv_angstrom: beams farther from the Ewald sphere at every incident
            tilt are left out.
        min_structure_factor_inv_angstrom2: beams of smaller |U_g| are left out. With 0, the
            default, those stay that are only excited by way of others.
    """

    max_excitation_error_inv_angstrom: float = 0.05
    min_structure_factor_inv_angstrom2: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.max_excitation_error_inv_angstrom < np.inf:
            raise SettingsError(
                f"Largest excitation error {self.max_excitation_error_inv_angstrom} 1/Angstrom: "
                "expected a positive number; 0.05 is usual."
            )
        if not 0 <= self.min_structure_factor_inv_angstrom2 < np.inf:
            raise SettingsError(
                f"Smallest structure factor {self.min_structure_factor_inv_angstrom2} "
                "1/Angstrom^2: expected 0 or more."
            )


DEFAULT_SELECTION = BeamSelection()


@dataclass(frozen=True, eq=False)
class Beams:
    """The beams of a batch of directions, padded with zeros.

    Attributes:
        hkl: Miller indices, the direct beam first, then by length, int64, shape (b, n, 3).
        g_inv_angstrom: in the pattern frame at phi1 = 0, float64, shape (b, n, 3).
        count: beams of each direction, int64, shape (b,).
    """

    hkl: torch.Tensor
    g_inv_angstrom: torch.Tensor
    count: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> "Beams":
        """Return the beams of some directions, no wider than they need."""
        width = int(self.count[rows].max())
        return Beams(self.hkl[rows, :width], self.g_inv_angstrom[rows, :width], self.count[rows])

    @property
    def present(self) -> torch.Tensor:
        """False where a row of beams is only padding, bool, shape (b, n)."""
        return torch.arange(self.hkl.shape[1], device=self.hkl.device) < self.count[:, None]


def incident_wave_vectors(
    optics: Optics, tilts: torch.Tensor, azimuths: int = PRECESSION_AZIMUTHS
) -> torch.Tensor:
    """Return the incident wave vectors in the pattern frame, 1/Angstrom.

    Args:
        optics: convergence and precession.
        tilts: within the cone, in units of the semi-angle, shape (t, 2).
        azimuths: positions on the precession cone; one is taken when there is no precession.

    Returns:
        float64, shape (a, t, 3), of length 1 / wavelength.
    """
    tilts = tilts.double()
    k0 = 1 / optics.wavelength_angstrom
    turn = torch.arange(azimuths if optics.precession_deg else 1).to(tilts)
    turn = turn * (2 * torch.pi / azimuths)
    cone = k0 * np.sin(np.deg2rad(optics.precession_deg)) * torch.stack([turn.cos(), turn.sin()], 1)
    in_plane = cone[:, None] + optics.disk_radius_inv_angstrom * tilts
    k_z = torch.sqrt(k0**2 - in_plane.square().sum(dim=-1, keepdim=True))
    return torch.cat([in_plane, k_z], dim=-1)


def excitation_errors(
    g: torch.Tensor, k: torch.Tensor, normal: torch.Tensor | None = None
) -> torch.Tensor:
    """Return how far beyond reflections the Ewald sphere lies along the foil normal, 1/Angstrom.

    Args:
        g: reflections in the pattern frame, shape (b, n, 3).
        k: incident wave vectors, shape (t, 3).
        normal: unit foil normals in the pattern frame, shape (b, 3); the optic axis by default.

    Returns:
        s, negative outside the sphere, shape (b, n, t).
    """
    beyond = -(2 * g @ k.mT + g.square().sum(dim=-1, keepdim=True))
    g_n = g[..., 2:] if normal is None else g @ normal[..., None]
    return beyond / (2 * (normal_components(k, normal) + g_n))


def normal_components(k: torch.Tensor, normal: torch.Tensor | None) -> torch.Tensor:
    """Return the components of wave vectors (t, 3) along normals (b, 3), shape (b or 1, 1, t)."""
    return (k[None, :, 2] if normal is None else normal @ k.mT)[:, None]


def select_beams(
    factors: StructureFactors,
    optics: Optics,
    directions_deg: np.ndarray,
    selection: BeamSelection,
    device: torch.device | str = "cpu",
) -> Beams:
    """Return the beams of directions given as (Phi, phi2) in degrees, shape (b, 2).

    Raises:
        SettingsError: no reflection is left but the direct beam.
    """
    length2 = np.square(factors.g_inv_angstrom).sum(axis=1)
    strong = np.abs(factors.u_inv_angstrom2) >= selection.min_structure_factor_inv_angstrom2
    strong |= length2 == 0
    order = np.argsort(length2, kind="stable")
    order = order[(strong & (length2 <= optics.k_max_inv_angstrom**2))[order]]
    if len(order) < 2:
        raise SettingsError(
            f"No reflection within {optics.k_max_inv_angstrom:g} 1/Angstrom "
            f"({optics.largest_angle_mrad:.3g} mrad) is as strong as "
            f"{selection.min_structure_factor_inv_angstrom2:g} 1/Angstrom^2: raise "
            "k_max_inv_angstrom, or lower the smallest structure factor."
        )
    reflections = torch.as_tensor(factors.g_inv_angstrom[order], device=device)
    hkl = torch.as_tensor(factors.hkl[order], device=device)
    turns = torch.as_tensor(
        matrices_from_euler(np.pad(directions_deg, ((0, 0), (1, 0)))), device=device
    )
    axis = reflections.new_tensor([[0, 0, 1 / optics.wavelength_angstrom]])
    # A tilted beam sees every point closer by up to its tilt times |g|.
    tilt = np.deg2rad(optics.precession_deg) + 1e-3 * optics.convergence_mrad
    reach = selection.max_excitation_error_inv_angstrom + tilt * reflections.norm(dim=-1)
    near = torch.cat(
        [
            excitation_errors(reflections @ part, axis)[..., 0].abs() <= reach
            for part in turns.split(max(1, TESTED_VALUES // len(order)))
        ]
    )
    count = near.sum(dim=1)
    row, chosen = near.nonzero(as_tuple=True)
    column = torch.arange(len(row), device=device) - (count.cumsum(0) - count)[row]
    padded_hkl = hkl.new_zeros(len(turns), int(count.max()), 3)
    padded_g = reflections.new_zeros(padded_hkl.shape)
    padded_hkl[row, column] = hkl[chosen]
    padded_g[row, column] = reflections[chosen]
    return Beams(padded_hkl, padded_g @ turns, count)


def disk_places(beams: Beams, optics: Optics, normal: torch.Tensor | None) -> torch.Tensor:
    """Return where disks stand in the pattern, 1/Angstrom, shape (b, n, 2).

    The wave keeps its component along the foil: where that is tilted, a beam off the Ewald sphere
    leaves at g + s n.
    """
    places = beams.g_inv_angstrom[..., :2]
    if normal is None:
        return places
    axis = places.new_tensor([[0, 0, 1 / optics.wavelength_angstrom]])
    return places + excitation_errors(beams.g_inv_angstrom, axis, normal) * normal[:, None, :2]


def foil_normals(
    foil_normal: np.ndarray | None, directions_deg: np.ndarray, device: torch.device | str
) -> torch.Tensor | None:
    """Return unit normals, along the beam's sense, in the pattern frame, shape (b, 3).

    Args:
        foil_normal: in the Cartesian crystal frame, shape (3,) or (b, 3); None passes through.
        directions_deg: (Phi, phi2) of each direction, shape (b, 2).
        device: where to put them.

    Raises:
        SettingsError: another shape, or a foil more than 60 degrees steep.
    """
    if foil_normal is None:
        return None
    normal = np.asarray(foil_normal, dtype=float)
    if normal.shape not in ((3,), (len(directions_deg), 3)):
        raise SettingsError(f"Foil normal of shape {normal.shape}: expected (3,) or (b, 3).")
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and length.all()):
        raise SettingsError("Foil normal: a length of 0, or a value that is NaN or infinite.")
    turns = matrices_from_euler(np.pad(directions_deg, ((0, 0), (1, 0))))
    unit = np.broadcast_to(normal / length, (len(turns), 3))
    normal = np.einsum("bi,bij->bj", unit, turns)
    normal = normal * np.where(normal[:, 2:] < 0, -1, 1)
    steepest = np.rad2deg(np.arccos(normal[:, 2].clip(0, 1))).max()
    if steepest > STEEPEST_FOIL_DEG:
        raise SettingsError(
            f"A foil normal is {steepest:.0f} degrees from the beam: expected at most "
            f"{STEEPEST_FOIL_DEG:g}."
        )
    return torch.as_tensor(normal, device=device)
