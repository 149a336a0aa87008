from dataclasses import replace

import pytest
import torch

from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.dataset_builder.transforms import AMORPHOUS, CRYSTAL, VACUUM
from zoneaxis.models.objective import Objective
from zoneaxis.models.settings import TrainingSettings


@pytest.fixture
def objective(matched) -> Objective:
    settings = TrainingSettings(label_sigma_deg=0.3)
    return Objective.of(matched, settings, torch.device("cpu"))


@pytest.fixture
def batch(objective, tiny_dataset) -> dict[str, torch.Tensor]:
    stream = PatternStream(tiny_dataset, batch_size=5)
    batch = objective.augmented(stream[0], 0)
    return {**batch, "kind": torch.tensor([CRYSTAL, VACUUM, AMORPHOUS, CRYSTAL, VACUUM])}


def test_loss_of_a_sure_answer_is_small(objective, batch):
    """Logits that name the class of each pattern, vacuum and amorphous too, cost the least."""
    labels = objective.labels
    crystal = batch["kind"] == CRYSTAL
    classes, shares = labels.soft_targets(batch["matrix"], 0.3)
    log_shares = shares.clamp(min=1e-12).log()
    logits = torch.full((5, labels.n_classes), -40.0).scatter_(1, classes, log_shares)
    logits[~crystal] = -40.0
    logits[batch["kind"] == VACUUM, -2] = 0.0
    logits[batch["kind"] == AMORPHOUS, -1] = 0.0
    entropy = -(shares * log_shares)[crystal].sum() / 5
    loss = objective.loss(logits, batch)
    torch.testing.assert_close(loss, entropy, atol=1e-3, rtol=1e-3)
    assert objective.loss(logits.roll(1, dims=0), batch) > loss + 5


def test_one_class_an_orientation(objective, batch):
    """Without soft labels the loss is the cross entropy with the nearest class."""
    hard = replace(objective, label_sigma_deg=0.0)
    logits = torch.randn(5, hard.labels.n_classes, generator=torch.Generator().manual_seed(0))
    nearest = hard.labels.soft_targets(batch["matrix"], 0.0)[0][:, 0]
    n = hard.labels.n_orientations
    target = torch.where(batch["kind"] == CRYSTAL, nearest, n - 1 + batch["kind"])
    expected = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(hard.loss(logits, batch), expected)


def test_hits_are_counted_among_crystals(objective, batch):
    labels = objective.labels
    nearest = labels.soft_targets(batch["matrix"], 0.0)[0][:, 0]
    logits = torch.zeros(5, labels.n_classes)
    logits[0, nearest[0]] = 1.0
    logits[3, (nearest[3] + labels.bins // 2) % labels.n_orientations] = 1.0
    assert objective.class_hits(logits, batch).tolist() == [True, False]


def test_a_batch_without_crystals(objective, batch):
    empty = {**batch, "kind": torch.full((5,), VACUUM)}
    assert len(objective.class_hits(torch.zeros(5, objective.labels.n_classes), empty)) == 0


def test_further_outputs_add_to_the_loss(objective, batch):
    wider = replace(objective, extras=("camera_scale",))
    logits = torch.zeros(5, objective.labels.n_classes)
    outputs = torch.cat([logits, torch.full((5, 1), 30.0)], dim=1)
    assert wider.loss(outputs, batch) > objective.loss(logits, batch) + 20
