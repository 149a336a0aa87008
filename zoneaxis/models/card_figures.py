"""The pictures in a model's card: the course of its training, and what it makes of patterns."""

from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from zoneaxis.cards import FigureFacts
from zoneaxis.dataset_builder.card_figures import STYLE, draw_pattern
from zoneaxis.dataset_builder.recipe_base import PatternRecipe
from zoneaxis.dataset_builder.sampling import random_directions
from zoneaxis.dataset_builder.sampling_figure import draw_sector, in_sector, project
from zoneaxis.dataset_builder.schema import FIGURES
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import sufficient_tilts
from zoneaxis.diffraction.orientations import (
    beam_directions,
    matrices_from_euler,
    misorientation_deg,
)
from zoneaxis.diffraction.render import render
from zoneaxis.files import atomic_path
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import CartesianInput, PolarInput
from zoneaxis.scans.indexing import Indexed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import nn

EXAMPLES = 3
DRAWN = 64  # directions of which the examples are some, from small to large Phi
SEED = 0
THICKNESS_NM = 30.0  # where the data set does not say how thick its crystals were
FAINTEST = 1e-4  # probability that is drawn
INK = 9500.0  # area of all dots of a sector in square points
SHARES = {
    "within_2_deg": "within 2°",
    "within_5_deg": "within 5°",
    "class_accuracy": "right class",
    "train_class_accuracy": "right class, in training",
}
TRAINING = (
    "The course of the training against the augmented patterns seen: the loss, and on held-out "
    "patterns the shares within 2 and 5 degrees of the truth and of the right class, and the "
    "median misorientation."
)
CONFIDENCE = (
    "Left, the share of orientations within 5 degrees of the truth against the confidence that the "
    "network states, on held-out augmented patterns (an honest one lies on the diagonal), and how "
    "the patterns are spread over it (bars). Right, the share of wrong orientations that is left "
    "when only the most confident patterns are kept."
)
IPF = (
    "Simulated patterns without noise, {thickness:g} nm thick, and below each the probability that "
    "the network gives to every beam direction, summed over in-plane angles, in the stereographic "
    "projection of the crystal's sector (the hemisphere of the truth). The cross marks the truth, "
    "the ring the answer."
)


class TrainedIndexer(Protocol):
    """What the figures need of a NetworkIndexer."""

    network: "nn.Module"
    labels: OrientationLabels
    preprocess: PolarInput | CartesianInput
    recipe: PatternRecipe
    training: dict[str, Any]
    temperature: float

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """As `zoneaxis.scans.indexing.Indexer`."""
        ...


def write_figures(folder: Path, indexer: TrainedIndexer) -> tuple[FigureFacts, ...]:
    """Draw the figures of a model into folder/figures; it takes about a second.

    Without a history in `indexer.training` there is no figure of it.

    Args:
        folder: of the checkpoint.
        indexer: whose network is drawn.

    Returns:
        What the card says of them.

    Raises:
        OutputError: a figure cannot be written.
    """
    import matplotlib as mpl

    caption = IPF.format(thickness=_thickness_nm(indexer.recipe))
    figures = [("ipf", caption, partial(ipf_figure, indexer))]
    if "reliability" in indexer.training:
        figures.insert(0, ("confidence", CONFIDENCE, partial(confidence_figure, indexer.training)))
    if history := indexer.training.get("history"):
        figures.insert(0, ("training", TRAINING, partial(training_figure, history)))
    for name, _, draw in figures:
        with mpl.rc_context(STYLE):
            image = _flat(draw())
        with atomic_path(folder / FIGURES / f"{name}.png") as path:
            image.save(path, "PNG", optimize=True)
    return tuple(FigureFacts(name, caption) for name, caption, _ in figures)


def _flat(figure: "Figure") -> "Image":
    """Return a figure in 256 colors, a third of the size; it comes with the package."""
    from PIL import Image

    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB").quantize(256)


def training_figure(history: Sequence[Mapping[str, float | None]]) -> "Figure":
    """Draw loss, shares and median misorientation against the images seen.

    Args:
        history: of each epoch "images" and what was measured; what is missing or not finite is
            left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    loss, shares, median = figure.subplots(1, 3)
    _draw_course(loss, history, {"loss": "training", "validation_loss": "validation"})
    _draw_course(shares, history, SHARES, factor=100)
    _draw_course(median, history, {"median_deg": "validation"})
    shares.set_ylim(0, 100)
    if median.lines:
        median.set_ylim(0, 1.1 * median.dataLim.y1)
    names = ("loss", "share of patterns (%)", "median misorientation (°)")
    for ax, name in zip((loss, shares, median), names, strict=True):
        ax.set_xlabel("patterns seen")
        ax.set_ylabel(name)
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_visible(bool(ax.lines))  # without held-out patterns, only the loss is known
    return figure


def _draw_course(
    ax: "Axes",
    history: Sequence[Mapping[str, float | None]],
    names: Mapping[str, str],
    factor: float = 1.0,
) -> None:
    images = np.array([epoch["images"] for epoch in history])
    for key, name in names.items():
        values = factor * np.array([epoch.get(key) for epoch in history], dtype=float)
        if (known := np.isfinite(values)).any():
            ax.plot(images[known], values[known], ".-", markersize=3, linewidth=1, label=name)
    if ax.lines:
        ax.legend(frameon=False)


def confidence_figure(training: Mapping[str, Sequence[Sequence[float]]]) -> "Figure":
    """Draw how often orientations of each confidence are right, and risk against coverage.

    Args:
        training: with what `confidence_curves` returns.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    honest, risky = figure.subplots(1, 2)
    patterns, stated, right = 100 * np.array(training["reliability"]).T
    honest.bar(stated, 100 * patterns / patterns.sum(), 4, color="0.85", label="all patterns")
    honest.plot([0, 100], [0, 100], ":", color="gray", linewidth=1)
    honest.plot(stated, right, ".-", linewidth=1, markersize=8, label="within 5°")
    honest.set(xlabel="confidence (%)", ylabel="share (%)", xlim=(0, 100), ylim=(0, 100))
    honest.legend(frameon=False)
    coverage, risk, _ = 100 * np.array(training["risk_coverage"]).T
    risky.plot(coverage, risk, ".-", linewidth=1, markersize=4)
    risky.set(xlabel="most confident patterns kept (%)", ylabel="beyond 5° (%)", xlim=(0, 100))
    risky.set_ylim(0, max(1.1 * risk.max(), 1))
    for ax in (honest, risky):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def ipf_figure(indexer: TrainedIndexer) -> "Figure":
    """Draw simulated patterns and, in the crystal's sector, what the network makes of each."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    crystal, pixel = indexer.labels.crystal, indexer.recipe.inv_angstrom_per_pixel
    patterns, truth = example_patterns(indexer.recipe, crystal)
    found = indexer.index(patterns, pixel)
    directions, probability = direction_probabilities(indexer, patterns, pixel)
    answer = found.euler_deg[:, 0]
    off = misorientation_deg(
        matrices_from_euler(answer), matrices_from_euler(truth), crystal.proper_operators
    )
    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, EXAMPLES)
    for i in range(EXAMPLES):
        title = f"φ$_1$ {truth[i, 0]:.1f}°, Φ {truth[i, 1]:.1f}°, φ$_2$ {truth[i, 2]:.1f}°"
        draw_pattern(above[i], patterns[i], pixel, title)
        marks = beam_directions(np.stack([truth[i], answer[i]]))
        dots = _draw_probability(
            below[i], crystal, directions, probability[i], marks, LogNorm(FAINTEST, 1)
        )
        below[i].set_title(f"{off[i]:.1f}° off, confidence {found.score[i, 0]:.0%}")
    figure.colorbar(dots, ax=below, shrink=0.8, label="probability of a beam direction")
    return figure


@torch.inference_mode()
def direction_probabilities(
    indexer: TrainedIndexer, patterns: np.ndarray, inv_angstrom_per_pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the different directions of the classes and how likely the network finds each.

    Args:
        indexer: of the network.
        patterns: float32, shape (n, h, w).
        inv_angstrom_per_pixel: size of a pixel.

    Returns:
        (Phi, phi2) in degrees, shape (m, 2), and probabilities, shape (n, m); what is missing to
        a sum of 1 are vacuum and amorphous material.
    """
    labels, network = indexer.labels, indexer.network.eval()
    given = torch.from_numpy(patterns).to(next(network.parameters()).device)
    logits = network(indexer.preprocess(given, inv_angstrom_per_pixel))[:, : labels.n_classes]
    shares = (logits.float() / indexer.temperature).softmax(dim=1)[:, : labels.n_orientations]
    base = shares.unflatten(1, (-1, labels.bins)).sum(dim=2).double().cpu().numpy()
    directions, number = np.unique(np.round(labels.directions_deg, 4), axis=0, return_inverse=True)
    summed = [np.bincount(number.ravel(), row, len(directions)) for row in base]
    return directions, np.stack(summed)


def _draw_probability(
    ax: "Axes",
    crystal: Crystal,
    directions: np.ndarray,
    probability: np.ndarray,
    marks: np.ndarray,
    norm: Any,
) -> Any:
    """Draw a dot for each direction (m, 2), the likeliest on top, and beams: truth, answer."""
    group = crystal.point_group.proper_subgroup
    truth, answer = in_sector(marks, group)
    sign = 1 if truth[2] > -1e-6 else -1
    draw_sector(ax, crystal, group, sign)
    order = np.argsort(probability)
    beams = in_sector(beam_directions(np.insert(directions[order], 0, 0.0, axis=1)), group)
    dots = ax.scatter(
        *project(beams, sign).T,
        s=np.clip(INK / len(order), 0.5, 60),
        c=probability[order].clip(FAINTEST),
        norm=norm,
        cmap="YlGnBu",
        linewidth=0,
    )
    points = project(np.stack([truth, answer]), sign)
    ax.plot(*points[0], "x", color="#d55e00", markersize=5)
    ax.plot(*points[1], "o", color="#d55e00", markersize=15, fillstyle="none")
    return dots


def example_patterns(recipe: PatternRecipe, crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """Return patterns of a recipe's optics and frame (n, h, w) and their Bunge angles (n, 3)."""
    drawn = random_directions(crystal, DRAWN, SEED, "proper")
    chosen = ((np.arange(EXAMPLES) + 0.5) * DRAWN / EXAMPLES).astype(int)
    directions = drawn[np.argsort(drawn[:, 0])[chosen]]
    phi1 = np.random.default_rng(SEED).uniform(0, 360, EXAMPLES)
    optics = recipe.optics(recipe.mean_convergence_mrad, recipe.typical_precession_deg[0])
    thickness = _thickness_nm(recipe)
    disks = bloch_disks(
        crystal,
        optics,
        directions,
        np.array([thickness]),
        tilts=sufficient_tilts(optics, thickness),
    )
    patterns = render(disks, recipe.size, recipe.inv_angstrom_per_pixel, torch.from_numpy(phi1))
    return patterns[:, 0].numpy(), np.insert(directions, 0, phi1, axis=1)


def _thickness_nm(recipe: PatternRecipe) -> float:
    """Return the middle of a simulation's thicknesses."""
    return float(np.mean(getattr(recipe, "thickness_nm", THICKNESS_NM)))
