"""A picture of the report: a figure as base64 PNG, at one scale with all others."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoneaxis.evaluation.figures.image_axes import is_flat
from zoneaxis.evaluation.figures.map_figures import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP_IN = 2.8  # longer side of a map is at most 1.4 of it, so that three stand side by side
MARGIN_IN = 0.4
CSS_PX_PER_IN = 96
PAD_IN = 0.06


@dataclass(frozen=True)
class Picture:
    """A figure as the template wants it.

    Attributes:
        png: the image in base64.
        width_px: natural width on the page; all pictures share one scale.
        caption: what is seen.
        rows: cells of a small table under the caption.
        place: of a color key, its origin and unit as shares of width and height.
    """

    png: str
    width_px: int
    caption: str
    rows: tuple[tuple[str, ...], ...] = ()
    place: tuple[float, ...] = ()


def map_picture(
    shape: tuple[int, int],
    draw: Callable[["Axes"], None],
    caption: str,
    *,
    bar_in: float = 0.0,
    below_in: float = 0.0,
) -> Picture:
    """Return the picture of a map, of a size that fits three of them side by side.

    Args:
        shape: points of the map, (rows, cols).
        draw: into empty axes.
        caption: what is seen.
        bar_in: room for a color bar in inches, beside the map or below a flat one.
        below_in: room for a legend below it in inches.
    """
    if is_flat(shape):
        bar_in, below_in = 0.0, below_in + bar_in
    scale = min(MAP_IN / shape[1], 1.4 * MAP_IN / shape[0])
    height, width = (max(scale * n, 0.5) for n in shape)
    figure = new_figure(max(width, 2.0) + bar_in, height + MARGIN_IN + below_in)
    draw(figure.add_subplot())
    return picture_of(figure, caption)


def new_figure(width_in: float, height_in: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def picture_of(figure: "Figure", caption: str, rows: tuple[tuple[str, ...], ...] = ()) -> Picture:
    """Return a figure as a picture.

    Args:
        figure: drawn, without its caption.
        caption: what is seen.
        rows: cells of a small table under the caption.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=PAD_IN)
    png = buffer.getvalue()
    width = int.from_bytes(png[16:20], "big")  # of the header that every PNG begins with
    width_px = round(width * CSS_PX_PER_IN / STYLE["savefig.dpi"])
    return Picture(base64.b64encode(png).decode("ascii"), width_px, caption, rows)


def place_of(ax: "Axes") -> tuple[float, float, float, float]:
    """Return where (0, 0) of the data lies in a saved picture, and how long 1 is, as shares."""
    figure = ax.figure
    box = figure.get_tightbbox().padded(PAD_IN)
    (x0, y0), (x1, y1) = ax.transData.transform([(0, 0), (1, 1)]) / figure.dpi
    return (
        (x0 - box.x0) / box.width,
        (box.y1 - y0) / box.height,
        (x1 - x0) / box.width,
        (y1 - y0) / box.height,
    )
