"""What the linked maps of the report, report.js, are given, as plain values for JSON.

The spots of an orientation are not stored: the page computes them from the reflections of each
crystal, as `enveloped_disks` does.
"""

from typing import Any

import numpy as np

from zoneaxis.diffraction.beams import PRECESSION_AZIMUTHS
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.kinematic import ENVELOPE_SIGMA_INV_ANGSTROM
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.grains import Grains
from zoneaxis.evaluation.phases import match_crystals, with_full_symmetry
from zoneaxis.evaluation.report.layers import (
    comparison_layers,
    map_layers,
    packed,
    png,
    scan_layers,
)
from zoneaxis.evaluation.report.scan import ScanView
from zoneaxis.scans.orientation_map import OrientationMap

FAINTEST = 1e-6  # |U|^2 of the reflections kept, as a share of the strongest's
MOST_SOLUTIONS = 5  # of each point
COLORMAPS = ("viridis", "cividis", "gray")


def explorer_data(
    maps: tuple[OrientationMap, ...],
    names: tuple[str, ...],
    comparison: Comparison | None,
    grains: tuple[Grains | None, ...],
    view: ScanView | None,
    optics: Optics,
    keys: dict[str, tuple[float, ...]],
) -> dict[str, Any]:
    """Return everything that the linked maps show.

    Args:
        maps: the map, and the reference if there is one.
        names: what they are called.
        comparison: of the two.
        grains: of each map, None where there are none.
        view: of their scan.
        optics: of the spots that are drawn over patterns.
        keys: where the color key of each Laue group has its origin, and how long its unit is: x,
            y, width and height as shares of the picture.
    """
    crystals = [crystal for one in known_crystals(maps) for crystal in one]
    layers = [
        *(
            layer
            for i, (one, segmented) in enumerate(zip(maps, grains, strict=True))
            for layer in map_layers(one, segmented, names[i], str(i))
        ),
        *(comparison_layers(comparison, names) if comparison else ()),
        *(scan_layers(view) if view else ()),
    ]
    first = np.cumsum([0, *(len(one.crystals) for one in maps)]).tolist()
    return {
        "shape": list(maps[0].shape),
        "step_nm": maps[0].step_nm,
        "maps": [
            {
                "name": names[i],
                "n_best": min(one.n_best, MOST_SOLUTIONS),
                "euler_deg": packed(one.euler_deg[:, :, :MOST_SOLUTIONS].astype(np.float32)),
                "score": packed(one.score[:, :, :MOST_SOLUTIONS].astype(np.float32)),
                "crystal": packed(np.where(one.indexed, one.phase + first[i], -1).astype(np.int16)),
                "off_deg": packed(_off_deg(one, maps[1])) if comparison and i == 0 else None,
            }
            for i, one in enumerate(maps)
        ],
        "keys": {crystal.point_group.laue.name: _sector(crystal, keys) for crystal in crystals},
        "crystals": [_reflections(crystal, optics) for crystal in crystals],
        "optics": {
            "k0_inv_angstrom": 1 / optics.wavelength_angstrom,
            "convergence_rad": 1e-3 * optics.convergence_mrad,
            "precession_rad": float(np.deg2rad(optics.precession_deg)),
            "azimuths": PRECESSION_AZIMUTHS if optics.precession_deg else 1,
            "sigma_inv_angstrom": ENVELOPE_SIGMA_INV_ANGSTROM,
            "disk_radius_inv_angstrom": optics.disk_radius_inv_angstrom,
            "k_max_inv_angstrom": optics.k_max_inv_angstrom,
        },
        "layers": layers,
        "tiles": _first_shown({layer["id"] for layer in layers}),
        "colormaps": {name: packed(_colormap(name)) for name in COLORMAPS},
        "patterns": None if view is None else _patterns(view),
    }


def known_crystals(maps: tuple[OrientationMap, ...]) -> list[list[Crystal]]:
    """Return the crystals of each map; one without sites is replaced by its like with them.

    Map files often know the lattice alone; the reference's atoms then serve for the map, and the
    other way round.
    """
    known = [crystal for one in maps for crystal in one.crystals if len(crystal.numbers)]

    def with_sites(crystal: Crystal) -> Crystal:
        if len(crystal.numbers) or not known:
            return crystal
        (like,) = match_crystals([crystal], known)
        return crystal if like < 0 else known[like]

    return [[with_sites(crystal) for crystal in one.crystals] for one in maps]


def _off_deg(one: OrientationMap, reference: OrientationMap) -> np.ndarray:
    """Return raw misorientations of all n best to the reference's best, NaN where there is none."""
    shown = one.euler_deg[:, :, :MOST_SOLUTIONS]
    off = np.full(shown.shape[:3], np.nan, np.float32)
    partner = match_crystals(one.crystals, reference.crystals)
    fullest = with_full_symmetry(one.crystals, reference.crystals, partner)
    for i, (j, crystal) in enumerate(zip(partner, fullest, strict=True)):
        both = (one.phase == i) & (reference.phase == j) & reference.indexed
        first = matrices_from_euler(shown[both])
        second = matrices_from_euler(reference.euler_deg[both][:, :1])
        off[both] = misorientation_deg(first, second, crystal.proper_operators)
    return off


def _reflections(crystal: Crystal, optics: Optics) -> dict[str, Any]:
    """Return name and reflections of a crystal; none where its atoms are not known."""
    hkl, g, strength = np.zeros((0, 3), int), np.zeros((0, 3)), np.zeros(0)
    if len(crystal.numbers):
        k_max = optics.k_max_inv_angstrom
        factors = structure_factors(crystal, optics.voltage_kv, k_max, "WK")
        hkl, g = factors.hkl, factors.g_inv_angstrom
        strength = np.where(hkl.any(axis=1), np.abs(factors.u_inv_angstrom2) ** 2, 0)
        kept = strength > FAINTEST * strength.max()
        hkl, g, strength = hkl[kept], g[kept], strength[kept]
    return {
        "name": crystal.name,
        "laue": crystal.point_group.laue.name,
        "hkl": packed(hkl.astype(np.int16)),
        "g_inv_angstrom": packed(g.astype(np.float32)),
        "strength": packed(strength.astype(np.float32)),
    }


def _sector(crystal: Crystal, keys: dict[str, tuple[float, ...]]) -> dict[str, Any]:
    """Return what reduces a direction to the sector of the color key, and places it there."""
    laue = crystal.point_group.laue
    return {
        "place": keys[laue.name],
        "operators": laue.proper_subgroup.to_matrix().tolist(),
        "normals": laue.fundamental_sector.data.tolist(),
    }


def _patterns(view: ScanView) -> dict[str, Any]:
    rows, cols, h, w = view.tiles.shape
    return {
        "png": png(view.atlas()),
        "grid": [rows, cols],
        "size": [h, w],
        "every": view.every,
        "center_px": packed(view.center_px),
        "inv_angstrom_per_pixel": view.inv_angstrom_per_pixel,
    }


def _colormap(name: str) -> np.ndarray:
    from matplotlib import colormaps

    return np.round(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def _first_shown(there: set[str]) -> list[str]:
    """Return which layers the page starts with, at most six."""
    first = ("ipf-z-0", "ipf-z-1", "off-raw") if "off-raw" in there else ("ipf-z-0", "ipf-x-0")
    others = ("score-0", "reliability-0", "bright-field", "grains-0", "ipf-y-0")
    return [name for name in (*first, *others) if name in there][:6]
