"""The ranges from which specimen, optics and camera are drawn, the paper's among them."""

import math
import sys
from dataclasses import dataclass, replace
from typing import Self

from zoneaxis.errors import SettingsError


@dataclass(frozen=True)
class Ranges:
    """Ranges from which each pattern's specimen, optics and camera are drawn.

    The bell's ranges hold the thermal diffuse scattering in 88 frozen-phonon multislice patterns
    of LiNiO2 (300 kV, 10 to 80 nm): between the disks, from 0.15 to 1.95 1/Å, a Gaussian fits it
    to 16 % (median), its sigma 0.83 to 1.16 1/Å, its share of the beam 1.9 to 10.4 %, 0.13 % per
    nm of thickness. A Lorentzian's broader tail fits worse (21 %). Inelastic scattering, which is
    narrower, is not in these patterns.

    Attributes:
        point_spread_px: Gaussian blur, smallest and largest sigma.
        bell_fraction: share of the beam in the thermal diffuse bell.
        bell_sigma_inv_angstrom: width of that bell.
        rings_probability: share of the patterns with amorphous rings on the crystal's.
        rings_fraction: share of the beam in those rings.
        rings_inv_angstrom: where the innermost ring may lie.
        scale: size of the field of view relative to the nominal one; the camera length's inverse.
        pixel: size of the camera's pixels relative to the simulation's, one draw a batch; the
            field of view stays, so noise and vacuum are learned for coarse and fine cameras.
        shift_px: largest shift of the direct beam along each axis.
        random_crop: let the field of view lie anywhere within the simulated frame instead.
        rotate: turn each pattern by a random in-plane angle.
        rotate_step_deg: a multiple of this angle, to hit the paper's classes; 0 for any angle.
        mirror: show half of the patterns as their mirror images, where the crystal allows it.
        ellipse: ratio of the longer to the shorter axis of what should be circles; any direction.
        counts: incident electrons a pattern, drawn log-uniformly; None for no counting noise.
        sensitivity: levels from dark to the brightest pixel, drawn log-uniformly; what is fainter
            than half a level is lost. None for a camera that shows everything.
        log_image: show the logarithm of the levels [1, m], m of `sensitivity`, scaled to 0..1.
        vacuum_probability: share of the patterns that show the direct beam alone.
        amorphous_probability: share of the patterns that show rings alone.
        second_grain_probability: share of the crystal's patterns with another one of the batch
            laid over, at an in-plane angle of its own where `rotate` is on.
        second_grain_share: share of that weaker grain, at most 0.5.
        beam_stop_probability: share of the patterns whose direct beam is hidden by a round stop
            with an arm.
        beam_stop_inv_angstrom: radius of the stop.
        hot_pixels: smallest and largest number of them.
        dead_rows: smallest and largest number of them.
    """

    point_spread_px: tuple[float, float] = (0.0, 1.5)
    bell_fraction: tuple[float, float] = (0.0, 0.12)
    bell_sigma_inv_angstrom: tuple[float, float] = (0.3, 1.5)
    rings_probability: float = 0.1
    rings_fraction: tuple[float, float] = (0.02, 0.2)
    rings_inv_angstrom: tuple[float, float] = (0.25, 0.6)
    scale: tuple[float, float] = (0.9, 1.1)
    pixel: tuple[float, float] = (0.6, 1.3)
    shift_px: float = 2.0
    random_crop: bool = False
    rotate: bool = True
    rotate_step_deg: float = 0.0
    mirror: bool = True
    ellipse: tuple[float, float] = (1.0, 1.0)
    counts: tuple[float, float] | None = (1e4, 1e6)
    sensitivity: tuple[float, float] | None = (1e3, 1e7)
    log_image: bool = False
    vacuum_probability: float = 0.02
    amorphous_probability: float = 0.02
    second_grain_probability: float = 0.0
    second_grain_share: tuple[float, float] = (0.1, 0.5)
    beam_stop_probability: float = 0.0
    beam_stop_inv_angstrom: tuple[float, float] = (0.08, 0.16)
    hot_pixels: tuple[int, int] = (0, 0)
    dead_rows: tuple[int, int] = (0, 0)

    @classmethod
    def off(cls) -> Self:
        """Return ranges that leave a pattern as it is, to switch on one thing or another."""
        return cls(
            point_spread_px=(0.0, 0.0),
            bell_fraction=(0.0, 0.0),
            rings_probability=0.0,
            scale=(1.0, 1.0),
            pixel=(1.0, 1.0),
            shift_px=0.0,
            rotate=False,
            mirror=False,
            counts=None,
            sensitivity=None,
            vacuum_probability=0.0,
            amorphous_probability=0.0,
        )

    @classmethod
    def paper(cls) -> Self:
        """Return the paper's five augmentations and nothing else.

        1. Camera sensitivity: rescaled to [1, m], m from 1e3 to 1e7, then the logarithm. Ours: m
           is drawn log-uniformly, and the logarithm divided by log m, so that images span 0..1.
        2. Camera point spread: a Gaussian. Ours: sigma from 0 to 1.5 pixels.
        3. Thermal diffuse and inelastic scattering: a Gaussian bell of random height and sigma.
           Ours: 0 to 12 % of the beam, sigma 0.3 to 1.5 1/Å.
        4. Amorphous material: diffuse rings on 10 % of the images. Ours: two rings that hold 2 to
           20 % of the beam, the inner one at 0.25 to 0.6 1/Å.
        5. Camera length and centering: a random crop, resized. Ours: 80 to 100 % of the edge,
           anywhere in the frame, with the ratio of the edges kept, bilinear.

        The paper prints no range but m's and the 10 %, nor the order; ours is physical.

        Source: Scheunert et al., npj Comput. Mater. (2026).
        """
        return replace(
            cls.off(),
            sensitivity=(1e3, 1e7),
            log_image=True,
            point_spread_px=(0.0, 1.5),
            bell_fraction=(0.0, 0.12),
            rings_probability=0.1,
            scale=(0.8, 1.0),
            random_crop=True,
        )

    def __post_init__(self) -> None:
        least = {"counts": 1.0, "sensitivity": 1.0, "ellipse": 1.0}
        positive = ("scale", "pixel", "bell_sigma_inv_angstrom", "rings_inv_angstrom")
        least |= dict.fromkeys(positive, 1e-3)
        most = {"second_grain_share": 0.5} | ({"scale": 1.0} if self.random_crop else {})
        for name, value in vars(self).items():
            low, high = least.get(name, 0.0), most.get(name, sys.float_info.max)
            if isinstance(value, tuple) and len(value) != 2:
                raise SettingsError(f"Augmentation: {name} = {value}: expected (low, high).")
            if isinstance(value, tuple) and not low <= value[0] <= value[1] <= high:
                limit = f" <= {high:g}" if name in most else ""
                raise SettingsError(
                    f"Augmentation: {name} = {value}: expected {low:g} <= low <= high{limit}."
                )
            if name in ("hot_pixels", "dead_rows") and not all(isinstance(v, int) for v in value):
                raise SettingsError(f"Augmentation: {name} = {value}: expected whole numbers.")
            if name.endswith("probability") and not 0 <= value <= 1:
                raise SettingsError(f"Augmentation: {name} = {value}: expected 0 to 1.")
        for name in ("shift_px", "rotate_step_deg"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(
                    f"Augmentation: {name} = {getattr(self, name)}: expected 0 or more."
                )
        if self.vacuum_probability + self.amorphous_probability > 1:
            raise SettingsError("Augmentation: vacuum and amorphous together exceed all patterns.")
        if self.log_image and (self.sensitivity is None or self.sensitivity[0] <= 1):
            raise SettingsError(
                f"Augmentation: sensitivity = {self.sensitivity}: expected more than 1 level, as "
                "log_image shows their logarithm."
            )
