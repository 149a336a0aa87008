import json
from pathlib import Path

import pytest

from zoneaxis.dataset_builder.manifest import (
    FileEntry,
    Manifest,
    damaged,
    file_entry,
    read_manifest,
    write_manifest,
)
from zoneaxis.errors import DatasetError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180-2


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "patterns").mkdir()
    for name in ("a", "b"):
        (tmp_path / "patterns" / name).write_text("abc")
    return tmp_path


@pytest.fixture
def manifest(folder) -> Manifest:
    names = ("patterns/b", "patterns/a")
    return Manifest("0123456789ab", {name: file_entry(folder / name, 7) for name in names})


def test_entry(folder):
    assert file_entry(folder / "patterns/a") == FileEntry(ABC, 3)
    assert file_entry(folder / "patterns/a", rows=7) == FileEntry(ABC, 3, 7)
    with pytest.raises(DatasetError, match="nowhere cannot be read: No such file"):
        file_entry(folder / "nowhere")


def test_round_trip(folder, manifest):
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    first = (folder / "manifest.json").read_bytes()
    write_manifest(folder, Manifest(manifest.id, dict(reversed(manifest.files.items()))))
    assert (folder / "manifest.json").read_bytes() == first


def test_unfinished(tmp_path):
    with pytest.raises(DatasetError, match=r"no manifest\.json.*run the build again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 0}, "format 0"),
        ({"files": []}, "damaged"),
        ({"files": {"a": {"sha256": ABC, "bytes": "3"}}}, "bytes = '3'"),
        ({"files": {"a": {"sha256": ABC, "size": 3}}}, "size"),
        ({"files": {"../a": {"sha256": ABC, "bytes": 3}}}, "outside the folder"),
    ],
)
def test_damaged_manifest(folder, manifest, change, words):
    write_manifest(folder, manifest)
    path = folder / "manifest.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | change))
    with pytest.raises(DatasetError, match=words):
        read_manifest(folder)
    path.write_text(whole[:-5])
    with pytest.raises(DatasetError, match="remove it and run the build again"):
        read_manifest(folder)


def test_damaged_files(folder, manifest):
    assert damaged(folder, manifest) == {}
    (folder / "patterns/a").write_text("abd")
    assert damaged(folder, manifest, hashes=False) == {}
    assert damaged(folder, manifest) == {"patterns/a": "other content than its checksum says"}
    (folder / "patterns/a").write_text("ab")
    (folder / "patterns/b").unlink()
    expected = {"patterns/b": "missing", "patterns/a": "2 bytes, expected 3"}
    assert damaged(folder, manifest, hashes=False) == expected
