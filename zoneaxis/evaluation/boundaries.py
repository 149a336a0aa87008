"""Boundaries between grains: length, misorientation, axis, twins, and what looks like misindexing.

Angles and axes are those between the mean orientations of the two grains. A pair of grains that a
false friend of diffraction patterns relates (180 degrees about the beam, 60 degrees about c) is
suspicious: the pattern of one fits the other nearly as well, and a piece of a grain that was
indexed as its friend looks like a grain of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.low_index import (
    direction_label,
    low_index_directions,
    nearest_direction,
)
from zoneaxis.diffraction.orientations import (
    misorientation_deg,
    nearest_equivalents,
    pseudo_symmetric_deg,
)
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.grains import TOLERANCE_DEG, Grains, length_text
from zoneaxis.evaluation.metrics import FRIENDS
from zoneaxis.scans.grains import neighbor_pairs

if TYPE_CHECKING:
    from rich.table import Table

SPECIAL_DEG = 5.0  # from a twin or a false friend, to count as one
NAMED_DEG = 3.0  # from a low-index direction, for an axis to be called by it
AXES_APART_DEG = 10.0
SHOWN = 10


@dataclass(frozen=True)
class Twin:
    """A special misorientation: a rotation about a crystal direction.

    Attributes:
        angle_deg: of the rotation.
        axis: indices uvw of the direction.
    """

    angle_deg: float
    axis: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> "Twin":
        """Read "60 1 1 1": an angle in degrees, then u v w.

        Raises:
            SettingsError: not that.
        """
        try:
            angle, *axis = text.replace(",", " ").split()
            twin = cls(float(angle), tuple(int(i) for i in axis))
        except ValueError:
            twin = cls(0.0, ())
        if not (0 < twin.angle_deg <= 180 and len(twin.axis) == 3 and any(twin.axis)):
            raise SettingsError(
                f"--twin '{text}': expected an angle of up to 180 degrees and three whole numbers, "
                'the direction of its axis, as in "60 1 1 1".'
            )
        return twin

    def label(self, crystal: Crystal) -> str:
        """Return "60° [111]"."""
        return f"{self.angle_deg:g}° {direction_label(np.array(self.axis), crystal)}"

    def matrix(self, crystal: Crystal) -> np.ndarray:
        """Return the rotation in the crystal frame, shape (3, 3)."""
        from scipy.spatial.transform import Rotation

        direction = np.array(self.axis) @ crystal.lattice_angstrom
        vector = np.deg2rad(self.angle_deg) * direction / np.linalg.norm(direction)
        return Rotation.from_rotvec(vector).as_matrix()


@dataclass(frozen=True, eq=False)
class Boundaries:
    """The m boundaries between touching grains.

    Attributes:
        grains: what they lie between.
        pairs: numbers of the two grains, the smaller first, ascending, shape (m, 2).
        length_nm: along the edges of the points: exact along rows and columns, 1.27 times too
            long on average over all slopes, shape (m,).
        misorientation_deg: of the mean orientations, NaN between phases, shape (m,).
        axis: of that rotation in the crystal frame, unit vectors in the fundamental sector of the
            Laue group, NaN between phases, shape (m, 3).
        axis_label: the low-index direction within 3 degrees of it, else "", shape (m,).
        kind: the twin or the false friend within 5 degrees, else "", shape (m,).
        suspicious: whether `kind` is a false friend: likely misindexing, not real, shape (m,).
    """

    grains: Grains
    pairs: np.ndarray
    length_nm: np.ndarray
    misorientation_deg: np.ndarray
    axis: np.ndarray
    axis_label: np.ndarray
    kind: np.ndarray
    suspicious: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Which boundary runs between neighboring points, for figures.

        Returns:
            Number of the boundary to the right of each point, int, shape (rows, cols - 1), and
            below it, shape (rows - 1, cols); -1 for none.
        """
        rows, cols = self.grains.labels.shape
        key = _boundary_keys(self.grains)
        known = self.pairs @ [len(self.grains), 1]
        number = np.full(key.size, -1)
        number[key >= 0] = np.searchsorted(known, key[key >= 0])
        split = rows * (cols - 1)
        return number[:split].reshape(rows, cols - 1), number[split:].reshape(rows - 1, cols)

    def summary(self) -> dict[str, Any]:
        """Return number and length of the boundaries, in all and of each kind."""
        total = float(self.length_nm.sum())
        kinds = {
            str(kind): {
                "boundaries": int((self.kind == kind).sum()),
                "length_nm": float(self.length_nm[self.kind == kind].sum()),
                "suspicious": bool(self.suspicious[self.kind == kind].any()),
            }
            for kind in np.unique(self.kind[self.kind != ""])
        }
        suspicious = float(self.length_nm[self.suspicious].sum())
        return {
            "boundaries": len(self),
            "length_nm": total,
            "suspicious_share_of_length": suspicious / total if total else 0.0,
            "kinds": kinds,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the summary and every boundary, for JSON; null for the angle between phases."""
        angles = self.misorientation_deg
        return {
            "summary": self.summary(),
            "pairs": self.pairs.tolist(),
            "length_nm": np.round(self.length_nm, 4).tolist(),
            "misorientation_deg": [round(a, 4) if np.isfinite(a) else None for a in angles],
            "axis": self.axis_label.tolist(),
            "kind": self.kind.tolist(),
            "suspicious": self.suspicious.tolist(),
        }

    def table(self) -> "Table":
        """Return the longest boundaries as a rich table."""
        from rich.markup import escape
        from rich.table import Table

        values = self.summary()
        table = Table(
            title=f"{len(self)} boundaries",
            caption=f"{values['suspicious_share_of_length']:.1%} of their length is suspicious: "
            "false friends of diffraction patterns, likely misindexing.",
            caption_justify="left",
        )
        for head in ("grains", "length", "misorientation", "axis", "kind"):
            table.add_column(head, justify="left" if head == "kind" else "right")
        for i in np.argsort(-self.length_nm, kind="stable")[:SHOWN]:
            angle = self.misorientation_deg[i]
            table.add_row(
                "-".join(map(str, self.pairs[i])),
                length_text(self.length_nm[i]),
                f"{angle:.1f}°" if np.isfinite(angle) else "other phase",
                escape(self.axis_label[i]),
                escape(self.kind[i]),
            )
        return table


def find_boundaries(grains: Grains, twins: Sequence[Twin] = ()) -> Boundaries:
    """Return the boundaries between the grains of a map.

    Args:
        grains: of the map.
        twins: special misorientations to tell from the others; those that are false friends, too,
            are then not suspicious.
    """
    key = _boundary_keys(grains)
    known, count = np.unique(key[key >= 0], return_counts=True)
    pairs = np.stack(np.divmod(known, max(len(grains), 1)), axis=1)
    angle, axis = np.full(len(pairs), np.nan), np.full((len(pairs), 3), np.nan)
    label, kind = np.full(len(pairs), "", dtype=object), np.full(len(pairs), "", dtype=object)
    suspicious = np.zeros(len(pairs), bool)
    for number, crystal in enumerate(grains.crystals):
        own = np.flatnonzero((grains.phase[pairs] == number).all(axis=1))
        first, second = grains.matrices[pairs[own]].swapaxes(0, 1)
        angle[own], axis[own] = misorientation_and_axis(first, second, crystal)
        label[own] = _axis_labels(axis[own], crystal)
        kind[own], suspicious[own] = _kinds(first, second, crystal, twins)
    length = count * grains.step_nm
    return Boundaries(grains, pairs, length, angle, axis, label, kind, suspicious)


def _boundary_keys(grains: Grains) -> np.ndarray:
    """Return for each pair of neighbors a number of the pair of their grains, -1 within one."""
    pairs = np.sort(grains.labels.ravel()[neighbor_pairs(grains.labels.shape)], axis=0)
    apart = (pairs[0] >= 0) & (pairs[0] != pairs[1])
    return np.where(apart, pairs[0] * len(grains) + pairs[1], -1)


def misorientation_and_axis(
    first: np.ndarray, second: np.ndarray, crystal: Crystal
) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest rotation between equivalents of two orientations.

    Args:
        first: G1, shape (n, 3, 3).
        second: G2, shape (n, 3, 3).
        crystal: of both.

    Returns:
        Angle in degrees, shape (n,), and axis in the crystal frame, a unit vector in the
        fundamental sector of the Laue group, NaN where there is no rotation, shape (n, 3).
    """
    from orix.vector import Vector3d
    from scipy.spatial.transform import Rotation

    if not len(first):
        return np.zeros(0), np.zeros((0, 3))
    turned = nearest_equivalents(first, second, crystal.proper_operators) @ second.swapaxes(-1, -2)
    vector = Rotation.from_matrix(turned).as_rotvec()
    angle = np.linalg.norm(vector, axis=1)
    turns = angle > 0
    axis = np.full(vector.shape, np.nan)
    unit = Vector3d(vector[turns] / angle[turns, None])
    axis[turns] = unit.in_fundamental_sector(crystal.point_group.laue).data
    return np.rad2deg(angle), axis


def random_misorientations_deg(crystal: Crystal, n: int = 20_000, seed: int = 0) -> np.ndarray:
    """Return misorientations of random pairs: for cubic crystals, the distribution of Mackenzie.

    Args:
        crystal: whose symmetry reduces them.
        n: how many.
        seed: of the draw.

    Source: J. Mackenzie, Biometrika 45 (1958) 229.
    """
    from scipy.spatial.transform import Rotation

    drawn = Rotation.from_quat(np.random.default_rng(seed).normal(size=(n, 4))).as_matrix()
    return misorientation_deg(drawn, np.eye(3), crystal.proper_operators)


def _axis_labels(axis: np.ndarray, crystal: Crystal) -> list[str]:
    directions = low_index_directions(crystal, AXES_APART_DEG)
    names = [direction_label(uvw, crystal) for uvw in directions]
    number, away = nearest_direction(axis, directions, crystal)
    return [names[i] if d <= NAMED_DEG else "" for i, d in zip(number, away, strict=True)]


def _kinds(
    first: np.ndarray, second: np.ndarray, crystal: Crystal, twins: Sequence[Twin]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the name of each pair's special misorientation, and whether it is a false friend."""
    kind = np.full(len(first), "", dtype=object)
    suspicious = np.zeros(len(first), bool)
    raw, *others = pseudo_symmetric_deg(first, second, crystal).items()
    for friend, angle in others:
        own = friend != "c_60" or crystal.point_group.system == "trigonal"
        near = own & (angle <= SPECIAL_DEG) & (raw[1] > TOLERANCE_DEG)
        kind[near], suspicious[near] = FRIENDS[friend].removeprefix("modulo "), True
    for twin in twins:
        near = _twin_deg(first, second, crystal, twin) <= SPECIAL_DEG
        kind[near], suspicious[near] = f"twin {twin.label(crystal)}", False
    return kind, suspicious


def _twin_deg(first: np.ndarray, second: np.ndarray, crystal: Crystal, twin: Twin) -> np.ndarray:
    """Return how far pairs are from a twin, about any equivalent axis and either way, (n,)."""
    symmetry, turn = crystal.proper_operators, twin.matrix(crystal)
    turns = symmetry.swapaxes(-1, -2) @ np.stack([turn, turn.T])[:, None] @ symmetry
    away = [misorientation_deg(t @ first, second, symmetry) for t in turns.reshape(-1, 3, 3)]
    return np.min(away, axis=0)
