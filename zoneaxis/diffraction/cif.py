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
    return {
        "name": path.stem,
        "cell": structure.lattice.abcABG(),
        "space_group": space_group,
        "numbers": [_atomic_number(atom.element, path) for atom in structure],
        "positions": [atom.xyz for atom in structure],
        "occupancies": [atom.occupancy for atom in structure],
        "b_iso_angstrom2": _b_factors(structure, path),
    }


def _parsed(path: Path) -> tuple[Any, int]:
    """Return the diffpy structure of a CIF, symmetry applied, and its space group number."""
    from diffpy.structure.parsers.p_cif import P_cif
    from diffpy.structure.structureerrors import LatticeError, StructureFormatError, SymmetryError

    parser = P_cif(eps=SAME_POSITION)
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
    return structure, parser.spacegroup.number


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
