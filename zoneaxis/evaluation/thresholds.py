"""A confidence threshold chosen by the risk that it leaves.

Source: Y. Geifman, R. El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017,
a bound that holds for all candidate thresholds at once.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.scans.risk import COVERAGE_STEPS, risk_bound

CANDIDATES = COVERAGE_STEPS  # more would ask for more points: the bound holds for all at once
DOUBT = 0.05  # chance that the risk is above the bound after all
STEP = 1e-4  # thresholds are round numbers, which a user can type


@dataclass(frozen=True)
class Threshold:
    """The lowest threshold whose risk is below what was asked for.

    Attributes:
        quantity: "score" or "reliability", of which points need at least `value`.
        value: the threshold; 0 keeps all points.
        coverage: share kept of the points that both maps index.
        risk: share of these that are wrong.
        risk_bound: what the risk does not exceed with 95 % confidence, were the points independent.
        largest_risk: what was asked for.
    """

    quantity: str
    value: float
    coverage: float
    risk: float
    risk_bound: float
    largest_risk: float

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes, for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """Say what the threshold does, and with which options to apply it."""
        value = f"{self.value:.4g}"
        options = {
            "score": f"`index --min-confidence {value}`, `match --min-q {value}`",
            "reliability": f"`--min-reliability {value}` of `index` and `match`",
        }
        return (
            f"{self.quantity} of {value} or more ({options[self.quantity]}): "
            f"{self.coverage:.1%} of the points are kept, {self.risk:.2%} of them wrong, at most "
            f"{self.risk_bound:.2%} with 95 % confidence."
        )


def choose_threshold(
    comparison: Comparison, quantity: str = "score", largest_risk: float = 0.05
) -> Threshold:
    """Return the lowest threshold below which points must be dropped for the risk to be small.

    A point is wrong when it is more than 5 degrees, or a phase, off. It is not the observed share
    that must be small but its upper 95 % confidence bound, which holds for all tried thresholds
    at once, so that a few lucky points do not decide. Neighboring points of a scan err together:
    the true bound is somewhat higher, the more the fewer grains there are.

    Args:
        comparison: with a truth, or with a reference that is trusted.
        quantity: "score" or "reliability" of the map.
        largest_risk: share wrong among the kept points, 0 to 1.

    Raises:
        SettingsError: a quantity or risk that there is not.
        MapError: no threshold leaves so little risk.
    """
    if quantity not in comparison.confidence:
        known = " or ".join(comparison.confidence)
        raise SettingsError(f"No confidence is called {quantity}: expected {known}.")
    if not 0 < largest_risk < 1:
        raise SettingsError(f"--largest-risk {largest_risk:g}: expected more than 0, less than 1.")
    both = comparison.indexed_both
    confidence = np.nan_to_num(comparison.confidence[quantity][both].astype(float))
    order = confidence.argsort()
    values = _candidates(confidence)
    below = np.searchsorted(confidence, values, sorter=order)
    values, below = values[below < order.size], below[below < order.size]
    wrong = np.append(0, comparison.wrong[both][order].cumsum())
    kept, wrongs = order.size - below, wrong[-1] - wrong[below]
    bound = risk_bound(wrongs, kept, DOUBT / len(values))
    if not (bound <= largest_risk).any():
        least = int(bound.argmin())
        raise MapError(
            f"No threshold of the {quantity} is sure to leave at most {largest_risk:.1%} of wrong "
            f"points: {values[least]:.4g} comes nearest, with {wrongs[least]} wrong of "
            f"{kept[least]:,}, at most {bound[least]:.1%}. Raise --largest-risk, or compare more "
            "points."
        )
    first = int((bound <= largest_risk).argmax())
    return Threshold(
        quantity=quantity,
        value=float(values[first]),
        coverage=float(kept[first] / order.size),
        risk=float(wrongs[first] / kept[first]),
        risk_bound=float(bound[first]),
        largest_risk=largest_risk,
    )


def _candidates(confidence: np.ndarray) -> np.ndarray:
    """Return thresholds between which equally many points lie, rounded up, ascending, 0 first."""
    levels = np.quantile(confidence, np.arange(1, CANDIDATES) / CANDIDATES)
    return np.unique(np.append(0.0, np.round(np.ceil(np.round(levels / STEP, 3)) * STEP, 4)))
