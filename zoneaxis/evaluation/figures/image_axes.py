"""Images in matplotlib axes: origin in the upper left, square pixels, a scale bar, a color bar."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap

NO_VALUE_GRAY = "0.82"
FLAT = 0.4  # rows per column below which a color bar beside the map would be too short


def draw_map(ax: "Axes", values: np.ndarray, step_nm: float, **options: object) -> "ScalarMappable":
    """Draw one value or color per scan point, with a scale bar in nm or µm.

    Args:
        ax: empty axes.
        values: shape (rows, cols), or (rows, cols, 3) for colors.
        step_nm: step of the scan.
        **options: of `Axes.imshow`.
    """
    image = ax.imshow(values, origin="upper", interpolation="nearest", aspect="equal", **options)
    ax.set_xticks([])
    ax.set_yticks([])
    length_nm = round_length(0.3 * values.shape[1] * step_nm)
    label = f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"
    scale_bar(ax, length_nm / step_nm, label)
    return image


def scale_bar(ax: "Axes", length_px: float, label: str) -> None:
    """Put a bar below an image, where it hides no point.

    Args:
        ax: axes of the image.
        length_px: length in columns of the image.
        label: length with its unit.
    """
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    bar = AnchoredSizeBar(
        ax.transData,
        length_px,
        label,
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=ax.transAxes,
        pad=0.3,
        borderpad=0.1,
        sep=3,
        frameon=False,
    )
    bar.size_bar.get_children()[0].set_linewidth(2)
    ax.add_artist(bar)


def color_bar(image: "ScalarMappable", ax: "Axes", label: str) -> "Colorbar":
    """Draw the color bar of a map whose values may exceed it, beside the map or below a flat one.

    Args:
        image: what `draw_map` returned.
        ax: axes of the map.
        label: quantity with its unit.
    """
    side = "bottom" if is_flat(image.get_array().shape[:2]) else "right"
    return ax.figure.colorbar(
        image, ax=ax, label=label, extend="both", shrink=0.9, location=side, aspect=18
    )


def is_flat(shape: tuple[int, int]) -> bool:
    """Return whether a map of (rows, cols) is so flat that its color bar goes below it."""
    return shape[0] <= FLAT * shape[1]


def with_gray(name: str) -> "Colormap":
    """Return a colormap that draws NaN in gray."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=NO_VALUE_GRAY)


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above `length` > 0."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(f * power for f in (1, 2, 5) if f * power <= length * (1 + 1e-9)))


def robust_limits(values: np.ndarray) -> tuple[float, float]:
    """Return 1st and 99th percentiles, apart even where all values are equal or NaN."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    return (low, high) if high - low > 1e-6 * max(1.0, abs(high)) else (low - 0.5, high + 0.5)
