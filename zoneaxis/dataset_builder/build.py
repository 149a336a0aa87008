"""Recipe -> folder of Parquet shards that `datasets.load_dataset` opens by itself."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoneaxis.dataset_builder.card import write_card
from zoneaxis.dataset_builder.recipe import RECIPE_FILE, Recipe, read_recipe
from zoneaxis.dataset_builder.sampling import directions_of
from zoneaxis.dataset_builder.schema import encode, features
from zoneaxis.dataset_builder.workers import map_in_processes
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import full_operators, nearest_equivalent_deg
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import StructureFactors, structure_factors
from zoneaxis.errors import DatasetError, OutputError, SettingsError
from zoneaxis.files import atomic_path

BATCH = 16  # directions that share thicknesses, convergence and precession
SHARD_BATCHES = 12
PATTERNS = "patterns"  # the config, and the folder of its shards


@dataclass(frozen=True)
class Shard:
    """A file to be: its split, its name and the directions in it, cut into batches."""

    split: str
    name: str
    batches: tuple[tuple[int, ...], ...]

    def rows(self, recipe: Recipe) -> int:
        """Return the number of rows in it."""
        return sum(len(batch) for batch in self.batches) * recipe.thicknesses


@dataclass(frozen=True, eq=False)
class Physics:
    """What a worker needs to simulate: it looks nothing up and draws nothing twice.

    Attributes:
        recipe: what to simulate.
        directions: all (Phi, phi2) of the recipe in degrees, shape (n, 2).
        factors: structure factors of its crystal, up to the difference of any two beams.
    """

    recipe: Recipe
    directions: np.ndarray
    factors: StructureFactors


def plan(recipe: Recipe, n_directions: int) -> list[Shard]:
    """Return the shards of a data set; validation holds whole directions out.

    Args:
        recipe: for the share held out; one direction at least is left for training.
        n_directions: how many directions there are, in shuffled order.
    """
    held_out = min(round(n_directions * recipe.validation_share), n_directions - 1)
    splits = {
        "train": range(held_out, n_directions),
        "validation": range(held_out),
    }
    shards = []
    for split, indices in splits.items():
        batches = [tuple(indices[i : i + BATCH]) for i in range(0, len(indices), BATCH)]
        starts = range(0, len(batches), SHARD_BATCHES)
        for number, start in enumerate(starts):
            name = f"{split}-{number:05d}-of-{len(starts):05d}.parquet"
            shards.append(Shard(split, name, tuple(batches[start : start + SHARD_BATCHES])))
    return shards


def recipe_directions(recipe: Recipe) -> np.ndarray:
    """Return the (Phi, phi2) in degrees that a recipe simulates, in its order, shape (n, 2)."""
    crystal = Crystal.from_dict(recipe.crystal)
    return directions_of(recipe.scheme, crystal, recipe.resolution, recipe.seed)


def held_out_deg(recipe: Recipe, directions: np.ndarray) -> float | None:
    """Return the median angle from a validation direction to the nearest one for training.

    Equivalent and mirrored directions count as the same. None where nothing is held out.

    Args:
        recipe: of the data set.
        directions: all its (Phi, phi2) in degrees, shape (n, 2).
    """
    ids = {"train": [], "validation": []}
    for shard in plan(recipe, len(directions)):
        ids[shard.split] += [i for batch in shard.batches for i in batch]
    if not ids["validation"]:
        return None
    held_out, trained = directions[ids["validation"]], directions[ids["train"]]
    operators = full_operators(Crystal.from_dict(recipe.crystal))
    return float(np.median(nearest_equivalent_deg(held_out, trained, operators)))


def build(
    recipe: Recipe,
    folder: str | Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set into a folder; shards that are there already are kept.

    An interrupted build, started again, goes on where it stopped and ends with the same bytes.
    Only one build at a time may write to a folder.

    Args:
        recipe: what to simulate.
        folder: made where absent; holds recipe.json, README.md and patterns/*.parquet.
        workers: processes; as many as there are cores by default. 1 starts none.
        progress: called with (patterns done since the last call, patterns in all).

    Returns:
        The folder.

    Raises:
        DatasetError: the folder holds a data set of another recipe, or a worker died.
        OutputError: the folder cannot be written.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"workers = {workers}: expected 1 or more.")
    folder = Path(folder)
    _claim(folder, recipe)
    directions = recipe_directions(recipe)
    shards = plan(recipe, len(directions))
    rows = _rows(shards, recipe)
    waiting = [s for s in shards if not (folder / PATTERNS / s.name).is_file()]
    report = progress or (lambda done, total: None)
    report((rows - _rows(waiting, recipe)).total(), rows.total())
    for shard in _write(recipe, directions, waiting, folder, workers or os.cpu_count() or 1):
        report(shard.rows(recipe), rows.total())
    write_card(folder, recipe, rows, len(directions), held_out_deg(recipe, directions))
    return folder


def _rows(shards: list[Shard], recipe: Recipe) -> Counter[str]:
    """Return the number of rows of each split in these shards."""
    rows = Counter()
    for shard in shards:
        rows[shard.split] += shard.rows(recipe)
    return rows


def _factors(recipe: Recipe) -> StructureFactors:
    crystal = Crystal.from_dict(recipe.crystal)
    return structure_factors(crystal, recipe.voltage_kv, 2 * recipe.k_max_inv_angstrom)


def _write(
    recipe: Recipe, directions: np.ndarray, shards: list[Shard], folder: Path, workers: int
) -> Iterator[Shard]:
    """Write shards, yielding each when it is done."""
    if not shards:
        return
    physics = Physics(recipe, directions, _factors(recipe))
    if min(workers, len(shards)) > 1:
        jobs = {shard: (physics, shard, folder) for shard in shards}
        yield from map_in_processes(write_shard, jobs, min(workers, len(shards)))
        return
    with _one_thread():
        for shard in shards:
            write_shard(physics, shard, folder)
            yield shard


def write_shard(
    physics: Physics, shard: Shard, folder: Path, checkpoint: Callable[[], None] = lambda: None
) -> None:
    """Simulate one shard and write it under its name in `folder`/patterns.

    Args:
        physics: of the data set.
        shard: its name and batches.
        folder: of the data set.
        checkpoint: called after each batch; what it raises ends the work and leaves no file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features().arrow_schema
    with (
        atomic_path(folder / PATTERNS / shard.name) as path,
        pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer,
    ):
        for batch in shard.batches:
            rows = simulate(physics, batch)
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            checkpoint()


def simulate(physics: Physics, batch: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return the rows of a batch of directions; the same whatever else is simulated."""
    recipe = physics.recipe
    rng = np.random.default_rng([recipe.seed, batch[0]])
    optics = recipe.optics(rng.uniform(*recipe.convergence_mrad), rng.choice(recipe.precession_deg))
    low, high = recipe.thickness_nm
    share = np.arange(recipe.thicknesses) + rng.uniform(size=recipe.thicknesses)
    thicknesses = low + (high - low) * share / recipe.thicknesses
    chosen = physics.directions[list(batch)]
    disks = bloch_disks(
        Crystal.from_dict(recipe.crystal), optics, chosen, thicknesses, factors=physics.factors
    )
    patterns = render(disks, recipe.size, recipe.inv_angstrom_per_pixel).numpy()
    beams = beam_directions(np.insert(chosen, 0, 0.0, axis=1))
    return [
        {
            "image": {"bytes": encode(patterns[i, j]), "path": None},
            "direction_id": direction_id,
            "phi1_deg": 0.0,
            "Phi_deg": chosen[i, 0],
            "phi2_deg": chosen[i, 1],
            "thickness_nm": thickness,
            "beam_direction": beams[i].tolist(),
            "convergence_mrad": optics.convergence_mrad,
            "precession_deg": optics.precession_deg,
        }
        for i, direction_id in enumerate(batch)
        for j, thickness in enumerate(thicknesses)
    ]


def _claim(folder: Path, recipe: Recipe) -> None:
    """Make the folder and write its recipe; refuse a folder of another recipe."""
    path = folder / RECIPE_FILE
    try:
        (folder / PATTERNS).mkdir(parents=True, exist_ok=True)
        for left_behind in folder.rglob(".*.incomplete-*"):  # by a build that was killed
            left_behind.unlink()
    except OSError as error:
        raise OutputError(
            f"Cannot write to the folder {folder}: {error.strerror}. Choose one that you own."
        ) from error
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(recipe.to_json(), encoding="utf-8")
    elif read_recipe(folder) != recipe:
        raise DatasetError(
            f"{folder} holds a data set of another recipe: choose a new folder or remove it."
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch sum in one thread, as workers do, so that the bytes are the same."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
