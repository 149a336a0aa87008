"""An orientation map against a reference or the truth: misorientations, and what they add up to.

Angles are reduced by the crystal's proper symmetry, each phase by its own, and given raw and modulo
each false friend of diffraction patterns (`pseudo_symmetric_deg`), so that a reader sees which
failure it is.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import (
    matrices_from_euler,
    misorientation_deg,
    pseudo_symmetric_deg,
)
from zoneaxis.errors import MapError
from zoneaxis.evaluation.metrics import (
    FRIENDS,
    MASK_METRICS,
    METRICS,
    OVERLAP_METRIC,
    PHASE_METRIC,
    RIGHT_DEG,
    Metric,
    angle_metrics,
    format_metric,
    key,
    mask_metrics,
)
from zoneaxis.evaluation.phases import require_common_crystal, with_full_symmetry
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.risk import COVERAGES, cumulative_risk, risk_curve

if TYPE_CHECKING:
    from rich.table import Table

CHUNK_POINTS = 1 << 16
HIDDEN = MASK_METRICS[:2]  # the table's caption says them


@dataclass(frozen=True, eq=False)
class Comparison:
    """A map against a reference of the same shape.

    Angles are over the points that both index as the same phase, so that they say nothing about
    points that the map rejects. `within_*` are shares of the points that both index: those of
    another phase are wrong. `found_5` is a share of all that the reference indexes, and a rejected
    point counts against it. Other shares are of all points.

    Attributes:
        crystal_name: of the map; of each phase, if it has several.
        misorientation_deg: under "raw", "beam_180" and, for trigonal crystals, "c_60": float32,
            shape (rows, cols), NaN where either of the two is not indexed, or the phases differ.
        indexed_map: where the map has an orientation, bool, shape (rows, cols).
        indexed_reference: where the reference has one, bool, shape (rows, cols).
        phase_right: where both are indexed as the same phase, bool, shape (rows, cols).
        several_phases: whether either of the two may hold more than one.
        confidence: "score" and "reliability" of the map, each of shape (rows, cols).
        nearer_deg: misorientation to the nearer one of two overlapping grains, shape (rows, cols);
            None where the reference does not hold two orientations a point.
    """

    crystal_name: str
    misorientation_deg: dict[str, np.ndarray]
    indexed_map: np.ndarray
    indexed_reference: np.ndarray
    phase_right: np.ndarray
    several_phases: bool
    confidence: dict[str, np.ndarray]
    nearer_deg: np.ndarray | None = None

    @property
    def friends(self) -> tuple[str, ...]:
        """Which misorientations there are: "raw", "beam_180" and perhaps "c_60"."""
        return tuple(self.misorientation_deg)

    @property
    def indexed_both(self) -> np.ndarray:
        """Where both maps have an orientation, bool, shape (rows, cols)."""
        return self.indexed_map & self.indexed_reference

    @property
    def wrong(self) -> np.ndarray:
        """Where both are indexed and more than 5° or a phase apart, bool, shape (rows, cols)."""
        return self.indexed_both & ~(self.misorientation_deg["raw"] <= RIGHT_DEG)

    @property
    def counts(self) -> dict[str, int]:
        """How many points there are, and how many are indexed by map, reference and both."""
        names = ("indexed_map", "indexed_reference", "indexed_both")
        return {
            "points": self.indexed_map.size,
            **{name: int(getattr(self, name).sum()) for name in names},
        }

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Values by the names of `METRICS`, of all points."""
        area = {f"risk_area_{k}": float(v.mean()) for k, v in self._risks.items()}
        return {**self.metrics_at(np.arange(self.indexed_map.size)), **area}

    def metrics_at(self, points: np.ndarray) -> dict[str, float]:
        """Return the metrics of some points, by the names of `METRICS`, as far as they exist there.

        "phase_right" is there only with several phases, "within_5_any" only where the reference
        holds two orientations a point.

        Args:
            points: numbers in the flattened map, at least one, shape (n,).
        """

        def part(grid: np.ndarray) -> np.ndarray:
            return grid.reshape(-1)[points]

        metrics = mask_metrics(part(self.indexed_map), part(self.indexed_reference))
        both = part(self.indexed_both)
        same = part(self.phase_right)
        compared = np.count_nonzero(both)
        wanted = np.count_nonzero(part(self.indexed_reference))
        for friend, grid in self.misorientation_deg.items():
            metrics |= angle_metrics(part(grid)[same], friend, compared, wanted)
        if compared and self.several_phases:
            metrics[PHASE_METRIC.name] = np.count_nonzero(same) / compared
        if compared and self.nearer_deg is not None:
            near = np.count_nonzero(part(self.nearer_deg)[both] <= RIGHT_DEG)
            metrics[OVERLAP_METRIC.name] = near / compared
        return metrics

    @cached_property
    def _risks(self) -> dict[str, np.ndarray]:
        both, wrong = self.indexed_both, self.wrong
        return {k: cumulative_risk(v[both], wrong[both]) for k, v in self.confidence.items()}

    @property
    def risk_coverage(self) -> dict[str, np.ndarray]:
        """Share wrong among the `coverage` most confident points, by "score" and "reliability".

        Each array, that under "coverage", too, is of shape (20,).
        """
        return {"coverage": COVERAGES, **{k: risk_curve(v) for k, v in self._risks.items()}}

    def to_dict(self) -> dict[str, Any]:
        """Return counts, metrics and their definitions for JSON; without the arrays of points."""
        return {
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

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def rows(self) -> list[tuple[Metric, list[str]]]:
        """Return the metrics of the table, formatted, with a value for each of `friends`."""
        keys = {m: [key(m.name, f) for f in self.friends] for m in METRICS if m not in HIDDEN}
        return [
            (m, [format_metric(m, self.metrics[k]) if k in self.metrics else "" for k in names])
            for m, names in keys.items()
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
            f"Indexed: {mine} by {names[0]}, {theirs} by {names[1]}. Mean risk: share off by more "
            f"than {RIGHT_DEG:g}° among the most confident, averaged over how many those are."
        )


def compare(map: OrientationMap, reference: OrientationMap) -> Comparison:
    """Compare the best orientations of a map with those of a reference, point by point.

    Where the reference holds two orientations a point (overlapping grains, those of score 0
    absent), `within_5_any` counts a point as right when either fits; every other metric takes
    the first alone. Phases are the same where lattice and Laue group are.

    Args:
        map: what is judged.
        reference: another map of the same scan, or the truth.

    Raises:
        MapError: the maps differ in shape, have no crystal in common, or no point is indexed in
            both.
    """
    require_same_shape(map, reference)
    partner = require_common_crystal(map.crystals, reference.crystals)
    mine, theirs = map.indexed, reference.indexed
    if not (mine & theirs).any():
        raise MapError(
            f"No point is indexed in both maps ({mine.sum()} in the map, {theirs.sum()} in the "
            "reference): nothing to compare."
        )
    same = mine & theirs & (np.array([*partner, -1])[map.phase] == reference.phase)
    crystals = with_full_symmetry(map.crystals, reference.crystals, partner)
    trigonal = any(crystal.point_group.system == "trigonal" for crystal in crystals)
    names = [name for name in FRIENDS if name != "c_60" or trigonal]
    angles = {name: np.full(map.shape, np.nan, np.float32) for name in names}
    nearer = np.full(map.shape, np.nan, np.float32) if reference.n_best == 2 else None
    for number, crystal in enumerate(crystals):
        points = np.flatnonzero(same & (map.phase == number))
        for start in range(0, points.size, CHUNK_POINTS):
            part = np.unravel_index(points[start : start + CHUNK_POINTS], map.shape)
            _compare_points(map, reference, part, crystal, angles, nearer)
    return Comparison(
        crystal_name=", ".join(crystal.name for crystal in map.crystals),
        misorientation_deg=angles,
        indexed_map=mine,
        indexed_reference=theirs,
        phase_right=same,
        several_phases=max(len(map.crystals), len(reference.crystals)) > 1,
        confidence={"score": map.score[..., 0], "reliability": map.reliability},
        nearer_deg=nearer,
    )


def require_same_shape(map: OrientationMap, reference: OrientationMap) -> None:
    """Refuse maps of different scans.

    Raises:
        MapError: the maps differ in shape.
    """
    if map.shape != reference.shape:
        raise MapError(
            f"The map has {map.shape[0]} x {map.shape[1]} points (rows x columns), the reference "
            f"{reference.shape[0]} x {reference.shape[1]}: compare maps of the same scan."
        )


def _compare_points(
    map: OrientationMap,
    reference: OrientationMap,
    where: tuple[np.ndarray, ...],
    crystal: Crystal,
    angles: dict[str, np.ndarray],
    nearer: np.ndarray | None,
) -> None:
    """Fill in the misorientations at some points, all of one phase."""
    first = matrices_from_euler(map.euler_deg[where][:, 0])
    theirs = reference.euler_deg[where]
    values = pseudo_symmetric_deg(first, matrices_from_euler(theirs[:, 0]), crystal)
    for friend, grid in angles.items():
        own = friend != "c_60" or crystal.point_group.system == "trigonal"
        grid[where] = values[friend if own else "raw"]
    if nearer is not None:
        second = matrices_from_euler(theirs[:, 1])
        other = misorientation_deg(first, second, crystal.proper_operators)
        there = np.isfinite(other) & (reference.score[where][:, 1] > 0)
        nearer[where] = np.where(there, np.minimum(values["raw"], other), values["raw"])
