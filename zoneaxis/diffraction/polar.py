"""Patterns on polar grids: where an in-plane rotation becomes a shift.

The angle grows from x (right) to y (down), so phi1 shifts a pattern towards larger angles.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction.disks import Disks

CENTER_ITERATIONS = 4
DRAWN_TOGETHER = 256  # templates; bounds the memory while they are made
BLUR_REACH = 6  # standard deviations: 1e-8 of a direct beam is less than its faintest reflection


def polar_resample(
    patterns: torch.Tensor,
    center_px: torch.Tensor,
    inv_angstrom_per_pixel: float | torch.Tensor,
    radii_inv_angstrom: torch.Tensor,
    n_angles: int,
) -> torch.Tensor:
    """Return patterns on a polar grid, bilinearly; 0 outside the frame.

    Args:
        patterns: shape (B, height, width).
        center_px: (column, row) of the direct beam, shape (B, 2).
        inv_angstrom_per_pixel: one value, or one a pattern, shape (B,).
        radii_inv_angstrom: radii of the rings, shape (R,).
        n_angles: A, the number of angles 2 pi i / A.

    Returns:
        Shape (B, R, A), of the patterns' type.
    """
    height, width = patterns.shape[-2:]
    half = torch.tensor([width / 2, height / 2]).to(patterns)
    angles = torch.arange(n_angles, dtype=torch.float64) * (2 * torch.pi / n_angles)
    turn = torch.stack([angles.cos(), angles.sin()], dim=-1).to(patterns) / half
    # One pixel size makes one grid for all patterns, which is moved to each one's center.
    scale = torch.as_tensor(inv_angstrom_per_pixel).to(patterns).reshape(-1, 1, 1, 1)
    around = radii_inv_angstrom.to(patterns)[:, None, None] / scale * turn
    middle = (center_px.to(patterns) + 0.5) / half - 1  # align_corners=False: the edges are -1, 1
    # A row of x, y, x, y, ... is added many times as fast as a pair.
    grid = around.flatten(2) + middle.repeat(1, n_angles)[:, None]
    grid = grid.unflatten(2, (n_angles, 2))
    return F.grid_sample(patterns[:, None], grid, align_corners=False)[:, 0]


def compressed_polar(
    patterns: torch.Tensor,
    center_px: torch.Tensor,
    inv_angstrom_per_pixel: float,
    radii_inv_angstrom: torch.Tensor,
    n_angles: int,
    blur_inv_angstrom: float,
    power: float = 1.0,
) -> torch.Tensor:
    """Return what rises above the background of each ring, raised to a power, on a polar grid.

    Args:
        patterns: shape (B, height, width).
        center_px: (column, row) of the direct beam, shape (B, 2).
        inv_angstrom_per_pixel: size of a pixel.
        radii_inv_angstrom: radii of the rings, shape (R,).
        n_angles: A, the number of angles 2 pi i / A.
        blur_inv_angstrom: smoothing before the power, which would lift the noise.
        power: of the intensities.

    Returns:
        Shape (B, R, A).
    """
    sigma_px = blur_inv_angstrom / inv_angstrom_per_pixel
    rows, columns = _window(patterns, center_px, radii_inv_angstrom / inv_angstrom_per_pixel)
    smooth = blurred(patterns, sigma_px, rows, columns)
    center_px = center_px - torch.tensor([columns.start, rows.start]).to(center_px)
    polar = polar_resample(smooth, center_px, inv_angstrom_per_pixel, radii_inv_angstrom, n_angles)
    # A ring's median is its background: spots cover less than half of a ring.
    return (polar - _median(polar)).clamp_min(0) ** power


def polar_templates(
    disks: Disks,
    radii_inv_angstrom: torch.Tensor,
    n_angles: int,
    blur_inv_angstrom: float,
    power: float,
) -> Iterator[torch.Tensor]:
    """Yield templates that look like the `compressed_polar` patterns of disks, part by part.

    Args:
        disks: of D directions; the first thickness and tilt are drawn.
        radii_inv_angstrom: radii of the rings, shape (R,).
        n_angles: A, the number of angles 2 pi i / A.
        blur_inv_angstrom: smoothing of the patterns.
        power: of the intensities.

    Yields:
        Shape (d, R, A); all d add up to D.
    """
    sigma = ((disks.radius_inv_angstrom / 2) ** 2 + blur_inv_angstrom**2) ** 0.5
    heights = disks.intensity[:, 0, :, 0] ** power
    parts = zip(
        disks.q_inv_angstrom.split(DRAWN_TOGETHER), heights.split(DRAWN_TOGETHER), strict=True
    )
    for q, height in parts:
        yield draw_polar_spots(q, height, sigma, radii_inv_angstrom, n_angles)


def draw_polar_spots(
    q_inv_angstrom: torch.Tensor,
    height: torch.Tensor,
    sigma_inv_angstrom: float,
    radii_inv_angstrom: torch.Tensor,
    n_angles: int,
) -> torch.Tensor:
    """Draw spots of Gaussian profile straight onto a polar grid.

    Args:
        q_inv_angstrom: positions, shape (B, N, 2).
        height: of each spot, shape (B, N).
        sigma_inv_angstrom: width of the spots.
        radii_inv_angstrom: radii of the rings, shape (R,).
        n_angles: A, the number of angles 2 pi i / A.

    Returns:
        Shape (B, R, A).
    """
    radius = q_inv_angstrom.norm(dim=-1)[..., None]
    turn = torch.atan2(q_inv_angstrom[..., 1], q_inv_angstrom[..., 0])[..., None]
    angles = torch.arange(n_angles) * (2 * torch.pi / n_angles)
    apart = torch.remainder(angles - turn + torch.pi, 2 * torch.pi) - torch.pi
    around = torch.exp(-0.5 * (apart * radius / sigma_inv_angstrom) ** 2)
    along = torch.exp(-0.5 * ((radii_inv_angstrom - radius) / sigma_inv_angstrom) ** 2)
    return torch.bmm((along * height[..., None]).transpose(1, 2), around)


def rings_inside(
    shape: tuple[int, int],
    center_px: torch.Tensor,
    inv_angstrom_per_pixel: float | torch.Tensor,
    radii_inv_angstrom: torch.Tensor,
) -> torch.Tensor:
    """Return which rings lie wholly inside the frame, bool, shape (B, R).

    Args:
        shape: height and width of the frame in pixels.
        center_px: (column, row) of the direct beam, shape (B, 2).
        inv_angstrom_per_pixel: one value, or one a pattern, shape (B,).
        radii_inv_angstrom: radii of the rings, shape (R,).
    """
    far_edge = torch.tensor([shape[1] - 1, shape[0] - 1]).to(center_px) - center_px
    reach_px = torch.minimum(center_px, far_edge).amin(dim=-1)
    scale = torch.as_tensor(inv_angstrom_per_pixel).to(center_px).expand(len(center_px))
    return radii_inv_angstrom.to(center_px) <= (reach_px * scale)[:, None]


def direct_beam_center(
    patterns: torch.Tensor, disk_radius_px: float, search_px: float | None = None
) -> torch.Tensor:
    """Return where the direct beam stands: its center of mass, found near the frame's center.

    The brightest disk within `search_px` of pixel [n//2, n//2] is the first guess; the center
    of mass within 1.3 disk radii of the guess replaces it, four times.

    Args:
        patterns: non-negative, shape (B, height, width).
        disk_radius_px: radius of the direct beam in pixels.
        search_px: how far the beam may be off; 4 % of the frame plus 2 pixels by default.

    Returns:
        (column, row), float32, shape (B, 2).
    """
    height, width = patterns.shape[-2:]
    search = search_px if search_px is not None else 0.04 * max(height, width) + 2
    reach = min(int(search + 2 * disk_radius_px + 3), min(height, width) // 2 - 1)
    rows, columns = (slice(n // 2 - reach, n // 2 + reach + 1) for n in (height, width))
    window = patterns[:, rows, columns].float()
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32, device=patterns.device)
    center = _brightest_disk(window, offsets, disk_radius_px, search)
    radius_sq = (1.3 * disk_radius_px + 1) ** 2
    for _ in range(CENTER_ITERATIONS):
        x = offsets - center[:, :1]
        y = offsets - center[:, 1:]
        inside = x[:, None, :] ** 2 + y[:, :, None] ** 2 <= radius_sq
        weight = window * inside
        total = weight.sum(dim=(1, 2)).clamp_min(1e-30)
        center = torch.stack(
            [weight.sum(dim=1) @ offsets / total, weight.sum(dim=2) @ offsets / total], dim=-1
        )
    return center + torch.tensor([width // 2, height // 2]).to(center)


def checkerboard_halves(patterns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two patterns made of every second pixel each, with noise of their own.

    A pixel of the other half is the mean of its four neighbors, which all lie in this one.

    Args:
        patterns: shape (B, height, width).

    Returns:
        Both halves, of the patterns' shape.
    """
    height, width = patterns.shape[-2:]
    if not len(patterns):
        return patterns, patterns  # torch does not pad nothing
    # Reflection, unlike replication, keeps the colors of the checkerboard alternating.
    padded = F.pad(patterns, (1, 1, 1, 1), mode="reflect")
    across = padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    mean = (across + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]) / 4
    odd = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 1
    return torch.where(odd, patterns, mean), torch.where(odd, mean, patterns)


def blurred(
    patterns: torch.Tensor,
    sigma_px: float,
    rows: range | None = None,
    columns: range | None = None,
) -> torch.Tensor:
    """Return patterns convolved with a Gaussian, zeros beyond the frame, shape (B, h, w).

    Products with the parts of a banded matrix that are not 0: many times as fast as convolutions
    of one channel.

    Args:
        patterns: shape (B, height, width).
        sigma_px: width of the Gaussian in pixels.
        rows: h of them that are wanted, all by default.
        columns: w of them that are wanted, all by default.
    """
    height, width = patterns.shape[-2:]
    along = [
        torch.bmm(band.expand(len(patterns), -1, -1), patterns[:, part])
        for part, band in _gaussian_bands(height, rows or range(height), sigma_px, patterns)
    ]
    smooth = torch.cat(along, dim=1)
    across = [
        smooth[..., part] @ band.mT
        for part, band in _gaussian_bands(width, columns or range(width), sigma_px, patterns)
    ]
    return torch.cat(across, dim=2)


def _gaussian_bands(
    n: int, wanted: range, sigma_px: float, like: torch.Tensor
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield what pixels of n the next wanted ones depend on, and by which matrix."""
    reach = math.ceil(BLUR_REACH * sigma_px)
    step = max(32, 2 * reach)
    offset = torch.arange(step + 2 * reach) - torch.arange(step)[:, None] - reach
    band = torch.exp(-0.5 * (offset / sigma_px) ** 2)
    total = torch.exp(-0.5 * ((torch.arange(n) - n // 2) / sigma_px) ** 2).sum()
    band = (band / total).to(like)
    for start in wanted[::step]:
        first, end = max(start - reach, 0), min(start + step + reach, n)
        skipped = first - (start - reach)
        yield slice(first, end), band[: wanted.stop - start, skipped : skipped + end - first]


def _window(
    patterns: torch.Tensor, center_px: torch.Tensor, radii_px: torch.Tensor
) -> tuple[range, range]:
    """Return the rows and columns that hold all pixels on rings about the centers."""
    if not len(patterns):
        return range(1), range(1)
    reach = float(radii_px.max()) + 1
    low, high = (center_px.amin(dim=0) - reach).tolist(), (center_px.amax(dim=0) + reach).tolist()
    return tuple(
        range(min(max(int(low[i]), 0), n - 1), max(min(int(high[i]) + 1, n), 1))
        for i, n in ((1, patterns.shape[1]), (0, patterns.shape[2]))
    )


def _median(values: torch.Tensor) -> torch.Tensor:
    """Return the lower median of the last dimension, which is kept with length 1."""
    if values.device.type != "cpu" or values.requires_grad:
        return values.median(dim=-1, keepdim=True).values
    middle = (values.shape[-1] - 1) // 2
    # NumPy sorts with vector instructions, in a third of the time.
    return torch.from_numpy(np.sort(values.numpy(), axis=-1)[..., middle, None])


def _brightest_disk(
    window: torch.Tensor, offsets: torch.Tensor, radius: float, search: float
) -> torch.Tensor:
    """Offset (x, y) of the brightest disk within `search` pixels of the middle, (B, 2)."""
    smooth = blurred(window, max(radius / 2, 0.5))
    far = offsets[:, None] ** 2 + offsets**2 > search**2
    best = smooth.masked_fill(far, -1.0).flatten(1).argmax(dim=1)
    return torch.stack([offsets[best % len(offsets)], offsets[best // len(offsets)]], dim=-1)
