"""Rotations as unit quaternions (x, y, z, w): batched, differentiable, on any device.

The quaternion of a product of two rotation matrices is the product of theirs, and cos of half the
angle between two rotations is their scalar product up to its sign, for q and -q are one rotation.
"""

import torch
import torch.nn.functional as F


def quaternions_of(matrices: torch.Tensor) -> torch.Tensor:
    """Return unit quaternions (x, y, z, w), of either sign, of rotation matrices: (..., 4)."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrices.unbind(-2))
    # Four times the outer product of the quaternion with itself; any row is it, up to its length.
    rows = [
        [1 + a - e - i, b + d, c + g, h - f],
        [b + d, 1 - a + e - i, f + h, c - g],
        [c + g, f + h, 1 - a - e + i, d - b],
        [h - f, c - g, d - b, 1 + a + e + i],
    ]
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    longest = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]
    return F.normalize(outer.take_along_dim(longest, dim=-2)[..., 0, :], dim=-1)


def matrices_of(quaternions: torch.Tensor) -> torch.Tensor:
    """Return the rotation matrices of unit quaternions, shape (..., 3, 3)."""
    x, y, z, w = quaternions.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def conjugate(quaternions: torch.Tensor) -> torch.Tensor:
    """Return the quaternions of the inverse rotations, shape (..., 4)."""
    return torch.cat([-quaternions[..., :3], quaternions[..., 3:]], dim=-1)


def product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the quaternion of the product of two rotation matrices, broadcast, (..., 4)."""
    x, y, z, w = first.unbind(-1)
    a, b, c, d = second.unbind(-1)
    parts = [
        w * a + x * d + y * c - z * b,
        w * b + y * d + z * a - x * c,
        w * c + z * d + x * b - y * a,
        w * d - x * a - y * b - z * c,
    ]
    return torch.stack(parts, dim=-1)
