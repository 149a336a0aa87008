"""Recipe: everything that decides the content of a data set, and nothing else."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoneaxis.dataset_builder.recipe_base import FORMAT, PatternRecipe, ascending, one_of
from zoneaxis.dataset_builder.sampling import Scheme, Sector, orientations_of
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.structure_factors import METHODS
from zoneaxis.errors import DatasetError, SettingsError

__all__ = [
    "FORMAT",
    "PRESETS",
    "RECIPE_FILE",
    "PatternRecipe",
    "Recipe",
    "ScanRecipe",
    "preset",
    "read_recipe",
    "recipe_from_json",
]

RECIPE_FILE = "recipe.json"
Split = Literal["directions", "rows"]
FRAME_BEYOND_K_MAX = 1.05  # the middle of an edge may reach this times k_max, a corner more


@dataclass(frozen=True)
class Recipe(PatternRecipe):
    """Settings of a simulated data set.

    Attributes:
        crystal: what `Crystal.to_dict` returns.
        voltage_kv: accelerating voltage.
        convergence_mrad: smallest and largest semi-angle; each batch of directions draws one, so
            that no network can read the camera length from the size of the disks.
        precession_deg: smallest and largest precession angle; a precessed batch draws one.
        precessed_share: share of the batches that are precessed, 0 to 1.
        k_max_inv_angstrom: largest simulated wave vector.
        absorption: one of `structure_factors`: none ("WK"), by phonons ("WK-P"), by core losses too
            ("WK-CP"), ...; phonons alone match multislice and cameras without an energy filter.
        scheme: "random", "stepped", "equispaced" (directions) or "so3" (whole orientations).
        resolution: number of directions for "random", step in degrees for the others.
        sector: "full", directions that a mirror makes equal are simulated once, or "proper".
        Phi_end_deg: where "stepped" ends; None for the end of the crystal's region.
        random_phi1: simulate each direction at an in-plane angle of its own, not at 0.
        phi1_step_deg: of the in-plane angles in config `classes`; without meaning for "so3".
        thickness_nm: smallest and largest.
        thicknesses: patterns of each direction.
        random_thickness: each batch draws one thickness from each equal share of the range;
            otherwise all have the same, evenly spaced from the smallest to the largest.
        size: pixels along an edge of the pattern.
        inv_angstrom_per_pixel: size of a pixel.
        split: what is held out, whole "directions" or, as in the paper, any "rows".
        validation_share: share of the rows held out.
        seed: of every draw.
    """

    crystal: dict[str, Any]
    voltage_kv: float = 300.0
    convergence_mrad: tuple[float, float] = (1.3, 1.8)
    precession_deg: tuple[float, float] = (0.6, 0.6)
    precessed_share: float = 0.0
    k_max_inv_angstrom: float = 1.9
    absorption: str = "WK-P"
    scheme: Scheme = "random"
    resolution: float = 2000
    sector: Sector = "full"
    Phi_end_deg: float | None = None
    random_phi1: bool = False
    phi1_step_deg: float = 5.0
    thickness_nm: tuple[float, float] = (5.0, 100.0)
    thicknesses: int = 6
    random_thickness: bool = True
    size: int = 128
    inv_angstrom_per_pixel: float = 0.028
    split: Split = "directions"
    validation_share: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame_inv_angstrom > FRAME_BEYOND_K_MAX * self.k_max_inv_angstrom:
            # A network would learn the edge at k_max, which no real pattern has.
            raise SettingsError(
                f"Recipe: the pattern reaches {self.frame_inv_angstrom:.4g} 1/Å and k_max only "
                f"{self.k_max_inv_angstrom:g} 1/Å: raise k_max, or take fewer or smaller pixels "
                f"(now size = {self.size}, inv_angstrom_per_pixel = "
                f"{self.inv_angstrom_per_pixel:g})."
            )

    def _checks(self) -> dict[str, tuple[bool, str]]:
        """Return whether each setting is fine, and what is expected of it."""
        thinnest, thickest = self.thickness_nm
        resolution = (0.1 <= self.resolution <= 30, "a step of 0.1 to 30 degrees")
        if self.scheme == "random":
            counted = self.resolution.is_integer() and 1 <= self.resolution <= 1e7
            resolution = (counted, "a whole number of directions, 1 to 10,000,000")
        end = self.Phi_end_deg
        return {
            "convergence_mrad": ascending(self.convergence_mrad),
            "precession_deg": ascending(self.precession_deg),
            "precessed_share": (0 <= self.precessed_share <= 1, "0 to 1"),
            "absorption": (self.absorption in METHODS, f"one of {', '.join(METHODS)}"),
            "scheme": one_of(self.scheme, Scheme),
            "resolution": resolution,
            "sector": one_of(self.sector, Sector),
            "Phi_end_deg": (
                end is None or (0 <= end <= 180 and self.scheme == "stepped"),
                'None, or 0 to 180 for "stepped"',
            ),
            "random_phi1": (
                not (self.random_phi1 and self.scheme == "so3"),
                'False, for "so3" has in-plane angles of its own',
            ),
            "phi1_step_deg": (0.1 <= self.phi1_step_deg <= 360, "0.1 to 360 degrees"),
            "thickness_nm": (0 < thinnest <= thickest <= 1000, "0 < low <= high <= 1000"),
            "thicknesses": (1 <= self.thicknesses <= 1000, "1 to 1000"),
            "size": (16 <= self.size <= 1024, "16 to 1024"),
            "inv_angstrom_per_pixel": (0 < self.inv_angstrom_per_pixel < 1, "0 to 1 1/Å"),
            "split": one_of(self.split, Split),
            "validation_share": (0 <= self.validation_share < 1, "at least 0, less than 1"),
            "seed": (self.seed >= 0, "0 or more"),
        }

    @property
    def orientations_deg(self) -> np.ndarray:
        """Return what is simulated, in this order: (phi1, Phi, phi2) in degrees, shape (n, 3)."""
        return orientations_of(
            self.scheme,
            Crystal.from_dict(self.crystal),
            self.resolution,
            self.seed,
            self.sector,
            self.Phi_end_deg,
            self.random_phi1,
        )


def recipe_from_json(text: str) -> Recipe | ScanRecipe:
    """Read a recipe of either kind.

    Raises:
        DatasetError: see `PatternRecipe.from_json`.
    """
    try:
        of_scan = json.loads(text).get("kind") == ScanRecipe.kind
    except (ValueError, AttributeError) as error:
        raise DatasetError(
            "Not a recipe: expected the JSON that `build` writes, with its format."
        ) from error
    return (ScanRecipe if of_scan else Recipe).from_json(text)


def read_recipe(folder: str | Path) -> Recipe | ScanRecipe:
    """Read the recipe of a data set folder, or a recipe's own file.

    Args:
        folder: or the .json in it; an fsspec URL such as hf://datasets/user/name also does.

    Raises:
        DatasetError: no folder, no recipe.json in it, or a damaged one.
        HubError: the Hub cannot be reached.
    """
    from fsspec.core import url_to_fs

    place = str(folder)
    if not place.endswith(".json"):
        place = f"{place}/{RECIPE_FILE}"
    try:
        files, path = url_to_fs(place)
        return recipe_from_json(_text(files, path, place))
    except (FileNotFoundError, NotADirectoryError) as error:
        where, _, name = place.rpartition("/")
        raise DatasetError(
            f"{where or '.'} holds no {name}: name a folder that `build` made."
        ) from error
    except (DatasetError, OSError, ValueError) as error:
        raise DatasetError(f"{place} cannot be read. {error}") from error


def _text(files: Any, path: str, place: str) -> str:
    if not place.startswith("hf:"):
        return files.cat_file(path).decode("utf-8")
    from zoneaxis.hub import one_error

    with one_error(place):
        return files.cat_file(path).decode("utf-8")


# The frame decides k_max: the paper prints 8 mrad = 0.41 1/Å, one ring of reflections of LiNiO2;
# 2 1/Å (39 mrad at 300 kV) holds nearly all that is scattered and seen, within the zero-order zone.
PAPER: dict[str, Any] = {
    "sector": "proper",
    "convergence_mrad": (1.5, 1.5),
    "k_max_inv_angstrom": 2.0,
    "random_thickness": False,
    "size": 256,
    "inv_angstrom_per_pixel": 2 / 128,
    "validation_share": 0.2,
}

PRESETS: dict[str, dict[str, Any]] = {
    "test": {"resolution": 24, "thicknesses": 2, "size": 32, "inv_angstrom_per_pixel": 0.1},
    "demo": {"resolution": 2400, "thicknesses": 6},
    "default": {"resolution": 8000, "thicknesses": 12, "precessed_share": 0.5},
    # The paper's three; classes of LiNiO2: 69,984, 255,744 and 155,664.
    "random": {**PAPER, "resolution": 972, "thicknesses": 20},
    "stepped": {
        **PAPER,
        "scheme": "stepped",
        "resolution": 2.5,
        "phi1_step_deg": 2.5,
        "thickness_nm": (20.0, 100.0),
        "thicknesses": 5,
    },
    "equispaced": {
        **PAPER,
        "scheme": "equispaced",
        "resolution": 2.0,
        "thickness_nm": (20.0, 100.0),
        "thicknesses": 5,
    },
}


def preset(name: str, crystal: Crystal, **changes: Any) -> Recipe:
    """Return the recipe of a preset for a crystal, with changes.

    Raises:
        SettingsError: no preset of that name, or a change that no recipe knows.
    """
    if name not in PRESETS:
        raise SettingsError(f"No preset {name!r}: choose one of {', '.join(PRESETS)}.")
    try:
        return Recipe(crystal=crystal.to_dict(), **{**PRESETS[name], **changes})
    except TypeError as error:
        raise SettingsError(f"Recipe: {error}.") from error
