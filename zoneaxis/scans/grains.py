"""Grains of a map: connected regions in which no step turns the crystal by the tolerance."""

from collections.abc import Sequence

import numpy as np

from zoneaxis.diffraction.orientations import misorientation_deg

CHUNK_PAIRS = 1 << 16


def label_grains(
    matrices: np.ndarray, phase: np.ndarray, operators: Sequence[np.ndarray], tolerance_deg: float
) -> np.ndarray:
    """Return the number of each point's grain, in the order of their first points; else -1.

    A grain is a connected region of one phase in which each step, along a row or a column, turns
    the crystal by less than the tolerance; from one end to the other it may turn by more.

    Args:
        matrices: G, shape (rows, cols, 3, 3).
        phase: of each point, -1 where it is of no grain, int, shape (rows, cols).
        operators: proper symmetry operators S of each phase, each of shape (s, 3, 3).
        tolerance_deg: of neighbors.

    Returns:
        int, shape (rows, cols).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, next_ = neighbor_pairs(phase.shape)
    flat = phase.ravel()
    joined = [np.zeros((2, 0), int)]
    for number, symmetry in enumerate(operators):
        both = (flat[one] == number) & (flat[next_] == number)
        pairs = np.stack([one[both], next_[both]])
        angle = pair_misorientation_deg(matrices.reshape(-1, 3, 3), pairs, symmetry)
        joined.append(pairs[:, angle < tolerance_deg])
    pairs = np.concatenate(joined, axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), pairs), shape=(phase.size,) * 2)
    _, label = connected_components(graph, directed=False)
    return in_order(np.where(phase >= 0, label.reshape(phase.shape), -1))


def in_order(labels: np.ndarray) -> np.ndarray:
    """Return labels from 0 on without gaps, in the order of their first points; -1 stays.

    Args:
        labels: int, any shape.
    """
    inside = labels >= 0
    _, first, label = np.unique(labels[inside], return_index=True, return_inverse=True)
    ordered = np.full(labels.shape, -1)
    ordered[inside] = first.argsort().argsort()[label]
    return ordered


def neighbor_pairs(shape: tuple[int, int]) -> np.ndarray:
    """Return the flat numbers of points that share an edge, to the right first, shape (2, n)."""
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    right = number[:, :-1].ravel(), number[:, 1:].ravel()
    below = number[:-1].ravel(), number[1:].ravel()
    return np.concatenate([right, below], axis=1)


def pair_misorientation_deg(
    matrices: np.ndarray, pairs: np.ndarray, operators: np.ndarray
) -> np.ndarray:
    """Return the misorientation of each pair in degrees, part by part to save memory, shape (n,).

    Args:
        matrices: G, shape (m, 3, 3).
        pairs: numbers of the two, shape (2, n).
        operators: proper symmetry operators S, shape (s, 3, 3).
    """
    angle = np.empty(pairs.shape[1])
    for start in range(0, angle.size, CHUNK_PAIRS):
        one, next_ = pairs[:, start : start + CHUNK_PAIRS]
        part = misorientation_deg(matrices[one], matrices[next_], operators)
        angle[start : start + CHUNK_PAIRS] = part
    return angle
