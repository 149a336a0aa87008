"""DynamicalLibrary: Bloch-wave intensities of every direction near a beam direction, on demand.

Dynamical intensities change within a tenth of a degree, so that a grid of templates as coarse as
kinematic ones are cannot hold them. All incident tilts of one direction share their structure
matrix, however: a fan of tilts that reaches to the neighboring fans costs little more than one
pattern, and holds each direction between, at every thickness. Fans are simulated when asked for,
and kept: the points of a grain ask for the same ones.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from dask.utils import SerializableLock

from zoneaxis.diffraction.beams import BeamSelection
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import full_operators, sample_directions
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import MIRROR_Y, matrices_from_euler
from zoneaxis.diffraction.structure_factors import structure_factors

FAN_STEP_DEG = 0.8  # between the directions that fans are simulated round
REACH_DEG = 0.5  # of a search from any direction
TILT_STEP_DEG, PRECESSED_STEP_DEG = 0.16, 0.2  # of what is kept
FINER = 2  # simulated tilts along an axis for each that is kept
AZIMUTHS = 48
SELECTION = BeamSelection(0.03)
METHOD = "WK"  # without absorption the matrix is real, at a third of the cost
MOST_BYTES = 1_500_000_000  # of the fans that are kept


@dataclass(frozen=True, eq=False)
class Fan:
    """Disks of a square grid of beam directions around one.

    Attributes:
        g_inv_angstrom: reflections in the crystal's Cartesian frame, the direct beam first,
            float64, shape (n, 3).
        intensity: mean of each disk, fraction of the beam, float16, shape (z, m, m, n).
    """

    g_inv_angstrom: torch.Tensor
    intensity: torch.Tensor


@dataclass(frozen=True, eq=False)
class Places:
    """Where orientations lie in the library.

    Attributes:
        fan: which fan holds each, shape (m,).
        operator: what makes an orientation the one in the fan, shape (m, 3, 3).
        matrices: the orientations there; those of mirrors have a mirrored pattern, (m, 3, 3).
        sign: 1, or -1 where the pattern is the y-mirror, shape (m,).
        tilt_rad: direction from the middle of the fan, shape (m, 2).
    """

    fan: np.ndarray
    operator: np.ndarray
    matrices: np.ndarray
    sign: np.ndarray
    tilt_rad: np.ndarray


class DynamicalLibrary:
    """Fans of a crystal, simulated when first asked for.

    Attributes:
        crystal: whose patterns they are.
        optics: illumination and largest wave vector.
        thicknesses_nm: of the simulation, shape (z,).
        factors: structure factors of the simulation.
        step_rad: of the directions in a fan.
        half: directions of a fan from its middle to its edge.
        reach: directions to each side that `around` returns.
    """

    def __init__(self, crystal: Crystal, optics: Optics, thicknesses_nm: np.ndarray) -> None:
        """Choose the middles of the fans; nothing is simulated yet.

        Args:
            crystal: with its sites.
            optics: illumination and largest wave vector.
            thicknesses_nm: ascending, shape (z,).
        """
        self.crystal, self.optics = crystal, optics
        self.thicknesses_nm = np.asarray(thicknesses_nm, dtype=float)
        self.factors = structure_factors(
            crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom, METHOD
        )
        self._directions = sample_directions(crystal, FAN_STEP_DEG, mirrored=True)
        self._matrices = matrices_from_euler(np.pad(self._directions, ((0, 0), (1, 0))))
        self._operators = full_operators(crystal)
        kept_deg = PRECESSED_STEP_DEG if optics.precession_deg else TILT_STEP_DEG
        self.step_rad = math.radians(kept_deg)
        self.half = math.ceil((0.75 * FAN_STEP_DEG + REACH_DEG) / kept_deg)
        self.reach = math.floor(REACH_DEG / kept_deg)
        self._cone = incident_cone(optics, self.step_rad / FINER)
        self._fans: OrderedDict[int, Fan] = OrderedDict()
        self._bytes = 0
        self._lock = SerializableLock()  # threads of a worker share the library

    def __getstate__(self) -> dict:
        """Leave out the fans: workers simulate their own."""
        return vars(self) | {"_fans": OrderedDict(), "_bytes": 0}

    def locate(self, matrices: np.ndarray) -> Places:
        """Find the fans of orientations G, shape (m, 3, 3)."""
        images = np.einsum("sij,mj->msi", self._operators, matrices[:, :, 2])
        cosine = images @ self._matrices[:, :, 2].T
        nearest = cosine.reshape(len(matrices), -1).argmax(axis=1)
        which, fan = np.divmod(nearest, len(self._matrices))
        operator = self._operators[which]
        moved = operator @ matrices
        sign = np.where(np.linalg.det(operator) < 0, -1, 1)
        moved[sign < 0] = moved[sign < 0] @ MIRROR_Y
        beam = np.einsum("mji,mj->mi", self._matrices[fan], moved[:, :, 2])
        return Places(fan, operator, moved, sign, beam[:, :2])

    def tilted(self, places: Places, tilt_rad: np.ndarray) -> np.ndarray:
        """Return orientations G (m, 3, 3), their beams turned to other tilts (m, 2) of the fans."""
        middle = self._matrices[places.fan]
        here = middle.transpose(0, 2, 1) @ places.matrices
        turned = middle @ shortest_turns(here[:, :, 2], tilt_rad) @ here
        turned[places.sign < 0] = turned[places.sign < 0] @ MIRROR_Y
        return places.operator.transpose(0, 2, 1) @ turned

    def fan(self, number: int) -> Fan:
        """Return a fan by its number, simulating it if it is not there."""
        with self._lock:
            if number not in self._fans:
                self._fans[number] = self._simulated(number)
                self._bytes += self._fans[number].intensity.nbytes
            self._fans.move_to_end(number)
            while self._bytes > MOST_BYTES and len(self._fans) > 1:
                self._bytes -= self._fans.popitem(last=False)[1].intensity.nbytes
            return self._fans[number]

    def spots(self, fan: Fan, places: Places, i: int) -> torch.Tensor:
        """Return where the disks of orientation i stand, 1/Angstrom, float64, shape (n, 2)."""
        q = fan.g_inv_angstrom @ torch.from_numpy(places.matrices[i, :, :2])
        return q * q.new_tensor([1.0, places.sign[i]])

    def around(self, fan: Fan, tilt_rad: np.ndarray) -> torch.Tensor:
        """Return the intensities near a direction of a fan, (z, m, m, n); see `corner`."""
        x, y = self.corner(tilt_rad)
        side = 2 * self.reach + 1
        return fan.intensity[:, x : x + side, y : y + side]

    def corner(self, tilt_rad: np.ndarray) -> np.ndarray:
        """Return the first row and column of what is searched around directions, (..., 2)."""
        middle = np.rint(tilt_rad / self.step_rad).astype(int) + self.half
        return (middle - self.reach).clip(0, 2 * (self.half - self.reach))

    def _simulated(self, number: int) -> Fan:
        margin = len(self._cone) // 2
        direction = self._directions[number : number + 1]
        hkl, fine = fan_intensities(
            self, direction, self.step_rad / FINER, self.half * FINER + margin
        )
        z, n, side, _ = fine[0].shape
        mean = F.conv2d(fine.view(z * n, 1, side, side), self._cone[None, None], stride=FINER)
        kept = mean.view(z, n, *mean.shape[-2:]).permute(0, 2, 3, 1)
        g = hkl[0].double() @ torch.from_numpy(self.crystal.reciprocal_inv_angstrom)
        return Fan(g, kept.half().contiguous())


def fan_intensities(
    library: DynamicalLibrary, directions_deg: np.ndarray, step_rad: float, half: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return reflections (b, n, 3) and their intensities (b, z, n, m, m), m = 2 half + 1.

    Args:
        library: crystal, optics, thicknesses.
        directions_deg: (Phi, phi2) in degrees, shape (b, 2).
        step_rad: between incident waves, along x, then y, of the pattern at phi1 = 0.
        half: steps from the middle to the edge.
    """
    axis = torch.arange(-half, half + 1).double()
    tilts = torch.cartesian_prod(axis, axis) / (2**0.5 * half)
    semi_mrad = 1e3 * 2**0.5 * half * step_rad
    optics = replace(library.optics, convergence_mrad=semi_mrad, precession_deg=0.0)
    disks = bloch_disks(
        library.crystal,
        optics,
        directions_deg,
        library.thicknesses_nm,
        tilts=tilts,
        selection=SELECTION,
        factors=library.factors,
        method=METHOD,
    )
    return disks.hkl, disks.intensity.unflatten(-1, (2 * half + 1, -1))


def incident_cone(optics: Optics, step_rad: float) -> torch.Tensor:
    """Return how much each incident direction counts, on a grid of such a step, (m, m), sum 1."""
    place = 1e-3 * optics.convergence_mrad * disk_tilts(2).double()
    if optics.precession_deg:
        turn = torch.arange(AZIMUTHS).double() * (2 * math.pi / AZIMUTHS)
        ring = math.radians(optics.precession_deg) * torch.stack([turn.cos(), turn.sin()], 1)
        place = (place[:, None] + ring).flatten(0, 1)
    place = place / step_rad
    half = math.ceil(float(place.abs().max()))
    axis = torch.arange(-half, half + 1)
    # Each direction is shared by its four neighbors on the grid, as in bilinear interpolation.
    x, y = ((1 - (place[:, i, None] - axis).abs()).clamp_min(0) for i in (0, 1))
    weights = x.mT @ y
    return (weights / weights.sum()).float()


def shortest_turns(beams: np.ndarray, tilt_rad: np.ndarray) -> np.ndarray:
    """Return the rotations by the smallest angle of unit vectors (m, 3) to those of tilts (m, 2).

    Source: R = 1 + [v] + [v]^2 / (1 + c), v = a x b, c = a . b.
    """
    z = np.sqrt(1 - np.square(tilt_rad).sum(axis=1, keepdims=True))
    aims = np.concatenate([tilt_rad, z], axis=1)
    x, y, w = np.cross(beams, aims).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -w, y, w, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    cosine = np.einsum("mi,mi->m", beams, aims)[:, None, None]
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
