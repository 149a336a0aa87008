import hashlib
import resource
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from zoneaxis.dataset_builder import build as module
from zoneaxis.dataset_builder.build import Physics, build, plan, recipe_directions, simulate
from zoneaxis.dataset_builder.recipe import Recipe, preset
from zoneaxis.dataset_builder.schema import features
from zoneaxis.errors import DatasetError, OutputError, SettingsError


@pytest.fixture(scope="module")
def recipe(nickelate) -> Recipe:
    return preset("test", nickelate, resolution=40, thicknesses=1, size=16, k_max_inv_angstrom=1.0)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_BATCHES", 1)


@pytest.fixture(scope="module")
def in_one_go(recipe, tmp_path_factory) -> dict[str, str]:
    """What a build in one go in this process leaves behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_BATCHES", 1)
        return hashes(build(recipe, tmp_path_factory.mktemp("one") / "go", workers=1))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files(in_one_go):
    assert sorted(in_one_go) == [
        "README.md",
        "patterns/train-00000-of-00003.parquet",
        "patterns/train-00001-of-00003.parquet",
        "patterns/train-00002-of-00003.parquet",
        "patterns/validation-00000-of-00001.parquet",
        "recipe.json",
    ]


def test_plan_holds_whole_directions_out(recipe):
    shards = plan(recipe, 40)
    rows = {"train": [], "validation": []}
    for shard in shards:
        rows[shard.split] += [direction for batch in shard.batches for direction in batch]
    assert sorted(rows["train"] + rows["validation"]) == list(range(40))
    assert len(rows["validation"]) == 2
    assert [len(shard.batches) for shard in shards] == [1, 1, 1, 1]


@pytest.mark.parametrize(("share", "held_out"), [(0.0, 0), (0.2, 1), (0.99, 4)])
def test_plan_leaves_something_to_train_on(nickelate, share, held_out):
    recipe = preset("test", nickelate, validation_share=share)
    shards = [shard for shard in plan(recipe, 5) if shard.split == "validation"]
    assert sum(len(batch) for shard in shards for batch in shard.batches) == held_out


def test_rows_fit_the_schema_and_the_recipe(tiny_dataset):
    from datasets import Features

    table = pq.read_table(tiny_dataset / "patterns")
    assert Features.from_arrow_schema(table.schema) == features()
    rows = table.to_pydict()
    phi, phi2 = np.deg2rad(rows["Phi_deg"]), np.deg2rad(rows["phi2_deg"])
    beam = np.stack([np.sin(phi) * np.sin(phi2), np.sin(phi) * np.cos(phi2), np.cos(phi)], 1)
    np.testing.assert_allclose(rows["beam_direction"], beam, atol=1e-5)
    assert set(rows["phi1_deg"]) == {0.0}
    assert set(rows["precession_deg"]) == {0.0}
    assert 1.3 <= min(rows["convergence_mrad"]) < max(rows["convergence_mrad"]) <= 1.8
    assert sorted(set(rows["direction_id"])) == list(range(24))
    thin, thick = np.reshape(rows["thickness_nm"], (-1, 2)).T
    assert ((thin >= 5) & (thin <= 52.5) & (thick >= 52.5) & (thick <= 100)).all()


def test_resumed_build_has_the_same_bytes(recipe, in_one_go, tmp_path):
    build(recipe, tmp_path, workers=1)
    for name in ("train-00001-of-00003", "validation-00000-of-00001"):
        (tmp_path / f"patterns/{name}.parquet").unlink()
    left_behind = tmp_path / "patterns/.train-00001-of-00003.incomplete-1.parquet"
    left_behind.write_text("half")
    calls = []
    build(recipe, tmp_path, workers=1, progress=lambda *numbers: calls.append(numbers))
    assert hashes(tmp_path) == in_one_go
    assert calls == [(22, 40), (16, 40), (2, 40)]


def test_two_workers_write_the_same_bytes(recipe, in_one_go, tmp_path):
    calls = []
    build(recipe, tmp_path, workers=2, progress=lambda *numbers: calls.append(numbers))
    assert hashes(tmp_path) == in_one_go
    assert sum(done for done, _ in calls) == 40


def test_interrupted_build_leaves_complete_shards(recipe, in_one_go, tmp_path, monkeypatch):
    def interrupted(physics: Physics, batch: tuple[int, ...]):
        if 20 in batch:
            raise KeyboardInterrupt
        return simulate(physics, batch)

    monkeypatch.setattr(module, "simulate", interrupted)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path, workers=1)
    assert torch.get_num_threads() == threads
    done = hashes(tmp_path)
    assert sorted(done) == ["patterns/train-00000-of-00003.parquet", "recipe.json"]
    assert done.items() <= in_one_go.items()
    monkeypatch.undo()
    monkeypatch.setattr(module, "SHARD_BATCHES", 1)
    build(recipe, tmp_path, workers=1)
    assert hashes(tmp_path) == in_one_go


def test_finished_build_starts_nothing(tiny_dataset, monkeypatch):
    from zoneaxis.dataset_builder.recipe import read_recipe

    monkeypatch.setattr(module, "SHARD_BATCHES", 12)
    monkeypatch.setattr(module, "simulate", None)
    before = hashes(tiny_dataset)
    build(read_recipe(tiny_dataset), tiny_dataset)
    assert hashes(tiny_dataset) == before


def test_simulation_does_not_depend_on_other_batches(recipe):
    physics = Physics(recipe, recipe_directions(recipe), module._factors(recipe))
    first, _ = simulate(physics, (5, 6)), simulate(physics, (7,))
    assert simulate(physics, (5, 6)) == first


def test_folder_of_another_recipe(recipe, nickelate, tiny_dataset):
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


def test_full_disk(recipe, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OutputError, match="Free the disk"):
            build(recipe, tmp_path, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(hashes(tmp_path)) == ["recipe.json"]


def test_shard_that_is_a_folder(recipe, tmp_path):
    (tmp_path / "patterns/validation-00000-of-00001.parquet").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder"):
        build(recipe, tmp_path, workers=1)


def test_no_workers(recipe, tmp_path):
    with pytest.raises(SettingsError, match="workers"):
        build(recipe, tmp_path, workers=0)
