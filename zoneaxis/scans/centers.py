"""Where the direct beam stands in each pattern of a scan, and how it drifts over the scan."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.errors import ScanError
from zoneaxis.scans.indexing import blocks, usable
from zoneaxis.scans.scan import Scan

BATCH = 256
REWEIGHTINGS = 15
TERMS = (1, 3, 6)  # of polynomials of degree 0, 1, 2
POINTS_PER_TERM = 4
SMALLEST_SPREAD_PX = 0.02  # below it, differences are rounding


@dataclass(frozen=True)
class BeamDrift:
    """The direct beam's place as a polynomial of the scan's row r and column c.

    Attributes:
        column_px: coefficients of 1, r, c, r^2, r c, c^2 for the beam's column.
        row_px: the same for its row.
        spread_px: half of the patterns lie nearer to the polynomial than this.
    """

    column_px: tuple[float, ...]
    row_px: tuple[float, ...]
    spread_px: float

    def centers(self, shape: tuple[int, int]) -> np.ndarray:
        """Return (column, row) of the direct beam at every point, shape (rows, cols, 2)."""
        rows, cols = np.indices(shape)
        terms = _terms(rows, cols)
        return np.stack([terms @ np.array(c) for c in (self.column_px, self.row_px)], axis=-1)


def beam_radius(patterns: np.ndarray) -> float:
    """Return the radius of the direct beam in pixels: the area above half of its maximum.

    Args:
        patterns: non-negative, shape (n, height, width); the beam within the middle quarter.
    """
    height, width = patterns.shape[1:]
    rows, columns = (slice(n // 2 - n // 8 - 1, n // 2 + n // 8 + 2) for n in (height, width))
    areas = []
    for pattern in patterns[:, rows, columns]:
        smooth = ndimage.gaussian_filter(pattern.astype(float), 0.5)
        parts, _ = ndimage.label(smooth > smooth.max() / 2)
        areas.append((parts == parts.flat[smooth.argmax()]).sum())
    return float(np.sqrt(np.median(areas) / np.pi))


def beam_centers(
    scan: Scan,
    *,
    radius_px: float | None = None,
    search_px: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Find the direct beam in every pattern, one block of the file in memory at a time.

    Args:
        scan: with the beam near the middle of its patterns.
        radius_px: radius of the direct beam; measured on the patterns if not given.
        search_px: how far from the middle the beam may be; 4 % of the frame by default.
        progress: called with the number of patterns done since the last call.

    Returns:
        (column, row), shape (rows, cols, 2); NaN where masked, empty or not a number.
    """
    centers = np.full((*scan.shape, 2), np.nan)
    for rows, cols in blocks(scan, BATCH):
        patterns = scan.read(rows, cols).astype(np.float32)
        flat = patterns.reshape(-1, *patterns.shape[2:])
        good = usable(flat)
        if scan.mask is not None:
            good &= scan.mask[rows, cols].ravel()
        if good.any():
            radius_px = radius_px or beam_radius(flat[good])
            found = np.full((len(flat), 2), np.nan)
            chosen = torch.from_numpy(flat[good])
            found[good] = direct_beam_center(chosen, radius_px, search_px).numpy()
            centers[rows, cols] = found.reshape(*patterns.shape[:2], 2)
        if progress is not None:
            progress(len(flat))
    return centers


def fit_drift(centers: np.ndarray, degree: int = 2) -> BeamDrift:
    """Fit the beam's drift so that single bad patterns do not matter.

    Least squares, reweighted by 1 / (1 + (distance / spread)^2) (Cauchy's weights).

    Args:
        centers: (column, row) of each point, NaN where unknown, shape (rows, cols, 2).
        degree: 0 for one center, 1 for a plane, 2 for a quadratic.

    Raises:
        ScanError: no center is known.
    """
    known = np.isfinite(centers).all(axis=-1)
    if not known.any():
        raise ScanError("No pattern shows a direct beam: are all patterns empty or masked?")
    # The terms that this many rows and columns can tell apart; the others stay 0.
    while degree and known.sum() < POINTS_PER_TERM * TERMS[degree]:
        degree -= 1
    n_rows, n_cols = (len(np.unique(index)) for index in np.nonzero(known))
    power = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
    used = [sum(p) <= degree and p[0] < n_rows and p[1] < n_cols for p in power]
    terms, values = _terms(*np.nonzero(known))[:, used], centers[known]
    weight = np.ones(len(values))
    for _ in range(REWEIGHTINGS):
        root = np.sqrt(weight)[:, None]
        found, *_ = np.linalg.lstsq(root * terms, root * values, rcond=None)
        distance = np.linalg.norm(values - terms @ found, axis=1)
        spread = max(float(np.median(distance)), SMALLEST_SPREAD_PX)
        weight = 1 / (1 + (distance / spread) ** 2)
    coefficients = np.zeros((len(power), 2))
    coefficients[used] = found
    column_px, row_px = (tuple(c.tolist()) for c in coefficients.T)
    return BeamDrift(column_px, row_px, float(np.median(distance)))


def _terms(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    rows, cols = np.asarray(rows, float), np.asarray(cols, float)
    return np.stack([np.ones_like(rows), rows, cols, rows**2, rows * cols, cols**2], axis=-1)
