"""Which points of a scan become rows of a data set, their grains, and which grains are held out."""

import warnings
from dataclasses import dataclass

import numpy as np

from zoneaxis.dataset_builder.plan import SPLITS
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.dataset_builder.schema import PATTERNS
from zoneaxis.errors import MapError
from zoneaxis.scans.grains import label_grains
from zoneaxis.scans.orientation_map import OrientationMap

SHARD_ROWS = 2048
OVERSHOOT = 1.5  # without it, a few large grains would leave validation to specks


@dataclass(frozen=True, eq=False)
class ScanRows:
    """The points of a scan that become rows, in the order of the scan, row after row.

    Attributes:
        points: number of each in the flattened scan, shape (n,).
        grain: number of its grain, from 0 on without gaps, shape (n,).
        held_out: whether it is for validation, bool, shape (n,).
    """

    points: np.ndarray
    grain: np.ndarray
    held_out: np.ndarray

    @property
    def count(self) -> dict[str, int]:
        """Rows of each split that has any."""
        rows = np.bincount(self.held_out, minlength=2).tolist()
        return {split: n for split, n in zip(SPLITS, rows, strict=True) if n}

    @property
    def shards(self) -> dict[str, np.ndarray]:
        """Which of the points are in each file, by the file's path within the folder."""
        files = {}
        for split in self.count:
            rows = np.flatnonzero(self.held_out == SPLITS.index(split))
            parts = np.split(rows, range(SHARD_ROWS, len(rows), SHARD_ROWS))
            for number, part in enumerate(parts):
                files[f"{PATTERNS}/{split}-{number:05d}-of-{len(parts):05d}.parquet"] = part
        return files


def rows_of(found: OrientationMap, points: np.ndarray, recipe: ScanRecipe) -> ScanRows:
    """Return the rows of a data set: points in grains that are large enough, and the split.

    Grains are those of the whole map, so that leaving out points cuts no grain in two.

    Args:
        found: the reference map.
        points: number of each usable point in the flattened scan, ascending, shape (n,).
        recipe: tolerance, smallest grain, share held out and seed.

    Raises:
        MapError: all grains are too small.
    """
    operators = [crystal.proper_operators for crystal in found.crystals]
    grains = label_grains(found.matrices, found.phase, operators, recipe.grain_tolerance_deg)
    grain = grains.ravel()[points]
    sizes = np.bincount(grain)[grain]
    if sizes.max() < recipe.smallest_grain:
        raise MapError(
            f"{recipe.labels_name}: the largest grain has {sizes.max()} usable points, fewer than "
            f"smallest_grain = {recipe.smallest_grain}: lower it or raise grain_tolerance_deg."
        )
    large = sizes >= recipe.smallest_grain
    grain = np.unique(grain[large], return_inverse=True)[1]
    held_out = held_out_grains(grain, recipe.validation_share, recipe.seed)
    if recipe.validation_share and not held_out.any():
        warnings.warn(
            f"Nothing is held out: each grain has far more than {recipe.validation_share:g} of "
            "the rows. Raise validation_share, or lower grain_tolerance_deg.",
            stacklevel=3,
        )
    return ScanRows(points[large], grain, held_out)


def held_out_grains(grain: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which rows are held out: whole grains, drawn with chances like their sizes.

    A drawn grain is taken if it has no more rows than are still wanted, or half as many more; one
    grain at least is left for training.

    Args:
        grain: number of each row's grain, shape (n,).
        share: of the rows.
        seed: of the draw.

    Returns:
        bool, shape (n,).
    """
    sizes = np.bincount(grain)
    # The grain of a row drawn at random: specks, which are mostly errors, do not prevail.
    drawn = np.random.default_rng(seed).permutation(grain)
    order = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    taken, rows, wanted = np.zeros(len(sizes), bool), 0, share * len(grain)
    for number in order:
        size = sizes[number]
        if size < OVERSHOOT * (wanted - rows) and rows + size < len(grain):
            taken[number], rows = True, rows + size
    return taken[grain]
