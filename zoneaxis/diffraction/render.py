"""Drawing disks into patterns: every pixel's value is the exact integral of a disk over it.

Over its unit disk, a beam's intensity is a polynomial P. With the corners of the pixels as nodes,
the integral over a pixel is the second difference of

    G(x, y) = integral of P over 0 < X < x, 0 < Y < y and X^2 + Y^2 < 1   (signed)

which for P = x^i y^j is x^(i+1) y^(j+1) / ((i+1) (j+1)) within the disk. Outside, every corner
falls into columns and rows (inclusion and exclusion): with the half disk's moments

    I_ij(x) = integral from 0 to x of X^i (1 - X^2)^((j+1)/2) / (j+1)

it is G = sgn(y)^(j+1) I_ij(x) + sgn(x)^(i+1) I_ji(y) - sgn(x)^(i+1) sgn(y)^(j+1) I_ij(1), so that
whatever is not a polynomial is needed on the grid's lines only.
"""

import math

import numpy as np
import torch

from zoneaxis.diffraction.disks import Disks, fit_degree, fit_matrix, monomials
from zoneaxis.errors import SettingsError

LARGEST_SIZE = 16384
PIXELS_TOGETHER = 2**18  # drawn in one go: few enough for the cache, enough to hide call overhead
# Pixels draw a spot's center of mass towards their own: by up to 0.06 pixels at radius 0.5, more if
# smaller, but hardly at 0.61, the first zero of J_1 over 2 pi, and never by 0.05 beyond.
SMALLEST_RADIUS_PX = 0.6


def render(
    disks: Disks,
    size: int,
    inv_angstrom_per_pixel: float,
    phi1_deg: float | torch.Tensor = 0.0,
    center_px: tuple[float, float] | None = None,
) -> torch.Tensor:
    """Draw patterns of disks, of radius 0.6 pixels at least, integrated over each pixel.

    A disk's pixels sum to the mean of its polynomial (`fit_matrix`), wherever it stands; where
    the polynomial overshoots below zero, a pixel's integral is set to zero.

    Args:
        disks: of b directions at z thicknesses; their device does the work.
        size: height and width of the pattern in pixels.
        inv_angstrom_per_pixel: size of a pixel.
        phi1_deg: in-plane rotation of the crystal, one or shape (b,): the pattern turns by
            q -> Z(phi1)^T q.
        center_px: column and row of the direct beam; [size // 2, size // 2] by default.

    Returns:
        Fraction of the incident beam in each pixel, float32, shape (b, z, size, size).

    Raises:
        SettingsError: a size, pixel, rotation or center that makes no sense.
    """
    b, z, n, _ = disks.intensity.shape
    device = disks.intensity.device
    phi1 = torch.as_tensor(phi1_deg, device=device)
    center_px = (size // 2, size // 2) if center_px is None else tuple(center_px)
    _check(b, size, inv_angstrom_per_pixel, phi1, center_px)
    center = torch.tensor(center_px, dtype=torch.float32, device=device)
    radius_px = max(float(disks.radius_inv_angstrom) / inv_angstrom_per_pixel, SMALLEST_RADIUS_PX)
    turn = _turns(phi1.expand(b))
    place_px = disks.q_inv_angstrom.float() / inv_angstrom_per_pixel @ turn.float() + center
    fit = _turned_fit(disks.tilts, turn)
    image = torch.zeros(b, z, size * size, device=device)
    step = max(1, PIXELS_TOGETHER // (z * n * math.ceil(2 * radius_px + 1) ** 2))
    for rows in (slice(start, start + step) for start in range(0, b, step)):
        _draw(image[rows], disks.intensity[rows], fit[rows], place_px[rows], radius_px, size)
    return image.unflatten(2, (size, size))


def _check(
    directions: int, size: int, pixel: float, phi1: torch.Tensor, center: tuple[float, ...]
) -> None:
    if not isinstance(size, int | np.integer) or not 1 <= size <= LARGEST_SIZE:
        raise SettingsError(f"size = {size}: expected a whole number, 1 to {LARGEST_SIZE}.")
    if not 0 < pixel < math.inf:
        raise SettingsError(f"inv_angstrom_per_pixel = {pixel}: expected a positive number.")
    if phi1.shape not in ((), (1,), (directions,)) or not torch.isfinite(phi1).all():
        raise SettingsError(
            f"phi1_deg of shape {tuple(phi1.shape)}: expected one number, or one for each of "
            f"{directions} directions."
        )
    if len(center) != 2 or not all(math.isfinite(c) for c in center):
        raise SettingsError(f"center_px = {center}: expected a column and a row.")


def _draw(
    image: torch.Tensor,
    intensity: torch.Tensor,
    fit: torch.Tensor,
    place_px: torch.Tensor,
    radius_px: float,
    size: int,
) -> None:
    """Add disks (b, z, n, t) at places (b, n, 2) to flat images (b, z, size^2)."""
    _, z, n, _ = intensity.shape
    # In double precision: a uniform disk stays uniform.
    coefficients = (intensity.flatten(1, 2).double() @ fit).float().unflatten(1, (z, n))
    near = ((place_px > -radius_px - 0.5) & (place_px < size - 0.5 + radius_px)).all(dim=-1)
    direction, beam = (near & (intensity.amax(dim=(1, 3)) > 0)).nonzero(as_tuple=True)
    pixels, values = _pixels(
        place_px[direction, beam], coefficients[direction, :, beam], radius_px, size
    )
    layer = direction[:, None] * z + torch.arange(z, device=image.device)
    index = layer[..., None] * size**2 + pixels.flatten(1)[:, None]
    image.view(-1).scatter_add_(0, index.flatten(), values.flatten())


def _turns(phi1_deg: torch.Tensor) -> torch.Tensor:
    """Return rows of Z(phi1), so that v @ turn is Z(phi1)^T v for row vectors, (b, 2, 2)."""
    phi1 = torch.deg2rad(phi1_deg.double())
    cos, sin = phi1.cos(), phi1.sin()
    return torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)


def _turned_fit(tilts: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Return maps from samples to coefficients [i, j] of turned disks, (b, t, (d + 1)^2)."""
    tilts = tilts.double()
    degree = fit_degree(tilts)
    fit = fit_matrix(tilts)
    # The turned polynomial is fitted to the values that the first one has at turned tilts.
    turned = fit @ monomials(tilts @ turn.mT, degree) @ fit
    square = torch.ones(degree + 1, degree + 1, device=tilts.device).triu().flip(1).flatten() > 0
    fits = tilts.new_zeros(len(turn), len(tilts), len(square))
    fits[..., square] = turned.mT
    return fits


def _pixels(
    place_px: torch.Tensor, coefficients: torch.Tensor, radius_px: float, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return flat indices (k, w, w) and values (k, z, w, w) of the pixels around k disks."""
    width = math.ceil(2 * radius_px) + 1
    span = torch.arange(width + 1, device=place_px.device)
    pixels = (place_px - radius_px + 0.5).floor()[..., None] + span
    # Lines beyond the frame are moved onto its edge: the pixels between them are empty.
    lines = (pixels - 0.5).clamp(-0.5, size - 0.5) - place_px[..., None]
    values = _integrals((lines / radius_px).clamp(-1, 1), coefficients) / math.pi
    column, row = pixels[..., :-1].long().clamp(0, size - 1).unbind(1)
    return row[:, :, None] * size + column[:, None], values.clamp_(min=0)


def _integrals(lines: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Return the integrals over the cells of grids within unit disks.

    Args:
        lines: ascending x and y of the grids' lines within [-1, 1], shape (k, 2, l).
        coefficients: of x^i y^j at [(d + 1) i + j], shape (k, z, (d + 1)^2).

    Returns:
        By row and column, shape (k, z, l - 1, l - 1).
    """
    degree = math.isqrt(coefficients.shape[-1]) - 1
    coefficients = coefficients.unflatten(-1, (degree + 1, degree + 1))
    sign = torch.where(lines < 0, -1.0, 1.0)
    order = torch.arange(1, degree + 2, device=lines.device)
    even = torch.stack([order % 2, (order + 1) % 2], 1).float()
    moments = _moments(lines, sign, degree)
    across = torch.einsum("kzij,jp,kxij->kzpx", coefficients, even, moments[:, 0])
    down = torch.einsum("kzij,ip,kyji->kzyp", coefficients, even, moments[:, 1])
    signs = torch.stack([sign, torch.ones_like(sign)], -1)[:, :, None].expand(
        -1, -1, coefficients.shape[1], -1, -1
    )
    outside = torch.cat([signs[:, 1], down], -1) @ torch.cat([across, signs[:, 0].mT], -2)
    powers = lines[..., None].expand(-1, -1, -1, degree + 1).cumprod(-1) / order
    inside = torch.einsum("kzij,kyj,kxi->kzyx", coefficients, powers[:, 1], powers[:, 0])
    corners = outside.addcmul(_within(lines), inside - outside)
    columns = corners[..., 1:] - corners[..., :-1]
    # Rounding is no light: a cell whose nearest point lies outside stays empty.
    nearest = torch.zeros_like(lines[..., 1:]).clamp(lines[..., :-1], lines[..., 1:])
    return (columns[..., 1:, :] - columns[..., :-1, :]) * _within(nearest)


def _within(nodes: torch.Tensor) -> torch.Tensor:
    """Return 1 where nodes with x and y (k, 2, l) lie in the unit disk, else 0: (k, 1, l, l)."""
    square = nodes.square()
    return (square[:, 1, :, None] + square[:, 0, None] < 1).float()[:, None]


def _moments(x: torch.Tensor, sign: torch.Tensor, degree: int) -> torch.Tensor:
    """Return I_ij(x) - sign(x)^(i+1) I_ij(1) / 2 of the module's text, shape (..., i, j).

    Integration by parts, with s^2 = 1 - x^2 and m = j + 1: the integral J of X^i S^m obeys
    (i + m + 1) J_im = (i - 1) J_(i-2)m - x^(i-1) s^(m+2), (m + 1) J_0m = x s^m + m J_0(m-2).
    """
    s = ((1 - x) * (1 + x)).sqrt()
    first = [x.asin() - sign * (math.pi / 4), x - sign / 2]
    power = torch.ones_like(s)
    for m in range(1, degree + 2):
        power = power * s
        first.append((x * power + m * first[-2]) / (m + 1))
    m = torch.arange(1, degree + 2, device=x.device)
    s, x = s[..., None], x[..., None]
    heights = s.expand(*s.shape[:-1], degree + 1).cumprod(-1) * s * s
    rows = [torch.stack(first[2:], -1), (0.5 - heights) / (m + 2)]
    for i in range(2, degree + 1):
        heights = heights * x
        rows.append(((i - 1) * rows[-2] - heights) / (i + m + 1))
    return torch.stack(rows[: degree + 1], -2) / m
