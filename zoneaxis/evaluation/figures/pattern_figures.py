"""Diffraction patterns in matplotlib axes: on a logarithmic scale, with a scale bar in 1/Å."""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.evaluation.figures.image_axes import round_length, scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def pattern_pair(
    figure: "Figure | SubFigure",
    measured: np.ndarray,
    simulated: dict[str, np.ndarray],
    inv_angstrom_per_pixel: float,
    disk_radius_inv_angstrom: float = 0.0,
    center_px: tuple[float, float] | None = None,
) -> None:
    """Draw a measured pattern beside simulated ones, each on its own logarithmic scale.

    Args:
        figure: empty figure or subfigure.
        measured: pattern in any unit, shape (h, w).
        simulated: patterns of shape (h, w) under their titles.
        inv_angstrom_per_pixel: pixel size of all of them.
        disk_radius_inv_angstrom: the direct beam, which is left out of the scale.
        center_px: column and row of the direct beam in all of them; the middle by default.
    """
    axes = figure.subplots(1, 1 + len(simulated), squeeze=False)[0]
    settings = inv_angstrom_per_pixel, disk_radius_inv_angstrom, center_px, "magma"
    panels = {"measured": measured, **simulated}
    for ax, (title, pattern) in zip(axes, panels.items(), strict=True):
        pattern_image(ax, pattern, *settings)
        ax.set_title(title)


def pattern_image(
    ax: "Axes",
    pattern: np.ndarray,
    inv_angstrom_per_pixel: float,
    disk_radius_inv_angstrom: float,
    center_px: tuple[float, float] | None = None,
    cmap: str = "gray",
) -> None:
    """Draw a pattern on a logarithmic scale of three decades, with a scale bar in 1/Å.

    Args:
        ax: empty axes.
        pattern: in any unit, shape (h, w).
        inv_angstrom_per_pixel: size of a pixel.
        disk_radius_inv_angstrom: the direct beam, which is left out of the scale.
        center_px: column and row of the direct beam; the middle by default.
        cmap: name of the colormap.
    """
    radius_px = disk_radius_inv_angstrom / inv_angstrom_per_pixel
    scaled = log_scaled(pattern, radius_px, center_px=center_px)
    ax.imshow(scaled, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    pattern_frame(ax, pattern.shape, inv_angstrom_per_pixel)


def pattern_frame(ax: "Axes", shape: tuple[int, int], inv_angstrom_per_pixel: float) -> None:
    """Put a scale bar in 1/Å below a pattern, origin upper left, no axes.

    Args:
        ax: axes of the pattern.
        shape: height and width of the pattern.
        inv_angstrom_per_pixel: size of a pixel.
    """
    ax.set_axis_off()
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_ylim(shape[0] - 0.5, -0.5)
    length = round_length(0.25 * shape[1] * inv_angstrom_per_pixel)
    scale_bar(ax, length / inv_angstrom_per_pixel, f"{length:g} Å$^{{-1}}$")


def log_scaled(
    pattern: np.ndarray,
    direct_beam_px: float = 0.0,
    decades: float = 3.0,
    center_px: tuple[float, float] | None = None,
) -> np.ndarray:
    """Return a pattern on a logarithmic scale from 0 to 1, its brightest pixels saturated.

    The top is what 0.2 % of the pixels outside the direct beam exceed.

    Args:
        pattern: intensities, shape (h, w); NaN and negative values count as 0.
        direct_beam_px: radius of the direct beam.
        decades: span of the scale.
        center_px: column and row of the direct beam; [h // 2, w // 2] by default.
    """
    pattern = np.nan_to_num(pattern, nan=0.0, posinf=0.0).clip(min=0).astype(np.float64)
    column, row = center_px or (pattern.shape[1] // 2, pattern.shape[0] // 2)
    y, x = np.ogrid[: pattern.shape[0], : pattern.shape[1]]
    outside = np.hypot(y - row, x - column) > direct_beam_px + 1
    top = np.percentile(pattern[outside], 99.8) or pattern.max() or 1.0
    return (1 + np.log10(np.maximum(pattern / top, 10.0**-decades)) / decades).clip(0, 1)
