"""OrientationMap: what was found at each point of a scan, to and from .ang, .ctf and .h5 files."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from orix.crystal_map import CrystalMap

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.errors import MapError
from zoneaxis.files import atomic_path
from zoneaxis.scans import ang, crystal_maps, ctf, map_hdf5
from zoneaxis.scans.map_arrays import MapArrays

Index = int | slice
SUFFIXES = (".ang", ".ctf", ".h5")


@dataclass(frozen=True, eq=False)
class OrientationMap(MapArrays):
    """Orientations on the points of a scan, the n best of each, best first.

    `map[10:20, 5:30]` and `map[::2, ::2]` are maps as well.
    """

    @classmethod
    def of_crystal(
        cls,
        crystal: Crystal,
        euler_deg: np.ndarray,
        score: np.ndarray,
        reliability: np.ndarray,
        indexed: np.ndarray,
        step_nm: float,
        properties: dict[str, np.ndarray] | None = None,
    ) -> "OrientationMap":
        """Build the map of a single phase.

        Args:
            crystal: the phase of every indexed point.
            euler_deg: as in `MapArrays`, and so are the others.
            score: of the n best orientations.
            reliability: of the best.
            indexed: False where there is no orientation, bool, shape (rows, cols).
            step_nm: distance between neighboring points.
            properties: further values by name.
        """
        phase = np.where(indexed, 0, -1).astype(np.int8)
        return cls((crystal,), euler_deg, score, reliability, phase, step_nm, properties or {})

    @property
    def crystal(self) -> Crystal:
        """The only phase.

        Raises:
            MapError: there are several.
        """
        if len(self.crystals) != 1:
            names = ", ".join(crystal.name for crystal in self.crystals)
            raise MapError(f"The map has several phases ({names}): choose one with `of_phase`.")
        return self.crystals[0]

    @property
    def matrices(self) -> np.ndarray:
        """G of the best orientation, passive, sample to crystal, shape (rows, cols, 3, 3)."""
        return matrices_from_euler(self.euler_deg[..., 0, :])

    def confident(self, *, score: float = 0.0, reliability: float = 0.0) -> "OrientationMap":
        """Return the map with its less confident points not indexed.

        Args:
            score: that the best orientation has at least.
            reliability: that a point has at least.
        """
        enough = (self.score[..., 0] >= score) & (self.reliability >= reliability)
        return replace(self, phase=np.where(enough, self.phase, -1).astype(self.phase.dtype))

    def of_phase(self, number: int) -> "OrientationMap":
        """Return the map of one of the crystals; the other points are not indexed.

        Raises:
            MapError: there is no such crystal.
        """
        if not 0 <= number < len(self.crystals):
            raise MapError(f"The map has {len(self.crystals)} phases, counted from 0: no {number}.")
        phase = np.where(self.phase == number, 0, -1).astype(np.int8)
        return replace(self, crystals=(self.crystals[number],), phase=phase)

    def __repr__(self) -> str:
        shares = (f"{c.name} {(self.phase == i).mean():.1%}" for i, c in enumerate(self.crystals))
        known = f"; {', '.join(self.properties)}" if self.properties else ""
        return (
            f"OrientationMap of {self.shape[0]} x {self.shape[1]} points, {self.step_nm:g} nm "
            f"apart: {', '.join(shares)}; {self.n_best} best each{known}"
        )

    def __getitem__(self, index: Index | tuple[Index, ...]) -> "OrientationMap":
        """Return a part of the map, or every n-th point of it, as a view on the same values.

        Args:
            index: of rows, or of rows and columns: slices forward, or integers, which keep their
                axis: `map[3]` has one row.

        Raises:
            MapError: no point is left, another kind of index, or unequal strides along rows and
                columns, as the map has one step.
            IndexError: an integer beyond the map.
        """
        index = index if isinstance(index, tuple) else (index,)
        if len(index) > 2:
            raise MapError(f"A map has rows and columns, not {len(index)} axes.")
        ranges = [_range(*pair) for pair in zip((*index, slice(None)), self.shape, strict=False)]
        strides = {axis.step for axis in ranges if len(axis) > 1}
        if len(strides) > 1:
            raise MapError(
                "The points of a map lie on a square grid: give rows and columns one stride."
            )
        part = tuple(slice(axis.start, axis.stop, axis.step) for axis in ranges)
        return replace(
            self,
            euler_deg=self.euler_deg[part],
            score=self.score[part],
            reliability=self.reliability[part],
            phase=self.phase[part],
            step_nm=self.step_nm * max(strides, default=1),
            properties={name: values[part] for name, values in self.properties.items()},
        )

    def to_crystal_map(self) -> CrystalMap:
        """Return the whole map as orix has it, with coordinates in nm and phases from 1 on."""
        return crystal_maps.to_crystal_map(self)

    @classmethod
    def from_crystal_map(
        cls,
        crystal_map: CrystalMap,
        crystal: Crystal | None = None,
        *,
        crystals: Sequence[Crystal] = (),
    ) -> "OrientationMap":
        """Take over a map of orix, with all its phases.

        Args:
            crystal_map: on a complete square grid, row after row.
            crystal: instead of the map's only phase; short for `crystals=(crystal,)`.
            crystals: instead of the map's phases, as in `load`.

        Raises:
            MapError: not a complete square grid, no phase, or another than those given.
        """
        return cls(**vars(crystal_maps.from_crystal_map(crystal_map, _given(crystal, crystals))))

    def save(self, path: str | Path) -> None:
        """Write the map; the suffix says how.

        .ang and .ctf hold the best orientation with its score and reliability, for other programs
        (`scans/ang.py` and `scans/ctf.py` say in which columns, and how their frames differ);
        .h5 (orix HDF5) holds everything, losslessly.

        Raises:
            MapError: another suffix.
            OutputError: the file cannot be written.
        """
        path = Path(path)
        writer = _by_suffix(path, (ang.write, ctf.write, map_hdf5.write))
        with atomic_path(path) as temporary:
            writer(temporary, self)

    @classmethod
    def load(
        cls,
        path: str | Path,
        crystal: Crystal | None = None,
        *,
        crystals: Sequence[Crystal] = (),
        degrees: bool | None = None,
    ) -> "OrientationMap":
        """Read a map of ours, of orix, of ASTAR or of an EBSD program; the suffix says how.

        Two kinds of cut cannot be seen: within the very last number of a file, which is of no use,
        and, in an .ang that does not say the size of its grid (ASTAR's), after a whole row or
        within the first.

        Args:
            path: .ang, .ctf or .h5.
            crystal: instead of the file's only phase; short for `crystals=(crystal,)`.
            crystals: instead of the file's phases, which often lack sites or the full symmetry.
                Each phase that a point has is matched to the one of its Laue group and cell (5 %).
            degrees: unit of the Euler angles in .ang and .ctf; None for what the format has,
                which is refused if the angles look otherwise.

        Raises:
            MapError: missing, damaged or foreign file, no phase, or another than those given.
        """
        path = Path(path)
        given = _given(crystal, crystals)
        readers = (
            partial(ang.read, degrees=degrees),
            partial(ctf.read, degrees=degrees),
            map_hdf5.read,
        )
        reader = _by_suffix(path, readers)
        if not path.is_file():
            raise MapError(f"No map at {path}.")
        try:
            return cls(**vars(reader(path, given)))
        except MapError as error:
            raise MapError(f"{path}: {error}") from error
        except Exception as error:  # h5py and orix raise whatever they trip over
            raise MapError(
                f"{path} cannot be read as a map; it is damaged, truncated or of another format "
                f"({str(error).strip() or type(error).__name__})."
            ) from error


def _by_suffix(path: Path, choices: Iterable[Callable[..., Any]]) -> Callable[..., Any]:
    choice = dict(zip(SUFFIXES, choices, strict=True)).get(path.suffix.lower())
    if choice is None:
        raise MapError(f"{path} is not a map file: expected {' or '.join(SUFFIXES)}.")
    return choice


def _given(crystal: Crystal | None, crystals: Sequence[Crystal]) -> tuple[Crystal, ...]:
    return (*([] if crystal is None else [crystal]), *crystals)


def _range(index: Index, length: int) -> range:
    """Return the positions along an axis that an index stands for."""
    if not isinstance(index, slice):
        try:
            position = operator.index(index)
        except TypeError as error:
            raise MapError("A map is sliced by slices and integers only.") from error
        if not -length <= position < length:
            raise IndexError(f"{position} is beyond the {length} rows or columns of the map.")
        return range(position % length, position % length + 1)
    positions = range(length)[index]
    if not positions or positions.step < 0:
        raise MapError(f"{index} of {length} rows or columns: expected one point or more, forward.")
    return positions
