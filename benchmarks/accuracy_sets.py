"""The sets of patterns that bench_accuracy.py measures, and the scans it makes of them.

Conditions: (a) calibrated and noise-free, (b) 1e5 counts, (c) 1e5 counts, a camera length off by
up to 10 % and a center off by up to 3 of 256 pixels, which no method is told. (b) and (c) are drawn
several times. A scan has a row of points for each draw, or as many as the set has rows.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from common import multislice_conditions
from held_out import HeldOut, held_out

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.scans.phantom import UINT16_MAX, Phantom, make_phantom
from zoneaxis.scans.writing import write_scan

CONDITIONS = ("a", "b", "c")
COMPARED = 1.8  # largest wave vector that methods compare, as in `zoneaxis match`
PHANTOM_SIMULATED, PHANTOM_COMPARED = 1.9, 1.55  # its frame ends at 1.6
PHANTOM = replace(Phantom(), counts=1.5e6)  # all but noise-free, and no pixel saturates
HELD_OUT = {"held-out": HeldOut(), "held-out precession": HeldOut(precession_deg=0.6)}
MULTISLICE = ("plain", "precession")
SETS = (*MULTISLICE, *HELD_OUT, "phantom")


@dataclass(frozen=True, eq=False)
class PatternSet:
    """Patterns of known orientation, and the grid of points that a scan of them has.

    Attributes:
        name: one of `SETS`.
        shape: rows and columns of the grid, of n points in all.
        patterns: fractions of the beam, shape (n, size, size).
        matrices: their orientations, shape (n, 3, 3).
        thickness_nm: shape (n,).
        crystalline: False for vacuum and amorphous material, shape (n,).
        inv_angstrom_per_pixel: size of a pixel.
        optics: what methods are told.
        most_draws: of noise and displacement.
    """

    name: str
    shape: tuple[int, int]
    patterns: np.ndarray
    matrices: np.ndarray
    thickness_nm: np.ndarray
    crystalline: np.ndarray
    inv_angstrom_per_pixel: float
    optics: Optics
    most_draws: int = 1000


@dataclass(frozen=True)
class Exposure:
    """How patterns become counts: electrons a pattern, draws of (b) and (c), the first seed."""

    counts: float = 1e5
    draws: int = 5
    seed: int = 0


def load_set(name: str, crystal: Crystal, cache: Path, data: Path, most: int | None) -> PatternSet:
    """Return a set.

    Args:
        name: one of `SETS`.
        crystal: LiNiO2, of which the multislice patterns are.
        cache: folder that keeps what is simulated.
        data: folder of the multislice patterns.
        most: take so many patterns; None for all.
    """
    if name == "phantom":
        return _phantom(crystal, most)
    if name in HELD_OUT:
        recipe = HELD_OUT[name]
        recipe = replace(recipe, n=min(most or recipe.n, recipe.n))
        arrays = held_out(crystal, recipe, cache)
        pixel, precession = recipe.inv_angstrom_per_pixel, recipe.precession_deg
    else:
        with np.load(data / f"{name}.npz") as file:
            arrays = {key: file[key][:most] for key in ("pattern", "euler", "thickness_nm")}
            pixel, precession = (
                float(file[key]) for key in ("inv_angstrom_per_pixel", "precession_deg")
            )
    return PatternSet(
        name=name,
        shape=(1, len(arrays["euler"])),
        patterns=arrays["pattern"],
        matrices=matrices_from_euler(arrays["euler"]),
        thickness_nm=arrays["thickness_nm"],
        crystalline=np.full(len(arrays["euler"]), True),
        inv_angstrom_per_pixel=pixel,
        optics=Optics(precession_deg=precession, k_max_inv_angstrom=COMPARED),
    )


def available_sets(data: Path) -> list[str]:
    """Return the sets whose patterns are there or can be simulated."""
    return [name for name in SETS if name not in MULTISLICE or data.is_dir()]


def part(shape: tuple[int, int], most: int | None) -> tuple[slice, slice]:
    """Return the first rows, or columns of the first row, that make `most` points at most."""
    rows, cols = shape
    if most is None:
        return slice(0, rows), slice(0, cols)
    return slice(0, min(max(most // cols, 1), rows)), slice(0, min(most, cols))


def write_scans(
    patterns: PatternSet, exposure: Exposure, folder: Path, key: str
) -> dict[str, Path]:
    """Return the scan of each condition, written unless `folder` has it.

    (a) holds float32, (b) and (c) counts in uint16, the draws below each other.

    Args:
        patterns: the set.
        exposure: counts, draws and seed.
        folder: where scans are kept; remove it to draw anew.
        key: tells apart what else decides the patterns.
    """
    name = patterns.name.replace(" ", "_")
    paths = {c: folder / f"{name}_{c}_{key}.hspy" for c in CONDITIONS}
    if all(path.is_file() for path in paths.values()):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    for condition, counts in _expose(patterns, exposure).items():
        write_scan(
            paths[condition],
            counts,
            step_nm=1.0,
            inv_angstrom_per_pixel=patterns.inv_angstrom_per_pixel,
            title=f"{patterns.name}, condition {condition}",
        )
    return paths


def _expose(patterns: PatternSet, exposure: Exposure) -> dict[str, np.ndarray]:
    """Return counts of each condition, shape (draws * rows, columns, size, size)."""
    drawn = {"a": [patterns.patterns * np.float32(exposure.counts)], "b": [], "c": []}
    for draw in range(min(exposure.draws, patterns.most_draws)):
        made = multislice_conditions(patterns.patterns, exposure.counts, exposure.seed + draw)
        for condition in "bc":
            saturated = made[condition].clip(max=UINT16_MAX)  # as a camera does
            drawn[condition].append(saturated.astype(np.uint16))
    cols, size = patterns.shape[1], patterns.patterns.shape[1:]
    return {c: np.concatenate(counts).reshape(-1, cols, *size) for c, counts in drawn.items()}


def _phantom(crystal: Crystal, most: int | None) -> PatternSet:
    """Return the default phantom."""
    optics = Optics(k_max_inv_angstrom=PHANTOM_SIMULATED)
    counts, truth = make_phantom(crystal, optics, PHANTOM)
    # Shuffled, so that any rows are a fair sample.
    number = np.random.default_rng(PHANTOM.seed).permutation(truth.phase.size)
    number = number.reshape(PHANTOM.shape)[part(PHANTOM.shape, most)]
    row, col = np.unravel_index(number.ravel(), PHANTOM.shape)
    return PatternSet(
        name="phantom",
        shape=number.shape,
        patterns=counts[row, col] / np.float32(PHANTOM.counts),
        matrices=truth.matrices[row, col],
        thickness_nm=truth.properties["thickness_nm"][row, col],
        crystalline=truth.phase[row, col] >= 0,
        inv_angstrom_per_pixel=PHANTOM.inv_angstrom_per_pixel,
        optics=Optics(k_max_inv_angstrom=PHANTOM_COMPARED),
        most_draws=1,
    )
