"""A map to and from orix's CrystalMap, and which columns of other programs hold the scores."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from orix.crystal_map import CrystalMap, Phase, PhaseList
from orix.quaternion import Rotation

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.scans.map_arrays import RESERVED, MapArrays
from zoneaxis.scans.map_phases import PhaseEntry, assign, first_space_group

NM_PER_UNIT = {"nm": 1.0, "um": 1e3}
ROUNDING = 0.4  # steps that a point of a rounded file may lie away from its place
# What orix calls the columns -> (score, its largest value), (reliability).
SCORE_COLUMNS = (
    ("score", 1.0, "reliability"),  # our .h5
    ("iq", 1.0, "ci"),  # .ang of orix, EDAX and ours
    ("ind", 100.0, "rel"),  # .ang of ASTAR
    ("BC", 100.0, "MAD"),  # .ctf of ASTAR and ours
)
ASTAR_BANDS = 6  # ASTAR writes this number of bands for every point


def to_crystal_map(map: MapArrays) -> CrystalMap:
    """Return a whole map as orix has it, with coordinates in nm and phases numbered from 1."""
    values = {name: v.ravel() for name, v in map.properties.items()}
    values["score"] = map.score.reshape(-1, map.n_best)
    values["reliability"] = map.reliability.ravel()
    euler = np.deg2rad(map.euler_deg).reshape(-1, map.n_best, 3)
    y, x = np.indices(map.shape) * map.step_nm
    return CrystalMap(
        # orix wants no axis for a single rotation a point.
        rotations=Rotation.from_euler(euler[:, 0] if map.n_best == 1 else euler),
        phase_id=np.where(map.indexed, map.phase + 1, -1).ravel(),
        x=x.ravel(),
        y=y.ravel(),
        phase_list=PhaseList({i: c.phase for i, c in enumerate(map.crystals, start=1)}),
        prop=values,
        scan_unit="nm",
    )


def from_crystal_map(crystal_map: CrystalMap, given: Sequence[Crystal]) -> MapArrays:
    """Take over a map of orix.

    Args:
        crystal_map: on a complete square grid, row after row.
        given: crystals instead of the map's own phases, as in `map_phases.assign`.

    Raises:
        MapError: not a complete square grid, no phase, or another than those given.
    """
    rows, cols, step_nm = grid(crystal_map)
    if crystal_map.scan_unit not in NM_PER_UNIT:
        warnings.warn(
            f"The map's coordinates are in {crystal_map.scan_unit}: taking them for nm. "
            "Set its scan_unit to nm or um.",
            stacklevel=3,
        )
    shape = rows, cols
    euler = np.rad2deg(crystal_map.rotations.to_euler()).reshape(*shape, -1, 3)
    number = crystal_map.phase_id.reshape(shape)
    score, reliability = scores(crystal_map.prop, number != -1, euler.shape[2])
    # ASTAR: -1 where it does not trust the point.
    crystals, phase = assign(
        entries(crystal_map.phases), np.where(reliability < 0, -1, number), given
    )
    taken = RESERVED.union(*((score, reliability) for score, _, reliability in SCORE_COLUMNS))
    return MapArrays(
        crystals=crystals,
        euler_deg=euler,
        score=score,
        reliability=np.clip(reliability, 0, 1),
        phase=phase,
        step_nm=step_nm,
        properties={
            name: np.asarray(values).reshape(shape)
            for name, values in crystal_map.prop.items()
            if name not in taken and np.size(values) == number.size
        },
    )


def grid(crystal_map: CrystalMap) -> tuple[int, int, float]:
    """Return rows, cols and step in nm of a map that lies row after row on a square grid."""
    zeros = np.zeros(crystal_map.size)
    x, y = (zeros if v is None else v for v in (crystal_map.x, crystal_map.y))
    rows, cols = shape_of(x, y)
    axes = x.reshape(rows, cols), y.reshape(rows, cols).T
    steps = [(v[0, -1] - v[0, 0]) / (v.shape[1] - 1) for v in axes if v.shape[1] > 1]
    if len(steps) == 2 and not np.isclose(*steps, rtol=1e-3):
        raise MapError(f"its steps are {steps[0]:g} along x and {steps[1]:g} along y, not square.")
    step = float(steps[0]) if steps else 1.0
    away = (np.abs(v - v[0, 0] - step * np.arange(v.shape[1])).max() for v in axes)
    if not (step > 0 and max(away) <= ROUNDING * step):
        raise MapError(
            "its points are not a complete square grid, row after row, x to the right and y down: "
            "it may be truncated, or a part of a map."
        )
    return rows, cols, step * NM_PER_UNIT.get(crystal_map.scan_unit, 1.0)


def shape_of(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Return the rows and columns of points that lie row after row.

    Args:
        x: coordinates along rows, shape (n,).
        y: coordinates across rows, shape (n,).

    Raises:
        MapError: there are no points, or the last row is not complete.
    """
    if not x.size:
        raise MapError("it holds no points.")
    new_row = np.flatnonzero(np.diff(y))
    cols = int(new_row[0]) + 1 if new_row.size else x.size
    if x.size % cols:
        raise MapError("its points are not a complete square grid; it may be truncated.")
    return x.size // cols, cols


def scores(
    columns: Mapping[str, np.ndarray], indexed: np.ndarray, n_best: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return score (rows, cols, n_best) and reliability (rows, cols), both float32.

    Args:
        columns: values of the points by orix's names.
        indexed: which points have an orientation, shape (rows, cols).
        n_best: orientations of each point.
    """
    shape = indexed.shape
    found = next((c for c in SCORE_COLUMNS if c[0] in columns and c[2] in columns), None)
    if found and found[0] == "BC":
        bands = columns["bands"].reshape(shape)[indexed]
        if (bands != ASTAR_BANDS).any():
            found = None  # another program's .ctf, whose MAD is an angle
    if found is None:
        warnings.warn("The map has no scores that zoneaxis knows: taking 0.", stacklevel=4)
        return np.zeros((*shape, n_best), np.float32), np.zeros(shape, np.float32)
    name, largest, reliability = found
    score = (np.asarray(columns[name]) / largest).astype(np.float32).reshape(*shape, -1)
    return (
        # Some programs keep n orientations and a single score.
        np.ascontiguousarray(np.broadcast_to(score, (*shape, n_best))),
        np.asarray(columns[reliability], np.float32).reshape(shape),
    )


def entries(phases: PhaseList) -> list[PhaseEntry]:
    """Return the phases of a CrystalMap, without its -1 for points that are not indexed."""
    return [_entry(number, phase) for number, phase in phases if number != -1]


def _entry(number: int, phase: Phase) -> PhaseEntry:
    """Return a phase by its space group; a bare point group stands for its Laue group.

    .ang names rotations only (32 for -3m), and diffraction shows no more than the Laue group.
    """
    space_group = None
    if phase.space_group is not None:
        space_group = int(phase.space_group.number)
    elif phase.point_group is not None:
        space_group = first_space_group(phase.point_group.laue.name)
    cell = np.round(phase.structure.lattice.abcABG(), 9)  # orix has realigned the axes
    return PhaseEntry(number, phase.name or "phase", tuple(cell), space_group)
