"""From scored candidates to distinct solutions, best first, before and after refinement."""

import numpy as np

from zoneaxis.diffraction.orientations import mean_orientation, misorientation_deg
from zoneaxis.evaluation.matching.refinement import Refined

MERGED_STEPS = 1.6  # candidates within it are the same peak, and refine its position,
MERGE_FLOOR = 0.8  # weighted by how far they exceed this share of the best Q


def distinct_solutions(
    matrices: np.ndarray,
    score: np.ndarray,
    operators: np.ndarray,
    *,
    count: int,
    step_deg: float,
    distinct_deg: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick the best candidate, drop what is close to it, and so on.

    Args:
        matrices: candidates of each pattern, shape (b, c, 3, 3).
        score: their Q, shape (b, c).
        operators: proper symmetry operators, shape (s, 3, 3).
        count: k, how many solutions are picked.
        step_deg: spacing of the templates' beam directions.
        distinct_deg: candidates closer than this are one solution.

    Returns:
        Orientations (b, k, 3, 3), scores and which candidates they are, (b, k). Where nothing is
        left, the first solution is repeated with score 0.
    """
    rows = np.arange(len(score))
    left = score.copy()
    solutions, scores, chosen = [], [], []
    for _ in range(count):
        best = left.argmax(axis=1)
        found = matrices[rows, best]
        away = misorientation_deg(matrices, found[:, None], operators)
        weight = score * (away <= MERGED_STEPS * step_deg)
        floor = MERGE_FLOOR * weight.max(axis=1, keepdims=True)
        merged = mean_orientation(matrices, np.maximum(weight - floor, 0) ** 2, found, operators)
        none = left[rows, best] <= 0
        first = solutions[0] if solutions else merged
        solutions.append(np.where(none[:, None, None], first, merged))
        scores.append(left[rows, best])
        chosen.append(best)
        left[away < distinct_deg] = 0
    return tuple(np.stack(v, axis=1) for v in (solutions, scores, chosen))


def refined_solutions(
    found: Refined, score: np.ndarray, operators: np.ndarray, *, same_deg: float
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Put refined solutions in their new order; of those that have run into one, keep the best.

    Args:
        found: what refinement made of each solution.
        score: Q before it, shape (b, k); a solution of score 0 stays without one.
        operators: proper symmetry operators, shape (s, 3, 3).
        same_deg: solutions closer than this have run into one.

    Returns:
        Orientations (b, k, 3, 3), scores (b, k), and the camera of the best solution: "scale" (b,)
        and "shift" (b, 2) in 1/Angstrom.
    """
    refined = np.where(score > 0, found.score, 0)
    order = np.argsort(-refined, axis=1, kind="stable")
    rows = np.arange(len(order))[:, None]
    first = rows[:, 0], order[:, 0]
    camera = {"scale": found.camera_scale[first], "shift": found.shift_inv_angstrom[first]}
    matrices, refined = found.matrices[rows, order], refined[rows, order]
    for i in range(1, order.shape[1]):
        away = misorientation_deg(matrices[:, :i], matrices[:, i, None], operators).min(axis=1)
        refined[:, i] *= away >= same_deg
    # A solution without a score repeats the first.
    matrices = np.where((refined > 0)[..., None, None], matrices, matrices[:, :1])
    order = np.argsort(-refined, axis=1, kind="stable")
    return matrices[rows, order], refined[rows, order], camera
