"""A synthetic specimen with known truth: a polycrystalline particle with all that troubles a map.

Voronoi grains of uniformly random orientation fill a particle of overlapping ellipses; their
boundaries are inclined, so that points near them see two grains; the thickness grows along the
columns; an amorphous rim and vacuum surround the particle.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from zoneaxis.diffraction import camera
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices, reduce_euler
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.writing import require_scan_path, write_scan

ELLIPSES = 5
BELL_SIGMA_INV_ANGSTROM = 1.1
BELL_SHARE_PER_NM = 0.04 / 45  # 4 % of the beam at the middle of the default wedge
VACUUM_BACKGROUND = 0.003  # what apertures and residual gas scatter
RING_SHARE = 0.15
RING_RADII_INV_ANGSTROM = (0.48, 0.83)  # amorphous carbon, the usual coating
RING_WIDTHS_INV_ANGSTROM = (0.05, 0.08)
UINT16_MAX = 65535


@dataclass(frozen=True)
class Phantom:
    """Recipe of a phantom.

    Attributes:
        shape: scan points, (rows, cols).
        grains: number of grains.
        size: height and width of a pattern in pixels.
        inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.
        step_nm: distance between neighboring points.
        thickness_nm: thinnest and thickest end of the wedge.
        thicknesses: number of steps of the wedge.
        vacuum: share of the points outside the particle, the amorphous rim among them.
        rim_width: width of the amorphous rim in points.
        boundary_width: mean width in points of the band in which two grains overlap.
        shift_px: standard deviation of the pattern's center; the beam of a real scan wanders.
        counts: incident electrons a pattern.
        seed: of everything random.
    """

    shape: tuple[int, int] = (48, 64)
    grains: int = 30
    size: int = 128
    inv_angstrom_per_pixel: float = 0.025
    step_nm: float = 5.0
    thickness_nm: tuple[float, float] = (10.0, 80.0)
    thicknesses: int = 8
    vacuum: float = 0.25
    rim_width: float = 2.0
    boundary_width: float = 2.0
    shift_px: float = 0.5
    counts: float = 1e5
    seed: int = 0

    def __post_init__(self) -> None:
        thin, thick = self.thickness_nm
        good = {
            "shape": min(self.shape) >= 2,
            "grains": self.grains >= 2,
            "size": self.size >= 16,
            "inv_angstrom_per_pixel": self.inv_angstrom_per_pixel > 0,
            "step_nm": self.step_nm > 0,
            "thickness_nm": 0 < thin <= thick,
            "thicknesses": self.thicknesses >= 1,
            "vacuum": 0 <= self.vacuum < 1,
            "rim_width": self.rim_width >= 0,
            "boundary_width": self.boundary_width >= 0,
            "shift_px": self.shift_px >= 0,
            "counts": self.counts > 0,
            "seed": self.seed >= 0,
        }
        wrong = [f"{name} = {getattr(self, name)}" for name, ok in good.items() if not ok]
        if wrong:
            raise SettingsError(f"Not a phantom: {', '.join(wrong)}.")


@dataclass(frozen=True, eq=False)
class _Layout:
    """What lies where; arrays of shape (rows, cols), the pair (rows, cols, 2) best first."""

    inside: np.ndarray
    amorphous: np.ndarray
    pair: np.ndarray
    weight: np.ndarray
    step: np.ndarray
    thicknesses_nm: np.ndarray
    euler_deg: np.ndarray


def make_phantom(
    crystal: Crystal, optics: Optics, recipe: Phantom | None = None
) -> tuple[np.ndarray, OrientationMap]:
    """Simulate the scan of a phantom, dynamically.

    Args:
        crystal: the only phase.
        optics: of the microscope.
        recipe: the default phantom if not given.

    Returns:
        Counts, uint16, shape (rows, cols, size, size), and the truth: the two orientations of
        each point with their weights as scores; properties thickness_nm (0 outside the
        particle), vacuum and amorphous (0 or 1) and grain (-1 outside).
    """
    recipe = recipe or Phantom()
    rng = np.random.default_rng(recipe.seed)
    layout = _layout(crystal, recipe, rng)
    return _expose(layout, crystal, optics, recipe, rng), _truth(layout, crystal, recipe)


def write_phantom(
    path: str | Path, crystal: Crystal, optics: Optics, recipe: Phantom | None = None
) -> tuple[Path, Path]:
    """Write the scan of a phantom as SCAN.hspy and its truth beside it as SCAN.truth.h5.

    Returns:
        The paths of scan and truth.

    Raises:
        OutputError: another suffix than .hspy, or the files cannot be written.
    """
    recipe = recipe or Phantom()
    path = require_scan_path(path)
    patterns, truth = make_phantom(crystal, optics, recipe)
    truth_path = path.with_suffix(".truth.h5")
    truth.save(truth_path)
    write_scan(
        path,
        patterns,
        step_nm=recipe.step_nm,
        inv_angstrom_per_pixel=recipe.inv_angstrom_per_pixel,
        title=f"zoneaxis phantom of {crystal.name}",
        origin={"phantom": asdict(recipe), "optics": optics.to_dict()},
    )
    return path, truth_path


def _layout(crystal: Crystal, recipe: Phantom, rng: np.random.Generator) -> _Layout:
    from scipy.ndimage import distance_transform_edt

    inside = _particle(recipe, rng)
    distance = distance_transform_edt(~inside)
    pair, weight = _grains(inside, recipe, rng)
    cols = recipe.shape[1]
    thicknesses = np.linspace(*recipe.thickness_nm, recipe.thicknesses)
    step = np.round(np.linspace(0, recipe.thicknesses - 1, cols)).astype(int)
    return _Layout(
        inside=inside,
        amorphous=~inside & (distance <= recipe.rim_width),
        pair=pair,
        weight=weight,
        step=np.broadcast_to(step, recipe.shape),
        thicknesses_nm=thicknesses,
        euler_deg=reduce_euler(_random_euler(recipe.grains, rng), crystal),
    )


def _particle(recipe: Phantom, rng: np.random.Generator) -> np.ndarray:
    """Return the points of a union of ellipses, grown until it leaves the share of vacuum."""
    rows, cols = recipe.shape
    y, x = np.indices(recipe.shape) + 0.5
    level = np.full(recipe.shape, np.inf)
    for _ in range(ELLIPSES):
        angle = rng.uniform(0, np.pi)
        dx = x / cols - rng.uniform(0.35, 0.65)
        dy = y / rows - rng.uniform(0.35, 0.65)
        along = (np.cos(angle) * dx + np.sin(angle) * dy) / rng.uniform(0.25, 0.4)
        across = (np.cos(angle) * dy - np.sin(angle) * dx) / rng.uniform(0.15, 0.3)
        level = np.minimum(level, np.hypot(along, across))
    return level <= np.quantile(level, 1 - recipe.vacuum)


def _grains(
    inside: np.ndarray, recipe: Phantom, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two nearest grains of each point and their shares, both (rows, cols, 2)."""
    from scipy.spatial import cKDTree

    candidates = np.argwhere(inside)
    if len(candidates) < recipe.grains:
        raise SettingsError(
            f"{recipe.grains} grains in a particle of {len(candidates)} points: take fewer."
        )
    seeds = rng.choice(candidates, recipe.grains, replace=False).astype(float)
    seeds += rng.uniform(-0.5, 0.5, seeds.shape)
    points = np.moveaxis(np.indices(recipe.shape), 0, -1)
    distance, pair = cKDTree(seeds).query(points, k=2)
    apart = np.linalg.norm(seeds[pair[..., 0]] - seeds[pair[..., 1]], axis=-1)
    to_boundary = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * apart)
    # Each boundary has an inclination of its own, hence a width of its own.
    widths = rng.uniform(0.0, 2 * recipe.boundary_width, (recipe.grains, recipe.grains))
    width = np.maximum(widths[pair.min(axis=-1), pair.max(axis=-1)], 1e-6)
    first = np.clip(0.5 + to_boundary / width, 0.5, 1.0)
    return pair, np.stack([first, 1 - first], axis=-1)


def _random_euler(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return Bunge angles in degrees of uniformly random rotations, shape (n, 3)."""
    from scipy.spatial.transform import Rotation

    # A normal distribution in four dimensions has no preferred direction.
    return euler_from_matrices(Rotation.from_quat(rng.normal(size=(n, 4))).as_matrix())


def _expose(
    layout: _Layout,
    crystal: Crystal,
    optics: Optics,
    recipe: Phantom,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the counts of every point, row by row, uint16."""
    disks = bloch_disks(crystal, optics, layout.euler_deg[:, 1:], layout.thicknesses_nm)
    grains = render(
        disks,
        recipe.size,
        recipe.inv_angstrom_per_pixel,
        torch.as_tensor(layout.euler_deg[:, 0], dtype=torch.float32),
    )
    beam = _direct_beam(optics, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    counts = np.empty((*recipe.shape, recipe.size, recipe.size), np.uint16)
    for row in range(recipe.shape[0]):
        patterns = _specimen(layout, row, grains, beam, recipe)
        if recipe.shift_px:
            shift = rng.normal(0, recipe.shift_px, (len(patterns), 2))
            shift = torch.as_tensor(shift, dtype=torch.float32)
            patterns = camera.resample(patterns, recipe.size, shift_px=shift)
        exposed = camera.poisson(patterns, recipe.counts, generator)
        counts[row] = exposed.clamp(max=UINT16_MAX).numpy()  # a camera saturates, too
    return counts


def _specimen(
    layout: _Layout, row: int, grains: torch.Tensor, beam: torch.Tensor, recipe: Phantom
) -> torch.Tensor:
    """Return what the points of one row scatter, fractions of the beam, (cols, size, size)."""
    dq = recipe.inv_angstrom_per_pixel
    inside, amorphous = (
        torch.from_numpy(mask[row])[:, None, None] for mask in (layout.inside, layout.amorphous)
    )
    weight = torch.from_numpy(layout.weight[row].astype(np.float32))[:, :, None, None]
    step = torch.from_numpy(layout.step[row].copy())
    pair = torch.from_numpy(layout.pair[row])
    mixed = (weight * grains[pair, step[:, None]]).sum(dim=1)
    radii, widths = (
        torch.tensor(values) / dq for values in (RING_RADII_INV_ANGSTROM, RING_WIDTHS_INV_ANGSTROM)
    )
    vacuum = beam.expand_as(mixed)
    rim = camera.amorphous_rings((1 - RING_SHARE) * vacuum, RING_SHARE, radii, widths)
    patterns = torch.where(inside, mixed, torch.where(amorphous, rim, vacuum))
    thickness = torch.from_numpy(layout.thicknesses_nm[layout.step[row]])
    share = torch.where(inside[:, 0, 0], BELL_SHARE_PER_NM * thickness, VACUUM_BACKGROUND)
    return camera.diffuse_bell(patterns, share.clamp(max=1.0), BELL_SIGMA_INV_ANGSTROM / dq)


def _direct_beam(optics: Optics, recipe: Phantom) -> torch.Tensor:
    """Return the pattern of the undiffracted beam, shape (size, size)."""
    disk = Disks(
        hkl=torch.zeros(1, 1, 3, dtype=torch.int16),
        q_inv_angstrom=torch.zeros(1, 1, 2),
        intensity=torch.ones(1, 1, 1, 1),
        tilts=torch.zeros(1, 2),
        radius_inv_angstrom=optics.disk_radius_inv_angstrom,
    )
    return render(disk, recipe.size, recipe.inv_angstrom_per_pixel)[0, 0]


def _truth(layout: _Layout, crystal: Crystal, recipe: Phantom) -> OrientationMap:
    inside, amorphous = layout.inside, layout.amorphous
    weight = np.where(inside[..., None], layout.weight, 0.0).astype(np.float32)
    thickness = np.where(inside, layout.thicknesses_nm[layout.step], 0.0)
    return OrientationMap.of_crystal(
        crystal=crystal,
        euler_deg=layout.euler_deg[layout.pair],
        score=weight,
        reliability=weight[..., 0] - weight[..., 1],
        indexed=inside,
        step_nm=recipe.step_nm,
        properties={
            "thickness_nm": thickness.astype(np.float32),
            "vacuum": (~inside & ~amorphous).astype(np.float32),
            "amorphous": amorphous.astype(np.float32),
            "grain": np.where(inside, layout.pair[..., 0], -1).astype(np.float32),
        },
    )
