"""OrientationMap: what was found at each point of a scan, to and from .ang, .ctf and .h5 files.

Files are written and parsed by orix; crystal_maps.py says which of their columns hold the scores.
"""

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from orix.crystal_map import CrystalMap, PhaseList
from orix.quaternion import Rotation

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.errors import CrystalError, MapError
from zoneaxis.files import atomic_path
from zoneaxis.scans import crystal_maps

OWN_GROUP = "zoneaxis"
PHASE_ID = 1


@dataclass(frozen=True, eq=False)
class OrientationMap:
    """Orientations on the points of a scan, the n best of each, best first.

    Attributes:
        crystals: the phases that there may be.
        euler_deg: Bunge angles, float64, shape (rows, cols, n_best, 3).
        score: confidence of a network, correlation index of template matching, 0..1, float32,
            shape (rows, cols, n_best). Files of other programs may hold another quantity.
        reliability: how far the best stands out, 0..1, float32, shape (rows, cols).
        phase: which of `crystals` a point is, -1 where there is no orientation, int, shape
            (rows, cols). All n best orientations of a point are of its phase.
        step_nm: distance between neighboring points.
        properties: further values by name, e.g. thickness_nm, each of shape (rows, cols).
    """

    crystals: tuple[Crystal, ...]
    euler_deg: np.ndarray
    score: np.ndarray
    reliability: np.ndarray
    phase: np.ndarray
    step_nm: float
    properties: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.phase.shape
        arrays = {"reliability": self.reliability, **self.properties}
        wrong = [name for name, values in arrays.items() if values.shape != shape]
        if self.score.shape[:2] != shape or self.euler_deg.shape != (*self.score.shape, 3):
            wrong.append("euler_deg or score")
        if wrong or len(shape) != 2:
            raise MapError(f"A map of shape {shape} cannot hold {', '.join(wrong)} of another.")
        taken = crystal_maps.RESERVED & set(self.properties)
        if taken:
            raise MapError(f"A property of a map cannot be called {', '.join(sorted(taken))}.")
        if self.phase.size and not -1 <= self.phase.min() <= self.phase.max() < len(self.crystals):
            raise MapError(f"A map of {len(self.crystals)} crystals has phase {self.phase.max()}.")

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
            euler_deg: as in `OrientationMap`, and so are the others.
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
    def indexed(self) -> np.ndarray:
        """False where there is no orientation, bool, shape (rows, cols)."""
        return self.phase >= 0

    def of_phase(self, number: int) -> "OrientationMap":
        """Return the map of one of the crystals; the other points are not indexed."""
        phase = np.where(self.phase == number, 0, -1).astype(np.int8)
        return replace(self, crystals=(self.crystals[number],), phase=phase)

    @property
    def shape(self) -> tuple[int, int]:
        """Points of the map: (rows, cols)."""
        return self.phase.shape

    @property
    def n_best(self) -> int:
        """Orientations kept at each point."""
        return self.score.shape[2]

    @property
    def matrices(self) -> np.ndarray:
        """G of the best orientation, passive, sample to crystal, shape (rows, cols, 3, 3)."""
        return matrices_from_euler(self.euler_deg[..., 0, :])

    def to_crystal_map(self) -> CrystalMap:
        """Return the whole map as orix has it, with coordinates in nm."""
        values = {name: v.ravel() for name, v in self.properties.items()}
        values["score"] = self.score.reshape(-1, self.n_best)
        values["reliability"] = self.reliability.ravel()
        return self._crystal_map(self.n_best, "nm", values)

    def _crystal_map(self, n_best: int, unit: str, values: dict[str, np.ndarray]) -> CrystalMap:
        euler = np.deg2rad(self.euler_deg[..., :n_best, :]).reshape(-1, n_best, 3)
        y, x = np.indices(self.shape) * (self.step_nm / crystal_maps.NM_PER_UNIT[unit])
        return CrystalMap(
            # orix wants no axis for a single rotation a point.
            rotations=Rotation.from_euler(euler[:, 0] if n_best == 1 else euler),
            phase_id=np.where(self.indexed.ravel(), PHASE_ID, -1),
            x=x.ravel(),
            y=y.ravel(),
            phase_list=PhaseList({PHASE_ID: self.crystal.phase}),
            prop=values,
            scan_unit=unit,
        )

    @classmethod
    def from_crystal_map(
        cls, crystal_map: CrystalMap, crystal: Crystal | None = None
    ) -> "OrientationMap":
        """Take over a map of orix; points of a second phase become not indexed, with a warning.

        Args:
            crystal_map: on a complete square grid, row after row.
            crystal: overrides the map's phase.

        Raises:
            MapError: not a complete square grid, no phase, or another than that of `crystal`.
        """
        return _taken_over(crystal_map, crystal, crystal_maps.grid(crystal_map))

    def save(self, path: str | Path) -> None:
        """Write the map; the suffix says how.

        .ang holds the best orientation and both scores, to 1e-5, for EDAX, MTEX and ASTAR users:
        score in the column IQ, reliability in CI, coordinates in micrometers, not-indexed points
        with Euler angles 4 pi and CI -1.
        .h5 (orix HDF5) holds everything, losslessly.

        Raises:
            MapError: another suffix, or a map of one column as .ang.
            OutputError: the file cannot be written.
        """
        path = Path(path)
        writers = {".ang": self._write_ang, ".h5": self._write_h5}
        writer = _by_suffix(path, writers)
        with atomic_path(path) as temporary:
            writer(temporary)

    def _write_ang(self, path: Path) -> None:
        from orix import io

        if self.shape[1] < 2:
            raise MapError("A map of a single column does not fit the .ang format: save it as .h5.")
        values = {
            "iq": np.nan_to_num(self.score[..., 0].ravel()),
            "ci": np.nan_to_num(self.reliability.ravel()),
        }
        io.save(str(path), self._crystal_map(1, "um", values))

    def _write_h5(self, path: Path) -> None:
        import h5py
        from orix import io

        io.save(str(path), self.to_crystal_map())
        with h5py.File(path, "a") as file:
            group = file.create_group(OWN_GROUP)
            group["crystal"] = json.dumps(self.crystal.to_dict())  # orix's phase has no B factors
            group["shape"] = self.score.shape
            group["step_nm"] = self.step_nm

    @classmethod
    def load(cls, path: str | Path, crystal: Crystal | None = None) -> "OrientationMap":
        """Read a map of ours, of orix, or of ASTAR; the suffix says how.

        Coordinates count as nm in .ang of ASTAR, as micrometers in other .ang and in .ctf.

        Args:
            path: .ang, .ctf or .h5.
            crystal: overrides the file's phase, which often lacks sites or the full symmetry.

        Raises:
            MapError: missing, damaged or foreign file, no phase, or another than `crystal`'s.
        """
        path = Path(path)
        if not path.is_file():
            raise MapError(f"No map at {path}.")
        reader = _by_suffix(path, {".ang": _read_text, ".ctf": _read_text, ".h5": _read_h5})
        try:
            return reader(path, crystal)
        except MapError as error:
            raise MapError(f"{path}: {error}") from error
        except Exception as error:  # orix raises whatever its parsing trips over
            raise MapError(
                f"{path} cannot be read as a map; it is damaged, truncated or of another format "
                f"({str(error).strip() or type(error).__name__})."
            ) from error


def _by_suffix(path: Path, choices: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    choice = choices.get(path.suffix.lower())
    if choice is None:
        raise MapError(f"{path} is not a map file: expected {' or '.join(choices)}.")
    return choice


def _read_text(path: Path, crystal: Crystal | None) -> OrientationMap:
    from orix import io

    lines = path.read_text(encoding="latin-1").splitlines()
    header = "\n".join(lines[:200])
    options = {"autogen_names": False} if path.suffix.lower() == ".ang" else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input contained no data", UserWarning)
        crystal_map = io.load(str(path), **options)
    rows, cols, step_nm = crystal_maps.grid(crystal_map)
    stated = _stated(header, "NROWS|YCells"), _stated(header, "NCOLS_ODD|XCells")
    if stated not in ((None, None), (rows, cols)):
        raise MapError(
            f"it announces {stated[0]:g} x {stated[1]:g} points and holds {rows} x {cols}; "
            "it is truncated or was edited."
        )
    unit_nm = crystal_maps.NM_PER_UNIT[crystal_map.scan_unit]
    stated_nm = (_stated(header, "XSTEP") or 0.0) * unit_nm
    if stated_nm > 0:
        # Coordinates are rounded to 1e-4 of their unit or finer, the header's step is not.
        rounding = 1e-4 * unit_nm / max(cols - 1, 1)
        step_nm = _spacing_in_ctf(lines, cols, unit_nm) or step_nm
        if cols > 1 and abs(stated_nm - step_nm) > rounding + 1e-3 * step_nm:
            warnings.warn(
                f"{path.name}: points lie {step_nm:g} nm apart, the header says {stated_nm:g}; "
                "taking the header's step.",
                stacklevel=3,
            )
        step_nm = stated_nm
    found = _taken_over(crystal_map, crystal, (rows, cols, step_nm))
    # These formats spell "no orientation" as 4 pi, which is worth nothing.
    found.euler_deg[crystal_map.phase_id.reshape(rows, cols) == -1] = 0.0
    return found


def _spacing_in_ctf(lines: list[str], cols: int, unit_nm: float) -> float | None:
    """Return how far apart the points of the first row lie, in nm; None for other formats.

    orix replaces the coordinates in an ASTAR .ctf by multiples of the header's step.
    """
    start = next((i for i, line in enumerate(lines) if line.startswith("Phase\tX\tY")), None)
    if start is None or cols < 2:
        return None
    return float(lines[start + cols].split("\t")[1]) * unit_nm / (cols - 1)


def _stated(header: str, names: str) -> float | None:
    """Return the number after one of the names ("A|B") in the header of a text file."""
    found = re.search(rf"^[#\s]*(?:{names}):?\s+([-+\d.,eE]+)", header, re.M | re.I)
    return float(found[1].replace(",", ".")) if found else None


def _read_h5(path: Path, crystal: Crystal | None) -> OrientationMap:
    import h5py
    from orix import io

    with h5py.File(path) as file:
        if OWN_GROUP in file:
            # Not through orix, which loses the shape of maps with a single point or column.
            return _read_own(file, crystal)
    return OrientationMap.from_crystal_map(io.load(str(path)), crystal)


def _read_own(file: Any, crystal: Crystal | None) -> OrientationMap:
    own = file[OWN_GROUP]
    shape = tuple(int(n) for n in own["shape"])
    data = {name: values[()] for name, values in file["crystal_map/data"].items()}
    euler = np.rad2deg(np.stack([data[name] for name in ("phi1", "Phi", "phi2")], axis=-1))
    stored = _crystal_from_json(own["crystal"].asstr()[()])
    crystal_maps.require_alike(crystal or stored, stored)
    return OrientationMap.of_crystal(
        crystal=crystal or stored,
        euler_deg=euler.reshape(*shape, 3),
        score=data["score"].reshape(shape),
        reliability=data["reliability"].reshape(shape[:2]),
        indexed=data["phase_id"].reshape(shape[:2]) != -1,
        step_nm=float(own["step_nm"][()]),
        properties={
            name: values.reshape(shape[:2])
            for name, values in data.items()
            if name not in crystal_maps.RESERVED
        },
    )


def _crystal_from_json(text: str) -> Crystal:
    values = json.loads(text)
    try:
        return Crystal.from_dict(values)
    except CrystalError:
        # A map read from .ang or .ctf knows its lattice only; it is no less of a map for that.
        return crystal_maps.without_sites(values["name"], values["cell"], values["space_group"])


def _taken_over(
    crystal_map: CrystalMap, crystal: Crystal | None, grid: tuple[int, int, float]
) -> OrientationMap:
    crystal_maps.require_same_crystal(crystal, crystal_map)
    rows, cols, step_nm = grid
    euler = np.rad2deg(crystal_map.rotations.to_euler()).reshape(rows, cols, -1, 3)
    indexed = crystal_maps.one_phase(crystal_map).reshape(rows, cols)
    score, reliability = crystal_maps.scores(crystal_map, euler.shape[:3])
    indexed = indexed & (reliability >= 0)  # ASTAR: -1 where it does not trust the point
    return OrientationMap.of_crystal(
        crystal=crystal or crystal_maps.crystal_of(crystal_map),
        euler_deg=euler,
        score=score,
        reliability=np.clip(reliability, 0, 1),
        indexed=indexed,
        step_nm=step_nm,
        properties=crystal_maps.properties(crystal_map, (rows, cols)),
    )
