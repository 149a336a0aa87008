import numpy as np
import pytest
from skimage.measure import label as connected

from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.scans import grains
from zoneaxis.scans.grains import label_grains, neighbor_pairs


def test_equivalent_neighbors_are_one_grain(nickelate):
    """Along rows and columns, not across corners, nor over a gap."""
    operators = nickelate.proper_operators
    base = matrices_from_euler(np.array([20.0, 50.0, 70.0]))
    other = matrices_from_euler(np.array([24.0, 50.0, 70.0]))  # 4 degrees about the beam
    far = matrices_from_euler(np.array([90.0, 20.0, 10.0]))
    matrices = np.array(
        [
            [base, operators[3] @ base, far, far],
            [far, operators[1] @ other, base, base],
            [far, far, far, base],
        ]
    )
    indexed = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 1, 1]])
    expected = [[0, 0, 1, 1], [2, 0, -1, 3], [2, -1, 4, 3]]
    assert label_grains(matrices, indexed - 1, [operators], 5.0).tolist() == expected
    expected[1][1] = 3
    apart = label_grains(matrices, indexed - 1, [operators], 3.0)
    assert len(np.unique(apart)) == 7
    assert apart[0, 0] != apart[1, 1]


def test_one_point_and_none(nickelate):
    operators = nickelate.proper_operators
    for indexed in (np.ones((1, 1), int), np.zeros((2, 3), int)):
        matrices = np.broadcast_to(np.eye(3), (*indexed.shape, 3, 3))
        assert (label_grains(matrices, indexed - 1, [operators], 5.0) == indexed - 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_scikit_image_finds_the_same_regions(nickelate, seed):
    """Four kinds of far orientations at random, every point turned by a symmetry of its own."""
    rng = np.random.default_rng(seed)
    kinds = matrices_from_euler(np.array([[0, 0, 0], [40, 50, 10], [200, 30, 70], [90, 80, 100]]))
    kind = rng.integers(-1, 4, (30, 21))
    matrices = nickelate.proper_operators[rng.integers(6, size=kind.shape)] @ kinds[kind]
    phase = np.where(kind < 0, -1, 0)
    found = label_grains(matrices, phase, [nickelate.proper_operators], 5.0)
    expected = connected(kind, background=-1, connectivity=1) - 1
    np.testing.assert_array_equal(found, expected)


def test_phases_are_apart_whatever_their_orientations(nickelate):
    matrices = np.broadcast_to(np.eye(3), (2, 3, 3, 3))
    phase = np.array([[0, 0, 1], [0, -1, 1]])
    found = label_grains(matrices, phase, [nickelate.proper_operators] * 2, 5.0)
    assert found.tolist() == [[0, 0, 1], [0, -1, 1]]


def test_chunks_change_nothing(nickelate, monkeypatch):
    rng = np.random.default_rng(0)
    matrices = matrices_from_euler(rng.uniform(0, 90, (9, 8, 3)))
    arguments = matrices, np.zeros((9, 8), int), [nickelate.proper_operators], 25.0
    whole = label_grains(*arguments)
    monkeypatch.setattr(grains, "CHUNK_PAIRS", 7)
    np.testing.assert_array_equal(label_grains(*arguments), whole)
    assert len(np.unique(whole)) < 70


def test_neighbors_share_an_edge():
    assert neighbor_pairs((2, 2)).tolist() == [[0, 2, 0, 1], [1, 3, 2, 3]]
