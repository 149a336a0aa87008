"""What the linked maps of the report, report.js, are given, as plain values for JSON.

Arrays travel as base64 of their little-endian bytes, colors and patterns as PNG. The spots of an
orientation are not stored: the page computes them from the reflections of each crystal, as
`enveloped_disks` does.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from zoneaxis.diffraction.beams import PRECESSION_AZIMUTHS
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.kinematic import ENVELOPE_SIGMA_INV_ANGSTROM
from zoneaxis.diffraction.low_index import (
    direction_label,
    low_index_directions,
    nearest_direction,
)
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation import figures
from zoneaxis.evaluation.breakdown import ZONE_AXES_APART_DEG
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.grains import Grains
from zoneaxis.evaluation.image_axes import robust_limits
from zoneaxis.evaluation.metrics import FRIENDS
from zoneaxis.evaluation.phases import match_crystals, usable
from zoneaxis.evaluation.report_scan import ScanView
from zoneaxis.scans.orientation_map import OrientationMap

Layer = dict[str, Any]
PHASE_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
NO_PHASE_COLOR = "#000000"
FAINTEST = 1e-6  # |U|^2 of the reflections kept, as a share of the strongest's
MOST_SOLUTIONS = 5  # of each point
MOST_CLASSES = 4096  # of a property of whole numbers, to be drawn in colors of their own
CLASS_PROPERTIES = ("grain",)
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
            for layer in _map_layers(one, segmented, names[i], str(i))
        ),
        *(_comparison_layers(comparison, names) if comparison else ()),
        *(_scan_layers(view) if view else ()),
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
                "crystal": packed(np.where(usable(one), one.phase + first[i], -1).astype(np.int16)),
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


def packed(values: np.ndarray) -> dict[str, Any]:
    """Return an array as base64 of its little-endian bytes, with type and shape."""
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return {
        "type": values.dtype.name,
        "shape": list(values.shape),
        "base64": base64.b64encode(values.tobytes()).decode("ascii"),
    }


def png(pixels: np.ndarray) -> str:
    """Return gray (h, w) or color (h, w, 3) pixels, uint8, as the address of a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _map_layers(
    one: OrientationMap, grains: Grains | None, name: str, number: str
) -> Iterator[Layer]:
    for direction in "zxy":
        colors = np.round(255 * figures.ipf_colors(one, direction)).astype(np.uint8)
        yield {
            "id": f"ipf-{direction}-{number}",
            "group": name,
            "label": f"IPF-{direction.upper()}",
            "kind": "colors",
            "png": png(colors),
        }
    there = usable(one)
    for quantity, values in (("score", one.score[..., 0]), ("reliability", one.reliability)):
        shown = np.where(there, values, np.nan)
        yield _scalar(f"{quantity}-{number}", name, quantity, shown)
    if len(one.crystals) > 1:
        labels = [crystal.name for crystal in one.crystals]
        yield _classes(f"phase-{number}", name, "phase", one.phase, labels, PHASE_COLORS)
    yield from _zone_axis_layers(one, name, number)
    if grains is not None:
        yield _numbered(f"grains-{number}", name, "grain", grains.labels)
    for quantity, values in one.properties.items():
        if quantity in CLASS_PROPERTIES and np.nanmax(values, initial=-1) < MOST_CLASSES:
            whole = np.nan_to_num(values, nan=-1).astype(int)
            yield _numbered(f"{quantity}-{number}", name, f"{quantity} (property)", whole)
        else:
            yield _scalar(f"{quantity}-{number}", name, quantity, values)


def _zone_axis_layers(one: OrientationMap, name: str, number: str) -> Iterator[Layer]:
    """Yield which low-index zone axis is nearest to the beam, and how far it is off."""
    row, away, labels = np.full(one.shape, -1), np.full(one.shape, np.nan), []
    for phase, crystal in enumerate(one.crystals):
        own = usable(one) & (one.phase == phase)
        axes = low_index_directions(crystal, ZONE_AXES_APART_DEG)
        nearest, away[own] = nearest_direction(one.matrices[own][:, :, 2], axes, crystal)
        row[own] = len(labels) + nearest
        labels += [direction_label(uvw, crystal) for uvw in axes]
    yield _numbered(f"zone-{number}", name, "nearest zone axis", row) | {"names": labels}
    yield _scalar(f"away-{number}", name, "beam off the zone axis", away) | {"unit": "°"}


def _comparison_layers(comparison: Comparison, names: tuple[str, ...]) -> Iterator[Layer]:
    limits = (figures.SMALLEST_DEG, figures.LARGEST_DEG)
    for friend in comparison.friends:
        angles = comparison.misorientation_deg[friend]
        label = f"misorientation, {FRIENDS[friend]}"
        layer = _scalar(f"off-{friend}", "comparison", label, angles, "viridis", limits)
        yield layer | {"unit": "°", "log": True}
    kind = figures.agreement(comparison)
    labels = [label.format(*names) for label in figures.AGREEMENT]
    colors = list(figures.AGREEMENT.values())
    yield _classes("indexed", "comparison", "indexed by", kind, labels, colors)


def _scan_layers(view: ScanView) -> Iterator[Layer]:
    for name in ("bright_field", "dark_field"):
        label = f"virtual {name.replace('_', ' ')}"
        yield _scalar(name.replace("_", "-"), "scan", label, getattr(view, name), "gray")


def _scalar(
    id: str,
    group: str,
    label: str,
    values: np.ndarray,
    colormap: str = "cividis",
    limits: tuple[float, float] | None = None,
) -> Layer:
    quantity, unit = (label[:-3], "nm") if label.endswith("_nm") else (label, "")
    low, high = limits or robust_limits(values)
    return {
        "id": id,
        "group": group,
        "label": quantity.replace("_", " "),
        "unit": unit,
        "kind": "values",
        "colormap": colormap,
        "limits": [float(low), float(high)],
        "log": False,
        "values": packed(values.astype(np.float32)),
    }


def _classes(
    id: str, group: str, label: str, values: np.ndarray, labels: list[str], colors: tuple[str, ...]
) -> Layer:
    """Return a layer of named classes; -1 stands for none."""
    return {
        "id": id,
        "group": group,
        "label": label,
        "kind": "classes",
        "values": packed(values.astype(np.int16 if values.max() < 1 << 15 else np.int32)),
        "names": labels,
        "colors": [colors[i % len(colors)] for i in range(len(labels))],
        "none": NO_PHASE_COLOR,
        "legend": True,
    }


def _numbered(id: str, group: str, label: str, values: np.ndarray) -> Layer:
    """Return a layer of numbered classes, such as grains, neighbors in different colors."""
    from colorsys import hls_to_rgb

    count = int(values.max(initial=-1)) + 1
    shades = [hls_to_rgb(0.618034 * i % 1, (0.42, 0.58, 0.74)[i % 3], 0.65) for i in range(count)]
    colors = tuple("#" + "".join(f"{round(255 * v):02x}" for v in shade) for shade in shades)
    names = [str(i) for i in range(count)]
    return _classes(id, group, label, values, names, colors) | {"legend": False}


def _off_deg(one: OrientationMap, reference: OrientationMap) -> np.ndarray:
    """Return raw misorientations of all n best to the reference's best, NaN where there is none."""
    shown = one.euler_deg[:, :, :MOST_SOLUTIONS]
    off = np.full(shown.shape[:3], np.nan, np.float32)
    for i, j in enumerate(match_crystals(one.crystals, reference.crystals)):
        crystal = max(one.crystals[i], reference.crystals[j], key=lambda c: len(c.proper_operators))
        both = usable(one) & usable(reference) & (one.phase == i) & (reference.phase == j)
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
