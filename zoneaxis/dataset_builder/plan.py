"""What a build will write, known before anything is simulated."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.sampling import equal_directions
from zoneaxis.dataset_builder.schema import DISKS, PATTERNS
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import full_operators, nearest_equivalent_deg

BATCH = 16  # directions that share thicknesses, convergence and precession
SHARD_BATCHES = 12
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Shard:
    """Files to be: what one worker writes in one go.

    Attributes:
        splits: of its rows; both only where rows are held out one by one.
        index: number of the shard among `count`.
        count: shards of these splits.
        batches: numbers of the orientations in it, simulated batch by batch.
    """

    splits: tuple[str, ...]
    index: int
    count: int
    batches: tuple[tuple[int, ...], ...]

    def file(self, config: str, split: str) -> str:
        """Return the path of a file within the data set's folder."""
        return f"{config}/{split}-{self.index:05d}-of-{self.count:05d}.parquet"

    @property
    def files(self) -> list[str]:
        """Paths of all its files within the data set's folder."""
        return [self.file(config, split) for config in (PATTERNS, DISKS) for split in self.splits]


@dataclass(frozen=True, eq=False)
class Plan:
    """All rows of a data set and the files that they go to.

    Attributes:
        orientations_deg: (phi1, Phi, phi2), in the order of the simulation, shape (n, 3).
        held_out: which rows are for validation, bool, shape (n, thicknesses).
        shards: in the order in which they are written.
    """

    orientations_deg: np.ndarray
    held_out: np.ndarray
    shards: tuple[Shard, ...]

    def rows(self, shard: Shard | None = None) -> Counter[str]:
        """Return the number of rows of each split, of one shard or of all."""
        chosen = [shard] if shard else self.shards
        rows = Counter()
        for one in chosen:
            held_out = self.held_out[[i for batch in one.batches for i in batch]]
            numbers = {"train": (~held_out).sum(), "validation": held_out.sum()}
            rows.update({split: int(numbers[split]) for split in one.splits})
        return rows

    def class_grid(self, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers of orientations (n,) and in-plane angles in degrees (m,) of the classes.

        For scheme "so3", whose orientations have angles of their own, m is 1.
        """
        whole = recipe.scheme == "so3"
        phi1 = np.zeros(1) if whole else np.arange(0, 360 - 1e-9, recipe.phi1_step_deg)
        return np.arange(len(self.orientations_deg)), phi1


@lru_cache(maxsize=2)
def plan_of(recipe_json: str) -> Plan:
    """Return the plan of a recipe, given as JSON: the same in every process."""
    recipe = Recipe.from_json(recipe_json)
    orientations = recipe.orientations_deg
    shape = (len(orientations), recipe.thicknesses)
    if recipe.split == "rows":
        rows = np.random.default_rng([recipe.seed, 2]).permutation(shape[0] * shape[1])
        held_out = (rows < round(len(rows) * recipe.validation_share)).reshape(shape)
        return Plan(orientations, held_out, _shards(SPLITS, range(shape[0])))
    first = _first_trained(orientations, recipe)
    held_out = np.broadcast_to((np.arange(len(orientations)) < first)[:, None], shape)
    shards = (
        *_shards(("train",), range(first, len(orientations))),
        *_shards(("validation",), range(first)),
    )
    return Plan(orientations, held_out, shards)


def _first_trained(orientations: np.ndarray, recipe: Recipe) -> int:
    """Return how many orientations validation gets: the first ones, no orbit cut in two."""
    group = equal_directions(orientations, Crystal.from_dict(recipe.crystal))
    wanted = round(len(orientations) * recipe.validation_share)
    starts = np.flatnonzero(np.diff(group, prepend=-1))  # equal directions follow each other
    # The last orbit is left for training, whatever the share.
    return int(starts[min(np.searchsorted(starts, wanted), len(starts) - 1)])


def _shards(splits: tuple[str, ...], orientations: range) -> tuple[Shard, ...]:
    batches = [tuple(orientations[i : i + BATCH]) for i in range(0, len(orientations), BATCH)]
    starts = range(0, len(batches), SHARD_BATCHES)
    return tuple(
        Shard(splits, number, len(starts), tuple(batches[start : start + SHARD_BATCHES]))
        for number, start in enumerate(starts)
    )


def held_out_deg(plan: Plan, crystal: Crystal) -> float | None:
    """Return the median angle from a validation direction to the nearest one for training.

    Equivalent and mirrored directions count as the same. None where nothing is held out.
    """
    validation, train = plan.held_out.any(axis=1), (~plan.held_out).any(axis=1)
    if not validation.any():
        return None
    directions = plan.orientations_deg[:, 1:]
    operators = full_operators(crystal)
    return float(
        np.median(nearest_equivalent_deg(directions[validation], directions[train], operators))
    )
