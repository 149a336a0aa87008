"""The layers of the report's linked maps: what a value or color of every point is called and drawn.

Arrays travel as base64 of their little-endian bytes, colors as PNG.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from zoneaxis.diffraction.low_index import (
    direction_label,
    low_index_directions,
    nearest_direction,
)
from zoneaxis.evaluation.breakdown import ZONE_AXES_APART_DEG
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.figures import map_figures
from zoneaxis.evaluation.figures.image_axes import robust_limits
from zoneaxis.evaluation.grains import Grains
from zoneaxis.evaluation.metrics import FRIENDS
from zoneaxis.evaluation.report.scan import ScanView
from zoneaxis.scans.orientation_map import OrientationMap

Layer = dict[str, Any]
PHASE_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
NO_PHASE_COLOR = "#000000"
MOST_CLASSES = 4096  # of a property of whole numbers, to be drawn in colors of their own
CLASS_PROPERTIES = ("grain",)


def map_layers(
    one: OrientationMap, grains: Grains | None, name: str, number: str
) -> Iterator[Layer]:
    """Yield colors, confidences, phase, zone axis, grains and properties of a map.

    Args:
        one: the map.
        grains: of the map, if there are any.
        name: what the map is called.
        number: 0 for the map, 1 for the reference, to end the names of its layers.
    """
    for direction in "zxy":
        colors = np.round(255 * map_figures.ipf_colors(one, direction)).astype(np.uint8)
        yield {
            "id": f"ipf-{direction}-{number}",
            "group": name,
            "label": f"IPF-{direction.upper()}",
            "kind": "colors",
            "png": png(colors),
        }
    there = one.indexed
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
            yield _numbered(f"property-{quantity}-{number}", name, f"{quantity} (property)", whole)
        else:
            yield _scalar(f"property-{quantity}-{number}", name, quantity, values)


def _zone_axis_layers(one: OrientationMap, name: str, number: str) -> Iterator[Layer]:
    """Yield which low-index zone axis is nearest to the beam, and how far it is off."""
    row, away, labels = np.full(one.shape, -1), np.full(one.shape, np.nan), []
    for phase, crystal in enumerate(one.crystals):
        own = one.phase == phase
        axes = low_index_directions(crystal, ZONE_AXES_APART_DEG)
        nearest, away[own] = nearest_direction(one.matrices[own][:, :, 2], axes, crystal)
        row[own] = len(labels) + nearest
        labels += [direction_label(uvw, crystal) for uvw in axes]
    yield _numbered(f"zone-{number}", name, "nearest zone axis", row) | {"names": labels}
    yield _scalar(f"away-{number}", name, "beam off the zone axis", away) | {"unit": "°"}


def comparison_layers(comparison: Comparison, names: tuple[str, ...]) -> Iterator[Layer]:
    """Yield misorientations, raw and modulo each false friend, and who indexed a point."""
    limits = (map_figures.SMALLEST_DEG, map_figures.LARGEST_DEG)
    for friend in comparison.friends:
        angles = comparison.misorientation_deg[friend]
        label = f"misorientation, {FRIENDS[friend]}"
        layer = _scalar(f"off-{friend}", "comparison", label, angles, "viridis", limits)
        yield layer | {"unit": "°", "log": True}
    kind = map_figures.agreement(comparison)
    labels = [label.format(*names) for label in map_figures.AGREEMENT]
    colors = list(map_figures.AGREEMENT.values())
    yield _classes("indexed", "comparison", "indexed by", kind, labels, colors)


def scan_layers(view: ScanView) -> Iterator[Layer]:
    """Yield the virtual images."""
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
