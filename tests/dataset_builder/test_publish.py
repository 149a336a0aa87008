import hashlib
import inspect
import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import TOKEN, is_lfs
from PIL import Image

from zoneaxis.dataset_builder.manifest import Manifest, file_entry, read_manifest, write_manifest
from zoneaxis.dataset_builder.publish import publish
from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.errors import DatasetError, HubError

# huggingface_hub's own call of httpx, in its uploads by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

NAME = "tester/patterns"
REPOSITORY = f"datasets/{NAME}"
TRAIN = "patterns/train-00000-of-00001.parquet"
VALIDATION = "patterns/validation-00000-of-00001.parquet"
DISKS = "disks/train-00000-of-00001.parquet"

PUSH = """
import sys
from zoneaxis.dataset_builder.publish import publish
publish(*sys.argv[1:])
"""


def digest(rows) -> str:
    """Hash of the levels of every image and of every label, bit for bit."""
    found = hashlib.sha256()
    for row in rows:
        if "image" in row:
            levels = np.asarray(row.pop("image"))
            assert levels.dtype == np.uint16
            found.update(levels.tobytes())
        found.update(json.dumps(row, sort_keys=True).encode())
    return found.hexdigest()


LOAD = f"""
import hashlib
import json
import sys
import numpy as np
from datasets import load_dataset
{inspect.getsource(digest)}
for revision in sys.argv[2:]:
    for config in ("patterns", "disks"):
        for streaming in (False, True):
            splits = load_dataset(sys.argv[1], config, revision=revision, streaming=streaming)
            print(digest(splits["train"]))
assert "zoneaxis" not in sys.modules
"""


def local_digests(folder: Path) -> list[str]:
    """The digests of the training rows, patterns and disks, by pyarrow and Pillow alone."""
    patterns, disks = (pq.read_table(folder / name).to_pylist() for name in (TRAIN, DISKS))
    for row in patterns:
        row["image"] = Image.open(io.BytesIO(row["image"]["bytes"]))
    return [digest(patterns), digest(disks)]


@pytest.fixture
def folder(tiny_dataset, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_dataset, tmp_path / "folder"))


def push(hub, folder, **options):
    return publish(folder, NAME, token=TOKEN, endpoint=hub.url, **options)


def change(folder: Path, file: str) -> None:
    """Turn the order of a shard's rows around, and say so in the manifest."""
    table = pq.read_table(folder / file)
    pq.write_table(table.take(pa.array(range(len(table))[::-1])), folder / file)
    manifest = read_manifest(folder)
    changed = {file: file_entry(folder / file, len(table))}
    write_manifest(folder, Manifest(manifest.id, manifest.files | changed))


def change_recipe(folder: Path) -> str:
    with (folder / "recipe.json").open("a") as recipe:
        recipe.write("\n")
    new = file_entry(folder / "recipe.json").sha256[:12]
    write_manifest(folder, replace(read_manifest(folder), id=new))
    return new


def test_everything_arrives(hub, folder):
    done = push(hub, folder)
    files = hub.files(REPOSITORY)
    expected = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(files) == expected | {".gitattributes"}
    assert set(done.uploaded) == expected - {"README.md"}
    assert all(files[name] == (folder / name).read_bytes() for name in done.uploaded)
    names = {"main": done.commit, read_recipe(folder).id: done.commit}
    assert hub.repositories[REPOSITORY].names == names
    assert f'load_dataset("{NAME}"' in files["README.md"].decode()


def test_load_dataset_gives_the_same_bits(hub, folder, tmp_path):
    """The newest version and the first one, read at once and streamed, by `datasets` alone."""
    push(hub, folder, private=True)
    first = read_manifest(folder).id
    old = local_digests(folder)
    change_recipe(folder)
    change(folder, TRAIN)
    push(hub, folder)
    new = local_digests(folder)
    assert (new[0] != old[0], new[1] == old[1]) == (True, True)
    arguments = (NAME, "main", first)
    done = hub.client(tmp_path / "home", LOAD, *arguments, stdout=subprocess.PIPE)
    found = done.communicate()[0].split()
    assert done.returncode == 0
    assert found[::2] == found[1::2] == [*new, *old]


def test_only_what_changed_is_sent(hub, folder):
    first = push(hub, folder)
    hub.uploads.clear()
    hub.calls.clear()
    assert push(hub, folder) == replace(first, uploaded=())
    assert not hub.uploads
    assert not [call for call in hub.calls if "commit" in call or "/tag/" in call]
    change(folder, VALIDATION)
    done = push(hub, folder)
    assert set(done.uploaded) == {VALIDATION, "manifest.json"}
    assert hub.uploads == [file_entry(folder / VALIDATION).sha256]


def test_an_interrupted_push_goes_on(hub, folder, tmp_path):
    """The client is killed while the hub receives its second file."""
    large = {file_entry(path).sha256 for path in folder.rglob("*") if is_lfs(path.name)}
    held = hub.hold_second_upload()
    client = hub.client(tmp_path / "home", PUSH, folder, NAME)
    assert held.wait(60)
    client.kill()
    client.wait()
    (arrived,) = hub.uploads
    assert read_manifest(folder).id not in hub.repositories[REPOSITORY].names
    hub.uploads.clear()
    hub.before = hub.calls.append
    push(hub, folder)
    assert sorted(hub.uploads) == sorted(large - {arrived})
    assert set(read_manifest(folder).files) < set(hub.files(REPOSITORY, read_manifest(folder).id))


def test_a_new_version_removes_the_old_tables_only(hub, folder):
    push(hub, folder)
    old = read_manifest(folder).id
    hub.edit(REPOSITORY, "patterns/notes.md", "theirs")
    hub.edit(REPOSITORY, "extra/rows.parquet", "theirs")
    manifest = read_manifest(folder)
    write_manifest(
        folder, replace(manifest, files={n: e for n, e in manifest.files.items() if n != TRAIN})
    )
    new = change_recipe(folder)
    assert push(hub, folder).removed == (TRAIN,)
    assert {"patterns/notes.md", "extra/rows.parquet", VALIDATION} < set(hub.files(REPOSITORY))
    assert TRAIN not in hub.files(REPOSITORY, new)
    assert TRAIN in hub.files(REPOSITORY, old)


def test_a_card_edited_on_the_hub_is_kept(hub, folder):
    push(hub, folder)
    pushed = hub.files(REPOSITORY)["README.md"].decode()
    edited = pushed.replace("- zoneaxis\n", "- zoneaxis\n- nickel\n") + "\nSee our paper.\n"
    hub.edit(REPOSITORY, "README.md", edited)
    card = folder / "README.md"
    card.write_text(card.read_text().replace("path: patterns/train-*", "path: patterns/t*"))
    push(hub, folder)
    kept = hub.files(REPOSITORY)["README.md"].decode()
    assert kept.endswith("\nSee our paper.\n")
    assert "- nickel\n" in kept
    assert "path: patterns/t*" in kept
    assert card.read_text() not in kept  # the folder's card is its user's
    assert (
        hub.repositories[REPOSITORY].names[read_manifest(folder).id]
        in hub.repositories[REPOSITORY].commits
    )


def test_a_card_edited_in_the_folder_is_pushed(hub, folder):
    push(hub, folder)
    with (folder / "README.md").open("a") as card:
        card.write("\nOur paper is out.\n")
    push(hub, folder)
    tagged = hub.files(REPOSITORY, read_manifest(folder).id)
    assert tagged["README.md"].endswith(b"\nOur paper is out.\n")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("recipe.json", None, r"holds no recipe\.json: name a folder"),
        ("manifest.json", None, "build is unfinished"),
        ("README.md", None, r"README\.md cannot be read .*No such file"),
        ("README.md", "30°".encode("latin-1"), r"README\.md cannot be read .*utf-8"),
        (TRAIN, None, "1 damaged of .* files, such as .*train.* .missing.: run `zoneaxis verify"),
        (TRAIN, b"short", "5 bytes, expected"),
    ],
)
def test_a_folder_that_is_not_whole(hub, folder, file, content, words):
    (folder / file).unlink()
    if content:
        (folder / file).write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        push(hub, folder)
    assert not hub.calls


def test_a_flipped_bit(hub, folder):
    content = bytearray((folder / TRAIN).read_bytes())
    content[100] ^= 1
    (folder / TRAIN).write_bytes(content)
    with pytest.raises(DatasetError, match="other content than its checksum says"):
        push(hub, folder)
    push(hub, folder, check=False)


def test_a_manifest_of_another_recipe(hub, folder):
    write_manifest(folder, replace(read_manifest(folder), id="0" * 12))
    with pytest.raises(DatasetError, match="run the build again in a new folder"):
        push(hub, folder)


def test_a_bad_name_is_seen_before_anything_is_read(tmp_path):
    with pytest.raises(HubError, match="write user/name"):
        publish(tmp_path / "nowhere", "patterns")
