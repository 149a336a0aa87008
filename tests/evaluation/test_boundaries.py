import io
import json
from dataclasses import replace

import numpy as np
import pytest
from orix import quaternion as orix
from rich.console import Console
from scipy.spatial.transform import Rotation

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    euler_from_matrices,
    matrices_from_euler,
)
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.boundaries import (
    Twin,
    find_boundaries,
    misorientation_and_axis,
    random_misorientations_deg,
)
from zoneaxis.evaluation.grains import find_grains
from zoneaxis.scans.orientation_map import OrientationMap

BASE = matrices_from_euler(np.array([20.0, 50.0, 70.0]))


@pytest.fixture(scope="module")
def cubic():
    return Crystal(
        *("Ni", (3.52, 3.52, 3.52, 90.0, 90.0, 90.0), 225),
        *(np.array([28]), np.zeros((1, 3)), np.ones(1), np.ones(1)),
    )


def stripes(crystal, *matrices, width=4, rows=5):
    """Grains side by side, of the orientations given."""
    euler = euler_from_matrices(np.stack(matrices))
    euler = np.tile(np.repeat(euler, width, axis=0), (rows, 1, 1))[:, :, None]
    ones = np.ones(euler.shape[:3], np.float32)
    map = OrientationMap.of_crystal(crystal, euler, ones, ones[..., 0], ones[..., 0] > 0, 2.0)
    return find_grains(map, tolerance_deg=2.0)


def about(axis, degrees):
    axis = np.array(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()


def test_pairs_and_lengths(nickelate):
    kinds = np.array([[0, 50, 0], [40, 50, 10], [200, 30, 70]], float)
    kind = np.kron([[0, 0, 1], [0, 2, 2]], np.ones((4, 4), int))
    ones = np.ones((*kind.shape, 1), np.float32)
    euler = kinds[kind][:, :, None]
    map = OrientationMap.of_crystal(nickelate, euler, ones, ones[..., 0], kind >= 0, 3.0)
    found = find_boundaries(find_grains(map))
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    np.testing.assert_allclose(found.length_nm, [12, 24, 12])
    right, below = found.edges
    assert (right.shape, below.shape) == ((8, 11), (7, 12))
    counts = np.bincount(np.concatenate([right[right >= 0], below[below >= 0]]))
    np.testing.assert_array_equal(counts, found.length_nm / 3)
    assert right[0, 7] == 0
    assert below[3, 0] == -1


@pytest.mark.parametrize("name", ["nickelate", "cubic"])
def test_angles_and_axes_are_those_of_orix(request, name):
    crystal = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    first, second = Rotation.random(200, random_state=rng).as_matrix().reshape(2, 100, 3, 3)
    angle, axis = misorientation_and_axis(first, second, crystal)
    group = crystal.point_group.proper_subgroup
    turned = orix.Rotation.from_matrix(first @ second.swapaxes(1, 2))
    reduced = orix.Misorientation(turned, symmetry=(group, group)).reduce()
    np.testing.assert_allclose(angle, np.rad2deg(reduced.angle), atol=1e-4)
    expected = reduced.axis.in_fundamental_sector(crystal.point_group.laue).data
    np.testing.assert_allclose((axis * expected).sum(axis=1), 1, atol=1e-6)


def test_the_same_whichever_grain_is_first(nickelate):
    first, second = Rotation.random(60, random_state=1).as_matrix().reshape(2, 30, 3, 3)
    one, other = (
        misorientation_and_axis(*pair, nickelate) for pair in ((first, second), (second, first))
    )
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_no_rotation_has_no_axis(cubic):
    angle, axis = misorientation_and_axis(
        np.stack([BASE, BASE]), np.stack([np.eye(3), BASE]), cubic
    )
    assert angle[0] > 5
    assert np.isfinite(axis[0]).all()
    assert angle[1] == pytest.approx(0, abs=1e-6)
    same = misorientation_and_axis(np.eye(3)[None], np.eye(3)[None], cubic)
    assert np.isnan(same[1]).all()


def test_false_friends_are_suspicious(nickelate):
    matrices = about([0, 0, 1], 59) @ BASE, BASE, BASE @ ROTATE_180_ABOUT_BEAM, about([1, 2, 3], 40)
    found = find_boundaries(stripes(nickelate, *matrices))
    assert found.kind.tolist() == ["60° about c", "180° about the beam", ""]
    assert found.suspicious.tolist() == [True, True, False]
    assert found.axis_label[0] == "[0001]"
    assert found.misorientation_deg[0] == pytest.approx(59)
    assert found.summary()["suspicious_share_of_length"] == pytest.approx(2 / 3)
    named = find_boundaries(stripes(nickelate, *matrices), [Twin.parse("60 0 0 1")])
    assert named.kind[0] == "twin 60° [0001]"
    assert named.suspicious.tolist() == [False, True, False]


def test_a_cubic_crystal_has_no_friend_about_c(cubic):
    found = find_boundaries(stripes(cubic, about([0, 0, 1], 60) @ BASE, BASE))
    assert found.kind.tolist() == [""]
    assert found.misorientation_deg[0] == pytest.approx(30)
    assert found.axis_label[0] == "[001]"


def test_twins_about_every_equivalent_axis_and_either_way(cubic):
    """Sigma 3 of a cubic crystal: 60 degrees about any <111>; 50 degrees about it is none."""
    for axis in ([1, 1, 1], [-1, 1, 1], [1, -1, 1]):
        for degrees, kind in ((60, "twin 60° [111]"), (-60, "twin 60° [111]"), (50, "")):
            grains = stripes(cubic, about(axis, degrees) @ BASE, BASE)
            found = find_boundaries(grains, [Twin(60.0, (1, 1, 1))])
            assert found.kind.tolist() == [kind]
            assert found.axis_label[0] == "[111]"


def test_random_misorientations_are_those_of_mackenzie(cubic):
    """Source: Mackenzie 1958: mean 40.74 degrees, largest 62.80, most likely 45."""
    angles = random_misorientations_deg(cubic, 40_000)
    assert angles.mean() == pytest.approx(40.74, abs=0.15)
    assert 62.0 < angles.max() < 62.81
    counts, edges = np.histogram(angles, np.arange(0, 66, 2))
    assert edges[counts.argmax()] in (42, 44)


def test_phases_have_no_misorientation(nickelate, cubic):
    grains = stripes(nickelate, BASE, about([1, 2, 3], 40))
    found = find_boundaries(replace(grains, crystals=(nickelate, cubic), phase=np.array([0, 1])))
    assert np.isnan(found.misorientation_deg).all()
    assert found.to_dict()["misorientation_deg"] == [None]
    console = Console(width=100, file=io.StringIO())
    console.print(found.table())
    assert "other phase" in console.file.getvalue()


def test_a_single_grain_has_no_boundary(nickelate):
    found = find_boundaries(stripes(nickelate, BASE))
    assert len(found) == 0
    assert found.summary()["length_nm"] == 0
    assert (found.edges[0] == -1).all()


def test_json_and_table(nickelate):
    found = find_boundaries(stripes(nickelate, BASE, about([0, 0, 1], 60) @ BASE))
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["summary"]["kinds"]["60° about c"]["suspicious"] is True
    console = Console(width=100, file=io.StringIO())
    console.print(found.table())
    assert "[0001]" in console.file.getvalue()


@pytest.mark.parametrize("text", ["60", "60 1 1", "60 1 1 1 1", "a 1 1 1", "60 0 0 0", "200 1 1 1"])
def test_no_twin(text):
    with pytest.raises(SettingsError, match="expected an angle of up to 180 degrees and three"):
        Twin.parse(text)


def test_twins_are_read():
    assert Twin.parse("70.5, 1 -1 0") == Twin(70.5, (1, -1, 0))
