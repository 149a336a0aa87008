import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoneaxis.dataset_builder.workers import map_in_processes
from zoneaxis.errors import DatasetError, SettingsError


def work(what: str, folder: Path, checkpoint: Callable[[], None]) -> None:
    if what == "fail":
        raise SettingsError("made to fail")
    if what == "die":
        os._exit(9)
    (folder / f"{what}-{os.getpid()}").touch()
    while what == "endless":
        time.sleep(0.02)
        checkpoint()


def jobs(folder: Path, *names: str) -> dict[str, tuple[str, Path]]:
    return {name: (name, folder) for name in names}


def test_an_error_reaches_the_caller_and_ends_the_rest(tmp_path):
    with pytest.raises(SettingsError, match="made to fail"):
        list(map_in_processes(work, jobs(tmp_path, "endless", "fail"), 2))


def test_an_interrupted_caller_ends_the_rest(tmp_path):
    done = map_in_processes(work, jobs(tmp_path, "endless", "a"), 2)
    assert next(done) == "a"
    with pytest.raises(KeyboardInterrupt):
        done.throw(KeyboardInterrupt())


def test_a_killed_worker(tmp_path):
    with pytest.raises(DatasetError, match="fewer workers"):
        list(map_in_processes(work, jobs(tmp_path, "die"), 1))
