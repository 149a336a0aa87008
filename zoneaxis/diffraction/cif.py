"""Reading a CIF into the plain values that describe a crystal."""

import io
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from zoneaxis.diffraction.elements import ELEMENTS
from zoneaxis.errors import CrystalError

DEFAULT_B_ANGSTROM2 = 0.5
# Equivalent positions nearer than this fraction of the cell are one, so that 0.3333 stands for 1/3;
# diffpy's own 1e-5 would put three atoms on a three-fold axis.
SAME_POSITION = 1e-3
MONOCLINIC = range(3, 16)
OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
NUMBERS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
NAMES = ("_space_group_name_H-M_alt", "_space_group_name_H-M_ref", "_symmetry_space_group_name_H-M")
LARGEST_B_ANGSTROM2 = 20.0  # beyond it a CIF has mistaken its own column; no solid vibrates so


def read_cif(path: Path) -> dict[str, Any]:
    """Return what `Crystal.from_dict` takes, the sites of the whole unit cell.

    Sites without a believable B factor get 0.5 Angstrom^2, and a warning names them.

    Raises:
        CrystalError: no such file, not a CIF, no symmetry, no sites or an unknown element.
    """
    if not path.is_file():
        raise CrystalError(f"No CIF at {path}, and no built-in crystal of that name.")
    structure, space_group = _parsed(path)
    cell, positions = structure.lattice.abcABG(), np.array([atom.xyz for atom in structure])
    if space_group in MONOCLINIC and np.allclose(np.array(cell)[[3, 5]], 90) and cell[4] != 90:
        warnings.warn(
            f"{path.name}: a, b, c of this crystal are c, a, b of the CIF, for orix has the unique "
            "axis of monoclinic crystals along c.",
            stacklevel=3,
        )
        cell = tuple(np.roll(cell[:3], 1)) + tuple(np.roll(cell[3:], 1))
        positions = np.roll(positions, 1, axis=1)
    return {
        "name": path.stem,
        "cell": cell,
        "space_group": space_group,
        "numbers": [_atomic_number(atom.element, path) for atom in structure],
        "positions": positions,
        "occupancies": [atom.occupancy for atom in structure],
        "b_iso_angstrom2": _b_factors(structure, path),
    }


def _parsed(path: Path) -> tuple[Any, int]:
    """Return the diffpy structure of a CIF, symmetry applied, and its space group number."""
    from diffpy.structure.structureerrors import LatticeError, StructureFormatError, SymmetryError

    parser = _parser()
    try:
        # From the text: PyCifRW leaves files open, and prints what it does not understand.
        text = path.read_text(encoding="utf-8-sig")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            structure = parser.parse(text)
    except (
        OSError, ValueError, ArithmeticError, LookupError, TypeError,
        StructureFormatError, LatticeError, SymmetryError,
    ) as error:  # fmt: skip
        raise CrystalError(f"{path} is not a readable CIF: {error}.") from error
    if parser.spacegroup is None or not structure:
        raise CrystalError(f"{path} has no symmetry or no sites: a CIF with both is needed.")
    # diffpy numbers the other settings of a group 1000 and more above the first.
    return structure, (parser.spacegroup.number or parser.number) % 1000


def _parser() -> Any:
    """Return diffpy's parser, made to believe the CIF's operations before the group's name."""
    from diffpy.structure.parsers.p_cif import P_cif
    from diffpy.structure.spacegroups import GetSpaceGroup, IsSpaceGroupIdentifier
    from diffpy.structure.structureerrors import StructureFormatError

    class Parser(P_cif):
        number = 0  # of the group that the CIF names

        def _parse_space_group_symop_operation_xyz(self, block: Any) -> None:
            named = {key: block[key] for key in (*NUMBERS, *NAMES) if key in block}
            known = [i for i in named.values() if IsSpaceGroupIdentifier(i)]
            self.number = GetSpaceGroup(known[0]).number if known else 0
            if any(key in block for key in OPERATIONS):
                # It takes an operation list that it does not know (a second origin) for the
                # group's first setting, if it finds a name.
                for key in named:
                    del block[key]
            elif any(re.search(r":\s*[2R]$|Z$", str(named.get(key, ""))) for key in NAMES):
                raise StructureFormatError(
                    "its space group is in a second setting, and the CIF does not list the "
                    "symmetry operations: add them (_space_group_symop_operation_xyz)"
                )
            super()._parse_space_group_symop_operation_xyz(block)

    return Parser(eps=SAME_POSITION)


def _atomic_number(symbol: str, path: Path) -> int:
    element = symbol.strip("0123456789+-").capitalize()
    if element not in ELEMENTS[1:]:
        raise CrystalError(f"{path}: unknown element {symbol!r}.")
    return ELEMENTS.index(element)


def _b_factors(structure: Any, path: Path) -> np.ndarray:
    # Rounded, so that equivalent sites stay equal after anisotropic factors were rotated.
    b = np.array([round(float(atom.Bisoequiv), 6) for atom in structure])
    doubtful = ~((b > 0) & (b <= LARGEST_B_ANGSTROM2))
    if doubtful.any():
        # diffpy names the equivalents of a site O1, O1_2, O1_3.
        labels = [re.sub(r"_\d+$", "", atom.label) for atom in structure]
        found = {s: float(value) for s, value, d in zip(labels, b, doubtful, strict=True) if d}
        named = ", ".join(f"{label} has B = {value:g}" for label, value in found.items())
        warnings.warn(
            f"{path.name}: site {named} Angstrom^2; taking {DEFAULT_B_ANGSTROM2}.", stacklevel=4
        )
    return np.where(doubtful, DEFAULT_B_ANGSTROM2, b)
