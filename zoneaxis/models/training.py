"""Training a network on a data set folder: stream, augment, fit, save."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoneaxis.dataset_builder.load import PatternDataset, open_dataset
from zoneaxis.dataset_builder.transforms import Augmentation, Batch
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import SettingsError, TrainingError
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import CRYSTAL, OrientationLabels
from zoneaxis.models.preprocessing import PolarInput
from zoneaxis.models.templates import kinematic_templates
from zoneaxis.scans.indexing import Indexed

if TYPE_CHECKING:
    from torch import nn

VALIDATION_PATTERNS = 512


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        model: name in timm's registry.
        images: augmented patterns seen in all; the last batch is whole or left out.
        batch_size: patterns a step.
        learning_rate: peak of a cosine with a short warm-up.
        weight_decay: of AdamW.
        label_step_deg: spacing of the direction classes.
        label_bins: in-plane classes over 360 degrees.
        label_sigma_deg: width of the soft labels.
        seed: of initialization, order and augmentation.
    """

    model: str = "zoneaxis_polar_small"
    images: int = 20_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    label_step_deg: float = 2.0
    label_bins: int = 72
    label_sigma_deg: float = 1.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "batch_size", "label_bins", "seed"):
            value, least = getattr(self, name), 0 if name == "seed" else 1
            if not isinstance(value, int) or value < least:
                raise SettingsError(f"{name} = {value}: expected a whole number from {least} on.")
        for name in ("learning_rate", "label_step_deg", "label_sigma_deg"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected more than 0.")
        if not 0 <= self.weight_decay < math.inf:
            raise SettingsError(f"weight_decay = {self.weight_decay}: expected 0 or more.")

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return max(1, self.images // self.batch_size)


def train(
    data: str | Path,
    settings: TrainingSettings,
    augmentation: Augmentation | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> NetworkIndexer:
    """Train a network and return it as an indexer, with its validation figures.

    Args:
        data: folder that `build` made.
        settings: network, length and labels.
        augmentation: what specimen and camera add; the paper's five and more by default.
        progress: called after each step with (patterns since the last call, patterns in all,
            loss of the step).

    Raises:
        DatasetError: not a data set folder.
        SettingsError: no such network, or one that does not fit labels or patterns.
        TrainingError: the loss is no longer a number.
    """
    dataset = open_dataset(data)
    augmentation = augmentation or Augmentation()
    labels = OrientationLabels.equispaced(
        dataset.crystal, settings.label_step_deg, settings.label_bins
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(settings.seed)
        indexer = create_indexer(settings.model, labels, dataset.recipe)
        if isinstance(indexer.preprocess, PolarInput):
            indexer.network.set_templates(_templates(indexer))
        average = fit(indexer, dataset, settings, augmentation, progress)
    trained = replace(indexer, network=average)
    if dataset.rows("validation"):
        threshold = confidence_threshold(trained, dataset, augmentation, settings)
        trained = trained.with_min_confidence(threshold)
    metrics = validate(trained, dataset, augmentation, settings)
    history = {**asdict(settings), "augmentation": asdict(augmentation), **metrics}
    return replace(trained, training=history)


def fit(
    indexer: NetworkIndexer,
    dataset: PatternDataset,
    settings: TrainingSettings,
    augmentation: Augmentation,
    progress: Callable[[int, int, float], None] | None,
) -> "nn.Module":
    """Fit the indexer's network in place; return the moving average of its weights."""
    network = indexer.network.train()
    average = deepcopy(network).eval()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(settings.steps))
    batches = stream(dataset, "train", augmentation, settings.batch_size, settings.seed)
    for step in range(settings.steps):
        loss = batch_loss(indexer, network, next(batches), settings)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} at step {step}: lower the learning rate."
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        _average(average, network, keep=min(0.99, 1 - 1 / (1 + step / 5)))
        if progress:
            progress(settings.batch_size, settings.steps * settings.batch_size, loss.item())
    return average


def batch_loss(
    indexer: NetworkIndexer, network: "nn.Module", batch: Batch, settings: TrainingSettings
) -> torch.Tensor:
    """Return the cross entropy between the network's classes and the soft labels."""
    labels = indexer.labels
    classes, weights = labels.soft_targets(batch.matrices, settings.label_sigma_deg)
    other = batch.kind != CRYSTAL
    classes[other] = (labels.n_orientations - 1 + batch.kind[other])[:, None]
    logits = network(indexer.preprocess(batch.patterns, batch.inv_angstrom_per_pixel))
    return (logits.logsumexp(dim=1) - (logits.gather(1, classes) * weights).sum(dim=1)).mean()


def stream(
    dataset: PatternDataset,
    split: str,
    augmentation: Augmentation,
    batch_size: int,
    seed: int,
) -> Iterator[Batch]:
    """Yield augmented batches for ever, each epoch in a new order."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    order = np.empty(0, dtype=int)
    recipe = dataset.recipe
    disk = recipe.optics(max(recipe.convergence_mrad), 0.0).disk_radius_inv_angstrom
    while True:
        while len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(dataset.rows(split))])
        rows, order = order[:batch_size], order[batch_size:]
        patterns, euler = dataset.batch(split, rows)
        pixel, crystal = recipe.inv_angstrom_per_pixel, dataset.crystal
        yield augmentation(patterns, euler, pixel, crystal, generator, 1.2 * disk)


def confidence_threshold(
    indexer: NetworkIndexer,
    dataset: PatternDataset,
    augmentation: Augmentation,
    settings: TrainingSettings,
    rejected: float = 0.99,
) -> float:
    """Return the confidence that a share `rejected` of vacuum and amorphous patterns misses."""
    empty = replace(augmentation, vacuum_probability=0.5, amorphous_probability=0.5)
    _, result = _indexed(indexer, dataset, empty, settings, settings.seed + 2)
    return float(np.quantile(result.score[:, 0] * result.indexed, rejected))


def validate(
    indexer: NetworkIndexer,
    dataset: PatternDataset,
    augmentation: Augmentation,
    settings: TrainingSettings,
) -> dict[str, Any]:
    """Return figures on augmented patterns of directions that training never saw.

    Angles are over all crystalline patterns, also those that the threshold rejects; half of the
    patterns for the other two figures show vacuum or amorphous material.
    """
    if not dataset.rows("validation"):
        return {}
    only_crystal = replace(augmentation, vacuum_probability=0.0, amorphous_probability=0.0)
    truth, result = _indexed(indexer, dataset, only_crystal, settings, settings.seed + 1)
    angle = misorientation_deg(
        matrices_from_euler(result.euler_deg[:, 0]), truth, dataset.crystal.proper_operators
    )
    empty = replace(augmentation, vacuum_probability=0.5, amorphous_probability=0.5)
    _, nothing = _indexed(indexer, dataset, empty, settings, settings.seed + 3)
    return {
        "validation_median_deg": float(np.median(angle)),
        "validation_within_2_deg": float((angle < 2).mean()),
        "validation_within_5_deg": float((angle < 5).mean()),
        "validation_crystal_indexed": float(result.indexed.mean()),
        "validation_empty_rejected": float(1 - nothing.indexed.mean()),
        "validation_patterns": len(angle),
    }


def _indexed(
    indexer: NetworkIndexer,
    dataset: PatternDataset,
    augmentation: Augmentation,
    settings: TrainingSettings,
    seed: int,
) -> tuple[np.ndarray, Indexed]:
    """Return true orientations (n, 3, 3) of augmented validation patterns, and the answers."""
    source = stream(dataset, "validation", augmentation, settings.batch_size, seed)
    truths, answers = [], []
    for batch in islice(source, max(1, VALIDATION_PATTERNS // settings.batch_size)):
        truths.append(batch.matrices.numpy())
        answers.append(indexer.index(batch.patterns.numpy(), batch.inv_angstrom_per_pixel))
    columns = ("euler_deg", "score", "reliability", "indexed")
    joined = {name: np.concatenate([getattr(a, name) for a in answers]) for name in columns}
    return np.concatenate(truths), Indexed(**joined)


def _templates(indexer: NetworkIndexer) -> torch.Tensor:
    """Return kinematic templates, averaged over the precession angles of the data."""
    recipe = indexer.recipe
    parts = [
        kinematic_templates(
            indexer.labels, indexer.preprocess, recipe.optics(recipe.mean_convergence_mrad, angle)
        )
        for angle in recipe.typical_precession_deg
    ]
    return torch.stack(parts).mean(dim=0)


def _warm_cosine(steps: int) -> Callable[[int], float]:
    warm = max(1, min(100, steps // 10))
    return lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def _average(average: "nn.Module", network: "nn.Module", keep: float) -> None:
    """Move the averaged weights toward the current ones; counters are copied."""
    for slow, fast in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)
