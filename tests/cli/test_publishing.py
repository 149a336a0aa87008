import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN

from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.scans.writing import write_scan


@pytest.fixture
def hub(hub, monkeypatch, tmp_path):
    """A hub that processes elsewhere find, too."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return hub


@pytest.fixture(scope="module")
def model(nickelate, tmp_path_factory) -> Path:
    recipe = preset("test", nickelate, size=128, inv_angstrom_per_pixel=0.025)
    labels = OrientationLabels.equispaced(nickelate, 20.0, 24)
    indexer = create_indexer("test_zoneaxis_cnn", labels, recipe)
    return indexer.save_pretrained(tmp_path_factory.mktemp("publishing") / "model")


def test_publish(elsewhere, hub, tiny_dataset):
    done = elsewhere("publish", tiny_dataset, "tester/patterns", "--private")
    assert done.returncode == 0, done.stderr
    uploaded, load = done.stdout.splitlines()
    assert f"files uploaded, 0 old ones removed: {hub.url}/datasets/tester/patterns/" in uploaded
    assert load == "datasets.load_dataset('tester/patterns')"
    assert hub.repositories["datasets/tester/patterns"].private


def test_a_model_goes_to_the_hub_and_is_used_from_there(
    elsewhere, run, fails, hub, model, tmp_path
):
    done = elsewhere("publish", model, "tester/net")
    assert done.returncode == 0, done.stderr
    uploaded, use = done.stdout.splitlines()
    assert f"3 files uploaded, 0 old ones removed: {hub.url}/tester/net/commit/" in uploaded
    assert use == "zoneaxis index SCAN --model tester/net --out map.ang"
    files = hub.files("models/tester/net")
    assert files["model.safetensors"] == (model / "model.safetensors").read_bytes()

    scan = write_scan(
        tmp_path / "scan.hspy",
        np.ones((2, 3, 64, 64), np.float32),
        step_nm=1.0,
        inv_angstrom_per_pixel=0.05,
        title="test",
    )
    done = run("index", scan, "--model", "tester/net@main", "--out", tmp_path / "map.ang")
    assert done.code == 0, done.err
    assert "2 x 3 points" in done.out
    nobody = "tester/none is no folder here; on the Hub: there is no such repository"
    fails(nobody, "index", scan, "--model", "tester/none", "--out", tmp_path / "map.ang")
    fails("No model 'none': name a", "index", scan, "--model", "none", "--out", tmp_path / "m.ang")


def test_a_network_is_trained_on_a_data_set_of_the_hub(elsewhere, run, hub, tiny_dataset, tmp_path):
    """The same network as from the folder, though no file of the data set is on this machine."""
    shared = ("--model", "test_zoneaxis_cnn", "--images", 32, "--batch-size", 16)
    shared = ("train", *shared, "--label-step-deg", 20, "--validation-patterns", 16)
    assert elsewhere("publish", tiny_dataset, "tester/patterns").returncode == 0
    done = run(*shared, "--data", "tester/patterns", "--out", tmp_path / "hub")
    assert done.code == 0, done.err
    here = run(*shared, "--data", tiny_dataset, "--out", tmp_path / "here")
    assert here.code == 0, here.err
    first, second = (tmp_path / name / "model.safetensors" for name in ("hub", "here"))
    assert first.read_bytes() == second.read_bytes()
    done = run(*shared, "--data", "tester/nothing", "--out", tmp_path / "none")
    assert done.code == 2
    assert "tester/nothing" in done.err
    assert "Traceback" not in done.err


def test_export(run, model, tmp_path):
    done = run("export", model, "--out", tmp_path / "net.onnx")
    assert done.code == 0, done.err
    size = (tmp_path / "net.onnx").stat().st_size / 1e6
    assert done.out == f"{tmp_path / 'net.onnx'}, {size:.1f} MB\n"


def test_a_folder_anew(run, fails, work, tiny_dataset, tmp_path):
    """In half of the space, calibrated again, with figures that somebody measured."""
    rows = [{"set": "plain", "label": "network", "condition": "a", "n": 9, "within_5": 0.75}]
    figures = tmp_path / "accuracy.json"
    figures.write_text(json.dumps({"rows": rows}))
    out = tmp_path / "small"
    command = "export", work / "model", "--out", out
    done = run(*command, "--half", "--data", tiny_dataset, "--accuracy", figures)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{out}, ")
    sizes = [(f / "model.safetensors").stat().st_size for f in (work / "model", out)]
    assert sizes[1] < 0.56 * sizes[0]
    before, after = map(NetworkIndexer.from_pretrained, (work / "model", out))
    assert after.log_odds == pytest.approx(before.log_odds, rel=0.05)
    assert after.training["accuracy"][0]["within_5"] == 0.75
    assert "| network | 9 |" in (out / "README.md").read_text()
    assert run("index", work / "scan.hspy", "--model", out, "--out", tmp_path / "m.ang").code == 0

    onnx = "export", work / "model", "--out", tmp_path / "net.onnx"
    fails("are for folders, which ONNX is not", *onnx, "--half")
    fails("ONNX files end in .onnx, other models are folders", *onnx[:-1], tmp_path / "net.pt")
    figures.write_text("{}")
    fails("is not what bench_accuracy.py writes", *command, "--accuracy", figures)
    fails("cannot be read", *command, "--accuracy", tmp_path / "none.json")


def test_a_wrong_token(elsewhere, hub, tiny_dataset, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    done = elsewhere("publish", tiny_dataset, "tester/patterns")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: tester/patterns: the token is missing or wrong: log in with")
    assert "secret" not in line


def test_what_needs_no_hub_to_be_wrong(fails, tiny_dataset, model, tmp_path):
    for folder in (tiny_dataset, model):
        fails("write user/name", "publish", folder, "patterns")
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    fails("model.safetensors is missing", "publish", broken, "tester/net")
    fails("neither recipe.json of a data set nor config.json of a", "publish", tmp_path, "a/b")
    fails("No model 'none': name a folder", "export", "none", "--out", tmp_path / "net.onnx")
    fails("Cannot make the folder", "export", model, "--out", model / "config.json" / "net.onnx")
