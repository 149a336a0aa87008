import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    euler_from_matrices,
    matrices_from_euler,
)
from zoneaxis.errors import MapError
from zoneaxis.evaluation import comparison as module
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.metrics import ANGLE_METRICS, METRICS
from zoneaxis.scans.orientation_map import OrientationMap

ANGLE_TOLERANCE_DEG = 1e-4
CUBIC = Crystal(
    name="cubic",
    cell=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0),
    space_group=225,
    numbers=np.array([29]),
    positions=np.zeros((1, 3)),
    occupancies=np.ones(1),
    b_iso_angstrom2=np.ones(1),
)


def make_map(crystal, euler_deg, indexed=None, score=None):
    euler_deg = np.asarray(euler_deg, dtype=float)
    shape = euler_deg.shape[:2]
    return OrientationMap.of_crystal(
        crystal=crystal,
        euler_deg=euler_deg,
        score=np.ones(euler_deg.shape[:3], np.float32) if score is None else score,
        reliability=np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape),
        indexed=np.ones(shape, bool) if indexed is None else indexed,
        step_nm=2.0,
    )


def random_euler(rng, shape=(6, 5)):
    return rng.uniform([5, 5, 5], [355, 85, 115], (*shape, 1, 3))


def turned(euler_deg, left=None, right=None):
    matrices = matrices_from_euler(euler_deg)
    matrices = matrices if left is None else left @ matrices
    return euler_from_matrices(matrices if right is None else matrices @ right)


@pytest.fixture
def euler(rng):
    return random_euler(rng)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def about_c(degrees):
    return matrices_from_euler(np.array([degrees, 0.0, 0.0]))


def test_symmetric_equivalents_agree(nickelate, euler, rng):
    operators = nickelate.proper_operators[rng.integers(6, size=(6, 5, 1))]
    result = compare(make_map(nickelate, turned(euler, operators)), make_map(nickelate, euler))
    assert result.friends == ("raw", "beam_180", "c_60")
    assert result.metrics["within_1"] == 1
    assert np.nanmax(result.misorientation_deg["raw"]) < ANGLE_TOLERANCE_DEG


@pytest.mark.parametrize(
    ("friend", "left", "right"),
    [("beam_180", None, ROTATE_180_ABOUT_BEAM), ("c_60", about_c(60.0), None)],
)
def test_false_friends_are_forgiven_only_in_their_column(nickelate, euler, friend, left, right):
    result = compare(
        make_map(nickelate, turned(euler, left, right)), make_map(nickelate, euler)
    ).metrics
    assert result[f"within_1_{friend}"] == 1
    assert result["within_5"] < 0.5
    other = {"beam_180": "c_60", "c_60": "beam_180"}[friend]
    assert result[f"within_5_{other}"] < 0.7


def test_known_misorientation(nickelate, euler):
    metrics = compare(
        make_map(nickelate, turned(euler, right=about_c(3.0))), make_map(nickelate, euler)
    ).metrics
    for name in ("median_deg", "mean_deg", "p95_deg"):
        assert metrics[name] == pytest.approx(3.0, abs=ANGLE_TOLERANCE_DEG)
    assert (metrics["within_2"], metrics["within_5"]) == (0, 1)


def test_only_trigonal_crystals_have_the_friend_about_c(euler):
    result = compare(make_map(CUBIC, euler), make_map(CUBIC, euler))
    assert result.friends == ("raw", "beam_180")
    assert not any(name.endswith("c_60") for name in result.metrics)
    assert "c_60" not in json.loads(result.to_json())["definitions"]["suffixes"]


def test_not_indexed_points_are_counted_and_left_out(nickelate, euler):
    mine, theirs = np.ones((6, 5), bool), np.ones((6, 5), bool)
    mine[0], theirs[1, :2] = False, False
    mine[5, 4] = False
    broken = euler.copy()
    broken[5, 4] = np.nan
    result = compare(make_map(nickelate, broken, mine), make_map(nickelate, euler, theirs))
    assert result.counts == {
        "points": 30,
        "indexed_map": 24,
        "indexed_reference": 28,
        "indexed_both": 22,
    }
    assert result.metrics["missed"] == pytest.approx(6 / 30)
    assert result.metrics["invented"] == pytest.approx(2 / 30)
    for name in ("found_5", "found_5_beam_180", "found_5_c_60"):
        assert result.metrics[name] == pytest.approx(22 / 28)
    assert np.isfinite(result.misorientation_deg["raw"]).sum() == 22
    assert result.metrics["within_1"] == 1


def test_rejecting_hard_points_does_not_raise_what_is_found(nickelate, euler):
    wrong = euler.copy()
    wrong[:3] = turned(euler[:3], right=about_c(30.0))
    kept = np.ones((6, 5), bool)
    kept[:4] = False  # the wrong half and a row that is right
    reference = make_map(nickelate, euler)
    all_of_it = compare(make_map(nickelate, wrong), reference)
    cautious = compare(make_map(nickelate, wrong, kept), reference)
    assert (all_of_it.metrics["within_5"], cautious.metrics["within_5"]) == (0.5, 1.0)
    assert all_of_it.metrics["found_5"] == pytest.approx(0.5)
    assert cautious.metrics["found_5"] == pytest.approx(1 / 3)
    assert cautious.metrics["missed"] == pytest.approx(2 / 3)
    shown = [metric.name for metric, _ in cautious.rows()]
    assert shown[:3] == ["found_5", "missed", "invented"]


def test_either_of_two_overlapping_grains_is_right(nickelate, rng):
    first, second = random_euler(rng), random_euler(rng)
    score = np.full((6, 5, 2), 0.5, np.float32)
    score[3:, :, 1] = 0  # no second grain there
    truth = make_map(nickelate, np.concatenate([first, second], axis=2), score=score)
    metrics = compare(make_map(nickelate, second), truth).metrics
    assert metrics["within_5"] < 0.2
    assert metrics["within_5_any"] == pytest.approx(0.5, abs=0.1)
    assert "within_5_any" not in compare(truth, make_map(nickelate, first)).metrics


def test_chunks_change_nothing(nickelate, euler, rng, monkeypatch):
    pair = make_map(nickelate, random_euler(rng)), make_map(nickelate, euler)
    whole = compare(*pair)
    monkeypatch.setattr(module, "CHUNK_POINTS", 7)
    parts = compare(*pair)
    assert parts.metrics == whole.metrics
    for friend in whole.friends:
        np.testing.assert_array_equal(
            parts.misorientation_deg[friend], whole.misorientation_deg[friend]
        )


def test_risk_coverage_ranks_by_confidence_and_averages_ties(nickelate, euler):
    wrong = euler.copy()
    wrong[:3] = turned(euler[:3], right=about_c(30.0))  # the half of low reliability
    risks = compare(make_map(nickelate, wrong), make_map(nickelate, euler)).risk_coverage
    np.testing.assert_allclose(risks["score"], 0.5)  # all alike: ranking cannot help
    np.testing.assert_allclose(risks["reliability"][:10], 0)
    assert risks["reliability"][-1] == pytest.approx(0.5)
    assert risks["coverage"][-1] == 1


def test_json_and_table_show_every_metric(nickelate, euler):
    result = compare(make_map(nickelate, euler), make_map(nickelate, euler))
    values = json.loads(result.to_json())
    assert values["metrics"].keys() == result.metrics.keys()
    assert {d["name"] for d in values["definitions"]["metrics"]} == {m.name for m in METRICS}
    console = Console(width=120, file=io.StringIO())
    console.print(result.table(("network", "truth")))
    text = console.file.getvalue()
    assert "network against truth" in text
    assert all(metric.description in text for metric in ANGLE_METRICS)
    assert "modulo 60° about c" in text


def test_inputs_are_left_as_they_were(nickelate, euler):
    before = euler.copy()
    map = make_map(nickelate, euler)
    compare(map, map)
    np.testing.assert_array_equal(euler, before)


def test_other_shapes_are_refused(nickelate, euler):
    with pytest.raises(MapError, match=r"6 x 5 .* 5 x 5"):
        compare(make_map(nickelate, euler), make_map(nickelate, euler[1:]))


def test_other_crystals_are_refused(nickelate, euler):
    with pytest.raises(MapError, match=r"Laue group -3m.* and cubic \(Laue group m-3m"):
        compare(make_map(nickelate, euler), make_map(CUBIC, euler))
    for factor, fits in ((1.04, True), (1.06, False)):
        cell = (*nickelate.cell[:2], nickelate.cell[2] * factor, *nickelate.cell[3:])
        other = Crystal.from_dict({**nickelate.to_dict(), "cell": cell, "name": "stretched"})
        maps = make_map(nickelate, euler), make_map(other, euler)
        if fits:
            compare(*maps)
        else:
            with pytest.raises(MapError, match=r"stretched.*within 5 %"):
                compare(*maps)


def test_nothing_in_common_is_refused(nickelate, euler):
    left = np.zeros((6, 5), bool)
    left[:, :2] = True
    with pytest.raises(MapError, match="No point is indexed in both"):
        compare(make_map(nickelate, euler, left), make_map(nickelate, euler, ~left))


def test_real_map_agrees_with_itself(shared_data, nickelate):
    path = shared_data / "third_party" / "layered_oxide" / "acom.ang"
    map = OrientationMap.load(path)
    result = compare(OrientationMap.load(path, nickelate), map)
    assert result.metrics["within_1"] == 1
    assert result.counts["indexed_both"] == map.indexed.sum()


# Several phases


@pytest.fixture
def two_phases(nickelate, euler):
    """A map of both crystals, whose reference lists them the other way round."""
    phase = np.zeros((6, 5), int)
    phase[3:] = 1
    mine = make_map(nickelate, euler)
    mine = replace(mine, crystals=(nickelate, CUBIC), phase=phase)
    return mine, replace(mine, crystals=(CUBIC, nickelate), phase=1 - phase)


def test_phases_are_matched_whatever_their_order(two_phases):
    result = compare(*two_phases)
    assert result.crystal_name == "LiNiO2, cubic"
    assert result.metrics["phase_right"] == result.metrics["within_1"] == 1
    assert "of the same phase" in [metric.description for metric, _ in result.rows()]


def test_another_phase_is_wrong_and_has_no_angle(two_phases):
    mine, reference = two_phases
    phase = mine.phase.copy()
    phase[:2] = 1  # a third of the points
    result = compare(replace(mine, phase=phase), reference)
    assert result.metrics["phase_right"] == pytest.approx(2 / 3)
    for name in ("within_1", "within_10", "found_5"):
        assert result.metrics[name] == pytest.approx(2 / 3)
    assert result.metrics["p95_deg"] < 1e-3
    assert np.isnan(result.misorientation_deg["raw"][:2]).all()
    assert result.wrong.sum() == 10
    assert result.risk_coverage["score"][-1] == pytest.approx(1 / 3)


def test_only_wrong_phases_leave_no_angles(two_phases):
    mine, reference = two_phases
    result = compare(replace(mine, phase=1 - mine.phase), reference)
    assert result.metrics["phase_right"] == result.metrics["within_10"] == 0
    assert "median_deg" not in result.metrics
    json.loads(result.to_json())
    assert "median" not in [metric.description for metric, _ in result.rows()]


def test_each_phase_is_reduced_by_its_own_symmetry(two_phases, nickelate):
    """60 degrees about c are a false friend of the layered phase, and 90 nothing for the cubic."""
    mine, reference = two_phases
    layered = turned(mine.euler_deg[:3], about_c(60.0))
    cubic = turned(mine.euler_deg[3:], about_c(90.0))
    result = compare(replace(mine, euler_deg=np.concatenate([layered, cubic])), reference)
    assert result.metrics["within_1"] == pytest.approx(0.5)
    assert result.metrics["within_1_c_60"] == 1
    fourfold = turned(mine.euler_deg, about_c(60.0))
    result = compare(replace(mine, euler_deg=fourfold), reference)
    assert result.metrics["within_1_c_60"] == pytest.approx(0.5)  # no friend of the cubic one's


def test_one_phase_against_two(two_phases, nickelate):
    mine, reference = two_phases
    result = compare(mine.of_phase(0), reference)
    assert result.metrics["phase_right"] == 1
    assert result.metrics["missed"] == 0.5


def test_the_more_symmetric_of_two_descriptions_counts(nickelate, euler):
    """.ang names 32 or 3m for -3m; with 3m alone, rotations about a would count as errors."""
    polar = replace(nickelate, space_group=160)
    about_a = nickelate.proper_operators[[3]][:, None]
    maps = make_map(polar, turned(euler, about_a)), make_map(nickelate, euler)
    assert compare(*maps).metrics["within_1"] == 1
    assert compare(*maps[::-1]).metrics["within_1"] == 1


def test_metrics_of_some_points(nickelate, euler):
    wrong = euler.copy()
    wrong[:3] = turned(euler[:3], right=about_c(30.0))
    result = compare(make_map(nickelate, wrong), make_map(nickelate, euler))
    assert result.metrics_at(np.arange(15))["within_5"] == 0
    assert result.metrics_at(np.arange(15, 30))["within_5"] == 1
    assert result.metrics_at(np.arange(30)).items() <= result.metrics.items()


def test_area_under_the_risk(nickelate, euler):
    wrong = euler.copy()
    wrong[:3] = turned(euler[:3], right=about_c(30.0))  # the half of low reliability
    metrics = compare(make_map(nickelate, wrong), make_map(nickelate, euler)).metrics
    assert metrics["risk_area_score"] == pytest.approx(0.5)
    kept = np.arange(16, 31)
    assert metrics["risk_area_reliability"] == pytest.approx(((kept - 15) / kept).sum() / 30)
