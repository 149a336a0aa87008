"""Which crystals of two maps are the same: lattice and Laue group say so, whatever the names."""

from collections.abc import Sequence

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.scans.map_phases import LATTICE_TOLERANCE, alike

OTHER = 1e3  # cost of a pair that is no pair; beyond any difference of cells


def match_crystals(mine: Sequence[Crystal], theirs: Sequence[Crystal]) -> list[int]:
    """Return for each of `mine` which of `theirs` it is, -1 for none; none is taken twice.

    Of several that would do, the one of the same name is taken, then that of the nearest cell.
    """
    from scipy.optimize import linear_sum_assignment

    cost = np.array([[_difference(a, b) for b in theirs] for a in mine])
    partner = [-1] * len(mine)
    for i, j in zip(*linear_sum_assignment(cost), strict=True):
        if cost[i, j] < OTHER:
            partner[i] = int(j)
    return partner


def _difference(a: Crystal, b: Crystal) -> float:
    if not alike(a, b):
        return OTHER
    return float(np.abs(np.divide(a.cell, b.cell) - 1).max()) + (a.name != b.name)


def require_common_crystal(mine: Sequence[Crystal], theirs: Sequence[Crystal]) -> list[int]:
    """Return `match_crystals` of a map and its reference.

    Raises:
        MapError: they have no crystal in common.
    """
    partner = match_crystals(mine, theirs)
    if max(partner) >= 0:
        return partner
    both = " and ".join(
        f"{', '.join(_described(crystal) for crystal in crystals)} of the {owner}"
        for owner, crystals in (("map", mine), ("reference", theirs))
    )
    raise MapError(
        f"{both} are not the same crystal, for which Laue groups must be equal, and cells within "
        f"{100 * LATTICE_TOLERANCE:.0f} %: compare maps of the same crystal."
    )


def with_full_symmetry(
    mine: Sequence[Crystal], theirs: Sequence[Crystal], partner: Sequence[int]
) -> list[Crystal]:
    """Return each of `mine`, or its partner where that has more symmetry operators.

    A file that names 32 or 3m for -3m knows less of its symmetry, not another crystal.

    Args:
        mine: crystals of a map.
        theirs: crystals of its reference.
        partner: what `match_crystals` returned.
    """
    return [
        max(crystal, theirs[p] if p >= 0 else crystal, key=lambda one: len(one.proper_operators))
        for crystal, p in zip(mine, partner, strict=True)
    ]


def _described(crystal: Crystal) -> str:
    cell = ", ".join(f"{v:.4g}" for v in crystal.cell)
    return f"{crystal.name} (Laue group {crystal.point_group.laue.name}, cell {cell})"
