import numpy as np
import pytest

from zoneaxis.models.confidence import (
    confidence_curves,
    default_threshold,
    expected_calibration_error,
    fit_log_odds,
    lowest_threshold,
    reliability,
    with_log_odds,
)


@pytest.fixture
def honest():
    """Return confidences and which are right, as often as they say."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(1.0, 0.6, 20_000)
    return confidence, rng.random(confidence.size) < confidence


def test_calibration_error_of_known_cases():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15])
    right = np.array([True, True, True, False, False, False])
    # Two thirds of the answers are 0.95 sure and 0.75 right, one third 0.15 sure and never right.
    expected = (4 * 0.2 + 2 * 0.15) / 6
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert expected_calibration_error(np.ones(3), np.zeros(3, bool)) == 1
    # Too sure here and too modest there do not cancel.
    assert expected_calibration_error(np.array([0.99, 0.01]), np.array([False, True])) == 0.99


def test_calibration_error_of_honest_confidence(honest):
    confidence, right = honest
    assert expected_calibration_error(confidence, right) < 0.01
    assert expected_calibration_error(confidence**0.25, right) > 0.2


def test_log_odds_of_known_cases():
    given = np.array([0.0, 0.5, 0.8, 1.0])
    np.testing.assert_allclose(with_log_odds(given, 1.0, 0.0), given)
    np.testing.assert_allclose(with_log_odds(given, 2.0, 0.0), [0, 0.5, 16 / 17, 1])
    np.testing.assert_allclose(with_log_odds(given, 1.0, np.log(3)), [0, 0.75, 12 / 13, 1])
    beyond = np.float32([-1e-7, 1 + 1e-6])  # by rounding
    np.testing.assert_array_equal(with_log_odds(beyond, 1.3, 0.2), [0, 1])
    fine = np.linspace(0, 1, 1001)
    assert (np.diff(with_log_odds(fine, 0.3, -2.0)) > 0).all()


@pytest.mark.parametrize("distortion", [(0.4, 1.0), (3.0, -2.0), (1.0, 0.0)])
def test_distorted_confidence_is_mended(honest, distortion):
    confidence, right = honest
    line = fit_log_odds(with_log_odds(confidence, *distortion), right)
    slope, offset = 1 / distortion[0], -distortion[1] / distortion[0]
    assert line == pytest.approx((slope, offset), abs=0.06 * (1 + slope))
    mended = with_log_odds(with_log_odds(confidence, *distortion), *line)
    assert expected_calibration_error(mended, right) < 0.01


@pytest.mark.parametrize("right", [True, False])
def test_all_alike(right):
    confidence = np.linspace(0.2, 0.8, 50)
    slope, offset = fit_log_odds(confidence, np.full(50, right))
    assert 0 < slope < np.inf
    share = with_log_odds(confidence, slope, offset).mean()
    assert share == pytest.approx(51 / 52 if right else 1 / 52, abs=0.01)


def test_curves():
    confidence = np.array([0.05, 0.35, 0.35, 0.95, 1.0])
    wrong = np.array([True, True, False, False, False])
    patterns, stated, right = reliability(confidence, ~wrong)
    assert patterns.tolist() == [1, 2, 2]
    np.testing.assert_allclose(stated, [0.05, 0.35, 0.975])
    assert right.tolist() == [0, 0.5, 1]
    curves = confidence_curves(confidence, wrong)
    np.testing.assert_allclose(curves["reliability"][1], [2, 0.35, 0.5])
    points = np.array(curves["risk_coverage"])
    np.testing.assert_allclose(points[-1], [1, 0.4, 0.05])
    np.testing.assert_allclose(points[points[:, 0] == 0.8], [[0.8, 0.25, 0.35]])
    np.testing.assert_allclose(points[points[:, 0] == 0.4], [[0.4, 0, 0.95]])


def test_thresholds():
    confidence = np.linspace(0.01, 1, 100)
    wrong = np.arange(100) < 40
    assert lowest_threshold(confidence, wrong, 0.0) == pytest.approx(0.41)
    assert lowest_threshold(confidence, wrong, 0.25) == pytest.approx(0.21)
    assert lowest_threshold(confidence, np.ones(100, bool), 0.5) == 1
    assert lowest_threshold(confidence, np.zeros(100, bool), 0.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("wrong", "empty", "expected"),
    [
        (0, 0.0, 0.01),  # no risk: nothing is left out
        (40, 0.0, 0.0199),  # risk is not bought with more than 1 % of the crystal
        (40, 0.3, 0.3),  # vacuum is kept out all the same
    ],
)
def test_default_threshold(wrong, empty, expected):
    confidence = np.linspace(0.01, 1, 100)
    found = default_threshold(confidence, np.arange(100) < wrong, np.full(200, empty))
    assert found == pytest.approx(expected)
    assert default_threshold(np.zeros(0), np.zeros(0, bool), np.full(9, empty)) == empty
