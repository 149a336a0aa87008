"""Models to the Hub and back, with the real clients."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from hub_server import TOKEN
from huggingface_hub import HfApi

from zoneaxis.errors import CheckpointError, HubError
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.publish import publish

# huggingface_hub's own call of httpx, in its uploads by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

NAME = "tester/net"
REPOSITORY = f"models/{NAME}"
FILES = {"config.json", "labels.safetensors", "model.safetensors"}
PUSH = """
import sys
from zoneaxis.models.publish import publish
publish(*sys.argv[1:])
"""


def push(hub, folder, **settings):
    return publish(folder, NAME, **{"token": TOKEN, "endpoint": hub.url, **settings})


def pull(hub, name=NAME) -> NetworkIndexer:
    return NetworkIndexer.from_pretrained(name, token=TOKEN, endpoint=hub.url)


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def test_everything_arrives(hub, checkpoint):
    figures = checkpoint / "figures"
    figures.mkdir()
    (figures / "ipf.png").write_bytes(b"a picture")
    (checkpoint / "optimizer.pt").write_bytes(b"a pickle")
    done = push(hub, checkpoint, tag="v1")
    files = hub.files(REPOSITORY, "v1")
    assert set(done.uploaded) == FILES | {"figures/ipf.png"}
    assert set(files) == {*done.uploaded, "README.md", ".gitattributes"}
    assert all(files[name] == (checkpoint / name).read_bytes() for name in done.uploaded)
    card = files["README.md"].decode()
    assert f'NetworkIndexer.from_pretrained("{NAME}")' in card
    assert "library_name: zoneaxis" in card
    assert hub.repositories[REPOSITORY].names == {"main": done.commit, "v1": done.commit}
    assert done.url == f"{hub.url}/{NAME}/commit/{done.commit}"


def test_timm_pulls_the_network(hub, indexer, monkeypatch):
    """By its name on the Hub alone; the architecture is known once zoneaxis is imported."""
    indexer.push_to_hub(NAME, token=TOKEN, endpoint=hub.url)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was asked for"))
    network = timm.create_model(f"hf-hub:{NAME}", pretrained=True).eval()
    inputs = torch.rand(2, *indexer.preprocess.input_size)
    assert torch.equal(network(inputs), indexer.network(inputs))
    assert timm.create_model(f"hf-hub:{NAME}").num_classes == indexer.labels.n_classes


def test_only_what_changed_is_sent(hub, matched):
    settings = {"token": TOKEN, "endpoint": hub.url}
    first = matched.push_to_hub(NAME, private=True, **settings)
    hub.uploads.clear()
    assert matched.push_to_hub(NAME, **settings) == replace(first, uploaded=())
    assert hub.repositories[REPOSITORY].private
    again = replace(matched, min_confidence=0.5).push_to_hub(NAME, **settings)
    assert again.uploaded == ("config.json",)
    assert not hub.uploads
    names = hub.repositories[REPOSITORY].names
    assert len(names) == 3  # main and a tag for each content
    (tag,) = {name for name, commit in names.items() if commit == first.commit}
    assert pull(hub, f"{NAME}@{tag}").min_confidence == 0
    assert pull(hub).min_confidence == 0.5


def test_an_interrupted_push_goes_on(hub, checkpoint, tmp_path):
    """The client is killed while the hub receives its second file."""
    held = hub.hold_second_upload()
    client = hub.client(tmp_path / "home", PUSH, checkpoint, NAME)
    assert held.wait(60)
    client.kill()
    client.wait()
    hub.before = hub.calls.append
    assert set(hub.repositories[REPOSITORY].names) == {"main"}
    with pytest.raises(CheckpointError, match=r"labels\.safetensors is missing"):
        pull(hub)
    (arrived,) = hub.uploads
    hub.uploads.clear()
    push(hub, checkpoint)
    large = {digest for name, digest in digests(checkpoint).items() if name != "config.json"}
    assert set(hub.uploads) == large - {arrived}
    saved = pull(hub).save_pretrained(tmp_path / "again")
    assert digests(saved) == digests(checkpoint)


def test_a_card_edited_on_the_hub_is_kept(hub, checkpoint, matched):
    push(hub, checkpoint)
    pushed = hub.files(REPOSITORY)["README.md"].decode()
    edited = pushed.replace("- zoneaxis\n", "- zoneaxis\n- nickel\n") + "\nSee our paper.\n"
    assert edited.count("nickel") == pushed.count("nickel") + 1
    hub.edit(REPOSITORY, "README.md", edited)
    measured = {"validation_median_deg": 0.7, "validation_patterns": 500}
    trained = replace(matched, training=measured)
    trained.push_to_hub(NAME, token=TOKEN, endpoint=hub.url)
    kept = hub.files(REPOSITORY)["README.md"].decode()
    assert "\nSee our paper.\n" in kept
    assert "- nickel\n" in kept
    assert "value: 0.7" in kept  # the metadata are of the new model


@pytest.mark.parametrize("content", ['{"architecture": "resnet18"}', "no JSON"])
def test_a_repository_of_something_else_is_refused(hub, checkpoint, content):
    HfApi(hub.url, TOKEN).create_repo(NAME, private=False)
    hub.edit(REPOSITORY, "config.json", content)
    before = hub.files(REPOSITORY)
    with pytest.raises(HubError, match=r"holds other files, such as config\.json"):
        push(hub, checkpoint)
    assert hub.files(REPOSITORY) == before


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", None, r"holds no config\.json"),
        ("model.safetensors", None, r"model\.safetensors is missing"),
        ("model.safetensors", b"short", "is damaged"),
        ("README.md", None, r"README\.md cannot be read .*save the model again"),
        ("README.md", "30°".encode("latin-1"), r"README\.md cannot be read .*utf-8"),
    ],
)
def test_a_folder_that_is_not_whole(hub, checkpoint, file, content, words):
    (checkpoint / file).unlink()
    if content:
        (checkpoint / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        push(hub, checkpoint)
    assert not hub.calls


def test_a_bad_name_is_seen_before_anything_is_read(matched, tmp_path):
    with pytest.raises(HubError, match="write user/name"):
        publish(tmp_path / "nowhere", "net")
    with pytest.raises(HubError, match="write user/name"):
        matched.push_to_hub("net")


def test_stale_figures_go(hub, checkpoint):
    (checkpoint / "figures").mkdir()
    for name in ("ipf.png", "training.png"):
        (checkpoint / "figures" / name).write_bytes(b"a picture")
    push(hub, checkpoint)
    hub.edit(REPOSITORY, "notes.md", "theirs")
    shutil.rmtree(checkpoint / "figures")
    assert push(hub, checkpoint).removed == ("figures/ipf.png", "figures/training.png")
    assert "notes.md" in hub.files(REPOSITORY)
