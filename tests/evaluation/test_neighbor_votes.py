from dataclasses import replace

import dask.array as da
import numpy as np
import pytest

from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import MapError
from zoneaxis.evaluation.correlation import NEIGHBORS
from zoneaxis.evaluation.neighbor_averaging import equal_weights, similarity_weights
from zoneaxis.evaluation.neighbor_votes import index_with_neighbors, vote
from zoneaxis.scans.indexing import Indexed
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

GRAINS = np.array([[10.0, 40.0, 15.0], [200.0, 70.0, 80.0]])
WRONG = np.array([100.0, 20.0, 50.0])
SHAPE = (5, 8)


@pytest.fixture
def grains(nickelate):
    """Two grains, columns 0..3 and 4..7, with a second best that is wrong."""
    euler = np.zeros((*SHAPE, 2, 3))
    euler[..., 0, :] = GRAINS[(np.arange(8) > 3).astype(int)]
    euler[..., 1, :] = WRONG
    score = np.broadcast_to(np.float32([0.6, 0.3]), (*SHAPE, 2)).copy()
    return OrientationMap.of_crystal(
        nickelate, euler, score, np.full(SHAPE, 0.5, np.float32), np.ones(SHAPE, bool), 1.0
    )


def off_deg(map, euler):
    truth = matrices_from_euler(euler)
    return misorientation_deg(map.matrices, truth, map.crystal.proper_operators)


def with_outlier(grains, row, col):
    """The map with best and second best exchanged at a point."""
    euler, score = grains.euler_deg.copy(), grains.score.copy()
    euler[row, col] = euler[row, col, ::-1]
    score[row, col] = 0.5, 0.4
    return replace(grains, euler_deg=euler, score=score)


def test_votes_mend_an_outlier_and_keep_the_sum_of_scores(grains):
    voted = vote(with_outlier(grains, 2, 1))
    assert off_deg(voted, grains.euler_deg[..., 0, :]).max() < 1e-3
    np.testing.assert_allclose(voted.score.sum(axis=-1)[:, [0, 1, 6, 7]], 0.9, atol=1e-6)
    # The point's own 0.4 and eight times 0.6 / 8; its own 0.5 and eight times 0.3 / 8.
    np.testing.assert_allclose(voted.score[2, 1], [0.5, 0.4], atol=1e-6)
    np.testing.assert_allclose(voted.score[2, 6], [0.6, 0.3], atol=1e-6)
    np.testing.assert_allclose(voted.reliability[2, 6], 0.5, atol=1e-6)


def test_a_power_makes_the_best_count_most(grains):
    outlier = with_outlier(grains, 2, 1)  # scores 0.5 and 0.4; its neighbors' 0.6 and 0.3
    first, second = vote(outlier, power=2.0).score[2, 1]
    assert first == pytest.approx((0.5 * 0.8**2 + 0.6) / 2, abs=1e-6)
    assert second == pytest.approx((0.5 + 0.6 * 0.5**2) / 2, abs=1e-6)


def test_equivalents_vote_for_each_other(grains, nickelate):
    from zoneaxis.diffraction.orientations import euler_from_matrices

    euler = grains.euler_deg.copy()
    turned = nickelate.proper_operators[4] @ matrices_from_euler(euler[::2])
    euler[::2] = euler_from_matrices(turned)
    voted = vote(replace(grains, euler_deg=euler))
    np.testing.assert_allclose(voted.score, vote(grains).score, atol=1e-6)
    assert off_deg(voted, grains.euler_deg[..., 0, :]).max() < 1e-3


def test_the_orientation_is_the_weighted_mean(grains):
    euler = grains.euler_deg.copy()
    euler[2, 1, 0, 0] += 2.0  # about the beam; its eight neighbors pull half of it back
    voted = vote(replace(grains, euler_deg=euler))
    assert off_deg(voted, GRAINS[0])[2, 1] == pytest.approx(1.0, abs=0.01)
    assert off_deg(voted, GRAINS[0] + [2.0, 0, 0])[2, 1] == pytest.approx(1.0, abs=0.01)


def test_similar_patterns_vote_and_others_do_not(grains):
    """A lamella one point wide is outvoted by equal votes, and stays with weights by likeness."""
    euler, score = grains.euler_deg.copy(), grains.score.copy()
    euler[:, 2, 0], euler[:, 2, 1] = GRAINS[1], GRAINS[0]
    score[:, 2] = 0.5, 0.4
    lamella = replace(grains, euler_deg=euler, score=score)
    coefficient = np.full((*SHAPE, 8), 0.95)
    for i, (_, right) in enumerate(NEIGHBORS):
        if right:
            coefficient[:, 2, i] = 0.2
    expected = euler[..., 0, :]
    assert off_deg(vote(lamella), expected)[1:-1, 2].min() > 5
    kept = vote(lamella, similarity_weights(coefficient, 0.125))
    assert off_deg(kept, expected)[:, 2].max() < 1e-3


def test_phases_and_points_without_orientation_do_not_vote(grains, nickelate):
    phase = grains.phase.copy()
    phase[:, 4:], phase[0, 0] = 1, -1
    two = replace(grains, crystals=(nickelate, nickelate), phase=phase)
    voted = vote(two)
    np.testing.assert_array_equal(voted.phase, phase)
    np.testing.assert_allclose(voted.score[2, 3], [0.6, 0.3], atol=1e-6)
    np.testing.assert_array_equal(voted.euler_deg[0, 0], grains.euler_deg[0, 0])


def test_a_point_without_orientation_stays_as_it_is_and_spoils_none(grains):
    euler, score, phase = grains.euler_deg.copy(), grains.score.copy(), grains.phase.copy()
    euler[2, 2], score[2, 2], phase[2, 2] = np.nan, np.nan, -1
    score[1, 1], phase[1, 1] = 0, -1
    holes = replace(grains, euler_deg=euler, score=score, phase=phase)
    voted = vote(holes)
    assert np.isnan(voted.euler_deg[2, 2]).all()
    np.testing.assert_array_equal(voted.reliability[phase < 0], 0.5)
    assert off_deg(voted, grains.euler_deg[..., 0, :])[phase >= 0].max() < 1e-3


def test_weights_must_fit(grains):
    with pytest.raises(MapError, match="eight neighbors"):
        vote(grains, equal_weights((4, 4), 0.125))


class TwoClasses:
    """Confidences are the pattern's first two pixels, normalized."""

    def __init__(self, crystal):
        self.crystal, self.crystals = crystal, (crystal,)

    def class_confidences(self, patterns, inv_angstrom_per_pixel):
        raw = patterns[:, 0, :2] + 1e-9
        return raw / raw.sum(axis=1, keepdims=True)

    def decide(self, confidences):
        assert confidences.sum(axis=1) == pytest.approx(1, abs=1e-5)
        order = np.argsort(-confidences, axis=1)
        score = np.take_along_axis(confidences, order, axis=1)
        n = len(score)
        return Indexed(GRAINS[order], score, 1 - score[:, 1] / score[:, 0], np.ones(n, bool))


def test_confidences_of_classes_are_added_exactly(nickelate):
    rng = np.random.default_rng(0)
    patterns = rng.random((5, 6, 3, 3)).astype(np.float32)
    patterns[1, 4, 0, 0] = np.nan
    scan = Scan(da.from_array(patterns, chunks=(2, 3, -1, -1)), 1.0, 0.05, "test")
    done = []
    found = index_with_neighbors(TwoClasses(nickelate), scan, progress=done.append)
    assert sum(done) == 30
    assert not found.indexed[1, 4]
    assert found.indexed.sum() == 29
    own = patterns[..., 0, :2] / patterns[..., 0, :2].sum(axis=-1, keepdims=True)
    for row, col in ((2, 2), (0, 0), (2, 4), (4, 5)):
        total, weight = own[row, col].copy(), 1.0
        for down, right in NEIGHBORS:
            r, c = row + down, col + right
            if 0 <= r < 5 and 0 <= c < 6 and (r, c) != (1, 4):
                total, weight = total + own[r, c] / 8, weight + 1 / 8
        np.testing.assert_allclose(np.sort(found.score[row, col]), np.sort(total / weight), 1e-5)
