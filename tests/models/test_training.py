from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.dataset_builder.load import PatternDataset, open_dataset
from zoneaxis.dataset_builder.transforms import AMORPHOUS, CRYSTAL, VACUUM, Augmentation
from zoneaxis.errors import DatasetError, SettingsError, TrainingError
from zoneaxis.models import training
from zoneaxis.models.training import TrainingSettings, batch_loss, stream, train

SHORT = {
    "images": 16 * 24,
    "batch_size": 16,
    "label_step_deg": 15.0,
    "label_bins": 24,
    "learning_rate": 1e-2,
}


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{"model": "test_zoneaxis_polar", **SHORT, **changes})


def weights(indexer) -> dict[str, torch.Tensor]:
    return indexer.network.state_dict()


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> PatternDataset:
    return open_dataset(tiny_dataset)


@pytest.mark.parametrize("model", ["test_zoneaxis_polar", "test_zoneaxis_cnn"])
def test_the_loss_falls(tiny_dataset, model):
    still = Augmentation(
        scale=(1.0, 1.0), shift_px=0.0, rotate=False, mirror=False, counts=None, sensitivity=None
    )
    steps = []
    chosen = settings(model=model, images=16 * 60)
    train(tiny_dataset, chosen, still, progress=lambda *step: steps.append(step))
    loss = np.array([step[2] for step in steps])
    assert [step[:2] for step in steps] == [(16, 16 * 60)] * 60
    assert loss[-6:].mean() < loss[:4].mean() - 0.5


def test_a_network_of_timm_trains(tiny_dataset):
    trained = train(tiny_dataset, settings(model="test_resnet", images=8, batch_size=4))
    assert trained.preprocess.input_size == (1, 160, 160)
    assert trained.training["validation_patterns"] == 512


@pytest.mark.parametrize("model", ["test_zoneaxis_polar", "test_zoneaxis_cnn"])
def test_the_same_seed_gives_the_same_weights(tiny_dataset, model):
    chosen = settings(model=model, images=64)
    state = torch.get_rng_state()
    first = train(tiny_dataset, chosen)
    assert torch.equal(torch.get_rng_state(), state)  # of others
    torch.rand(7)
    second = train(tiny_dataset, chosen)
    other = train(tiny_dataset, replace(chosen, seed=1))
    assert all(torch.equal(weights(second)[k], v) for k, v in weights(first).items())
    assert second.training == first.training
    assert any(not torch.equal(weights(other)[k], v) for k, v in weights(first).items())


def test_the_result_says_how_it_came_about(tiny_dataset):
    augmentation = Augmentation(vacuum_probability=0.0, amorphous_probability=0.0)
    trained = train(tiny_dataset, settings(images=16), augmentation)
    found = trained.training
    assert found["images"] == 16
    assert found["augmentation"]["vacuum_probability"] == 0
    assert found["validation_patterns"] == 512
    assert trained.min_confidence >= 0
    assert 0 <= found["validation_within_2_deg"] <= found["validation_within_5_deg"] <= 1
    assert 0 < found["validation_median_deg"] < 120
    assert not trained.network.training


@pytest.mark.parametrize(("images", "steps"), [(1, 1), (16, 1), (47, 2), (48, 3)])
def test_the_last_batch_is_whole_or_left_out(images, steps):
    assert settings(images=images).steps == steps


def test_batches_larger_than_the_data_set(dataset):
    batch = next(stream(dataset, "train", Augmentation(), 100, seed=0))
    assert len(batch.patterns) == 100


def test_batches_of_one(tiny_dataset):
    trained = train(tiny_dataset, settings(images=2, batch_size=1))
    assert trained.training["validation_patterns"] == 512


def test_an_epoch_shows_every_row_once(dataset, monkeypatch):
    seen = []

    def batch(self, split, rows):
        seen.extend(rows.tolist())
        return torch.zeros(len(rows), 32, 32), None

    monkeypatch.setattr(PatternDataset, "batch", batch)
    source = stream(dataset, "train", lambda patterns, *_: patterns, 10, seed=3)
    n = dataset.rows("train")
    while len(seen) < 2 * n:
        next(source)
    assert sorted(seen[:n]) == sorted(seen[n : 2 * n]) == list(range(n))
    assert seen[:n] != seen[n : 2 * n]


def test_loss_of_a_sure_answer_is_small(dataset, matched):
    """Logits that name the class of each pattern, vacuum and amorphous too, cost the least."""
    chosen = settings(label_sigma_deg=0.3)
    batch = next(stream(dataset, "train", Augmentation(), 5, seed=0))
    batch = replace(batch, kind=torch.tensor([CRYSTAL, VACUUM, AMORPHOUS, CRYSTAL, VACUUM]))
    crystal = batch.kind == CRYSTAL
    classes, shares = matched.labels.soft_targets(batch.matrices, chosen.label_sigma_deg)
    log_shares = shares.clamp(min=1e-12).log()
    logits = torch.full((5, matched.labels.n_classes), -40.0).scatter_(1, classes, log_shares)
    logits[~crystal] = -40.0
    logits[batch.kind == VACUUM, -2] = 0.0
    logits[batch.kind == AMORPHOUS, -1] = 0.0
    entropy = -(shares * log_shares)[crystal].sum() / 5
    loss = batch_loss(matched, lambda inputs: logits, batch, chosen)
    torch.testing.assert_close(loss, entropy, atol=1e-3, rtol=1e-3)
    wrong = batch_loss(matched, lambda inputs: logits.roll(1, dims=0), batch, chosen)
    assert wrong > loss + 5


def test_a_loss_that_is_no_number(tiny_dataset):
    with pytest.raises(TrainingError, match=r"loss is .* at step [0-9]+: lower the learning rate"):
        train(tiny_dataset, settings(model="test_zoneaxis_cnn", learning_rate=1e30))


def test_no_validation(tiny_dataset, dataset, monkeypatch):
    splits = {"train": dataset.splits["train"]}
    monkeypatch.setattr(training, "open_dataset", lambda _: replace(dataset, splits=splits))
    found = train(tiny_dataset, settings(images=16)).training
    assert not [name for name in found if name.startswith("validation")]


def test_the_threshold_rejects_what_is_empty(tiny_dataset):
    trained = train(tiny_dataset, settings(images=320))
    assert 0 < trained.min_confidence < 1
    assert trained.training["validation_empty_rejected"] > 0.9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", 0),
        ("images", 1e4),
        ("batch_size", -1),
        ("batch_size", 2.5),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", -0.1),
        ("label_step_deg", 0.0),
        ("label_bins", 0),
        ("label_sigma_deg", -1.0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(SettingsError, match=f"{name} = .*: expected"):
        settings(**{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet51"}, "No network 'resnet51'"),
        ({"label_bins": 50}, "50 bins do not divide"),
        ({"label_step_deg": 31.0}, "step_deg = 31.0: expected 0.1 to 30"),
    ],
)
def test_settings_that_do_not_fit(tiny_dataset, changes, message):
    with pytest.raises(SettingsError, match=message):
        train(tiny_dataset, settings(**changes))


def test_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no recipe.json"):
        train(tmp_path, settings())
