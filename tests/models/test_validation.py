from dataclasses import replace

import pytest
import torch

from zoneaxis.dataset_builder.transforms import CRYSTAL
from zoneaxis.errors import CheckpointError, SettingsError
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.objective import Objective
from zoneaxis.models.settings import TrainingSettings
from zoneaxis.models.training import train
from zoneaxis.models.validation import Validation, recalibrated


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
    plain = replace(trained, temperature=1.0, log_odds=(1.0, 0.0), min_confidence=0.0)
    before = validation.summary(plain)
    calibrated = validation.calibrated(plain)
    after = validation.summary(calibrated)
    right = before["validation_within_5_deg"]
    assert right == pytest.approx(0.75, abs=0.1)
    assert before["validation_expected_calibration_error"] == pytest.approx(1 - right, abs=0.02)
    assert after["validation_expected_calibration_error"] < 0.12
    assert after["validation_within_5_deg"] == right
    assert after["validation_empty_rejected"] == 1


def test_calibrated_again_without_training(trained, tiny_dataset, tmp_path):
    spoiled = replace(trained, temperature=3.0, log_odds=(0.2, 1.0), min_confidence=0.9)
    folder = spoiled.save_pretrained(tmp_path)
    again = recalibrated(NetworkIndexer.from_pretrained(folder), tiny_dataset)
    for name in ("temperature", "log_odds", "min_confidence"):
        assert getattr(again, name) == pytest.approx(getattr(trained, name), rel=1e-2)
    assert again.training.keys() == trained.training.keys()
    for name in ("history", "seed", "validation_patterns", "validation_within_5_deg"):
        assert again.training[name] == trained.training[name]


def test_what_cannot_be_calibrated_again(trained, tiny_dataset):
    with pytest.raises(SettingsError, match="untrained"):
        recalibrated(replace(trained, training={}), tiny_dataset)
    other = replace(trained, recipe=replace(trained.recipe, seed=1))
    with pytest.raises(CheckpointError, match=f"has id {trained.recipe.id}, the model was trained"):
        recalibrated(other, tiny_dataset)


def test_exact_classes_are_counted(trained, validation, oracle):
    oracle(0.75, 12.0)
    assert validation.figures(trained)["class_accuracy"] == pytest.approx(0.75, abs=0.1)
    oracle(1.0, 12.0)
    assert validation.figures(trained)["class_accuracy"] == 1


def test_the_threshold_rejects_what_is_empty(trained, validation):
    assert 0 < trained.min_confidence < 1
    assert validation.summary(trained)["validation_empty_rejected"] > 0.9
    assert validation.summary(trained)["validation_measured_on"] == 40
