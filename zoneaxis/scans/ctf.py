"""Maps as .ctf, the Channel Text File of Oxford Instruments (HKL), Bruker, ASTAR, EMsoft and MTEX.

Columns: phase, x, y (micrometers), bands, error, three Euler angles (degrees), MAD, BC, BS. As
ASTAR does, we write 6 bands, the reliability as MAD and 100 times the score as BC. In Oxford's own
files MAD is an angle and BC a whole number 0..255; ours has decimals, so that the score survives.
A program that wants whole numbers there loses these decimals.

Frames: none changes. The sample frame of the file is ours (x to the right, y down), Euler angles
are ours, the crystal frame has x along a, as orix takes it. Channel 5 and MTEX take x along a* in
this format, which for hexagonal and trigonal crystals is 30 degrees off: there prefer .ang, or
give MTEX the crystal symmetry with 'X||a'. Reading such crystals from others' files warns.

Sources: the format as orix.io.plugins.ctf and MTEX's loadEBSD_ctf and exportEBSD_ctf take it.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from orix.quaternion.symmetry import get_point_group

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.scans import map_text
from zoneaxis.scans.crystal_maps import ASTAR_BANDS
from zoneaxis.scans.map_arrays import MapArrays
from zoneaxis.scans.map_phases import PhaseEntry, first_space_group

FIRST_LINE = "Channel Text File"
AUTHOR = "Author\tzoneaxis"
NO_SOLUTION = 3  # Oxford's error code
LAUE_GROUPS = ("-1", "2/m", "mmm", "4/m", "4/mmm", "-3", "-3m", "6/m", "6/mmm", "m-3", "m-3m")
COLUMNS = ["Phase", "X", "Y", "Bands", "Error", "Euler1", "Euler2", "Euler3", "MAD", "BC", "BS"]
NAMES = ("phase", "x", "y", "bands", "error", *map_text.EULER, "MAD", "BC", "BS")
LINE = "%d\t%.9f\t%.9f\t%d\t%d\t%.5f\t%.5f\t%.5f\t%.7f\t%.5f\t%d\r\n"


def read(path: Path, given: Sequence[Crystal], degrees: bool | None) -> MapArrays:
    """Read a map.

    Args:
        path: of the file.
        given: crystals instead of the file's own phases.
        degrees: whether the Euler angles are in degrees; None for degrees, refused if none is
            beyond 2 pi. A true map of this kind, of one grain along the axes, needs True; one
            that zoneaxis wrote, or whose angles are all 0, does not.

    Raises:
        MapError: truncated, contradictory, in radians, of other phases, or no .ctf at all.
    """
    lines = map_text.read_lines(path)
    if not lines[0].startswith(FIRST_LINE):
        raise MapError(f"it does not begin with {FIRST_LINE!r}.")
    start = next((i for i, line in enumerate(lines) if line.split()[:3] == COLUMNS[:3]), None)
    if start is None:
        raise MapError("it is truncated or damaged: the line that names the columns is missing.")
    header, names = lines[:start], lines[start].split()
    table = map_text.read_table(lines, start + 1, fewest=8)  # some have no MAD, BC and BS
    if table.shape[1] != len(names):
        raise MapError(f"it names {len(names)} columns and has {table.shape[1]}.")
    columns = dict(zip(NAMES, table.T, strict=False))
    phase = map_text.whole_numbers(columns.pop("phase"), "phase")
    map_text.require_numbers(columns)
    number = np.where(phase > 0, phase, -1)
    _require_degrees(columns, number != -1, degrees, header)
    found = map_text.TextMap(
        columns=columns,
        number=number,
        entries=_entries(header),
        stated={
            "rows": map_text.stated(header, "YCells"),
            "cols": map_text.stated(header, "XCells"),
            "x_step": map_text.stated(header, "XStep"),
            "y_step": map_text.stated(header, "YStep"),
        },
        nm_per_unit=1e3,
        is_astar=any(map_text.ASTAR in line for line in header),
    ).arrays(given)
    _warn_of_crystal_frame(found, header)
    return found


def _require_degrees(
    columns: dict[str, np.ndarray],
    indexed: np.ndarray,
    degrees: bool | None,
    header: Sequence[str],
) -> None:
    """Refuse angles that look like radians, or turn them into degrees where `degrees` is False.

    Random grains have all three angles below 2 pi degrees once in a million; grains near [001]
    scatter over all phi1 and phi2.
    """
    if degrees is False:
        columns |= {name: np.rad2deg(columns[name]) for name in map_text.EULER}
    elif degrees is None and AUTHOR not in header:
        largest = max(np.abs(columns[name][indexed]).max(initial=0) for name in map_text.EULER)
        if 0 < largest <= map_text.FULL_TURN_RAD:
            raise MapError(
                f"its Euler angles reach {largest:.5g} only, where .ctf has degrees: say which "
                "they are by OrientationMap.load(path, degrees=False), or =True for degrees."
            )


def _warn_of_crystal_frame(map: MapArrays, header: Sequence[str]) -> None:
    hexagonal = [c.name for i, c in enumerate(map.crystals) if c.cell[5] == 120 and i in map.phase]
    if hexagonal and AUTHOR not in header:
        warnings.warn(
            f"Programs that have x along a*, as Oxford's do in .ctf, put {', '.join(hexagonal)} 30 "
            "degrees about c from where zoneaxis, which has x along a, now takes it to be.",
            stacklevel=4,
        )


def _entries(header: Sequence[str]) -> list[PhaseEntry]:
    """Return the phases of the header."""
    start = next((i for i, line in enumerate(header) if line.startswith("Phases")), None)
    count = map_text.stated(header, "Phases")
    if start is None or count is None:
        raise MapError("its header lists no phases.")
    lines = header[start + 1 : start + 1 + int(count)]
    if len(lines) < count:
        raise MapError(f"its header announces {count:g} phases and lists {len(lines)}.")
    return [_entry(i, line) for i, line in enumerate(lines, start=1)]


def _entry(number: int, line: str) -> PhaseEntry:
    """Return the phase of a line of lengths, angles, name, Laue group and space group."""
    try:
        lengths, angles, name, laue, space_group = [*line.split("\t"), "0"][:5]
        cell = tuple(float(v.replace(",", ".")) for v in f"{lengths};{angles}".split(";"))
        group, space_group = dict(enumerate(LAUE_GROUPS, 1))[int(laue)], int(space_group or 0)
    except (ValueError, KeyError) as error:
        raise MapError(f"phase {number} of its header cannot be read: {line!r}.") from error
    space_group = space_group or first_space_group(group)
    if not 1 <= space_group <= 230 or get_point_group(space_group).laue.name != group:
        space_group = None  # they contradict each other
    return PhaseEntry(number, name.strip(), cell, space_group)


def write(path: Path, map: MapArrays) -> None:
    """Write the best orientation of each point, and its score and reliability.

    Euler angles to 1e-5 degrees, scores to 1e-7, coordinates to 1e-6 nm. Points that are not
    indexed have phase 0, Euler angles 0, no bands and error 3 (no solution), and their scores.

    Args:
        path: of the file.
        map: of any shape.
    """
    indexed = map.indexed.ravel()
    step_um = map.step_nm / 1e3
    y, x = np.indices(map.shape).reshape(2, -1) * step_um
    score, reliability = (np.nan_to_num(v.ravel()) for v in (map.score[..., 0], map.reliability))
    columns = [
        map.phase.ravel() + 1,
        x,
        y,
        np.where(indexed, ASTAR_BANDS, 0),
        np.where(indexed, 0, NO_SOLUTION),
        np.where(indexed[:, None], map.euler_deg[..., 0, :].reshape(-1, 3), 0),
        reliability,
        score.astype(float) * 100,
        np.zeros(indexed.size),
    ]
    map_text.write(path, _header(map, step_um), columns, LINE)


def _header(map: MapArrays, step_um: float) -> list[str]:
    rows, cols = map.shape
    return [
        FIRST_LINE,
        "Prj\tzoneaxis",
        AUTHOR,
        "JobMode\tGrid",
        f"XCells\t{cols}",
        f"YCells\t{rows}",
        f"XStep\t{step_um:.12f}",
        f"YStep\t{step_um:.12f}",
        "AcqE1\t0",
        "AcqE2\t0",
        "AcqE3\t0",
        "Euler angles refer to Sample Coordinate system (CS0)!\tMag\t0\tCoverage\t100\tDevice\t0"
        "\tKV\t0\tTiltAngle\t0\tTiltAxis\t0",
        f"Phases\t{len(map.crystals)}",
        *[_phase(crystal) for crystal in map.crystals],
        "\t".join(COLUMNS),
    ]


def _phase(crystal: Crystal) -> str:
    cell = [f"{v:.5f}" for v in crystal.cell]
    laue = LAUE_GROUPS.index(crystal.point_group.laue.name) + 1
    name = map_text.one_line(crystal.name)
    return (
        f"{';'.join(cell[:3])}\t{';'.join(cell[3:])}\t{name}\t{laue}\t{crystal.space_group}\t\t\t"
    )
