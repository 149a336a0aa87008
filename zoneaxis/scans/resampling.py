"""Patterns cut, binned, shifted and stretched, lazily; the direct beam keeps its place.

Arrays are (rows, cols, height, width); the direct beam stands at pixel [n // 2, n // 2] before
and after, whatever n becomes, to half a pixel. Nothing is interpolated: counts that neighboring
pixels share would make noise look like disks.
"""

import dask.array as da
import numpy as np
import torch
import torch.nn.functional as F


def crop_patterns(patterns: da.Array, height: int, width: int) -> da.Array:
    """Return the middle of the patterns, with pixel [n // 2, n // 2] in its middle again."""
    rows, columns = (
        slice(n // 2 - size // 2, n // 2 - size // 2 + size)
        for n, size in zip(patterns.shape[2:], (height, width), strict=True)
    )
    return patterns[:, :, rows, columns]


def bin_patterns(patterns: da.Array, factor: int) -> da.Array:
    """Sum the counts of factor x factor pixels, float32.

    Bins are laid out around pixel [n // 2, n // 2]: with an odd factor the direct beam stands in
    the center of a bin, with an even one half a measured pixel from it. What does not fill a bin
    at the edge of the frame is dropped.
    """
    height, width = patterns.shape[2:]
    down, across = _binning(height, factor), _binning(width, factor)
    whole = patterns.rechunk({2: -1, 3: -1})
    return whole.map_blocks(
        lambda block: down @ block.astype(np.float32) @ across.T,
        dtype=np.float32,
        chunks=(*whole.chunks[:2], (len(down),), (len(across),)),
        meta=np.empty((0, 0, 0, 0), np.float32),
    )


def resample_patterns(
    patterns: da.Array, center_px: np.ndarray, matrix: np.ndarray | None = None
) -> da.Array:
    """Move each direct beam to pixel [n // 2, n // 2], and stretch; float32.

    Each pixel takes the counts of the nearest measured one; those beyond the frame are 0.

    Args:
        patterns: shape (rows, cols, height, width).
        center_px: (column, row) of each direct beam, shape (rows, cols, 2).
        matrix: takes measured offsets (x, y) from the direct beam to true ones, determinant 1,
            shape (2, 2).
    """
    back = np.linalg.inv(np.eye(2) if matrix is None else matrix)
    whole = patterns.rechunk({2: -1, 3: -1})
    centers = da.from_array(
        np.asarray(center_px, np.float32)[..., None], chunks=(*whole.chunks[:2], 2, 1)
    )
    return da.map_blocks(
        _resample,
        whole,
        centers,
        back=back.astype(np.float32),
        dtype=np.float32,
        chunks=whole.chunks,
        meta=np.empty((0, 0, 0, 0), np.float32),
    )


def _resample(block: np.ndarray, centers: np.ndarray, back: np.ndarray) -> np.ndarray:
    rows, cols, height, width = block.shape
    half = torch.tensor([width / 2, height / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    offset = torch.stack([x - width // 2, y - height // 2], dim=-1).float()
    source = offset @ torch.from_numpy(back).T
    middle = torch.from_numpy(centers.reshape(-1, 1, 1, 2))
    result = np.empty((rows * cols, height, width), np.float32)
    for i, pattern in enumerate(block.reshape(-1, 1, 1, height, width)):
        # align_corners=False: the edges of the frame are at -1 and 1.
        grid = (source + middle[i] + 0.5) / half - 1
        values = torch.from_numpy(pattern.astype(np.float32))
        moved = F.grid_sample(values, grid[None], mode="nearest", align_corners=False)
        result[i] = moved[0, 0].numpy()
    return result.reshape(block.shape)


def _binning(n: int, factor: int) -> np.ndarray:
    """Return which of n pixels are in which bin, float32, shape (bins, n)."""
    first = n // 2 - factor // 2  # pixel of the middle bin
    before, after = first // factor, (n - first) // factor - 1
    after = min(after, before)
    before = min(before, after + 1)  # so that the middle one is number bins // 2
    start = first + np.arange(-before, after + 1)[:, None] * factor
    pixel = np.arange(n)
    return ((pixel >= start) & (pixel < start + factor)).astype(np.float32)
