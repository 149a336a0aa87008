"""Confidences of all directions in the inverse pole figure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.evaluation.ambiguity import Candidate, DirectionScores
from zoneaxis.evaluation.figures.overlay_figures import draw_rivals, outline_spots
from zoneaxis.evaluation.figures.pattern_figures import pattern_image
from zoneaxis.evaluation.overlay import simulated_spots
from zoneaxis.evaluation.pattern_fit import fit_pattern

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure, SubFigure

ACROSS = 400  # points of the image along the longer side
LEAST = 1e-4  # a confidence below is drawn as if none
MARK = "#ff8000"


def draw_confidences(
    figure: "Figure | SubFigure",
    scores: DirectionScores,
    pattern: int = 0,
    marked_euler_deg: Sequence[np.ndarray] = (),
) -> "Axes":
    """Draw what an indexer thinks of all beam directions for one pattern.

    Each direction fills its surroundings. A turn about the beam, by 180 degrees too, does not show.

    Args:
        figure: empty figure or subfigure.
        scores: probabilities are drawn on a logarithmic scale.
        pattern: which of them.
        marked_euler_deg: orientations whose directions are numbered from 1, each of shape (3,).

    Returns:
        The axes, with projection "ipf".
    """
    from matplotlib.colors import LogNorm, Normalize

    values = scores.values[[pattern]]
    ax, image = _image(figure, replace(scores, values=values))
    floor = np.percentile(values, 5)
    image.set_norm(LogNorm(LEAST, 1, clip=True) if scores.additive else Normalize(floor))
    image.set_cmap("viridis")
    label = "confidence" if scores.additive else "correlation index Q"
    figure.colorbar(image, ax=ax, label=label, shrink=0.8, extend="min")
    for number, euler in enumerate(marked_euler_deg, 1):
        _mark(ax, euler, str(number), scores)
    return ax


def draw_confidence_difference(
    figure: "Figure | SubFigure",
    scores: DirectionScores,
    marked: dict[str, np.ndarray] | None = None,
) -> "Axes":
    """Draw the confidences of the first pattern less those of the second.

    Args:
        figure: empty figure or subfigure.
        scores: of the two patterns.
        marked: orientations, (3,), by the labels at their directions.
    """
    ax, image = _image(figure, scores)
    limit = max(np.abs(image.get_array()).max(), 1e-6)
    image.set_clim(-limit, limit)
    image.set_cmap("PuOr_r")
    label = "difference of the confidences" if scores.additive else "difference of Q"
    figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    for name, euler in (marked or {}).items():
        _mark(ax, euler, name, scores)
    return ax


def draw_ambiguity(
    figure: "Figure | SubFigure",
    measured: np.ndarray,
    listed: Sequence[Candidate],
    scores: DirectionScores,
    pattern: int,
    optics: Optics,
    inv_angstrom_per_pixel: float,
) -> None:
    """Draw a pattern, what an indexer thinks of it, and the two likeliest orientations in one.

    Args:
        figure: empty figure or subfigure, three times as wide as high.
        measured: the pattern, shape (h, w).
        listed: its candidates with fits, at least two; the best is outlined on the pattern.
        scores: of the indexer.
        pattern: which of the scores is that of this pattern.
        optics: of the simulation.
        inv_angstrom_per_pixel: size of a pixel.
    """
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 1.2, 1))
    pair = [np.array(candidate.euler_deg) for candidate in listed[:2]]
    crystal, thickness = scores.crystal, [candidate.thickness_nm for candidate in listed]
    fits = [
        fit_pattern(measured, e, crystal, optics, inv_angstrom_per_pixel, thickness_nm=t)
        for e, t in zip(pair, thickness, strict=False)
    ]
    spots = [simulated_spots(e, crystal, optics, t) for e, t in zip(pair, thickness, strict=False)]
    center = fits[0].center_px
    ax = left.subplots()
    pattern_image(ax, measured, inv_angstrom_per_pixel, optics.disk_radius_inv_angstrom, center)
    outline_spots(ax, spots[0], inv_angstrom_per_pixel, center)
    ax.set_title("measured, disks of 1")
    draw_confidences(middle, scores, pattern, pair)
    drawn = tuple(fit.pattern for fit in fits)
    names = tuple(f"{i}" for i in range(1, len(pair) + 1))
    draw_rivals(right.subplots(), drawn, tuple(spots), names, inv_angstrom_per_pixel, center)


def _image(
    figure: "Figure | SubFigure", scores: DirectionScores
) -> tuple["Axes", "ScalarMappable"]:
    """Draw the scores of one pattern, or of the first less the second, into new axes."""
    import orix.plot  # noqa: F401  registers the projection "ipf"
    from orix.vector import Vector3d

    laue = scores.crystal.point_group.laue
    ax = figure.add_subplot(projection="ipf", symmetry=laue)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    step = max(right - left, top - bottom) / ACROSS
    x, y = np.meshgrid(np.arange(left, right, step), np.arange(bottom, top, step))
    square = x**2 + y**2
    # The stereographic projection from the south pole, backwards.
    beams = np.stack([2 * x, 2 * y, 1 - square], axis=-1) / (1 + square)[..., None]
    inside = np.asarray(Vector3d(beams) <= laue.fundamental_sector) & (square <= 1)
    first, *second = scores.at_beams(beams[inside])
    drawn = np.ma.masked_all(x.shape)
    drawn[inside] = first - second[0] if second else first
    extent = (left, left + step * x.shape[1], bottom, bottom + step * x.shape[0])
    image = ax.imshow(drawn, extent=extent, origin="lower", interpolation="nearest", zorder=0)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    return ax, image


def _mark(ax: "Axes", euler_deg: np.ndarray, label: str, scores: DirectionScores) -> None:
    """Draw a circle and a label at the beam direction of an orientation."""
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from orix.vector import Vector3d

    beam = Vector3d(beam_directions(np.asarray(euler_deg, dtype=float)))
    x, y, z = beam.in_fundamental_sector(scores.crystal.point_group.laue).unit.data.reshape(3)
    place = x / (1 + z), y / (1 + z)
    circle = Line2D(*np.reshape(place, (2, 1)), marker="o", mfc="none", mec=MARK, ms=8, mew=1.4)
    style = {"color": MARK, "weight": "bold", "annotation_clip": False}
    beside, side = ((7, -3), "left") if label == "1" else ((-7, -3), "right")
    text = Annotation(label, place, xytext=beside, textcoords="offset points", ha=side, **style)
    for artist in (circle, text):  # not by the methods of orix, which want vectors
        artist.set_clip_on(False)
        artist.set_zorder(5)
        ax.add_artist(artist)
