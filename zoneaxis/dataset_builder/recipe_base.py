"""What recipes of all kinds of data sets share: plain checked values, JSON, id, optics."""

import dataclasses
import hashlib
import json
import numbers
from typing import Any, ClassVar, Self, get_args, get_origin

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import CrystalError, DatasetError, SettingsError

FORMAT = 2  # of the folder; another one is refused


class PatternRecipe:
    """Base of the recipes, which are frozen dataclasses with fields or properties of these names.

    Attributes:
        crystal: what `Crystal.to_dict` returns.
        voltage_kv: accelerating voltage.
        convergence_mrad: smallest and largest semi-angle.
        precession_deg: smallest and largest precession angle of the precessed rows.
        precessed_share: share of the rows that are precessed, 0 to 1.
        k_max_inv_angstrom: wave vector up to which reflections are in the patterns.
        size: pixels along an edge of the pattern.
        inv_angstrom_per_pixel: size of a pixel.
        kind: of the data set, stored in recipe.json; None for a simulation.
    """

    kind: ClassVar[str | None] = None
    crystal: dict[str, Any]
    voltage_kv: float
    convergence_mrad: tuple[float, float]
    precession_deg: tuple[float, float]
    precessed_share: float
    k_max_inv_angstrom: float
    size: int
    inv_angstrom_per_pixel: float

    def __post_init__(self) -> None:
        # Equal recipes have equal JSON and id, whether a value came as 24, 24.0 or NumPy's.
        plain = {
            f.name: _plain(f.name, f.type, getattr(self, f.name)) for f in dataclasses.fields(self)
        }
        plain["crystal"] = Crystal.from_dict(self.crystal).to_dict()
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        for name, (fine, expected) in self._checks().items():
            if not fine:
                raise SettingsError(
                    f"Recipe: {name} = {getattr(self, name)!r}: expected {expected}."
                )
        for convergence in self.convergence_mrad:
            for precession in (0.0, *self.precession_deg):
                self.optics(convergence, precession)

    def _checks(self) -> dict[str, tuple[bool, str]]:
        """Return whether each setting is fine, and what is expected of it."""
        raise NotImplementedError

    def optics(self, convergence_mrad: float, precession_deg: float) -> Optics:
        """Return the optics of rows with this convergence and precession."""
        return Optics(self.voltage_kv, convergence_mrad, precession_deg, self.k_max_inv_angstrom)

    @property
    def mean_convergence_mrad(self) -> float:
        """Semi-angle in the middle of those that occur."""
        return sum(self.convergence_mrad) / 2

    @property
    def typical_precession_deg(self) -> tuple[float, ...]:
        """Precession angles that stand for all: 0, the middle of the range, or both."""
        without = (0.0,) if self.precessed_share < 1 else ()
        return (*without, sum(self.precession_deg) / 2) if self.precessed_share > 0 else without

    @property
    def frame_inv_angstrom(self) -> float:
        """Wave vector at the middle of the pattern's edges."""
        return self.size // 2 * self.inv_angstrom_per_pixel

    def to_json(self) -> str:
        """Return the recipe as JSON, keys sorted; `from_json` is its inverse."""
        kind = {} if self.kind is None else {"kind": self.kind}
        values = {"format": FORMAT, **kind, **dataclasses.asdict(self)}
        return json.dumps(values, indent=2, sort_keys=True)

    @property
    def id(self) -> str:
        """The data set's id: the first 12 digits of the SHA-256 of the JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a recipe.

        Raises:
            DatasetError: not JSON, another format or kind, keys that are missing or unknown, or
                values out of range.
        """
        try:
            values = json.loads(text)
            version, kind = values.pop("format"), values.pop("kind", None)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatasetError(
                "Not a recipe: expected the JSON that `build` writes, with its format."
            ) from error
        if version != FORMAT:
            raise DatasetError(
                f"The recipe has format {version}, this zoneaxis reads {FORMAT}: update zoneaxis, "
                "or build the data set again."
            )
        if kind != cls.kind:
            raise DatasetError(
                f"Not a recipe: of kind {kind or 'simulation'}, expected "
                f"{cls.kind or 'simulation'}."
            )
        fields = {field.name for field in dataclasses.fields(cls)}
        for names, what in (
            (values.keys() - fields, "unknown"),
            (fields - values.keys(), "missing"),
        ):
            if names:
                raise DatasetError(f"Not a recipe: {what} keys {', '.join(sorted(names))}.")
        try:
            return cls(**values)
        except (TypeError, SettingsError, CrystalError) as error:
            raise DatasetError(f"Not a recipe: {error}") from error


def ascending(ends: tuple[float, float]) -> tuple[bool, str]:
    """Return the check of a range."""
    return ends[0] <= ends[1], "the smaller value first"


def one_of(value: Any, names: Any) -> tuple[bool, str]:
    """Return the check of a value that a Literal lists."""
    return value in get_args(names), f"one of {', '.join(get_args(names))}"


def _plain(name: str, kind: Any, value: Any) -> Any:
    """Return a setting as the plain bool, number, text or pair that its annotation asks for."""
    try:
        if kind is bool and not isinstance(value, bool | np.bool_):
            raise TypeError("expected true or false")
        if kind is str and not isinstance(value, str):
            raise TypeError("expected text")
        if kind in (bool, float, int):
            return bool(value) if kind is bool else _number(kind, value)
        if get_origin(kind) is tuple:
            if len(value) != len(get_args(kind)):
                raise ValueError(f"expected {len(get_args(kind))} numbers")
            pairs = zip(get_args(kind), value, strict=True)
            return tuple(_number(each, number) for each, number in pairs)
        if kind == float | None:
            return None if value is None else _number(float, value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"Recipe: {name} = {value!r}: {error}.") from error
    return value


def _number(kind: type, value: Any) -> Any:
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or kind(value) != value:
        raise TypeError(f"{value!r} is not a {'whole ' if kind is int else ''}number")
    return kind(value)
