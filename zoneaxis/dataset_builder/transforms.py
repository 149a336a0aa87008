"""Streaming augmentations: simulated patterns in, what a camera would have recorded out.

The paper's five are all here: sensitivity, point spread, diffuse bell, amorphous rings, camera
length and centering; beside them in-plane rotation, mirror, counting noise, and patterns of
vacuum and amorphous material. The paper draws the range m of its logarithmic image to stand for
the camera's sensitivity; here the camera itself reads out m levels, and the logarithm belongs to
the network's input, where training and indexing share it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction import camera
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import MIRROR_X, matrices_from_euler
from zoneaxis.errors import SettingsError

CRYSTAL, VACUUM, AMORPHOUS = 0, 1, 2
DIRECT_BEAM_INV_ANGSTROM = 0.11  # holds the disks of up to 2.1 mrad at 300 kV


@dataclass(frozen=True, eq=False)
class Batch:
    """Augmented patterns and what they show.

    Attributes:
        patterns: counts, or fractions of the beam where no counts were asked for, (b, n, n).
        matrices: orientation G of each pattern, shape (b, 3, 3); meaningless off the crystal.
        kind: CRYSTAL, VACUUM or AMORPHOUS, shape (b,).
        inv_angstrom_per_pixel: size of a pixel, as one who knows the camera would state it; the
            camera length of each pattern is off by its drawn scale.
    """

    patterns: torch.Tensor
    matrices: torch.Tensor
    kind: torch.Tensor
    inv_angstrom_per_pixel: float


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each pattern's specimen, optics and camera are drawn.

    Attributes:
        point_spread_px: Gaussian blur, smallest and largest sigma.
        bell_fraction: share of the beam in the thermal diffuse bell.
        bell_sigma_inv_angstrom: width of that bell.
        rings_probability: share of the patterns with amorphous rings on the crystal's.
        rings_fraction: share of the beam in those rings.
        rings_inv_angstrom: where the innermost ring may lie.
        scale: camera length relative to the nominal one.
        pixel: size of the camera's pixels relative to the simulation's, one draw a batch; the
            field of view stays, so noise and vacuum are learned for coarse and fine cameras.
        shift_px: largest shift of the direct beam along each axis.
        rotate: turn each pattern by a random in-plane angle.
        mirror: show half of the patterns as their mirror images, where the crystal allows it.
        counts: incident electrons a pattern, drawn log-uniformly; None for no counting noise.
        sensitivity: levels from dark to the brightest pixel, drawn log-uniformly; what is fainter
            than half a level is lost. None for a camera that shows everything.
        vacuum_probability: share of the patterns that show the direct beam alone.
        amorphous_probability: share of the patterns that show rings alone.
    """

    point_spread_px: tuple[float, float] = (0.0, 1.5)
    bell_fraction: tuple[float, float] = (0.0, 0.12)
    bell_sigma_inv_angstrom: tuple[float, float] = (0.3, 1.5)
    rings_probability: float = 0.1
    rings_fraction: tuple[float, float] = (0.02, 0.2)
    rings_inv_angstrom: tuple[float, float] = (0.25, 0.6)
    scale: tuple[float, float] = (0.95, 1.05)
    pixel: tuple[float, float] = (0.6, 1.3)
    shift_px: float = 2.0
    rotate: bool = True
    mirror: bool = True
    counts: tuple[float, float] | None = (1e4, 1e6)
    sensitivity: tuple[float, float] | None = (1e3, 1e7)
    vacuum_probability: float = 0.02
    amorphous_probability: float = 0.02

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            lowest = 0.0
            if name in ("scale", "pixel", "bell_sigma_inv_angstrom", "rings_inv_angstrom"):
                lowest = 1e-3
            elif name in ("counts", "sensitivity"):
                lowest = 1.0
            if isinstance(value, tuple) and not lowest <= value[0] <= value[1] < np.inf:
                raise SettingsError(
                    f"Augmentation: {name} = {value}: expected {lowest:g} <= low <= high."
                )
            if name.endswith("probability") and not 0 <= value <= 1:
                raise SettingsError(f"Augmentation: {name} = {value}: expected 0 to 1.")
        if not 0 <= self.shift_px < np.inf:
            raise SettingsError(f"Augmentation: shift_px = {self.shift_px}: expected 0 or more.")
        if self.vacuum_probability + self.amorphous_probability > 1:
            raise SettingsError("Augmentation: vacuum and amorphous together exceed all patterns.")

    def __call__(
        self,
        patterns: torch.Tensor,
        euler_deg: np.ndarray,
        inv_angstrom_per_pixel: float,
        crystal: Crystal,
        generator: torch.Generator,
        direct_beam_inv_angstrom: float = DIRECT_BEAM_INV_ANGSTROM,
    ) -> Batch:
        """Augment a batch.

        Args:
            patterns: fractions of the incident beam, float32, shape (b, n, n); not changed.
            euler_deg: (phi1, Phi, phi2) of each, shape (b, 3).
            inv_angstrom_per_pixel: size of a pixel.
            crystal: for the mirror.
            generator: of every draw; the same state gives the same batch.
            direct_beam_inv_angstrom: radius that holds the direct beam and no reflection, to
                make patterns of vacuum and of amorphous material.
        """
        draw = _Draw(len(patterns), generator)
        patterns, matrices = self._mirrored(patterns, matrices_from_euler(euler_deg), crystal, draw)
        kind = self._kinds(draw)
        patterns = torch.where(
            (kind == CRYSTAL)[:, None, None],
            patterns,
            direct_beam(patterns, direct_beam_inv_angstrom / inv_angstrom_per_pixel),
        )
        size = patterns.shape[-1]
        patterns = self._specimen(self._unframed(patterns), kind, inv_angstrom_per_pixel, draw)
        turn = draw.uniform(0.0, 360.0) * self.rotate
        low, high = self.pixel
        resized = round(size / (low + (high - low) * float(draw.uniform(0.0, 1.0)[0])))
        patterns = self._camera(patterns, resized, size / resized, turn, draw)
        about_beam = matrices_from_euler(np.stack([turn.numpy(), 0 * turn, 0 * turn], axis=1))
        matrices = torch.from_numpy(matrices @ about_beam).float()
        return Batch(patterns, matrices, kind, inv_angstrom_per_pixel * size / resized)

    def _mirrored(
        self, patterns: torch.Tensor, matrices: np.ndarray, crystal: Crystal, draw: "_Draw"
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Mirror half of the patterns, and their orientations with them."""
        if not self.mirror or crystal.mirror is None:
            return patterns, matrices
        flip = draw.chance(0.5)[:, None, None]
        other = crystal.mirror @ matrices @ MIRROR_X
        return (
            torch.where(flip, mirror_x(patterns), patterns),
            np.where(flip.numpy(), other, matrices),
        )

    def _kinds(self, draw: "_Draw") -> torch.Tensor:
        which = draw.uniform(0.0, 1.0)
        kind = torch.full(which.shape, CRYSTAL)
        kind[which < self.vacuum_probability + self.amorphous_probability] = AMORPHOUS
        kind[which < self.vacuum_probability] = VACUUM
        return kind

    def _unframed(self, patterns: torch.Tensor) -> torch.Tensor:
        """Return patterns with all the room around them that the camera can get to see.

        The simulation's square frame must not show, least of all turned: its edges would tell
        the in-plane angle, and no camera's do. So the crystal's part is cut to a disk, and bell
        and rings are to go on beyond it.
        """
        n = patterns.shape[-1]
        reach = self.scale[1] * (2**0.5 if self.rotate else 1.0)
        margin = (
            math.ceil(max(0.0, (reach - 1) * n / 2 + reach * self.pixel[1] * self.shift_px)) + 1
        )
        if self.rotate:
            axis = torch.arange(n) - n // 2
            patterns = patterns * (torch.hypot(axis[:, None].float(), axis.float()) < n // 2)
        return F.pad(patterns, (margin, margin, margin, margin))

    def _specimen(
        self, patterns: torch.Tensor, kind: torch.Tensor, pixel: float, draw: "_Draw"
    ) -> torch.Tensor:
        """Add the diffuse bell, and rings on all amorphous and some crystalline patterns."""
        rings = (kind == AMORPHOUS) | (draw.chance(self.rings_probability) & (kind == CRYSTAL))
        inner = draw.uniform(*self.rings_inv_angstrom)
        # Most glasses show a second, weaker halo near 1.75 times the first.
        radii = torch.stack([inner, 1.75 * inner], dim=1)
        fraction = draw.uniform(*self.rings_fraction)
        patterns = patterns.clone()
        patterns[rings] = camera.amorphous_rings(
            patterns[rings], fraction[rings], radii[rings] / pixel, 0.15 * radii[rings] / pixel
        )
        bell = draw.uniform(*self.bell_fraction) * torch.where(kind == VACUUM, 0.1, 1.0)
        return camera.diffuse_bell(
            patterns, bell, draw.uniform(*self.bell_sigma_inv_angstrom) / pixel
        )

    def _camera(
        self, patterns: torch.Tensor, size: int, pixel: float, turn: torch.Tensor, draw: "_Draw"
    ) -> torch.Tensor:
        """Turn, scale and shift patterns, and record them with pixels of another size."""
        shift = torch.stack([draw.uniform(-self.shift_px, self.shift_px) for _ in range(2)], 1)
        scale = draw.uniform(*self.scale) * pixel
        patterns = camera.resample(patterns, size, scale, turn, shift)
        patterns = camera.blur(patterns, draw.uniform(*self.point_spread_px))
        if self.counts is not None:
            patterns = camera.poisson(patterns, draw.log_uniform(*self.counts), draw.generator)
        if self.sensitivity is not None:
            patterns = read_out(patterns, draw.log_uniform(*self.sensitivity))
        return patterns


def mirror_x(patterns: torch.Tensor) -> torch.Tensor:
    """Return patterns mirrored left to right about the direct beam's column, shape kept."""
    flipped = patterns.flip(-1)
    if patterns.shape[-1] % 2 == 0:
        flipped = torch.roll(flipped, 1, dims=-1)
        flipped[..., 0] = 0  # its mirror column lies outside the frame
    return flipped


def direct_beam(patterns: torch.Tensor, radius_px: float) -> torch.Tensor:
    """Return the direct beam alone, holding the whole intensity; shape kept."""
    n = patterns.shape[-1]
    axis = torch.arange(n) - n // 2
    alone = patterns * (torch.hypot(axis[:, None].float(), axis[None].float()) < radius_px)
    return alone / alone.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-12)


def read_out(patterns: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Return patterns as a camera of finite sensitivity gives them: in whole levels.

    Args:
        patterns: intensities, shape (b, n, n).
        levels: from dark to the brightest pixel of each pattern, shape (b,).

    Returns:
        The same unit and shape, rounded to multiples of peak / levels.
    """
    step = patterns.amax(dim=(-2, -1), keepdim=True) / levels[:, None, None]
    return (patterns / step.clamp(min=1e-30)).round() * step


@dataclass(frozen=True)
class _Draw:
    """Random numbers for a batch, one each, from one generator."""

    size: int
    generator: torch.Generator

    def uniform(self, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.size, generator=self.generator)

    def log_uniform(self, low: float, high: float) -> torch.Tensor:
        return self.uniform(np.log(low), np.log(high)).exp()

    def chance(self, probability: float) -> torch.Tensor:
        return torch.rand(self.size, generator=self.generator) < probability
