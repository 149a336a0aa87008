"""The README.md of a data set folder: its card, and what `datasets` opens it by."""

from pathlib import Path

from zoneaxis import __version__
from zoneaxis.cards import ConfigFacts, CrystalFacts, DatasetFacts, render_dataset_card
from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.schema import COLUMNS, DECODING, ENCODING
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.files import atomic_path


def write_card(
    folder: Path,
    recipe: Recipe,
    rows: dict[str, int],
    directions: int,
    held_out_deg: float | None = None,
) -> None:
    """Write README.md where there is none; one that is there may be a user's and is kept.

    Args:
        folder: of the data set.
        recipe: how it was made.
        rows: number of rows of each split that has any.
        directions: number of beam directions in all splits together.
        held_out_deg: median angle from a validation direction to the nearest one for training.
    """
    path = folder / "README.md"
    if not path.exists():
        with atomic_path(path) as temporary:
            text = render_dataset_card(dataset_facts(recipe, rows, directions, held_out_deg))
            temporary.write_text(text, encoding="utf-8")


def dataset_facts(
    recipe: Recipe, rows: dict[str, int], directions: int, held_out_deg: float | None = None
) -> DatasetFacts:
    """Return what the card of a recipe's data set says; arguments as `write_card`."""
    crystal = Crystal.from_dict(recipe.crystal)
    spacing = (
        "quasi-random" if recipe.scheme == "random" else f"equispaced by {recipe.resolution:g}°"
    )
    patterns = ConfigFacts(
        name="patterns",
        summary="A row is the pattern of one beam direction at one thickness.",
        rows=tuple(rows.items()),
        columns=COLUMNS,
    )
    return DatasetFacts(
        name=f"Simulated diffraction patterns of {crystal.name}",
        crystal=crystal_facts(crystal),
        engine="Bloch waves with absorption: every reflection near the Ewald sphere, every "
        "incident tilt of the cone",
        sampling=f"{spacing} over the sector of the full point group",
        directions=directions,
        held_out_deg=held_out_deg,
        thicknesses=recipe.thicknesses,
        thickness_nm=recipe.thickness_nm,
        voltage_kv=recipe.voltage_kv,
        convergence_mrad=recipe.convergence_mrad,
        precession_deg=recipe.precession_deg,
        k_max_inv_angstrom=recipe.k_max_inv_angstrom,
        size=recipe.size,
        inv_angstrom_per_pixel=recipe.inv_angstrom_per_pixel,
        encoding=ENCODING,
        decoding=DECODING,
        configs=(patterns,),
        dataset_id=recipe.id,
        version=__version__,
        limits=_limits(crystal),
    )


def crystal_facts(crystal: Crystal) -> CrystalFacts:
    """Return a crystal as cards describe it."""
    # diffpy writes H for the hexagonal setting of a rhombohedral group; nobody else does.
    symbol = crystal.phase.space_group.short_name.replace("H", "R")
    return CrystalFacts(
        name=crystal.name,
        space_group=f"{symbol} ({crystal.space_group})",
        point_group=crystal.point_group.proper_subgroup.name,
        cell=crystal.cell,
    )


def _limits(crystal: Crystal) -> tuple[str, ...]:
    if crystal.mirror is None:
        return ()
    return (
        "Half of all orientations are left out: mirror a pattern left to right to have that of "
        "M G diag(-1, 1, 1), M being an improper operator of the point group.",
    )
