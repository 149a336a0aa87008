"""Some patterns from all over a scan, for what needs not see all of them."""

import math
from dataclasses import dataclass
from itertools import count

import numpy as np

from zoneaxis.errors import ScanError
from zoneaxis.scans.indexing import usable
from zoneaxis.scans.scan import Scan


@dataclass(frozen=True, eq=False)
class Sample:
    """Patterns of n points on a coarse grid over the scan.

    Attributes:
        patterns: counts, float32, shape (n, height, width).
        rows: where each was measured, shape (n,).
        cols: the same for the columns.
    """

    patterns: np.ndarray
    rows: np.ndarray
    cols: np.ndarray


def sample(scan: Scan, most: int) -> Sample:
    """Return the usable patterns of a square grid of points that the mask does not leave out.

    Args:
        scan: of any shape.
        most: points of the grid, which is as fine as that allows.

    Raises:
        ScanError: there is none, or the file cannot be read.
    """
    step = next(s for s in count(1) if math.prod(-(-n // s) for n in scan.shape) <= most)
    rows, cols = (np.arange(min(step // 2, n - 1), n, step) for n in scan.shape)
    patterns = scan.read(slice(rows[0], None, step), slice(cols[0], None, step))
    patterns = patterns.reshape(-1, *patterns.shape[2:]).astype(np.float32)
    row, col = (index.ravel() for index in np.meshgrid(rows, cols, indexing="ij"))
    good = usable(patterns)
    if scan.mask is not None:
        good &= scan.mask[row, col]
    if not good.any():
        raise ScanError(
            f"{scan.path}: none of {len(good)} patterns from all over the scan is usable: each is "
            "masked, empty, or holds NaN, inf or negative counts."
        )
    return Sample(patterns[good], row[good], col[good])
