"""A look at a scan before it is calibrated: patterns from all over it, their centers and disks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import dask.array as da
import numpy as np
import torch

from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.scans.centers import BeamDrift, beam_radius, fit_drift
from zoneaxis.scans.peaks import Peaks, find_peaks, joined
from zoneaxis.scans.resampling import resample_patterns
from zoneaxis.scans.sampling import Sample, sample
from zoneaxis.scans.scan import Scan

SAMPLED = 1024
BATCH = 64
OFF_SPREADS, OFF_PX = 4.0, 0.5  # a center farther from the drift is taken for a bad pattern's
SIDE = 4  # the scan is cut into SIDE x SIDE blocks


@dataclass(frozen=True, eq=False)
class Survey:
    """What about a thousand patterns of a scan show.

    Attributes:
        patterns: in the order of blocks of the scan, so that what follows each other in it may be
            left out together; counts, float32, shape (n, height, width).
        center_px: (column, row) of each direct beam, shape (n, 2).
        drift: of the direct beam over the scan.
        drift_range_px: by how many pixels it moves (columns, rows) over the whole scan.
        beam_radius_px: of the direct beam.
        peaks: the diffracted disks.
    """

    patterns: np.ndarray
    center_px: np.ndarray
    drift: BeamDrift
    drift_range_px: tuple[float, float]
    beam_radius_px: float
    peaks: Peaks

    @cached_property
    def mean_pattern(self) -> np.ndarray:
        """Mean of the patterns, each moved to pixel [n // 2, n // 2], shape (height, width)."""
        patterns = da.from_array(self.patterns[None], chunks=(1, BATCH, -1, -1))
        return resample_patterns(patterns, self.center_px[None]).mean(axis=(0, 1)).compute()


def survey_scan(
    scan: Scan,
    *,
    search_px: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Find direct beam and disks in patterns from all over a scan.

    Args:
        scan: its pixel size is not looked at.
        search_px: how far from the middle the beam may be; 4 % of the frame by default.
        progress: called with the number of patterns done since the last call, and with all.

    Raises:
        ScanError: the file cannot be read, or no pattern is usable.
    """
    chosen = _by_blocks(sample(scan, SAMPLED))
    radius_px = beam_radius(chosen.patterns[:: max(1, len(chosen.rows) // BATCH)])
    batches = torch.from_numpy(chosen.patterns).split(BATCH)
    own = torch.cat([direct_beam_center(b, radius_px, search_px) for b in batches]).numpy()
    drift, center_px = _with_drift(own, chosen, scan.shape)
    centers = drift.centers(scan.shape)
    parts = []
    for start in range(0, len(own), BATCH):
        batch = slice(start, start + BATCH)
        parts.append(find_peaks(chosen.patterns[batch], center_px[batch], radius_px))
        if progress is not None:
            progress(len(center_px[batch]), len(own))
    moved = tuple(np.ptp(centers, axis=(0, 1)).tolist())
    return Survey(chosen.patterns, center_px, drift, moved, radius_px, joined(parts, BATCH))


def _by_blocks(chosen: Sample) -> Sample:
    row, col = (x * SIDE // (x.max() + 1) for x in (chosen.rows, chosen.cols))
    order = np.argsort(row * SIDE + col, kind="stable")
    return Sample(chosen.patterns[order], chosen.rows[order], chosen.cols[order])


def _with_drift(
    own: np.ndarray, chosen: Sample, shape: tuple[int, int]
) -> tuple[BeamDrift, np.ndarray]:
    """Return the beam's drift, and each pattern's own center unless that is far off it."""
    known = np.full((*shape, 2), np.nan)
    known[chosen.rows, chosen.cols] = own
    drift = fit_drift(known)
    smooth = drift.centers(shape)[chosen.rows, chosen.cols]
    off = np.linalg.norm(own - smooth, axis=1) > OFF_SPREADS * drift.spread_px + OFF_PX
    return drift, np.where(off[:, None], smooth, own)
