"""Pixel size and ellipse by least squares, on disks that orientations give their reflections.

Each disk at x (from the direct beam) is taken for the spot q of its pattern's orientation that is
nearest. With a symmetric matrix A for all patterns, whose trace is a factor on the pixel size s and
whose rest is an ellipse, a small turn t and a shift c of each pattern, for what its orientation and
center are wrong by,

    q / s = x + A x + t (-x_y, x_x) + c,

solved by least squares, reweighted by 1 / (1 + (distance / CAUCHY_PX)^2): some disks are noise.
"""

from dataclasses import dataclass

import numpy as np

from zoneaxis.evaluation.pixel_size_fit import OrientedPatterns

REACH_PX = 3.0  # a disk farther from all spots belongs to none
CAUCHY_PX = 0.5
ROUNDS = 6
FEWEST_DISKS = 4  # of a pattern: three of its unknowns are its own
FAINTEST = 0.1  # of a pattern's largest weight: fainter spots take no disk
PARTS, RESAMPLES = 16, 200  # of neighboring patterns, which show the same grains


@dataclass(frozen=True, eq=False)
class Distortion:
    """What is left to correct of a pixel size and of a circle.

    Attributes:
        values: logarithm of the factor on the pixel size, and the stretch of
            `Ellipse.from_stretch`, shape (3,).
        errors: spread of each over resampled patterns, shape (3,).
    """

    values: np.ndarray
    errors: np.ndarray


def fit_distortion(patterns: OrientedPatterns, size: float, *, elliptic: bool) -> Distortion:
    """Fit the disks of patterns to the spots of their orientations.

    Args:
        patterns: with disks and spots.
        size: in 1/Angstrom per pixel, that the patterns were oriented at.
        elliptic: False leaves the stretch 0.
    """
    pairs = [
        (place, spots[weight > FAINTEST * weight.max()] / size)
        for place, spots, weight in zip(
            patterns.places_px, patterns.spots_inv_angstrom, patterns.weights, strict=True
        )
        if len(place) >= FEWEST_DISKS
    ]
    active = 3 if elliptic else 1
    values, own = np.zeros(3), [np.zeros(3) for _ in pairs]
    for _ in range(ROUNDS):
        normal, right = np.zeros((len(pairs), active, active)), np.zeros((len(pairs), active))
        systems = [_system(*pair, values, o) for pair, o in zip(pairs, own, strict=True)]
        for i, (shared, private, target) in enumerate(systems):
            # What a pattern's own turn and shift may explain says nothing about all of them.
            base, _ = np.linalg.qr(private)
            shared, target = (a - base @ (base.T @ a) for a in (shared[:, :active], target))
            normal[i], right[i] = shared.T @ shared, shared.T @ target
        values[:active] = np.linalg.lstsq(normal.sum(0), right.sum(0), rcond=None)[0]
        own = [np.linalg.lstsq(p, t - s @ values, rcond=None)[0] for s, p, t in systems]
    errors = np.zeros(3)
    errors[:active] = _spread(normal, right)
    return Distortion(values, errors)


def _system(
    place: np.ndarray, spots: np.ndarray, values: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weighted equations of a pattern: for all, for itself, both (2 m, 3), and (2 m,)."""
    x, y = place.T
    zero, one = np.zeros(len(x)), np.ones(len(x))
    shared = np.stack([np.r_[x, y], np.r_[-x, y] / 2, np.r_[-y, -x] / 2], axis=1)
    private = np.stack([np.r_[-y, x], np.r_[one, zero], np.r_[zero, one]], axis=1)
    moved = place + (shared @ values + private @ own).reshape(2, -1).T
    away = np.linalg.norm(moved[:, None] - spots, axis=-1)
    distance = away.min(axis=1)
    target = (spots[away.argmin(axis=1)] - place).T.ravel()
    root = (distance < REACH_PX) / np.hypot(1, distance / CAUCHY_PX)
    weight = np.r_[root, root]
    return shared * weight[:, None], private * weight[:, None], target * weight


def _spread(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the solution over resampled parts of the patterns."""
    parts = np.array_split(np.arange(len(normal)), min(PARTS, len(normal)))
    drawn = np.random.default_rng(0).multinomial(
        len(parts), np.full(len(parts), 1 / len(parts)), RESAMPLES
    )
    matrices = np.tensordot(drawn, [normal[part].sum(axis=0) for part in parts], 1)
    rights = np.tensordot(drawn, [right[part].sum(axis=0) for part in parts], 1)
    found = [np.linalg.lstsq(m, r, rcond=None)[0] for m, r in zip(matrices, rights, strict=True)]
    return np.std(found, axis=0)
