"""Intensities of the disks of a measured pattern, free of the diffuse background."""

import numpy as np

GAP_PX = 1.0  # between a disk's outline and where the background is read
RING_PX = 3.5  # width of the ring that it is read in
FEWEST_PIXELS = 15  # of the ring that other disks leave free


def disk_intensities(pattern: np.ndarray, place_px: np.ndarray, radius_px: float) -> np.ndarray:
    """Sum a pattern over disks, less the median of the free pixels in a ring around each.

    Overlapping disks are summed as they are, each with its neighbor's share: compare with the
    same sums over a simulated pattern, not with single beams.

    Args:
        pattern: in any unit, shape (h, w).
        place_px: columns and rows of the disks' centers, shape (n, 2); all that shine, so that
            none is taken for background.
        radius_px: of the disks.

    Returns:
        Shape (n,); NaN where disk and ring leave the frame, or too little of the ring is free.
    """
    height, width = pattern.shape
    row, column = np.indices(pattern.shape)
    distance = [np.hypot(column - x, row - y) for x, y in place_px]
    lit = np.any([d < radius_px + GAP_PX for d in distance], axis=0)
    margin = radius_px + GAP_PX + RING_PX
    sums = np.full(len(place_px), np.nan)
    for i, ((x, y), d) in enumerate(zip(place_px, distance, strict=True)):
        ring = (d < margin) & ~lit
        framed = margin <= x < width - margin and margin <= y < height - margin
        if framed and ring.sum() >= FEWEST_PIXELS:
            inside = d < radius_px
            sums[i] = pattern[inside].sum() - inside.sum() * np.median(pattern[ring])
    return sums
