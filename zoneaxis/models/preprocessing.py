"""From a recorded pattern to a network's input; the same code in training and in indexing."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from zoneaxis.diffraction import camera
from zoneaxis.diffraction.blur import blurred
from zoneaxis.diffraction.polar import compressed_polar, direct_beam_center
from zoneaxis.errors import SettingsError


@dataclass(frozen=True)
class PolarInput:
    """Compressed polar patterns: an in-plane rotation becomes a shift.

    A ring's median is its background: disks cover less than half of a ring. What rises above it
    is raised to small powers, one channel each, so that faint reflections, which tell
    orientations apart, count beside the bright ones.

    Attributes:
        inner_inv_angstrom: innermost radius, beyond the blurred flank of the direct beam.
        outer_inv_angstrom: outermost radius.
        n_radii: rings.
        n_angles: angles.
        powers: of the intensities, one channel each.
        blur_inv_angstrom: smoothing before the power, which would lift the noise.
        disk_radius_inv_angstrom: of the direct beam, to find its center.
    """

    inner_inv_angstrom: float = 0.17
    outer_inv_angstrom: float = 1.7
    n_radii: int = 48
    n_angles: int = 144
    powers: tuple[float, ...] = (0.25,)
    blur_inv_angstrom: float = 0.03
    disk_radius_inv_angstrom: float = 0.08

    def __post_init__(self) -> None:
        if not 0 < self.inner_inv_angstrom < self.outer_inv_angstrom:
            raise SettingsError(
                f"Rings from {self.inner_inv_angstrom:.3g} to {self.outer_inv_angstrom:.3g} "
                "1/Angstrom: the pattern ends before its reflections begin. Take larger pixels "
                "or more of them."
            )

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input."""
        return len(self.powers), self.n_radii, self.n_angles

    @property
    def radii(self) -> torch.Tensor:
        """Radii of the rings in 1/Angstrom, shape (n_radii,)."""
        return torch.linspace(self.inner_inv_angstrom, self.outer_inv_angstrom, self.n_radii)

    def __call__(self, patterns: torch.Tensor, inv_angstrom_per_pixel: float) -> torch.Tensor:
        """Return network inputs in 0..1, float32, shape (b, channels, radii, angles).

        Args:
            patterns: any non-negative intensities, shape (b, h, w).
            inv_angstrom_per_pixel: size of a pixel.
        """
        center = direct_beam_center(
            patterns, self.disk_radius_inv_angstrom / inv_angstrom_per_pixel
        )
        polar = compressed_polar(
            patterns,
            center,
            inv_angstrom_per_pixel,
            self.radii,
            self.n_angles,
            self.blur_inv_angstrom,
        )
        polar = polar / polar.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        return torch.stack([polar**power for power in self.powers], dim=1)


@dataclass(frozen=True)
class CartesianInput:
    """The pattern itself, cropped to a wave vector, resized, on a logarithmic scale.

    Attributes:
        size: height and width.
        outer_inv_angstrom: wave vector at the middle of the edges.
        dynamic_range: of the logarithm, relative to the brightest pixel.
    """

    size: int = 128
    outer_inv_angstrom: float = 1.6
    dynamic_range: float = 1e5

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input."""
        return 1, self.size, self.size

    def __call__(self, patterns: torch.Tensor, inv_angstrom_per_pixel: float) -> torch.Tensor:
        """Return network inputs, float32, shape (b, 1, size, size); arguments as `PolarInput`."""
        scale = 2 * self.outer_inv_angstrom / self.size / inv_angstrom_per_pixel
        resized = camera.resample(_smoothed(_square(patterns), scale), self.size, scale)
        return camera.log_range(resized, self.dynamic_range)[:, None]


def preprocessing_from_dict(values: dict[str, Any]) -> PolarInput | CartesianInput:
    """Return the preprocessing whose `dataclasses.asdict` was stored in a checkpoint.

    Raises:
        TypeError: the keys are those of neither.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return PolarInput(**values) if "n_radii" in values else CartesianInput(**values)


def _smoothed(patterns: torch.Tensor, spacing_px: float) -> torch.Tensor:
    """Return patterns that may be sampled every `spacing_px` pixels.

    A camera of small pixels would otherwise waste most of its electrons between the samples.
    """
    # Together with the pixel itself, the Gaussian is as wide as a pixel of the spacing.
    sigma_px = (max(spacing_px**2 - 1, 0) / 12) ** 0.5
    return blurred(patterns, sigma_px) if sigma_px > 0.2 else patterns


def _square(patterns: torch.Tensor) -> torch.Tensor:
    """Return patterns padded to squares, with pixel [h // 2, w // 2] still in the middle."""
    h, w = patterns.shape[-2:]
    n = max(h, w)
    left, top = n // 2 - w // 2, n // 2 - h // 2
    return F.pad(patterns, (left, n - w - left, top, n - h - top))
