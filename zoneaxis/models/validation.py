"""How good a network is on patterns held out of training, and how far its confidence is right."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoneaxis.dataset_builder.stream import PatternStream, has_split
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.objective import Objective
from zoneaxis.models.settings import TrainingSettings

RIGHT_DEG = 5.0  # an orientation so near is right, as far as confidence is concerned
CALIBRATED_ON = 256  # patterns, whose scores of all classes are held at once
REJECTED = 0.99  # of the vacuum and amorphous patterns, by the confidence threshold

Batches = Sequence[dict[str, torch.Tensor]]


class Validation:
    """Held-out patterns, augmented once; the same for each epoch and each run of a seed.

    Args:
        data: data set, as for `PatternStream`.
        objective: decides how they are augmented.
        settings: of the run.
    """

    def __init__(self, data: str | Path, objective: Objective, settings: TrainingSettings) -> None:
        self.objective, self.settings = objective, settings
        self._data = data
        self._crystal = self._batches(settings.validation_patterns, 1, empty=False)

    @staticmethod
    def is_possible(data: str | Path, settings: TrainingSettings) -> bool:
        """Tell whether the data set holds any patterns out."""
        return has_split(data, "validation", settings.config)

    def _batches(self, patterns: int, seed: int, *, empty: bool) -> Batches:
        """Return so many patterns of crystals, or half of vacuum and half of amorphous material."""
        share = 0.5 if empty else 0.0
        augmentation = replace(
            self.settings.augmentation, vacuum_probability=share, amorphous_probability=share
        )
        transform = replace(
            self.objective.transform, seed=self.settings.seed + seed, augmentation=augmentation
        )
        stream = PatternStream(
            self._data,
            "validation",
            batch_size=min(64, patterns),
            epochs=patterns,
            seed=self.settings.seed + seed,
            config=self.settings.config,
        )
        return list(_first(stream, replace(self.objective, transform=transform), patterns))

    def figures(self, indexer: NetworkIndexer) -> dict[str, float]:
        """Return loss, share of exact classes and shares near the truth; see `summary`."""
        return _figures(self._measured(indexer, self._crystal))

    def calibrated(self, indexer: NetworkIndexer) -> NetworkIndexer:
        """Return the indexer with a temperature and a threshold measured on patterns of their own.

        The temperature makes the confidence the share of orientations that are right, by the
        least cross entropy between the two (Guo et al., ICML 2017). The threshold is what 99 % of
        vacuum and amorphous patterns miss.
        """
        from scipy.optimize import minimize_scalar

        batches = self._batches(
            min(CALIBRATED_ON, self.settings.validation_patterns), 2, empty=False
        )
        outputs = [self.objective.output(indexer.network, batch) for batch in batches]

        def cross_entropy(log_temperature: float) -> float:
            tempered = replace(indexer, temperature=math.exp(log_temperature))
            losses = []
            for output, batch in zip(outputs, batches, strict=True):
                found = tempered.answers(output)
                confidence = np.clip(found.score[:, 0].astype(float), 1e-6, 1 - 1e-6)
                angle = _apart_deg(indexer, found.euler_deg[:, 0], batch["matrix"])
                losses.append(-np.log(np.where(angle < RIGHT_DEG, confidence, 1 - confidence)))
            return float(np.concatenate(losses).mean())

        best = minimize_scalar(
            cross_entropy, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 0.03}
        )
        indexer = replace(indexer, temperature=math.exp(best.x), min_confidence=0.0)
        nothing = self._measured(
            indexer, self._batches(self.settings.validation_patterns, 3, empty=True)
        )
        threshold = np.quantile(nothing["confidence"] * nothing["indexed"], REJECTED)
        return indexer.with_min_confidence(float(threshold))

    def summary(self, indexer: NetworkIndexer) -> dict[str, Any]:
        """Return the figures of a model card.

        Angles are over all crystalline patterns, also those that the threshold rejects; the last
        two are of patterns of which half show vacuum or amorphous material.
        """
        crystal = self._measured(indexer, self._crystal)
        nothing = self._measured(
            indexer, self._batches(self.settings.validation_patterns, 4, empty=True)
        )
        return {
            **{
                f"validation_{name.removeprefix('validation_')}": value
                for name, value in _figures(crystal).items()
            },
            "validation_expected_calibration_error": expected_calibration_error(
                crystal["confidence"], crystal["angle_deg"] < RIGHT_DEG
            ),
            "validation_crystal_indexed": float(crystal["indexed"].mean()),
            "validation_empty_rejected": float(1 - nothing["indexed"].mean()),
            "validation_patterns": len(crystal["indexed"]),
        }

    def _measured(self, indexer: NetworkIndexer, batches: Batches) -> dict[str, np.ndarray]:
        """Return what is found of each pattern; "hit" of crystals alone, "loss" a batch's mean."""
        parts = []
        for batch in batches:
            output = self.objective.output(indexer.network, batch)
            found = indexer.answers(output)
            parts.append(
                {
                    "confidence": found.score[:, 0],
                    "indexed": found.indexed,
                    "angle_deg": _apart_deg(indexer, found.euler_deg[:, 0], batch["matrix"]),
                    "loss": np.full(len(output), self.objective.loss(output, batch).item()),
                    "hit": self.objective.class_hits(output, batch).cpu().numpy(),
                }
            )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _figures(measured: dict[str, np.ndarray]) -> dict[str, float]:
    angle = measured["angle_deg"]
    return {
        "validation_loss": float(measured["loss"].mean()),
        "class_accuracy": float(measured["hit"].mean()),
        "median_deg": float(np.median(angle)),
        "within_2_deg": float((angle < 2).mean()),
        "within_5_deg": float((angle < RIGHT_DEG).mean()),
    }


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the mean difference of confidence and share of right answers, over equal bins of 0..1.

    Args:
        confidence: 0..1, shape (n,).
        right: bool, shape (n,).
        bins: of equal width, weighted by what falls in them.

    Source: Naeini et al., AAAI 2015.
    """
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    surplus = np.bincount(which, confidence - right, minlength=bins)
    return float(np.abs(surplus).sum() / len(confidence))


def _first(
    stream: PatternStream, objective: Objective, patterns: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield augmented batches of so many patterns in all."""
    number = 0
    while patterns > 0:
        batch = objective.augmented(stream[number], number // stream.batches_per_epoch)
        yield {name: column[:patterns] for name, column in batch.items()}
        patterns -= len(batch["pattern"])
        number += 1


def _apart_deg(indexer: NetworkIndexer, euler_deg: np.ndarray, truth: torch.Tensor) -> np.ndarray:
    found, operators = matrices_from_euler(euler_deg), indexer.crystal.proper_operators
    return misorientation_deg(found, truth.cpu().numpy(), operators)
