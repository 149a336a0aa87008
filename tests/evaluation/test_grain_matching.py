from dataclasses import replace

import numpy as np
import pytest

from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.errors import MapError
from zoneaxis.evaluation.grain_matching import match_grains
from zoneaxis.evaluation.grains import Grains, find_grains
from zoneaxis.scans.orientation_map import OrientationMap

KINDS = np.array([[0, 0, 0], [40, 50, 10], [200, 30, 70], [90, 80, 100], [300, 60, 20]])


@pytest.fixture
def grains(nickelate):
    """Return a function that finds the grains of a map of far orientations, -1 not indexed."""

    def found(kind, turn_deg=0.0) -> Grains:
        kind = np.repeat(np.repeat(np.array(kind), 4, axis=0), 4, axis=1)
        euler = (KINDS[kind] + [turn_deg, 0, 0])[:, :, None].astype(float)
        ones = np.ones((*kind.shape, 1), np.float32)
        map = OrientationMap.of_crystal(nickelate, euler, ones, ones[..., 0], kind >= 0, 3.0)
        return find_grains(map, largest_hole=0)

    return found


def test_a_reference_that_knows_less_symmetry_is_the_same_crystal(grains, nickelate):
    one = grains([[0, 1], [2, 3]])
    two_fold = nickelate.proper_operators[np.trace(nickelate.proper_operators, 0, 1, 2) < -0.5][0]
    other = replace(
        one,
        crystals=(replace(nickelate, space_group=160),),
        matrices=two_fold @ one.matrices,
    )
    for pair in ((one, other), (other, one)):
        assert match_grains(*pair).misorientation_deg.max() < 1e-3


def test_a_map_finds_its_own_grains(grains):
    one = grains([[0, 0, 1], [2, 3, 3]])
    match = match_grains(one, one)
    assert match.counts == {
        **{"grains": 4, "found": 4, "split": 0, "merged": 0, "missed": 0},
        **{"found_right": 4, "invented": 0},
    }
    np.testing.assert_array_equal(match.partner, range(4))
    np.testing.assert_array_equal(match.iou, 1)
    assert match.misorientation_deg.max() < 1e-3


def test_every_outcome(grains):
    reference = grains([[0, 0, 1, 2, 3, 3, -1], [0, 0, 1, 2, 4, 4, -1]])
    map = grains([[3, 3, 0, 0, 3, 3, 1], [4, 4, 0, 0, -1, -1, 1]])
    match = match_grains(map, reference)
    assert match.outcome.tolist() == ["split", "merged", "merged", "found", "missed"]
    assert match.counts["invented"] == 1
    assert match.counts["found_right"] == 1
    assert match.partner[4] == -1
    assert match.iou.tolist() == [0.5, 0.5, 0.5, 1.0, 0.0]


def test_found_need_not_be_right(grains):
    layout = [[0, 1], [2, 3]]
    match = match_grains(grains(layout, turn_deg=20.0), grains(layout))
    assert (match.counts["found"], match.counts["found_right"]) == (4, 0)
    np.testing.assert_allclose(match.misorientation_deg, 20.0, atol=1e-6)


def test_overlap_is_intersection_over_union(grains):
    match = match_grains(grains([[0, 0, 0, 1]]), grains([[0, 0, 1, 1]]))
    np.testing.assert_allclose(match.iou, [2 / 3, 1 / 2])


def test_a_grain_of_another_phase_has_no_angle(grains, nickelate):
    cubic = type(nickelate).from_dict(
        {**nickelate.to_dict(), "cell": (*nickelate.cell[:2], 20.0, *nickelate.cell[3:])}
    )
    one = grains([[0, 1]])
    two = replace(one, crystals=(cubic, nickelate), phase=np.array([0, 1]))
    match = match_grains(one, two)
    assert np.isnan(match.misorientation_deg).tolist() == [True, False]
    assert match.to_dict()["misorientation_deg"][0] is None


def test_tables_and_shapes(grains):
    match = match_grains(grains([[0, 1]]), grains([[0, 1]]))
    assert match.table().row_count == 6
    with pytest.raises(MapError, match=r"\(4, 8\) points and of one of \(4, 4\)"):
        match_grains(grains([[0, 1]]), grains([[0]]))


def test_kinds_are_far_apart(nickelate):
    from zoneaxis.diffraction.orientations import misorientation_deg

    matrices = matrices_from_euler(KINDS)
    angles = misorientation_deg(matrices[:, None], matrices, nickelate.proper_operators)
    assert angles[~np.eye(5, dtype=bool)].min() > 20
