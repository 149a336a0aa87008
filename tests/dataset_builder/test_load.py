import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from zoneaxis.dataset_builder.load import open_dataset
from zoneaxis.dataset_builder.simulate import physics_of, simulate
from zoneaxis.errors import DatasetError

TRAIN = "patterns/train-00000-of-00001.parquet"


@pytest.fixture
def copy(tiny_dataset, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))


def test_batches(tiny_dataset):
    dataset = open_dataset(tiny_dataset)
    assert (dataset.rows("train"), dataset.rows("validation"), dataset.rows("test")) == (46, 2, 0)
    assert dataset.crystal.name == "LiNiO2"
    rows = np.array([40, 3, 3])
    patterns, euler = dataset.batch("train", rows)
    assert patterns.shape == (3, 32, 32)
    assert patterns.dtype == torch.float32
    assert torch.equal(patterns[1], patterns[2])
    assert euler.shape == (3, 3)
    # Absorption and the frame's edge keep some of the beam; nothing adds to it.
    assert ((patterns.sum(dim=(1, 2)) > 0.2) & (patterns.sum(dim=(1, 2)) < 1.001)).all()


def test_labels_belong_to_the_patterns(tiny_dataset):
    dataset = open_dataset(tiny_dataset)
    orientations = dataset.recipe.orientations_deg
    _, euler = dataset.batch("validation", np.array([0, 1]))
    np.testing.assert_allclose(euler, orientations[[0, 0]], rtol=1e-6)
    first = simulate(physics_of(dataset.recipe.to_json()), (0,))["patterns"]
    stored = pq.read_table(tiny_dataset / "patterns/validation-00000-of-00001.parquet")
    assert stored.equals(first)


def test_every_row_is_read(tiny_dataset):
    dataset = open_dataset(tiny_dataset)
    _, euler = dataset.batch("train", np.arange(46))
    expected = np.repeat(dataset.recipe.orientations_deg[1:], 2, axis=0)
    np.testing.assert_allclose(euler, expected, rtol=1e-6)


def test_opening_leaves_no_copy(tiny_dataset, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    open_dataset(tiny_dataset).batch("train", np.arange(4))
    assert not list(tmp_path.iterdir())


def test_no_folder_no_recipe(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DatasetError, match=r"holds no recipe\.json"):
            open_dataset(folder)


def test_no_parquet(copy):
    shutil.rmtree(copy / "patterns")
    with pytest.raises(DatasetError, match=r"train-00000.* is missing.*zoneaxis verify"):
        open_dataset(copy)


def test_unfinished_build(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(DatasetError, match="its build is unfinished: run the build again"):
        open_dataset(copy)


@pytest.mark.parametrize("damage", [b"", b"no Parquet", "half", "middle"])
def test_damaged_parquet(copy, damage):
    path = copy / TRAIN
    whole = path.read_bytes()
    if damage == "half":
        damage = whole[: len(whole) // 2]
    elif damage == "middle":
        damage = whole[:1000] + bytes(2000) + whole[3000:]
    path.write_bytes(damage)
    with pytest.raises(DatasetError, match=r"train-00000.*zoneaxis verify .*builds it again"):
        open_dataset(copy)


def test_missing_column(copy):
    path = copy / TRAIN
    pq.write_table(pq.read_table(path).drop_columns("phi2_deg"), path)
    with pytest.raises(DatasetError, match=r"expected .*phi2_deg"):
        open_dataset(copy)


def test_column_of_another_type(copy):
    path = copy / TRAIN
    table = pq.read_table(path)
    number = table.schema.get_field_index("Phi_deg")
    column = pa.array(["steep"] * len(table))
    pq.write_table(table.set_column(number, "Phi_deg", column), path)
    with pytest.raises(DatasetError, match="of `build`'s types"):
        open_dataset(copy)


def test_missing_rows(copy):
    path = copy / TRAIN
    pq.write_table(pq.read_table(path).slice(0, 10), path)
    with pytest.raises(DatasetError, match="10 rows, expected 46"):
        open_dataset(copy)


def test_image_that_is_no_png(copy):
    path = copy / TRAIN
    table = pq.read_table(path)
    images = [{"bytes": b"no PNG", "path": None}] * len(table)
    column = pa.array(images, type=table.schema.field("image").type)
    pq.write_table(table.set_column(0, table.schema.field("image"), column), path)
    with pytest.raises(DatasetError, match="image that cannot be read"):
        open_dataset(copy).batch("train", np.arange(4))
