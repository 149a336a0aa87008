"""The Indexer protocol (patterns -> n best orientations with scores) and the loop over a scan."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import ScanError
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan


@dataclass(frozen=True, eq=False)
class Indexed:
    """Orientations of n patterns, the k best of each, best first.

    Attributes:
        euler_deg: Bunge angles, float64, shape (n, k, 3).
        score: confidence or correlation index, 0..1, float32, shape (n, k).
        reliability: how far the best stands out from its rivals, 0..1, float32, shape (n,).
        indexed: False where the pattern has no orientation, shape (n,).
        properties: further values per pattern, e.g. thickness_nm, each of shape (n,).
        phase: which of the indexer's crystals it is, int, shape (n,); None if there is only one.
    """

    euler_deg: np.ndarray
    score: np.ndarray
    reliability: np.ndarray
    indexed: np.ndarray
    properties: dict[str, np.ndarray] = field(default_factory=dict)
    phase: np.ndarray | None = None


class Indexer(Protocol):
    """Whatever finds orientations: a network, template matching, several of them for phases."""

    @property
    def crystals(self) -> tuple[Crystal, ...]:
        """The phases that it knows."""
        ...

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Index patterns without changing them.

        Args:
            patterns: counts, float32, shape (n, height, width).
            inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.
        """
        ...


def index_scan(
    indexer: Indexer,
    scan: Scan,
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> OrientationMap:
    """Index every pattern of a scan, with one block of the file in memory at a time.

    A pattern with NaN, inf or negative counts, or without any, is marked not indexed; a warning
    says how many there were. So is, without a warning, every point that the scan's mask leaves out.

    Args:
        indexer: finds the orientations.
        scan: where the patterns come from.
        batch_size: most patterns given to the indexer at once.
        progress: called with the number of patterns done since the last call.

    Raises:
        ScanError: the pixel size is unknown, the file cannot be read to its end, or none of its
            patterns is usable.
    """
    if scan.inv_angstrom_per_pixel is None:
        raise ScanError(
            f"{scan.path} does not say how large a pattern pixel is: give it in 1/Angstrom "
            "with --inv-angstrom-per-pixel."
        )
    rows, cols = scan.shape
    points = np.arange(rows * cols).reshape(rows, cols)
    collected = None
    bad = empty = 0
    mask = np.ones(scan.shape, bool) if scan.mask is None else scan.mask
    for row, col in blocks(scan, batch_size):
        wanted = mask[row, col]
        if progress is not None:
            progress(int((~wanted).sum()))
        if not wanted.any():
            continue  # nor is the block read
        where = points[row, col][wanted]
        patterns = scan.read(row, col)[wanted]
        for start in range(0, len(where), batch_size):
            with np.errstate(over="ignore"):  # beyond float32 is inf, and inf is refused below
                batch = patterns[start : start + batch_size].astype(np.float32)
            good = usable(batch)
            bad += np.count_nonzero(~good)
            empty += np.count_nonzero(~batch[~good].any(axis=(1, 2)))
            if good.any():
                chosen = batch if good.all() else batch[good]
                found = indexer.index(chosen, scan.inv_angstrom_per_pixel)
                collected = collected or _empty(found, rows * cols)
                _store(collected, where[start : start + batch_size][good], found)
            if progress is not None:
                progress(len(batch))
    if collected is None:
        raise ScanError(
            f"{scan.path} has no usable pattern: each is empty, or holds NaN, inf or negative "
            "counts. If a dark reference was subtracted, clip the counts at 0."
        )
    if bad:
        warnings.warn(
            f"{bad} of {points.size} patterns hold NaN, inf, negative or no counts and are marked "
            f"not indexed ({empty} of them hold no counts at all).",
            stacklevel=2,
        )
    return _as_map(collected, indexer.crystals, scan)


def require_frame(
    shape: tuple[int, int], inv_angstrom_per_pixel: float, needed_inv_angstrom: float
) -> None:
    """Make sure that patterns reach as far as an indexer needs.

    Args:
        shape: height and width of a pattern in pixels.
        inv_angstrom_per_pixel: size of a pixel.
        needed_inv_angstrom: smallest distance from the center to the frame's edge.

    Raises:
        ScanError: they do not; most likely the pixel size is wrong.
    """
    reach = (min(shape) // 2) * inv_angstrom_per_pixel
    if not reach >= needed_inv_angstrom:  # also where the pixel size is NaN
        raise ScanError(
            f"Patterns of {shape[0]} x {shape[1]} pixels of {inv_angstrom_per_pixel:g} "
            f"1/Angstrom reach {reach:.3f} 1/Angstrom; indexing needs {needed_inv_angstrom:.3f} "
            "at least. Check the pixel size (--inv-angstrom-per-pixel)."
        )


def usable(patterns: np.ndarray) -> np.ndarray:
    """Return which patterns can be indexed: finite, not negative, not all zero.

    Args:
        patterns: counts, shape (n, height, width).

    Returns:
        bool, shape (n,).
    """
    # A comparison with NaN is False, so min and max alone tell every bad case.
    low, high = patterns.min(axis=(1, 2)), patterns.max(axis=(1, 2))
    return (low >= 0) & (high > 0) & (high < np.inf)


def blocks(scan: Scan, batch_size: int) -> Iterator[tuple[slice, slice]]:
    """Yield regions made of whole chunks, so that no chunk is read and unpacked twice.

    A region grows to about a batch: full rows of chunks where they are small, else chunks of one
    row of chunks.
    """
    row_chunks, col_chunks = scan.patterns.chunks[:2]
    cols = scan.shape[1]
    for row in _grouped(row_chunks, max(1, batch_size // cols)):
        for col in _grouped(col_chunks, max(1, batch_size // (row.stop - row.start))):
            yield row, col


def _grouped(chunks: tuple[int, ...], most: int) -> Iterator[slice]:
    """Yield slices over runs of chunks, each of at most `most` elements or a single chunk."""
    start = stop = 0
    for chunk in chunks:
        if stop > start and stop + chunk - start > most:
            yield slice(start, stop)
            start = stop
        stop += chunk
    yield slice(start, stop)


def _empty(like: Indexed, n: int) -> Indexed:
    n_best = like.score.shape[1]
    return Indexed(
        euler_deg=np.zeros((n, n_best, 3)),
        score=np.zeros((n, n_best), np.float32),
        reliability=np.zeros(n, np.float32),
        indexed=np.zeros(n, bool),
        properties={name: np.full(n, np.nan, np.float32) for name in like.properties},
        phase=np.zeros(n, np.int8),
    )


def _store(collected: Indexed, where: np.ndarray, found: Indexed) -> None:
    for name in ("euler_deg", "score", "reliability", "indexed"):
        getattr(collected, name)[where] = getattr(found, name)
    if found.phase is not None:
        collected.phase[where] = found.phase
    for name, values in found.properties.items():
        collected.properties[name][where] = values


def _as_map(collected: Indexed, crystals: tuple[Crystal, ...], scan: Scan) -> OrientationMap:
    n_best = collected.score.shape[1]
    phase = np.where(collected.indexed, collected.phase, -1).astype(np.int8)
    return OrientationMap(
        crystals=crystals,
        euler_deg=collected.euler_deg.reshape(*scan.shape, n_best, 3),
        score=collected.score.reshape(*scan.shape, n_best),
        reliability=collected.reliability.reshape(scan.shape),
        phase=phase.reshape(scan.shape),
        step_nm=scan.step_nm,
        properties={name: v.reshape(scan.shape) for name, v in collected.properties.items()},
    )
