"""PartialMap: what is known of a map so far, kept in a file so that a stopped run goes on."""

import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from zoneaxis import __version__
from zoneaxis.errors import OutputError
from zoneaxis.files import atomic_path

SECONDS_UNSAVED = 5.0  # what a killed run loses at most,
SAVING_SHARE = 0.02  # unless saving that often would take a larger share of the time
PROPERTY = "property "  # before the names of properties


class Point(IntEnum):
    """What has become of a point of the scan."""

    WAITING = 0
    LEFT_OUT = 1  # by the scan's mask
    DONE = 2
    BAD = 3  # NaN, inf or negative counts
    EMPTY = 4  # no counts at all


class PartialMap:
    """Results of some points of a scan, in memory and, given a path, in a file now and then.

    As a context it removes its file in the end; after an error, Ctrl-C included, it leaves the
    newest results there, and the next run with the same settings starts from them.

    Attributes:
        path: the file; None for a map that is kept in memory only.
        settings: whatever the results depend on, as text. A file of other settings is refused.
        state: a `Point` for each point, int8, shape (n,).
        columns: results by name, each of shape (n, ...); blank where the state is not DONE.
    """

    def __init__(self, path: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        """Start without results.

        Args:
            path: of the file, *.npz.
            settings: whatever the results depend on; see `as_text`.
        """
        self.path = path
        self.settings = {"zoneaxis": __version__, **(settings or {})}
        self.state = np.zeros(0, np.int8)
        self.columns: dict[str, np.ndarray] = {}
        self._saved_s, self._saving_s, self._news = time.monotonic(), 0.0, False

    @classmethod
    def beside(cls, out: Path, settings: Mapping[str, str]) -> "PartialMap":
        """Return the partial map of a map that will be written: MAP.h5 -> .MAP.h5.partial.npz."""
        return cls(out.with_name(f".{out.name}.partial.npz"), settings)

    @property
    def waiting(self) -> np.ndarray:
        """Which points have no result yet, bool, shape (n,)."""
        return self.state == Point.WAITING

    def begin(self, wanted: np.ndarray, settings: Mapping[str, str]) -> None:
        """Say which points there are, and take over what a former run has left in the file.

        Args:
            wanted: False for points to leave out, bool, shape (n,).
            settings: further ones.

        Raises:
            OutputError: the file is of other settings, or damaged.
        """
        self.settings |= settings
        self.state = np.where(wanted, Point.WAITING, Point.LEFT_OUT).astype(np.int8)
        self.columns = {}
        if self.path is not None and self.path.exists():
            self._load(self.path)

    def store(
        self, where: np.ndarray, state: np.ndarray, columns: Mapping[str, np.ndarray]
    ) -> None:
        """Add results, and save if it is time to.

        Args:
            where: numbers of the points, shape (b,).
            state: what became of each, shape (b,).
            columns: results of those that are DONE, each of shape (number of them, ...).
        """
        done = where[state == Point.DONE]
        for name, values in columns.items():
            if name not in self.columns:
                self.columns[name] = _blank(name, len(self.state), values)
            self.columns[name][done] = values
        self.state[where] = state  # last: Ctrl-C may come at any line
        self._news = True
        if time.monotonic() - self._saved_s > max(SECONDS_UNSAVED, self._saving_s / SAVING_SHARE):
            self.save()

    def save(self) -> None:
        """Write the file, if there is one and something new to write.

        Raises:
            OutputError: it cannot be written.
        """
        if self.path is None or not self._news:
            return
        start = time.monotonic()
        with atomic_path(self.path) as temporary:
            text = np.array(json.dumps(self.settings))
            np.savez(temporary, settings=text, state=self.state, **self.columns)
        self._news, self._saved_s = False, time.monotonic()
        self._saving_s = self._saved_s - start

    def __enter__(self) -> "PartialMap":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.save()
        elif self.path is not None:
            self.path.unlink(missing_ok=True)
            for left_behind in self.path.parent.glob(f".{self.path.stem}.incomplete-*"):
                left_behind.unlink(missing_ok=True)  # by a run that was killed

    def _load(self, path: Path) -> None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                columns = dict(arrays)
            settings = json.loads(str(columns.pop("settings")))
            state = columns.pop("state")
        except Exception as error:  # zip, numpy and json each raise their own
            raise OutputError(f"{path} is damaged ({error}): remove it to start anew.") from error
        differing = [
            f"{name} was {settings.get(name)}, is {self.settings.get(name)}"
            for name in sorted({*settings, *self.settings})
            if settings.get(name) != self.settings.get(name)
        ]
        if differing:
            raise OutputError(
                f"{path} keeps {np.count_nonzero(state >= Point.DONE)} points of an unfinished run "
                f"with other settings ({'; '.join(differing)}): repeat them to go on with it, or "
                "remove the file, or choose another output."
            )
        self.state, self.columns = state, columns


def as_text(settings: Mapping[str, Any], files: Iterable[Path] = ()) -> dict[str, str]:
    """Return settings as `PartialMap` compares them; files with their size and time of change.

    Args:
        settings: by name. A value, or an item of a list, that names a file or a folder counts as
            such.
        files: further files or folders that the results depend on.
    """
    named = {name: _text(value) for name, value in settings.items()}
    return {**named, **{path.name: _text(path) for path in files}}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    path = Path(value) if value and isinstance(value, str | Path) else None
    if path is None or not path.exists():
        return str(value)
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    changed = datetime.fromtimestamp(max((s.st_mtime for s in stats), default=0.0))
    return f"{path.absolute()} of {sum(s.st_size for s in stats)} bytes, changed {changed}"


def _blank(name: str, n: int, like: np.ndarray) -> np.ndarray:
    if name.startswith(PROPERTY):
        precise = np.result_type(like.dtype, np.float32)  # whole numbers have no NaN
        return np.full((n, *like.shape[1:]), np.nan, precise)
    return np.zeros((n, *like.shape[1:]), like.dtype)
