"""The Indexer protocol (patterns -> n best orientations with scores) and the loop over a scan."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from dask.base import tokenize

from zoneaxis.cluster import map_on_cluster
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import ScanError
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.partial_map import PROPERTY, PartialMap, Point, as_text
from zoneaxis.scans.scan import Scan

FEWEST_PIXELS = 16  # along an edge of a pattern
ANSWERS = ("euler_deg", "score", "reliability", "indexed")
BATCHES_A_JOB = 4  # of a worker, at most; whole batches, so that they stay what they are here

# Rows and columns of a block, and which of its points to index.
_Job = tuple[slice, slice, np.ndarray]
# Points of a batch, what became of them, and the answers for those that are usable, by name.
_Result = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Indexed:
    """Orientations of n patterns, the k best of each, best first.

    Attributes:
        euler_deg: Bunge angles, float64, shape (n, k, 3).
        score: confidence or correlation index, 0..1, float32, shape (n, k).
        reliability: how far the best stands out from its rivals, 0..1, float32, shape (n,).
        indexed: False where the pattern has no orientation, shape (n,).
        properties: further values per pattern, e.g. thickness_nm, each of shape (n,); maps hold
            them as floats, NaN where there is no answer.
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
    partial: PartialMap | None = None,
    scheduler: str | None = None,
) -> OrientationMap:
    """Index every pattern of a scan, with two blocks of the file in memory at a time.

    A pattern with NaN, inf or negative counts, or without any, is marked not indexed; a warning
    says how many there were. So is, without a warning, every point that the scan's mask leaves out.

    Args:
        indexer: finds the orientations.
        scan: where the patterns come from.
        batch_size: most patterns given to the indexer at once.
        progress: called with the number of patterns done since the last call.
        partial: has what a stopped run has found, and keeps what this one finds if it is stopped.
            Its settings tell indexers apart, and scans that no method of `Scan` made; this
            function adds the rest. Stopped or not, the map has the same bits.
        scheduler: address of a Dask scheduler, "tcp://host:8786", whose workers then do the work.
            They are sent the indexer and open the scan by themselves, under the same path. The
            map has the same bits as here, with as many threads of torch.

    Raises:
        ScanError: the pixel size is unknown, the file cannot be read to its end, or none of its
            patterns is usable.
        OutputError: `partial` is of another scan or indexer, or cannot be written.
        SettingsError: no scheduler answers at the address.
        ClusterError: the cluster lost its work.
    """
    if scan.inv_angstrom_per_pixel is None:
        raise ScanError(
            f"{scan.path} does not say how large a pattern pixel is: give it in 1/Angstrom "
            "with --inv-angstrom-per-pixel."
        )
    partial = PartialMap() if partial is None else partial
    wanted = np.ones(scan.shape, bool) if scan.mask is None else scan.mask
    partial.begin(wanted.ravel(), _identity(scan, batch_size))
    report = progress or (lambda done: None)
    report(np.count_nonzero(~partial.waiting))
    waiting = partial.waiting.reshape(scan.shape)
    # Batches are done as a whole: without those that are, the others stay the same.
    jobs = [(*at, waiting[at]) for at in blocks(scan, batch_size) if waiting[at].any()]
    if scheduler is None:
        results = _index_here(indexer, scan, jobs, batch_size)
    else:
        results = _index_on_cluster(indexer, scan, jobs, batch_size, scheduler)
    for where, state, columns in results:
        partial.store(where, state, columns)
        report(len(where))
    return _as_map(partial, indexer.crystals, scan)


def require_frame(
    shape: tuple[int, int], inv_angstrom_per_pixel: float, needed_inv_angstrom: float
) -> None:
    """Make sure that patterns reach as far as an indexer needs.

    Args:
        shape: height and width of a pattern in pixels.
        inv_angstrom_per_pixel: size of a pixel.
        needed_inv_angstrom: smallest distance from the center to the frame's edge.

    Raises:
        ScanError: they do not, most likely because the pixel size is wrong, or they have too few
            pixels to show a disk.
    """
    if min(shape) < FEWEST_PIXELS:
        raise ScanError(
            f"Patterns of {shape[0]} x {shape[1]} pixels: indexing needs {FEWEST_PIXELS} along "
            "an edge at least. Bin less (--bin), crop less (--crop-patterns)."
        )
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


def _identity(scan: Scan, batch_size: int) -> dict[str, str]:
    """Return whatever decides which patterns go into which batch, as text."""
    number = tokenize(scan.history, scan.patterns.chunks, scan.inv_angstrom_per_pixel, scan.mask)
    number = number[:8]  # enough to tell two apart
    return as_text({"scan": scan.path, "patterns": number, "batch_size": batch_size})


def _index_here(
    indexer: Indexer, scan: Scan, jobs: list[_Job], batch_size: int
) -> Iterator[_Result]:
    """Yield results batch by batch, while the next block is read."""
    for job, patterns in zip(jobs, _one_ahead(jobs, lambda job: scan.read(*job[:2])), strict=True):
        yield from _index_block(indexer, scan, job, patterns, batch_size)


def _one_ahead(items: Iterable[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield work(item) of each; that of the next item goes on in a thread meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        before = None
        for item in items:
            future = thread.submit(work, item)
            if before is not None:
                yield before.result()
            before = future
        if before is not None:
            yield before.result()


def _index_on_cluster(
    indexer: Indexer, scan: Scan, jobs: list[_Job], batch_size: int, address: str
) -> Iterator[_Result]:
    """Yield results batch by batch, in the order in which workers finish their blocks."""
    shares = _shares(jobs, BATCHES_A_JOB * batch_size)
    calls = {number: (job, batch_size) for number, job in enumerate(shares)}
    for _, results in map_on_cluster(_index_alone, calls, address, shared=(indexer, scan)):
        yield from results


def _shares(jobs: list[_Job], most: int) -> Iterator[_Job]:
    """Split blocks with more points to index than `most`, so that every worker has something."""
    for rows, cols, wanted in jobs:
        number = np.cumsum(wanted).reshape(wanted.shape) - 1
        for start in range(0, np.count_nonzero(wanted), most):
            part = wanted & (number >= start) & (number < start + most)
            first, last = np.flatnonzero(part.any(axis=1))[[0, -1]]
            lines = slice(rows.start + int(first), rows.start + int(last) + 1)
            yield lines, cols, part[first : last + 1]


def _index_alone(shared: tuple[Indexer, Scan], job: _Job, batch_size: int) -> list[_Result]:
    """Read and index one block, on a worker."""
    indexer, scan = shared
    return list(_index_block(indexer, scan, job, scan.read(*job[:2]), batch_size))


def _index_block(
    indexer: Indexer, scan: Scan, job: _Job, patterns: np.ndarray, batch_size: int
) -> Iterator[_Result]:
    """Yield results batch by batch; `patterns` are those of the whole block."""
    rows, cols, wanted = job
    row, col = np.nonzero(wanted)
    where = (row + rows.start) * scan.shape[1] + col + cols.start
    for start in range(0, len(where), batch_size):
        part = slice(start, start + batch_size)
        with np.errstate(over="ignore"):  # beyond float32 is inf, and inf is refused below
            batch = patterns[row[part], col[part]].astype(np.float32)
        good = usable(batch)
        state = np.where(good, Point.DONE, np.where(batch.any(axis=(1, 2)), Point.BAD, Point.EMPTY))
        columns = {}
        if good.any():
            chosen = batch if good.all() else batch[good]
            columns = _columns(indexer.index(chosen, scan.inv_angstrom_per_pixel))
        yield where[part], state, columns


def _columns(found: Indexed) -> dict[str, np.ndarray]:
    names = [*ANSWERS, *(["phase"] if found.phase is not None else [])]
    columns = {name: getattr(found, name) for name in names}
    return columns | {PROPERTY + name: values for name, values in found.properties.items()}


def _as_map(partial: PartialMap, crystals: tuple[Crystal, ...], scan: Scan) -> OrientationMap:
    """Return the finished map; warn of patterns that could not be used.

    Raises:
        ScanError: none could.
    """
    bad, empty = (np.count_nonzero(partial.state == kind) for kind in (Point.BAD, Point.EMPTY))
    if not partial.columns:
        raise ScanError(
            f"{scan.path} has no usable pattern: each is empty, or holds NaN, inf or negative "
            "counts. If a dark reference was subtracted, clip the counts at 0."
        )
    if bad or empty:
        warnings.warn(
            f"{bad + empty} of {len(partial.state)} patterns hold NaN, inf, negative or no counts "
            f"and are marked not indexed ({empty} of them hold no counts at all).",
            stacklevel=3,
        )
    grids = {name: v.reshape(*scan.shape, *v.shape[1:]) for name, v in partial.columns.items()}
    return OrientationMap(
        crystals=crystals,
        euler_deg=grids["euler_deg"],
        score=grids["score"],
        reliability=grids["reliability"],
        phase=np.where(grids["indexed"], grids.get("phase", 0), -1).astype(np.int8),
        step_nm=scan.step_nm,
        properties={
            name.removeprefix(PROPERTY): values
            for name, values in grids.items()
            if name.startswith(PROPERTY)
        },
    )
