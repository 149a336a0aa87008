"""What .ang and .ctf have in common: a header, and a table with a line for each point."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.scans.crystal_maps import scores, shape_of
from zoneaxis.scans.map_arrays import MapArrays
from zoneaxis.scans.map_phases import PhaseEntry, assign

EULER = ("phi1", "Phi", "phi2")
FULL_TURN_RAD = 2 * np.pi + 1e-3  # files are rounded
STEP_TOLERANCE = 0.02  # some headers give a step of 1.92 nm as 0.0019 um
ASTAR = "File created from ACOM RES results"


@dataclass(frozen=True, eq=False)
class TextMap:
    """A text file as it was read, before header and table are held against each other.

    Attributes:
        columns: the table by orix's names, each of shape (n,): x, y, phi1, Phi, phi2 (degrees),
            and what `crystal_maps.scores` looks for.
        number: phase of each point, -1 where not indexed, int, shape (n,).
        entries: the phases that the header lists.
        stated: what the header says of the grid under "rows", "cols", "x_step" and "y_step";
            None for what it does not say.
        nm_per_unit: unit of the coordinates and steps.
        is_astar: an export of ASTAR, whose coordinates are known to contradict its header.
    """

    columns: Mapping[str, np.ndarray]
    number: np.ndarray
    entries: Sequence[PhaseEntry]
    stated: Mapping[str, float | None]
    nm_per_unit: float
    is_astar: bool

    def arrays(self, given: Sequence[Crystal]) -> MapArrays:
        """Return the map, checked.

        Args:
            given: crystals instead of the file's own phases, as in `map_phases.assign`.

        Raises:
            MapError: header and table disagree, or the phases are not those given.
        """
        shape = self._shape()
        indexed = (self.number != -1).reshape(shape)
        score, reliability = scores(self.columns, indexed)
        # ASTAR: -1 where it does not trust the point.
        number = np.where(reliability < 0, -1, self.number.reshape(shape))
        crystals, phase = assign(self.entries, number, given)
        euler_deg = np.stack([self.columns[name] for name in EULER], axis=-1).reshape(*shape, 1, 3)
        euler_deg[phase == -1] = 0.0  # files spell "no orientation" as 4 pi, which is worth nothing
        return MapArrays(
            crystals=crystals,
            euler_deg=euler_deg,
            score=score,
            reliability=np.clip(reliability, 0, 1),
            phase=phase,
            step_nm=self._step(shape) * self.nm_per_unit,
        )

    def _shape(self) -> tuple[int, int]:
        """Return rows and columns, on which header and points agree."""
        x, y = self.columns["x"], self.columns["y"]
        rows, cols = self.stated["rows"], self.stated["cols"]
        if rows is None or cols is None:
            rows, cols = shape_of(x, y)
        rows, cols = int(rows), int(cols)
        if rows * cols != x.size:
            raise MapError(
                f"it announces {rows} x {cols} points and holds {x.size}: it is truncated or was "
                "edited."
            )
        if not (_is_even(x.reshape(rows, cols)) and _is_even(y.reshape(rows, cols).T)):
            raise MapError(
                f"its points are not a complete square grid, {rows} rows of {cols} points: it may "
                "be truncated, or be a hexagonal grid (convert it to a square one)."
            )
        return rows, cols

    def _step(self, shape: tuple[int, int]) -> float:
        """Return the step in the file's unit; the header's where the points do not gainsay it."""
        points = self.columns["x"].reshape(shape), self.columns["y"].reshape(shape).T
        steps = []
        for axis, values in zip("xy", points, strict=True):
            stated, n = self.stated[f"{axis}_step"] or None, values.shape[1]
            if n == 1:
                continue
            measured = float(values[0, -1] - values[0, 0]) / (n - 1)
            rounding = _last_digit(values[0]) / (n - 1)
            if stated and abs(stated - measured) <= rounding + 1e-6 * measured:
                measured = stated
            elif stated and abs(stated - measured) > rounding + STEP_TOLERANCE * measured:
                measured = self._contradicted(axis, stated, measured)
            steps.append(measured)
        if not steps:
            return self._lone_step()
        if not steps[0] > 0:
            raise MapError("all its points lie at one place: mend its coordinates or its step.")
        if len(steps) == 2 and abs(steps[0] - steps[1]) > STEP_TOLERANCE * steps[0]:
            raise MapError(
                f"its steps are {steps[0]:g} along x and {steps[1]:g} along y, not square."
            )
        return steps[0]

    def _contradicted(self, axis: str, stated: float, measured: float) -> float:
        message = (
            f"along {axis} points lie {measured * self.nm_per_unit:g} nm apart, the header says "
            f"{stated * self.nm_per_unit:g}"
        )
        if not self.is_astar:
            raise MapError(f"{message}: mend the header or the coordinates.")
        warnings.warn(f"{message}; taking the header's step, as ASTAR rounds.", stacklevel=6)
        return stated

    def _lone_step(self) -> float:
        stated = self.stated["x_step"] or self.stated["y_step"]
        if not stated:
            warnings.warn("A single point without a step: taking 1 nm.", stacklevel=6)
        return stated or 1 / self.nm_per_unit


def _last_digit(values: np.ndarray) -> float:
    """Return what the last decimal of rounded numbers is worth, e.g. 0.1 for 0.5 and 1.2."""
    for decimals in range(9):
        if np.abs(values - np.round(values, decimals)).max() < 1e-12 * (1 + np.abs(values).max()):
            return 10.0**-decimals
    return 1e-9


def _is_even(values: np.ndarray) -> bool:
    """Return whether each row holds the same even spacing, but for rounding."""
    even, step = np.linspace(values[0, 0], values[0, -1], values.shape[1], retstep=True)
    slack = _last_digit(values[0])
    if step >= slack:  # nan for a single value
        slack = min(slack, 0.9 * step)
    return bool(np.abs(values - even).max() <= slack + 1e-6 * abs(even[-1]) and not step < 0)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank.

    Raises:
        MapError: an empty file, or not text.
    """
    content = path.read_bytes()
    if not content.strip():
        raise MapError("the file is empty.")
    if b"\0" in content:
        raise MapError("it is not a text file.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # as vendors' programs on Windows write
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def read_table(lines: list[str], start: int, fewest: int) -> np.ndarray:
    """Return the numbers of the lines from `start` on, float64, shape (n, columns).

    Args:
        lines: of the file, none blank.
        start: number of lines of the header.
        fewest: columns that there must be.

    Raises:
        MapError: no points, a line that is shorter or longer than others, or not of numbers.
    """
    table = lines[start:]
    if not table:
        raise MapError("it holds no points.")
    if "," in table[0]:
        table = [line.replace(",", ".") for line in table]  # as in Germany
    try:
        values = np.loadtxt(table, ndmin=2, comments=None)
    except ValueError as error:
        raise MapError(_first_bad_line(table)) from error
    if values.shape[1] < fewest:
        raise MapError(f"its table has {values.shape[1]} columns: expected {fewest} or more.")
    return values


def _first_bad_line(table: list[str]) -> str:
    columns = len(table[0].split())
    for number, line in enumerate(table, start=1):
        fields = line.split()
        if len(fields) != columns:
            return (
                f"line {number} of its table has {len(fields)} columns, the first has {columns}: "
                "it is truncated or was edited."
            )
        try:
            [float(field) for field in fields]
        except ValueError:
            return f"line {number} of its table is not of numbers: {line.strip()[:60]!r}."
    return "its table is not of numbers."


def require_numbers(columns: Mapping[str, np.ndarray]) -> None:
    """Refuse columns that hold NaN or infinity.

    Raises:
        MapError: names column and line.
    """
    for name, values in columns.items():
        bad = ~np.isfinite(values)
        if bad.any():
            raise MapError(
                f"column {name} holds {values[bad][0]} in line {int(bad.argmax()) + 1} of its "
                "table: mark the point as not indexed instead."
            )


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return a column as integers.

    Raises:
        MapError: it holds other numbers, so that the columns are not what they should be.
    """
    bad = ~np.isfinite(values) | (values != np.round(values))
    if bad.any():
        raise MapError(
            f"column {name} holds {values[bad][0]:g}: expected whole numbers; the columns are not "
            "in the usual order."
        )
    return values.astype(int)


def stated(header: Sequence[str], names: str) -> float | None:
    """Return the number after one of the names ("A|B") at the start of a line, if there is one."""
    for line in header:
        if found := re.match(rf"[#\s]*(?:{names}):?\s+([-+\d.,eE]+)\s*$", line, re.IGNORECASE):
            try:
                return float(found[1].replace(",", "."))
            except ValueError:
                return None
    return None


def write(path: Path, header: Sequence[str], columns: Sequence[np.ndarray], line: str) -> None:
    """Write header and table.

    Args:
        path: of the file.
        header: its lines, without their ends.
        columns: of the table, each of shape (n,) or (n, m).
        line: format of a line of the table, with its end.
    """
    end = line[len(line.rstrip()) :]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(text + end for text in header)
        np.savetxt(file, np.column_stack(columns), fmt=line.rstrip(), newline=end)


def one_line(name: str) -> str:
    """Return a name as a header can hold it."""
    return " ".join(name.split()) or "phase"
