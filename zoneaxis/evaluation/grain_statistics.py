"""What the points of a grain add up to: mean orientation, spread, shape; all grains at once.

Source of the spread (grain orientation spread, GOS): S. Wright, M. Nowell, D. Field, Microsc.
Microanal. 17 (2011) 316. The mean orientation is the chordal mean (`nearest_rotations`).
"""

import numpy as np

from zoneaxis.diffraction.orientations import nearest_equivalents, nearest_rotations
from zoneaxis.scans.grains import pair_misorientation_deg

PASSES = 3  # of the mean: the first counts from a grain's first point, which may lie far off
CHUNK_POINTS = 1 << 16


def mean_and_spread(
    matrices: np.ndarray, grain: np.ndarray, operators: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean orientation of each grain, and how far its points lie from it on average.

    Args:
        matrices: G of each point, shape (m, 3, 3).
        grain: of each point, 0..n - 1, each at least once, shape (m,).
        operators: proper symmetry operators S, shape (s, 3, 3).

    Returns:
        G, shape (n, 3, 3), and the spread in degrees, shape (n,).
    """
    mean = matrices[np.unique(grain, return_index=True)[1]]
    for _ in range(PASSES):
        mean = nearest_rotations(_sums(matrices, grain, mean, operators))
    pairs = np.stack([np.arange(len(grain)), len(grain) + grain])
    away = pair_misorientation_deg(np.concatenate([matrices, mean]), pairs, operators)
    return mean, np.bincount(grain, away) / np.bincount(grain)


def ellipses(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the aspect ratio of the ellipse with each grain's moments, and its center.

    Args:
        labels: number of each point's grain, -1 where there is none, shape (rows, cols).

    Returns:
        Length over width, shape (n,), and row and column, shape (n, 2).
    """
    inside = labels >= 0
    grain, place = labels[inside], np.argwhere(inside).astype(float)
    points = np.bincount(grain)
    center = np.stack([np.bincount(grain, x) / points for x in place.T], axis=1)
    row, col = (place - center[grain]).T
    rr, cc, rc = (np.bincount(grain, x) / points for x in (row * row, col * col, row * col))
    # A point is a square with moments of its own: without them a single row would have no width.
    mean, half = (rr + cc) / 2 + 1 / 12, np.hypot((rr - cc) / 2, rc)
    return np.sqrt((mean + half) / (mean - half)), center


def _sums(
    matrices: np.ndarray, grain: np.ndarray, near: np.ndarray, operators: np.ndarray
) -> np.ndarray:
    """Return the sum of each grain's orientations, as equivalents near a given one, (n, 3, 3)."""
    total = np.zeros((len(near), 9))
    for start in range(0, len(grain), CHUNK_POINTS):  # the traces take s numbers a point
        part = slice(start, start + CHUNK_POINTS)
        aligned = nearest_equivalents(matrices[part], near[grain[part]], operators)
        for i, values in enumerate(aligned.reshape(-1, 9).T):
            total[:, i] += np.bincount(grain[part], values, minlength=len(near))
    return total.reshape(-1, 3, 3)
