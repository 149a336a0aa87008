"""Units as files spell them, in nm and 1/Angstrom."""

from typing import Any

NM_PER_UNIT = {"a": 0.1, "pm": 1e-3, "nm": 1.0, "um": 1e3, "mm": 1e6, "m": 1e9}
INVERSE = ("^-1", "**-1", "⁻¹", "-1")  # the longest ending that fits comes first


def length_in_nm(unit: Any) -> float | None:
    """Return a unit of length in nm ("µm" -> 1000.0); None for anything else."""
    return NM_PER_UNIT.get(_plain(unit))


def inverse_length_in_inv_angstrom(unit: Any) -> float | None:
    """Return a reciprocal unit in 1/Angstrom ("nm^-1" and "1/nm" -> 0.1); None for others."""
    text = _plain(unit)
    if text.startswith("1/"):
        length = NM_PER_UNIT.get(text[2:])
    else:
        ending = next((e for e in INVERSE if text.endswith(e)), None)
        length = NM_PER_UNIT.get(text.removesuffix(ending)) if ending else None
    return None if length is None else NM_PER_UNIT["a"] / length


def _plain(unit: Any) -> str:
    """Spell a unit in lower-case ASCII, without TeX, blanks and brackets."""
    text = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
    for written, plain in (("angstroms", "a"), ("angstrom", "a"), ("\\aa", "a"), ("\\mu", "u")):
        text = text.lower().replace(written, plain)
    text = text.translate({ord(c): None for c in "${}() _\\"})
    # Both code points of each letter are in use: micro sign and mu, Angstrom sign and A-ring.
    return text.translate(str.maketrans("\u00b5\u03bc\u00e5\u212b\u2212", "uuaa-"))
