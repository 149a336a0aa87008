"""Figures of a scan before it is indexed: its calibration, and what a virtual detector sees."""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.evaluation.figures.image_axes import draw_map, robust_limits, round_length, scale_bar
from zoneaxis.scans.calibration import Calibration
from zoneaxis.scans.detectors import Detector
from zoneaxis.scans.pixel_size import reflection_shells
from zoneaxis.scans.sampling import sample
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.survey import Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RINGS = 8  # strongest that are drawn
RING_COLOR, DETECTOR_COLOR = "#56b4e9", "#e69f00"  # Okabe and Ito
STEPS = 160  # of the histogram of distances
SAMPLED = 256  # patterns of the mean beside a virtual image


def calibration_figure(
    figure: "Figure", survey: Survey, calibration: Calibration, crystal: Crystal
) -> None:
    """Draw the mean pattern with the crystal's rings, and how the disks' distances fit them.

    Args:
        figure: an empty one, about twice as wide as high.
        survey: that the calibration was made from.
        calibration: the result.
        crystal: whose reflections are drawn.
    """
    pattern_ax, distance_ax = figure.subplots(1, 2, width_ratios=(1, 1.15))
    pixel = calibration.size.inv_angstrom_per_pixel
    length, power = reflection_shells(crystal)
    outer = survey.peaks.outer_px * pixel
    inside = length < outer
    length, power = length[inside], power[inside] / power[inside].max()
    draw_pattern(pattern_ax, survey.mean_pattern, pixel)
    for radius in length[np.argsort(-power)[:RINGS]]:
        _ring(pattern_ax, radius / pixel, survey.mean_pattern.shape, calibration)
    pattern_ax.set_title("mean pattern, strongest rings")
    straight = survey.peaks.stretched(calibration.ellipse.matrix)
    distance = np.hypot(*straight.offset_px.T) * pixel
    distance_ax.hist(distance, bins=np.linspace(0, outer, STEPS), color="0.4", label="disks found")
    top = distance_ax.get_ylim()[1]
    distance_ax.vlines(
        length, -0.3 * top * power, 0, color=RING_COLOR, lw=1, label=f"$|g|$ of {crystal.name}"
    )
    distance_ax.axhline(0, color="black", lw=0.8)
    distance_ax.set_xlim(0, outer)
    distance_ax.set_xlabel("distance from the direct beam (1/Å)")
    distance_ax.set_yticks([])
    distance_ax.set_ylabel("number of disks")
    distance_ax.set_title(f"{pixel:.6f} ± {calibration.size.error_inv_angstrom_per_pixel:.6f} 1/Å")
    distance_ax.legend(frameon=False, loc="upper left")


def virtual_figure(figure: "Figure", scan: Scan, detector: Detector, image: np.ndarray) -> None:
    """Draw a virtual image beside the mean pattern with the detector on it.

    Args:
        figure: an empty one, about twice as wide as high.
        scan: that the image is of.
        detector: that it was made with.
        image: counts, shape (rows, cols).
    """
    from matplotlib.patches import Circle

    pattern_ax, image_ax = figure.subplots(1, 2)
    mean = sample(scan, SAMPLED).patterns.mean(axis=0)
    draw_pattern(pattern_ax, mean, scan.inv_angstrom_per_pixel)
    place = tuple(n // 2 + d for n, d in zip(mean.shape[::-1], detector.offset_px, strict=True))
    for radius in filter(None, (detector.inner_px, detector.outer_px)):
        pattern_ax.add_patch(Circle(place, radius, fill=False, color=DETECTOR_COLOR, lw=1))
    pattern_ax.set_title("mean pattern and detector")
    low, high = robust_limits(image)
    drawn = draw_map(image_ax, image, scan.step_nm, cmap="gray", vmin=low, vmax=high)
    figure.colorbar(drawn, ax=image_ax, label="counts", extend="both", shrink=0.8)
    image_ax.set_title("virtual image")


def draw_pattern(ax: "Axes", pattern: np.ndarray, inv_angstrom_per_pixel: float | None) -> None:
    """Draw a pattern on a logarithmic scale, with a scale bar.

    Args:
        ax: empty axes.
        pattern: counts, shape (height, width).
        inv_angstrom_per_pixel: size of a pixel; None draws a bar in pixels.
    """
    from matplotlib.colors import LogNorm

    low, high = np.percentile(pattern[pattern > 0], [5, 99.9])
    norm = LogNorm(low, max(high, 1.01 * low), clip=True)
    ax.imshow(pattern.clip(min=low), origin="upper", cmap="magma", norm=norm)
    ax.set_xticks([])
    ax.set_yticks([])
    pixel = inv_angstrom_per_pixel or 1.0
    length = round_length(0.3 * pattern.shape[1] * pixel)
    unit = "px" if inv_angstrom_per_pixel is None else "1/Å"
    scale_bar(ax, length / pixel, f"{length:g} {unit}")


def _ring(ax: "Axes", radius_px: float, shape: tuple[int, int], calibration: Calibration) -> None:
    """Draw what a ring of the crystal looks like in the measured patterns."""
    angle = np.linspace(0, 2 * np.pi, 181)
    back = np.linalg.inv(calibration.ellipse.matrix)
    x, y = back @ (radius_px * np.stack([np.cos(angle), np.sin(angle)]))
    ax.plot(shape[1] // 2 + x, shape[0] // 2 + y, color=RING_COLOR, lw=0.7)
