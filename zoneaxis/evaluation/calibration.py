"""Calibration of a scan: rings propose pixel sizes, orientations decide between them.

Of the sizes that the disks' distances propose (`propose_pixel_sizes`) the one is taken at which the
disks stand best where orientations put them (`fit_pixel_size`); least squares on the same disks
(`fit_distortion`) then give size and ellipse.

A standard error is that of resampled patterns, with SYSTEMATIC added in quadrature and, for the
pixel size, the distance from a second estimate, the median of the camera lengths that template
matching refines on each pattern. The resamples alone are too sure, for an orientation that is
a little wrong is so in a whole grain: they gave 0.1 % where phantoms of 24 x 32 points were off by
0.3 % (root mean square) in size, and 0.25 % where ellipses were off by 0.6 %.
"""

from functools import partial

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import ScanError
from zoneaxis.evaluation.distortion import fit_distortion
from zoneaxis.evaluation.pixel_size_fit import PixelSizeFit, clear_patterns, fit_pixel_size, orient
from zoneaxis.scans.calibration import Calibration
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.pixel_size import PixelSize, propose_pixel_sizes
from zoneaxis.scans.survey import Survey

SEARCHED_INV_ANGSTROM = (0.003, 0.08)  # pixel sizes of usual cameras and camera lengths
NEAR = 0.15  # a rough pixel size is believed to this share
PROPOSED, PROPOSED_NEAR = 8, 3
SAMPLED, DECIDING = 64, 24  # patterns that size and ellipse are measured on, and decided by
SAME = 1.025  # the ratio within which two sizes are one
PARTS, RESAMPLES = 16, 200  # of neighboring patterns, which show the same grains, for the errors
RIVAL_SHARE = 0.05  # of the resamples won makes a rival
RIVAL_GAIN = 0.1  # as does a mean log likelihood a disk that is so little worse
ROUNDS = 2  # of orientations at a pixel size and of a pixel size for orientations
SYSTEMATIC, SYSTEMATIC_ELLIPSE = 0.004, 0.006  # see the module's docstring
FEWEST_PATTERNS = 16  # of fewer, mostly of one grain, no ellipse is told from a wrong lattice
SIGNIFICANT = 3.0  # standard errors that an ellipse must differ from a circle


def calibrate(
    survey: Survey,
    crystal: Crystal,
    *,
    near_inv_angstrom: float | None = None,
    voltage_kv: float = 300.0,
    precession_deg: float = 0.0,
) -> Calibration:
    """Measure pixel size and ellipse on the disks of a survey.

    Args:
        survey: of a scan whose specimen is all or mostly of the crystal.
        crystal: an error of its lattice is one of the pixel size.
        near_inv_angstrom: a rough pixel size, right within 15 %; without it 0.003 to 0.08
            1/Angstrom are searched.
        voltage_kv: accelerating voltage.
        precession_deg: precession angle.

    Raises:
        ScanError: too few disks, no pattern of a crystal, or one far from the rough size fits
            clearly better than all near it.
    """
    beam = Optics(voltage_kv, precession_deg=precession_deg)
    peaks = survey.peaks
    proposed = propose_pixel_sizes(peaks, crystal, *SEARCHED_INV_ANGSTROM, PROPOSED)
    if near_inv_angstrom is not None:
        edges = near_inv_angstrom * (1 - NEAR), near_inv_angstrom * (1 + NEAR)
        near = propose_pixel_sizes(peaks, crystal, *edges, PROPOSED_NEAR)
        proposed = np.concatenate([[near_inv_angstrom], near, proposed])
    chosen = clear_patterns(survey, crystal, beam, proposed[0], SAMPLED)
    if not len(chosen):
        raise ScanError(
            "No pattern shows a crystal beyond noise: leave vacuum and support out (--mask), or "
            "give the pixel size (--inv-angstrom-per-pixel)."
        )
    tried: list[float] = []
    for size in proposed:
        if all(_ratio(size, other) > SAME for other in tried):
            tried.append(float(size))
    some = chosen[:: max(1, len(chosen) // DECIDING)]
    fits = [fit_pixel_size(survey, some, crystal, beam, size) for size in tried]
    best, rivals = _decided(_distinct(fits), crystal, near_inv_angstrom)
    measured = partial(_measured, survey, chosen, crystal, beam, best.size)
    size, error, stretch, ellipse_error = measured(elliptic=len(chosen) >= FEWEST_PATTERNS)
    ellipse = Ellipse.from_stretch(*stretch)
    if ellipse.ratio - 1 < SIGNIFICANT * ellipse_error:
        ellipse = Ellipse()
        size, error, _, _ = measured(elliptic=False)
    n_disks = int(np.isin(peaks.pattern, chosen).sum())
    return Calibration(
        PixelSize(
            size, error, tuple(rivals), float(best.gains.sum() / best.n_disks.sum()), n_disks
        ),
        ellipse,
        ellipse_error,
        survey.drift,
        survey.beam_radius_px,
        tuple(survey.patterns.shape[1:]),
    )


def _measured(
    survey: Survey,
    chosen: np.ndarray,
    crystal: Crystal,
    beam: Optics,
    size: float,
    *,
    elliptic: bool,
) -> tuple[float, float, np.ndarray, float]:
    """Return the pixel size and its error, the stretch and its error."""
    for _ in range(ROUNDS):
        patterns = orient(survey, chosen, crystal, beam, size)
        found = fit_distortion(patterns, size, elliptic=elliptic)
        size *= float(np.exp(found.values[0]))
    relative = found.errors[0], patterns.matched / size - 1, SYSTEMATIC
    ellipse_error = np.linalg.norm([*found.errors[1:], SYSTEMATIC_ELLIPSE])
    error = size * float(np.linalg.norm(relative))
    return size, error, found.values[1:], float(ellipse_error)


def _distinct(fits: list[PixelSizeFit]) -> list[PixelSizeFit]:
    """Return the fits best first, without those that ran into the same size."""
    kept: list[PixelSizeFit] = []
    for fit in sorted(fits, key=lambda fit: -fit.gains.sum()):
        if all(_ratio(fit.size, other.size) > SAME for other in kept):
            kept.append(fit)
    return kept


def _decided(
    fits: list[PixelSizeFit], crystal: Crystal, near: float | None
) -> tuple[PixelSizeFit, list[float]]:
    """Return the best fit near the rough size, and the sizes of its rivals.

    Raises:
        ScanError: another size fits clearly better than those near the rough one.
    """
    believed = fits if near is None else [f for f in fits if abs(f.size / near - 1) <= NEAR]
    if fits[0] not in believed and (not believed or not _rivals(fits[0], believed[:1])):
        raise ScanError(
            f"No pixel size within {NEAR:.0%} of {near:g} 1/Angstrom fits the reflections of "
            f"{crystal.name}, but {fits[0].size:.5f} does: check crystal and pixel size, or "
            "search from scratch (--from-scratch)."
        )
    return believed[0], _rivals(believed[0], believed[1:])


def _rivals(best: PixelSizeFit, others: list[PixelSizeFit]) -> list[float]:
    """Return the sizes that some resamples prefer to the best, or that come near to it."""
    found = []
    for other in others:
        better = best.gains - other.gains
        won = (_resampled(better[:, None]) < 0).mean()
        if won >= RIVAL_SHARE or better.sum() < RIVAL_GAIN * best.n_disks.sum():
            found.append(other.size)
    return found


def _resampled(gain: np.ndarray) -> np.ndarray:
    """Return the sums of gains (n, s) in resamples of parts of the patterns, (resamples, s)."""
    parts = np.stack([part.sum(axis=0) for part in np.array_split(gain, min(PARTS, len(gain)))])
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), RESAMPLES)
    return drawn @ parts


def _ratio(first: float, second: float) -> float:
    return max(first / second, second / first)
