"""Writing files so that a reader never meets half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from zoneaxis.errors import OutputError


def require_writable(path: str | Path) -> Path:
    """Return `path` as a Path whose folder exists and can be written to.

    Call it before a long computation, so that a mistyped output fails at once.

    Raises:
        OutputError: the folder cannot be made or written to, or `path` is itself a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name the file to write in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {path.parent}: {error.strerror}.") from error
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"Cannot write to {path.parent}: choose a folder that you own.")
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; rename it to `path` on success.

    Raises:
        OutputError: the file cannot be written; whatever stood at `path` is untouched.
    """
    path = require_writable(path)
    temporary = path.with_name(f".{path.stem}.incomplete-{uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # some writers make files that their owner alone reads
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave the name without the content
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"Cannot write {path}: {reason}. Free the disk or choose another place."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
