"""Which crystals of two maps are the same: lattice and Laue group say so, whatever the names."""

from collections.abc import Sequence

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.scans.map_phases import LATTICE_TOLERANCE, alike
from zoneaxis.scans.orientation_map import OrientationMap

OTHER = 1e3  # cost of a pair that is no pair; beyond any difference of cells


def usable(map: OrientationMap) -> np.ndarray:
    """Return where the map has a best orientation with finite angles, bool (rows, cols)."""
    return map.indexed & np.isfinite(map.euler_deg[..., 0, :]).all(axis=-1)


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


def _described(crystal: Crystal) -> str:
    cell = ", ".join(f"{v:.4g}" for v in crystal.cell)
    return f"{crystal.name} (Laue group {crystal.point_group.laue.name}, cell {cell})"
