"""Patterns that no training set holds: full random Euler angles, nothing turned or interpolated.

Each pattern has an orientation uniform in SO(3), a thickness and a convergence of its own, and is
drawn once, at its phi1, by disks integrated exactly over the pixels (`render`). Their tilts are
dense, and turned at random for each pattern: corners of disks would tell nothing of phi1. A diffuse
bell lies below; noise and displacement are left to the conditions.
"""

import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

import zoneaxis
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.camera import diffuse_bell
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import StructureFactors, structure_factors
from zoneaxis.files import atomic_path

TILT_RINGS = 4  # 61 tilts


@dataclass(frozen=True)
class HeldOut:
    """Recipe of held-out patterns.

    Attributes:
        precession_deg: precession angle; 0 for none.
        n: number of patterns.
        voltage_kv: accelerating voltage.
        convergence_mrad: smallest and largest semi-angle.
        thickness_nm: thinnest and thickest.
        bell_share: of the beam in the diffuse bell, least and most.
        bell_sigma_inv_angstrom: its standard deviation.
        k_max_inv_angstrom: largest simulated wave vector, beyond the edge of the frame.
        absorption: by phonons alone, as in multislice.
        size: height and width of a pattern in pixels.
        inv_angstrom_per_pixel: size of a pixel.
        seed: of every draw; training sets draw from pairs of numbers, never from this one.
    """

    precession_deg: float = 0.0
    n: int = 128
    voltage_kv: float = 300.0
    convergence_mrad: tuple[float, float] = (1.3, 1.8)
    thickness_nm: tuple[float, float] = (10.0, 100.0)
    bell_share: tuple[float, float] = (0.02, 0.07)
    bell_sigma_inv_angstrom: float = 1.1
    k_max_inv_angstrom: float = 2.1
    absorption: str = "WK-P"
    size: int = 256
    inv_angstrom_per_pixel: float = 0.015625
    seed: int = 0x686F6C64  # "hold"


def held_out(crystal: Crystal, recipe: HeldOut, folder: Path) -> dict[str, np.ndarray]:
    """Return the patterns as the multislice sets name theirs, simulated unless `folder` has them.

    Args:
        crystal: the specimen.
        recipe: what to simulate.
        folder: where they are kept; remove it to simulate anew.
    """
    made_of = f"{zoneaxis.__version__} {crystal.to_dict()} {astuple(recipe)}"
    path = folder / f"held_out_{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **simulate(crystal, recipe))
    with np.load(path) as arrays:
        return dict(arrays)


def simulate(crystal: Crystal, recipe: HeldOut) -> dict[str, np.ndarray]:
    """Return pattern (n, size, size) in fractions of the beam, euler (n, 3), thickness_nm (n,)."""
    rng = np.random.default_rng([recipe.seed, round(1000 * recipe.precession_deg)])
    rotations = Rotation.from_quat(rng.normal(size=(recipe.n, 4)))
    euler = euler_from_matrices(rotations.as_matrix())
    thickness = rng.uniform(*recipe.thickness_nm, recipe.n)
    factors = structure_factors(
        crystal, recipe.voltage_kv, 2 * recipe.k_max_inv_angstrom, recipe.absorption
    )
    drawn = [
        _pattern(crystal, recipe, factors, rng, *each)
        for each in zip(euler, thickness, strict=True)
    ]
    share = torch.as_tensor(rng.uniform(*recipe.bell_share, recipe.n))
    sigma_px = recipe.bell_sigma_inv_angstrom / recipe.inv_angstrom_per_pixel
    patterns = diffuse_bell(torch.cat(drawn), share, sigma_px)
    return {"pattern": patterns.numpy(), "euler": euler, "thickness_nm": thickness}


def _pattern(
    crystal: Crystal,
    recipe: HeldOut,
    factors: StructureFactors,
    rng: np.random.Generator,
    euler_deg: np.ndarray,
    thickness_nm: float,
) -> torch.Tensor:
    """Return one pattern, (1, size, size), without its bell."""
    optics = Optics(
        recipe.voltage_kv,
        rng.uniform(*recipe.convergence_mrad),
        recipe.precession_deg,
        recipe.k_max_inv_angstrom,
    )
    angle = rng.uniform(0, 2 * np.pi)
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tilts = disk_tilts(TILT_RINGS) @ turn.float()
    disks = bloch_disks(
        crystal, optics, euler_deg[None, 1:], [thickness_nm], tilts=tilts, factors=factors
    )
    phi1, size, pixel = float(euler_deg[0]), recipe.size, recipe.inv_angstrom_per_pixel
    return render(disks, size, pixel, phi1)[0]
