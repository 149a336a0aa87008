"""Pixel size and ellipse from the distances of disks, fitted to the crystal's reflections.

Whatever the orientation, a disk of reflection g stands at the distance |g| from the direct beam.
The distances r (in pixels) of all disks of all patterns are therefore a sample from

    p(r | s) = (1 - e) sum_g w_g N(r; |g| / s, sigma) + e / (outer - inner),    w_g = |U_g| / |g|,

s being the pixel size: the share of a sphere of radius |g| that is near the Ewald sphere falls as
1 / |g|, and a strong reflection is seen more often than a weak one. Normalized over the searched
ring for every s, the likelihood prefers neither small pixels nor large ones, whose rings are so
dense that they explain nothing. The error is the spread over resampled parts of the scan
(bootstrap): neighboring patterns show the same grain and tell nothing new.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.errors import ScanError
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.peaks import Peaks

SEARCHED_INV_ANGSTROM = (0.003, 0.08)  # pixel sizes of usual cameras and camera lengths
NEAR = 0.15  # a rough pixel size is believed to this share
APART = 1.05  # the ratio of two pixel sizes beyond which they are different answers
K_MAX_INV_ANGSTROM = 3.0  # farther out, reflections are too dense and too weak to tell anything
SIGMAS_PX = (0.4, 0.7, 1.2)  # of a disk's place; what fits best is taken
STRAY = 0.1  # share of the disks that belong to no reflection
BIN_PX = 0.1
COARSE, FINE = 2e-3, 1e-4  # steps of the logarithm of the pixel size
PARTS = 16  # of the patterns, in their order, resampled together
RESAMPLES, ELLIPSE_RESAMPLES = 200, 12
RIVAL_SHARE = 0.05  # of the resamples won makes a rival
RIVAL_LIKELIHOOD = 0.1  # as does a mean log likelihood a disk that is so little worse
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
        n_peaks: disks that it was found from.
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


def find_pixel_size(
    peaks: Peaks, crystal: Crystal, *, near_inv_angstrom: float | None = None
) -> PixelSize:
    """Find the pixel size from the distances of disks.

    Args:
        peaks: of many patterns, in any orientations.
        crystal: what the specimen is made of.
        near_inv_angstrom: a rough pixel size, right within 15 %; without it 0.003 to 0.08
            1/Angstrom are searched.

    Raises:
        ScanError: fewer than 10 disks, or no pixel size near the rough one fits.
    """
    if len(peaks.pattern) < FEWEST_PEAKS:
        raise ScanError(
            f"Only {len(peaks.pattern)} disks were found, too few to calibrate: take patterns of "
            "the specimen, not of vacuum, or give the pixel size (--inv-angstrom-per-pixel)."
        )
    low, high = SEARCHED_INV_ANGSTROM
    if near_inv_angstrom is not None:
        low, high = near_inv_angstrom * (1 - NEAR), near_inv_angstrom * (1 + NEAR)
    shells = reflection_shells(crystal)
    counts = _histograms(peaks)
    coarse = np.exp(np.arange(np.log(low), np.log(high), COARSE))
    first, sigma_px = max(
        ((counts @ _log_density(shells, peaks, coarse, sigma), sigma) for sigma in SIGMAS_PX),
        key=lambda found: found[0].sum(axis=0).max(),
    )  # (parts, scales)
    total = first.sum(axis=0)
    best = int(total.argmax())
    if near_inv_angstrom is not None and best in (0, len(coarse) - 1):
        raise ScanError(
            f"No pixel size within {NEAR:.0%} of {near_inv_angstrom:g} 1/Angstrom fits the "
            f"reflections of {crystal.name}: search from scratch, or check the crystal."
        )
    fine = coarse[best] * np.exp(np.arange(-0.02, 0.02, FINE))
    second = counts @ _log_density(shells, peaks, fine, sigma_px)
    drawn = _resamples(len(counts))
    found = fine[(drawn @ second).argmax(axis=1)]
    n_peaks = int(counts.sum())
    return PixelSize(
        inv_angstrom_per_pixel=float(fine[second.sum(axis=0).argmax()]),
        error_inv_angstrom_per_pixel=float(found.std()),
        rivals=_rivals(coarse, total / n_peaks, drawn @ first),
        gain=float(total[best] / n_peaks + np.log(peaks.outer_px - peaks.inner_px)),
        n_peaks=n_peaks,
    )


def find_ellipse(
    peaks: Peaks, crystal: Crystal | None = None, inv_angstrom_per_pixel: float | None = None
) -> tuple[Ellipse, float]:
    """Find the ellipse whose removal makes the disks' distances the same in all directions.

    Without a crystal the distances are to crowd into the sharpest peaks, which needs grains of
    several orientations; with it, they are to fit its reflections best. In a single orientation
    a lattice parameter that is wrong looks like an ellipse.

    Args:
        peaks: of many patterns.
        crystal: what the specimen is made of, if known.
        inv_angstrom_per_pixel: needed with the crystal.

    Returns:
        The ellipse, and the standard error of its ratio.
    """
    score = _sharpness(peaks)
    if crystal is not None:
        score = _likelihood(peaks, crystal, inv_angstrom_per_pixel)
    part = _parts(peaks)
    stretch = _best_stretch(score, peaks.offset_px)
    rng = np.random.default_rng(0)
    others = []
    for _ in range(ELLIPSE_RESAMPLES):
        drawn = rng.choice(part.max() + 1, part.max() + 1)
        chosen = np.concatenate([np.flatnonzero(part == i) for i in drawn])
        others.append(_best_stretch(score, peaks.offset_px[chosen]))
    error = float(np.linalg.norm(np.std(others, axis=0)))
    return Ellipse.from_stretch(*stretch), error


_Score = Callable[[np.ndarray], float]  # distances of disks -> the better, the higher


def _sharpness(peaks: Peaks) -> _Score:
    bins = _bins(peaks)

    def score(distance: np.ndarray) -> float:
        share = np.histogram(distance, bins)[0] / len(distance)
        return float((gaussian_filter1d(share, SIGMAS_PX[0] / BIN_PX) ** 2).sum())

    return score


def _likelihood(peaks: Peaks, crystal: Crystal, scale: float) -> _Score:
    bins = _bins(peaks)
    shells = reflection_shells(crystal)
    table = _log_density(shells, peaks, np.array([scale]), SIGMAS_PX[-1])[:, 0]
    return lambda distance: float(np.interp(distance, bins[:-1] + BIN_PX / 2, table).mean())


def _best_stretch(score: _Score, offset_px: np.ndarray) -> np.ndarray:
    """Return the stretch (see `Ellipse.from_stretch`) after which distances score best."""

    def cost(stretch: np.ndarray) -> float:
        return -score(np.hypot(*(Ellipse.from_stretch(*stretch).matrix @ offset_px.T)))

    simplex = np.array([[0.0, 0.0], [0.02, 0.0], [0.0, 0.02]])
    options = {"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-9}
    return minimize(cost, np.zeros(2), method="Nelder-Mead", options=options).x


def _bins(peaks: Peaks) -> np.ndarray:
    return np.arange(peaks.inner_px, peaks.outer_px + BIN_PX / 2, BIN_PX)


def _parts(peaks: Peaks) -> np.ndarray:
    """Return which part of the patterns each disk belongs to, 0, 1, ..., shape (n,)."""
    part = peaks.pattern * PARTS // (peaks.pattern.max() + 1)
    return np.unique(part, return_inverse=True)[1]


def _histograms(peaks: Peaks) -> np.ndarray:
    """Return how many disks each part of the patterns has at each distance, (parts, bins)."""
    part, bins = _parts(peaks), _bins(peaks)
    distance = np.hypot(*peaks.offset_px.T)
    return np.stack([np.histogram(distance[part == i], bins)[0] for i in range(part.max() + 1)])


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


def _resamples(n_parts: int) -> np.ndarray:
    """Return how often each part is drawn in each resample, shape (resamples, parts)."""
    rng = np.random.default_rng(0)
    return rng.multinomial(n_parts, np.full(n_parts, 1 / n_parts), RESAMPLES)


def _rivals(scales: np.ndarray, likelihood: np.ndarray, drawn: np.ndarray) -> tuple[float, ...]:
    """Return other maxima of the likelihood that some resamples prefer, or that come near.

    Args:
        scales: pixel sizes, shape (n,).
        likelihood: mean logarithm a disk, shape (n,).
        drawn: total logarithm in each resample, shape (resamples, n).
    """
    best = likelihood.argmax()
    rises = np.diff(likelihood) > 0
    peak = np.flatnonzero(rises[:-1] & ~rises[1:]) + 1
    peak = peak[_ratio(scales[peak], scales[best]) > APART]
    winners = scales[drawn.argmax(axis=1)]
    won = np.array([(_ratio(winners, scale) < APART).mean() for scale in scales[peak]])
    near = likelihood[best] - likelihood[peak] < RIVAL_LIKELIHOOD
    chosen = peak[near | (won >= RIVAL_SHARE)]
    return tuple(scales[chosen[np.argsort(-likelihood[chosen])]].tolist())


def _ratio(first: np.ndarray, second: np.ndarray | float) -> np.ndarray:
    return np.maximum(first / second, second / first)
