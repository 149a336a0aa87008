"""Pixel sizes that the distances of disks suggest, by the crystal's reflections.

Whatever the orientation, a disk of reflection g stands at the distance |g| from the direct beam.
The distances r (in pixels) of all disks of all patterns are therefore a sample from

    p(r | s) = (1 - e) sum_g w_g N(r; |g| / s, sigma) + e / (outer - inner),    w_g = |U_g| / |g|,

s being the pixel size: the share of a sphere of radius |g| that is near the Ewald sphere falls as
1 / |g|, and a strong reflection is seen more often than a weak one. Normalized over the searched
ring for every s, the likelihood prefers neither small pixels nor large ones, whose rings are so
dense that they explain nothing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.errors import ScanError
from zoneaxis.scans.peaks import Peaks

APART = 1.05  # the least ratio of two proposed pixel sizes
K_MAX_INV_ANGSTROM = 3.0  # farther out, reflections are too dense and too weak to tell anything
SIGMAS_PX = (0.4, 0.7, 1.2)  # of a disk's place; what fits best is taken
STRAY = 0.1  # share of the disks that belong to no reflection
BIN_PX = 0.1
STEP = 2e-3  # of the logarithm of the pixel size
FEWEST_PEAKS = 10
FEWEST_SHELLS = 3  # within the frame; fewer are no pattern that could be recognized


@dataclass(frozen=True)
class PixelSize:
    """A pixel size found from reflections.

    Attributes:
        inv_angstrom_per_pixel: the best one.
        error_inv_angstrom_per_pixel: its standard error.
        rivals: other pixel sizes that fit about as well; empty where there is no doubt.
        gain: mean logarithm of the likelihood a disk, over that of disks placed at random.
        n_peaks: disks that it was found on.
    """

    inv_angstrom_per_pixel: float
    error_inv_angstrom_per_pixel: float
    rivals: tuple[float, ...]
    gain: float
    n_peaks: int


def reflection_shells(
    crystal: Crystal, k_max_inv_angstrom: float = K_MAX_INV_ANGSTROM
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct lengths |g|, ascending, and sum |U_g| / |g| of each, both (n,).

    Args:
        crystal: whose reflections; absent ones are left out.
        k_max_inv_angstrom: largest length.
    """
    factors = structure_factors(crystal, 300.0, k_max_inv_angstrom, "Lobato")
    length = np.linalg.norm(factors.g_inv_angstrom, axis=1)
    power = np.abs(factors.u_inv_angstrom2)
    seen = (length > 1e-9) & (power > 1e-9 * power.max())
    shells, member = np.unique(np.round(length[seen], 5), return_inverse=True)
    return shells, np.bincount(member, power[seen]) / shells


def propose_pixel_sizes(
    peaks: Peaks, crystal: Crystal, low_inv_angstrom: float, high_inv_angstrom: float, count: int
) -> np.ndarray:
    """Return the pixel sizes that explain the distances of disks best, best first.

    The truth is almost always among the first eight and often not the first: distances alone
    do not tell which rings belong together.

    Args:
        peaks: of many patterns, in any orientations.
        crystal: what the specimen is made of.
        low_inv_angstrom: smallest pixel size that is searched.
        high_inv_angstrom: largest.
        count: how many are wanted at most; they are 5 % and more apart.

    Raises:
        ScanError: fewer than 10 disks.
    """
    if len(peaks.pattern) < FEWEST_PEAKS:
        raise ScanError(
            f"Only {len(peaks.pattern)} disks were found, too few to calibrate: take patterns of "
            "the specimen, not of vacuum, or give the pixel size (--inv-angstrom-per-pixel)."
        )
    shells = reflection_shells(crystal)
    counts = np.histogram(np.hypot(*peaks.offset_px.T), _bins(peaks))[0]
    sizes = np.exp(np.arange(np.log(low_inv_angstrom), np.log(high_inv_angstrom), STEP))
    tried = [counts @ _log_density(shells, peaks, sizes, sigma) for sigma in SIGMAS_PX]
    likelihood = max(tried, key=np.max)
    chosen: list[float] = []
    for size in sizes[np.argsort(-likelihood)]:
        if all(max(size / other, other / size) > APART for other in chosen):
            chosen.append(float(size))
        if len(chosen) == count:
            break
    return np.array(chosen)


def _bins(peaks: Peaks) -> np.ndarray:
    return np.arange(peaks.inner_px, peaks.outer_px + BIN_PX / 2, BIN_PX)


def _log_density(
    shells: tuple[np.ndarray, np.ndarray], peaks: Peaks, scales: np.ndarray, sigma_px: float
) -> np.ndarray:
    """Return log p(r | s) in each bin for each pixel size s, shape (bins, scales)."""
    bins = _bins(peaks)
    n, width = len(bins) - 1, bins[-1] - bins[0]
    margin = int(4 * sigma_px / BIN_PX)  # from which shells beyond the edges reach in
    table = np.full((n, len(scales)), np.log(STRAY / width))
    for i, scale in enumerate(scales):
        place = (shells[0] / scale - bins[0]) / BIN_PX - 0.5 + margin
        drawn = (place >= 0) & (place < n + 2 * margin - 1)
        if drawn.sum() < FEWEST_SHELLS:
            continue
        left, power = place[drawn].astype(int), shells[1][drawn]
        share = place[drawn] - left
        density = np.bincount(left, power * (1 - share), n + 2 * margin)
        density += np.bincount(left + 1, power * share, n + 2 * margin)
        density = gaussian_filter1d(density, sigma_px / BIN_PX, mode="constant")[margin:-margin]
        density /= max(density.sum() * BIN_PX, 1e-300)
        table[:, i] = np.log((1 - STRAY) * density + STRAY / width)
    return table
