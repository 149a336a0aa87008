from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.dataset_builder.transforms import CRYSTAL
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.objective import Objective
from zoneaxis.models.settings import TrainingSettings
from zoneaxis.models.training import train
from zoneaxis.models.validation import Validation, expected_calibration_error


def test_calibration_error_of_known_cases():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15])
    right = np.array([True, True, True, False, False, False])
    # Two thirds of the answers are 0.95 sure and 0.75 right, one third 0.15 sure and never right.
    expected = (4 * 0.2 + 2 * 0.15) / 6
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert expected_calibration_error(np.ones(3), np.zeros(3, bool)) == 1
    # Too sure here and too modest there do not cancel.
    assert expected_calibration_error(np.array([0.99, 0.01]), np.array([False, True])) == 0.99


def test_calibration_error_of_honest_confidence():
    rng = np.random.default_rng(0)
    confidence = rng.random(100_000)
    assert expected_calibration_error(confidence, rng.random(100_000) < confidence) < 0.01
    assert expected_calibration_error(confidence, rng.random(100_000) < confidence**3) > 0.2


@pytest.fixture(scope="module")
def settings() -> TrainingSettings:
    return TrainingSettings(
        model="test_zoneaxis_polar",
        images=320,
        batch_size=16,
        label_step_deg=6.0,
        learning_rate=1e-2,
        validation_patterns=96,
    )


@pytest.fixture(scope="module")
def trained(tiny_dataset, settings) -> NetworkIndexer:
    return train(tiny_dataset, settings)


@pytest.fixture(scope="module")
def validation(tiny_dataset, trained, settings) -> Validation:
    objective = Objective.of(trained, settings, trained.device)
    return Validation(tiny_dataset, objective, settings)


def test_figures_repeat(trained, validation, tiny_dataset, settings):
    again = Validation(tiny_dataset, validation.objective, settings)
    found = validation.summary(trained)
    assert found == again.summary(trained)
    assert found == {name: trained.training[name] for name in found}
    assert validation.calibrated(trained).temperature == trained.temperature


@pytest.fixture
def oracle(monkeypatch):
    """Let a network know 3 of 4 orientations, and be too sure of all of them."""

    def install(share: float, margin: float) -> None:
        def output(self, network, batch):
            labels = self.labels
            classes = labels.soft_targets(batch["matrix"], 0.0)[0][:, 0]
            known = (batch["matrix"][:, 0, 0] * 1e4).long() % 4 < 4 * share  # as good as random
            far = (classes + labels.bins // 2 + 3) % labels.n_orientations
            logits = torch.zeros(len(classes), labels.n_classes)
            chosen = torch.where(known, classes, far)
            chosen = torch.where(
                batch["kind"] == CRYSTAL, chosen, labels.n_orientations - 1 + batch["kind"]
            )
            return logits.scatter_(1, chosen[:, None], margin)

        monkeypatch.setattr(Objective, "output", output)

    return install


@pytest.mark.parametrize("margin", [16.0, 24.0])
def test_calibrated_confidence_is_the_share_that_is_right(trained, validation, oracle, margin):
    oracle(0.75, margin)
    plain = replace(trained, temperature=1.0, min_confidence=0.0)
    before = validation.summary(plain)
    calibrated = validation.calibrated(plain)
    after = validation.summary(calibrated)
    right = before["validation_within_5_deg"]
    assert right == pytest.approx(0.75, abs=0.1)
    assert before["validation_expected_calibration_error"] == pytest.approx(1 - right, abs=0.02)
    assert after["validation_expected_calibration_error"] < 0.12
    assert after["validation_within_5_deg"] == right
    assert after["validation_empty_rejected"] == 1


def test_exact_classes_are_counted(trained, validation, oracle):
    oracle(0.75, 12.0)
    assert validation.figures(trained)["class_accuracy"] == pytest.approx(0.75, abs=0.1)
    oracle(1.0, 12.0)
    assert validation.figures(trained)["class_accuracy"] == 1


def test_the_threshold_rejects_what_is_empty(trained, validation):
    assert 0 < trained.min_confidence < 1
    assert validation.summary(trained)["validation_empty_rejected"] > 0.9
    assert validation.summary(trained)["validation_patterns"] == 96
