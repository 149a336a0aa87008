import numpy as np
import pytest
from scipy.stats import binomtest

from zoneaxis.diffraction.orientations import euler_from_matrices, matrices_from_euler
from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.thresholds import choose_threshold
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.risk import cumulative_risk, risk_bound, risk_curve


@pytest.fixture
def make(nickelate):
    """Return a function that makes a map, wrong with a chance of 1 - score, and its truth."""

    def maps(shape, seed=0, chance=None):
        rng = np.random.default_rng(seed)
        truth = rng.uniform(5, 85, (*shape, 1, 3))
        score = rng.random(shape)
        wrong = rng.random(shape) < (1 - score if chance is None else chance)
        turn = np.where(wrong, 30.0, 0.0)[..., None] * [1, 0, 0]
        euler = euler_from_matrices(matrices_from_euler(truth[:, :, 0]) @ matrices_from_euler(turn))
        return (
            OrientationMap.of_crystal(
                nickelate,
                angles,
                score[..., None].astype(np.float32),
                score[::-1].astype(np.float32),
                np.ones(shape, bool),
                1.0,
            )
            for angles in (euler[:, :, None], truth)
        )

    return maps


@pytest.mark.parametrize("largest", [0.05, 0.2])
def test_the_threshold_is_the_lowest_with_so_little_risk(make, largest):
    map, truth = make((200, 100))
    comparison = compare(map, truth)
    found = choose_threshold(comparison, "score", largest)
    kept = map.confident(**{found.quantity: found.value})
    after = compare(kept, truth)
    assert after.wrong.sum() / after.counts["indexed_both"] == pytest.approx(found.risk)
    assert kept.indexed.mean() == pytest.approx(found.coverage)
    assert found.risk < found.risk_bound <= largest
    # Of scores s..1, a share of (1 - s) / 2 is wrong.
    assert found.value == pytest.approx(1 - 2 * largest, abs=0.06)
    assert found.value >= 1 - 2 * largest - 0.01
    np.testing.assert_array_equal(map.indexed, True)


def test_few_points_do_not_fool_it(make):
    """20 right ones of 20 may be luck: a true risk of 14 % does that once in 20."""
    map, truth = make((4, 5), chance=0.0)
    with pytest.raises(MapError, match=r"0 wrong of 20, at most .* Raise --largest-risk"):
        choose_threshold(compare(map, truth), largest_risk=0.05)


def test_the_bound_holds_for_points_that_were_not_seen(make):
    """Chosen on one map, the risk on another of the same kind is below what was asked for."""
    above = 0
    for seed in range(20):
        threshold = choose_threshold(compare(*make((50, 50), seed)), largest_risk=0.2)
        map, truth = make((100, 100), 1000 + seed)
        after = compare(map.confident(**{threshold.quantity: threshold.value}), truth)
        above += after.wrong.sum() / after.counts["indexed_both"] > 0.2
    assert above <= 2


def test_a_right_map_needs_no_threshold(make):
    map, truth = make((30, 30), chance=0.0)
    found = choose_threshold(compare(map, truth), "reliability", 0.05)
    assert (found.value, found.coverage, found.risk) == (0, 1, 0)


def test_a_confidence_that_says_nothing_is_of_no_help(make):
    with pytest.raises(MapError, match="No threshold of the score is sure to leave"):
        choose_threshold(compare(*make((50, 50), chance=0.3)))


def test_ties_are_kept_or_dropped_together(make):
    map, truth = make((60, 50), chance=0.0)
    map.score[:] = 0.5
    map.score[:5] = 0.25
    map.euler_deg[:5, :, :, 0] += 30
    found = choose_threshold(compare(map, truth))
    assert (found.value, found.risk, found.coverage) == (0.5, 0, pytest.approx(55 / 60))


def test_impossible_settings(make):
    comparison = compare(*make((3, 3)))
    with pytest.raises(SettingsError, match="--largest-risk 1: expected"):
        choose_threshold(comparison, largest_risk=1.0)
    with pytest.raises(SettingsError, match="called phase: expected score or reliability"):
        choose_threshold(comparison, "phase")


def test_sentence_names_the_options(make):
    found = choose_threshold(compare(*make((100, 100))), largest_risk=0.2)
    assert f"--min-q {found.value:.4g}" in found.sentence()
    assert found.to_dict()["quantity"] == "score"


@pytest.mark.parametrize(("wrong", "kept"), [(0, 59), (3, 100), (10, 10), (7, 20)])
def test_the_bound_is_that_of_clopper_and_pearson(wrong, kept):
    expected = binomtest(wrong, kept).proportion_ci(0.9, "exact").high  # 5 % on either side
    assert risk_bound(np.array([wrong]), np.array([kept]), 0.05)[0] == pytest.approx(expected)


def test_area_under_the_curve_of_a_perfect_and_a_useless_ranking():
    wrong = np.arange(1000) >= 800
    perfect = cumulative_risk(1 - np.arange(1000) / 1000, wrong)
    useless = cumulative_risk(np.ones(1000), wrong)
    np.testing.assert_allclose(useless, 0.2)
    x = 0.8  # the area is that under (c - x) / c from x to 1
    assert perfect.mean() == pytest.approx(0.2 + x * np.log(x), abs=1e-3)
    np.testing.assert_allclose(risk_curve(perfect)[[0, 15, 19]], [0, 0, 0.2])
