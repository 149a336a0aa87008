"""A comparison broken down: the same metrics by grain, zone axis, thickness, phase or confidence.

Each breakdown sorts the points of a map into rows and measures each row like the whole map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from zoneaxis.diffraction.low_index import (
    direction_label,
    low_index_directions,
    nearest_direction,
)
from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.grains import find_grains
from zoneaxis.evaluation.metrics import FRIENDS, METRICS, format_metric, key
from zoneaxis.scans.orientation_map import OrientationMap

if TYPE_CHECKING:
    from rich.table import Table

ZONE_AXES_APART_DEG = 15.0
THICKNESS = "thickness_nm"
BINS = 10
SHOWN = 20
COLUMNS = ("found_5", "median_deg", "within_5")


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Metrics of the rows into which the points of a comparison were sorted.

    Attributes:
        name: what they were sorted by, one of `BREAKDOWNS`.
        unit: of the labels, "" for names and plain numbers.
        labels: of the rows, in their order.
        points: that the reference indexes, of each row, int, shape (n,).
        metrics: by the names of `METRICS`, NaN where a row has no such number, each shape (n,).
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    points: np.ndarray
    metrics: dict[str, np.ndarray]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes for JSON, null for NaN."""
        return {
            "name": self.name,
            "unit": self.unit,
            "labels": list(self.labels),
            "points": self.points.tolist(),
            "metrics": {
                name: [round(v, 6) if np.isfinite(v) else None for v in values.tolist()]
                for name, values in self.metrics.items()
            },
        }

    def table(self) -> "Table":
        """Return points, found, median and share within 5 degrees of each row as a rich table.

        Of more than 20 rows, those with most points are shown.
        """
        from rich.markup import escape
        from rich.table import Table

        metrics = {metric.name: metric for metric in METRICS}
        friends = [f for f in FRIENDS if key("within_5", f) in self.metrics and f != "raw"]
        columns = [
            *(
                (name, metrics[name], metrics[name].description)
                for name in COLUMNS
                if name in self.metrics
            ),
            *((key("within_5", f), metrics["within_5"], f"≤ 5° {FRIENDS[f]}") for f in friends),
        ]
        table = Table(title=f"by {self.name}")
        head = f"{self.name} ({self.unit})" if self.unit else self.name
        table.add_column(head, justify="right", no_wrap=True)
        table.add_column("points", justify="right")
        for *_, description in columns:
            table.add_column(description, justify="right")
        shown = np.sort(np.argsort(-self.points, kind="stable")[:SHOWN])
        for i in shown:
            values = [(metric, self.metrics[name][i]) for name, metric, _ in columns]
            cells = [format_metric(m, v) if np.isfinite(v) else "" for m, v in values]
            table.add_row(escape(self.labels[i]), f"{self.points[i]:,}", *cells)
        if len(self.labels) > SHOWN:
            table.add_row("…", f"{self.points.sum() - self.points[shown].sum():,}")
        return table


def break_down(
    name: str, comparison: Comparison, map: OrientationMap, reference: OrientationMap
) -> Breakdown:
    """Break a comparison down.

    Args:
        name: one of `BREAKDOWNS`.
        comparison: of the two maps.
        map: what is judged.
        reference: what it is judged by; grains, zone axes and phases are its.

    Raises:
        SettingsError: another name.
        MapError: the maps do not hold what they shall be broken down by.
    """
    if name not in BREAKDOWNS:
        raise SettingsError(f"--by {name}: expected {', '.join(BREAKDOWNS)}.")
    return BREAKDOWNS[name](comparison, map, reference)


def by_grain(comparison: Comparison, _: OrientationMap, reference: OrientationMap) -> Breakdown:
    """Break down by the grains of the reference, numbered as `find_grains` numbers them."""
    labels = find_grains(reference).labels
    return _rows(comparison, "grain", "", labels, [str(i) for i in range(labels.max() + 1)])


def by_zone_axis(comparison: Comparison, _: OrientationMap, reference: OrientationMap) -> Breakdown:
    """Break down by the low-index zone axis of the reference that is nearest to the beam."""
    row, names = np.full(reference.shape, -1), []
    for number, crystal in enumerate(reference.crystals):
        axes = low_index_directions(crystal, ZONE_AXES_APART_DEG)
        own = comparison.indexed_reference & (reference.phase == number)
        beams = reference.matrices[own][:, :, 2]
        row[own] = len(names) + nearest_direction(beams, axes, crystal)[0]
        prefix = f"{crystal.name} " if len(reference.crystals) > 1 else ""
        names += [prefix + direction_label(uvw, crystal) for uvw in axes]
    return _rows(comparison, "zone axis", "", row, names)


def by_phase(comparison: Comparison, _: OrientationMap, reference: OrientationMap) -> Breakdown:
    """Break down by the phases of the reference."""
    names = [crystal.name for crystal in reference.crystals]
    return _rows(comparison, "phase", "", reference.phase, names)


def by_thickness(
    comparison: Comparison, map: OrientationMap, reference: OrientationMap
) -> Breakdown:
    """Break down by the thickness that the reference or else the map says."""
    for source in (reference, map):
        if THICKNESS in source.properties:
            values = source.properties[THICKNESS]
            return _by_value(comparison, "thickness", "nm", values, comparison.indexed_reference)
    raise MapError(
        f"Neither map holds a property {THICKNESS} to break down by: maps of a network that "
        "predicts the thickness (`train --extra thickness_nm`) do, and so do phantoms, as .h5."
    )


def by_confidence(quantity: str) -> Callable[..., Breakdown]:
    """Return the breakdown by tenths of the map's score or reliability, without rejected points."""

    def broken(comparison: Comparison, *_: OrientationMap) -> Breakdown:
        values = comparison.confidence[quantity]
        return _by_value(comparison, quantity, "", values, comparison.indexed_both)

    return broken


BREAKDOWNS: dict[str, Callable[..., Breakdown]] = {
    "grain": by_grain,
    "zone-axis": by_zone_axis,
    "thickness": by_thickness,
    "phase": by_phase,
    "score": by_confidence("score"),
    "reliability": by_confidence("reliability"),
}


def _by_value(
    comparison: Comparison, name: str, unit: str, values: np.ndarray, where: np.ndarray
) -> Breakdown:
    """Break down by each value if there are few, else by tenths of the points.

    Args:
        comparison: of the two maps.
        name: of the quantity.
        unit: of the quantity.
        values: shape (rows, cols).
        where: points that count, bool, shape (rows, cols).
    """
    where = where & np.isfinite(values)
    found, row = np.unique(values[where].astype(float), return_inverse=True)
    labels = [f"{value:.4g}" for value in found]
    if len(found) > BINS:
        edges = np.unique(np.quantile(values[where], np.linspace(0, 1, BINS + 1)))
        row = np.searchsorted(edges[1:-1], values[where], side="right")
        labels = [f"{low:.3g} - {high:.3g}" for low, high in pairwise(edges)]
    rows = np.full(values.shape, -1)
    rows[where] = row
    return _rows(comparison, name, unit, rows, labels)


def _rows(
    comparison: Comparison, name: str, unit: str, row: np.ndarray, labels: Sequence[str]
) -> Breakdown:
    """Measure the rows that have any point that the reference indexes.

    Args:
        comparison: of the two maps.
        name: of the breakdown.
        unit: of the labels.
        row: of each point, -1 for none, int, shape (rows, cols).
        labels: of the rows.
    """
    row = np.where(comparison.indexed_reference, row, -1).ravel()
    order = np.flatnonzero(row >= 0)[row[row >= 0].argsort(kind="stable")]
    present, first = np.unique(row[order], return_index=True)
    parts = np.split(order, first[1:]) if order.size else []
    measured = [comparison.metrics_at(part) for part in parts]
    names = {name: None for metrics in measured for name in metrics}
    return Breakdown(
        name=name,
        unit=unit,
        labels=tuple(labels[i] for i in present),
        points=np.array([len(part) for part in parts], int),
        metrics={n: np.array([metrics.get(n, np.nan) for metrics in measured]) for n in names},
    )
