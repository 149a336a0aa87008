import dataclasses
import pickle
import shutil
from itertools import chain
from operator import itemgetter
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dataset_reader import read_split
from torch.utils.data import DataLoader, DistributedSampler

from zoneaxis.dataset_builder import stream as stream_module
from zoneaxis.dataset_builder.png import encode_png
from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.schema import features
from zoneaxis.dataset_builder.stream import PatternStream, shuffled_rows
from zoneaxis.dataset_builder.transforms import Transform
from zoneaxis.errors import DatasetError, SettingsError

SHARDS = ((10, 10, 10, 3), (10, 10, 4))  # rows of their row groups
ROWS = 57
PLAIN = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
LAST = "train-00001-of-00002.parquet"

# DataLoader warns of more workers than cores, Python 3.12 of forks of a process with threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@dataclasses.dataclass(frozen=True)
class Noise:
    """A transform as small as can be: draws by seed, epoch and the identity of the rows."""

    seed: int = 0
    epoch: int = 0

    def __call__(self, rows):
        ids = rows["direction_id"].tolist()
        rng = np.random.default_rng([self.seed, self.epoch, *ids])
        pattern = torch.from_numpy(rows["image"].astype(np.float32) + rng.random((len(ids), 8, 8)))
        return {"pattern": pattern, "direction_id": torch.tensor(ids)}


def row(number: int) -> dict:
    image = {"bytes": encode_png(np.full((8, 8), number, np.uint16)), "path": None}
    labels = dict.fromkeys(features(), number)
    return {**labels, "image": image, "beam_direction": [0, 0, number]}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """57 rows, numbered, in seven row groups of two files."""
    folder = tmp_path_factory.mktemp("stream") / "set[1]"
    (folder / "patterns").mkdir(parents=True)
    schema, number = features().arrow_schema, 0
    for shard, sizes in enumerate(SHARDS):
        path = folder / "patterns" / f"train-{shard:05d}-of-{len(SHARDS):05d}.parquet"
        with pq.ParquetWriter(path, schema, **PLAIN) as writer:
            for size in sizes:
                rows = [row(i) for i in range(number, number + size)]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                number += size
    return folder


@pytest.fixture
def copy(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def ids(batches) -> list[list[int]]:
    return [batch["direction_id"].tolist() for batch in batches]


def joined(lists) -> list[int]:
    return list(chain.from_iterable(lists))


@pytest.mark.parametrize("window", [1, 3, 7, 100])
@pytest.mark.parametrize("batch_size", [1, 8, 19, 100])
def test_each_row_once_an_epoch(written, window, batch_size):
    stream = PatternStream(written, batch_size=batch_size, window=window, epochs=2)
    n = stream.batches_per_epoch
    assert len(stream) == 2 * n
    batches = ids(stream)
    assert {len(batch) for batch in batches} == {min(batch_size, ROWS), len(batches[-1])}
    first, second = joined(batches[:n]), joined(batches[n:])
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first == stream._rows(0).tolist() != second
    if batch_size > ROWS:
        with pytest.raises(SettingsError, match="less than a batch of 100"):
            PatternStream(written, batch_size=batch_size, drop_last=True)
        return
    whole = PatternStream(written, batch_size=batch_size, window=window, drop_last=True)
    assert {len(batch) for batch in ids(whole)} <= {batch_size}
    assert len(whole) == ROWS // batch_size


def test_columns_belong_together(written):
    for batch in PatternStream(written, batch_size=10):
        assert batch["image"].dtype == np.uint16
        assert batch["image"].shape == (len(batch["direction_id"]), 8, 8)
        for column in (batch["image"][:, 3, 5], batch["Phi_deg"], batch["beam_direction"][:, 2]):
            np.testing.assert_array_equal(column, batch["direction_id"])


def test_a_built_data_set(tiny_dataset):
    expected = read_split(tiny_dataset)[:]
    (batch,) = PatternStream(tiny_dataset, batch_size=len(expected["image"]))
    assert set(batch) == set(expected)
    order = np.lexsort((batch["thickness_nm"], batch["direction_id"]))
    for name, values in expected.items():
        np.testing.assert_array_equal(batch[name][order], np.stack(values), name)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_change_nothing(written, workers):
    stream = PatternStream(written, transform=Noise(), batch_size=9, epochs=2)
    expected = list(stream)
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    for got, batch in zip(loader, expected, strict=True):
        assert torch.equal(got["pattern"], batch["pattern"])
        assert torch.equal(got["direction_id"], batch["direction_id"])


@pytest.mark.parametrize("workers", [1, 2])
def test_augmented_by_workers(tiny_dataset, workers):
    transform = Transform.of_recipe(read_recipe(tiny_dataset), seed=3)
    stream = PatternStream(tiny_dataset, transform=transform, batch_size=20, epochs=2)
    loader = DataLoader(stream, batch_size=None, num_workers=workers, sampler=stream.numbers(1))
    for got, number in zip(loader, stream.numbers(1), strict=True):
        expected = stream[number]
        assert set(got) == set(expected)
        assert all(torch.equal(got[name], expected[name]) for name in got)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_the_batches(written, workers, ranks):
    stream = PatternStream(written, columns=["direction_id"], batch_size=8)  # 8 batches
    shares = []
    for rank in range(ranks):
        numbers = stream.numbers(0, rank, ranks, even=False)
        shares.append(ids(DataLoader(stream, None, sampler=numbers, num_workers=workers)))
    whole = ids(stream)
    assert shares == [whole[rank::ranks] for rank in range(ranks)]
    even = [stream.numbers(0, rank, ranks) for rank in range(ranks)]
    assert {len(numbers) for numbers in even} == {8 // ranks}
    assert sorted(joined(even)) == list(range(8 // ranks * ranks))


def test_a_sampler_that_shards(written):
    stream = PatternStream(written, batch_size=8)
    for rank in range(3):
        sampler = DistributedSampler(stream, 3, rank, shuffle=False, drop_last=True)
        loader = DataLoader(stream, batch_size=1, sampler=sampler, collate_fn=itemgetter(0))
        assert ids(loader) == ids(stream[k] for k in stream.numbers(0, rank, 3))


@pytest.mark.parametrize("ranks", [1, 2])
def test_resume_at_every_step(written, ranks):
    stream = PatternStream(written, transform=Noise(), batch_size=8, window=2, epochs=2)
    whole = list(stream)
    for step in range(len(stream) // ranks):
        anew = PatternStream(written, transform=Noise(), batch_size=8, window=2, epochs=2)
        numbers = anew.numbers(step, ranks - 1, ranks)
        rest = whole[ranks - 1 :: ranks][step:]
        for got, batch in zip(map(anew.__getitem__, numbers), rest, strict=True):
            assert torch.equal(got["pattern"], batch["pattern"])


def test_seeds_and_epochs(written):
    def first(**settings):
        return PatternStream(written, transform=Noise(), **settings)[0]

    assert torch.equal(first(seed=1)["pattern"], first(seed=1)["pattern"])
    assert first(seed=1)["direction_id"].tolist() != first(seed=2)["direction_id"].tolist()
    augmented = PatternStream(written, transform=Noise(7), epochs=2)
    for number, rows in enumerate(PatternStream(written, epochs=2)):
        expected = Noise(7, epoch=number)(rows)
        assert torch.equal(augmented[number]["pattern"], expected["pattern"])


def test_order_mixes_the_window_and_no_more():
    rng = np.random.default_rng(0)
    group = shuffled_rows(np.full(40, 100), 8, rng) // 100
    for start in range(0, 4000, 200):
        chosen = np.bincount(group[start : start + 200], minlength=40)
        assert 8 <= (chosen > 0).sum() <= 11
        assert chosen.max() < 50  # 200 rows / 8 groups = 25 expected of each


def test_whole_window_is_uniform():
    rng = np.random.default_rng(0)
    orders = np.array([shuffled_rows(np.array([2, 1, 1]), 3, rng) for _ in range(4800)])
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 49.7  # chi-square, 23 degrees of freedom, p = 0.001


def test_memory_holds_the_window(written, monkeypatch):
    opened = []
    real = stream_module._opened
    stream = PatternStream(written, batch_size=2, window=2, epochs=20)
    monkeypatch.setattr(stream_module, "_opened", lambda *a: opened.append(a) or real(*a))
    held = [len(stream._held) for _ in stream]
    assert max(held) <= 2 + 2 + 1
    # Of the ring, the groups at its seam are read twice an epoch.
    assert len(opened) <= 20 * (7 + 2)


def test_memory_holds_the_batch(written):
    stream = PatternStream(written, batch_size=30, window=1)
    assert sorted(joined(ids(stream))) == list(range(ROWS))
    assert len(stream._held) <= 1 + 2 + 30 * 7 // ROWS


def test_pickled_for_other_processes(written):
    stream = PatternStream(written, transform=Noise(), batch_size=8)
    again = pickle.loads(pickle.dumps(stream))
    assert torch.equal(again[3]["pattern"], stream[3]["pattern"])


def test_columns(written):
    stream = PatternStream(written, columns=["direction_id", "Phi_deg"])
    assert list(stream[0]) == ["direction_id", "Phi_deg"]
    with pytest.raises(SettingsError, match="no column colour, size"):
        PatternStream(written, columns=["image", "size", "colour"])


def test_lists_of_unequal_lengths(tmp_path):
    (tmp_path / "disks").mkdir()
    lists = pa.table({"h": [[1, 2], [3], []], "direction_id": [2, 1, 0]})
    pq.write_table(lists, tmp_path / "disks" / "train-00000-of-00001.parquet")
    stream = PatternStream(tmp_path, config="disks")
    (batch,) = DataLoader(stream, batch_size=None)
    assert [len(h) for h in batch["h"]] == batch["direction_id"].tolist()


def test_any_file_system(written):
    memory = fsspec.filesystem("memory")
    for path in (written / "patterns").iterdir():
        memory.pipe(f"/user/name/patterns/{path.name}", path.read_bytes())
    try:
        remote = ids(PatternStream("memory://user/name", batch_size=8))
    finally:
        memory.rm("/user", recursive=True)
    assert remote == ids(PatternStream(written, batch_size=8))


def test_settings_out_of_range(written):
    for name, value in {"batch_size": 0, "epochs": 0, "window": 0, "seed": -1}.items():
        with pytest.raises(SettingsError, match=f"{name} = {value}: expected"):
            PatternStream(written, **{name: value})
    with pytest.raises(IndexError):
        PatternStream(written)[-1]


def test_no_data_set(written, tmp_path):
    with pytest.raises(DatasetError, match="patterns holds no test-00000"):
        PatternStream(written, "test")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match="patterns cannot be read"):
            PatternStream(folder)


def test_missing_shard(copy):
    stream = PatternStream(copy)
    path = copy / "patterns" / LAST
    path.rename(path.with_name(f".{path.stem}.incomplete-1.parquet"))  # as during a build
    with pytest.raises(DatasetError, match=f"lacks 1 of 2 files, such as {LAST}"):
        PatternStream(copy)
    with pytest.raises(DatasetError, match=f"{LAST} is missing or damaged"):
        list(stream)


def test_damaged_shard(copy):
    path = copy / "patterns" / LAST
    whole = path.read_bytes()
    for damaged in (b"", b"no Parquet", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=f"{LAST} is missing or damaged"):
            PatternStream(copy)
    assert np.float32(40).tobytes() in whole  # a label, which nothing but the checksum protects
    path.write_bytes(whole.replace(np.float32(40).tobytes(), np.float32(41).tobytes(), 1))
    with pytest.raises(DatasetError, match=f"{LAST} is missing or damaged"):
        list(PatternStream(copy))


def test_foreign_columns(copy):
    path = copy / "patterns" / LAST
    table = pq.read_table(path)
    place, words = table.schema.get_field_index("Phi_deg"), pa.array(["steep"] * len(table))
    for foreign in (table.remove_column(place), table.set_column(place, "Phi_deg", words)):
        pq.write_table(foreign, path)
        with pytest.raises(DatasetError, match=f"{LAST} has other columns than the first"):
            PatternStream(copy)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_image(copy, workers):
    path = copy / "patterns" / LAST
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[15]["image"]["bytes"] = rows[15]["image"]["bytes"][:-20] + bytes(20)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path, row_group_size=10)
    loader = DataLoader(PatternStream(copy, batch_size=8), batch_size=None, num_workers=workers)
    with pytest.raises(DatasetError, match=f"{LAST} has an image in row group 1 that cannot"):
        list(loader)
