"""An orientation map against a reference or the truth: misorientations, and what they add up to.

Angles are reduced by the crystal's proper symmetry, and given raw and modulo each false friend of
diffraction patterns (`pseudo_symmetric_deg`), so that a reader sees which failure it is.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from zoneaxis.diffraction.orientations import (
    matrices_from_euler,
    misorientation_deg,
    pseudo_symmetric_deg,
)
from zoneaxis.errors import MapError
from zoneaxis.scans.crystal_maps import LATTICE_TOLERANCE, same_cell, same_rotations
from zoneaxis.scans.orientation_map import OrientationMap

if TYPE_CHECKING:
    from rich.table import Table

RIGHT_DEG = 5.0  # the angle below which the field calls a pattern correctly indexed
LIMITS_DEG = (1, 2, 5, 10)
CHUNK_POINTS = 1 << 16
COVERAGE_STEPS = 20

FRIENDS = {
    "raw": "raw",
    "beam_180": "modulo 180° about the beam",
    "c_60": "modulo 60° about c",
}


@dataclass(frozen=True)
class Metric:
    """What a number of a comparison is called and means.

    Attributes:
        name: key in `Comparison.metrics`; angles modulo a false friend append its name, as in
            "median_deg_beam_180".
        unit: "share" (0..1) or "degrees".
        better: whether a larger or a smaller value speaks for the map.
        description: one line for a reader.
    """

    name: str
    unit: Literal["share", "degrees"]
    better: Literal["higher", "lower", "neither"]
    description: str


MASK_METRICS = (
    Metric("indexed_map", "share", "neither", "points that the map indexes"),
    Metric("indexed_reference", "share", "neither", "points that the reference indexes"),
    Metric("missed", "share", "lower", "indexed by reference alone"),
    Metric("invented", "share", "lower", "indexed by map alone"),
)
FOUND_METRIC = Metric("found_5", "share", "higher", "indexed and ≤ 5° off")
ANGLE_METRICS = (
    Metric("median_deg", "degrees", "lower", "median"),
    Metric("mean_deg", "degrees", "lower", "mean"),
    Metric("p95_deg", "degrees", "lower", "95th percentile"),
    *(Metric(f"within_{d}", "share", "higher", f"≤ {d}°") for d in LIMITS_DEG),
)
OVERLAP_METRIC = Metric("within_5_any", "share", "higher", "≤ 5° from either grain")
METRICS = (FOUND_METRIC, *MASK_METRICS, *ANGLE_METRICS, OVERLAP_METRIC)

STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "median_deg": np.median,
    "mean_deg": np.mean,
    "p95_deg": lambda angles: np.percentile(angles, 95),
    **{f"within_{d}": lambda angles, d=d: np.mean(angles <= d) for d in LIMITS_DEG},
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A map against a reference of the same shape.

    Angles and `within_*` are over the points that both index, so that they say nothing about
    points that the map rejects; `found_5` is over all that the reference indexes, and a rejected
    point counts against it. Other shares are of all points.

    Attributes:
        crystal_name: of the map.
        misorientation_deg: under "raw", "beam_180" and, for trigonal crystals, "c_60": float32,
            shape (rows, cols), NaN where either of the two is not indexed.
        indexed_map: where the map has an orientation, bool, shape (rows, cols).
        indexed_reference: where the reference has one, bool, shape (rows, cols).
        counts: points, indexed_map, indexed_reference, indexed_both.
        metrics: value by the names of `METRICS`; "within_5_any" only where the reference holds
            two orientations a point.
        risk_coverage: "coverage", and for the map's "score" and "reliability" the share of
            points off by more than 5 degrees among the `coverage` most confident, each (20,).
    """

    crystal_name: str
    misorientation_deg: dict[str, np.ndarray]
    indexed_map: np.ndarray
    indexed_reference: np.ndarray
    counts: dict[str, int]
    metrics: dict[str, float]
    risk_coverage: dict[str, np.ndarray]

    @property
    def friends(self) -> tuple[str, ...]:
        """Which misorientations there are: "raw", "beam_180" and perhaps "c_60"."""
        return tuple(self.misorientation_deg)

    def to_json(self) -> str:
        """Return counts, metrics and their definitions as JSON; without the arrays of points."""
        values = {
            "crystal": self.crystal_name,
            "shape": list(self.indexed_map.shape),
            "counts": self.counts,
            "metrics": self.metrics,
            "risk_coverage": {k: np.round(v, 6).tolist() for k, v in self.risk_coverage.items()},
            "definitions": {
                "metrics": [asdict(metric) for metric in METRICS],
                "suffixes": {k: v for k, v in FRIENDS.items() if k in self.friends[1:]},
            },
        }
        return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def rows(self) -> list[tuple[Metric, list[str]]]:
        """Return the metrics of the table, formatted, with a value for each of `friends`."""
        table = (FOUND_METRIC, *MASK_METRICS[2:], *ANGLE_METRICS, OVERLAP_METRIC)
        keys = {m: [_key(m.name, f) for f in self.friends] for m in table}
        return [
            (m, [format_metric(m, self.metrics[k]) if k in self.metrics else "" for k in keys[m]])
            for m in table
            if m.name in self.metrics
        ]

    def table(self, names: tuple[str, str] = ("map", "reference")) -> "Table":
        """Return the metrics as a rich table.

        Args:
            names: what the map and the reference are called.
        """
        from rich.table import Table

        table = Table(
            title=f"{names[0]} against {names[1]}",
            caption=self.coverage_sentence(names),
            caption_justify="left",
        )
        table.add_column("misorientation")
        for friend in self.friends:
            table.add_column(FRIENDS[friend], justify="right")
        for metric, values in self.rows():
            table.add_row(metric.description, *values)
        return table

    def coverage_sentence(self, names: tuple[str, str] = ("map", "reference")) -> str:
        """Return in words how many points are behind the angles.

        Args:
            names: what the map and the reference are called.
        """
        mine, theirs, *_ = (format_metric(m, self.metrics[m.name]) for m in MASK_METRICS)
        return (
            f"The first row is a share of the points that {names[1]} indexes, the next two of all "
            f"{self.counts['points']:,} points; the angles are over the "
            f"{self.counts['indexed_both']:,} that both index. "
            f"Indexed: {mine} by {names[0]}, {theirs} by {names[1]}."
        )


def format_metric(metric: Metric, value: float) -> str:
    """Return a value with its unit: shares in percent, angles in degrees."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if metric.unit == "share" else f"{value:.2f}°"


def compare(map: OrientationMap, reference: OrientationMap) -> Comparison:
    """Compare the best orientations of a map with those of a reference, point by point.

    Where the reference holds two orientations a point (overlapping grains, those of score 0
    absent), `within_5_any` counts a point as right when either fits; every other metric takes
    the first alone.

    Args:
        map: what is judged.
        reference: another map of the same scan, or the truth.

    Raises:
        MapError: the maps differ in shape or crystal, or no point is indexed in both.
    """
    _require_comparable(map, reference)
    masks = {"indexed_map": usable(map), "indexed_reference": usable(reference)}
    both = masks["indexed_map"] & masks["indexed_reference"]
    points = np.flatnonzero(both)
    if not points.size:
        raise MapError(
            f"No point is indexed in both maps ({masks['indexed_map'].sum()} in the map, "
            f"{masks['indexed_reference'].sum()} in the reference): nothing to compare."
        )
    angles, either = _misorientations(map, reference, points)
    counts = {"points": both.size, **{k: int(m.sum()) for k, m in masks.items()}}
    counts["indexed_both"] = int(points.size)
    metrics = _metrics(masks, angles)
    if either is not None:
        metrics[OVERLAP_METRIC.name] = float(np.mean(either <= RIGHT_DEG))
    wrong = angles["raw"] > RIGHT_DEG
    confidences = {"score": map.score[..., 0], "reliability": map.reliability}
    return Comparison(
        crystal_name=map.crystal.name,
        misorientation_deg={k: _on_grid(v, points, both.shape) for k, v in angles.items()},
        **masks,
        counts=counts,
        metrics=metrics,
        risk_coverage={
            "coverage": np.arange(1, COVERAGE_STEPS + 1) / COVERAGE_STEPS,
            **{k: _risks(v.reshape(-1)[points], wrong) for k, v in confidences.items()},
        },
    )


def usable(map: OrientationMap) -> np.ndarray:
    """Return where the map has a best orientation with finite angles, bool (rows, cols)."""
    return map.indexed & np.isfinite(map.euler_deg[..., 0, :]).all(axis=-1)


def _metrics(masks: dict[str, np.ndarray], angles: dict[str, np.ndarray]) -> dict[str, float]:
    mine, theirs = masks.values()
    parts = {**masks, "missed": theirs & ~mine, "invented": mine & ~theirs}
    metrics = {name: float(part.mean()) for name, part in parts.items()}
    for friend, values in angles.items():
        found = np.count_nonzero(values <= RIGHT_DEG) / np.count_nonzero(theirs)
        metrics[_key(FOUND_METRIC.name, friend)] = found
        metrics |= {_key(name, friend): float(f(values)) for name, f in STATISTICS.items()}
    return metrics


def _key(name: str, friend: str) -> str:
    return name if friend == "raw" else f"{name}_{friend}"


def _on_grid(values: np.ndarray, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    grid = np.full(shape, np.nan, dtype=np.float32)
    grid.reshape(-1)[points] = values
    return grid


def _require_comparable(map: OrientationMap, reference: OrientationMap) -> None:
    if map.shape != reference.shape:
        raise MapError(
            f"The map has {map.shape[0]} x {map.shape[1]} points (rows x columns), the reference "
            f"{reference.shape[0]} x {reference.shape[1]}: compare maps of the same scan."
        )
    mine, theirs = map.crystal, reference.crystal
    if not same_rotations(mine.proper_operators, theirs.proper_operators):
        raise MapError(
            f"{mine.name} of the map has point group {mine.point_group.name}, {theirs.name} of the "
            f"reference {theirs.point_group.name}: compare maps of the same crystal."
        )
    if not same_cell(mine, theirs):
        cells = [", ".join(f"{v:.4g}" for v in crystal.cell) for crystal in (mine, theirs)]
        raise MapError(
            f"The cells differ by more than {100 * LATTICE_TOLERANCE:.0f} %: {mine.name} of the "
            f"map ({cells[0]}), {theirs.name} of the reference ({cells[1]})."
        )


def _misorientations(
    map: OrientationMap, reference: OrientationMap, points: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return angles at flat `points` by friend, and to the nearer of two references if any."""
    crystal, overlapping = map.crystal, reference.n_best == 2
    friends = [f for f in FRIENDS if f != "c_60" or crystal.point_group.system == "trigonal"]
    angles = {friend: np.empty(points.size) for friend in friends}
    either = np.empty(points.size) if overlapping else None
    for start in range(0, points.size, CHUNK_POINTS):
        part = slice(start, start + CHUNK_POINTS)
        where = np.unravel_index(points[part], map.shape)
        first = matrices_from_euler(map.euler_deg[where][:, 0])
        theirs = reference.euler_deg[where]
        values = pseudo_symmetric_deg(first, matrices_from_euler(theirs[:, 0]), crystal)
        for friend in friends:
            angles[friend][part] = values[friend]
        if overlapping:
            other = misorientation_deg(
                first, matrices_from_euler(theirs[:, 1]), crystal.proper_operators
            )
            there = np.isfinite(other) & (reference.score[where][:, 1] > 0)
            either[part] = np.where(there, np.minimum(values["raw"], other), values["raw"])
    return angles, either


def _risks(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Share wrong among the most confident; ties share their mean, so that order cannot matter."""
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=wrong) / size
    cumulative = np.cumsum(np.repeat(share, size)) / np.arange(1, wrong.size + 1)
    last = -(-np.arange(1, COVERAGE_STEPS + 1) * wrong.size // COVERAGE_STEPS) - 1
    return cumulative[last]
