"""Fitting disks where the geometry is known: thickness, and the direction to a few hundredths.

Each point of a disk belongs to an incident direction of its own. What a fine fan of incident
directions gives, shifted by a tilt of the crystal, is what all disks of a pattern show together:
the correlation of the two is a convolution. A precessing beam washes the inside of the disks out;
the disks' means are compared then, of the directions that the library holds. The direct beam is
compared, too: as the crystal grows thicker it loses to the others.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices, matrices_from_euler
from zoneaxis.diffraction.polar import ring_background, smooth_polar
from zoneaxis.evaluation.matching.dynamical_library import (
    DynamicalLibrary,
    fan_intensities,
    shortest_turns,
)
from zoneaxis.evaluation.matching.polar_patterns import BLUR_INV_ANGSTROM, TINY

SAMPLES = 2  # from the middle of a disk to its edge
RIM = 0.9  # of a disk's radius is looked at: blur and a center slightly off spoil the edge
SEARCHED = 4  # steps to each side
N_ANGLES = 120
POWER, PRECESSED_POWER = 0.5, 0.35  # of intensities; a root has the same noise everywhere
TOLERATED = 0.15  # thicknesses whose misfit is so much larger than the least are possible, too


@dataclass(frozen=True, eq=False)
class Measured:
    """Patterns whose disks are fitted.

    Attributes:
        patterns: counts, shape (b, h, w).
        center_px: column and row of the direct beams as they were sought, shape (b, 2).
        camera_scale: factor on the pixel size, float64, shape (b,).
        shift_inv_angstrom: of the direct beams from there, float64, shape (b, 2).
        background: between the disks of each ring, shape (b, r).
        radii_inv_angstrom: of the rings, shape (r,).
        inv_angstrom_per_pixel: size of a pixel.
    """

    patterns: torch.Tensor
    center_px: torch.Tensor
    camera_scale: torch.Tensor
    shift_inv_angstrom: torch.Tensor
    background: torch.Tensor
    radii_inv_angstrom: torch.Tensor
    inv_angstrom_per_pixel: float

    @classmethod
    def of(
        cls,
        patterns: torch.Tensor,
        pixel: float,
        center_px: torch.Tensor,
        camera_scale: np.ndarray,
        shift_inv_angstrom: np.ndarray,
        radii: torch.Tensor,
    ) -> "Measured":
        """Find the background of patterns; arguments are the attributes."""
        polar = smooth_polar(patterns, center_px, pixel, radii, N_ANGLES, BLUR_INV_ANGSTROM)
        scale, shift = map(torch.from_numpy, (camera_scale, shift_inv_angstrom))
        background = ring_background(polar)[..., 0]
        return cls(patterns, center_px, scale, shift, background, radii, pixel)

    def __getitem__(self, rows: slice) -> "Measured":
        """Return some of the patterns."""
        each = ("patterns", "center_px", "camera_scale", "shift_inv_angstrom", "background")
        return replace(self, **{name: getattr(self, name)[rows] for name in each})

    def at(self, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return intensities above the background and whether they lie in the frame.

        Args:
            q: from the direct beam, 1/Angstrom, shape (b, n, k, 2).
        """
        q = q / self.camera_scale[:, None, None, None]
        place = (q + self.shift_inv_angstrom[:, None, None]) / self.inv_angstrom_per_pixel
        place = (place + self.center_px[:, None, None]).float()
        frame = place.new_tensor([self.patterns.shape[2], self.patterns.shape[1]])
        place = (place + 0.5) * 2 / frame - 1
        values = F.grid_sample(self.patterns[:, None], place, align_corners=False)[:, 0]
        first, last = (float(self.radii_inv_angstrom[i]) for i in (0, -1))
        ring = (q.norm(dim=-1) - first) * ((len(self.radii_inv_angstrom) - 1) / (last - first))
        ring = ring.round().long().clamp(0, len(self.radii_inv_angstrom) - 1)
        floor = self.background.gather(1, ring.flatten(1)).view_as(values)
        return (values - floor).clamp_min(0), (place.abs() < 1).all(dim=-1)


@dataclass(frozen=True, eq=False)
class DiskFit:
    """What the disks tell.

    Attributes:
        matrices: orientations, shape (b, 3, 3).
        thickness_nm: shape (b,).
        error_nm: half of the range of thicknesses that fit nearly as well, inf where the thickest
            of all fits best, shape (b,).
    """

    matrices: np.ndarray
    thickness_nm: np.ndarray
    error_nm: np.ndarray


def fit_disks(library: DynamicalLibrary, matrices: np.ndarray, measured: Measured) -> DiskFit:
    """Fit one orientation of each pattern.

    Args:
        library: of the crystal and the optics.
        matrices: orientations to start from, shape (b, 3, 3).
        measured: the patterns.
    """
    fit = _fit_means if library.optics.precession_deg else _fit_insides
    return fit(library, matrices, measured)


def _fit_insides(library: DynamicalLibrary, matrices: np.ndarray, measured: Measured) -> DiskFit:
    step = 1e-3 * library.optics.convergence_mrad / SAMPLES
    euler = euler_from_matrices(matrices)
    hkl, fine = fan_intensities(library, euler[:, 1:], step, SEARCHED + SAMPLES)
    g = hkl.double() @ torch.from_numpy(library.crystal.reciprocal_inv_angstrom)
    # q -> Z(phi1)^T q, here of rows.
    turn = torch.from_numpy(matrices_from_euler(euler * [1, 0, 0])[:, :2, :2])
    samples, inside = _samples(library.optics)
    q = (g @ torch.from_numpy(matrices))[:, :, None, :2] + (samples @ turn)[:, None]
    values, seen = measured.at(q)
    present = (hkl != 0).any(dim=-1)
    present[:, 0] = True
    seen = (seen & inside & present[..., None]).float()
    roots = values**POWER * seen
    tilts, profiles = [], []
    for root, mask, disks in zip(roots, seen, fine, strict=True):
        predicted = disks.clamp_min(0) ** POWER
        side = (2 * SAMPLES + 1,) * 2
        product = F.conv2d(predicted, root.unflatten(-1, side)[None])[:, 0]
        square = F.conv2d(predicted.square(), mask.unflatten(-1, side)[None])[:, 0]
        fits = product / (root.norm() * square.sqrt()).clamp_min(TINY)
        _, x, y = np.unravel_index(int(fits.argmax()), fits.shape)
        tilts.append([(x - SEARCHED) * step, (y - SEARCHED) * step])
        profiles.append(fits.flatten(1).amax(dim=1).numpy())
    tilt = np.einsum("bi,bij->bj", np.array(tilts), turn.numpy())
    beam = np.broadcast_to([0.0, 0.0, 1.0], (len(tilt), 3))
    found = matrices @ shortest_turns(beam, tilt)
    return DiskFit(found, *_thickness(library, np.stack(profiles)))


def _fit_means(library: DynamicalLibrary, matrices: np.ndarray, measured: Measured) -> DiskFit:
    places = library.locate(matrices)
    samples, inside = _samples(library.optics)
    profiles = []
    for i, number in enumerate(places.fan):
        fan = library.fan(int(number))
        q = library.spots(fan, places, i)[None, :, None] + samples[inside]
        values, seen = measured[i : i + 1].at(q)
        whole = seen.all(dim=-1)[0]
        root = values.mean(dim=-1)[0][whole] ** PRECESSED_POWER
        predicted = library.around(fan, places.tilt_rad[i])[..., whole].float() ** PRECESSED_POWER
        fits = predicted @ root / (root.norm() * predicted.norm(dim=-1)).clamp_min(TINY)
        profiles.append(fits.flatten(1).amax(dim=1).numpy())
    return DiskFit(matrices, *_thickness(library, np.stack(profiles)))


def _samples(optics: Optics) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a square grid of points of a disk (k, 2), and which of them are looked at (k,)."""
    axis = torch.arange(-SAMPLES, SAMPLES + 1).double() / SAMPLES
    grid = torch.cartesian_prod(axis, axis)
    return grid * optics.disk_radius_inv_angstrom, grid.norm(dim=1) <= RIM


def _thickness(library: DynamicalLibrary, profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return thickness and error, (b,), of the best fits at each thickness, (b, z)."""
    nm = library.thicknesses_nm
    best = profiles.argmax(axis=1)
    top = profiles.max(axis=1, keepdims=True)
    possible = profiles >= top - TOLERATED * (1 - top)
    low = np.where(possible, nm, np.inf).min(axis=1)
    high = np.where(possible, nm, -np.inf).max(axis=1)
    step = np.gradient(nm)[best] if len(nm) > 1 else np.zeros(len(best))
    # Where the thickest fits best, the crystal may be thicker still.
    error = np.where(best == len(nm) - 1, np.inf, (high - low + step) / 2)
    return nm[best], error
