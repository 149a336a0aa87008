"""Shuffled batches of a data set larger than memory; any batch can be asked for by its number."""

import dataclasses
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from zoneaxis.dataset_builder.png import decode_png
from zoneaxis.errors import DatasetError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from zoneaxis.dataset_builder.transforms import Transform


class PatternStream(Dataset):
    """The shuffled batches of a split, epoch after epoch, as a sequence.

    Batch k is a function of the files, the settings and k alone. Hence workers, ranks and a
    resumed run see the same batches, and a training loop saves nothing but its step:

        stream = PatternStream(folder, transform=Transform.of_recipe(recipe), epochs=30)
        loader = DataLoader(
            stream, batch_size=None, sampler=stream.numbers(step, rank, ranks), num_workers=2
        )

    Each process holds about `window` row groups, images still compressed, and 8 bytes a row.
    Tools that shard or skip batches by themselves (accelerate's `prepare` and
    `skip_first_batches`, `DistributedSampler(shuffle=False)`) take
    `DataLoader(stream, batch_size=1, collate_fn=operator.itemgetter(0))`.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        transform: "Transform | None" = None,
        batch_size: int = 64,
        *,
        epochs: int = 1,
        window: int = 16,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        config: str = "patterns",
        drop_last: bool = False,
    ) -> None:
        """List the row groups of a split.

        Args:
            folder: of the data set, or an fsspec URL such as hf://datasets/user/name.
            split: train or validation.
            transform: applied to the columns of each batch, its `epoch` set to the batch's.
            batch_size: rows in a batch; the last of an epoch may have fewer.
            epochs: times that each row appears; the paper shows each pattern 30 times.
            window: row groups that a batch is drawn from; see `shuffled_rows`.
            seed: of the order.
            columns: those to read; all by default.
            config: subfolder of the data set.
            drop_last: leave out what is left of an epoch after its last whole batch.

        Raises:
            DatasetError: no such split, a file that is missing, damaged or of other columns.
            SettingsError: a number out of range, or a column that is not there.
        """
        from fsspec.core import url_to_fs

        limits = {"batch_size": (batch_size, 1), "epochs": (epochs, 1), "window": (window, 1)}
        for name, (value, least) in {**limits, "seed": (seed, 0)}.items():
            if value < least:
                raise SettingsError(f"{name} = {value}: expected {least} or more.")
        self.transform, self.batch_size, self.epochs = transform, batch_size, epochs
        self.seed, self.columns = seed, columns and list(columns)
        self._files, root = url_to_fs(str(folder))
        self._groups, sizes = _row_groups(self._files, f"{root}/{config}", split, columns or ())
        self._starts = np.cumsum([0, *sizes])  # of each group; the last is the number of rows
        self.window = min(window, len(sizes))
        rows = int(self._starts[-1])
        self.batches_per_epoch = rows // batch_size if drop_last else -(-rows // batch_size)
        if not self.batches_per_epoch:
            raise SettingsError(f"{rows} rows are less than a batch of {batch_size}: lower it.")
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=int))
        self._held: dict[int, dict[str, np.ndarray]] = {}  # the last used at the end
        # A batch spans the window and as many more groups as its own rows fill.
        self._most_held = self.window + 2 + batch_size * len(sizes) // max(rows, 1)

    def __len__(self) -> int:
        """Return the number of batches of all epochs."""
        return self.epochs * self.batches_per_epoch

    def numbers(
        self, step: int = 0, rank: int = 0, world_size: int = 1, *, even: bool = True
    ) -> range:
        """Return the batches that a rank still has to see after so many steps.

        Args:
            step: batches that each rank has seen.
            rank: of this process.
            world_size: number of ranks; batch k belongs to rank k % world_size.
            even: give each rank as many, leaving out up to world_size - 1 at the very end;
                otherwise the first ranks may get one more.
        """
        end = len(self) - len(self) % world_size if even else len(self)
        return range(step * world_size + rank, end, world_size)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return a batch: columns as arrays of length b, images uint16 (b, n, n); or transformed.

        Raises:
            DatasetError: a file is gone or damaged since, or an image cannot be read.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"Batch {number} of {len(self)}.")
        epoch, batch = divmod(number, self.batches_per_epoch)
        rows = self._rows(epoch)[batch * self.batch_size :][: self.batch_size]
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        parts = []
        for group in np.unique(groups):
            here = rows[groups == group] - self._starts[group]
            parts.append({name: array[here] for name, array in self._group(group).items()})
        back = np.argsort(np.argsort(groups, kind="stable"))
        columns = {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}
        if "image" in columns:
            columns["image"] = self._decoded(columns["image"], groups)
        if self.transform is None:
            return columns
        return dataclasses.replace(self.transform, epoch=epoch)(columns)

    def _rows(self, epoch: int) -> np.ndarray:
        """Return the rows of the split in the order of an epoch."""
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._order = epoch, shuffled_rows(np.diff(self._starts), self.window, rng)
        return self._order[1]

    def _group(self, group: int) -> dict[str, np.ndarray]:
        """Return the columns of a row group; let go of the group not used for longest."""
        columns = self._held.pop(group, None)
        if columns is None:
            path, number = self._groups[group]
            with _opened(self._files, path) as file:
                table = file.read_row_group(number, columns=self.columns, use_threads=False)
            columns = {name: _array(table[name].combine_chunks()) for name in table.column_names}
        self._held[group] = columns
        if len(self._held) > self._most_held:
            del self._held[next(iter(self._held))]
        return columns

    def _decoded(self, pngs: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return the images of rows that stand in these groups, uint16 (b, n, n)."""
        images = map(self._image, pngs, groups)
        first = next(images)  # np.stack would hold all images twice, and take twice as long
        kind = np.dtype((np.uint16, first.shape))
        return np.fromiter(chain([first], images), dtype=kind, count=len(pngs))

    def _image(self, png: bytes, group: int) -> np.ndarray:
        try:
            return decode_png(png)
        except ValueError as error:
            path, number = self._groups[group]
            raise DatasetError(
                f"{path} has an image in row group {number} that cannot be read ({error}): remove "
                "the file and build it, or download it, again."
            ) from error


def has_split(folder: str | Path, split: str, config: str = "patterns") -> bool:
    """Tell whether a data set holds any file of a split; arguments as for `PatternStream`."""
    from fsspec.core import url_to_fs

    files, root = url_to_fs(str(folder))
    try:
        paths = files.ls(f"{root}/{config}", detail=False)
    except OSError:
        return False
    return any(posixpath.basename(path).startswith(f"{split}-") for path in paths)


def shuffled_rows(sizes: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of an epoch in random order, such that neighbors share few row groups.

    The groups stand on a ring in random order, one step apart, and each row falls on a uniformly
    random place in the `window` steps from its group on. So a row is equally likely anywhere in
    the epoch, each stretch of it mixes `window` groups evenly, and a reader holds no more than
    these; rows of one group stay within a share window / len(sizes) of the epoch. With
    window = len(sizes) every order of the rows is equally likely.

    Args:
        sizes: rows of each group, shape (g,).
        window: 1 to g.
        rng: of the order.
    """
    places = np.repeat(rng.permutation(len(sizes)), sizes)
    return np.argsort((places + window * rng.random(len(places))) % len(sizes), kind="stable")


def _row_groups(
    files: Any, folder: str, split: str, columns: Sequence[str]
) -> tuple[list[tuple[str, int]], list[int]]:
    """Return the row groups of a split, each as path and number in that file, and their rows.

    Raises:
        DatasetError: no such split, a file that is missing, damaged or of other columns.
        SettingsError: a column that is not there.
    """
    groups, sizes, schema = [], [], None
    for path in _shards(files, folder, split):
        with _opened(files, path) as file:
            if unknown := set(columns) - set(file.schema_arrow.names):
                raise SettingsError(f"{path} has no column {', '.join(sorted(unknown))}.")
            schema = schema or file.schema_arrow
            if not file.schema_arrow.equals(schema):
                raise DatasetError(
                    f"{path} has other columns than the first file of the split: remove it and "
                    "build it, or download it, again."
                )
            for number in range(file.num_row_groups):
                groups.append((path, number))
                sizes.append(file.metadata.row_group(number).num_rows)
    return groups, sizes


def _shards(files: Any, folder: str, split: str) -> list[str]:
    """Return the paths of a split's files, which are numbered i of n.

    Raises:
        DatasetError: none, or not all n.
    """
    name = re.compile(rf"{re.escape(split)}-\d+-of-(\d+)\.parquet")
    try:
        found = [posixpath.basename(path) for path in files.ls(folder, detail=False)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read ({error}): name a data set.") from error
    totals = [match[1] for match in map(name.fullmatch, found) if match]
    if not totals:
        raise DatasetError(
            f"{folder} holds no {split}-00000-of-*.parquet: name a split of the data set."
        )
    names = [f"{split}-{i:05d}-of-{totals[0]}.parquet" for i in range(int(totals[0]))]
    if missing := [name for name in names if name not in set(found)]:
        raise DatasetError(
            f"{folder} lacks {len(missing)} of {len(names)} files, such as {missing[0]}: build or "
            "download the rest."
        )
    return [f"{folder}/{name}" for name in names]


def _array(column: "pa.Array") -> np.ndarray:
    """Return a column as an array: of PNG bytes for images, of arrays for lists of any length."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):
        column = column.field("bytes")
    elif pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)


@contextmanager
def _opened(files: Any, path: str) -> Iterator["pq.ParquetFile"]:
    """Open a Parquet file of an fsspec file system.

    Raises:
        DatasetError: it is gone or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, filesystem=files, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{path} is missing or damaged ({error}): remove it and build it, or download it, "
            "again."
        ) from error
