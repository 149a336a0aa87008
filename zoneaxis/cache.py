"""Arrays that are slow to compute, kept in the user's cache folder from one run to the next."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from zoneaxis.errors import OutputError
from zoneaxis.files import atomic_path


def cache_folder() -> Path:
    """Return $ZONEAXIS_CACHE, else $XDG_CACHE_HOME/zoneaxis, else ~/.cache/zoneaxis.

    Whatever lies in it may be deleted at any time.
    """
    if folder := os.environ.get("ZONEAXIS_CACHE"):
        return Path(folder)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "zoneaxis"
    try:
        return Path.home() / ".cache" / "zoneaxis"
    except RuntimeError:  # a container's user need not have a home
        return Path(tempfile.gettempdir()) / "zoneaxis"


def cached_arrays(
    name: str, keys: tuple[str, ...], build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the arrays kept under `name`, or else those that `build` makes, and keep them.

    Processes may share the folder. A damaged file is replaced; where nothing can be written the
    arrays are not kept.

    Args:
        name: file name without suffix; it must tell apart everything that `build` depends on.
        keys: names of the arrays.
        build: makes the arrays, by their names.
    """
    path = cache_folder() / f"{name}.npz"
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {key: arrays[key] for key in keys}
    except Exception:
        pass
    arrays = build()
    with suppress(OutputError), atomic_path(path) as temporary:
        np.savez(temporary, **arrays)
    return arrays
