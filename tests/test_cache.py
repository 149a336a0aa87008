import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoneaxis.cache import cache_folder, cached_arrays

ARRAYS = {"hkl": np.arange(12).reshape(4, 3), "u": np.linspace(0, 1, 4) * (1 + 2j)}
KEYS = tuple(ARRAYS)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ZONEAXIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often the arrays were made."""

    count = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.count += 1
        return ARRAYS


def check(arrays):
    assert set(arrays) == set(ARRAYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], values)
        assert arrays[name].dtype == values.dtype


def test_builds_once(folder):
    build = Builder()
    for _ in range(3):
        check(cached_arrays("table", KEYS, build))
    assert build.count == 1
    assert [path.name for path in folder.iterdir()] == ["table.npz"]  # and nothing half written
    check(cached_arrays("another", KEYS, build))
    assert build.count == 2


def test_a_damaged_file_is_replaced_in_silence(folder, capfd):
    build = Builder()
    cached_arrays("table", KEYS, build)
    path = folder / "table.npz"
    whole = path.read_bytes()
    flipped = [
        whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :] for i in range(0, len(whole), 7)
    ]
    cut = [whole[:length] for length in range(0, len(whole), 50)]
    for number, damaged in enumerate([*flipped, *cut, b"no archive", b"\x80\x04pickle"]):
        path.write_bytes(damaged)
        check(cached_arrays("table", KEYS, build))
        check(cached_arrays("table", KEYS, build))
        assert build.count <= 2 + number  # some flips are in bytes that nobody reads
    assert build.count > 1 + len(cut)
    assert path.read_bytes() == whole
    assert capfd.readouterr() == ("", "")


def test_a_place_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZONEAXIS_CACHE", str(tmp_path / "file" / "cache"))
    build = Builder()
    check(cached_arrays("table", KEYS, build))
    check(cached_arrays("table", KEYS, build))
    assert build.count == 2


def test_a_failing_build_is_heard_and_leaves_nothing(folder):
    with pytest.raises(ZeroDivisionError):
        cached_arrays("table", KEYS, lambda: 1 / 0)
    assert not folder.exists()


HAMMER = """
import numpy as np
from zoneaxis.cache import cache_folder, cached_arrays
for number in range(60):
    name = f"table-{number % 3}"
    arrays = cached_arrays(name, ("u",), lambda: {"u": np.arange(1000.0)})
    assert (arrays["u"] == np.arange(1000.0)).all()
    (cache_folder() / f"{name}.npz").unlink(missing_ok=True)
"""


def test_processes_may_share_the_folder(folder):
    runs = [subprocess.Popen([sys.executable, "-c", HAMMER]) for _ in range(3)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
    assert list(folder.iterdir()) == []


def test_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ZONEAXIS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == tmp_path / ".cache" / "zoneaxis"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "zoneaxis"
    monkeypatch.setenv("ZONEAXIS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_user_without_a_home_gets_a_temporary_folder(monkeypatch):
    for name in ("ZONEAXIS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder().name == "zoneaxis"
