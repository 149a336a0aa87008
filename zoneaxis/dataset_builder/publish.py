"""Folder of a data set -> repository on the Hugging Face Hub."""

from pathlib import Path

from zoneaxis.cards import DatasetFacts
from zoneaxis.dataset_builder.croissant import CROISSANT_FILE
from zoneaxis.dataset_builder.manifest import (
    MANIFEST_FILE,
    Manifest,
    damaged,
    file_entry,
    manifest_from_json,
    read_manifest,
)
from zoneaxis.dataset_builder.recipe import RECIPE_FILE
from zoneaxis.dataset_builder.schema import CONFIGS, FIGURES
from zoneaxis.errors import DatasetError
from zoneaxis.hub import CARD, Push, located_card, push, readable_by, require_name

# Goes along; the manifest lists tables alone.
BESIDE = (RECIPE_FILE, MANIFEST_FILE, CROISSANT_FILE, f"{FIGURES}/*.png")


def publish(
    folder: str | Path,
    repository: str,
    *,
    private: bool = False,
    message: str | None = None,
    check: bool = True,
    token: str | None = None,
    endpoint: str | None = None,
) -> Push:
    """Push a data set; `load_dataset(repository, revision=recipe id)` then opens it anywhere.

    Only what changed is sent, Parquet files of an older version are removed, and files that are
    not the data set's stay; a repository of something else is refused. What somebody wrote into
    the card on the Hub stays too.

    Args:
        folder: that `build` finished.
        repository: "user/name"; made where absent.
        private: make it private; a public repository is then refused.
        message: of the commits.
        check: read every file and compare its checksum first, not its size alone.
        token: of the Hub; by default that of HF_TOKEN or of `hf auth login`.
        endpoint: of the Hub; by default that of HF_ENDPOINT, or the public one.

    Raises:
        DatasetError: the folder is no data set, unfinished, or damaged.
        HubError: the Hub refuses the token or the name, or cannot be reached.
    """
    require_name(repository)
    folder = Path(folder)
    manifest = _whole(folder, check)
    files = {name: entry.sha256 for name, entry in manifest.files.items()}
    for path in (path for pattern in BESIDE for path in sorted(folder.glob(pattern))):
        files[path.relative_to(folder).as_posix()] = file_entry(path).sha256
    return push(
        folder,
        repository,
        files,
        _card(folder, repository),
        kind="dataset",
        tag=manifest.id,
        marker=MANIFEST_FILE,
        is_ours=readable_by(manifest_from_json),
        message=message or f"Data set {manifest.id}",
        owned=tuple(f"{config}/*.parquet" for config in CONFIGS),
        private=private,
        token=token,
        endpoint=endpoint,
    )


def _whole(folder: Path, check: bool) -> Manifest:
    """Return the manifest of a folder that is as it says."""
    if not (folder / RECIPE_FILE).is_file():
        raise DatasetError(f"{folder} holds no {RECIPE_FILE}: name a folder that `build` made.")
    manifest = read_manifest(folder)
    recipe_id = file_entry(folder / RECIPE_FILE).sha256[:12]  # as `Recipe.id`, for every kind
    if manifest.id != recipe_id:
        raise DatasetError(
            f"{folder}: {MANIFEST_FILE} is of data set {manifest.id}, {RECIPE_FILE} of "
            f"{recipe_id}: run the build again in a new folder."
        )
    if bad := damaged(folder, manifest, hashes=check):
        name, reason = next(iter(bad.items()))
        raise DatasetError(
            f"{folder} has {len(bad)} damaged of {len(manifest.files)} files, such as {name} "
            f"({reason}): run `zoneaxis verify {folder}`, which builds them again."
        )
    return manifest


def _card(folder: Path, repository: str) -> str:
    """Return the card, which tells how to load the repository instead of the folder."""
    try:
        return located_card(folder, DatasetFacts.location, repository)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{folder / CARD} cannot be read ({error}): mend it, or remove it and run the build "
            "again, which writes it."
        ) from error
