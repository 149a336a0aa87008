"""How alike neighboring patterns are, and how many spots each shows: grain boundaries and overlaps.

A pattern is first turned into its response: the square root of what a disk-sized window sees, less
that of a wide one. The root makes the noise of counts alike everywhere and at any gain, the
difference takes the diffuse background away, which is alike across a boundary as well. Responses
are moved to a common direct beam, which is left out with its surroundings. Then

    r = sum (A - <A>)(B - <B>) / sqrt(sum (A - <A>)^2 sum (B - <B>)^2)

of two neighbors falls from grain to grain, while spots, the peaks of the response, add up where two
grains overlap. Noise lowers r everywhere: what counts is r beside that of the grain's interior.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter

from zoneaxis.diffraction.blur import blurred
from zoneaxis.diffraction.camera import resample
from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.errors import SettingsError
from zoneaxis.scans.indexing import blocks, usable
from zoneaxis.scans.scan import Scan

NEIGHBORS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
CORE, WIDE = 0.7, 2.0  # widths of the two windows in disk radii
BEAM_RADII = 1.5  # left out around the direct beam, and a pixel for its edge
DETECTION_SIGMA = 4.5  # of the noise: less than one false spot in a hundred patterns
LOWER, LOWER_MEAN = 0.85, 0.6056  # of absolute values of a normal distribution, and their mean
APART_PX = 2  # pixels whose noise is independent, though a camera blurs
SMALLEST_RADIUS_PX = 1.5  # of disks, to which patterns are binned: their noise is what counts
BATCH = 64


@dataclass(frozen=True, eq=False)
class NeighborCorrelation:
    """What neighboring patterns have in common, point by point.

    Attributes:
        coefficient: with the neighbor at each of `NEIGHBORS` (rows down, columns right), -1..1,
            NaN where there is none, float32, shape (rows, cols, 8).
        spots: number of detected spots, the direct beam not counted, NaN for a bad pattern,
            float32, shape (rows, cols).
    """

    coefficient: np.ndarray
    spots: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean coefficient over the neighbors that there are, NaN where none is, (rows, cols)."""
        present = np.isfinite(self.coefficient)
        total = np.where(present, self.coefficient, 0).sum(axis=-1)
        count = present.sum(axis=-1)
        return np.where(count, total / np.maximum(count, 1), np.nan).astype(np.float32)

    @property
    def lowest(self) -> np.ndarray:
        """Coefficient with the neighbor that is least alike: thin boundaries, (rows, cols)."""
        least = np.nan_to_num(self.coefficient, nan=np.inf).min(axis=-1)
        return np.where(np.isfinite(least), least, np.nan)


def correlate_neighbors(
    scan: Scan,
    disk_radius_inv_angstrom: float,
    *,
    plain: bool = False,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> NeighborCorrelation:
    """Correlate each pattern of a scan with its neighbors, with a block of it in memory at a time.

    Args:
        scan: with its pixel size; points that its mask leaves out are nobody's neighbors.
        disk_radius_inv_angstrom: of the disks, `Optics.disk_radius_inv_angstrom`.
        plain: correlate the recorded intensities outside the direct beam, not the responses.
        batch_size: patterns in a block, if the file's chunks are no larger.
        progress: called with the number of patterns done since the last call.

    Raises:
        ScanError: the file cannot be read to its end.
        SettingsError: the pixel size is unknown, or the disks do not fit into the pattern.
    """
    radius_px = _radius_px(scan, disk_radius_inv_angstrom)
    rows, cols = scan.shape
    spots = np.full(scan.shape, np.nan, np.float32)
    framed = np.full((rows + 2, cols + 2, len(NEIGHBORS)), np.nan, np.float32)
    above = left = None
    for row, col in blocks(scan, batch_size):
        features, spots[row, col] = _features(scan, row, col, radius_px, plain)
        if above is None:
            above = torch.full((cols, features.shape[-1]), torch.nan)
        if col.start == 0:
            left = torch.full((len(features) + 1, features.shape[-1]), torch.nan)
        corner = torch.cat([left[:1], above[col]])[None]
        block = torch.cat([corner, torch.cat([left[1:, None], features], dim=1)])
        left = torch.cat([above[None, col.stop - 1], features[:, -1]])
        above[col] = features[-1]
        _fill(framed, block, row.start, col.start)
        if progress is not None:
            progress(spots[row, col].size)
    return NeighborCorrelation(framed[1:-1, 1:-1].copy(), spots)


def spot_response(
    patterns: torch.Tensor, center_px: torch.Tensor, radius_px: float
) -> torch.Tensor:
    """Return the root of what a disk-sized window sees less that of a wide one, shape (n, h, w).

    Neither window sees the direct beam, which would outshine all else.

    Args:
        patterns: counts in any unit, not negative, shape (n, h, w).
        center_px: column and row of the direct beam, shape (n, 2).
        radius_px: of the disks.
    """
    seen = (_from_beam(patterns, center_px) > _hidden(radius_px)).to(patterns)
    core, wide = (
        blurred(patterns * seen, width * radius_px)
        / blurred(seen, width * radius_px).clamp_min(1e-6)
        for width in (CORE, WIDE)
    )
    return seen * (core.clamp_min(0).sqrt() - wide.clamp_min(0).sqrt())


def count_spots(patterns: torch.Tensor, radius_px: float) -> torch.Tensor:
    """Count the spots of patterns beside the direct beam, float32, shape (n,).

    A spot is the highest response within a disk's diameter and stands out from the noise, which is
    judged by how pixels differ from those near them, and is no less than that of single quanta.
    Bright rings of amorphous material break into spots as well.

    Args:
        patterns: counts in any unit, not negative, shape (n, h, w).
        radius_px: of the disks.
    """
    center = direct_beam_center(patterns, radius_px)
    binned = _binned(patterns, center, radius_px)
    return _count(spot_response(*binned), *binned)


def _radius_px(scan: Scan, radius_inv_angstrom: float) -> float:
    if scan.inv_angstrom_per_pixel is None:
        raise SettingsError(
            f"{scan.path} does not say how large a pattern pixel is: give it in 1/Angstrom "
            "with --inv-angstrom-per-pixel."
        )
    radius_px = radius_inv_angstrom / scan.inv_angstrom_per_pixel
    if not 0 < 4 * radius_px < min(scan.patterns.shape[2:]) / 2:
        raise SettingsError(
            f"Disks of radius {radius_px:.1f} pixels do not fit into patterns of "
            f"{scan.patterns.shape[2]} x {scan.patterns.shape[3]}: check --inv-angstrom-per-pixel "
            "and --convergence-mrad."
        )
    return radius_px


def _features(
    scan: Scan, row: slice, col: slice, radius_px: float, plain: bool
) -> tuple[torch.Tensor, np.ndarray]:
    """Return unit vectors (r, c, p) whose products are coefficients, NaN if bad, and the spots."""
    shape = row.stop - row.start, col.stop - col.start
    raw = scan.read(row, col).reshape(-1, *scan.patterns.shape[2:])
    with np.errstate(over="ignore"):  # beyond float32 is inf, and inf is not usable
        patterns = raw.astype(np.float32)
    bad = ~usable(patterns)
    if scan.mask is not None:
        bad |= ~scan.mask[row, col].ravel()
    patterns[bad] = 0
    parts = [_prepared(part, radius_px, plain) for part in torch.from_numpy(patterns).split(BATCH)]
    features, spots = (torch.cat(part) for part in zip(*parts, strict=True))
    features[bad], spots[bad] = torch.nan, torch.nan
    return features.unflatten(0, shape), spots.reshape(shape).numpy()


def _prepared(
    patterns: torch.Tensor, radius_px: float, plain: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of mean 0 and norm 1 (n, p), and the number of spots (n,)."""
    center = direct_beam_center(patterns, radius_px)
    binned, binned_center, binned_radius = _binned(patterns, center, radius_px)
    response = spot_response(binned, binned_center, binned_radius)
    spots = _count(response, binned, binned_center, binned_radius)
    shown = (patterns, center, radius_px) if plain else (response, binned_center, binned_radius)
    aligned = _aligned(*shown[:2])
    y, x = (np.arange(n) - n // 2 for n in aligned.shape[1:])
    outside = np.hypot(y[:, None], x) > _hidden(shown[2])
    values = aligned[:, torch.from_numpy(outside)]
    values = values - values.mean(dim=1, keepdim=True)
    return F.normalize(values, dim=1, eps=1e-20), spots


def _binned(
    patterns: torch.Tensor, center: torch.Tensor, radius_px: float
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return patterns of fewer pixels with the places and the radius of their direct beams."""
    pool = max(1, int(radius_px / SMALLEST_RADIUS_PX))
    binned = F.avg_pool2d(patterns[:, None], pool)[:, 0]
    return binned, (center - (pool - 1) / 2) / pool, radius_px / pool


def _aligned(images: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """Return square images whose direct beam stands at [n // 2, n // 2], shape (b, n, n)."""
    n = min(images.shape[-2:])
    top, left = (length // 2 - n // 2 for length in images.shape[-2:])
    square = images[:, top : top + n, left : left + n]
    return resample(square, n, shift_px=n // 2 + torch.tensor([left, top]) - center)


def _count(
    response: torch.Tensor, patterns: torch.Tensor, center: torch.Tensor, radius_px: float
) -> torch.Tensor:
    """Return the number of peaks of the response outside the direct beam, float32, (n,)."""
    # Disks cover few of the pixels: the lower differences of two near each other are noise, and it
    # is no less than that of single quanta G, whose root scatters by sqrt(G) / 2.
    root = patterns.sqrt()
    apart = (root[:, :, APART_PX:] - root[:, :, :-APART_PX]).abs().flatten(1).sort(dim=1).values
    lower = apart[:, : int(LOWER * apart.shape[1])].mean(dim=1) / LOWER_MEAN
    quantum = patterns.masked_fill(patterns <= 0, torch.inf).flatten(1).amin(dim=1)
    noise = torch.maximum(lower / math.sqrt(2), quantum.sqrt() / 2)
    noise = noise / (2 * math.sqrt(math.pi) * CORE * radius_px)  # what the window leaves of it
    reach = math.ceil(radius_px)
    # Along one axis after the other, which torch's max_pool2d does not: ten times as fast.
    highest = torch.from_numpy(maximum_filter(response.numpy(), 2 * reach + 1, axes=(1, 2)))
    outside = _from_beam(patterns, center) > _hidden(radius_px)
    threshold = DETECTION_SIGMA * noise[:, None, None]
    return ((response == highest) & (response > threshold) & outside).sum(dim=(1, 2)).float()


def _hidden(radius_px: float) -> float:
    """Return within which distance of the direct beam nothing is looked at, in pixels."""
    return BEAM_RADII * radius_px + 1


def _from_beam(patterns: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """Return the distance of each pixel from the direct beam in pixels, shape (n, h, w)."""
    height, width = patterns.shape[-2:]
    y, x = torch.arange(height) - center[:, 1:], torch.arange(width) - center[:, :1]
    return torch.hypot(y[:, :, None], x[:, None, :])


def _fill(coefficient: np.ndarray, block: torch.Tensor, row: int, col: int) -> None:
    """Write the coefficients of all pairs within a block whose first point is at (row, col)."""
    height, width = block.shape[:2]
    for i in range(len(NEIGHBORS) // 2, len(NEIGHBORS)):  # the others are these seen from beyond
        down, right = NEIGHBORS[i]
        begin, end = max(0, -right), width - max(0, right)
        ahead = block[down:, begin + right : end + right]
        r = (block[: height - down, begin:end] * ahead).sum(dim=-1).numpy()
        here = slice(row, row + height - down), slice(col + begin, col + end)
        there = slice(row + down, row + height), slice(col + begin + right, col + end + right)
        coefficient[(*here, i)] = coefficient[(*there, len(NEIGHBORS) - 1 - i)] = r
