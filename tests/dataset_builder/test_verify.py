import json
import shutil

import numpy as np
import pytest

from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.verify import largest_gap_deg, verify
from zoneaxis.errors import DatasetError

SHARD = "patterns/train-00000-of-00001.parquet"


@pytest.fixture
def folder(tiny_dataset, tmp_path):
    return shutil.copytree(tiny_dataset, tmp_path / "copy")


def test_a_whole_data_set(folder):
    found = verify(folder)
    assert (found.bad, found.rebuilt, found.changed, found.whole) == ({}, (), (), 5)
    assert (found.files, found.rows, found.directions) == (5, 48, 24)
    assert 5 < found.largest_gap_deg < 20


def test_a_damaged_shard_is_built_again(folder):
    before = read_manifest(folder)
    content = bytearray((folder / SHARD).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / SHARD).write_bytes(content)
    kept = (folder / "disks/validation-00000-of-00001.parquet").stat().st_mtime_ns
    assert verify(folder, rebuild=False).bad == {SHARD: "other content than its checksum says"}
    assert (folder / SHARD).read_bytes() == content
    found = verify(folder, workers=1)
    assert list(found.bad) == [SHARD]
    assert found.rebuilt == (SHARD,)
    assert found.changed == ()
    assert read_manifest(folder) == before
    assert verify(folder).bad == {}
    assert (folder / "disks/validation-00000-of-00001.parquet").stat().st_mtime_ns == kept


def test_missing_and_short_files(folder):
    (folder / SHARD).unlink()
    classes = folder / "classes/train-00000-of-00001.parquet"
    classes.write_bytes(classes.read_bytes()[:-10])
    found = verify(folder, rebuild=False)
    assert found.bad[SHARD] == "missing"
    assert "bytes, expected" in found.bad["classes/train-00000-of-00001.parquet"]
    verify(folder, workers=1)
    assert verify(folder, rebuild=False).bad == {}


def test_a_manifest_that_lies(folder):
    """Checksums agree, but the shard is another one's."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    other = "patterns/validation-00000-of-00001.parquet"
    values["files"][SHARD] = values["files"][other]
    (folder / SHARD).write_bytes((folder / other).read_bytes())
    path.write_text(json.dumps(values))
    assert "rows by the recipe" in verify(folder, rebuild=False).bad[SHARD]
    found = verify(folder, workers=1)
    assert found.changed == (SHARD,)
    assert (
        f'"sha256": "{read_manifest(folder).files[SHARD].sha256}"'
        in (folder / "croissant.json").read_text()
    )
    assert verify(folder).bad == {}


def test_a_stray_file(folder):
    """It would be read as part of the data set; who put it there knows what it is."""
    shutil.copy(folder / SHARD, folder / "patterns/train-00000-of-00007.parquet")
    found = verify(folder, workers=1)
    assert found.bad == {
        "patterns/train-00000-of-00007.parquet": "no file of this data set: remove it"
    }
    assert (found.rebuilt, found.whole) == ((), 5)


def test_a_manifest_with_a_file_too_many(folder):
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    values["files"]["README.md"] = {"sha256": "0" * 64, "bytes": 1, "rows": None}
    path.write_text(json.dumps(values))
    card = (folder / "README.md").read_text()
    assert list(verify(folder, workers=1).bad) == ["README.md"]
    assert (folder / "README.md").read_text() == card
    assert verify(folder).bad == {}


def test_another_manifest(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace(read_manifest(folder).id, "0" * 12))
    with pytest.raises(DatasetError, match=r"put back the recipe\.json"):
        verify(folder)


def test_an_unfinished_build(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(DatasetError, match="unfinished"):
        verify(folder)


def test_gap_of_known_directions(nickelate):
    """From the c axis alone, the farthest direction lies on the equator."""
    assert largest_gap_deg(np.array([[0.0, 0.0]]), nickelate) == pytest.approx(90, abs=1)
    assert largest_gap_deg(np.empty((0, 2)), nickelate) == np.inf
