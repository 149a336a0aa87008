"""Which crystals a map is of: what its file says, and what the caller gives instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from orix.quaternion.symmetry import get_point_group

from zoneaxis.diffraction.crystal import SMALLEST_EDGE_ANGSTROM, Crystal
from zoneaxis.errors import MapError

LATTICE_TOLERANCE = 0.05  # of lengths and angles, for cells to be of one crystal


@dataclass(frozen=True)
class PhaseEntry:
    """A phase as a file or a CrystalMap names it.

    Attributes:
        number: what the points call it.
        name: of the material.
        cell: a, b, c in Angstrom, then alpha, beta, gamma in degrees.
        space_group: any of the right Laue group where no more is said, None for no symmetry.
    """

    number: int
    name: str
    cell: tuple[float, ...]
    space_group: int | None

    @property
    def is_known(self) -> bool:
        """Whether it has a symmetry and a cell; some programs write neither, or stand-ins."""
        cell = np.array(self.cell)
        believable = cell.size == 6 and np.isfinite(cell).all()
        believable = believable and cell[:3].min() >= SMALLEST_EDGE_ANGSTROM
        return bool(believable) and self.space_group is not None

    @property
    def problem(self) -> str | None:
        """What keeps it from being a crystal of ours, if anything does."""
        if not self.is_known:
            missing = "symmetry" if self.space_group is None else "lattice constants in Angstrom"
            return f"it gives no {missing} of {self.name}: give the crystal."
        crystal = without_sites(self.name, self.cell, self.space_group)
        with np.errstate(invalid="ignore"):  # angles that no cell has
            moved = crystal.lattice_angstrom @ crystal.proper_operators.transpose(0, 2, 1)
            fractional = moved @ crystal.reciprocal_inv_angstrom.T
        if np.allclose(fractional, np.round(fractional), atol=1e-2):
            return None
        return (
            f"the cell of {_described(crystal)} lacks that symmetry in the axes that zoneaxis uses "
            "(trigonal crystals on hexagonal axes, the unique axis of monoclinic ones along c): "
            "index it in this setting."
        )

    def crystal(self) -> Crystal:
        """Return it as a crystal without sites.

        Raises:
            MapError: cell or symmetry is missing, or they contradict each other.
        """
        if problem := self.problem:
            raise MapError(problem)
        return without_sites(self.name, self.cell, self.space_group)


def assign(
    entries: Sequence[PhaseEntry], number: np.ndarray, given: Sequence[Crystal]
) -> tuple[tuple[Crystal, ...], np.ndarray]:
    """Return the crystals of a map, and which of them each point is.

    Args:
        entries: what the map says its phases are.
        number: the entry of each point, -1 where not indexed, int, shape (...).
        given: instead of the entries, in any order; each phase that a point has must be one of
            them by Laue group and cell, as far as the map knows these.

    Returns:
        Those given, or one for each entry in the order of their numbers; and the index of each
        point's, -1 where not indexed, int8, shape (...).

    Raises:
        MapError: a point of a phase without entry, an entry that is none of the given crystals,
            or one without cell or symmetry where no crystal is given.
    """
    if not entries and len(given) == 1:
        return tuple(given), np.where(number == -1, -1, 0).astype(np.int8)
    entries = sorted(entries, key=lambda entry: entry.number)
    listed = [entry.number for entry in entries]
    if len(set(listed)) < len(listed):
        raise MapError(f"it lists two phases of one number ({', '.join(map(str, listed))}).")
    strangers = sorted(set(np.unique(number).tolist()) - {-1, *listed})
    if strangers or not entries:
        known = f"lists {', '.join(map(str, listed))}" if listed else "describes no phase"
        used = f"has points of phase {strangers[0]} but " if strangers else ""
        raise MapError(f"it {used}{known}: mend its header, or give the crystal.")
    present = [entry for entry in entries if (number == entry.number).any()] or list(entries)
    if given:
        crystals, index = tuple(given), _matched(present, given)
    else:
        present = [entry for entry in entries if entry in present or not entry.problem]
        crystals, index = tuple(entry.crystal() for entry in present), range(len(present))
    phase = np.full(number.shape, -1, np.int8)
    for i, entry in zip(index, present, strict=True):
        phase[number == entry.number] = i
    return crystals, phase


def _matched(entries: Sequence[PhaseEntry], given: Sequence[Crystal]) -> list[int]:
    """Return which of the given crystals each entry is."""
    found = []
    for entry in entries:
        if entry.is_known:
            own = entry.crystal()
            fits = [i for i, crystal in enumerate(given) if alike(crystal, own)]
            # Cu and Ni are alike within the tolerance: the name decides, then the cell.
            fits.sort(key=lambda i: (given[i].name != own.name, _distance(given[i], own)))
        else:
            own = entry
            fits = [i for i, c in enumerate(given) if len(given) == 1 or c.name == entry.name]
        if not fits or fits[0] in found:
            what = "give the crystal it was made for"
            if len(entries) > 1:
                names = " and ".join(entry.name for entry in entries)
                what = f"it holds {len(entries)} phases ({names}), give a crystal for each"
            raise MapError(
                f"it is a map of {_described(own)}, not of {' or '.join(map(_described, given))}: "
                f"{what} (--crystal, crystals=)."
            )
        found.append(fits[0])
    return found


def alike(a: Crystal, b: Crystal) -> bool:
    """Return whether two crystals have the rotations of one Laue group, and one cell within 5 %.

    Files name -3m, 3m or 32 for one and the same crystal: the rotations of the Laue group count.
    """
    groups = [crystal.point_group.laue.proper_subgroup.to_matrix() for crystal in (a, b)]
    return same_rotations(*groups) and same_cell(a, b)


def same_rotations(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two sets of rotation matrices, (n, 3, 3) and (m, 3, 3), are the same."""
    return a.shape == b.shape and all(np.abs(b - op).max(axis=(1, 2)).min() < 1e-6 for op in a)


def same_cell(a: Crystal, b: Crystal) -> bool:
    """Return whether two cells agree within 5 %."""
    return np.allclose(a.cell, b.cell, rtol=LATTICE_TOLERANCE, atol=0)


def _distance(a: Crystal, b: Crystal) -> float:
    return float(np.abs(np.array(a.cell) / b.cell - 1).max())


def _described(phase: Crystal | PhaseEntry) -> str:
    if isinstance(phase, PhaseEntry):
        return phase.name
    cell = ", ".join(f"{v:.4g}" for v in phase.cell)
    return f"{phase.name} (Laue group {phase.point_group.laue.name}, cell {cell})"


@cache
def first_space_group(laue_group: str) -> int:
    """Return the first space group that has all of a Laue group, e.g. 162 for "-3m".

    Diffraction patterns show no more than the Laue group, and nor do some files.
    """
    return next(n for n in range(1, 231) if get_point_group(n).name == laue_group)


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
