"""What specimen and camera add to a pattern, as batched torch functions.

Every function takes patterns of shape (b, h, w) in fractions of the incident beam per pixel,
with the direct beam at [h // 2, w // 2], and returns new ones; the input stays as it was.
A parameter is one number or a tensor of shape (b,), one value for each pattern.
"""

import math

import torch
import torch.nn.functional as F

Parameter = float | torch.Tensor


def log_range(patterns: torch.Tensor, dynamic_range: Parameter) -> torch.Tensor:
    """Rescale each pattern to [1, m] and take the logarithm, scaled to 0..1.

    Args:
        patterns: any non-negative intensities, shape (b, h, w).
        dynamic_range: m, the ratio of the brightest to the faintest level that still shows.

    Source: Scheunert et al., npj Comput. Mater. (2026), camera sensitivity.
    """
    m = _per_pattern(dynamic_range, patterns)
    peak = patterns.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.log1p(patterns / peak * (m - 1)) / torch.log(m)


def blur(patterns: torch.Tensor, sigma_px: Parameter) -> torch.Tensor:
    """Convolve each pattern with the camera's point spread, a Gaussian of `sigma_px`."""
    sigma = _per_pattern(sigma_px, patterns).flatten().clamp(min=1e-3)
    reach = max(1, math.ceil(3 * float(sigma.max())))
    span = torch.arange(-reach, reach + 1, device=patterns.device)
    kernel = torch.exp(-0.5 * (span / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    n = len(patterns)
    out = F.conv2d(patterns[None], kernel.view(n, 1, 1, -1), padding=(0, reach), groups=n)
    return F.conv2d(out, kernel.view(n, 1, -1, 1), padding=(reach, 0), groups=n)[0]


def diffuse_bell(patterns: torch.Tensor, fraction: Parameter, sigma_px: Parameter) -> torch.Tensor:
    """Add thermal diffuse and inelastic scattering as a Gaussian bell round the direct beam.

    Args:
        patterns: shape (b, h, w).
        fraction: share of the incident beam in the whole bell, also beyond the pattern's edge.
        sigma_px: standard deviation of the bell in pixels.
    """
    sigma = _per_pattern(sigma_px, patterns)
    bell = torch.exp(-0.5 * (_radius_px(patterns) / sigma) ** 2) / (2 * math.pi * sigma**2)
    return patterns + _per_pattern(fraction, patterns) * bell


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
    radius = _radius_px(patterns)
    rings = torch.zeros_like(patterns)
    n = len(patterns)
    for mean, width in zip(radii_px.expand(n, -1).T, widths_px.expand(n, -1).T, strict=True):
        mean, width = mean.view(-1, 1, 1), width.view(-1, 1, 1)
        profile = torch.exp(-0.5 * ((radius - mean) / width) ** 2)
        rings += profile / (math.sqrt(8) * math.pi**1.5 * mean * width)
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


def resample(
    patterns: torch.Tensor,
    size: int,
    scale: Parameter = 1.0,
    rotation_deg: Parameter = 0.0,
    shift_px: torch.Tensor | None = None,
) -> torch.Tensor:
    """Crop, turn and resize patterns: another camera length, in-plane rotation and center.

    Args:
        patterns: shape (b, h, h).
        size: height and width of the output.
        scale: input pixels that one output pixel spans along each axis.
        rotation_deg: turns the pattern as phi1 does, x toward y.
        shift_px: where the direct beam lands relative to [size // 2, size // 2], in output
            pixels as (column, row), shape (b, 2).

    Returns:
        Shape (b, size, size), bilinear; the intensity in a pixel's area is kept.
    """
    h = patterns.shape[-1]
    step = _per_pattern(scale, patterns).view(-1, 1, 1)
    angle = torch.deg2rad(_per_pattern(rotation_deg, patterns)).view(-1, 1)
    grid = torch.arange(size, dtype=torch.float32, device=patterns.device) - size // 2
    points = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1).view(1, -1, 2)
    if shift_px is not None:
        points = points - shift_px[:, None]
    x, y = (points * step).expand(len(patterns), -1, -1).unbind(-1)
    source = torch.stack(
        [angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x], dim=-1
    )
    # grid_sample counts from -1 at the outer edge of the first pixel to +1 at that of the last.
    source = (2 * (source + h // 2) + 1) / h - 1
    out = F.grid_sample(patterns[:, None], source.view(-1, size, size, 2), align_corners=False)
    return out[:, 0] * step**2


def _per_pattern(value: Parameter, patterns: torch.Tensor) -> torch.Tensor:
    """Return the parameter as float32 of shape (b, 1, 1)."""
    value = torch.as_tensor(value, dtype=torch.float32, device=patterns.device)
    return value.expand(len(patterns)).view(-1, 1, 1)


def _radius_px(patterns: torch.Tensor) -> torch.Tensor:
    """Return each pixel's distance from the direct beam, shape (h, w)."""
    h, w = patterns.shape[-2:]
    y = torch.arange(h, device=patterns.device) - h // 2
    x = torch.arange(w, device=patterns.device) - w // 2
    return torch.hypot(y[:, None].float(), x[None].float())
