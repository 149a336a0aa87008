"""Measured scan and reference map -> the same kind of folder that `build` makes of a simulation."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoneaxis.dataset_builder.build import claim
from zoneaxis.dataset_builder.card import write_scan_card
from zoneaxis.dataset_builder.manifest import Manifest, file_entry, write_manifest
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.dataset_builder.scan_rows import rows_of
from zoneaxis.dataset_builder.schema import PARQUET, PATTERNS, encode
from zoneaxis.dataset_builder.simulate import table_of
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.diffraction.polar import direct_beam_center
from zoneaxis.errors import MapError, ScanError
from zoneaxis.files import atomic_path
from zoneaxis.scans.indexing import blocks, usable
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

READ_TOGETHER = 256  # patterns, or a chunk of the file where that is more
ROW_GROUP = 256


def build_scan_dataset(
    scan: Scan | str | Path,
    labels: str | Path,
    folder: str | Path,
    crystal: Crystal,
    *,
    direct_beam_px: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Path:
    """Make a data set of a measured scan and a map of it; shards that are there are kept.

    A row is the pattern of a point that the map indexes, over its own total counts; its label is
    the map's best orientation, thickness unknown, and its direction_id the number of its grain.
    Train and validation share no grain. Yet a grain that unindexed points cut in two counts as
    two, and grains far apart may be alike in orientation: such may stand in both.

    Patterns are cut to the largest square around the direct beam, by whole pixels and one cut for
    the whole scan: nothing is interpolated, and the beam wanders in the rows as it did in the
    microscope. Memory holds one block of the file and one shard of encoded images.

    Args:
        scan: with a known pixel size.
        labels: the reference map, .ang, .ctf or .h5, in the frame of the patterns.
        folder: made where absent, see `build`; an interrupted build, started again, goes on.
        crystal: with its sites, which files of maps lack.
        direct_beam_px: (row, column) of the direct beam; found in the mean pattern by default.
        progress: called with (patterns done since the last call, patterns in all).
        settings: of `ScanRecipe`; its convergence_mrad and precession_deg here as single numbers.

    Returns:
        The folder.

    Raises:
        ScanError: no pixel size, a damaged file, or no usable pattern.
        MapError: a map of other points or of another crystal, or no point fulfils the settings.
        SettingsError: a setting out of range.
        DatasetError: the folder holds a data set of another recipe.
        OutputError: the folder cannot be written.
    """
    scan = scan if isinstance(scan, Scan) else Scan.open(scan)
    found = OrientationMap.load(labels, crystal)
    recipe = _recipe(scan, Path(labels), crystal, direct_beam_px, settings)
    points = _selected(scan, found, recipe)
    good, mean = _survey(scan, points)
    if direct_beam_px is None:
        recipe = _centered(recipe, mean)
    rows = rows_of(found, points[good], recipe)
    folder = Path(folder)
    claim(folder, recipe)
    report = progress or (lambda done, total: None)
    waiting = {name: part for name, part in rows.shards.items() if not (folder / name).is_file()}
    report(len(rows.points) - sum(map(len, waiting.values())), len(rows.points))
    for name, part in waiting.items():
        _write_shard(folder / name, scan, found, recipe, rows.points[part], rows.grain[part])
        report(len(part), len(rows.points))
    files = {name: file_entry(folder / name, len(part)) for name, part in rows.shards.items()}
    write_manifest(folder, Manifest(recipe.id, files))
    write_scan_card(folder, recipe, rows.count)
    return folder


def _recipe(
    scan: Scan,
    labels: Path,
    crystal: Crystal,
    direct_beam_px: tuple[int, int] | None,
    settings: dict[str, Any],
) -> ScanRecipe:
    """Return the recipe, with the beam in the middle of the frame where nobody says better."""
    if scan.inv_angstrom_per_pixel is None:
        raise ScanError(
            f"{scan.path} does not say how large a pattern pixel is: give it in 1/Angstrom "
            "with --inv-angstrom-per-pixel."
        )
    settings = dict(settings)
    for name in ("convergence_mrad", "precession_deg"):
        if name in settings:
            settings[name] = (settings[name],) * 2
    frame = scan.patterns.shape[2:]
    beam = direct_beam_px or (frame[0] // 2, frame[1] // 2)
    return ScanRecipe(
        crystal=crystal.to_dict(),
        scan_name=scan.path.name,
        scan_sha256=_sha256(scan.path),
        labels_name=labels.name,
        labels_sha256=_sha256(labels),
        inv_angstrom_per_pixel=scan.inv_angstrom_per_pixel,
        direct_beam_px=beam,
        size=_largest_square(frame, beam),
        **settings,
    )


def _largest_square(frame: tuple[int, int], beam_px: tuple[int, int]) -> int:
    """Return the edge n of the largest square in the frame that has the beam at [n//2, n//2]."""
    return min(min(2 * at + 1, 2 * (n - at)) for n, at in zip(frame, beam_px, strict=True))


def _centered(recipe: ScanRecipe, mean: np.ndarray) -> ScanRecipe:
    """Return the recipe with the square around the direct beam of the mean pattern (h, w)."""
    optics = recipe.optics(recipe.mean_convergence_mrad, 0.0)
    radius_px = optics.disk_radius_inv_angstrom / recipe.inv_angstrom_per_pixel
    center = direct_beam_center(torch.from_numpy(mean)[None], radius_px)[0]
    column, row = center.round().int().tolist()
    if (row, column) == recipe.direct_beam_px:
        return recipe
    size = _largest_square(mean.shape, (row, column))
    warnings.warn(
        f"{recipe.scan_name}: the direct beam stands at row {row}, column {column}, not at "
        f"{recipe.direct_beam_px}: the patterns are cut to {size} x {size} pixels around it.",
        stacklevel=3,
    )
    return replace(recipe, direct_beam_px=(row, column), size=size)


def _selected(scan: Scan, found: OrientationMap, recipe: ScanRecipe) -> np.ndarray:
    """Return the numbers of the points that the map indexes well enough, ascending, (n,)."""
    if found.shape != scan.shape:
        sizes = [f"{rows} x {cols}" for rows, cols in (found.shape, scan.shape)]
        raise MapError(
            f"{recipe.labels_name} has {sizes[0]} points, the scan {sizes[1]}: give the map of "
            "this scan."
        )
    values = {"Q": (found.score[..., 0], recipe.min_q), "R": (found.reliability, recipe.min_r)}
    chosen = found.indexed
    for value, least in values.values():
        if least is not None:
            chosen = chosen & (value >= least)
    if not found.indexed.any():
        raise MapError(f"{recipe.labels_name} indexes no point.")
    if not chosen.any():
        ranges = [
            f"{name} from {value[found.indexed].min():.3g} to {value[found.indexed].max():.3g}"
            for name, (value, _) in values.items()
        ]
        raise MapError(
            f"{recipe.labels_name}: no point reaches min_q = {recipe.min_q} and min_r = "
            f"{recipe.min_r}; its points have {' and '.join(ranges)}: lower them."
        )
    return np.flatnonzero(chosen)


def _survey(scan: Scan, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which points have a usable pattern, bool (n,), and the mean of these, (h, w)."""
    good = np.zeros(len(points), bool)
    mean = np.zeros(scan.patterns.shape[2:])
    for where, patterns in _patterns(scan, points):
        good[where] = fine = usable(patterns)
        for pattern in patterns[fine]:
            mean += _fraction(pattern) / len(points)
    bad = np.count_nonzero(~good)
    if bad == len(points):
        raise ScanError(
            f"{scan.path} has no usable pattern where the map is good: each is empty, or holds "
            "NaN, inf or negative counts. If a dark reference was subtracted, clip the counts at 0."
        )
    if bad:
        warnings.warn(
            f"{bad} of {len(points)} patterns hold NaN, inf, negative or no counts and are left "
            "out.",
            stacklevel=3,
        )
    return good, mean


def _patterns(scan: Scan, points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which of the points (k,) and their patterns (k, h, w), block by block."""
    number = np.full(scan.shape, -1)
    number.flat[points] = np.arange(len(points))
    for row, col in blocks(scan, READ_TOGETHER):
        chosen = number[row, col] >= 0
        if chosen.any():
            yield number[row, col][chosen], scan.read(row, col)[chosen]


def _fraction(pattern: np.ndarray) -> np.ndarray:
    """Return a pattern over its total counts, float64."""
    return pattern / pattern.sum(dtype=np.float64)


def _write_shard(
    path: Path,
    scan: Scan,
    found: OrientationMap,
    recipe: ScanRecipe,
    points: np.ndarray,
    grain: np.ndarray,
) -> None:
    """Write the rows of some points, under the file's name once it is whole."""
    import pyarrow.parquet as pq

    square = tuple(
        slice(at - recipe.size // 2, at - recipe.size // 2 + recipe.size)
        for at in recipe.direct_beam_px
    )
    images = [None] * len(points)
    for where, patterns in _patterns(scan, points):
        for number, pattern in zip(where, patterns, strict=True):
            images[number] = {"bytes": encode(_fraction(pattern)[square]), "path": None}
    euler = found.euler_deg[..., 0, :].reshape(-1, 3)[points]
    columns = {
        "image": images,
        "direction_id": grain,
        "phi1_deg": euler[:, 0],
        "Phi_deg": euler[:, 1],
        "phi2_deg": euler[:, 2],
        "thickness_nm": [None] * len(points),
        "beam_direction": beam_directions(euler).tolist(),
        "convergence_mrad": np.full(len(points), recipe.mean_convergence_mrad),
        "precession_deg": np.full(len(points), recipe.precession_deg[0]),
    }
    table = table_of(PATTERNS, columns, recipe.to_json())
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROW_GROUP, **PARQUET)


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's files (.zspy)."""
    if not path.is_dir():
        return file_entry(path).sha256
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = (f"{file_entry(file).sha256}  {file.relative_to(path).as_posix()}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
