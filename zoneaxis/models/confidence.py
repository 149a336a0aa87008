"""What a confidence is worth: as often right as it says, and where to stop trusting it.

Two questions are kept apart. Whether a pattern shows the crystal rather than vacuum or amorphous
material decides whether it gets an orientation; how likely that orientation is right, is its
confidence. A threshold strict enough for few wrong orientations would throw away crystals, thin
ones above all, that are recognized as such. So the default threshold lowers the risk only as far as
it costs next to no crystal; maps keep the confidence, and whoever wants less risk asks for more of
it: the card tells which threshold leaves which risk at which coverage.

Source of the calibration: J. Platt, in Advances in Large Margin Classifiers (1999) 61; of risk and
coverage: R. El-Yaniv, Y. Wiener, J. Mach. Learn. Res. 11 (2010) 1605.
"""

import numpy as np

from zoneaxis.scans.risk import COVERAGES, cumulative_risk, risk_curve

REJECTED = 0.99  # of the vacuum and amorphous patterns, at least, by the default threshold
KEPT = 0.99  # of the crystals recognized as such, at least, as far as the risk asks for more
SMALL_RISK = 0.05  # share wrong among the patterns that get an orientation
TINY = 1e-6  # probabilities nearer to 0 or 1 are rounding


def with_log_odds(confidence: np.ndarray, slope: float, offset: float) -> np.ndarray:
    """Return confidences whose log odds are slope * log odds + offset; 0 and 1 stay.

    Args:
        confidence: 0..1, any shape.
        slope: positive, so that their order stays.
        offset: of the log odds.
    """
    confidence = confidence.astype(float).clip(0, 1)  # sums of probabilities may round beyond 1
    for_it = np.exp(offset) * confidence**slope
    return for_it / (for_it + (1 - confidence) ** slope)


def fit_log_odds(confidence: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return slope and offset that make confidences as often right as they say.

    Logistic regression on the log odds, with Platt's targets, which stay off 0 and 1 where all are
    right or wrong.

    Args:
        confidence: 0..1, shape (n,).
        right: bool, shape (n,).
    """
    from scipy.optimize import minimize

    clipped = np.clip(confidence.astype(float), TINY, 1 - TINY)
    odds = np.log(clipped / (1 - clipped))
    n_right = right.sum()
    target = np.where(right, (n_right + 1) / (n_right + 2), 1 / (right.size - n_right + 2))

    def cross_entropy(line: np.ndarray) -> tuple[float, np.ndarray]:
        fitted = np.exp(line[0]) * odds + line[1]
        loss = np.logaddexp(0, fitted) - target * fitted
        surplus = 1 / (1 + np.exp(-fitted)) - target
        gradient = np.stack([surplus * np.exp(line[0]) * odds, surplus])
        return loss.mean(), gradient.mean(axis=1)

    # The logarithm of the slope is fitted, within bounds: it stays positive.
    best = minimize(cross_entropy, [0.0, 0.0], jac=True, bounds=[(-2, 2), (-10, 10)])
    return float(np.exp(best.x[0])), float(best.x[1])


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the mean difference of confidence and share of right answers, over equal bins of 0..1.

    Args:
        confidence: 0..1, shape (n,).
        right: bool, shape (n,).
        bins: of equal width, weighted by what falls in them.

    Source: Naeini et al., AAAI 2015.
    """
    patterns, stated, correct = reliability(confidence, right, bins)
    return float((patterns * np.abs(stated - correct)).sum() / patterns.sum())


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patterns, mean confidence and share of right answers in equal bins of 0..1, each (b,).

    Args:
        confidence: 0..1, shape (n,).
        right: bool, shape (n,).
        bins: of equal width; those without patterns are left out.
    """
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    patterns, stated, correct = (
        np.bincount(which, weights, bins) for weights in (None, confidence, right)
    )
    some = patterns > 0
    return patterns[some], stated[some] / patterns[some], correct[some] / patterns[some]


def lowest_threshold(confidence: np.ndarray, wrong: np.ndarray, risk: float) -> float:
    """Return the lowest confidence above which at most a share of `risk` is wrong.

    Args:
        confidence: 0..1, shape (n,).
        wrong: bool, shape (n,).
        risk: 0..1.

    Returns:
        1 where even the most confident ones are wrong more often.
    """
    fine = np.flatnonzero(cumulative_risk(confidence, wrong) <= risk)
    return float(-np.sort(-confidence)[fine[-1]]) if len(fine) else 1.0


def confidence_curves(confidence: np.ndarray, wrong: np.ndarray) -> dict[str, list[list[float]]]:
    """Return what is drawn and printed of a confidence.

    Args:
        confidence: 0..1, shape (n,).
        wrong: bool, shape (n,).

    Returns:
        "reliability": of each tenth of the confidence, patterns, their mean confidence and the
        share of them that is right. "risk_coverage": share of the patterns kept, share of these
        that is wrong, and the least confidence among them.
    """
    risk = risk_curve(cumulative_risk(confidence, wrong))
    least = risk_curve(-np.sort(-confidence))  # the same points of another curve
    return {
        "reliability": np.stack(reliability(confidence, ~wrong), axis=1).tolist(),
        "risk_coverage": np.stack([COVERAGES, risk, least], axis=1).tolist(),
    }


def default_threshold(confidence: np.ndarray, wrong: np.ndarray, empty: np.ndarray) -> float:
    """Return the threshold that a model comes with.

    It is what 99 % of vacuum and amorphous patterns miss; or, where more is needed for a risk of
    5 %, as much as 99 % of the crystals reach.

    Args:
        confidence: of the crystals that were recognized as such, shape (n,).
        wrong: whether their orientations are, bool, shape (n,).
        empty: of vacuum and amorphous material, 0 where it was recognized, shape (m,).
    """
    floor = float(np.quantile(empty, REJECTED))
    if not len(confidence):
        return floor
    needed = lowest_threshold(confidence, wrong, SMALL_RISK)
    return max(floor, min(needed, float(np.quantile(confidence, 1 - KEPT))))
