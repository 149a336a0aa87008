"""Folders that are no checkpoint, or a damaged one."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zoneaxis.errors import CheckpointError
from zoneaxis.models.indexer import NetworkIndexer


def edit(checkpoint: Path, change) -> None:
    """Change config.json, given as a dict."""
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def broken_json(folder):
    (folder / "config.json").write_text('{"zoneaxis": ')


def config_of_another(folder):
    (folder / "config.json").write_text('{"architecture": "resnet50", "num_classes": 1000}')


def config_is_a_list(folder):
    (folder / "config.json").write_text("[1, 2]")


def config_is_binary(folder):
    (folder / "config.json").write_bytes(bytes(range(128, 256)))


def no_config(folder):
    (folder / "config.json").unlink()


def no_folder(folder):
    folder.rename(folder.with_name("moved"))


def newer_format(folder):
    edit(folder, lambda config: config["zoneaxis"].update(format=99))


def odd_format(folder):
    edit(folder, lambda config: config["zoneaxis"].update(format=[1]))


def key_missing(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["stem.bias"]
    save_file(weights, folder / "model.safetensors")


def key_too_many(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "surplus": torch.zeros(1)}, folder / "model.safetensors")


def another_shape(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "stem.bias": torch.zeros(3)}, folder / "model.safetensors")


def not_finite(folder):
    weights = load_file(folder / "model.safetensors")
    weights["stem.bias"][2] = torch.nan
    save_file(weights, folder / "model.safetensors")


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def labels_truncated(folder):
    path = folder / "labels.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def no_labels(folder):
    (folder / "labels.safetensors").unlink()


def other_labels(folder):
    save_file({"classes": torch.zeros(4, 2)}, folder / "labels.safetensors")


def fewer_labels(folder):
    save_file({"directions_deg": torch.zeros(4, 2).double()}, folder / "labels.safetensors")


def flat_labels(folder):
    save_file({"directions_deg": torch.zeros(5).double()}, folder / "labels.safetensors")


def wrong_crystal(folder):
    edit(folder, lambda config: config["zoneaxis"]["crystal"].update(space_group=999))


def another_crystal(folder):
    edit(folder, lambda config: config["zoneaxis"]["crystal"].update(name="NiO"))


def no_recipe(folder):
    edit(folder, lambda config: config["zoneaxis"].pop("recipe"))


def recipe_of_the_future(folder):
    edit(folder, lambda config: config["zoneaxis"]["recipe"].update(format=99))


def unknown_network(folder):
    edit(folder, lambda config: config.update(architecture="resnet51"))


def nameless_network(folder):
    edit(folder, lambda config: config.update(architecture=None))


def unknown_argument(folder):
    edit(folder, lambda config: config["model_args"].update(colour=3))


def other_preprocessing(folder):
    edit(folder, lambda config: config["zoneaxis"]["preprocessing"].update(n_radii=20))


def unknown_preprocessing(folder):
    edit(folder, lambda config: config["zoneaxis"]["preprocessing"].update(colour=20))


def odd_threshold(folder):
    edit(folder, lambda config: config["zoneaxis"].update(min_confidence=2))


def no_training(folder):
    edit(folder, lambda config: config["zoneaxis"].pop("training"))


BROKEN = {
    no_folder: "holds no config.json: name a folder that `train` wrote",
    no_config: "holds no config.json: name a folder that `train` wrote",
    broken_json: "is not the config of a zoneaxis model",
    config_of_another: "is not the config of a zoneaxis model",
    config_is_a_list: "is not the config of a zoneaxis model",
    config_is_binary: "is not the config of a zoneaxis model",
    newer_format: "has format 99, newer than 1: update zoneaxis",
    odd_format: "is not the config of a zoneaxis model",
    key_missing: "Missing key.*stem.bias",
    key_too_many: "Unexpected key.*surplus",
    another_shape: "size mismatch for stem.bias",
    not_finite: "stem.bias is not finite. Train the model again",
    truncated: "model.safetensors is no safetensors file, or is damaged",
    empty: "model.safetensors is no safetensors file, or is damaged",
    labels_truncated: "labels.safetensors is no safetensors file, or is damaged",
    no_labels: "labels.safetensors is missing",
    other_labels: "lacks 'directions_deg'",
    fewer_labels: "outputs for 98 classes",
    flat_labels: "does not fit together",
    wrong_crystal: "space group 999 is not 1..230",
    another_crystal: "of different crystals",
    no_recipe: "lacks 'recipe'",
    recipe_of_the_future: "recipe has format 99",
    unknown_network: "No network 'resnet51'",
    nameless_network: "does not fit together",
    unknown_argument: "colour",
    other_preprocessing: "does not fit together",
    unknown_preprocessing: "colour",
    odd_threshold: "min_confidence = 2.0: expected 0 to 1",
    no_training: "lacks 'training'",
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_damaged_checkpoints(checkpoint, damage):
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=BROKEN[damage]) as caught:
        NetworkIndexer.from_pretrained(checkpoint)
    text = str(caught.value)
    assert str(checkpoint) in text
    assert "\n" not in text
    assert ".." not in text.replace("1..230", "")


class Trap:
    """Whoever unpickles it is caught."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_a_pickle_beside_is_never_opened(checkpoint, name):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=rf"Pickled weights \({name}\) are not opened"):
        NetworkIndexer.from_pretrained(checkpoint)


def test_a_pickle_in_disguise_is_never_opened(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="no safetensors file"):
        NetworkIndexer.from_pretrained(checkpoint)
    torch.save({"stem.bias": torch.zeros(3)}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        NetworkIndexer.from_pretrained(checkpoint)
