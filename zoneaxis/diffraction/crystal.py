"""Crystal: unit cell, sites and symmetry, in the Cartesian frame x along a, z along c*."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from orix.crystal_map import Phase
from orix.quaternion import Symmetry
from orix.quaternion.symmetry import get_point_group

from zoneaxis.diffraction.cif import LARGEST_B_ANGSTROM2, read_cif
from zoneaxis.diffraction.elements import ELEMENTS
from zoneaxis.errors import CrystalError

CRYSTALS = Path(__file__).parent / "crystals"
SMALLEST_EDGE_ANGSTROM = 1.5  # below any crystal's; diffpy takes 1 Angstrom for a missing cell
ONE_PLACE_ANGSTROM = 0.5  # of two atoms nearer than this only one can be there: H-H is 0.74 long
FULL_PLACE = 1.01  # occupancies are given to two digits


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal structure with everything a simulation needs.

    Attributes:
        name: what maps and reports call it.
        cell: a, b, c in Angstrom, then alpha, beta, gamma in degrees.
        space_group: number in the International Tables, 1..230.
        numbers: atomic number of each site of the unit cell, shape (n,).
        positions: fractional coordinates, shape (n, 3).
        occupancies: share of the cells in which the site is filled, shape (n,).
        b_iso_angstrom2: isotropic displacement factor B = 8 pi^2 <u^2>, shape (n,).
    """

    name: str
    cell: tuple[float, float, float, float, float, float]
    space_group: int
    numbers: np.ndarray
    positions: np.ndarray
    occupancies: np.ndarray
    b_iso_angstrom2: np.ndarray

    @cached_property
    def lattice_angstrom(self) -> np.ndarray:
        """Direct lattice, rows a, b, c in Cartesian Angstrom, shape (3, 3)."""
        return np.linalg.inv(self.reciprocal_inv_angstrom).T

    @cached_property
    def reciprocal_inv_angstrom(self) -> np.ndarray:
        """Reciprocal lattice without 2 pi, rows a*, b*, c* in 1/Angstrom, shape (3, 3).

        Built from the metric so that x is along a and z along c*: hkl @ this gives g.
        """
        a, b, c, *angles = self.cell
        cos_alpha, cos_beta, cos_gamma = np.cos(np.deg2rad(angles))
        sin_gamma = np.sin(np.deg2rad(angles[2]))
        c_y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
        c_z = np.sqrt(1 - cos_beta**2 - c_y**2)
        lattice = np.array(
            [
                [a, 0, 0],
                [b * cos_gamma, b * sin_gamma, 0],
                [c * cos_beta, c * c_y, c * c_z],
            ]
        )
        return np.linalg.inv(lattice).T

    @property
    def volume_angstrom3(self) -> float:
        """Volume of the unit cell in cubic Angstrom."""
        return float(np.linalg.det(self.lattice_angstrom))

    @cached_property
    def point_group(self) -> Symmetry:
        """The crystal's own point group, improper operations included."""
        return get_point_group(self.space_group)

    @cached_property
    def proper_operators(self) -> np.ndarray:
        """Proper rotations of the point group as matrices, identity first, shape (n, 3, 3)."""
        return self.point_group.proper_subgroup.to_matrix()

    @cached_property
    def mirror(self) -> np.ndarray | None:
        """One improper operator of the point group, shape (3, 3); None where there is none.

        With M this operator and m = diag(-1, 1, 1), the pattern of M G m is the x-mirror of
        that of G: half of all directions need no simulation.
        """
        improper = self.point_group[self.point_group.improper]
        if improper.size == 0:
            return None
        # orix keeps the proper part of an improper operation; the inversion makes it whole.
        return -improper[0].to_matrix()[0]

    @cached_property
    def centering(self) -> np.ndarray:
        """Lattice translations in fractional coordinates, (0, 0, 0) first, shape (n, 3).

        Found from the sites themselves, so that no setting of the space group is assumed.
        """
        return self._shifts_that_restore(self.positions)

    def has_symmetry(self, operator: np.ndarray) -> bool:
        """Return whether an operator, with some translation, carries the crystal into itself.

        Args:
            operator: proper or improper rotation in the crystal frame, shape (3, 3).
        """
        fractional = self.lattice_angstrom @ operator.T @ self.reciprocal_inv_angstrom.T
        if not np.allclose(fractional, np.round(fractional), atol=1e-2):
            return False
        return len(self._shifts_that_restore(self.positions @ np.round(fractional))) > 0

    def _shifts_that_restore(self, moved: np.ndarray) -> np.ndarray:
        """Return the fractional shifts that carry the `moved` sites onto the sites, (n, 3)."""
        kinds = np.stack([self.numbers, self.occupancies, self.b_iso_angstrom2], axis=1)
        same_kind = (kinds[:, None] == kinds[None]).all(axis=-1)
        rarest = same_kind[same_kind.sum(axis=1).argmin()]
        candidates = self.positions[rarest] - moved[rarest][0]
        return np.array([t for t in candidates if self._coincides(moved + t, same_kind)])

    def _coincides(self, moved: np.ndarray, same_kind: np.ndarray) -> bool:
        offset = moved[:, None] - self.positions[None]
        same_place = (np.abs(offset - np.round(offset)) < 1e-3).all(axis=-1)
        return bool((same_place & same_kind).any(axis=1).all())

    @cached_property
    def phase(self) -> Phase:
        """The orix phase, for colors and map files."""
        from diffpy.structure import Atom, Lattice, Structure

        atoms = [Atom(str(z), p) for z, p in zip(self.symbols, self.positions, strict=True)]
        return Phase(
            name=self.name,
            space_group=self.space_group,
            structure=Structure(title=self.name, atoms=atoms, lattice=Lattice(*self.cell)),
        )

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of each site."""
        return [ELEMENTS[z] for z in self.numbers]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON; `from_dict` is its inverse."""
        return {
            "name": self.name,
            "cell": list(self.cell),
            "space_group": self.space_group,
            "numbers": self.numbers.tolist(),
            "positions": self.positions.tolist(),
            "occupancies": self.occupancies.tolist(),
            "b_iso_angstrom2": self.b_iso_angstrom2.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Crystal":
        """Build a crystal from what `to_dict` returned.

        Raises:
            CrystalError: a key is missing, an array does not fit, or atoms are too near each other.
        """
        try:
            crystal = cls(
                name=str(values["name"]),
                cell=tuple(float(v) for v in values["cell"]),
                space_group=int(values["space_group"]),
                numbers=np.array(values["numbers"], dtype=int),
                positions=np.array(values["positions"], dtype=float).reshape(-1, 3),
                occupancies=np.array(values["occupancies"], dtype=float),
                b_iso_angstrom2=np.array(values["b_iso_angstrom2"], dtype=float),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CrystalError(f"Not a crystal description: {error!r}.") from error
        return _checked(crystal)

    @classmethod
    def from_cif(cls, path: str | Path) -> "Crystal":
        """Read a crystal from a CIF.

        Args:
            path: the CIF; sites without a believable B factor get 0.5 Angstrom^2 and a warning.

        Raises:
            CrystalError: no such file, not a CIF, no symmetry, no sites, an unknown element, or
                atoms too near each other.
        """
        return cls.from_dict(read_cif(Path(path)))


def load_crystal(name_or_cif: str | Path) -> Crystal:
    """Return a built-in crystal by name ("LiNiO2"), or read a CIF.

    Raises:
        CrystalError: neither a built-in name nor a readable CIF.
    """
    built_in = CRYSTALS / f"{name_or_cif}.cif"
    return Crystal.from_cif(built_in if built_in.is_file() else name_or_cif)


def _checked(crystal: Crystal) -> Crystal:
    if problem := _problem(crystal):
        raise CrystalError(f"{crystal.name}: {problem}")
    return crystal


def _problem(crystal: Crystal) -> str | None:
    """Return what makes a crystal unusable and what to do about it, if anything does."""
    sites = (crystal.positions, crystal.occupancies, crystal.b_iso_angstrom2)
    if not len(crystal.numbers) or {len(s) for s in sites} != {len(crystal.numbers)}:
        return "sites, positions, occupancies and B differ in number, or there are none."
    if not _is_cell(crystal.cell):
        return f"{crystal.cell} is not a unit cell: expected lengths in Angstrom, then degrees."
    if not 1 <= crystal.space_group <= 230:
        return (
            f"space group {crystal.space_group} is not 1..230: give the number in the "
            "International Tables (_space_group_IT_number) and the standard setting."
        )
    if not ((crystal.numbers > 0) & (crystal.numbers < len(ELEMENTS))).all():
        return f"atomic numbers {crystal.numbers.tolist()}: expected 1 to {len(ELEMENTS) - 1}."
    if not np.isfinite(crystal.positions).all():
        return "a position is not a number."
    if not ((crystal.occupancies >= 0) & (crystal.occupancies <= 1)).all():
        return f"occupancies {crystal.occupancies.tolist()}: expected 0 to 1."
    b = crystal.b_iso_angstrom2
    if not ((b > 0) & (b <= LARGEST_B_ANGSTROM2)).all():
        return (
            f"B factors {b.tolist()} Angstrom^2: expected above 0, to {LARGEST_B_ANGSTROM2:g}; "
            "where it is unknown, 0.5 is usual."
        )
    if crowd := _crowd(crystal):
        return crowd
    operators = [*crystal.proper_operators, *([] if crystal.mirror is None else [crystal.mirror])]
    if not all(crystal.has_symmetry(operator) for operator in operators):
        return (
            f"cell and sites lack the symmetry {crystal.point_group.name} of space group "
            f"{crystal.space_group} in orix's axes (trigonal crystals on hexagonal axes, two-fold "
            "axes along a; the unique axis of monoclinic ones along c): transform the cell."
        )
    return None


def _crowd(crystal: Crystal) -> str | None:
    """Return which atoms are too near each other to be there at once, if any are.

    Atoms that share a place (mixed or split sites, one element in two valences) are no crowd as
    long as their occupancies add up to at most 1.
    """
    offset = crystal.positions[:, None] - crystal.positions[None]
    distance = np.linalg.norm((offset - np.round(offset)) @ crystal.lattice_angstrom, axis=-1)
    near = distance < ONE_PLACE_ANGSTROM
    filled = near @ crystal.occupancies
    if filled.max() <= FULL_PLACE:
        return None
    crowd = np.flatnonzero(near[filled.argmax()])
    named = ", ".join(
        f"{crystal.symbols[i]} at ({', '.join(f'{x:.5g}' for x in crystal.positions[i])})"
        for i in crowd
    )
    return (
        f"within {ONE_PLACE_ANGSTROM} Angstrom lie {named}, with occupancies that add up to "
        f"{filled.max():.4g}: remove a duplicate, give occupancies that add up to 1, or give "
        "special positions with more digits (0.33333 for 1/3)."
    )


def _is_cell(cell: tuple[float, ...]) -> bool:
    lengths, angles = np.array(cell[:3]), np.array(cell[3:])
    if len(cell) != 6 or not np.isfinite(cell).all():
        return False
    cosines = np.cos(np.deg2rad(angles))
    # Positive where three vectors can make these angles with each other.
    gram = 1 - (cosines**2).sum() + 2 * cosines.prod()
    possible = ((angles > 0) & (angles < 180)).all() and gram > 1e-6
    return bool(possible and lengths.min() >= SMALLEST_EDGE_ANGSTROM)
