"""Averaging patterns with their neighbors on the scan, and how much each neighbor counts.

Weights of the eight neighbors stand beside the point's own, which is 1. Equal weights of 1 are
those of the paper. They wear boundaries away; `similarity_weights` spares them, for a neighbor
counts as far as its pattern is alike. Votes take the same weights: see `neighbor_votes`.
"""

from dataclasses import replace

import dask.array as da
import numpy as np

from zoneaxis.errors import MapError
from zoneaxis.evaluation.correlation import NEIGHBORS
from zoneaxis.scans.indexing import usable
from zoneaxis.scans.scan import Scan

UNLIKE, ALIKE = 0.3, 0.6  # shares of a point's usual correlation: no weight, full weight
CHUNK_BYTES = 64_000_000  # of patterns averaged together: few enough, yet with few neighbors beyond


def equal_weights(shape: tuple[int, int], weight: float) -> np.ndarray:
    """Return one weight for each of `NEIGHBORS`, 0 beyond the edge, shape (rows, cols, 8).

    Args:
        shape: points of the scan, (rows, cols).
        weight: of a neighbor beside the point's own of 1.
    """
    inside = np.pad(np.ones(shape, np.float32), 1)
    return weight * np.stack([_shifted(inside, *place) for place in NEIGHBORS], axis=-1)


def similarity_weights(coefficient: np.ndarray, weight: float) -> np.ndarray:
    """Return weights that fall with the likeness of patterns, so that boundaries stay.

    The reference is the mean of the higher half of a point's coefficients, for at a straight
    boundary half of the neighbors are in its own grain: noise, which lowers all of them, does not
    count. A neighbor of less than 0.3 of the reference has no weight, one of 0.6 and more the full
    one.

    Args:
        coefficient: `NeighborCorrelation.coefficient`, shape (rows, cols, 8).
        weight: of a neighbor that is as alike as can be.
    """
    r = np.nan_to_num(coefficient).clip(min=0)
    half = np.isfinite(coefficient).sum(axis=-1, keepdims=True) // 2
    highest = -np.sort(-r, axis=-1)
    counted = np.arange(len(NEIGHBORS)) < np.maximum(half, 1)
    reference = highest.mean(axis=-1, where=counted, keepdims=True)
    share = r / np.maximum(reference, 1e-6)
    return weight * ((share - UNLIKE) / (ALIKE - UNLIKE)).clip(0, 1)


def averaged_scan(scan: Scan, weights: np.ndarray | None = None) -> Scan:
    """Return a scan whose patterns are averaged with their eight neighbors when they are read.

    At the edge the neighbors that there are count, and so they do beside bad patterns and points
    that the mask leaves out. A bad pattern stays as it is. The beam must not wander by more than a
    fraction of a disk from point to point.

    Args:
        scan: any scan; nothing is read yet.
        weights: of the neighbors beside the point's own of 1, shape (rows, cols, 8); all 1 by
            default.

    Raises:
        MapError: weights of another shape.
    """
    weights = equal_weights(scan.shape, 1.0) if weights is None else weights
    require_weights(weights, scan.shape)
    if scan.mask is not None:
        inside = np.pad(scan.mask, 1)
        seen = np.stack([_shifted(inside, *place) for place in NEIGHBORS], axis=-1)
        weights = weights * seen
    patterns = scan.patterns
    pattern_bytes = 4 * patterns.shape[2] * patterns.shape[3]
    side = max(8, int((CHUNK_BYTES / pattern_bytes) ** 0.5))
    patterns = patterns.rechunk((side, side, -1, -1))
    beside = da.from_array(weights.astype(np.float32), chunks=(*patterns.chunks[:2], -1))
    averaged = da.map_overlap(
        _average,
        patterns,
        beside[..., None],
        depth={0: 1, 1: 1},
        boundary="none",
        align_arrays=False,
        dtype=np.float32,
        meta=np.empty((0,) * 4, np.float32),
    )
    # A history would be pickled in place of the patterns, without the average.
    return replace(scan, patterns=averaged, history=())


def require_weights(weights: np.ndarray, shape: tuple[int, int]) -> None:
    """Refuse weights that do not fit.

    Args:
        weights: one for each of `NEIGHBORS`, shape (rows, cols, 8).
        shape: points of the scan or map, (rows, cols).

    Raises:
        MapError: weights of another shape.
    """
    if weights.shape != (*shape, len(NEIGHBORS)):
        raise MapError(
            f"Weights of shape {weights.shape} for {shape[0]} x {shape[1]} points: expected one "
            "for each of eight neighbors. Scan and map must be of the same specimen area."
        )


def _shifted(framed: np.ndarray, down: int, right: int) -> np.ndarray:
    """Return what stands at a neighbor of each point, of an array framed by one point."""
    rows, cols = framed.shape[0] - 2, framed.shape[1] - 2
    return framed[1 + down : 1 + down + rows, 1 + right : 1 + right + cols]


def _average(patterns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average patterns (r, c, h, w) by the neighbors' weights (r, c, 8, 1)."""
    values = patterns.astype(np.float32)
    good = usable(values.reshape(-1, *values.shape[2:])).reshape(values.shape[:2])
    framed = np.pad(np.where(good[..., None, None], values, 0), ((1, 1), (1, 1), (0, 0), (0, 0)))
    framed_good = np.pad(good, 1)
    total = framed[1:-1, 1:-1].copy()
    sum_of_weights = np.ones(good.shape, np.float32)
    for i, place in enumerate(NEIGHBORS):
        weight = weights[:, :, i, 0] * _shifted(framed_good, *place)
        total += weight[..., None, None] * _shifted(framed, *place)
        sum_of_weights += weight
    return np.where(good[..., None, None], total / sum_of_weights[..., None, None], values)
