"""Figures of patterns laid over each other: measured and simulated, or two simulated ones."""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.evaluation.figures.pattern_figures import log_scaled, pattern_frame, pattern_image
from zoneaxis.evaluation.overlay import Overlay, Spots, color_merged, shared_spots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FIRST, SECOND, BOTH = "#ff8000", "#007fff", "#ffffff"  # the first two add up to the third
OUTLINE = "#ff8000"
LABELED = 8  # of the brightest spots


def miller_label(hkl: np.ndarray) -> str:
    """Return indices as matplotlib's math text, with a bar over each negative one."""
    apart = r"\," if max(abs(int(i)) for i in hkl) > 9 else ""
    digits = [rf"\bar{{{-i}}}" if i < 0 else f"{i}" for i in (int(i) for i in hkl)]
    return f"${apart.join(digits)}$"


def outline_spots(
    ax: "Axes",
    spots: Spots,
    inv_angstrom_per_pixel: float,
    center_px: tuple[float, float],
    color: str = OUTLINE,
    labeled: int = LABELED,
) -> None:
    """Draw the outlines of simulated disks over a pattern, and the indices of the brightest.

    Args:
        ax: axes of the pattern.
        spots: of the simulation, brightest first.
        inv_angstrom_per_pixel: size of a pixel.
        center_px: column and row of the direct beam.
        color: of outlines and labels.
        labeled: how many are labeled.
    """
    from matplotlib.collections import EllipseCollection

    places = spots.place_px(inv_angstrom_per_pixel, center_px)
    right, left = sorted(ax.get_xlim(), reverse=True)
    bottom, top = sorted(ax.get_ylim(), reverse=True)
    margin = spots.radius_inv_angstrom / inv_angstrom_per_pixel
    inside = ((places > [left, top]) & (places < [right, bottom])).all(axis=1)
    wide = np.full(int(inside.sum()), 2 * margin + 2)
    ax.add_collection(
        EllipseCollection(
            wide,
            wide,
            np.zeros_like(wide),
            units="xy",
            offsets=places[inside],
            offset_transform=ax.transData,
            facecolors="none",
            edgecolors=color,
            linewidths=0.8,
        )
    )
    for (x, y), hkl in list(zip(places[inside], spots.hkl[inside], strict=True))[:labeled]:
        below = y + margin + 2 < bottom - 0.08 * (bottom - top)
        ax.text(
            np.clip(x, left + 0.06 * (right - left), right - 0.06 * (right - left)),
            y + (margin + 1.5 if below else -margin - 1.5),
            miller_label(hkl),
            color=color,
            fontsize="small",
            ha="center",
            va="top" if below else "bottom",
        )


def merged_patterns(
    ax: "Axes",
    first: np.ndarray,
    second: np.ndarray,
    names: tuple[str, str],
    inv_angstrom_per_pixel: float,
    disk_radius_inv_angstrom: float,
    center_px: tuple[float, float],
) -> None:
    """Draw two patterns in two colors that add up to white where both shine.

    Args:
        ax: empty axes.
        first: in any unit, shape (h, w).
        second: in any unit, shape (h, w); each is scaled on its own.
        names: of the two.
        inv_angstrom_per_pixel: size of a pixel.
        disk_radius_inv_angstrom: the direct beam, which is left out of the scales.
        center_px: column and row of the direct beam in both.
    """
    radius_px = disk_radius_inv_angstrom / inv_angstrom_per_pixel
    scaled = (log_scaled(p, radius_px, center_px=center_px) for p in (first, second))
    ax.imshow(color_merged(*scaled, (FIRST, SECOND)), interpolation="nearest")
    pattern_frame(ax, first.shape, inv_angstrom_per_pixel)
    _color_key(ax, {names[0]: FIRST, names[1]: SECOND, "both": BOTH})


def draw_overlay(
    figure: "Figure | SubFigure", overlay: Overlay, names: tuple[str, str] = ("map", "reference")
) -> None:
    """Draw a measured pattern, its simulation, both in one, and the reference's template.

    Args:
        figure: empty figure or subfigure, four times as wide as high.
        overlay: of one point.
        names: whose the simulated orientation and the template's are.
    """
    axes = figure.subplots(1, 4)
    fit = overlay.fit
    settings = (
        overlay.inv_angstrom_per_pixel,
        overlay.spots.radius_inv_angstrom,
        fit.center_px,
    )
    pattern_image(axes[0], overlay.measured, *settings)
    outline_spots(axes[0], overlay.spots, settings[0], fit.center_px)
    pattern_image(axes[1], fit.pattern, *settings)
    merged_patterns(axes[2], overlay.measured, fit.pattern, ("measured", "simulated"), *settings)
    pattern_image(axes[3], overlay.template, *settings)
    fitted = "best at " if fit.fitted else ""
    titles = (
        f"measured, disks of {names[0]}",
        f"dynamic, {names[0]}, {fitted}{fit.thickness_nm:g} nm",
        f"overlay, correlation {fit.correlation:.2f}",
        f"kinematic, {names[1]}",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)


def draw_rivals(
    ax: "Axes",
    patterns: tuple[np.ndarray, np.ndarray],
    spots: tuple[Spots, Spots],
    names: tuple[str, str],
    inv_angstrom_per_pixel: float,
    center_px: tuple[float, float],
) -> None:
    """Draw the simulated patterns of two orientations over each other, and say how much they share.

    Args:
        ax: empty axes.
        patterns: of the two, each of shape (h, w).
        spots: of the two.
        names: of the two.
        inv_angstrom_per_pixel: size of a pixel.
        center_px: column and row of the direct beam in both.
    """
    radius = spots[0].radius_inv_angstrom
    merged_patterns(ax, *patterns, names, inv_angstrom_per_pixel, radius, center_px)
    shared = shared_spots(*spots)
    counts = [f"{s.sum()} of {len(s)}" for s in shared]
    ax.set_title(f"spots in both: {counts[0]} and {counts[1]}")


def _color_key(ax: "Axes", colors: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=c, edgecolor="0.5", label=name) for name, c in colors.items()]
    ax.legend(
        handles=handles,
        frameon=False,
        loc="upper right",
        bbox_to_anchor=(1.02, 0.0),
        ncols=len(handles),
        handlelength=0.9,
        handletextpad=0.4,
        columnspacing=0.8,
        borderaxespad=0.2,
    )
