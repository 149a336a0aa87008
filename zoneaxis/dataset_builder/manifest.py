"""manifest.json: what the finished files of a data set are, so that damage is seen."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from zoneaxis.dataset_builder.recipe import FORMAT
from zoneaxis.errors import DatasetError
from zoneaxis.files import atomic_path

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """A file: SHA-256 in hexadecimal digits, size, and rows where it is a table."""

    sha256: str
    bytes: int
    rows: int | None = None

    def __post_init__(self) -> None:
        kinds = {"sha256": str, "bytes": int, "rows": int | None}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} = {getattr(self, name)!r}")


@dataclass(frozen=True)
class Manifest:
    """The files of a data set, the card apart: that is the user's to edit.

    Attributes:
        id: of the recipe.
        files: by their path within the folder, with slashes.
    """

    id: str
    files: dict[str, FileEntry]


def file_entry(path: Path, rows: int | None = None) -> FileEntry:
    """Read a file once and return its entry.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileEntry(digest, file.tell(), rows)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error


def table_entry(path: Path, rows: int) -> FileEntry:
    """Return the entry of a Parquet file that is to have so many rows.

    Raises:
        DatasetError: it is no whole Parquet file, or has other rows: a crash of the machine may
            leave such a file under its final name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is damaged ({error}): remove it and build again.") from error
    if found != rows:
        raise DatasetError(f"{path} has {found} rows, expected {rows}: remove it and build again.")
    return file_entry(path, rows)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json; the same files in any order give the same bytes.

    Raises:
        OutputError: it cannot be written.
    """
    values = {"format": FORMAT, **asdict(manifest)}
    with atomic_path(folder / MANIFEST_FILE) as path:
        path.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of a data set folder.

    Raises:
        DatasetError: there is none, so that the build is unfinished, or it is damaged.
    """
    path = Path(folder) / MANIFEST_FILE
    if not path.is_file():
        raise DatasetError(
            f"{folder} holds no {MANIFEST_FILE}, so that its build is unfinished: run the build "
            "again, it goes on where it stopped."
        )
    try:
        return manifest_from_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DatasetError(
            f"{path} is damaged ({error}): remove it and run the build again."
        ) from error


def manifest_from_json(text: str) -> Manifest:
    """Read the text of a manifest.

    Raises:
        ValueError: it is none, or of another format.
    """
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, this zoneaxis reads {FORMAT}")
        files = {name: FileEntry(**entry) for name, entry in values["files"].items()}
        for name in files:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name} lies outside the folder")
        return Manifest(values["id"], files)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{error!r}") from error


def damaged(folder: Path, manifest: Manifest, *, hashes: bool = True) -> dict[str, str]:
    """Return the files that are not as the manifest says, each with the reason.

    Args:
        folder: of the data set.
        manifest: what the files are to be.
        hashes: read each file and compare its SHA-256 too; else its size alone.
    """
    reasons = {
        name: _damage(folder / name, entry, hashes) for name, entry in manifest.files.items()
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _damage(path: Path, entry: FileEntry, hashes: bool) -> str | None:
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != entry.bytes:
        return f"{size:,} bytes, expected {entry.bytes:,}"
    try:
        if hashes and file_entry(path).sha256 != entry.sha256:
            return "other content than its checksum says"
    except DatasetError as error:  # a bad disk
        return str(error)
    return None
