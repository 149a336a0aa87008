"""Opening a data set folder for training; `datasets.load_dataset` needs none of this."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoneaxis.dataset_builder.build import PATTERNS, plan, recipe_directions
from zoneaxis.dataset_builder.recipe import Recipe, read_recipe
from zoneaxis.dataset_builder.schema import decode, features
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict

EULER = ("phi1_deg", "Phi_deg", "phi2_deg")


@dataclass(frozen=True, eq=False)
class PatternDataset:
    """A data set folder with its recipe.

    Attributes:
        recipe: how it was made.
        crystal: of the recipe.
        splits: train, and validation where the recipe holds any out.
    """

    recipe: Recipe
    crystal: Crystal
    splits: "DatasetDict"

    def rows(self, split: str) -> int:
        """Return the number of rows of a split; 0 where there is none."""
        return len(self.splits[split]) if split in self.splits else 0

    def batch(self, split: str, rows: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Return patterns (b, n, n) in fractions of the beam, and Bunge angles (b, 3).

        Raises:
            DatasetError: an image is damaged.
        """
        from PIL import UnidentifiedImageError

        try:
            columns = self.splits[split][rows.tolist()]
            levels = np.stack([np.asarray(image) for image in columns["image"]])
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise DatasetError(
                f"The {split} split has an image that cannot be read ({error}): build it again."
            ) from error
        euler = np.stack([columns[name] for name in EULER], axis=1)
        return torch.from_numpy(decode(levels)), euler


def open_dataset(folder: str | Path) -> PatternDataset:
    """Open a folder that `build` made, for random access.

    The shards, images still compressed (4 kB a pattern of 128 x 128), are read into memory:
    `load_dataset` would keep a second copy of every data set on the disk, and never remove it.

    Raises:
        DatasetError: no folder, no recipe, an unfinished build, or a damaged file.
    """
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    folder = Path(folder)
    recipe = read_recipe(folder)
    shards = plan(recipe, len(recipe_directions(recipe)))
    missing = [s.name for s in shards if not (folder / PATTERNS / s.name).is_file()]
    if missing:
        raise DatasetError(
            f"{folder}/{PATTERNS} lacks {len(missing)} of {len(shards)} Parquet files, such as "
            f"{missing[0]}: run the build again, it goes on where it stopped."
        )
    tables: dict[str, list[pa.Table]] = {}
    for shard in shards:
        table = _read(folder / PATTERNS / shard.name, shard.rows(recipe))
        tables.setdefault(shard.split, []).append(table)
    # The fingerprint is given, or `datasets` would hash the whole table.
    opened = {
        split: Dataset(pa.concat_tables(parts), fingerprint=f"{recipe.id}-{split}")
        for split, parts in tables.items()
    }
    return PatternDataset(recipe, Crystal.from_dict(recipe.crystal), DatasetDict(opened))


def _read(path: Path, rows: int) -> "pa.Table":
    """Return a shard that is to have so many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{path} is damaged or no Parquet file ({error}): remove it and build again."
        ) from error
    schema = features().arrow_schema
    if not table.schema.equals(schema):
        raise DatasetError(
            f"{path} has the columns {', '.join(table.column_names)}, expected "
            f"{', '.join(schema.names)} of `build`'s types: remove it and build again."
        )
    if len(table) != rows:
        raise DatasetError(
            f"{path} has {len(table)} rows, expected {rows}: remove it and build again."
        )
    return table
