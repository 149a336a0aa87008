"""What specimen and camera add to a pattern, as batched torch functions.

Every function takes patterns of shape (b, h, w) in fractions of the incident beam per pixel,
with the direct beam at [h // 2, w // 2], and returns new ones; the input stays as it was.
A parameter is one number or a tensor of shape (b,), one value for each pattern.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

Parameter = float | torch.Tensor
BLOCK = 32  # rows blurred by one matrix: short enough for little waste, long enough for speed


def log_range(patterns: torch.Tensor, dynamic_range: Parameter) -> torch.Tensor:
    """Rescale each pattern to [1, m] and take the logarithm, scaled to 0..1.

    Args:
        patterns: any non-negative intensities, shape (b, h, w).
        dynamic_range: m, the ratio of the brightest to the faintest level that still shows.

    Source: Scheunert et al., npj Comput. Mater. (2026), camera sensitivity.
    """
    m = _per_pattern(dynamic_range, patterns)
    peak = patterns.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    # Not log1p: in a DataLoader's workers torch 2.15 takes ten times as long.
    return (patterns / peak).mul_(m - 1).add_(1).log_().div_(torch.log(m))


def blur(patterns: torch.Tensor, sigma_px: Parameter, reach_px: int | None = None) -> torch.Tensor:
    """Convolve each pattern with the camera's point spread, a Gaussian of `sigma_px`.

    The kernel stands in a band matrix for `BLOCK` rows at a time: three times as fast as a
    grouped convolution on a processor, and as exact.

    Args:
        patterns: shape (b, h, w).
        sigma_px: standard deviation of the Gaussian.
        reach_px: where it is cut off; at three times the largest sigma by default.
    """
    band = _band(sigma_px, reach_px, patterns)
    return _blur_rows_and_transpose(_blur_rows_and_transpose(patterns, band), band)


def _band(sigma_px: Parameter, reach_px: int | None, patterns: torch.Tensor) -> torch.Tensor:
    """Return the matrices that blur `BLOCK` rows, shape (b, BLOCK, BLOCK + 2 reach)."""
    sigma = _per_pattern(sigma_px, patterns).flatten().clamp(min=1e-3)
    reach = reach_px or max(1, math.ceil(3 * float(sigma.max())))
    span = torch.arange(-reach, reach + 1, device=patterns.device)
    kernel = torch.exp(-0.5 * (span / sigma[:, None]) ** 2)
    kernel = kernel * (kernel > 1e-12)  # denormal numbers are slow
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    # Repeated rows that are one too long, read as rows of the right length, shift one by one.
    width = BLOCK + 2 * reach
    band = F.pad(kernel, (0, BLOCK)).repeat(1, BLOCK)[:, : BLOCK * width]
    return band.view(-1, BLOCK, width)


def _blur_rows_and_transpose(patterns: torch.Tensor, band: torch.Tensor) -> torch.Tensor:
    """Blur from row to row; return shape (b, w, h), as the next axis is best read along rows."""
    h, reach = patterns.shape[1], (band.shape[2] - BLOCK) // 2
    blurred = []
    for start in range(0, h, BLOCK):
        stop = min(start + BLOCK, h)
        first, last = max(start - reach, 0), min(stop + reach, h)
        weights = band[:, : stop - start, first - start + reach : last - start + reach]
        blurred.append(torch.bmm(patterns[:, first:last].mT, weights.mT))
    return torch.cat(blurred, dim=2)


def diffuse_bell(patterns: torch.Tensor, fraction: Parameter, sigma_px: Parameter) -> torch.Tensor:
    """Add thermal diffuse and inelastic scattering as a Gaussian bell round the direct beam.

    Args:
        patterns: shape (b, h, w).
        fraction: share of the incident beam in the whole bell, also beyond the pattern's edge.
        sigma_px: standard deviation of the bell in pixels.
    """
    sigma = _per_pattern(sigma_px, patterns)
    height = _per_pattern(fraction, patterns) / (2 * math.pi * sigma**2)
    y, x = _axes_px(patterns)  # a Gaussian is the product of one along each axis
    rows, columns = (torch.exp(-0.5 * (axis / sigma) ** 2) for axis in (y, x))
    return torch.addcmul(patterns, height * rows, columns)


def amorphous_rings(
    patterns: torch.Tensor,
    fraction: Parameter,
    radii_px: torch.Tensor,
    widths_px: torch.Tensor,
) -> torch.Tensor:
    """Add the diffuse rings of amorphous material.

    Args:
        patterns: shape (b, h, w).
        fraction: share of the incident beam in all rings of a pattern together.
        radii_px: radius of each ring, shape (b, rings) or (rings,).
        widths_px: standard deviation of each ring's profile, same shape.
    """
    radius = torch.hypot(*_axes_px(patterns))
    rings = torch.zeros_like(patterns)
    n = len(patterns)
    for mean, width in zip(radii_px.expand(n, -1).T, widths_px.expand(n, -1).T, strict=True):
        mean, width = mean.view(-1, 1, 1), width.view(-1, 1, 1)
        # e^-60 is nothing beside what any camera sees; denormal numbers are slow.
        profile = ((radius - mean) / width).square_().mul_(-0.5).clamp_(min=-60).exp_()
        rings += profile.div_(math.sqrt(8) * math.pi**1.5 * mean * width)
    return patterns + _per_pattern(fraction, patterns) / radii_px.shape[-1] * rings


def poisson(
    patterns: torch.Tensor, counts: Parameter, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw electron counts for an exposure of `counts` incident electrons a pattern.

    Returns:
        Whole numbers as float32, shape (b, h, w).
    """
    expected = (patterns * _per_pattern(counts, patterns)).clamp(min=0)
    return torch.poisson(expected, generator=generator)


def read_out(patterns: torch.Tensor, levels: Parameter) -> torch.Tensor:
    """Return patterns as a camera of finite sensitivity gives them: in whole levels.

    Args:
        patterns: intensities, shape (b, h, w).
        levels: from dark to the brightest pixel of each pattern.

    Returns:
        The same unit and shape, rounded to multiples of peak / levels.
    """
    step = patterns.amax(dim=(-2, -1), keepdim=True) / _per_pattern(levels, patterns)
    return (patterns / step.clamp(min=1e-30)).round_().mul_(step)


def resample(
    patterns: torch.Tensor,
    size: int,
    scale: Parameter = 1.0,
    rotation_deg: Parameter = 0.0,
    shift_px: torch.Tensor | None = None,
    ellipse_ratio: Parameter = 1.0,
    ellipse_axis_deg: Parameter = 0.0,
) -> torch.Tensor:
    """Crop, turn, distort and resize patterns: camera length, in-plane rotation, lenses, center.

    Args:
        patterns: shape (b, h, h).
        size: height and width of the output.
        scale: input pixels that one output pixel spans along each axis.
        rotation_deg: turns the pattern as phi1 does, x toward y.
        shift_px: where the direct beam lands relative to [size // 2, size // 2], in output
            pixels as (column, row), shape (b, 2).
        ellipse_ratio: of a circle's longer to its shorter axis after elliptical distortion,
            which comes after the rotation and keeps the circle's area.
        ellipse_axis_deg: direction of the longer axis, from x toward y.

    Returns:
        Shape (b, size, size), bilinear; the intensity in a pixel's area is kept.
    """
    h, step = patterns.shape[-1], _per_pattern(scale, patterns)
    x, y = _zoomed_axes(patterns, size, step, shift_px)
    plain = (isinstance(value, int | float) for value in (rotation_deg, ellipse_ratio))
    if all(plain) and (rotation_deg, ellipse_ratio) == (0, 1):
        return _along_columns(_along_rows(patterns, y + h // 2, step), x + h // 2, step)
    x, y = x[:, None, :], y[:, :, None]
    axis, turn = (_per_pattern(v, patterns).deg2rad() for v in (ellipse_axis_deg, rotation_deg))
    stretch = _per_pattern(ellipse_ratio, patterns).sqrt()
    along, across = axis.cos() * x + axis.sin() * y, axis.cos() * y - axis.sin() * x
    along, across, turn = along / stretch, across * stretch, turn - axis
    source = [turn.cos() * along + turn.sin() * across, turn.cos() * across - turn.sin() * along]
    # grid_sample counts from -1 at the outer edge of the first pixel to +1 at that of the last.
    points = (2 * (torch.stack(source, dim=-1) + h // 2) + 1) / h - 1
    out = F.grid_sample(patterns[:, None], points, align_corners=False)
    return out[:, 0] * step**2


def zoom_and_blur(
    patterns: torch.Tensor,
    size: int,
    scale: Parameter,
    shift_px: torch.Tensor | None,
    sigma_px: Parameter,
    reach_px: int | None = None,
) -> torch.Tensor:
    """Return `blur(resample(...), ...)` for patterns that are not turned, in less time."""
    h, step = patterns.shape[-1], _per_pattern(scale, patterns)
    band = _band(sigma_px, reach_px, patterns)
    for position in reversed(_zoomed_axes(patterns, size, step, shift_px)):
        zoomed = _along_rows(patterns, position + h // 2, step)
        patterns = _blur_rows_and_transpose(zoomed, band)
    return patterns


def _zoomed_axes(
    patterns: torch.Tensor, size: int, step: torch.Tensor, shift_px: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y of the output's pixels, in input pixels from the beam, shape (b, size)."""
    device = patterns.device
    shift = torch.zeros(1, 2, device=device) if shift_px is None else shift_px.to(device)
    grid = torch.arange(size, dtype=torch.float32, device=device) - size // 2
    x, y = ((grid - shift[:, axis, None]) * step[:, 0] for axis in (0, 1))
    return x, y


def _along_rows(patterns: torch.Tensor, y: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return each pattern's rows interpolated at y, shape (b, size), times a factor."""
    (i, u), (j, v) = _neighbors(y, patterns.shape[1], factor)
    b, h, w = patterns.shape
    first = h * torch.arange(b, device=patterns.device)[:, None]
    flat = patterns.reshape(-1, w)  # index_select copies whole rows, indexing goes by elements
    upper, lower = (
        flat.index_select(0, (first + k).flatten()).view(b, y.shape[1], w) for k in (i, j)
    )
    return upper.mul_(u[:, :, None]).addcmul_(lower, v[:, :, None])


def _along_columns(patterns: torch.Tensor, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return each pattern's columns interpolated at x, shape (b, size), times a factor."""
    rows = patterns.shape[1]
    (i, u), (j, v) = _neighbors(x, patterns.shape[2], factor)
    left, right = (patterns.gather(2, k[:, None].expand(-1, rows, -1)) for k in (i, j))
    return left.mul_(u[:, None]).addcmul_(right, v[:, None])


def _neighbors(
    position: torch.Tensor, length: int, factor: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the two pixels next to each position and their weights; beyond the edge it is dark."""
    low = position.floor()
    for index in (low, low + 1):
        weight = (1 - (position - index).abs()) * factor[:, 0]
        inside = (index >= 0) & (index < length)
        yield index.clamp(0, length - 1).long(), weight * inside


def beam_stop(
    patterns: torch.Tensor,
    radius_px: Parameter,
    arm_deg: Parameter,
    arm_width_px: Parameter,
    center_px: torch.Tensor,
) -> torch.Tensor:
    """Hide what lies behind a round beam stop and the arm that holds it.

    Args:
        patterns: shape (b, h, w).
        radius_px: of the stop.
        arm_deg: where the arm leaves for the edge, from x toward y.
        arm_width_px: width of the arm.
        center_px: of the stop relative to [h // 2, w // 2], as (column, row), shape (b, 2).
    """
    center = center_px.to(patterns.device)[:, :, None, None]
    y, x = (axis - center[:, i] for i, axis in zip((1, 0), _axes_px(patterns), strict=True))
    angle = _per_pattern(arm_deg, patterns).deg2rad()
    along, across = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    arm = (along > 0) & (across.abs() < _per_pattern(arm_width_px, patterns) / 2)
    return patterns * ~(arm | (torch.hypot(x, y) < _per_pattern(radius_px, patterns)))


def dead_rows(patterns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return patterns with the rows dark whose entry is true in `rows`, bool, shape (b, h)."""
    return patterns * ~rows.to(patterns.device)[:, :, None]


def hot_pixels(patterns: torch.Tensor, places: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Raise single pixels to a level that does not depend on what falls on them.

    Args:
        patterns: non-negative, shape (b, h, w).
        places: row * w + column of each, int64, shape (b, k).
        levels: shares of the pattern's brightest pixel, shape (b, k); 0 leaves it as it was.
    """
    flat = patterns.flatten(1)
    values = levels.to(flat) * flat.amax(dim=1, keepdim=True)
    raised = flat.scatter_reduce(1, places.to(flat.device), values, "amax")
    return raised.view(patterns.shape)


def _per_pattern(value: Parameter, patterns: torch.Tensor) -> torch.Tensor:
    """Return the parameter as float32 of shape (b, 1, 1)."""
    value = torch.as_tensor(value, dtype=torch.float32, device=patterns.device)
    return value.expand(len(patterns)).view(-1, 1, 1)


def _axes_px(patterns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distances from the direct beam along y and x, shapes (h, 1) and (1, w)."""
    h, w = patterns.shape[-2:]
    y = torch.arange(h, dtype=torch.float32, device=patterns.device) - h // 2
    x = torch.arange(w, dtype=torch.float32, device=patterns.device) - w // 2
    return y[:, None], x[None]
