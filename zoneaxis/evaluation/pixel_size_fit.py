"""How well a pixel size explains the disks of patterns, given the orientations that fit best at it.

Distances of disks alone are explained about as well by several pixel sizes, the more so the more
of the disks are noise; the angles between disks are not. Patterns are therefore matched with
templates at a pixel size s, which is then judged by where their disks stand in the plane:

    p(x | s) = (1 - e) sum_g w_g N(x; q_g / s, sigma) + e / area,    w_g ~ I_g^(1/4),

with the kinematic spots q_g of each pattern's orientation that lie within the searched ring.
Normalized for each s, it prefers neither small pixels, whose few spots explain few disks, nor large
ones, whose spots are dense. (Correlation indices prefer small pixels: few spots, few mistakes.)
"""

from dataclasses import dataclass, replace

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.peaks import Peaks
from zoneaxis.scans.survey import Survey

STEP_DEG = 4.0  # of the templates, which are refined
K_MAX_INV_ANGSTROM, MATCHED_INV_ANGSTROM = 2.5, 1.3  # of spots, and of templates
MIN_AGREEMENT = 0.3  # of a pattern's halves, or it is noise
SIGMA_PX = 1.5  # of a disk's place
STRAY = 0.1  # share of the disks that belong to no reflection
POWER = 0.25  # of intensities: a weak disk is found nearly as often as a strong one
WIDE = np.exp(np.arange(-0.04, 0.0401, 0.002))  # factors on a pixel size that are tried
FINE = np.exp(np.arange(-0.015, 0.01501, 0.0005))


@dataclass(frozen=True, eq=False)
class OrientedPatterns:
    """The disks of n patterns beside the spots that their orientations predict.

    Attributes:
        places_px: (column, row) of each pattern's disks relative to the direct beam, n of (m, 2).
        spots_inv_angstrom: x and y of its spots, n of (k, 2).
        weights: of its spots, n of (k,); 0 for those that are not excited.
        matched: median of the pixel sizes that template matching refined on each pattern.
    """

    places_px: list[np.ndarray]
    spots_inv_angstrom: list[np.ndarray]
    weights: list[np.ndarray]
    matched: float


@dataclass(frozen=True, eq=False)
class PixelSizeFit:
    """Pixel sizes near one, given the orientations of n patterns.

    Attributes:
        sizes: in 1/Angstrom per pixel, ascending, shape (s,).
        gain: log likelihood over that of disks at random places, shape (n, s).
        n_disks: of each pattern, shape (n,).
    """

    sizes: np.ndarray
    gain: np.ndarray
    n_disks: np.ndarray

    @property
    def best(self) -> int:
        """Index of the most likely size."""
        return int(self.gain.sum(axis=0).argmax())

    @property
    def size(self) -> float:
        """The most likely size in 1/Angstrom per pixel."""
        return float(self.sizes[self.best])

    @property
    def gains(self) -> np.ndarray:
        """The gain of each pattern at the most likely size, shape (n,)."""
        return self.gain[:, self.best]


def fit_pixel_size(
    survey: Survey, chosen: np.ndarray, crystal: Crystal, beam: Optics, size: float
) -> PixelSizeFit:
    """Find the most likely pixel size within some percent of a rough one.

    Args:
        survey: of the scan.
        chosen: indices of the patterns that are matched, shape (n,).
        crystal: the specimen.
        beam: voltage and precession; the disks' radius and k_max follow from survey and size.
        size: rough pixel size in 1/Angstrom per pixel.
    """
    for factors in (WIDE, FINE):
        patterns = orient(survey, chosen, crystal, beam, size)
        fit = _fit(patterns, survey.peaks, size * factors)
        size = fit.size
    return fit


def clear_patterns(
    survey: Survey, crystal: Crystal, beam: Optics, size: float, count: int
) -> np.ndarray:
    """Return patterns from all over the scan with many disks and little noise, ascending indices.

    Args:
        survey: of the scan.
        crystal: the specimen.
        beam: voltage and precession.
        size: rough pixel size in 1/Angstrom per pixel.
        count: at most so many.
    """
    disks = np.bincount(survey.peaks.pattern, minlength=len(survey.patterns))
    parts = np.array_split(np.arange(len(disks)), min(count, len(disks)))
    chosen = np.array([part[disks[part].argmax()] for part in parts])
    indexed = _indexer(survey, crystal, beam, size).index(survey.patterns[chosen], size).indexed
    return chosen[indexed & (disks[chosen] > 0)]


def orient(
    survey: Survey, chosen: np.ndarray, crystal: Crystal, beam: Optics, size: float
) -> OrientedPatterns:
    """Match patterns with templates; arguments as in `fit_pixel_size`."""
    indexer = _indexer(survey, crystal, beam, size)
    found = indexer.index(survey.patterns[chosen], size)
    euler = found.euler_deg[:, 0]
    disks = enveloped_disks(crystal, _optics(survey, beam, size, K_MAX_INV_ANGSTROM), euler[:, 1:])
    turns = matrices_from_euler(euler * [1, 0, 0])[:, :2, :2]
    return OrientedPatterns(
        [survey.peaks.offset_px[survey.peaks.pattern == i] for i in chosen],
        list(disks.q_inv_angstrom.double().numpy() @ turns),
        list(disks.intensity[:, 0, :, 0].double().numpy() ** POWER),
        size * float(np.median(found.properties["camera_scale"])),
    )


def _fit(patterns: OrientedPatterns, peaks: Peaks, sizes: np.ndarray) -> PixelSizeFit:
    parts = zip(patterns.places_px, patterns.spots_inv_angstrom, patterns.weights, strict=True)
    gain = np.stack([_gain(*part, sizes, peaks) for part in parts])
    return PixelSizeFit(sizes, gain, np.array([len(place) for place in patterns.places_px]))


def _gain(
    place: np.ndarray, spots: np.ndarray, weight: np.ndarray, sizes: np.ndarray, peaks: Peaks
) -> np.ndarray:
    """Return the log likelihood of disks over that of random places at each size, shape (s,)."""
    area = np.pi * (peaks.outer_px**2 - peaks.inner_px**2)
    total = np.zeros(len(sizes))
    for i, size in enumerate(sizes):
        at = spots / size
        distance = np.hypot(*at.T)
        inside = (distance > peaks.inner_px) & (distance < peaks.outer_px)
        share = weight * inside / max(float((weight * inside).sum()), 1e-300)
        away = ((place[:, None] - at[inside]) ** 2).sum(axis=-1)
        density = np.exp(-away / (2 * SIGMA_PX**2)) @ share[inside] / (2 * np.pi * SIGMA_PX**2)
        total[i] = np.log((1 - STRAY) * area * density + STRAY).sum()
    return total


def _optics(survey: Survey, beam: Optics, size: float, k_max: float) -> Optics:
    """Return the illumination that the direct beam's radius says, and the searched ring's end."""
    radius = size * survey.beam_radius_px
    return replace(
        beam,
        convergence_mrad=1e3 * radius * beam.wavelength_angstrom,
        k_max_inv_angstrom=min(size * survey.peaks.outer_px, k_max),
    )


def _indexer(survey: Survey, crystal: Crystal, beam: Optics, size: float) -> TemplateIndexer:
    return TemplateIndexer(
        crystal,
        _optics(survey, beam, size, MATCHED_INV_ANGSTROM),
        step_deg=STEP_DEG,
        n_best=1,
        min_q=0,
        min_agreement=MIN_AGREEMENT,
        refine=("orientation", "camera_length"),
    )
