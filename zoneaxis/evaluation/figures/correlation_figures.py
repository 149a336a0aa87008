"""Maps of how alike neighboring patterns are and of how many spots they show."""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.evaluation.correlation import NeighborCorrelation
from zoneaxis.evaluation.figures.image_axes import (
    color_bar,
    draw_map,
    is_flat,
    robust_limits,
    with_gray,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure


def draw_correlation(
    figure: "Figure | SubFigure", found: NeighborCorrelation, step_nm: float
) -> None:
    """Draw the mean and the lowest coefficient of each point, and its number of spots.

    Boundaries are dark in the first two; thin ones show best in the second.

    Args:
        figure: empty figure or subfigure.
        found: of the scan.
        step_nm: step of the scan.
    """
    flat = is_flat(found.spots.shape)
    axes = figure.subplots(3, 1) if flat else figure.subplots(1, 3)
    panels = {
        "correlation with the neighbors, mean": (found.mean, "cividis"),
        "correlation with the neighbors, lowest": (found.lowest, "cividis"),
        "spots": (found.spots, "viridis"),
    }
    for ax, (label, (values, cmap)) in zip(axes, panels.items(), strict=True):
        low, high = robust_limits(values)
        if label == "spots":
            low, high = 0.0, max(1.0, np.ceil(high))
        image = draw_map(ax, values, step_nm, cmap=with_gray(cmap), vmin=low, vmax=high)
        color_bar(image, ax, label)
