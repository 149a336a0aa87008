"""Votes: what the neighbors of a point on the scan found is added to what it found itself.

Two ways, each with weights of the eight neighbors beside the point's own, which is 1:

- `vote`: the n best orientations of a map vote for those near them. Scores add up as

      s'(g) = (s(g) + sum_k w_k s_k(g)) / (1 + sum_k w_k)

- `index_with_neighbors`: the same on the confidences of all classes, where an indexer tells them.

Equal weights of 1/8 are those of the paper; `neighbor_averaging` has others, which spare
boundaries, and averages patterns before they are indexed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Protocol

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    mean_orientation,
    reduce_euler,
)
from zoneaxis.errors import ScanError
from zoneaxis.evaluation.correlation import NEIGHBORS
from zoneaxis.evaluation.neighbor_averaging import equal_weights, require_weights
from zoneaxis.scans.indexing import Indexed, usable
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

VOTE = 0.125  # weight of a neighbor's confidences: all eight together weigh as much as the point
SAME_DEG = 5.0  # orientations nearer than this vote for each other
POINTS_TOGETHER = 512


class Classifier(Protocol):
    """An indexer that tells the confidence of each of its classes."""

    @property
    def crystal(self) -> Crystal:
        """The crystal whose orientations it knows."""
        ...

    def class_confidences(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> np.ndarray:
        """Return the confidence of each class, which add up to 1, shape (n, classes)."""
        ...

    def decide(self, confidences: np.ndarray) -> Indexed:
        """Return the n best orientations for confidences of shape (n, classes)."""
        ...


def vote(
    map: OrientationMap,
    weights: np.ndarray | None = None,
    *,
    power: float = 1.0,
    same_deg: float = SAME_DEG,
) -> OrientationMap:
    """Let the n best orientations of neighbors vote; points without one stay without.

    All candidates of a point and of its neighbors of the same phase are gathered. The one with the
    highest sum of scores within `same_deg`, symmetry considered, takes those, their weighted mean
    is the orientation; then the next, from what is left. No vote is lost and none made up: before
    the n best are cut off, they sum to the weighted mean of the neighbors' sums.

    Args:
        map: with its n best and their scores; more than one each help.
        weights: of the neighbors, shape (rows, cols, 8); 1/8 each by default.
        power: scores vote as s_1 (s / s_1)^power, s_1 the point's best: 1 for probabilities, about
            8 for correlation indices, which hardly differ between right and wrong.
        same_deg: orientations nearer than this are one.

    Returns:
        A map of as many n best; the reliability is 1 - second / first.

    Raises:
        MapError: weights of another shape.
    """
    weights = equal_weights(map.shape, VOTE) if weights is None else weights
    require_weights(weights, map.shape)
    best = map.score[..., :1]
    map = replace(map, score=best * (map.score / np.maximum(best, 1e-12)) ** power)
    euler, score = map.euler_deg.copy(), map.score.copy()
    for number, crystal in enumerate(map.crystals):
        rows, cols = np.nonzero(map.phase == number)
        for start in range(0, rows.size, POINTS_TOGETHER):
            part = rows[start : start + POINTS_TOGETHER], cols[start : start + POINTS_TOGETHER]
            candidates, votes = _candidates(map, part, weights)
            euler[part], score[part] = _elected(candidates, votes, crystal, map.n_best, same_deg)
    second = score[..., 1] if map.n_best > 1 else 0.0
    reliability = (1 - second / np.maximum(score[..., 0], 1e-12)).astype(np.float32)
    if map.n_best == 1:
        reliability = map.reliability
    reliability = np.where(map.indexed, reliability, map.reliability)
    return replace(map, euler_deg=euler, score=score, reliability=reliability)


def index_with_neighbors(
    classifier: Classifier,
    scan: Scan,
    weights: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> OrientationMap:
    """Index a scan by confidences of all classes, each point's with its neighbors' added.

    The memory holds the confidences of three rows of the scan.

    Args:
        classifier: a network.
        scan: with its pixel size.
        weights: of the neighbors, shape (rows, cols, 8); 1/8 each by default.
        progress: called with the number of patterns done since the last call.

    Returns:
        The map; further outputs of a network, such as thickness, are not in it.

    Raises:
        MapError: weights of another shape.
        ScanError: the pixel size is unknown, or the file cannot be read to its end.
    """
    weights = equal_weights(scan.shape, VOTE) if weights is None else weights
    require_weights(weights, scan.shape)
    rows, above, here = [], None, None
    for below in chain(_confident_rows(classifier, scan), [None]):
        if here is not None:
            mixed, good = _mixed_row(above, here, below, weights[len(rows)])
            rows.append((classifier.decide(mixed), good))
            if progress is not None:
                progress(len(good))
        above, here = here, below
    stack = {
        name: np.stack([getattr(found, name) for found, _ in rows])
        for name in ("euler_deg", "score", "reliability")
    }
    return OrientationMap.of_crystal(
        classifier.crystal,
        **stack,
        indexed=np.stack([found.indexed & good for found, good in rows]),
        step_nm=scan.step_nm,
    )


def _candidates(
    map: OrientationMap, points: tuple[np.ndarray, np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices (p, 9 k, 3, 3) and votes (p, 9 k) of points and neighbors, normalized."""
    row, col = points
    last_row, last_col = map.shape[0] - 1, map.shape[1] - 1
    euler, votes, total = [map.euler_deg[points]], [map.score[points]], np.ones(row.size)
    for i, (down, right) in enumerate(NEIGHBORS):
        # Beyond the edge some other point is taken, with weight 0.
        there = np.clip(row + down, 0, last_row), np.clip(col + right, 0, last_col)
        inside = (there[0] == row + down) & (there[1] == col + right)
        weight = weights[(*points, i)] * inside * (map.phase[there] == map.phase[points])
        euler.append(map.euler_deg[there])
        votes.append(weight[:, None] * map.score[there])
        total += weight
    euler, votes = np.concatenate(euler, axis=1), np.concatenate(votes, axis=1)
    # Where there is no orientation, files may hold NaN, which spoils a sum even without weight.
    known = np.isfinite(euler).all(axis=-1) & np.isfinite(votes)
    matrices = matrices_from_euler(np.where(known[..., None], euler, 0))
    return matrices, np.where(known, votes, 0) / total[:, None]


def _elected(
    matrices: np.ndarray, votes: np.ndarray, crystal: Crystal, n_best: int, same_deg: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return Bunge angles (p, n_best, 3) and scores (p, n_best) of the winners, best first."""
    operators, points = crystal.proper_operators, np.arange(len(votes))
    same = _cosines(matrices, operators) >= np.cos(np.deg2rad(same_deg))
    left, euler, score = votes.astype(np.float64), [], []
    for _ in range(n_best):
        mass = np.einsum("pij,pj->pi", same, left)
        best = np.where(left > 0, mass, -1).argmax(axis=1)
        member = left * same[points, best]
        mean = mean_orientation(matrices, member, matrices[points, best], operators)
        found = reduce_euler(euler_from_matrices(mean), crystal)
        gained = member.sum(axis=1)
        # Where nothing is left the first is repeated with score 0, as indexers do.
        euler.append(np.where(gained[:, None] > 0, found, euler[0] if euler else found))
        score.append(gained)
        left = left - member
    order = np.argsort(-np.stack(score, axis=1), axis=1, kind="stable")
    return (
        np.take_along_axis(np.stack(euler, axis=1), order[..., None], axis=1),
        np.take_along_axis(np.stack(score, axis=1), order, axis=1).astype(np.float32),
    )


def _cosines(matrices: np.ndarray, operators: np.ndarray) -> np.ndarray:
    """Return cosines of the misorientations of candidates (p, c, 3, 3), shape (p, c, c)."""
    flat = matrices.reshape(*matrices.shape[:2], 9).astype(np.float32)
    trace = np.full((len(flat), flat.shape[1], flat.shape[1]), -1.0, np.float32)
    for operator in operators:
        turned = (operator @ matrices).reshape(flat.shape).astype(np.float32)
        np.maximum(trace, turned @ flat.swapaxes(1, 2), out=trace)
    return (trace - 1) / 2


def _confident_rows(classifier: Classifier, scan: Scan) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the confidences (cols, classes) of each row of a scan, and which of them are good."""
    pixel = scan.inv_angstrom_per_pixel
    if pixel is None:
        raise ScanError(
            f"{scan.path} does not say how large a pattern pixel is: give it in 1/Angstrom "
            "with --inv-angstrom-per-pixel."
        )
    start = 0
    for height in scan.patterns.chunks[0]:
        band = scan.read(slice(start, start + height), slice(0, scan.shape[1]))
        for row, raw in enumerate(band, start):
            patterns = raw.astype(np.float32)
            good = usable(patterns)
            if scan.mask is not None:
                good &= scan.mask[row]
            patterns[~good] = 0
            yield classifier.class_confidences(patterns, pixel), good
        start += height


def _mixed_row(
    above: tuple[np.ndarray, np.ndarray] | None,
    here: tuple[np.ndarray, np.ndarray],
    below: tuple[np.ndarray, np.ndarray] | None,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a row's confidences with those of its neighbors, of which bad ones do not count."""
    confidences, good = here
    total, mixed = np.ones(good.shape, np.float32), confidences.copy()
    columns = np.arange(len(good))
    for i, (down, right) in enumerate(NEIGHBORS):
        row = (above, here, below)[1 + down]
        if row is None:
            continue
        there = np.clip(columns + right, 0, len(good) - 1)
        weight = weights[:, i] * row[1][there] * (there == columns + right)
        mixed += weight[:, None] * row[0][there]
        total += weight
    return mixed / total[:, None], good
