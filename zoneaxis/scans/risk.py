"""Risk against coverage: what share is wrong when the least confident points are dropped.

Source of the bound: C. Clopper, E. Pearson, Biometrika 26 (1934) 404.
"""

import numpy as np

COVERAGE_STEPS = 20
COVERAGES = np.arange(1, COVERAGE_STEPS + 1) / COVERAGE_STEPS


def cumulative_risk(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return the share wrong among the 1, 2, ... n most confident points.

    Ties share their mean, so that the order of equal points cannot matter.

    Args:
        confidence: of each point, shape (n,).
        wrong: bool, shape (n,).

    Returns:
        Shape (n,).
    """
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=wrong) / size
    return np.cumsum(np.repeat(share, size)) / np.arange(1, wrong.size + 1)


def risk_curve(risk: np.ndarray) -> np.ndarray:
    """Return the risk at each of `COVERAGES`.

    Args:
        risk: what `cumulative_risk` returned, shape (n,), n at least 1.
    """
    last = -(-np.arange(1, COVERAGE_STEPS + 1) * risk.size // COVERAGE_STEPS) - 1
    return risk[last]


def risk_bound(wrong: np.ndarray, kept: np.ndarray, doubt: float) -> np.ndarray:
    """Return the share that the true risk exceeds with a probability of `doubt` at most, (n,).

    Args:
        wrong: how many of the kept points are wrong, shape (n,).
        kept: how many are kept, at least 1, shape (n,).
        doubt: 0..1, of a one-sided bound.
    """
    from scipy.stats import beta

    bound = beta.ppf(1 - doubt, wrong + 1, np.maximum(kept - wrong, 1))
    return np.where(wrong == kept, 1.0, bound)
