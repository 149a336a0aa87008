"""TemplateBank: the spots of every beam direction, and their spectra over the in-plane angle.

A template is a set of spots (where, how strong) drawn as Gaussians on a polar grid, weighted by the
radius and free of its mean on each ring. Where the point group holds an improper operation, the
templates of half of all directions are the y-mirrors of the others', and their spectra the complex
conjugates: only one half is computed and compared, and the other follows from the same products.

Source: C. Ophus et al., Microsc. Microanal. 28, 390 (2022) for polar correlation, powers, mirrors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.disks import Disks, disk_tilts
from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import MIRROR_Y, matrices_from_euler
from zoneaxis.diffraction.polar import draw_polar_spots
from zoneaxis.evaluation.matching.polar_patterns import POWER, PolarGrid

FREQUENCIES = 20  # over the angle; the higher ones do not change which templates are good
DRAWN_TOGETHER = 256  # templates; bounds the memory while they are made
WEAKEST = 0.02  # spots weaker than this share of the strongest, after the power, are left out
DYNAMICAL_RINGS = 1  # of tilts, over which dynamical intensities are averaged


@dataclass(frozen=True, eq=False)
class TemplateBank:
    """Templates of n directions and, with a mirror, of as many mirrored ones after them.

    Attributes:
        matrices: orientation of each template, n or 2 n of them, shape (t, 3, 3).
        radius_inv_angstrom: of the spots of the first n, shape (n, s).
        angle: of the spots, in radians from x (right) to y (down), shape (n, s).
        weight: heights of the spots, 0 for padding, shape (n, s).
        ring_power: squares of each template summed over each ring, shape (n, r).
        low_ring_power: squares of the moduli of the angular frequencies 1 to f, shape (n, r).
        spectra: real and imaginary parts of those frequencies side by side, shape (f, r, 2 n).
    """

    matrices: np.ndarray
    radius_inv_angstrom: torch.Tensor
    angle: torch.Tensor
    weight: torch.Tensor
    ring_power: torch.Tensor
    low_ring_power: torch.Tensor
    spectra: torch.Tensor

    @property
    def typical_spots(self) -> int:
        """Median number of spots of a template."""
        return int((self.weight > 0).sum(dim=1).median())

    def split(self, template: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the direction of each template, and 1, or -1 where it is mirrored."""
        return template % len(self.weight), 1 - 2 * (template // len(self.weight))


def template_bank(
    crystal: Crystal,
    optics: Optics,
    grid: PolarGrid,
    *,
    step_deg: float,
    thicknesses_nm: Sequence[float] = (),
) -> TemplateBank:
    """Compute the templates of all symmetry-reduced directions.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector.
        grid: that templates are drawn on.
        step_deg: spacing of the directions.
        thicknesses_nm: with some, the powers of dynamical intensities are averaged over them; with
            none, templates are kinematic.

    Raises:
        SettingsError: a step or optics out of range.
    """
    directions = sample_directions(crystal, step_deg, mirrored=True)
    matrices = matrices_from_euler(np.pad(directions, ((0, 0), (1, 0))))
    if crystal.mirror is not None:
        matrices = np.concatenate([matrices, crystal.mirror @ matrices @ MIRROR_Y])
    if len(thicknesses_nm):
        disks = dynamical_disks(crystal, optics, directions, thicknesses_nm)
    else:
        disks = enveloped_disks(crystal, optics, directions)
    q, weight = strongest_spots(disks)
    parts = [
        _spectra(grid, *part)
        for part in zip(q.split(DRAWN_TOGETHER), weight.split(DRAWN_TOGETHER), strict=True)
    ]
    ring_power, low_ring_power, spectra = zip(*parts, strict=True)
    spectra = torch.cat(spectra, dim=2)
    radius, angle = q.norm(dim=-1), torch.atan2(q[..., 1], q[..., 0])
    return TemplateBank(
        matrices=matrices,
        radius_inv_angstrom=radius,
        angle=angle,
        weight=weight,
        ring_power=torch.cat(ring_power),
        low_ring_power=torch.cat(low_ring_power),
        spectra=torch.cat([spectra.real, spectra.imag], dim=2),
    )


def dynamical_disks(
    crystal: Crystal,
    optics: Optics,
    directions_deg: np.ndarray,
    thicknesses_nm: Sequence[float],
) -> Disks:
    """Return Bloch-wave disks whose intensity, to the POWER, is the mean over thicknesses.

    Args:
        crystal: the specimen.
        optics: illumination and largest wave vector.
        directions_deg: (Phi, phi2), shape (n, 2).
        thicknesses_nm: to average over, shape (z,).

    Returns:
        Disks of one thickness and one tilt; the direct beam's intensity is 0.
    """
    tilts = disk_tilts(DYNAMICAL_RINGS)
    disks = bloch_disks(crystal, optics, directions_deg, np.asarray(thicknesses_nm), tilts=tilts)
    mean = (disks.mean_intensity**POWER).mean(dim=1) ** (1 / POWER)
    mean[:, 0] = 0
    return replace(disks, intensity=mean[:, None, :, None], tilts=disk_tilts(0))


def strongest_spots(disks: Disks) -> tuple[torch.Tensor, torch.Tensor]:
    """Return places (n, s, 2) and heights (n, s) of the spots worth drawing, strongest first."""
    height = disks.intensity[:, 0, :, 0] ** POWER
    height = height * (height >= WEAKEST * height.amax(dim=1, keepdim=True))
    width = int((height > 0).sum(dim=1).max())
    weight, order = height.topk(width, dim=1)
    return disks.q_inv_angstrom.gather(1, order[..., None].expand(-1, -1, 2)), weight


def _spectra(
    grid: PolarGrid, q: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the power of each ring, that of the low frequencies, and those, (f, r, n)."""
    drawn = draw_polar_spots(
        q, weight, grid.sigma_inv_angstrom, grid.radii_inv_angstrom, grid.n_angles
    )
    templates = grid.weighted(drawn)
    low = torch.fft.rfft(templates, dim=-1)[..., 1 : FREQUENCIES + 1]
    low_power = low.abs().square().sum(dim=-1)
    return templates.square().sum(dim=-1), low_power, low.permute(2, 1, 0)
