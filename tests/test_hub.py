import hashlib
from pathlib import Path

import pytest
from hub_server import TOKEN, RefusedError
from huggingface_hub import HfApi

from zoneaxis.errors import HubError
from zoneaxis.hub import one_error, push

# huggingface_hub's own call of httpx, in its uploads by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

NAME = "tester/net"
REPOSITORY = f"models/{NAME}"


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "ipf [001].json").write_text("[]")  # its name is no pattern
    return tmp_path


def pushed(hub, model, **changes):
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(model.iterdir())
    }
    settings = {
        "name": NAME,
        "card": "---\nlicense: mit\n---\n# Net\n",
        "kind": "model",
        "tag": "v1",
        "message": "A net",
        "marker": "config.json",
        "is_ours": lambda text: text == "{}",
        "owned": ("*.safetensors",),
        "token": TOKEN,
        "endpoint": hub.url,
    }
    return push(model, files=files, **settings | changes)


def test_a_model(hub, model):
    first = pushed(hub, model)
    assert first.uploaded == ("config.json", "ipf [001].json", "net.safetensors")
    assert first.url == f"{hub.url}/{NAME}/commit/{first.commit}"
    files = hub.files(REPOSITORY)
    assert set(files) == {".gitattributes", "README.md", *first.uploaded}
    assert files["net.safetensors"] == b"weights"
    assert b"# Net" in files["README.md"]
    again = pushed(hub, model)
    assert (again.uploaded, again.removed, again.commit) == ((), (), first.commit)


@pytest.mark.parametrize("path", ["data.csv", "config.json"])
def test_a_repository_of_something_else_is_refused(hub, model, path):
    HfApi(hub.url, TOKEN).create_repo(NAME, private=False)
    hub.edit(REPOSITORY, path, "theirs")
    before = hub.files(REPOSITORY)
    with pytest.raises(HubError, match=f"holds other files, such as {path}"):
        pushed(hub, model)
    assert hub.files(REPOSITORY) == before


def test_only_our_stale_files_are_removed(hub, model):
    pushed(hub, model)
    for path in ("old.safetensors", "notes.txt"):
        hub.edit(REPOSITORY, path, "theirs")
    done = pushed(hub, model)
    assert (done.uploaded, done.removed) == ((), ("old.safetensors",))
    assert hub.files(REPOSITORY)["notes.txt"] == b"theirs"
    assert "net.safetensors" in hub.files(REPOSITORY)


def test_the_tag_follows_the_newest_commit(hub, model):
    first = pushed(hub, model)
    (model / "config.json").write_text('{"layers": 2}')
    second = pushed(hub, model)
    assert second.uploaded == ("config.json",)
    assert hub.repositories[REPOSITORY].names == {"main": second.commit, "v1": second.commit}
    assert hub.files(REPOSITORY, first.commit)["config.json"] == b"{}"


def test_visibility(hub, model):
    pushed(hub, model, private=True)
    assert hub.repositories[REPOSITORY].private
    pushed(hub, model)  # stays private
    assert hub.repositories[REPOSITORY].private
    hub.repositories[REPOSITORY].private = False
    (model / "config.json").write_text("secret")
    with pytest.raises(HubError, match="is public"):
        pushed(hub, model, private=True)
    assert hub.files(REPOSITORY)["config.json"] == b"{}"


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("the token is missing or wrong: log in", {"token": "hf_secret"}),
        ("the token is missing or wrong: log in", {"token": False}),
        ("may not write there", {"name": "somebody/net"}),
        ("lacks the owner: write user/name", {"name": "net"}),
        ("'a/b/c': Repo id must be", {"name": "a/b/c"}),
        ("'tester/a b': Repo id must use", {"name": "tester/a b"}),
        ("cannot be reached.*refused", {"endpoint": "http://127.0.0.1:9"}),
        ("Illegal header", {"token": "hf_secret\nx"}),
    ],
)
def test_what_is_refused(hub, model, words, changes):
    with pytest.raises(HubError, match=words) as error:
        pushed(hub, model, **changes)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert not hub.repositories


def test_a_full_hub(hub, model):
    def full(call):
        if call.startswith("PUT"):
            raise RefusedError(507, "No storage is left")

    hub.before = full
    with pytest.raises(HubError, match="the hub answers 507, No storage is left"):
        pushed(hub, model)
    assert "v1" not in hub.repositories[REPOSITORY].names


def test_no_such_repository(hub):
    with (
        pytest.raises(HubError, match="tester/nothing: there is no such repository"),
        one_error("tester/nothing"),
    ):
        HfApi(hub.url, TOKEN).repo_info("tester/nothing")


def test_a_card_edited_while_it_is_pushed(hub, model):
    pushed(hub, model)

    def edit(call):
        if "/commit/" in call:
            hub.edit(REPOSITORY, "README.md", "# Mine\n")

    hub.before = edit
    new = "---\nlicense: mit\n---\n# New\n"
    with pytest.raises(HubError, match="somebody changed it in the meantime: run it again"):
        pushed(hub, model, card=new)
    hub.before = hub.calls.append
    pushed(hub, model, card=new)
    assert hub.files(REPOSITORY)["README.md"].endswith(b"---\n# Mine\n")


def test_a_hub_that_goes_away_does_not_pass_for_one_without_card(hub, model):
    pushed(hub, model)
    hub.edit(REPOSITORY, "README.md", "# Mine\n")

    def away(call):
        if call.endswith("README.md"):
            raise RefusedError(403, "Not now")

    hub.before = away
    with pytest.raises(HubError):
        pushed(hub, model)
    assert hub.files(REPOSITORY)["README.md"] == b"# Mine\n"
