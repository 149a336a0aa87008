"""The dynamically simulated pattern of a known orientation that fits a measured one best."""

from dataclasses import dataclass

import numpy as np
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import StructureFactors

SERIES_NM = np.arange(10.0, 101.0, 5.0)
EDGE_PX = 2  # blur of the direct beam's edge, left out with it


@dataclass(frozen=True, eq=False)
class PatternFit:
    """A simulated pattern beside a measured one.

    Attributes:
        pattern: fraction of the incident beam, float32, shape (h, w).
        thickness_nm: of the simulation.
        correlation: with the measured pattern, see `correlation`.
        fitted: whether the thickness was chosen for the correlation, not known beforehand.
        center_px: column and row of the direct beam, in both patterns.
    """

    pattern: np.ndarray
    thickness_nm: float
    correlation: float
    fitted: bool
    center_px: tuple[float, float]


def fit_pattern(
    measured: np.ndarray,
    euler_deg: np.ndarray,
    crystal: Crystal,
    optics: Optics,
    inv_angstrom_per_pixel: float,
    *,
    thickness_nm: float = float("nan"),
    factors: StructureFactors | None = None,
) -> PatternFit:
    """Simulate an orientation where the direct beam stands, at the thickness that fits.

    Args:
        measured: pattern in any unit, shape (h, w); the direct beam is sought near its middle.
        euler_deg: (phi1, Phi, phi2) in degrees, shape (3,).
        crystal: with its sites.
        optics: of the simulation.
        inv_angstrom_per_pixel: size of a pixel.
        thickness_nm: if known, it is taken; NaN or 0 tries 10 to 100 nm.
        factors: what `structure_factors` returned for this crystal, to save the time.
    """
    known = bool(np.isfinite(thickness_nm)) and thickness_nm > 0
    series = np.array([thickness_nm]) if known else SERIES_NM
    disks = bloch_disks(crystal, optics, np.asarray(euler_deg)[None, 1:], series, factors=factors)
    radius_px = optics.disk_radius_inv_angstrom / inv_angstrom_per_pixel
    center = _direct_beam(measured, radius_px)
    size = max(measured.shape)
    drawn = render(disks, size, inv_angstrom_per_pixel, float(euler_deg[0]), center)[0].numpy()
    patterns = drawn[:, : measured.shape[0], : measured.shape[1]]
    fits = [correlation(measured, pattern, radius_px, center) for pattern in patterns]
    best = int(np.argmax(fits))
    return PatternFit(patterns[best], float(series[best]), fits[best], not known, center)


def correlation(
    measured: np.ndarray,
    simulated: np.ndarray,
    radius_px: float,
    center_px: tuple[float, float] | None = None,
) -> float:
    """Return the correlation of the square roots of two patterns, without the direct beam.

    Args:
        measured: shape (h, w); NaN and negative values count as 0.
        simulated: shape (h, w).
        radius_px: radius of a disk.
        center_px: column and row of the direct beam; [h // 2, w // 2] by default.

    Returns:
        -1..1; 0 where one of the two is empty.
    """
    h, w = measured.shape
    y, x = np.ogrid[:h, :w]
    column, row = center_px or (w // 2, h // 2)
    outside = np.hypot(y - row, x - column) > radius_px + EDGE_PX
    both = [np.nan_to_num(p[outside], posinf=0.0).clip(min=0) for p in (measured, simulated)]
    first, second = np.sqrt(both)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _direct_beam(measured: np.ndarray, radius_px: float) -> tuple[float, float]:
    """Return column and row of the direct beam; NaN and negative values count as 0."""
    counts = np.nan_to_num(measured, posinf=0.0).clip(min=0).astype(np.float32)
    column, row = direct_beam_center(torch.from_numpy(counts)[None], radius_px)[0].tolist()
    return column, row
