"""Recipe -> folder of Parquet shards that `datasets.load_dataset` opens by itself."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from zoneaxis.cluster import map_on_cluster
from zoneaxis.dataset_builder.card import write_card
from zoneaxis.dataset_builder.manifest import (
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    read_manifest,
    table_entry,
    write_manifest,
)
from zoneaxis.dataset_builder.plan import Plan, Shard, plan_of
from zoneaxis.dataset_builder.recipe import RECIPE_FILE, Recipe, ScanRecipe, read_recipe
from zoneaxis.dataset_builder.schema import CLASSES, CONFIGS, DISKS, FIGURES, PATTERNS
from zoneaxis.dataset_builder.simulate import chosen_device, physics_of, write_classes, write_shard
from zoneaxis.dataset_builder.workers import map_in_processes
from zoneaxis.errors import DatasetError, OutputError, SettingsError
from zoneaxis.files import atomic_path

CLASSES_FILE = f"{CLASSES}/train-00000-of-00001.parquet"


def build(
    recipe: Recipe,
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set into a folder; shards that are there already are kept.

    An interrupted build, started again, goes on where it stopped and ends with the same bytes.
    Only one build at a time may write to a folder.

    Args:
        recipe: what to simulate.
        folder: made where absent; holds recipe.json, README.md, a folder of Parquet files for
            each config and, once all are there, manifest.json with their checksums.
        workers: processes on this machine; as many as cores by default. 1 starts none.
        scheduler: address of a Dask scheduler, "tcp://host:8786", whose workers then do the work;
            they must see the folder under the same path.
        device: "cpu", "cuda", or "auto" for a worker's GPU where it has one. Bytes are the same
            on devices of one kind.
        progress: called with (patterns done since the last call, patterns in all).

    Returns:
        The folder.

    Raises:
        ClusterError: workers of the cluster died again and again, or its scheduler did.
        DatasetError: the folder holds a data set of another recipe, or a worker died.
        OutputError: the folder cannot be written.
        SettingsError: no such device, fewer than one worker, or no scheduler at the address.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"workers = {workers}: expected 1 or more.")
    if scheduler is None:
        chosen_device(device)  # that of the cluster's workers may be there, and not here
    folder = Path(folder)
    claim(folder, recipe)
    plan = plan_of(recipe.to_json())
    waiting = [s for s in plan.shards if not all((folder / file).is_file() for file in s.files)]
    anew = {file for shard in waiting for file in shard.files}
    known = {name: entry for name, entry in _known(folder).items() if name not in anew}
    report = progress or (lambda done, total: None)
    total = plan.rows().total()
    report(total - sum(plan.rows(shard).total() for shard in waiting), total)
    for shard in _write(recipe, waiting, folder, workers, scheduler, device):
        report(plan.rows(shard).total(), total)
    _finish(folder, recipe, plan, known)
    return folder


def _write(
    recipe: Recipe,
    shards: list[Shard],
    folder: Path,
    workers: int | None,
    scheduler: str | None,
    device: str,
) -> Iterator[Shard]:
    """Write shards, yielding each when it is done."""
    if not shards:
        return
    # An absolute path: workers may have another current folder.
    jobs = {s: (recipe.to_json(), s, str(folder.absolute()), device) for s in shards}
    workers = min(workers or os.cpu_count() or 1, len(shards))
    if scheduler is not None:
        yield from (shard for shard, _ in map_on_cluster(write_shard, jobs, scheduler))
    elif workers > 1:
        physics_of(recipe.to_json())  # fills the disk's cache, so that no two workers do
        yield from map_in_processes(write_shard, jobs, workers)
    else:
        for shard, job in jobs.items():
            write_shard(*job)
            yield shard


def _finish(folder: Path, recipe: Recipe, plan: Plan, known: dict[str, FileEntry]) -> None:
    """Write what describes the whole: classes, manifest and card; known files are not read."""
    if not (folder / CLASSES_FILE).is_file():
        write_classes(folder / CLASSES_FILE, recipe, plan)
        known.pop(CLASSES_FILE, None)
    rows = rows_by_file(recipe)
    files = {name: known.get(name) or table_entry(folder / name, n) for name, n in rows.items()}
    write_manifest(folder, Manifest(recipe.id, files))
    write_card(folder, recipe, plan)


def _known(folder: Path) -> dict[str, FileEntry]:
    """Return the files of a build that was finished before; what is lost of it is built again."""
    return read_manifest(folder).files if (folder / MANIFEST_FILE).is_file() else {}


def rows_by_file(recipe: Recipe) -> dict[str, int]:
    """Return every Parquet file that a recipe's folder will hold, and its number of rows."""
    plan = plan_of(recipe.to_json())
    numbers, phi1 = plan.class_grid(recipe)
    rows = {CLASSES_FILE: len(numbers) * len(phi1)}
    for shard in plan.shards:
        for split, count in plan.rows(shard).items():
            rows.update({shard.file(config, split): count for config in (PATTERNS, DISKS)})
    return rows


def claim(folder: Path, recipe: Recipe | ScanRecipe) -> None:
    """Make the folder and write its recipe; remove what a killed build left half written.

    Raises:
        DatasetError: the folder holds a data set of another recipe.
        OutputError: the folder cannot be written.
    """
    path = folder / RECIPE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and read_recipe(folder) != recipe:
            raise DatasetError(
                f"{folder} holds a data set of another recipe: choose a new folder or remove it."
            )
        for place in (folder, *(folder / name for name in (*CONFIGS, FIGURES))):
            for left_behind in place.glob(".*.incomplete-*"):  # by a build that was killed
                left_behind.unlink()
    except OSError as error:
        raise OutputError(
            f"Cannot write to the folder {folder}: {error.strerror}. Choose another one."
        ) from error
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(recipe.to_json(), encoding="utf-8")
