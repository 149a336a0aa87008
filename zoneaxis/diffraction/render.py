"""Drawing disks into patterns, at any camera length, center and in-plane rotation."""

import math

import torch

from zoneaxis.diffraction.disks import Disks, fit_degree, fit_matrix, monomials

BATCH = 64  # directions drawn together; bounds the memory
# Of an outline: a smaller one shifts towards the nearest pixel, or misses every pixel's center.
SMALLEST_RADIUS_PX = 0.6


def render(
    disks: Disks,
    size: int,
    inv_angstrom_per_pixel: float,
    phi1_deg: float | torch.Tensor = 0.0,
    center_px: tuple[float, float] | None = None,
) -> torch.Tensor:
    """Draw patterns of disks with true, antialiased outlines, of radius 0.6 pixels at least.

    Args:
        disks: of b directions at z thicknesses.
        size: height and width of the pattern in pixels.
        inv_angstrom_per_pixel: size of a pixel.
        phi1_deg: in-plane rotation of the crystal, one or shape (b,): the pattern turns by
            q -> Z(phi1)^T q.
        center_px: column and row of the direct beam; [size // 2, size // 2] by default.

    Returns:
        Fraction of the incident beam in each pixel, float32, shape (b, z, size, size).
    """
    n_directions = len(disks.q_inv_angstrom)
    phi1 = torch.deg2rad(torch.as_tensor(phi1_deg, dtype=torch.float32)).expand(n_directions)
    center = torch.tensor(center_px or (size // 2, size // 2), dtype=torch.float32)
    coefficients = disks.intensity @ fit_matrix(disks.tilts).T
    degree = fit_degree(disks.tilts)
    radius_px = max(disks.radius_inv_angstrom / inv_angstrom_per_pixel, SMALLEST_RADIUS_PX)
    return torch.cat(
        [
            _draw(
                disks.q_inv_angstrom[i : i + BATCH] / inv_angstrom_per_pixel,
                coefficients[i : i + BATCH],
                phi1[i : i + BATCH],
                center,
                radius_px,
                degree,
                size,
            )
            for i in range(0, n_directions, BATCH)
        ]
    )


def _draw(
    position_px: torch.Tensor,
    coefficients: torch.Tensor,
    phi1: torch.Tensor,
    center: torch.Tensor,
    radius_px: float,
    degree: int,
    size: int,
) -> torch.Tensor:
    """Return patterns of one batch; `position_px` (b, n, 2), `coefficients` (b, z, n, terms)."""
    cos, sin = phi1.cos(), phi1.sin()
    # Rows of Z(phi1), so that v @ turn is Z(phi1)^T v written for row vectors.
    turn = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    place = position_px @ turn + center
    reach = math.ceil(radius_px + 0.5)
    span = torch.arange(-reach, reach + 1)
    offsets = torch.stack(torch.meshgrid(span, span, indexing="xy"), -1).reshape(-1, 2)
    pixels = place.round().long()[:, :, None] + offsets
    distance = (pixels - place[:, :, None]) / radius_px
    length = distance.norm(dim=-1)
    # A pixel is covered as far as the outline, straight over one pixel, runs through it.
    coverage = ((1 - length) * radius_px + 0.5).clamp(0, 1)
    back = torch.einsum("bnpi,bji->bnpj", distance / length.clamp(min=1)[..., None], turn)
    terms = monomials(back, degree)
    values = torch.einsum("bznk,bnpk->bznp", coefficients, terms).clamp(min=0)
    inside = ((pixels >= 0) & (pixels < size)).all(dim=-1)
    values = values * (coverage * inside / coverage.sum(dim=-1, keepdim=True))[:, None]
    index = (pixels[..., 1] * size + pixels[..., 0]).clamp(0, size * size - 1)
    image = torch.zeros(*coefficients.shape[:2], size * size)
    index = index.flatten(1)[:, None].expand(-1, image.shape[1], -1)
    return image.scatter_add_(2, index, values.flatten(2)).unflatten(2, (size, size))
