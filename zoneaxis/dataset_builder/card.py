"""What the folder of a data set says about itself: README.md, figures and croissant.json."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoneaxis import __version__
from zoneaxis.cards import (
    ConfigFacts,
    CrystalFacts,
    DatasetFacts,
    FigureFacts,
    render_dataset_card,
)
from zoneaxis.dataset_builder.card_figures import sampled_group, write_figures
from zoneaxis.dataset_builder.croissant import CROISSANT_FILE, croissant
from zoneaxis.dataset_builder.disk_rows import recipe_tilts
from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.plan import BATCH, Plan, held_out_deg
from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.recipe_base import PatternRecipe
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.dataset_builder.schema import CLASSES, CONFIGS, DECODING, ENCODING, PATTERNS
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.files import atomic_path

CARD_FILE = "README.md"
SUMMARIES = {
    "patterns": "A row is the pattern of one {row} at one thickness.",
    "disks": "A row is what the same row of `patterns` was drawn from, disk by disk in lists.",
    "classes": "A row is a class as the paper counts them: {klass}.",
}
ABSORPTION = {
    "Lobato": "none (Lobato): elastic scattering alone",
    "Lobato-absorptive": "a tenth of the elastic scattering (Lobato), a rough guess",
    "WK": "none (WK): elastic scattering alone",
    "WK-C": "by core losses alone (WK-C)",
    "WK-P": "by phonons (WK-P): what they scatter is missing from the disks; intensities agree "
    "with multislice within 6 %, and suit a camera without an energy filter",
    "WK-CP": "by phonons and core losses (WK-CP), as behind an energy filter: beams are 1.4 to 1.6 "
    "times weaker than in multislice, or on a camera without a filter",
}
SCHEMES = {
    "random": "quasi-random (scrambled Halton sequence), uniform",
    "stepped": "equal steps of {step:g}° in Phi and phi2 as in the paper's second data set, which "
    "crowd round Phi = 0, where all phi2 are one direction",
    "equispaced": "equispaced by {step:g}° (orix, spherified cube), nearly uniform",
    "so3": "whole orientations equispaced by {step:g}° (orix, cubochoric), nearly uniform",
}
DIRECTIONS_SPLIT = (
    "Splits share no beam direction: validation holds whole directions out, at every thickness, "
    "and no equivalent or mirror of one is trained on. The median distance of a validation "
    "direction to the nearest training direction, symmetry and mirror included, is {:.2f} degrees."
)
ROWS_SPLIT = (
    "Rows are held out at random ({:.0%} of them), as in the paper, whatever their direction: most "
    "directions of validation are trained on as well, at other thicknesses. Validation then tells "
    "whether a network recognizes directions that it was trained on; it does not prove that "
    "directions between these are recognized, as those of every real grain are."
)
SCAN_SPLIT = (
    "Splits share no grain: validation holds whole grains out. Yet a grain that unindexed points "
    "cut in two counts as two, and grains far apart may be alike in orientation."
)
NO_SPLIT = "Nothing is held out: measure a network on other data than these."
SIMULATION_LIMITS = (
    "These are simulations of one perfect crystal at a time: no overlapping grains, no strain, no "
    "defects.",
    "They are free of noise, camera blur, diffuse scattering and amorphous rings: draw these while "
    "training.",
)
NO_PHI1_LIMIT = "In-plane rotations (phi1) are not stored: turn the pattern while training."
MIRROR_LIMIT = (
    "Half of all orientations are left out: mirror a pattern left to right to have that of "
    "M G diag(-1, 1, 1), M being an improper operator of the point group."
)
SCAN_LIMITS = (
    "The labels are those of a map, with its mistakes: a network learns these too.",
    "One scan, one microscope, one camera: the grains that happened to be in it, at thicknesses "
    "that nobody measured.",
)


def write_card(folder: Path, recipe: Recipe, plan: Plan) -> None:
    """Write croissant.json, and figures and README.md where there are none.

    A card or figure that is there may be a user's and is kept.

    Args:
        folder: of a data set whose tables and manifest are complete.
        recipe: how it was made.
        plan: of the recipe.

    Raises:
        OutputError: a file cannot be written.
    """
    _write(folder, dataset_facts(recipe, plan, write_figures(folder, recipe)))


def write_scan_card(folder: Path, recipe: ScanRecipe, rows: dict[str, int]) -> None:
    """Do what `write_card` does for a data set made from a measured scan.

    Args:
        folder: of a data set whose tables and manifest are complete.
        recipe: how it was made.
        rows: number of rows of each split that has any.

    Raises:
        OutputError: a file cannot be written.
    """
    _write(folder, scan_facts(recipe, rows, write_figures(folder, recipe)))


def dataset_facts(
    recipe: Recipe, plan: Plan, figures: tuple[FigureFacts, ...] = ()
) -> DatasetFacts:
    """Return what the card of a simulated data set says."""
    crystal = Crystal.from_dict(recipe.crystal)
    return DatasetFacts(
        name=f"Simulated diffraction patterns of {crystal.name}",
        summary=f"Simulated electron diffraction patterns of {crystal.name} with the orientation "
        "and thickness of each, to train networks that map crystal orientations from 4D-STEM "
        "scans.",
        made=tuple(_made(recipe, plan, crystal)),
        split=_split(recipe, plan, crystal),
        configs=_configs(recipe, plan),
        limits=tuple(_limits(recipe, crystal)),
        disk_rings=math.isqrt(len(recipe_tilts(recipe)) // 3),  # of 1 + 3 r (r + 1) tilts
        figures=figures,
        tags=("physics-simulation",),
        **_common(recipe, crystal),
    )


def scan_facts(
    recipe: ScanRecipe, rows: dict[str, int], figures: tuple[FigureFacts, ...] = ()
) -> DatasetFacts:
    """Return what the card of a measured data set says."""
    crystal = Crystal.from_dict(recipe.crystal)
    summary = "A row is the pattern of one point of the scan with the map's orientation of it."
    return DatasetFacts(
        name=f"Measured diffraction patterns of {crystal.name}",
        summary=f"Electron diffraction patterns of {crystal.name} measured in a 4D-STEM scan, with "
        "the orientation that a map of it gives to each.",
        made=tuple(_measured(recipe)),
        split=SCAN_SPLIT if "validation" in rows else NO_SPLIT,
        configs=(ConfigFacts(PATTERNS, summary, tuple(rows.items()), CONFIGS[PATTERNS]),),
        limits=SCAN_LIMITS,
        license="unknown",  # whoever measured the scan knows
        figures=figures,
        **_common(recipe, crystal),
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


def _write(folder: Path, facts: DatasetFacts) -> None:
    """Write croissant.json, which holds the checksums, and README.md where there is none."""
    values = croissant(facts, read_manifest(folder).files)
    with atomic_path(folder / CROISSANT_FILE) as path:
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
    if not (folder / CARD_FILE).exists():
        with atomic_path(folder / CARD_FILE) as path:
            path.write_text(render_dataset_card(facts), encoding="utf-8")


def _common(recipe: PatternRecipe, crystal: Crystal) -> dict[str, Any]:
    """Return the facts that all kinds of data sets have in common."""
    return {
        "crystal": crystal_facts(crystal),
        "size": recipe.size,
        "inv_angstrom_per_pixel": recipe.inv_angstrom_per_pixel,
        "encoding": ENCODING,
        "decoding": DECODING,
        "dataset_id": recipe.id,
        "version": __version__,
    }


def _configs(recipe: Recipe, plan: Plan) -> tuple[ConfigFacts, ...]:
    numbers, phi1 = plan.class_grid(recipe)
    rows = tuple((split, n) for split, n in plan.rows().items() if n)
    words = {"row": "beam direction", "klass": f"a direction at one of {len(phi1)} angles phi1"}
    if recipe.scheme == "so3":
        words = {"row": "orientation", "klass": "a simulated orientation"}
    return tuple(
        ConfigFacts(
            name,
            SUMMARIES[name].format(**words),
            (("train", len(numbers) * len(phi1)),) if name == CLASSES else rows,
            columns,
        )
        for name, columns in CONFIGS.items()
    )


def _made(recipe: Recipe, plan: Plan, crystal: Crystal) -> Iterator[tuple[str, str]]:
    """Yield how a data set was simulated."""
    yield (
        "simulation",
        "Bloch waves: every reflection near the Ewald sphere, every incident tilt of the cone",
    )
    yield "absorption", ABSORPTION[recipe.absorption]
    yield "directions", _sampling(recipe, plan, crystal)
    if recipe.scheme != "so3":
        yield "in-plane angle phi1", "drawn for each direction" if recipe.random_phi1 else "0"
    span = recipe.thickness_nm
    if recipe.thicknesses == 1 and not recipe.random_thickness:
        span = (span[0], span[0])  # "evenly spaced" begins there
    thicknesses = f"{recipe.thicknesses} of each direction, {_span(span)} nm, "
    drawn = f"one drawn from each equal part of the range for every {BATCH} directions"
    yield "thicknesses", thicknesses + (drawn if recipe.random_thickness else "evenly spaced")
    yield "largest wave vector", f"{recipe.k_max_inv_angstrom:g} 1/Å"
    yield from _optics(recipe, f", drawn for every {BATCH} directions")


def _measured(recipe: ScanRecipe) -> Iterator[tuple[str, str]]:
    """Yield how a data set was made from a measured scan."""
    yield "scan", f"{recipe.scan_name}, SHA-256 {recipe.scan_sha256}"
    yield "labels", f"{recipe.labels_name}, SHA-256 {recipe.labels_sha256}"
    least = {"correlation index": recipe.min_q, "reliability": recipe.min_r}
    taken = [f"with {name} of at least {q:g}" for name, q in least.items() if q is not None]
    yield "points", f"all that are indexed {' and '.join(taken)}".strip()
    grain = f"neighbors within {recipe.grain_tolerance_deg:g} degrees of each other"
    yield "grains", f"{grain}; those with fewer than {recipe.smallest_grain:,} points are left out"
    row, column = recipe.direct_beam_px
    yield "frame", f"cut from the camera's around the direct beam at row {row}, column {column}"
    yield "intensity", "counts over the total counts of the whole pattern"
    yield from _optics(recipe, "")


def _optics(recipe: PatternRecipe, drawn: str) -> Iterator[tuple[str, str]]:
    """Yield voltage, convergence and precession; `drawn` tells how one of a range is chosen."""

    def angle(ends: tuple[float, float], unit: str) -> str:
        return f"{_span(ends)} {unit}{drawn if ends[0] < ends[1] else ''}"

    yield "voltage", f"{recipe.voltage_kv:g} kV"
    yield "convergence semi-angle", angle(recipe.convergence_mrad, "mrad")
    share, precession = recipe.precessed_share, angle(recipe.precession_deg, "degrees")
    if share not in (0, 1):
        precession = f"{share:.0%} of the patterns: {precession}"
    yield "precession", precession if share else "none"


def _sampling(recipe: Recipe, plan: Plan, crystal: Crystal) -> str:
    """Return how many directions there are, and how and where they were chosen."""
    group = sampled_group(recipe, crystal)
    proper = group == crystal.point_group.proper_subgroup
    sector = f"{'proper' if proper else 'full'} point group {group.name}"
    if proper and crystal.mirror is not None:
        sector += ", mirrored directions included"
    chosen = SCHEMES[recipe.scheme].format(step=recipe.resolution)
    if recipe.scheme == "stepped" and recipe.Phi_end_deg is not None:
        chosen += f", Phi to {recipe.Phi_end_deg:g}°"
    return f"{len(plan.orientations_deg):,}, {chosen}, over the sector of the {sector}"


def _split(recipe: Recipe, plan: Plan, crystal: Crystal) -> str:
    if not plan.held_out.any():
        return NO_SPLIT
    if recipe.split == "rows":
        return ROWS_SPLIT.format(plan.held_out.mean())
    return DIRECTIONS_SPLIT.format(held_out_deg(plan, crystal))


def _limits(recipe: Recipe, crystal: Crystal) -> Iterator[str]:
    yield from SIMULATION_LIMITS
    if recipe.scheme != "so3" and not recipe.random_phi1:
        yield NO_PHI1_LIMIT
    if sampled_group(recipe, crystal) != crystal.point_group.proper_subgroup:
        yield MIRROR_LIMIT


def _span(ends: tuple[float, float]) -> str:
    """Return a range as "1.3 to 1.8", or one number where both ends agree."""
    low, high = ends
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
