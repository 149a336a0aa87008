import pytest
from hub_server import TOKEN, Hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub for processes elsewhere; here the client has read its variables already."""
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield hub


def test_publish(elsewhere, hub, tiny_dataset):
    done = elsewhere("publish", tiny_dataset, "tester/patterns", "--private")
    assert done.returncode == 0, done.stderr
    uploaded, load = done.stdout.splitlines()
    assert f"files uploaded, 0 old ones removed: {hub.url}/datasets/tester/patterns/" in uploaded
    assert load == "datasets.load_dataset('tester/patterns')"
    assert hub.repositories["datasets/tester/patterns"].private


def test_a_wrong_token(elsewhere, hub, tiny_dataset, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    done = elsewhere("publish", tiny_dataset, "tester/patterns")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: tester/patterns: the token is missing or wrong: log in with")
    assert "secret" not in line


def test_what_needs_no_hub_to_be_wrong(fails, tiny_dataset, tmp_path):
    fails("write user/name", "publish", tiny_dataset, "patterns")
    fails("recipe.json", "publish", tmp_path, "tester/patterns")
