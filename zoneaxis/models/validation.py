"""How good a network is on patterns held out of training, and how far its confidence is right."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.stream import PatternStream, has_split
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import CheckpointError, SettingsError
from zoneaxis.models.confidence import (
    TINY,
    confidence_curves,
    default_threshold,
    expected_calibration_error,
    fit_log_odds,
    with_log_odds,
)
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.objective import Objective
from zoneaxis.models.settings import TrainingSettings

RIGHT_DEG = 5.0  # an orientation so near is right, as far as confidence is concerned
TEMPERED_ON = 256  # patterns, whose scores of all classes are held at once
MANY = 4  # times the validation patterns: of 512, the best calibration has an error of 0.04
TIMES = 20  # that these show the same held-out pattern, at most

Batches = Iterable[dict[str, torch.Tensor]]


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
        self._crystal = list(self._batches(settings.validation_patterns, 1, empty=False))

    @staticmethod
    def is_possible(data: str | Path, settings: TrainingSettings) -> bool:
        """Tell whether the data set holds any patterns out."""
        return has_split(data, "validation", settings.config)

    def _many(self, seed: int, *, empty: bool) -> Batches:
        """Yield the patterns of a calibration or of the figures in the end."""
        return self._batches(MANY * self.settings.validation_patterns, seed, TIMES, empty=empty)

    def _batches(
        self, patterns: int, seed: int, times: int | None = None, *, empty: bool
    ) -> Batches:
        """Yield so many patterns of crystals, or half of vacuum and half of amorphous material."""
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
            epochs=times or patterns,
            seed=self.settings.seed + seed,
            config=self.settings.config,
        )
        return _first(stream, replace(self.objective, transform=transform), patterns)

    def figures(self, indexer: NetworkIndexer) -> dict[str, float]:
        """Return loss, share of exact classes and shares near the truth; see `summary`."""
        return _figures(self._measured(indexer, self._crystal))

    def calibrated(self, indexer: NetworkIndexer) -> NetworkIndexer:
        """Return the indexer with a calibration and a threshold from patterns of their own.

        First the temperature, by which the confidence tells best what is right; then slope and
        offset of its log odds, see `fit_log_odds`; then the threshold, see `default_threshold`.
        """
        plain = {"temperature": 1.0, "log_odds": (1.0, 0.0), "min_confidence": 0.0}
        indexer = replace(indexer, **plain)
        indexer = replace(indexer, temperature=self._temperature(indexer))
        crystal = self._measured(indexer, self._many(2, empty=False))
        wrong = crystal["angle_deg"] >= RIGHT_DEG
        log_odds = fit_log_odds(crystal["confidence"], ~wrong)
        indexer = replace(indexer, log_odds=log_odds)
        empty = self._measured(indexer, self._many(3, empty=True))
        known = crystal["indexed"]
        confidence = with_log_odds(crystal["confidence"][known], *log_odds)
        taken = empty["confidence"] * empty["indexed"]
        return indexer.with_min_confidence(default_threshold(confidence, wrong[known], taken))

    def _temperature(self, indexer: NetworkIndexer) -> float:
        """Return the temperature of the least cross entropy of confidence and right answers.

        Source: Guo et al., ICML 2017.
        """
        from scipy.optimize import minimize_scalar

        patterns = min(TEMPERED_ON, self.settings.validation_patterns)
        parts = [
            (self.objective.output(indexer.network, batch), batch["matrix"])
            for batch in self._batches(patterns, 2, empty=False)
        ]
        outputs, truth = (torch.cat(part) for part in zip(*parts, strict=True))

        def cross_entropy(log_temperature: float) -> float:
            found = replace(indexer, temperature=math.exp(log_temperature)).answers(outputs)
            confidence = np.clip(found.score[:, 0].astype(float), TINY, 1 - TINY)
            right = _apart_deg(indexer, found.euler_deg[:, 0], truth) < RIGHT_DEG
            return float(-np.log(np.where(right, confidence, 1 - confidence)).mean())

        best = minimize_scalar(
            cross_entropy, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 0.03}
        )
        return math.exp(best.x)

    def summary(self, indexer: NetworkIndexer) -> dict[str, Any]:
        """Return the figures of a model card.

        Angles, reliability and risk are over all crystalline patterns, also those that the
        threshold rejects; `validation_empty_rejected` is of vacuum and amorphous material.
        """
        crystal = self._measured(indexer, self._many(5, empty=False))
        nothing = self._measured(indexer, self._many(4, empty=True))
        confidence, wrong = crystal["confidence"], crystal["angle_deg"] >= RIGHT_DEG
        return {
            **{
                f"validation_{name.removeprefix('validation_')}": value
                for name, value in _figures(crystal).items()
            },
            "validation_expected_calibration_error": expected_calibration_error(confidence, ~wrong),
            "validation_crystal_indexed": float(crystal["indexed"].mean()),
            "validation_empty_rejected": float(1 - nothing["indexed"].mean()),
            "validation_measured_on": len(confidence),
            **confidence_curves(confidence, wrong),
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


def recalibrated(indexer: NetworkIndexer, data: str | Path) -> NetworkIndexer:
    """Return a trained indexer calibrated and measured again, without training it again.

    Args:
        indexer: that `train` made, on any device.
        data: the data set of its training, whose held-out patterns are taken.

    Raises:
        CheckpointError: it was trained on another data set.
        SettingsError: it is untrained, or the data set holds nothing out.
    """
    if not indexer.training:
        raise SettingsError("The model is untrained: there is nothing to calibrate.")
    settings = TrainingSettings.of(indexer.training)
    if (there := read_recipe(data).id) != indexer.recipe.id:
        raise CheckpointError(
            f"{data} has id {there}, the model was trained on {indexer.recipe.id}: calibrate it on "
            "the data set of its training."
        )
    if not Validation.is_possible(data, settings):
        raise SettingsError(f"{data} holds no patterns out: there is nothing to calibrate on.")
    validation = Validation(data, Objective.of(indexer, settings, indexer.device), settings)
    indexer = validation.calibrated(indexer)
    return replace(indexer, training={**indexer.training, **validation.summary(indexer)})


def _figures(measured: dict[str, np.ndarray]) -> dict[str, float]:
    angle = measured["angle_deg"]
    return {
        "validation_loss": float(measured["loss"].mean()),
        "class_accuracy": float(measured["hit"].mean()),
        "median_deg": float(np.median(angle)),
        "within_2_deg": float((angle < 2).mean()),
        "within_5_deg": float((angle < RIGHT_DEG).mean()),
    }


def _first(
    stream: PatternStream, objective: Objective, patterns: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield augmented batches of so many patterns in all."""
    for number in range(len(stream)):
        if patterns <= 0:
            return
        batch = objective.augmented(stream[number], number // stream.batches_per_epoch)
        yield {name: column[:patterns] for name, column in batch.items()}
        patterns -= len(batch["pattern"])


def _apart_deg(indexer: NetworkIndexer, euler_deg: np.ndarray, truth: torch.Tensor) -> np.ndarray:
    found, operators = matrices_from_euler(euler_deg), indexer.crystal.proper_operators
    return misorientation_deg(found, truth.cpu().numpy(), operators)
