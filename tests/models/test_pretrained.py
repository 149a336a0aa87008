"""Models by name: folders, those that come with zoneaxis, and the Hub's."""

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, RefusedError
from huggingface_hub import constants

from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.errors import CheckpointError, HubError
from zoneaxis.models import pretrained
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.pretrained import find_pretrained
from zoneaxis.models.shipped import DEFAULT_MODEL

# huggingface_hub's own call of httpx, in its uploads by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

NAME = "tester/net"
REPOSITORY = f"models/{NAME}"
PIXEL = 0.025


@pytest.fixture
def pushed(hub, matched):
    """The hub with a model, and a pickle that somebody put beside it."""
    matched.push_to_hub(NAME, tag="v1", private=True, token=TOKEN, endpoint=hub.url)
    hub.edit(REPOSITORY, "pytorch_model.bin", "a pickle")
    hub.edit(REPOSITORY, "figures/ipf.png", "a picture")
    hub.calls.clear()
    return hub


def pull(hub, name=NAME, **settings) -> NetworkIndexer:
    settings = {"token": TOKEN, "endpoint": hub.url} | settings
    return NetworkIndexer.from_pretrained(name, **settings)


def changed(crystal: Crystal, **values) -> Crystal:
    return Crystal.from_dict(crystal.to_dict() | values)


# On this machine


def test_a_folder_comes_first(checkpoint, matched, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    matched.save_pretrained(tmp_path / "tester" / "net")
    assert find_pretrained("model") == Path("model")
    assert find_pretrained(NAME) == Path(NAME)
    assert find_pretrained(checkpoint) == checkpoint
    assert find_pretrained(Path("nobody/nothing")) == Path("nobody/nothing")
    assert NetworkIndexer.from_pretrained(NAME).recipe == matched.recipe


def test_models_that_come_with_zoneaxis(matched, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    folder = matched.save_pretrained(tmp_path / "shipped" / "LiNiO2-polar")
    (tmp_path / "shipped" / "notes").mkdir()
    assert pretrained.shipped_models() == ["LiNiO2-polar"]
    assert find_pretrained("LiNiO2-polar") == folder
    with pytest.raises(CheckpointError, match="No model 'notes': name a folder") as error:
        find_pretrained("notes")
    for words in ("user/name of the Hugging Face Hub", "that comes with zoneaxis (LiNiO2-polar)."):
        assert words in str(error.value)


def test_the_default_model(matched, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match=r"comes without its default model .* \(--model\)"):
        NetworkIndexer.from_pretrained()
    replace(matched, min_confidence=0.5).save_pretrained(tmp_path / DEFAULT_MODEL, half=True)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asked the network"))
    assert NetworkIndexer.from_pretrained().min_confidence == 0.5
    assert NetworkIndexer.from_pretrained(DEFAULT_MODEL).min_confidence == 0.5


@pytest.mark.parametrize("name", ["", "..", "a/b/c", "a b/c", "a/b@", "@v1", "a@v1", "/no/where"])
def test_names_of_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="name a folder that `train` wrote"):
        NetworkIndexer.from_pretrained(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": (2.95, 2.95, 14.19, 90.0, 90.0, 120.0)}, "cell 2.878, .*, not 2.95,"),
        ({"numbers": [27] * 3 + [3] * 3 + [8] * 6}, "sites Li3 Ni3 O6, not Co3 Li3 O6"),
        ({"space_group": 160}, "space group 166, not 160"),
    ],
)
def test_another_crystal(checkpoint, nickelate, changes, words):
    other = changed(nickelate, name="other", **changes)
    message = f"{checkpoint} is a model of LiNiO2 .{words}.*: take one of other, or train it"
    with pytest.raises(CheckpointError, match=message):
        NetworkIndexer.from_pretrained(checkpoint, crystal=other)


def test_another_refinement_of_the_crystal(checkpoint, nickelate):
    cell = (2.88, 2.88, 14.2, 90.0, 90.0, 120.0)
    other = changed(nickelate, name="mine", cell=cell, b_iso_angstrom2=[0.5] * 12)
    indexer = NetworkIndexer.from_pretrained(checkpoint, crystal=other)
    assert indexer.crystal.cell == load_crystal("LiNiO2").cell


# On the Hub


def test_pull(pushed, matched, patterns):
    images = patterns([3, 17])
    found = pull(pushed).index(images, PIXEL)
    expected = matched.index(images, PIXEL)
    np.testing.assert_array_equal(found.euler_deg, expected.euler_deg)
    np.testing.assert_array_equal(found.score, expected.score)
    files = {
        path.name
        for path in Path(constants.HF_HUB_CACHE).glob("models--tester--net/snapshots/*/**/*")
    }
    assert files == {"config.json", "labels.safetensors", "model.safetensors", "README.md"}
    assert not [call for call in pushed.calls if call.endswith((".bin", ".png"))]
    pushed.calls.clear()
    pull(pushed)
    assert not [call for call in pushed.calls if "/resolve/" in call]  # nothing comes twice


def test_a_revision(pushed, matched):
    replace(matched, min_confidence=0.5).push_to_hub(NAME, token=TOKEN, endpoint=pushed.url)
    commit = pushed.repositories[REPOSITORY].names["v1"]
    assert pull(pushed).min_confidence == 0.5
    for revision in ("v1", commit):
        assert pull(pushed, f"{NAME}@{revision}").min_confidence == 0
    with pytest.raises(HubError, match="tester/net on the Hub has no tag, branch or commit v2"):
        pull(pushed, f"{NAME}@v2")


def unreachable(_call):
    raise RefusedError(503, "Away")


@pytest.mark.parametrize("way", ["nobody there", "out of order", "offline"])
def test_a_hub_that_is_away(pushed, monkeypatch, way):
    """What the cache holds is used; what it lacks is an error that says so."""
    pull(pushed, f"{NAME}@v1")
    settings = {"endpoint": "http://127.0.0.1:9"} if way == "nobody there" else {}
    if way == "out of order":
        pushed.before = unreachable
    if way == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pull(pushed, f"{NAME}@v1", **settings).architecture == "test_zoneaxis_polar"
    words = {
        "nobody there": "the hub cannot be reached",
        "out of order": "the hub answers 503, Away",
        "offline": "offline mode is enabled",
    }[way]
    with pytest.raises(HubError, match=f"tester/other is no folder here; on the Hub: .*{words}"):
        pull(pushed, "tester/other", **settings)


def test_an_interrupted_pull_is_no_model(pushed, monkeypatch):
    """Nor is it taken for one when the hub is away; later it goes on."""
    pull(pushed)
    (weights,) = Path(constants.HF_HUB_CACHE).glob("**/snapshots/*/model.safetensors")
    weights.resolve().unlink()
    weights.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="offline mode is enabled"):
        pull(pushed)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    pushed.calls.clear()
    assert pull(pushed).architecture == "test_zoneaxis_polar"
    downloads = {call.split("/")[-1] for call in pushed.calls if "/resolve/" in call}
    assert downloads == {"model.safetensors"}


@pytest.mark.parametrize("token", ["hf_secret", False])
def test_a_model_that_is_not_for_everybody(pushed, token):
    with pytest.raises(
        HubError, match="there is no such repository, or the token may not"
    ) as error:
        pull(pushed, token=token)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"architecture": "resnet18"}', "is not the config of a zoneaxis model"),
        ('{"zoneaxis": {"format": 99}}', "newer than 3: update zoneaxis"),
        (None, "holds no config.json"),
    ],
)
def test_a_repository_of_something_else(pushed, config, words):
    """It is seen before the weights come."""
    if config is None:
        files = pushed.files(REPOSITORY)
        pushed.repositories[REPOSITORY].commit(
            {name: data for name, data in files.items() if name != "config.json"}
        )
    else:
        pushed.edit(REPOSITORY, "config.json", config)
    with pytest.raises(CheckpointError, match=f"tester/net on the Hub: .*{words}"):
        pull(pushed)
    assert not [call for call in pushed.calls if call.endswith(".safetensors")]
