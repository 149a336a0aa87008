"""Patterns on polar grids: where an in-plane rotation becomes a shift.

The angle grows from x (right) to y (down), so phi1 shifts a pattern towards larger angles.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction.blur import blurred
from zoneaxis.diffraction.disks import Disks

CENTER_ITERATIONS = 4
DRAWN_TOGETHER = 256  # templates; bounds the memory while they are made


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
    polar = smooth_polar(
        patterns,
        center_px,
        inv_angstrom_per_pixel,
        radii_inv_angstrom,
        n_angles,
        blur_inv_angstrom,
        stride=max(1, int(blur_inv_angstrom / (2 * inv_angstrom_per_pixel))),
    )
    return (polar - ring_background(polar)).clamp_min(0) ** power


def smooth_polar(
    patterns: torch.Tensor,
    center_px: torch.Tensor,
    inv_angstrom_per_pixel: float,
    radii_inv_angstrom: torch.Tensor,
    n_angles: int,
    blur_inv_angstrom: float,
    stride: int = 1,
) -> torch.Tensor:
    """Return patterns, smoothed by a Gaussian, on a polar grid; linear in them.

    Args:
        patterns: shape (B, height, width).
        center_px: (column, row) of the direct beam, shape (B, 2).
        inv_angstrom_per_pixel: size of a pixel.
        radii_inv_angstrom: radii of the rings, shape (R,).
        n_angles: A, the number of angles 2 pi i / A.
        blur_inv_angstrom: standard deviation of the Gaussian.
        stride: of the pixels that are kept of smoothed patterns; 1 for all.

    Returns:
        Shape (B, R, A).
    """
    sigma_px = blur_inv_angstrom / inv_angstrom_per_pixel
    radii_px = radii_inv_angstrom / inv_angstrom_per_pixel
    rows, columns = _window(patterns, center_px, radii_px, stride)
    smooth = blurred(patterns, sigma_px, rows, columns)
    center_px = (center_px - torch.tensor([columns.start, rows.start]).to(center_px)) / stride
    pixel = inv_angstrom_per_pixel * stride
    return polar_resample(smooth, center_px, pixel, radii_inv_angstrom, n_angles)


def ring_background(polar: torch.Tensor) -> torch.Tensor:
    """Return the lower median of each ring of polar patterns (..., R, A), shape (..., R, 1).

    Spots cover less than half of a ring.
    """
    if polar.device.type != "cpu" or polar.requires_grad:
        return polar.median(dim=-1, keepdim=True).values
    middle = (polar.shape[-1] - 1) // 2
    # NumPy sorts with vector instructions, in a third of the time.
    return torch.from_numpy(np.sort(polar.numpy(), axis=-1)[..., middle, None])


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


def checkerboard(height: int, width: int) -> torch.Tensor:
    """Return which pixels are the white ones of a checkerboard, bool, shape (height, width)."""
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0


def _window(
    patterns: torch.Tensor, center_px: torch.Tensor, radii_px: torch.Tensor, stride: int
) -> tuple[range, range]:
    """Return the rows and columns, every `stride`-th, that hold all rings about the centers.

    They are multiples of the stride: a pattern is looked up alike in any batch.
    """
    if not len(patterns):
        return range(1), range(1)
    reach = float(radii_px.max()) + stride
    low, high = (center_px.amin(dim=0) - reach).tolist(), (center_px.amax(dim=0) + reach).tolist()
    return tuple(
        range(
            min(max(int(low[i]), 0), n - 1) // stride * stride,
            max(min(int(high[i]) + stride, n), 1),
            stride,
        )
        for i, n in ((1, patterns.shape[1]), (0, patterns.shape[2]))
    )


def _brightest_disk(
    window: torch.Tensor, offsets: torch.Tensor, radius: float, search: float
) -> torch.Tensor:
    """Offset (x, y) of the brightest disk within `search` pixels of the middle, (B, 2)."""
    smooth = blurred(window, max(radius / 2, 0.5))
    far = offsets[:, None] ** 2 + offsets**2 > search**2
    best = smooth.masked_fill(far, -1.0).flatten(1).argmax(dim=1)
    return torch.stack([offsets[best % len(offsets)], offsets[best // len(offsets)]], dim=-1)
