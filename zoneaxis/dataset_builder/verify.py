"""Is a data set whole: checksums, schema, counts and coverage; a bad shard is built again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoneaxis.dataset_builder.build import build, rows_by_file
from zoneaxis.dataset_builder.manifest import Manifest, damaged, read_manifest
from zoneaxis.dataset_builder.plan import plan_of
from zoneaxis.dataset_builder.recipe import Recipe, read_recipe
from zoneaxis.dataset_builder.schema import CLASSES, CONFIGS, EULER, PATTERNS, arrow_schema
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import (
    full_operators,
    nearest_equivalent_deg,
    sample_directions,
)
from zoneaxis.errors import DatasetError

COVERAGE_STEP_DEG = 1.0


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        files: number of Parquet files that the data set is to have.
        whole: how many of them were as they should be.
        rows: of config `patterns`, all splits.
        bad: reason by file, for each that was not as it should be.
        rebuilt: those that were built again; what is no file of the data set is left as it is.
        changed: files that came out with other bytes than before, if rebuilt: another kind of
            machine, or another version of a library, made them first.
        directions: different directions in the data set.
        largest_gap_deg: from any direction of the crystal to the nearest one in the data set,
            symmetry and mirror included.
    """

    files: int
    whole: int
    rows: int
    bad: dict[str, str]
    rebuilt: tuple[str, ...]
    changed: tuple[str, ...]
    directions: int
    largest_gap_deg: float


def verify(folder: str | Path, *, rebuild: bool = True, workers: int | None = None) -> Verification:
    """Check every file of a data set, and build again those that are bad.

    Args:
        folder: that `build` made.
        rebuild: otherwise bad files are reported and left as they are.
        workers: processes of the building.

    Raises:
        DatasetError: no data set, an unfinished one, or a manifest of another one; bad files of a
            measured scan, which cannot be simulated again.
    """
    folder = Path(folder)
    recipe, manifest = read_recipe(folder), read_manifest(folder)
    if manifest.id != recipe.id:
        raise DatasetError(
            f"{folder}: recipe.json is of data set {recipe.id}, manifest.json of {manifest.id}: "
            "put back the recipe.json that belongs here."
        )
    bad = bad_files(folder, recipe, manifest)
    changed: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    if bad and rebuild:
        changed = _build_again(folder, recipe, manifest, bad, workers)
        manifest = read_manifest(folder)
        rebuilt = tuple(name for name in bad if name in manifest.files)
    directions = _directions(folder, manifest, without=() if rebuild else tuple(bad))
    return Verification(
        files=len(manifest.files),
        whole=len(manifest.files.keys() - bad.keys()),
        rows=sum(entry.rows for name, entry in manifest.files.items() if name.startswith(PATTERNS)),
        bad=bad,
        rebuilt=rebuilt,
        changed=changed,
        directions=len(np.unique(directions.round(4), axis=0)),
        largest_gap_deg=largest_gap_deg(directions, Crystal.from_dict(recipe.crystal)),
    )


def bad_files(folder: Path, recipe: Recipe, manifest: Manifest) -> dict[str, str]:
    """Return the reason by file, for each file that is not what recipe and manifest say."""
    bad = damaged(folder, manifest)
    expected = rows_by_file(recipe) if isinstance(recipe, Recipe) else {}
    for name in expected.keys() - manifest.files.keys():
        bad[name] = "the manifest does not know it"
    for config in CONFIGS:
        for path in (folder / config).glob("*.parquet"):
            if (name := f"{config}/{path.name}") not in manifest.files:
                bad[name] = "no file of this data set: remove it"
    for name, entry in manifest.files.items():
        if name in expected and entry.rows != expected[name]:
            bad[name] = f"{entry.rows:,} rows, {expected[name]:,} rows by the recipe"
        if name not in bad and (reason := _content(folder / name, name, entry.rows, recipe)):
            bad[name] = reason
    return dict(sorted(bad.items()))


def _content(path: Path, name: str, rows: int | None, recipe: Recipe) -> str | None:
    """Return what is wrong with the columns of a file whose checksum is right, if anything."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    config = name.split("/")[0]
    try:
        file = pq.ParquetFile(path)
        if not file.schema_arrow.equals(arrow_schema(config)):
            return "other columns than the schema's"
        if file.metadata.num_rows != rows:
            return f"{file.metadata.num_rows:,} rows, expected {rows:,}"
        if config == CLASSES or not isinstance(recipe, Recipe):
            return None
        table = file.read(["direction_id", *EULER])
    except (pa.ArrowException, OSError) as error:
        return f"no Parquet file ({error})"
    orientations = plan_of(recipe.to_json()).orientations_deg
    number, *euler = (column.to_numpy() for column in table.columns)
    if len(number) and not (0 <= number.min() <= number.max() < len(orientations)):
        return "a direction_id beyond the recipe's"
    if not np.allclose(np.stack(euler, axis=1), orientations[number], atol=1e-3):
        return "other orientations than the recipe's"
    return None


def _build_again(
    folder: Path, recipe: Recipe, before: Manifest, bad: dict[str, str], workers: int | None
) -> tuple[str, ...]:
    """Build the bad files again; return those whose bytes are not what the manifest had."""
    if not isinstance(recipe, Recipe):
        lost = [name for name in bad if name in before.files]
        if not lost:
            return ()
        raise DatasetError(
            f"{folder}: {len(lost)} bad files, such as {lost[0]} ({bad[lost[0]]}): "
            "they come from a scan; build the data set from it again in a new folder."
        )
    for name in bad.keys() & rows_by_file(recipe).keys():
        (folder / name).unlink(missing_ok=True)
    build(recipe, folder, workers=workers)
    after = read_manifest(folder).files
    return tuple(name for name in after if after[name] != before.files.get(name, after[name]))


def _directions(folder: Path, manifest: Manifest, without: tuple[str, ...]) -> np.ndarray:
    """Return (Phi, phi2) of all rows of config `patterns` in degrees, shape (n, 2)."""
    import pyarrow.parquet as pq

    names = [n for n in manifest.files if n.startswith(PATTERNS) and n not in without]
    if not names:
        return np.empty((0, 2))
    table = pq.read_table([folder / name for name in names], columns=list(EULER[1:]))
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def largest_gap_deg(directions_deg: np.ndarray, crystal: Crystal) -> float:
    """Return how far from all given directions a direction of the crystal can be.

    Args:
        directions_deg: (Phi, phi2), shape (n, 2).
        crystal: equivalent and mirrored directions count as given.

    Returns:
        In degrees, to about 1 degree of the grid that is tried; infinite for no directions.
    """
    if not len(directions_deg):
        return np.inf
    everywhere = sample_directions(crystal, COVERAGE_STEP_DEG, mirrored=True)
    unique = np.unique(directions_deg.round(4), axis=0)
    return float(nearest_equivalent_deg(everywhere, unique, full_operators(crystal)).max())
