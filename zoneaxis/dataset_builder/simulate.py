"""Simulating the rows of a data set, a batch of directions at a time, and writing a shard."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoneaxis.dataset_builder.disk_rows import disk_columns, recipe_tilts
from zoneaxis.dataset_builder.plan import Plan, Shard, plan_of
from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.schema import CLASSES, DISKS, PARQUET, PATTERNS, arrow_schema, encode
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import turned
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import StructureFactors, structure_factors
from zoneaxis.errors import SettingsError
from zoneaxis.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Physics:
    """What a worker needs to simulate: it looks nothing up and draws nothing twice.

    Attributes:
        recipe: what to simulate.
        crystal: of the recipe.
        plan: all its rows.
        factors: structure factors of its crystal, up to the difference of any two beams.
        tilts: incident tilts, the same for all rows, shape (t, 2).
    """

    recipe: Recipe
    crystal: Crystal
    plan: Plan
    factors: StructureFactors
    tilts: torch.Tensor


@lru_cache(maxsize=2)
def physics_of(recipe_json: str) -> Physics:
    """Return what simulating a recipe, given as JSON, takes; worked out once a process."""
    recipe = Recipe.from_json(recipe_json)
    crystal = Crystal.from_dict(recipe.crystal)
    factors = structure_factors(
        crystal, recipe.voltage_kv, 2 * recipe.k_max_inv_angstrom, recipe.absorption
    )
    return Physics(recipe, crystal, plan_of(recipe_json), factors, recipe_tilts(recipe))


def write_shard(
    recipe_json: str,
    shard: Shard,
    folder: str,
    device: str = "cpu",
    checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Simulate one shard and write its files, each under its name once it is whole.

    Args:
        recipe_json: of the data set.
        shard: its files and batches.
        folder: of the data set.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        checkpoint: called after each batch; what it raises ends the work and leaves no file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    physics = physics_of(recipe_json)
    with one_thread(), ExitStack() as files:
        writers = {}
        for config in (PATTERNS, DISKS):
            schema = arrow_schema(config, recipe_json)
            for split in shard.splits:
                path = files.enter_context(atomic_path(Path(folder) / shard.file(config, split)))
                writers[config, split] = files.enter_context(
                    pq.ParquetWriter(path, schema, **PARQUET)
                )
        for batch in shard.batches:
            tables = simulate(physics, batch, chosen_device(device))
            held_out = pa.array(physics.plan.held_out[list(batch)].ravel())
            for (config, split), writer in writers.items():
                kept = held_out if split == "validation" else pc.invert(held_out)
                writer.write_table(tables[config].filter(kept))
            checkpoint()


def simulate(
    physics: Physics, batch: tuple[int, ...], device: str = "cpu"
) -> dict[str, "pa.Table"]:
    """Return the rows of a batch of orientations, a table for each of `patterns` and `disks`.

    The same whatever else is simulated; rows are ordered by orientation, then thickness.
    """
    recipe = physics.recipe
    rng = np.random.default_rng([recipe.seed, batch[0]])
    convergence, shares = (
        rng.uniform(*recipe.convergence_mrad),
        rng.uniform(size=recipe.thicknesses),
    )
    precessed, precession = (
        rng.uniform() < recipe.precessed_share,
        rng.uniform(*recipe.precession_deg),
    )
    optics = recipe.optics(convergence, precession if precessed else 0.0)
    euler = physics.plan.orientations_deg[list(batch)]
    thicknesses = thicknesses_of(recipe, shares)
    disks = bloch_disks(
        physics.crystal,
        optics,
        euler[:, 1:],
        thicknesses,
        tilts=physics.tilts,
        factors=physics.factors,
        device=device,
    )
    phi1 = torch.from_numpy(euler[:, 0])
    patterns = render(disks, recipe.size, recipe.inv_angstrom_per_pixel, phi1.to(device))
    disks = disks.to("cpu")
    labels = _labels(batch, euler, thicknesses, optics.convergence_mrad, optics.precession_deg)
    images = [{"bytes": encode(p), "path": None} for p in patterns.flatten(0, 1).cpu().numpy()]
    lists = disk_columns(turned(disks, phi1) if phi1.any() else disks)
    text = recipe.to_json()
    return {
        PATTERNS: table_of(PATTERNS, {"image": images, **labels}, text),
        DISKS: table_of(DISKS, {**labels, **lists}, text),
    }


def thicknesses_of(recipe: Recipe, shares: np.ndarray) -> np.ndarray:
    """Return the thicknesses of a batch in nm; shares in 0..1 place them where they are drawn."""
    low, high = recipe.thickness_nm
    if not recipe.random_thickness:
        return np.linspace(low, high, recipe.thicknesses)
    return low + (high - low) * (np.arange(recipe.thicknesses) + shares) / recipe.thicknesses


def write_classes(path: Path, recipe: Recipe, plan: Plan) -> None:
    """Write config `classes`: every direction at every in-plane angle, as the paper counts them.

    For scheme "so3" a class is a simulated orientation.
    """
    import pyarrow.parquet as pq

    number, phi1 = (grid.ravel() for grid in np.meshgrid(*plan.class_grid(recipe), indexing="ij"))
    euler = plan.orientations_deg[number]
    columns = {
        "class_id": np.arange(len(number)),
        "direction_id": number,
        "phi1_deg": euler[:, 0] if recipe.scheme == "so3" else phi1,
        "Phi_deg": euler[:, 1],
        "phi2_deg": euler[:, 2],
    }
    with atomic_path(path) as temporary:
        table = table_of(CLASSES, columns, recipe.to_json())
        pq.write_table(table, temporary, **PARQUET)


def chosen_device(device: str) -> str:
    """Return the device of this process: "auto" is a GPU where there is one.

    Raises:
        SettingsError: no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cpu" or (kind == "cuda" and int(number or 0) < torch.cuda.device_count()):
        return device
    raise SettingsError(f"device = {device}: there is none here; take cpu, or auto.")


def _labels(
    batch: tuple[int, ...],
    euler_deg: np.ndarray,
    thicknesses_nm: np.ndarray,
    convergence_mrad: float,
    precession_deg: float,
) -> dict[str, Any]:
    each = len(thicknesses_nm)
    phi1, phi, phi2 = euler_deg.repeat(each, axis=0).T
    rows = len(phi)
    return {
        "direction_id": np.repeat(batch, each),
        "phi1_deg": phi1,
        "Phi_deg": phi,
        "phi2_deg": phi2,
        "thickness_nm": np.tile(thicknesses_nm, len(batch)),
        "beam_direction": beam_directions(euler_deg).repeat(each, axis=0).tolist(),
        "convergence_mrad": np.full(rows, convergence_mrad),
        "precession_deg": np.full(rows, precession_deg),
    }


def table_of(config: str, columns: dict[str, Any], recipe_json: str) -> "pa.Table":
    """Return a table of a config, each column in the schema's type."""
    import pyarrow as pa

    schema = arrow_schema(config, recipe_json)
    arrays = [
        value.cast(field.type)
        if isinstance(value := columns[field.name], pa.Array)
        else pa.array(value, field.type, safe=False)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch sum in one thread, so that any number of workers gives the same bytes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
