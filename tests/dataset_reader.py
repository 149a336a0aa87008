"""The rows of a data set by way of `datasets` and Pillow, to hold against what zoneaxis reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset

from zoneaxis.dataset_builder.schema import EULER, decode


def read_split(folder: Path, split: str = "train") -> Dataset:
    """Return the patterns of a split; read into memory, so that no cache keeps a copy."""
    return Dataset(pq.read_table(sorted(folder.glob(f"patterns/{split}-*.parquet"))))


def patterns_of(rows: Mapping) -> np.ndarray:
    """Return fractions of the beam, shape (n, h, w)."""
    return decode(np.stack(rows["image"]))


def euler_of(rows: Mapping) -> np.ndarray:
    """Return Bunge angles in degrees, shape (n, 3)."""
    return np.stack([rows[name] for name in EULER], axis=1)
