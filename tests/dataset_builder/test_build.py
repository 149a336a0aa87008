import hashlib
import multiprocessing
import os
import resource
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from dataset_reader import euler_of, patterns_of, read_split

from zoneaxis.dataset_builder import simulate as module
from zoneaxis.dataset_builder.build import build
from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.recipe import Recipe, preset, read_recipe
from zoneaxis.dataset_builder.schema import CONFIGS, features
from zoneaxis.dataset_builder.simulate import physics_of, simulate
from zoneaxis.errors import DatasetError, OutputError, SettingsError

SHARDS = ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"]


@pytest.fixture(scope="module")
def recipe(nickelate) -> Recipe:
    return preset("test", nickelate, resolution=400, thicknesses=1, size=16, k_max_inv_angstrom=1.0)


@pytest.fixture(scope="module")
def in_one_go(recipe, tmp_path_factory) -> dict[str, str]:
    """What a build in one go in this process leaves behind."""
    return hashes(build(recipe, tmp_path_factory.mktemp("one") / "go", workers=1))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files(in_one_go):
    tables = [f"{config}/{name}.parquet" for config in ("disks", "patterns") for name in SHARDS]
    written = [name for name in in_one_go if not name.startswith("figures/")]
    assert sorted(written) == [
        "README.md",
        "classes/train-00000-of-00001.parquet",
        "croissant.json",
        *tables[:3],
        "manifest.json",
        *tables[3:],
        "recipe.json",
    ]


def test_the_manifest_holds_every_table(tiny_dataset):
    manifest = read_manifest(tiny_dataset)
    found = hashes(tiny_dataset)
    assert set(manifest.files) == {name for name in found if name.endswith(".parquet")}
    assert manifest.id == read_recipe(tiny_dataset).id
    for name, entry in manifest.files.items():
        assert entry.sha256 == found[name]
        assert entry.rows == pq.read_metadata(tiny_dataset / name).num_rows


@pytest.mark.parametrize("config", CONFIGS)
def test_rows_fit_the_schema(tiny_dataset, config):
    from datasets import Features

    schema = pq.read_schema(next((tiny_dataset / config).glob("train-*")))
    assert Features.from_arrow_schema(schema) == features(config)
    assert schema.metadata[b"zoneaxis.recipe"].decode() == read_recipe(tiny_dataset).to_json()


def test_labels(tiny_dataset):
    rows = pq.read_table(tiny_dataset / "patterns").to_pydict()
    phi, phi2 = np.deg2rad(rows["Phi_deg"]), np.deg2rad(rows["phi2_deg"])
    beam = np.stack([np.sin(phi) * np.sin(phi2), np.sin(phi) * np.cos(phi2), np.cos(phi)], 1)
    np.testing.assert_allclose(rows["beam_direction"], beam, atol=1e-5)
    assert set(rows["phi1_deg"]) == {0.0}
    assert set(rows["precession_deg"]) == {0.0}
    assert 1.3 <= min(rows["convergence_mrad"]) < max(rows["convergence_mrad"]) <= 1.8
    assert sorted(set(rows["direction_id"])) == list(range(24))
    thin, thick = np.reshape(rows["thickness_nm"], (-1, 2)).T
    assert ((thin >= 5) & (thin <= 52.5) & (thick >= 52.5) & (thick <= 100)).all()


def test_labels_belong_to_the_patterns(tiny_dataset):
    recipe, train = read_recipe(tiny_dataset), read_split(tiny_dataset)[:]
    expected = np.repeat(recipe.orientations_deg[1:], 2, axis=0)
    np.testing.assert_allclose(euler_of(train), expected, rtol=1e-6)
    # Absorption and the frame's edge keep some of the beam; nothing adds to it.
    total = patterns_of(train).sum(axis=(1, 2))
    assert ((total > 0.2) & (total < 1.001)).all()
    held_out = pq.read_table(tiny_dataset / f"patterns/{SHARDS[2]}.parquet")
    assert held_out.equals(simulate(physics_of(recipe.to_json()), (0,))["patterns"])


def test_resumed_build_has_the_same_bytes(recipe, in_one_go, tmp_path):
    build(recipe, tmp_path, workers=1)
    for name in (f"patterns/{SHARDS[1]}", f"disks/{SHARDS[2]}"):
        (tmp_path / f"{name}.parquet").unlink()
    (tmp_path / f"patterns/.{SHARDS[1]}.incomplete-1.parquet").write_text("half")
    calls = []
    build(recipe, tmp_path, workers=1, progress=lambda *numbers: calls.append(numbers))
    assert hashes(tmp_path) == in_one_go
    assert calls == [(192, 400), (188, 400), (20, 400)]


def test_two_workers_write_the_same_bytes(recipe, in_one_go, tmp_path):
    calls = []
    build(recipe, tmp_path, workers=2, progress=lambda *numbers: calls.append(numbers))
    assert hashes(tmp_path) == in_one_go
    assert sum(done for done, _ in calls) == 400


def test_killed_at_twenty_moments(recipe, in_one_go, tmp_path):
    """A killed build loses the shards in flight, and nothing that bears its name is half."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoneaxis.dataset_builder.build", "datasets", "matplotlib"])
    rng = np.random.default_rng(0)
    folder, kills, finished = tmp_path / "0", 0, 0
    while kills < 20:
        process = context.Process(target=partial(build, recipe, folder, workers=1))
        process.start()
        process.join(rng.uniform(0.1, 1.5))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        found = {name: value for name, value in hashes(folder).items() if "incomplete" not in name}
        assert found.items() <= in_one_go.items()
        if process.exitcode == 0:
            assert found == in_one_go
            finished += 1
            folder = tmp_path / str(finished)
    build(recipe, folder, workers=1)
    assert hashes(folder) == in_one_go


def test_interrupted_build_leaves_complete_shards(recipe, in_one_go, tmp_path, monkeypatch):
    def interrupted(physics, batch, device):
        if 220 in batch:
            raise KeyboardInterrupt
        return simulate(physics, batch, device)

    monkeypatch.setattr(module, "simulate", interrupted)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path, workers=1)
    assert torch.get_num_threads() == threads
    done = hashes(tmp_path)
    assert sorted(done) == [f"{c}/{SHARDS[0]}.parquet" for c in ("disks", "patterns")] + [
        "recipe.json"
    ]
    assert done.items() <= in_one_go.items()


def test_finished_build_starts_nothing(tiny_dataset, monkeypatch):
    monkeypatch.setattr(module, "simulate", None)
    before = hashes(tiny_dataset)
    build(read_recipe(tiny_dataset), tiny_dataset)
    assert hashes(tiny_dataset) == before


def test_rows_held_out_one_by_one(nickelate, tmp_path):
    recipe = preset("test", nickelate, thicknesses=5, split="rows", validation_share=0.2, size=16)
    build(recipe, tmp_path, workers=1)
    train, validation = (
        pq.read_table(tmp_path / f"patterns/{split}-00000-of-00001.parquet").to_pandas()
        for split in ("train", "validation")
    )
    assert (len(train), len(validation)) == (96, 24)
    label = ["direction_id", "thickness_nm"]
    assert not train[label].merge(validation[label]).size
    assert len(set(train["direction_id"]) & set(validation["direction_id"])) > 5


def test_folder_of_another_recipe(recipe, tiny_dataset):
    with pytest.raises(DatasetError, match="another recipe"):
        build(recipe, tiny_dataset)


def test_folder_with_a_damaged_recipe(recipe, tmp_path):
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(DatasetError, match=r"recipe\.json cannot be read"):
        build(recipe, tmp_path)


def test_folder_that_is_a_file(recipe, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OutputError, match="Cannot write to the folder"):
            build(recipe, folder)


def test_full_disk(recipe, in_one_go, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OutputError, match="Free the disk"):
            build(recipe, tmp_path, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(hashes(tmp_path)) == ["recipe.json"]
    build(recipe, tmp_path, workers=1)
    assert hashes(tmp_path) == in_one_go


def test_shard_that_is_a_folder(recipe, tmp_path):
    (tmp_path / f"patterns/{SHARDS[2]}.parquet").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder"):
        build(recipe, tmp_path, workers=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"workers": 0}, "workers"), ({"device": "tpu"}, "device"), ({"device": "cuda:99"}, "device")],
)
def test_settings_of_the_machine(recipe, tmp_path, changes, message):
    with pytest.raises(SettingsError, match=message):
        build(recipe, tmp_path, **changes)
    assert not hashes(tmp_path)
