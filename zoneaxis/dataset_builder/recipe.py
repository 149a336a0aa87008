"""Recipe: everything that decides the content of a data set, and nothing else."""

import dataclasses
import hashlib
import json
import numbers
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from zoneaxis.dataset_builder.sampling import Scheme
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import CrystalError, DatasetError, SettingsError

FORMAT = 1  # of the folder; another one is refused
RECIPE_FILE = "recipe.json"
FRAME_BEYOND_K_MAX = 1.05  # the middle of an edge may reach this times k_max, a corner more


@dataclass(frozen=True)
class Recipe:
    """Settings of a simulated data set.

    Attributes:
        crystal: what `Crystal.to_dict` returns.
        voltage_kv: accelerating voltage.
        convergence_mrad: smallest and largest semi-angle; each batch of directions draws one, so
            that no network can read the camera length from the size of the disks.
        precession_deg: precession angles, of which each batch of directions draws one.
        k_max_inv_angstrom: largest simulated wave vector.
        scheme: "equispaced" or "random".
        resolution: step in degrees, or number of directions.
        thickness_nm: smallest and largest; each batch draws `thicknesses` of them, one from each
            equal share of the range.
        thicknesses: patterns of each direction.
        size: pixels along an edge of the pattern.
        inv_angstrom_per_pixel: size of a pixel.
        validation_share: share of the directions held out.
        seed: of every draw.
    """

    crystal: dict[str, Any]
    voltage_kv: float = 300.0
    convergence_mrad: tuple[float, float] = (1.3, 1.8)
    precession_deg: tuple[float, ...] = (0.0,)
    k_max_inv_angstrom: float = 1.9
    scheme: Scheme = "random"
    resolution: float = 2000
    thickness_nm: tuple[float, float] = (5.0, 100.0)
    thicknesses: int = 6
    size: int = 128
    inv_angstrom_per_pixel: float = 0.028
    validation_share: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        # Equal recipes have equal JSON and id, whether a value came as 24, 24.0 or NumPy's.
        plain = {
            f.name: _plain(f.name, f.type, getattr(self, f.name)) for f in dataclasses.fields(self)
        }
        plain["crystal"] = Crystal.from_dict(self.crystal).to_dict()
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        checks = {
            "precession_deg": len(self.precession_deg) > 0,
            "convergence_mrad": self.convergence_mrad[0] <= self.convergence_mrad[1],
            "scheme": self.scheme in get_args(Scheme),
            "resolution": self._resolution_is_fine(),
            "thickness_nm": 0 < self.thickness_nm[0] <= self.thickness_nm[1] <= 1000,
            "thicknesses": 1 <= self.thicknesses <= 1000,
            "size": 16 <= self.size <= 1024,
            "inv_angstrom_per_pixel": 0 < self.inv_angstrom_per_pixel < 1,
            "validation_share": 0 <= self.validation_share < 1,
            "seed": self.seed >= 0,
        }
        for name, fine in checks.items():
            if not fine:
                raise SettingsError(f"Recipe: {name} = {getattr(self, name)} is out of range.")
        for convergence in self.convergence_mrad:
            for precession in self.precession_deg:
                self.optics(convergence, precession)
        if self.frame_inv_angstrom > FRAME_BEYOND_K_MAX * self.k_max_inv_angstrom:
            # A network would learn the edge at k_max, which no real pattern has.
            raise SettingsError(
                f"Recipe: the pattern reaches {self.frame_inv_angstrom:.4g} 1/Å and k_max only "
                f"{self.k_max_inv_angstrom:g} 1/Å: raise k_max, or take fewer or smaller pixels "
                f"(now size = {self.size}, inv_angstrom_per_pixel = "
                f"{self.inv_angstrom_per_pixel:g})."
            )

    def _resolution_is_fine(self) -> bool:
        if self.scheme == "random":
            return 1 <= self.resolution <= 1e7 and self.resolution.is_integer()
        return 0.1 <= self.resolution <= 30

    def optics(self, convergence_mrad: float, precession_deg: float) -> Optics:
        """Return the optics of one batch of directions."""
        return Optics(self.voltage_kv, convergence_mrad, precession_deg, self.k_max_inv_angstrom)

    @property
    def mean_convergence_mrad(self) -> float:
        """Semi-angle in the middle of those drawn; of precession angles there is no middle."""
        return sum(self.convergence_mrad) / 2

    @property
    def frame_inv_angstrom(self) -> float:
        """Wave vector at the middle of the pattern's edges."""
        return self.size // 2 * self.inv_angstrom_per_pixel

    def to_json(self) -> str:
        """Return the recipe as JSON, keys sorted; `from_json` is its inverse."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps(values, indent=2, sort_keys=True)

    @property
    def id(self) -> str:
        """The data set's id: the first 12 digits of the SHA-256 of the JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read a recipe.

        Raises:
            DatasetError: not JSON, another format, keys that are missing or unknown, or values
                out of range.
        """
        try:
            values = json.loads(text)
            version = values.pop("format")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatasetError(f"Not a recipe: {error!r}.") from error
        if version != FORMAT:
            raise DatasetError(
                f"The recipe has format {version}, this zoneaxis reads {FORMAT}: update zoneaxis, "
                "or build the data set again."
            )
        try:
            return cls(**values)
        except (TypeError, SettingsError, CrystalError) as error:
            raise DatasetError(f"Not a recipe: {error}") from error


def read_recipe(folder: str | Path) -> Recipe:
    """Read the recipe of a data set folder.

    Raises:
        DatasetError: no folder, no recipe.json in it, or a damaged one.
    """
    path = Path(folder) / RECIPE_FILE
    if not path.is_file():
        raise DatasetError(f"{folder} holds no {RECIPE_FILE}: name a folder that `build` made.")
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except (DatasetError, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read. {error}") from error


PRESETS: dict[str, dict[str, Any]] = {
    "test": {"resolution": 24, "thicknesses": 2, "size": 32, "inv_angstrom_per_pixel": 0.1},
    "demo": {"resolution": 2400, "thicknesses": 6},
    "default": {"resolution": 8000, "thicknesses": 12, "precession_deg": (0.0, 0.6)},
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


def _plain(name: str, kind: Any, value: Any) -> Any:
    """Return a setting as the plain float, int or tuple of floats that its annotation asks for."""
    try:
        if kind in (float, int):
            return _number(kind, value)
        if kind == tuple[float, float]:
            low, high = value
            return _number(float, low), _number(float, high)
        if kind == tuple[float, ...]:
            return tuple(_number(float, part) for part in value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"Recipe: {name} = {value!r}: {error}.") from error
    return value


def _number(kind: type, value: Any) -> Any:
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or kind(value) != value:
        raise TypeError(f"{value!r} is not a {'whole ' if kind is int else ''}number")
    return kind(value)
