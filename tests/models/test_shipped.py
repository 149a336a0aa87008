"""The default model as it comes with zoneaxis: small, whole, and found by every way to it."""

import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy

import pytest
import timm

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.models import polar
from zoneaxis.models.checkpoint import WEIGHTS, read_config
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.shipped import DEFAULT_MODEL, SHIPPED

ROOT = Path(__file__).parents[2]
FOLDER = SHIPPED / DEFAULT_MODEL
MOST_BYTES = 20e6


def test_timm_knows_the_default_model():
    architecture, tag = DEFAULT_MODEL.split(".")
    cfg = polar.default_cfgs[architecture].cfgs[tag]
    assert cfg.file == str(FOLDER / WEIGHTS)
    assert DEFAULT_MODEL in timm.list_pretrained("zoneaxis*")


def test_no_way_to_it_asks_the_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asked the network"))
    ours = NetworkIndexer.from_pretrained(DEFAULT_MODEL, crystal=load_crystal("LiNiO2"))
    by_timm = timm.create_model(DEFAULT_MODEL, pretrained=True)
    weights = by_timm.state_dict()
    assert all(weights[n].equal(weight) for n, weight in ours.network.state_dict().items())
    assert ours.preprocess.input_size == by_timm.default_cfg["input_size"]


def test_it_is_small_and_says_what_it_is():
    assert (FOLDER / WEIGHTS).stat().st_size <= MOST_BYTES
    assert read_config(FOLDER)["architecture"] == DEFAULT_MODEL.split(".")[0]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "within 5 degrees" in card
    assert "FOLDER" not in card


def test_a_wheel_holds_the_model(tmp_path):
    """Built as pip does, of a copy with a model of a few bytes."""
    project, built = tmp_path / "project", tmp_path / "wheel"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        project.mkdir(exist_ok=True)
        copy(ROOT / name, project)
    (project / "zoneaxis" / "pretrained" / DEFAULT_MODEL / "figures").mkdir(parents=True)
    copy(ROOT / "zoneaxis" / "__init__.py", project / "zoneaxis")
    names = {"README.md", "config.json", "labels.safetensors", "model.safetensors"}
    names |= {"figures/ipf.png"}
    for name in names:
        (project / "zoneaxis" / "pretrained" / DEFAULT_MODEL / name).touch()
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(built)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = built.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"zoneaxis/pretrained/{DEFAULT_MODEL}/{name}" for name in names} <= inside
