import numpy as np
import pytest

from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.evaluation.matching.refinement import Refined
from zoneaxis.evaluation.matching.solutions import distinct_solutions, refined_solutions

# Two neighbors on a grid of 2 degrees, and an orientation far from both.
CANDIDATES = matrices_from_euler(np.array([[10.0, 40, 15], [11.0, 40, 15], [200.0, 70, 80]]))


@pytest.fixture
def operators(nickelate) -> np.ndarray:
    return nickelate.proper_operators


def distinct(score, operators, count=2):
    matrices = np.broadcast_to(CANDIDATES, (len(score), 3, 3, 3))
    return distinct_solutions(
        matrices, score, operators, count=count, step_deg=2.0, distinct_deg=5.0
    )


def refined(order, score):
    scale = np.array([[0.9, 1.0, 1.1]])
    return Refined(CANDIDATES[None, order], np.array([score]), scale, np.stack([scale] * 2, -1))


def test_neighbors_of_a_peak_are_no_solution_of_their_own(operators):
    _, score, chosen = distinct(np.array([[0.9, 0.8, 0.5], [0.3, 0.6, 0.7]]), operators)
    np.testing.assert_array_equal(chosen, [[0, 2], [2, 1]])
    np.testing.assert_array_equal(score, [[0.9, 0.5], [0.7, 0.6]])


def test_neighbors_of_a_peak_refine_its_position(operators):
    matrices, *_ = distinct(np.array([[0.9, 0.9, 0.5]]), operators)
    away = misorientation_deg(matrices[0, 0], CANDIDATES, operators)
    np.testing.assert_allclose(away[:2], 0.5, atol=1e-3)
    assert misorientation_deg(matrices[0, 1], CANDIDATES[2], operators) < 1e-3


def test_where_nothing_is_left_the_first_is_repeated(operators):
    given = np.array([[0.9, 0.8, 0.0]])
    matrices, score, _ = distinct(given, operators, count=3)
    np.testing.assert_array_equal(score, [[0.9, 0, 0]])
    np.testing.assert_array_equal(matrices[0, 1:], matrices[0, [0, 0]])
    np.testing.assert_array_equal(given, [[0.9, 0.8, 0.0]])


def test_refined_solutions_are_ordered_with_the_camera_of_the_best(operators):
    found = refined([2, 0, 1], [0.4, 0.8, 0.6])
    matrices, score, camera = refined_solutions(found, np.ones((1, 3)), operators, same_deg=0.5)
    np.testing.assert_array_equal(score, [[0.8, 0.6, 0.4]])
    np.testing.assert_array_equal(matrices[0], CANDIDATES)
    np.testing.assert_array_equal(camera["scale"], [1.0])
    np.testing.assert_array_equal(camera["shift"], [[1.0, 1.0]])


def test_solutions_that_run_into_one_are_one(operators):
    found = refined([0, 1, 2], [0.8, 0.6, 0.4])
    matrices, score, _ = refined_solutions(found, np.ones((1, 3)), operators, same_deg=2.0)
    np.testing.assert_array_equal(score, [[0.8, 0.4, 0]])
    np.testing.assert_array_equal(matrices[0], CANDIDATES[[0, 2, 0]])


def test_a_solution_without_a_score_stays_without(operators):
    found = refined([0, 1, 2], [0.8, 0.6, 0.9])
    before = np.array([[0.7, 0.6, 0.0]])
    _, score, camera = refined_solutions(found, before, operators, same_deg=0.5)
    np.testing.assert_array_equal(score, [[0.8, 0.6, 0]])
    np.testing.assert_array_equal(camera["scale"], [0.9])
