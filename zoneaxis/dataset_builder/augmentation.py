"""What a camera would have recorded of simulated patterns, drawn anew for each of them.

In this order: grains, mirrored or two at once, and patterns of vacuum and amorphous material;
rings and diffuse bell; camera length, in-plane rotation, elliptical distortion and centering;
beam stop; point spread; counting noise; dead rows and hot pixels; sensitivity.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.dataset_builder.draws import Draw
from zoneaxis.dataset_builder.ranges import Ranges
from zoneaxis.dataset_builder.schema import LEVELS, decode
from zoneaxis.diffraction import camera
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import MIRROR_X, matrices_from_euler

CRYSTAL, VACUUM, AMORPHOUS = 0, 1, 2
DIRECT_BEAM_INV_ANGSTROM = 0.11  # holds the disks of up to 2.1 mrad at 300 kV
CACHED_PIXELS = 2**19  # patterns augmented together: 2 MB stay in a processor's cache


@dataclass(frozen=True, eq=False)
class Batch:
    """Augmented patterns and what they show, all on one device.

    Attributes:
        patterns: counts, fractions of the beam where no counts were asked for, or their logarithm
            from 0 to 1 where that was, (b, n, n).
        matrices: orientation G of each pattern, shape (b, 3, 3); meaningless off the crystal.
        kind: CRYSTAL, VACUUM or AMORPHOUS, shape (b,).
        grain_share: share of the labeled grain, the stronger of two, or 1; shape (b,).
        camera_scale: true size of a pixel relative to the stated one, shape (b,).
        center_inv_angstrom: (x, y) of the direct beam from pixel [n // 2, n // 2] in units of the
            stated pixels, shape (b, 2).
        amorphous_share: of the beam, in rings; shape (b,).
        inv_angstrom_per_pixel: size of a pixel, as one who knows the camera would state it.
    """

    patterns: torch.Tensor
    matrices: torch.Tensor
    kind: torch.Tensor
    grain_share: torch.Tensor
    camera_scale: torch.Tensor
    center_inv_angstrom: torch.Tensor
    amorphous_share: torch.Tensor
    inv_angstrom_per_pixel: float


@dataclass(frozen=True)
class Augmentation(Ranges):
    """Ranges from which each pattern's specimen, optics and camera are drawn; see `Ranges`."""

    def __call__(
        self,
        patterns: torch.Tensor,
        euler_deg: np.ndarray,
        inv_angstrom_per_pixel: float,
        crystal: Crystal,
        generator: torch.Generator,
        direct_beam_inv_angstrom: float = DIRECT_BEAM_INV_ANGSTROM,
    ) -> Batch:
        """Augment a batch, on the device where its patterns are.

        Args:
            patterns: fractions of the incident beam, float32, or a data set's 16-bit levels,
                shape (b, n, n); not changed.
            euler_deg: (phi1, Phi, phi2) of each, shape (b, 3).
            inv_angstrom_per_pixel: size of a pixel.
            crystal: for the mirror.
            generator: of every draw, on the processor; the same state gives the same batch. On
                another device only the counting noise differs.
            direct_beam_inv_angstrom: radius that holds the direct beam and no reflection, to
                make patterns of vacuum and of amorphous material.
        """
        b, n, device = len(patterns), patterns.shape[-1], patterns.device
        # Of its own, so that a switch which draws more or less leaves the noise as it is.
        noise = torch.Generator(device).manual_seed(
            int(torch.randint(2**62, (), generator=generator))
        )
        draw = Draw.batch(b, self.hot_pixels[1], self.dead_rows[1], generator)
        kind, flip = self._kinds(draw), self._flips(crystal, draw)
        share = self._shares(kind, draw)
        pixel, radius_px = inv_angstrom_per_pixel, direct_beam_inv_angstrom / inv_angstrom_per_pixel
        size = round(n / float(draw.uniform("pixel", *self.pixel)[0]))
        together = b
        if device.type == "cpu":
            together = max(1, CACHED_PIXELS // n**2)
            _keep_freed_memory()
        images = torch.empty(b, size, size, device=device)
        for start in range(0, b, together):
            rows = slice(start, start + together)
            part = draw.rows(rows)
            grains = self._grains(patterns, rows, flip[rows], share[rows], part)
            if (empty := kind[rows] != CRYSTAL).any():
                grains[empty] = direct_beam(grains[empty], radius_px)
            specimen = self._specimen(self._unframed(grains), kind[rows], pixel, part)
            images[rows] = self._camera(specimen, n, size, pixel, part, noise)
        scale = draw.uniform("scale", *self.scale)
        labels = (
            self._matrices(euler_deg, crystal, flip, draw),
            kind,
            share,
            scale,
            self._shift_px(n, size, scale * n / size, draw) * (pixel * n / size),
            self._ringed(kind, draw) * draw.uniform("rings_fraction", *self.rings_fraction),
        )
        return Batch(images, *(label.to(device) for label in labels), pixel * n / size)

    def _kinds(self, draw: Draw) -> torch.Tensor:
        empty = draw.chance("kind", self.vacuum_probability + self.amorphous_probability)
        vacuum = draw.chance("kind", self.vacuum_probability)
        return torch.where(vacuum, VACUUM, torch.where(empty, AMORPHOUS, CRYSTAL))

    def _flips(self, crystal: Crystal, draw: Draw) -> torch.Tensor:
        """Tell which patterns are shown as their mirror images."""
        return draw.chance("mirror", 0.5 * (self.mirror and crystal.mirror is not None))

    def _shares(self, kind: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Return the share of the labeled grain, the stronger of two where there are two."""
        mixed = draw.chance("second_grain", self.second_grain_probability)
        mixed &= (kind == CRYSTAL) & (draw.other >= 0)
        return 1 - mixed * draw.uniform("second_grain_share", *self.second_grain_share)

    def _ringed(self, kind: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Tell which patterns show rings: all amorphous and some crystalline ones."""
        rings = draw.chance("rings", self.rings_probability) & (kind == CRYSTAL)
        return rings | (kind == AMORPHOUS)

    def _turns_deg(self, draw: Draw) -> torch.Tensor:
        turn = draw.uniform("turn", 0.0, 360.0 * self.rotate)
        return turn if not self.rotate_step_deg else turn - turn % self.rotate_step_deg

    def _matrices(
        self, euler_deg: np.ndarray, crystal: Crystal, flip: torch.Tensor, draw: Draw
    ) -> torch.Tensor:
        """Return the orientations as mirrored and turned, float32, shape (b, 3, 3)."""
        matrices = matrices_from_euler(euler_deg)
        if flip.any():
            flipped = flip.numpy()
            matrices[flipped] = crystal.mirror @ matrices[flipped] @ MIRROR_X
        turn = self._turns_deg(draw).numpy()
        about_beam = matrices_from_euler(np.stack([turn, 0 * turn, 0 * turn], axis=1))
        return torch.from_numpy(matrices @ about_beam).float()

    def _grains(
        self,
        patterns: torch.Tensor,
        rows: slice,
        flip: torch.Tensor,
        share: torch.Tensor,
        draw: Draw,
    ) -> torch.Tensor:
        """Return a copy of some patterns, mirrored, or with a second grain laid over."""
        grains = _fractions(patterns[rows])
        if flip.any():
            grains[flip] = mirror_x(grains[flip])
        if (mixed := share < 1).any():
            second = _fractions(patterns[draw.other[mixed]])
            if self.rotate:
                turn = draw.uniform("second_grain_turn", 0.0, 360.0)[mixed]
                second = camera.resample(second, second.shape[-1], rotation_deg=turn)
            weight = share[mixed, None, None].to(grains.device)
            grains[mixed] = torch.lerp(second, grains[mixed], weight)
        return grains

    def _unframed(self, patterns: torch.Tensor) -> torch.Tensor:
        """Return patterns with all the room around them that the camera can get to see.

        The simulation's square frame must not show, least of all turned: its edges would tell
        the in-plane angle, and no camera's do. So the crystal's part is cut to a disk, and bell
        and rings are to go on beyond it.
        """
        n = patterns.shape[-1]
        if self.rotate:
            axis = torch.arange(n, device=patterns.device) - n // 2
            patterns = patterns * (torch.hypot(axis[:, None].float(), axis.float()) < n // 2)
        reach = self.ellipse[1] ** 0.5 * (2**0.5 if self.rotate else 1.0)
        beyond_px = 0.0
        if not self.random_crop:
            reach *= self.scale[1]
            beyond_px = reach * self.pixel[1] * self.shift_px
        elif reach == 1:
            return patterns
        margin = math.ceil(max(0.0, (reach - 1) * n / 2 + beyond_px)) + 1
        return F.pad(patterns, (margin, margin, margin, margin))

    def _specimen(
        self, patterns: torch.Tensor, kind: torch.Tensor, pixel: float, draw: Draw
    ) -> torch.Tensor:
        """Add the diffuse bell, and rings where there are any."""
        bell = draw.uniform("bell_fraction", *self.bell_fraction)
        sigma = draw.uniform("bell_sigma", *self.bell_sigma_inv_angstrom) / pixel
        patterns = camera.diffuse_bell(patterns, bell * (1 - 0.9 * (kind == VACUUM)), sigma)
        if (rings := self._ringed(kind, draw)).any():
            inner = draw.uniform("rings_radius", *self.rings_inv_angstrom)[rings] / pixel
            # Most glasses show a second, weaker halo near 1.75 times the first.
            radii = torch.stack([inner, 1.75 * inner], dim=1).to(patterns.device)
            fraction = draw.uniform("rings_fraction", *self.rings_fraction)[rings]
            patterns[rings] = camera.amorphous_rings(patterns[rings], fraction, radii, 0.15 * radii)
        return patterns

    def _camera(
        self,
        patterns: torch.Tensor,
        n: int,
        size: int,
        pixel: float,
        draw: Draw,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Turn, distort, scale and shift patterns of once n pixels, and record them with `size`."""
        step = draw.uniform("scale", *self.scale) * (n / size)
        shift = self._shift_px(n, size, step, draw)
        spread = draw.uniform("point_spread", *self.point_spread_px)
        reach = max(1, math.ceil(3 * self.point_spread_px[1]))
        ellipse = draw.uniform("ellipse", *self.ellipse)
        if not self.rotate and self.ellipse[1] == 1 and self.beam_stop_probability == 0:
            patterns = camera.zoom_and_blur(patterns, size, step, shift, spread, reach)
        else:
            axis = draw.uniform("ellipse_axis", 0.0, 180.0)
            turn = self._turns_deg(draw)
            patterns = camera.resample(patterns, size, step, turn, shift, ellipse, axis)
            patterns = self._stopped(patterns, shift, pixel * n / size, draw)
            patterns = camera.blur(patterns, spread, reach)
        if self.counts is not None:
            patterns = camera.poisson(patterns, draw.log_uniform("counts", *self.counts), generator)
        patterns = self._defects(patterns, draw)
        if self.sensitivity is None:
            return patterns
        levels = draw.log_uniform("sensitivity", *self.sensitivity)
        return (camera.log_range if self.log_image else camera.read_out)(patterns, levels)

    def _shift_px(self, n: int, size: int, step: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Return where direct beams land relative to the middle, (column, row), shape (b, 2)."""
        if not self.random_crop:
            names = ("shift_x", "shift_y")
            return torch.stack([draw.uniform(s, -self.shift_px, self.shift_px) for s in names], 1)
        corner = torch.stack([draw.uniform(name, 0.0, 1.0) for name in ("shift_x", "shift_y")], 1)
        corner = corner * ((n - 1) - (size - 1) * step).clamp(min=0)[:, None]
        return (n // 2 - corner) / step[:, None] - size // 2

    def _stopped(
        self, patterns: torch.Tensor, shift_px: torch.Tensor, pixel: float, draw: Draw
    ) -> torch.Tensor:
        """Hide the direct beam of some patterns behind a stop that is not quite centered."""
        hidden = draw.chance("stop", self.beam_stop_probability)
        if not hidden.any():
            return patterns
        radius = draw.uniform("stop_radius", *self.beam_stop_inv_angstrom) / pixel
        off = torch.stack([draw.uniform(f"stop_{axis}", -0.3, 0.3) for axis in "xy"], dim=1)
        center = shift_px + off * radius[:, None]
        arm = draw.uniform("stop_arm", 0.0, 360.0)
        patterns[hidden] = camera.beam_stop(
            patterns[hidden], radius[hidden], arm[hidden], radius[hidden] / 2, center[hidden]
        )
        return patterns

    def _defects(self, patterns: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Darken dead rows and light hot pixels."""
        size = patterns.shape[-1]
        if self.dead_rows[1]:
            these = draw.first("dead_rows", *self.dead_rows)
            rows = torch.zeros(len(patterns), size)
            rows.scatter_reduce_(1, (draw.dead * size).long(), these.float(), "amax")
            patterns = camera.dead_rows(patterns, rows.bool())
        if self.hot_pixels[1]:
            these = draw.first("hot_pixels", *self.hot_pixels)
            places, levels = draw.hot
            patterns = camera.hot_pixels(patterns, (places * size**2).long(), levels * these)
        return patterns


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep up to 64 MB that are free, not fault them in for each batch anew.

    It raises its limits to the largest block freed, at most 32 MB: a fifth of the time is saved.
    """
    torch.empty(31 * 2**18)


def _fractions(patterns: torch.Tensor) -> torch.Tensor:
    """Return a copy of patterns in fractions of the beam, decoded where they are levels."""
    if patterns.is_floating_point():
        return patterns.clone()
    table = _decoded_levels(patterns.device)
    return table.index_select(0, patterns.flatten().int()).view(patterns.shape)


@cache
def _decoded_levels(device: torch.device) -> torch.Tensor:
    """Return the fraction of the beam that each level stands for, shape (LEVELS + 1,)."""
    return torch.from_numpy(decode(np.arange(LEVELS + 1, dtype=np.uint16))).to(device)


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
    axis = torch.arange(n, device=patterns.device) - n // 2
    alone = patterns * (torch.hypot(axis[:, None].float(), axis[None].float()) < radius_px)
    return alone / alone.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
