import os

import pytest

from zoneaxis.errors import OutputError
from zoneaxis.files import atomic_path, require_writable


def test_require_writable_makes_the_folder_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "deep" / "map.ang"
    assert require_writable(str(path)) == path
    assert path.parent.is_dir()
    assert not path.exists()


def test_require_writable_refuses_a_folder(tmp_path):
    with pytest.raises(OutputError, match="is a folder: name the file"):
        require_writable(tmp_path)


def test_require_writable_refuses_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "map.ang", tmp_path / "file" / "deep" / "map.ang"):
        with pytest.raises(OutputError, match="Cannot make the folder"):
            require_writable(path)


def test_require_writable_refuses_a_folder_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match=f"Cannot write to {tmp_path}"):
        require_writable(tmp_path / "map.ang")


def test_atomic_path_shows_the_file_only_when_whole(tmp_path):
    path = tmp_path / "map.ang"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".ang"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_leaves_the_old_file_when_interrupted(tmp_path):
    path = tmp_path / "map.ang"
    path.write_text("old")

    def write_and_stumble():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stumble()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_names_the_reason_of_a_full_disk(tmp_path):
    path = tmp_path / "map.h5"

    def fill():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"map\.h5: No space left on device\. Free the disk"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_atomic_path_complains_when_nothing_was_written(tmp_path):
    with pytest.raises(OutputError, match="No such file"), atomic_path(tmp_path / "map.ang"):
        pass


def test_names_that_differ_in_the_suffix_only_do_not_meet(tmp_path):
    with atomic_path(tmp_path / "map.ang") as ang, atomic_path(tmp_path / "map.h5") as h5:
        assert ang != h5
        ang.write_text("ang")
        h5.write_text("h5")
    assert (tmp_path / "map.ang").read_text() == "ang"
