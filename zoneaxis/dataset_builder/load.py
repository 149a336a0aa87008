"""Opening a data set folder for training; `datasets.load_dataset` needs none of this."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.png import decode_png
from zoneaxis.dataset_builder.recipe import Recipe, read_recipe
from zoneaxis.dataset_builder.schema import EULER, PATTERNS, arrow_schema, decode
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict


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
        columns = self.splits[split].with_format("arrow")[rows.tolist()]
        try:
            levels = np.stack([decode_png(i["bytes"]) for i in columns["image"].to_pylist()])
        except ValueError as error:
            raise DatasetError(
                f"The {split} split has an image that cannot be read ({error}): run "
                "`zoneaxis verify` on the folder."
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
    tables: dict[str, list[pa.Table]] = {}
    for name, entry in sorted(read_manifest(folder).files.items()):
        config, _, file = name.partition("/")
        if config == PATTERNS:
            table = _read(folder / name, entry.rows)
            tables.setdefault(file.split("-")[0], []).append(table)
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

    repair = f"run `zoneaxis verify {path.parent.parent}`, which builds it again"
    try:
        # Only the schema's columns, without the metadata in which files differ.
        table = pq.read_table(path).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is missing or damaged ({error}): {repair}.") from error
    schema = arrow_schema(PATTERNS)
    if not table.schema.equals(schema):
        raise DatasetError(
            f"{path} has the columns {', '.join(table.column_names)}, expected "
            f"{', '.join(schema.names)} of `build`'s types: {repair}."
        )
    if len(table) != rows:
        raise DatasetError(f"{path} has {len(table)} rows, expected {rows}: {repair}.")
    return table.replace_schema_metadata(schema.metadata)
