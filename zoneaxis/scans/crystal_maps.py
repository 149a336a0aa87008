"""What a CrystalMap of orix tells us: its grid, its phase, and which columns hold the scores."""

import warnings
from collections.abc import Sequence

import numpy as np
from orix.crystal_map import CrystalMap, Phase
from orix.quaternion.symmetry import get_point_group

from zoneaxis.diffraction.crystal import SMALLEST_EDGE_ANGSTROM, Crystal
from zoneaxis.errors import MapError

LATTICE_TOLERANCE = 0.05  # of lengths and angles, for cells to be of one crystal
NM_PER_UNIT = {"nm": 1.0, "um": 1e3}
# What orix calls the columns -> (score, its largest value), (reliability).
SCORE_COLUMNS = (
    ("score", 1.0, "reliability"),  # our .h5
    ("iq", 1.0, "ci"),  # .ang of orix and EDAX
    ("ind", 100.0, "rel"),  # .ang of ASTAR
    ("BC", 100.0, "MAD"),  # .ctf of ASTAR
)
ASTAR_BANDS = 6  # ASTAR writes this number of bands for every point
RESERVED = {"x", "y", "phi1", "Phi", "phi2", "phase_id", "id", "is_in_data", "score", "reliability"}


def grid(crystal_map: CrystalMap) -> tuple[int, int, float]:
    """Return rows, cols and step in nm of a map that lies row after row on a square grid."""
    zeros = np.zeros(crystal_map.size)
    x, y = (zeros if v is None else v for v in (crystal_map.x, crystal_map.y))
    if not x.size:
        raise MapError("it holds no points.")
    new_row = np.flatnonzero(np.diff(y))
    cols = int(new_row[0]) + 1 if new_row.size else x.size
    rows = x.size // cols
    if rows * cols != x.size or np.ptp(x.reshape(rows, cols), axis=0).any():
        raise MapError("its points are not a complete square grid; it may be truncated.")
    steps = [np.ptp(v) / (n - 1) for v, n in ((x, cols), (y, rows)) if n > 1 and np.ptp(v) > 0]
    step = float(steps[0]) if steps else 1.0
    return rows, cols, step * NM_PER_UNIT.get(crystal_map.scan_unit, 1.0)


def one_phase(crystal_map: CrystalMap) -> np.ndarray:
    """Return which points hold the map's most frequent phase, shape (n,)."""
    phase_id = crystal_map.phase_id
    present, counts = np.unique(phase_id[phase_id != -1], return_counts=True)
    if present.size == 0:
        return np.zeros(phase_id.shape, bool)
    main = present[np.argmax(counts)]
    if present.size > 1:
        warnings.warn(
            f"The map has {present.size} phases: keeping {crystal_map.phases[main].name}; "
            "the points of the others count as not indexed.",
            stacklevel=4,
        )
    return phase_id == main


def _score_columns(crystal_map: CrystalMap) -> tuple[str, float, str] | None:
    names = crystal_map.prop.keys()
    if "BC" in names and not (crystal_map.prop["bands"] == ASTAR_BANDS).all():
        return None  # another program's .ctf, whose MAD is an angle
    return next((c for c in SCORE_COLUMNS if c[0] in names and c[2] in names), None)


def scores(crystal_map: CrystalMap, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return score (rows, cols, n_best) and reliability (rows, cols), both float32."""
    columns = _score_columns(crystal_map)
    if columns is None:
        warnings.warn("The map has no scores that zoneaxis knows: taking 0.", stacklevel=4)
        return np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
    name, largest, reliability = columns
    score = np.asarray(crystal_map.prop[name], np.float32).reshape(*shape[:2], -1) / largest
    return (
        # Some programs keep n orientations and a single score.
        np.ascontiguousarray(np.broadcast_to(score, shape)),
        np.asarray(crystal_map.prop[reliability], np.float32).reshape(shape[:2]),
    )


def properties(crystal_map: CrystalMap, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the map's own properties; the columns of text files are not ours to interpret."""
    if "score" not in crystal_map.prop:
        return {}
    return {
        name: np.asarray(values).reshape(shape)
        for name, values in crystal_map.prop.items()
        if name not in RESERVED and np.size(values) == shape[0] * shape[1]
    }


def crystal_of(crystal_map: CrystalMap) -> Crystal:
    """Return the most frequent phase as a crystal without sites."""
    phases = [(np.sum(crystal_map.phase_id == i), p) for i, p in crystal_map.phases if i != -1]
    if not phases:
        raise MapError("it names no phase, or indexes no point: give the crystal.")
    phase = max(phases, key=lambda pair: pair[0])[1]
    cell = np.round(phase.structure.lattice.abcABG(), 9)  # orix has realigned the axes
    if np.allclose(cell, (1, 1, 1, 90, 90, 90)):  # orix's stand-in for no lattice
        raise MapError("it gives no lattice constants: give the crystal.")
    return without_sites(phase.name or "phase", cell, _space_group(phase))


def require_same_crystal(given: Crystal | None, crystal_map: CrystalMap) -> None:
    """Refuse a crystal, if one is given, that a map with a usable phase contradicts.

    Raises:
        MapError: the map's phase has other rotations or another cell.
    """
    if given is None:
        return
    try:
        own = crystal_of(crystal_map)
    except MapError:
        return
    require_alike(given, own)


def require_alike(given: Crystal, own: Crystal) -> None:
    """Refuse a crystal given for a map of another one, as far as the map's is known.

    Files name -3m, 3m or 32 for one and the same crystal: the rotations of the Laue group count.

    Args:
        given: by the caller.
        own: what the map's file says.

    Raises:
        MapError: other rotations, or cells that differ by more than 5 %.
    """
    lengths = np.array(own.cell[:3])
    if not (np.isfinite(own.cell).all() and lengths.min() >= SMALLEST_EDGE_ANGSTROM):
        return
    groups = [crystal.point_group.laue for crystal in (own, given)]
    rotations = [group.proper_subgroup.to_matrix() for group in groups]
    if not same_rotations(*rotations) or not same_cell(given, own):
        crystals = [
            f"{crystal.name} (Laue group {group.name}, cell "
            f"{', '.join(f'{v:.4g}' for v in crystal.cell)})"
            for crystal, group in zip((own, given), groups, strict=True)
        ]
        raise MapError(
            f"it is a map of {crystals[0]}, not of {crystals[1]}: give the crystal it was made for."
        )


def same_rotations(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two sets of rotation matrices, (n, 3, 3) and (m, 3, 3), are the same."""
    return a.shape == b.shape and all(np.abs(b - op).max(axis=(1, 2)).min() < 1e-6 for op in a)


def same_cell(a: Crystal, b: Crystal) -> bool:
    """Return whether two cells agree within 5 %."""
    return np.allclose(a.cell, b.cell, rtol=LATTICE_TOLERANCE, atol=0)


def _space_group(phase: Phase) -> int:
    """Return the phase's space group; for a bare point group the first of its Laue class.

    .ang names rotations only (32 for -3m), and diffraction shows no more than the Laue class.
    """
    if phase.space_group is not None:
        return int(phase.space_group.number)
    if phase.point_group is None:
        raise MapError("it gives no symmetry: give the crystal.")
    laue = phase.point_group.laue.name
    return next(n for n in range(1, 231) if get_point_group(n).name == laue)


def without_sites(name: str, cell: Sequence[float], space_group: int) -> Crystal:
    """Return a crystal of which only lattice and symmetry are known."""
    return Crystal(
        name=name,
        cell=tuple(float(v) for v in cell),
        space_group=space_group,
        numbers=np.zeros(0, int),
        positions=np.zeros((0, 3)),
        occupancies=np.zeros(0),
        b_iso_angstrom2=np.zeros(0),
    )
