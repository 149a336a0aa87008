"""Folders that are no checkpoint, or a damaged one."""

import json
import pickle
import socket
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import zoneaxis
from zoneaxis.errors import CheckpointError, SettingsError
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


def older_format(folder):
    edit(folder, lambda config: config["zoneaxis"].update(format=1))


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
    save_file({"euler_deg": torch.zeros(4, 3).double()}, folder / "labels.safetensors")


def flat_labels(folder):
    save_file({"euler_deg": torch.zeros(5).double()}, folder / "labels.safetensors")


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
    edit(folder, lambda config: config["zoneaxis"]["calibration"].update(min_confidence=2))


def odd_temperature(folder):
    edit(folder, lambda config: config["zoneaxis"]["calibration"].update(temperature=0))


def odd_log_odds(folder):
    edit(folder, lambda config: config["zoneaxis"]["calibration"].update(log_odds=[-1, 0]))


def half_of_the_log_odds(folder):
    edit(folder, lambda config: config["zoneaxis"]["calibration"].update(log_odds=[1]))


def no_calibration(folder):
    edit(folder, lambda config: config["zoneaxis"]["calibration"].pop("temperature"))


def unknown_extra(folder):
    edit(folder, lambda config: config["zoneaxis"].update(extras=["color"]))


def extra_that_the_network_lacks(folder):
    edit(folder, lambda config: config["zoneaxis"].update(extras=["thickness_nm"]))


def no_training(folder):
    edit(folder, lambda config: config["zoneaxis"].pop("training"))


BROKEN = {
    no_folder: "holds no config.json: name a folder that `train` wrote",
    no_config: "holds no config.json: name a folder that `train` wrote",
    broken_json: "is not the config of a zoneaxis model",
    config_of_another: "is not the config of a zoneaxis model",
    config_is_a_list: "is not the config of a zoneaxis model",
    config_is_binary: "is not the config of a zoneaxis model",
    newer_format: "has format 99, newer than 3: update zoneaxis",
    older_format: "has the old format 1: train the model again",
    odd_format: "is not the config of a zoneaxis model",
    key_missing: "Missing key.*stem.bias",
    key_too_many: "Unexpected key.*surplus",
    another_shape: "size mismatch for stem.bias",
    not_finite: "stem.bias is not finite. Train the model again",
    truncated: "model.safetensors is no safetensors file, or is damaged",
    empty: "model.safetensors is no safetensors file, or is damaged",
    labels_truncated: "labels.safetensors is no safetensors file, or is damaged",
    no_labels: "labels.safetensors is missing",
    other_labels: "lacks 'euler_deg'",
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
    odd_temperature: "temperature = 0.0: expected more than 0",
    odd_log_odds: r"log_odds = \(-1.0, 0.0\): expected a slope above 0",
    half_of_the_log_odds: "does not fit together",
    no_calibration: "lacks 'temperature'",
    unknown_extra: "No further output 'color'",
    extra_that_the_network_lacks: "and 1 further values",
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


def test_what_the_config_tells(matched, tmp_path):
    """Enough to use the network without zoneaxis."""
    calibration = {"temperature": 1.5, "log_odds": (2.0, -0.5), "min_confidence": 0.25}
    indexer = replace(matched, training={"images": 3}, **calibration)
    config = json.loads((indexer.save_pretrained(tmp_path) / "config.json").read_text())
    ours = config.pop("zoneaxis")
    recipe = indexer.recipe
    assert config["architecture"] == "test_zoneaxis_polar"
    assert config["num_classes"] == indexer.labels.n_classes
    assert config["pretrained_cfg"]["input_size"] == [1, 16, 144]
    assert ours["crystal"] == indexer.crystal.to_dict()
    assert ours["optics"] == {
        "voltage_kv": 300.0,
        "convergence_mrad": list(recipe.convergence_mrad),
        "precession_deg": [0.0],
        "k_max_inv_angstrom": recipe.k_max_inv_angstrom,
    }
    assert ours["labels"] == {"classes": indexer.labels.n_orientations, "bins": 24}
    assert ours["preprocessing"]["n_angles"] == 144
    assert ours["recipe"]["convergence_mrad"] == list(recipe.convergence_mrad)
    assert ours["recipe_id"] == recipe.id
    assert ours["calibration"] == {
        "temperature": 1.5,
        "log_odds": [2.0, -0.5],
        "min_confidence": 0.25,
    }
    assert ours["training"] == {"images": 3}
    assert ours["versions"] == {
        "zoneaxis": zoneaxis.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def test_a_checkpoint_before_log_odds(checkpoint, matched):
    def older(config):
        config["zoneaxis"]["format"] = 2
        del config["zoneaxis"]["calibration"]["log_odds"]

    edit(checkpoint, older)
    assert NetworkIndexer.from_pretrained(checkpoint).log_odds == (1.0, 0.0)


# Half precision


def test_half_of_the_space_and_the_same_answers(matched, patterns, tmp_path):
    """Single precision in use, by zoneaxis and by timm; only the file is smaller."""
    whole, half = (matched.save_pretrained(tmp_path / str(h), half=h) for h in (False, True))
    size, halved = ((f / "model.safetensors").stat().st_size for f in (whole, half))
    assert 0.5 * size < halved < 0.56 * size
    loaded = NetworkIndexer.from_pretrained(half)
    by_timm = timm.create_model(f"local-dir:{half}", pretrained=True).eval()
    images = torch.from_numpy(patterns(list(range(len(matched.labels.euler_deg)))))
    images /= images.sum(dim=(1, 2), keepdim=True)
    images = torch.poisson(1e5 * images, torch.Generator().manual_seed(0))
    inputs = matched.preprocess(images, 0.025)
    with torch.inference_mode():
        expected = matched.network.eval()(inputs)
        for network in (loaded.network, by_timm):
            assert {w.dtype for w in network.parameters()} == {torch.float32}
            found = network(inputs)
            assert (found - expected).abs().max() < 0.02
            assert (found.argmax(dim=1) == expected.argmax(dim=1)).float().mean() > 0.99
    assert torch.equal(loaded.network.norm.running_var, matched.network.norm.running_var)


def test_a_weight_beyond_half_precision(matched, tmp_path):
    network = deepcopy(matched.network)
    with torch.no_grad():
        network.head.deep.weight[0, 0] = 1e6
    with pytest.raises(SettingsError, match="A weight of 1e\\+06 has no place in half precision"):
        replace(matched, network=network).save_pretrained(tmp_path, half=True)
    assert not (tmp_path / "config.json").exists()


# A config that came from somebody

ATTACKS = {
    "pickle": {"checkpoint_path": "{trap}"},
    "weights of timm": {"pretrained": True},
    "a file of weights": {"pretrained": True, "pretrained_cfg_overlay": {"file": "{trap}"}},
    "a source of weights": {"pretrained_cfg": {"url": "http://127.0.0.1:9/trap.pth"}},
    "a function": {"norm_layer": "os.system"},
    "a cache": {"cache_dir": "{trap}"},
    "a backbone of the Hub": {"backbone": "hf-hub:somebody/trap"},
    "a backbone of a folder": {"backbone": "local-dir:{folder}"},
    "a network of the Hub": "hf-hub:somebody/trap",
    "a network of a folder": "local-dir:{folder}",
    "a network of timm": "resnet18",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_config_cannot_run_or_download_anything(matched, tmp_path, monkeypatch, attack):
    folder = matched.save_pretrained(tmp_path / "model")
    trap = tmp_path / "trap.pth"
    trap.write_bytes(pickle.dumps(Trap()))
    text = json.dumps(attack).replace("{trap}", str(trap)).replace("{folder}", str(folder))
    attack = json.loads(text)
    if isinstance(attack, str):
        edit(folder, lambda config: config.update(architecture=attack))
    else:
        edit(folder, lambda config: config["model_args"].update(attack))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asked the network"))
    with pytest.raises(CheckpointError, match=r"together: .*(takes no|No network|is no network)"):
        NetworkIndexer.from_pretrained(folder)


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
