"""Maps as .ang: of EDAX (TSL), orix and EMsoft in radians and micrometers, of ASTAR in nm.

Columns: phi1, Phi, phi2, x, y, image quality, confidence index, phase, detector signal, fit;
ASTAR has index (0..100) and reliability in the 6th and 7th. We write the score as image quality
and the reliability as confidence index, as ASTAR's own columns are.

Frames: none changes. The sample frame of the file is ours (x to the right, y down), Euler angles
are ours, and the crystal frame has x along a, as EDAX, orix and MTEX have it for this format.
EDAX turns its Euler frame against its coordinates, and MTEX offers to correct that at every .ang:
for ours, decline.

Phases are numbered from 1, with the last first in the header; EDAX has 0 for the only phase of a
map. Points that are not indexed have phase 0, as MTEX refuses negative numbers.

Sources: the format as orix.io.plugins.ang and MTEX's loadEBSD_ang take it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from orix.crystal_map import Phase

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.scans import map_text
from zoneaxis.scans.map_arrays import MapArrays
from zoneaxis.scans.map_phases import PhaseEntry, first_space_group

NOT_INDEXED_RAD = 4 * np.pi
B_UNIQUE = "20"  # EDAX's code for 2/m with the unique axis along b; along c it is 2
LAUE_GROUPS = {  # by EDAX's codes
    "1": "-1", "2": "2/m", "22": "mmm", "4": "4/m", "42": "4/mmm", "3": "-3", "32": "-3m",
    "6": "6/m", "62": "6/mmm", "23": "m-3", "43": "m-3m",
}  # fmt: skip
LINE = "%9.5f %9.5f %9.5f %14.9f %14.9f %10.7f %10.7f %2d %3d %9.5f\n"


def read(path: Path, given: Sequence[Crystal], degrees: bool | None) -> MapArrays:
    """Read a map.

    Args:
        path: of the file.
        given: crystals instead of the file's own phases.
        degrees: whether the Euler angles are in degrees; None for radians, refused if the angles
            of an indexed point exceed a full turn, Phi half of one.

    Raises:
        MapError: truncated, contradictory, in degrees, of other phases, or no .ang at all.
    """
    lines = map_text.read_lines(path)
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = lines[:start]
    if any(re.match(r"#\s*GRID:\s*HexGrid", line) for line in header):
        raise MapError("its grid is hexagonal: convert it to a square one in OIM Analysis.")
    table = map_text.read_table(lines, start, fewest=8)
    announced = map_text.stated(header, "COLUMN_COUNT")
    if announced not in (None, table.shape[1]):
        raise MapError(f"it announces {announced:g} columns and has {table.shape[1]}.")
    is_astar = any(map_text.ASTAR in line for line in header)
    columns = dict(zip(_columns(header, is_astar), table.T, strict=False))
    phase = map_text.whole_numbers(columns.pop("phase"), "phase")
    map_text.require_numbers(columns)
    euler_rad = np.stack([columns[name] for name in map_text.EULER], axis=-1)
    if degrees:
        euler_rad = np.deg2rad(euler_rad)
    blank = np.isclose(euler_rad, NOT_INDEXED_RAD, atol=1e-3).all(axis=1)
    if "ci" in columns:
        blank |= columns["ci"] == -1
    entries = _entries(header)
    number = _numbers(phase, blank, entries)
    if degrees is None:
        _require_radians(euler_rad[number != -1])
    columns |= zip(map_text.EULER, np.rad2deg(euler_rad).T, strict=True)
    return map_text.TextMap(
        columns=columns,
        number=number,
        entries=entries,
        stated={
            "rows": map_text.stated(header, "NROWS"),
            "cols": map_text.stated(header, "NCOLS_ODD"),
            "x_step": map_text.stated(header, "XSTEP"),
            "y_step": map_text.stated(header, "YSTEP"),
        },
        nm_per_unit=1.0 if is_astar else 1e3,
        is_astar=is_astar,
    ).arrays(given)


def _columns(header: Sequence[str], is_astar: bool) -> tuple[str, ...]:
    """Return what the first eight columns are."""
    scores = ("ind", "rel") if is_astar else ("iq", "ci")
    if any("EMsoft" in line for line in header):
        scores = ("iq", "dp")
    return (*map_text.EULER, "x", "y", *scores, "phase")


def _numbers(phase: np.ndarray, blank: np.ndarray, entries: Sequence[PhaseEntry]) -> np.ndarray:
    """Return the entry of each point; 0 is the only one in EDAX's files of a single phase."""
    none = blank | (phase < 0)
    if len(entries) == 1 and not phase[~none].any():
        return np.where(none, -1, entries[0].number)
    return np.where(none | (phase == 0), -1, phase)


def _require_radians(euler_rad: np.ndarray) -> None:
    if (np.abs(euler_rad) > map_text.FULL_TURN_RAD * np.array([1, 0.5, 1])).any():
        raise MapError(
            f"its Euler angles reach {np.abs(euler_rad).max():.5g}, where .ang has radians: if "
            "they are degrees, read it by OrientationMap.load(path, degrees=True)."
        )


def _entries(header: Sequence[str]) -> list[PhaseEntry]:
    """Return the phases of the header; ASTAR leaves out their numbers."""
    blocks: list[dict[str, str]] = []
    for line in header:
        found = re.match(r"#\s*(Phase|MaterialName|Symmetry|LatticeConstants)\s+(.*\S)", line)
        if found:
            key, value = found.groups()
            if not blocks or key in blocks[-1] or key == "Phase":
                blocks.append({})
            blocks[-1][key] = value
    return [_entry(block, i) for i, block in enumerate(blocks, start=1)]


def _entry(block: dict[str, str], place: int) -> PhaseEntry:
    try:
        number = int(block.get("Phase", place))
        cell = tuple(float(v) for v in block.get("LatticeConstants", "").split())
    except ValueError as error:
        raise MapError(f"phase {place} of its header cannot be read: {block}.") from error
    name = block.get("MaterialName", f"phase {number}")
    return PhaseEntry(number, name, cell, _space_group(block.get("Symmetry", "")))


def _space_group(symmetry: str) -> int | None:
    """Return a space group of the Laue group that EDAX's code, or a point group, stands for."""
    if symmetry == B_UNIQUE:
        raise MapError(
            "it holds a monoclinic phase with the unique axis along b (symmetry 20): zoneaxis has "
            "it along c; index the map in that setting."
        )
    if symmetry in LAUE_GROUPS:
        return first_space_group(LAUE_GROUPS[symmetry])
    try:
        return first_space_group(Phase(point_group=symmetry).point_group.laue.name)
    except ValueError:
        return None


def write(path: Path, map: MapArrays) -> None:
    """Write the best orientation of each point, and its score and reliability.

    Euler angles to 1e-5 rad, scores to 1e-7, coordinates to 1e-6 nm. Points that are not indexed
    have Euler angles 4 pi, confidence index -1, fit 180, phase 0, and keep their scores.

    Args:
        path: of the file.
        map: of any shape.
    """
    blank = ~map.indexed.ravel()
    euler_rad = np.deg2rad(map.euler_deg[..., 0, :].reshape(-1, 3))
    score, reliability = (np.nan_to_num(v.ravel()) for v in (map.score[..., 0], map.reliability))
    step_um = map.step_nm / 1e3
    y, x = np.indices(map.shape).reshape(2, -1) * step_um
    columns = [
        np.where(blank[:, None], NOT_INDEXED_RAD, euler_rad),
        x,
        y,
        score,
        np.where(blank, -1, reliability),
        map.phase.ravel() + 1,
        np.zeros(blank.size),
        np.where(blank, 180, 0),
    ]
    map_text.write(path, _header(map, step_um), columns, LINE)


def _header(map: MapArrays, step_um: float) -> list[str]:
    rows, cols = map.shape
    lines = ["TEM_PIXperUM 1.000000", "x-star 0", "y-star 0", "z-star 0", "WorkingDistance 0", ""]
    codes = {group: code for code, group in LAUE_GROUPS.items()}
    # OIM Analysis expects the last phase first.
    for number, crystal in reversed(list(enumerate(map.crystals, start=1))):
        name = map_text.one_line(crystal.name)
        lines += [
            f"Phase {number}",
            f"MaterialName {name}",
            f"Formula {name}",
            "Info",
            f"Symmetry {codes[crystal.point_group.laue.name]}",
            "LatticeConstants " + " ".join(f"{v:.5f}" for v in crystal.cell),
            "NumberFamilies 0",
            "",
        ]
    lines += [
        "GRID: SqrGrid",
        f"XSTEP: {step_um:.12f}",
        f"YSTEP: {step_um:.12f}",
        f"NCOLS_ODD: {cols}",
        f"NCOLS_EVEN: {cols}",
        f"NROWS: {rows}",
        "",
        "OPERATOR: zoneaxis",
        "SAMPLEID:",
        "SCANID:",
        "COLUMN_COUNT: 10",
        "COLUMN_HEADERS: phi1, PHI, phi2, x, y, IQ, CI, Phase index, SEM, Fit",
        "",
    ]
    return [f"# {line}" for line in lines]
