"""Disks: what both simulators return and the renderer draws."""

import math
from dataclasses import dataclass, replace

import torch

from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import SettingsError

LARGEST_DEGREE = 6  # of the polynomial in a disk: what 3 rings of tilts support
# Tilts crowded into a part of the disk do not fix the polynomial in the rest of it; 3 rings: 1560.
LARGEST_CONDITION = 3e3
PHASE_OF_2_RINGS, PHASE_OF_3_RINGS = 7.1, 9.0  # that they follow, in radians


@dataclass(frozen=True, eq=False)
class Disks:
    """Diffracted intensities of a batch of directions, at phi1 = 0 unless turned.

    Attributes:
        hkl: Miller indices, int16, shape (b, n, 3).
        q_inv_angstrom: in-plane position of each disk's center, shape (b, n, 2).
        intensity: fraction of the incident beam, shape (b, z, n, t) for z thicknesses, n beams
            (0 where a direction has fewer) and t incident tilts.
        tilts: incident tilts within the illumination cone in units of its semi-angle, (t, 2).
        radius_inv_angstrom: radius of the disks.
    """

    hkl: torch.Tensor
    q_inv_angstrom: torch.Tensor
    intensity: torch.Tensor
    tilts: torch.Tensor
    radius_inv_angstrom: float

    @property
    def mean_intensity(self) -> torch.Tensor:
        """Intensity averaged over each disk, shape (b, z, n)."""
        return self.intensity.mean(dim=-1)

    def to(self, device: torch.device | str) -> "Disks":
        """Return the disks with all tensors on `device`."""
        names = ("hkl", "q_inv_angstrom", "intensity", "tilts")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def disk_tilts(rings: int) -> torch.Tensor:
    """Return tilts on concentric rings of a unit disk, shape (1 + 3 r (r + 1), 2).

    Args:
        rings: number of rings r; 0 gives the central tilt alone. Ring i of r carries 6 i points
            at the radius that halves its share of the disk's area; odd rings are turned by half
            a step, so that no direction in the disk is preferred.
    """
    points = [torch.zeros(1, 2)]
    shares = torch.tensor([1.0] + [6.0 * i for i in range(1, rings + 1)])
    edges = torch.sqrt(torch.cumsum(shares, 0) / shares.sum())
    for i in range(1, rings + 1):
        radius = torch.sqrt((edges[i - 1] ** 2 + edges[i] ** 2) / 2)
        turn = (torch.arange(6 * i) + 0.5 * (i % 2)) * (2 * torch.pi / (6 * i))
        points.append(radius * torch.stack([turn.cos(), turn.sin()], dim=1))
    return torch.cat(points)


def sufficient_tilts(optics: Optics, thickness_nm: float) -> torch.Tensor:
    """Return 2, 3 or 4 rings of tilts, as the thickness asks.

    From a disk's center to its rim a beam's phase runs through 2 pi t k_max alpha, alpha being
    the semi-angle of convergence. For LiNiO2 at 1.5 mrad and k_max 1.5 1/Angstrom, polynomials
    through the tilts miss the disks of a median and of the worst of 33 directions by (root of the
    mean square over that of the disks) 5e-5 and 2e-4 at 20 nm, 0.6 and 4 % at 50 nm, 0.5 and 7 %
    at 75 nm, 1.2 and 18 % at 100 nm (`benchmarks/bench_convergence.py`).
    """
    phase = 2 * math.pi * 10 * thickness_nm * optics.k_max_inv_angstrom
    phase *= 1e-3 * optics.convergence_mrad
    return disk_tilts(2 + int(phase > PHASE_OF_2_RINGS) + int(phase > PHASE_OF_3_RINGS))


def check_tilts(tilts: torch.Tensor) -> torch.Tensor:
    """Return tilts as float32.

    Raises:
        SettingsError: a shape other than (t, 2), no tilt, or one outside the unit disk.
    """
    tilts = torch.as_tensor(tilts, dtype=torch.float32)
    if tilts.ndim != 2 or tilts.shape[1] != 2 or not len(tilts):
        raise SettingsError(f"Tilts of shape {tuple(tilts.shape)}: expected (t, 2), x and y.")
    farthest = float(tilts.norm(dim=1).max())
    if not farthest <= 1 + 1e-6:  # a NaN is not
        raise SettingsError(
            f"A tilt of length {farthest:g}: expected 1 at most; the semi-angle is the unit."
        )
    return tilts


def monomials(points: torch.Tensor, degree: int) -> torch.Tensor:
    """Return x^i y^j, i + j <= degree, of points (..., 2): shape (..., terms)."""
    x, y = points.unbind(-1)
    return torch.stack(
        [x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], dim=-1
    )


def fit_degree(tilts: torch.Tensor) -> int:
    """Return the degree of the polynomial that a disk sampled at `tilts` supports.

    Six terms for seven tilts smooth a little and amplify no noise: 0..3 rings give 0, 2, 4, 6.
    """
    for degree in range(LARGEST_DEGREE, 0, -1):
        terms = monomials(tilts.double(), degree)
        enough = 7 * terms.shape[1] <= 6 * len(terms)
        if enough and torch.linalg.cond(terms) < LARGEST_CONDITION:
            return degree
    return 0


def fit_matrix(tilts: torch.Tensor) -> torch.Tensor:
    """Return the least-squares map from samples at `tilts` to polynomial coefficients.

    The shape is (terms, t), the precision that of `tilts`. A disk drawn from the polynomial is as
    round as its outline, whatever the number of tilts: nothing in it tells the in-plane angle of
    the sampling.
    """
    return torch.linalg.pinv(monomials(tilts.double(), fit_degree(tilts))).to(tilts)


def turned(disks: Disks, phi1_deg: torch.Tensor) -> Disks:
    """Return the disks of the same directions at other in-plane angles.

    Args:
        disks: of b directions.
        phi1_deg: in degrees, shape (b,); positions and tilts turn by q -> Z(phi1)^T q.

    Returns:
        Disks at the same tilts, the intensities read from each disk's polynomial.
    """
    angle = torch.deg2rad(phi1_deg.double())
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    tilts = disks.tilts.double()
    # What a disk holds at a tilt, it held before at the tilt turned back.
    values = monomials(tilts @ turn.mT, fit_degree(tilts)) @ fit_matrix(tilts)
    intensity = disks.intensity.double() @ values.mT[:, None]
    return replace(
        disks,
        q_inv_angstrom=(disks.q_inv_angstrom.double() @ turn).to(disks.q_inv_angstrom),
        intensity=intensity.clamp_min(0).to(disks.intensity),
    )
