"""Simulated patterns laid over measured ones and over each other, spot by spot and pixel by pixel.

All places are in the pattern's frame, x right and y down, at the orientation's own phi1.
"""

from dataclasses import dataclass, replace

import numpy as np

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import Disks
from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import StructureFactors
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.pattern_fit import PatternFit, fit_pattern

FAINTEST = 0.003  # of the brightest spot: fainter ones are not shown as spots
APART_RADII = 0.5  # spots that stand nearer than this share of a disk radius are at one place


@dataclass(frozen=True, eq=False)
class Spots:
    """The spots of a simulated pattern, brightest first, the direct beam left out.

    Attributes:
        hkl: Miller indices, int, shape (n, 3).
        q_inv_angstrom: places in the pattern, x right and y down, shape (n, 2).
        intensity: in any unit, shape (n,).
        radius_inv_angstrom: of the disks.
    """

    hkl: np.ndarray
    q_inv_angstrom: np.ndarray
    intensity: np.ndarray
    radius_inv_angstrom: float

    def place_px(self, inv_angstrom_per_pixel: float, center_px: tuple[float, float]) -> np.ndarray:
        """Return columns and rows of the disks' centers, shape (n, 2)."""
        return self.q_inv_angstrom / inv_angstrom_per_pixel + np.array(center_px)


@dataclass(frozen=True, eq=False)
class Overlay:
    """A measured pattern with what an orientation says that it should be.

    Attributes:
        measured: in any unit, shape (h, w).
        fit: the dynamical simulation of the orientation, at the thickness that fits.
        spots: of that simulation.
        template: the kinematic simulation of the reference's orientation, shape (h, w).
        inv_angstrom_per_pixel: size of a pixel of all patterns.
    """

    measured: np.ndarray
    fit: PatternFit
    spots: Spots
    template: np.ndarray
    inv_angstrom_per_pixel: float


def overlay(
    measured: np.ndarray,
    euler_deg: np.ndarray,
    crystal: Crystal,
    optics: Optics,
    inv_angstrom_per_pixel: float,
    *,
    reference_euler_deg: np.ndarray | None = None,
    thickness_nm: float = float("nan"),
    factors: StructureFactors | None = None,
) -> Overlay:
    """Simulate what lies on a measured pattern, and the template of a reference beside it.

    Args:
        measured: pattern in any unit, shape (h, w); the direct beam is sought near its middle.
        euler_deg: the orientation found, (phi1, Phi, phi2) in degrees, shape (3,).
        crystal: with its sites.
        optics: of the simulation.
        inv_angstrom_per_pixel: size of a pixel.
        reference_euler_deg: the reference's orientation; the one found by default.
        thickness_nm: if known; NaN or 0 takes the one that fits best.
        factors: what `structure_factors` returned for this crystal, to save the time.
    """
    reference = euler_deg if reference_euler_deg is None else reference_euler_deg
    settings = {"thickness_nm": thickness_nm, "factors": factors}
    fit = fit_pattern(measured, euler_deg, crystal, optics, inv_angstrom_per_pixel, **settings)
    spots = simulated_spots(euler_deg, crystal, optics, fit.thickness_nm, factors=factors)
    template = template_pattern(
        reference, crystal, optics, measured.shape, inv_angstrom_per_pixel, fit.center_px
    )
    return Overlay(measured, fit, spots, template, inv_angstrom_per_pixel)


def simulated_spots(
    euler_deg: np.ndarray,
    crystal: Crystal,
    optics: Optics,
    thickness_nm: float,
    *,
    factors: StructureFactors | None = None,
) -> Spots:
    """Return the spots of an orientation, dynamically.

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (3,).
        crystal: with its sites.
        optics: of the simulation.
        thickness_nm: of the specimen.
        factors: what `structure_factors` returned for this crystal, to save the time.
    """
    euler_deg = np.asarray(euler_deg, dtype=float)
    thickness = np.array([thickness_nm])
    return spots_of(
        bloch_disks(crystal, optics, euler_deg[None, 1:], thickness, factors=factors), euler_deg[0]
    )


def spots_of(disks: Disks, phi1_deg: float, faintest: float = FAINTEST) -> Spots:
    """Return the spots of the first direction and thickness of `disks`, turned by phi1.

    Args:
        disks: the direct beam first, as both simulators return them.
        phi1_deg: in-plane angle in degrees.
        faintest: share of the brightest spot's intensity below which spots are left out.
    """
    intensity = disks.mean_intensity[0, 0, 1:].double().cpu().numpy()
    order = np.argsort(-intensity, kind="stable")
    order = order[intensity[order] > faintest * max(intensity.max(initial=0.0), 1e-30)]
    turn = matrices_from_euler(np.array([phi1_deg, 0.0, 0.0]))[:2, :2]
    return Spots(
        disks.hkl[0, 1:].cpu().numpy()[order].astype(int),
        disks.q_inv_angstrom[0, 1:].double().cpu().numpy()[order] @ turn,
        intensity[order],
        float(disks.radius_inv_angstrom),
    )


def template_pattern(
    euler_deg: np.ndarray,
    crystal: Crystal,
    optics: Optics,
    shape: tuple[int, int],
    inv_angstrom_per_pixel: float,
    center_px: tuple[float, float],
) -> np.ndarray:
    """Draw the kinematic template of an orientation, which knows no thickness.

    The direct beam is drawn as bright as the brightest spot.

    Args:
        euler_deg: (phi1, Phi, phi2) in degrees, shape (3,).
        crystal: with its sites.
        optics: of the templates.
        shape: height and width of the pattern.
        inv_angstrom_per_pixel: size of a pixel.
        center_px: column and row of the direct beam.

    Returns:
        In units of the brightest spot's sum, float32, shape (h, w).
    """
    euler_deg = np.asarray(euler_deg, dtype=float)
    disks = enveloped_disks(crystal, optics, euler_deg[None, 1:])
    intensity = disks.intensity / disks.intensity.max().clamp_min(1e-30)
    intensity[:, :, 0] = 1
    disks = replace(disks, intensity=intensity)
    drawn = render(disks, max(shape), inv_angstrom_per_pixel, float(euler_deg[0]), center_px)
    return drawn[0, 0, : shape[0], : shape[1]].numpy()


def shared_spots(first: Spots, second: Spots) -> tuple[np.ndarray, np.ndarray]:
    """Return which spots of each have one of the other at their place, bool, (n,) and (m,)."""
    if not len(first.hkl) or not len(second.hkl):
        return np.zeros(len(first.hkl), bool), np.zeros(len(second.hkl), bool)
    difference = first.q_inv_angstrom[:, None] - second.q_inv_angstrom
    near = np.linalg.norm(difference, axis=-1) < APART_RADII * first.radius_inv_angstrom
    return near.any(axis=1), near.any(axis=0)


def color_merged(
    first: np.ndarray, second: np.ndarray, colors: tuple[str, str] = ("#ff8000", "#007fff")
) -> np.ndarray:
    """Return an image of two patterns, each in its color; what both show is white.

    The colors add up to white, and differ to all eyes: orange and blue.

    Args:
        first: brightness 0..1, shape (h, w).
        second: brightness 0..1, shape (h, w).
        colors: of the two, as "#rrggbb".

    Returns:
        RGB 0..1, shape (h, w, 3).

    Raises:
        SettingsError: the patterns differ in shape.
    """
    if first.shape != second.shape:
        raise SettingsError(f"Patterns of {first.shape} and {second.shape} cannot be merged.")
    values = [np.frombuffer(bytes.fromhex(color[1:]), np.uint8) / 255 for color in colors]
    return (first[..., None] * values[0] + second[..., None] * values[1]).clip(0, 1)
