import json
from dataclasses import asdict, replace

import pytest

from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.errors import SettingsError
from zoneaxis.models.settings import TrainingSettings, training_preset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", 0),
        ("images", 1e4),
        ("epoch_images", 0),
        ("batch_size", -1),
        ("batch_size", 2.5),
        ("passes", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("clip_grad", -1.0),
        ("images", True),
        ("schedule", "step"),
        ("label_sigma_deg", 1e-20),
        ("weight_decay", -0.1),
        ("average", 1.0),
        ("average", float("nan")),
        ("mixed_precision", "fp16"),
        ("config", "classes"),
        ("label_step_deg", 0.0),
        ("label_bins", 0),
        ("label_sigma_deg", -1.0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(SettingsError, match=f"{name} = .*: expected"):
        TrainingSettings(**{name: value})


def test_a_batch_that_passes_do_not_divide():
    with pytest.raises(SettingsError, match="batch_size = 64 cannot be split into 3 passes"):
        TrainingSettings(passes=3)


def test_the_papers_schedule(nickelate):
    paper = training_preset("paper", preset("stepped", nickelate))
    assert paper.images == 14_745_600  # 900 x 16,384
    assert paper.epoch_images == 16_384
    assert (paper.schedule, paper.patience) == ("plateau", 20)
    assert (paper.average, paper.clip_grad, paper.weight_decay) == (0, 0, 0)
    assert (paper.label_step_deg, paper.label_sigma_deg) == (None, 0.0)
    assert paper.augmentation.rotate_step_deg == 2.5  # its in-plane classes, and no angle between
    assert training_preset("modern", preset("stepped", nickelate)) == TrainingSettings()


def test_an_unknown_preset(nickelate):
    with pytest.raises(SettingsError, match="No training preset 'best': choose modern or paper"):
        training_preset("best", None)


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_the_settings_that_a_model_carries(nickelate, name):
    settings = training_preset(name, preset("stepped", nickelate))
    settings = replace(settings, extras=("thickness_nm",), images=640)
    training = {**asdict(settings), "validation_loss": 1.0, "history": []}
    assert TrainingSettings.of(json.loads(json.dumps(training))) == settings
