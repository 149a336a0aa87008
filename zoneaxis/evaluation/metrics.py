"""What a comparison of two maps is measured by: names, units and directions, declared once as data.

Every metric is a pure function of what is known at some points (`Points`), so that a whole map, a
grain and a bin of thickness are measured alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

RIGHT_DEG = 5.0  # the angle below which the field calls a pattern correctly indexed
LIMITS_DEG = (1, 2, 5, 10)

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
PHASE_METRIC = Metric("phase_right", "share", "higher", "of the same phase")
ANGLE_METRICS = (
    Metric("median_deg", "degrees", "lower", "median"),
    Metric("mean_deg", "degrees", "lower", "mean"),
    Metric("p95_deg", "degrees", "lower", "95th percentile"),
    *(Metric(f"within_{d}", "share", "higher", f"≤ {d}°") for d in LIMITS_DEG),
)
OVERLAP_METRIC = Metric("within_5_any", "share", "higher", "≤ 5° from either grain")
RISK_METRICS = tuple(
    Metric(f"risk_area_{name}", "share", "lower", f"mean risk by {name}")
    for name in ("score", "reliability")
)
METRICS = (
    FOUND_METRIC,
    *MASK_METRICS,
    PHASE_METRIC,
    *ANGLE_METRICS,
    OVERLAP_METRIC,
    *RISK_METRICS,
)

STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "median_deg": np.median,
    "mean_deg": np.mean,
    "p95_deg": lambda angles: np.percentile(angles, 95),
}


def key(name: str, friend: str) -> str:
    """Return what a metric is called when its angles are modulo a false friend."""
    return name if friend == "raw" else f"{name}_{friend}"


def format_metric(metric: Metric, value: float) -> str:
    """Return a value with its unit: shares in percent, angles in degrees."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if metric.unit == "share" else f"{value:.2f}°"


def mask_metrics(mine: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Return `MASK_METRICS` of what map and reference index, bool, shape (n,)."""
    parts = {
        "indexed_map": mine,
        "indexed_reference": theirs,
        "missed": theirs & ~mine,
        "invented": mine & ~theirs,
    }
    return {name: float(part.mean()) for name, part in parts.items()}


def angle_metrics(angles: np.ndarray, friend: str, compared: int, wanted: int) -> dict[str, float]:
    """Return `FOUND_METRIC` and `ANGLE_METRICS` of one friend, as far as there are points.

    Args:
        angles: where both maps have the same phase, shape (n,).
        friend: whose angles these are.
        compared: points that both index; those of another phase count as wrong.
        wanted: points that the reference indexes; those that the map rejects count as wrong, too.
    """
    metrics = {}
    if wanted:
        metrics[FOUND_METRIC.name] = np.count_nonzero(angles <= RIGHT_DEG) / wanted
    if compared:
        for limit in LIMITS_DEG:
            metrics[f"within_{limit}"] = np.count_nonzero(angles <= limit) / compared
    if angles.size:
        metrics |= {name: float(statistic(angles)) for name, statistic in STATISTICS.items()}
    return {key(name, friend): value for name, value in metrics.items()}
