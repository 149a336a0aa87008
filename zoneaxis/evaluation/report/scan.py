"""What the report shows of a scan: patterns small enough for one file, and virtual images.

The scan is read once, block by block; it never lies in memory as a whole.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.evaluation.figures.pattern_figures import log_scaled
from zoneaxis.scans.indexing import blocks
from zoneaxis.scans.scan import Scan

TILE_PX = 64  # longer side of a pattern in the report, at most
ATLAS_PIXELS = 20_000_000  # of all tiles together: 10 to 20 MB as PNG in base64
LEVELS = 32  # gray levels of a tile; a finer scale is noise that PNG cannot shrink
BATCH = 256
APERTURE = 1.3  # radius of the bright-field aperture in radii of the direct beam


@dataclass(frozen=True, eq=False)
class ScanView:
    """Patterns of a grid of scan points, and virtual images of all points.

    Attributes:
        tiles: log-scaled patterns, uint8, shape (grid rows, grid cols, h, w).
        every: the grid holds the points whose row and column are multiples of it.
        center_px: column and row of the direct beam in each tile, shape (grid rows, grid cols, 2).
        inv_angstrom_per_pixel: size of a tile's pixel.
        bright_field: share of the counts in the direct beam, shape (rows, cols).
        dark_field: counts outside the direct beam, shape (rows, cols).
    """

    tiles: np.ndarray
    every: int
    center_px: np.ndarray
    inv_angstrom_per_pixel: float
    bright_field: np.ndarray
    dark_field: np.ndarray

    def atlas(self) -> np.ndarray:
        """Return all tiles side by side, as they lie in the grid, uint8, two-dimensional."""
        rows, cols, h, w = self.tiles.shape
        return self.tiles.transpose(0, 2, 1, 3).reshape(rows * h, cols * w)


def view_scan(scan: Scan, disk_radius_inv_angstrom: float) -> ScanView:
    """Read a scan once and keep what the report shows of it.

    Args:
        scan: with a pixel size.
        disk_radius_inv_angstrom: of the direct beam, which is sought near each pattern's middle.

    Raises:
        ScanError: the file is damaged, truncated or gone.
    """
    (rows, cols), (height, width) = scan.shape, scan.patterns.shape[2:]
    shrink = math.ceil(max(height, width) / TILE_PX)
    h, w = math.ceil(height / shrink), math.ceil(width / shrink)
    every = _grid_step((rows, cols), ATLAS_PIXELS // (h * w))
    grid = math.ceil(rows / every), math.ceil(cols / every)
    radius_px = disk_radius_inv_angstrom / scan.inv_angstrom_per_pixel
    tiles, centers = np.zeros((*grid, h, w), np.uint8), np.zeros((*grid, 2), np.float32)
    virtual = np.zeros((2, rows, cols), np.float32)
    for row, col in blocks(scan, BATCH):
        found = _virtual(scan.read(row, col), radius_px)
        patterns, center, virtual[0, row, col], virtual[1, row, col] = found
        for i, j in np.argwhere(_on_grid(row, every)[:, None] & _on_grid(col, every)):
            place = (row.start + i) // every, (col.start + j) // every
            centers[place] = (center[i, j] + 0.5) / shrink - 0.5
            tiles[place] = _tile(patterns[i, j], shrink, radius_px, centers[place])
    pixel = shrink * scan.inv_angstrom_per_pixel
    return ScanView(tiles, every, centers, pixel, *virtual)


def _grid_step(shape: tuple[int, int], most: int) -> int:
    """Return the smallest step whose grid has at most so many points."""
    step = 1
    while math.ceil(shape[0] / step) * math.ceil(shape[1] / step) > most:
        step += 1
    return step


def _on_grid(part: slice, every: int) -> np.ndarray:
    return np.arange(part.start, part.stop) % every == 0


def _virtual(
    read: np.ndarray, radius_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return clean patterns, their centers, and the two virtual images of a block."""
    counts = np.nan_to_num(read, posinf=0.0).clip(min=0).astype(np.float32)
    flat = counts.reshape(-1, *counts.shape[2:])
    center = np.concatenate(
        [
            direct_beam_center(part, radius_px).numpy()
            for part in torch.from_numpy(flat).split(BATCH)
        ]
    )
    y, x = (np.arange(n, dtype=np.float32) for n in flat.shape[1:])
    above = (y - center[:, 1:]) ** 2
    aside = (x - center[:, :1]) ** 2
    inside = above[:, :, None] + aside[:, None] <= max(APERTURE * radius_px, 1.0) ** 2
    total, direct = flat.sum(axis=(1, 2)), np.einsum("nij,nij->n", flat, inside)
    shape = counts.shape[:2]
    share = direct / np.maximum(total, 1e-20)
    return counts, center.reshape(*shape, 2), share.reshape(shape), (total - direct).reshape(shape)


def _tile(pattern: np.ndarray, shrink: int, radius_px: float, center_px: np.ndarray) -> np.ndarray:
    pooled = F.avg_pool2d(torch.from_numpy(pattern)[None], shrink, ceil_mode=True)[0].numpy()
    scaled = log_scaled(pooled, radius_px / shrink, center_px=tuple(center_px))
    return np.round(np.round(scaled * (LEVELS - 1)) * (255 / (LEVELS - 1))).astype(np.uint8)
