import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orix.quaternion import Orientation

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import (
    beam_directions,
    euler_from_matrices,
    matrices_from_euler,
    mean_orientation,
    mirrored,
    misorientation_deg,
    pseudo_symmetric_deg,
    reduce_euler,
)

SPECIAL = np.array(
    [
        [0, 0, 0], [30, 0, 0], [350, 0, 40], [0, 180, 0], [77, 180, 12], [0, 90, 0],
        [359.999, 90, 359.999], [180, 45, 270], [10, 1e-5, 20], [10, 180 - 1e-5, 20],
    ],
    dtype=float,
)  # fmt: skip


def random_euler(n, seed=0):
    rng = np.random.default_rng(seed)
    phi = np.rad2deg(np.arccos(rng.uniform(-1, 1, n)))
    return np.stack([rng.uniform(0, 360, n), phi, rng.uniform(0, 360, n)], axis=1)


def about(axis, angle_deg):
    """Rotation of vectors by an angle about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    t = np.deg2rad(angle_deg)
    return np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross


@pytest.fixture(scope="module")
def cubic():
    return Crystal(
        "gold", (4.08, 4.08, 4.08, 90, 90, 90), 225, np.array([79] * 4),
        np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), np.ones(4), np.ones(4),
    )  # fmt: skip


def test_matrices_are_those_of_orix():
    euler = np.concatenate([random_euler(200), SPECIAL])
    theirs = Orientation.from_euler(euler, degrees=True, direction="lab2crystal")
    np.testing.assert_allclose(matrices_from_euler(euler), theirs.to_matrix(), atol=1e-12)


def test_matrices_are_z_x_z():
    phi1, phi, phi2 = 25.0, 70.0, 130.0
    product = about([0, 0, 1], -phi2) @ about([1, 0, 0], -phi) @ about([0, 0, 1], -phi1)
    np.testing.assert_allclose(matrices_from_euler([phi1, phi, phi2]), product, atol=1e-12)


def test_round_trip_gives_the_same_rotation_and_ordinary_angles():
    euler = np.concatenate([random_euler(500), SPECIAL]).reshape(2, -1, 3)
    matrices = matrices_from_euler(euler)
    again = euler_from_matrices(matrices)
    assert again.shape == euler.shape
    np.testing.assert_allclose(matrices_from_euler(again), matrices, atol=1e-8)
    assert ((again >= 0) & (again < [360, 180.0001, 360])).all()
    away = (euler[..., 1] > 0.1) & (euler[..., 1] < 179.9)
    np.testing.assert_allclose(again[away], euler[away], atol=1e-7)


@pytest.mark.parametrize(("phi", "sign"), [(0.0, 1), (180.0, -1)])
def test_at_the_poles_phi2_is_zero(phi, sign):
    euler = euler_from_matrices(matrices_from_euler([50.0, phi, 20.0]))
    np.testing.assert_allclose(euler, [50.0 + sign * 20.0, phi, 0.0], atol=1e-9)


def test_beam_direction_is_the_third_column_and_knows_no_phi1():
    euler = random_euler(50)
    np.testing.assert_allclose(
        beam_directions(euler), matrices_from_euler(euler)[..., 2], atol=1e-12
    )
    turned = euler + np.array([123.0, 0, 0])
    np.testing.assert_array_equal(beam_directions(turned), beam_directions(euler))


def test_misorientation_is_that_of_orix(nickelate, cubic):
    first, second = random_euler(60, 1), random_euler(60, 2)
    for crystal in (nickelate, cubic):
        symmetry = crystal.point_group.proper_subgroup
        one, other = (
            Orientation.from_euler(e, symmetry, degrees=True, direction="lab2crystal")
            for e in (first, second)
        )
        ours = misorientation_deg(
            matrices_from_euler(first), matrices_from_euler(second), crystal.proper_operators
        )
        np.testing.assert_allclose(ours, one.angle_with(other, degrees=True), atol=1e-5)


def test_misorientation_acts_on_the_crystal_side_only(nickelate):
    first, second = (
        matrices_from_euler(random_euler(40, 3)),
        matrices_from_euler(random_euler(40, 4)),
    )
    operators = nickelate.proper_operators
    plain = misorientation_deg(first, second, operators)
    for operator in operators:
        for pair in ((operator @ first, second), (first, operator @ second), (second, first)):
            np.testing.assert_allclose(misorientation_deg(*pair, operators), plain, atol=1e-5)
    turned = misorientation_deg(first @ about([0, 0, 1], 120), second, operators)
    assert np.abs(turned - plain).max() > 20


@pytest.mark.parametrize("angle", [0.0, 0.01, 1.0, 25.0])
def test_misorientation_of_a_small_rotation_is_its_angle(nickelate, angle):
    matrices = matrices_from_euler(random_euler(20))
    for pair in (about([1, 2, -3], angle) @ matrices, matrices @ about([0.3, -1, 2], angle)):
        found = misorientation_deg(pair, matrices, nickelate.proper_operators)
        np.testing.assert_allclose(found, angle, atol=1e-5)


def test_misorientation_broadcasts(nickelate):
    first, second = matrices_from_euler(random_euler(4)), matrices_from_euler(random_euler(3, 1))
    table = misorientation_deg(first[:, None], second[None], nickelate.proper_operators)
    assert table.shape == (4, 3)
    single = misorientation_deg(first[2], second[1], nickelate.proper_operators)
    assert table[2, 1] == pytest.approx(float(single))


def test_pseudo_symmetric_tells_the_two_false_friends_apart(nickelate):
    truth = matrices_from_euler(random_euler(30, 5))
    beam = pseudo_symmetric_deg(truth @ about([0, 0, 1], 180), truth, nickelate)
    np.testing.assert_allclose(beam["beam_180"], 0, atol=1e-5)
    assert np.median(beam["raw"]) > 60
    assert np.median(beam["c_60"]) > 30
    for angle in (60, -60, 180):
        about_c = pseudo_symmetric_deg(about([0, 0, 1], angle) @ truth, truth, nickelate)
        np.testing.assert_allclose(about_c["raw"], 60, atol=1e-5)
        np.testing.assert_allclose(about_c["c_60"], 0, atol=1e-5)
        assert np.median(about_c["beam_180"]) > 30
    other = pseudo_symmetric_deg(matrices_from_euler(random_euler(30, 6)), truth, nickelate)
    assert (other["beam_180"] <= other["raw"]).all()
    assert (other["c_60"] <= other["raw"]).all()
    assert other["beam_180"].min() > 1


def test_mirrored_is_phi2_to_120_minus_phi2(nickelate):
    euler = random_euler(100, 7)
    expected = np.stack([-euler[:, 0], euler[:, 1], 120 - euler[:, 2]], axis=1)
    found = misorientation_deg(
        matrices_from_euler(mirrored(euler, nickelate)),
        matrices_from_euler(expected),
        nickelate.proper_operators,
    )
    np.testing.assert_allclose(found, 0, atol=1e-5)
    wrong = misorientation_deg(
        matrices_from_euler(mirrored(euler, nickelate)),
        matrices_from_euler(expected * [1, 1, -1]),
        nickelate.proper_operators,
    )
    assert np.median(wrong) > 10


def test_mirrored_twice_is_the_same(nickelate):
    euler = random_euler(20, 8)
    twice = mirrored(mirrored(euler, nickelate), nickelate)
    np.testing.assert_allclose(matrices_from_euler(twice), matrices_from_euler(euler), atol=1e-9)


@pytest.mark.parametrize("phi_range", [(0, 180), (89.9, 90.1)])
def test_reduced_angles_are_equivalent_and_inside_the_region(nickelate, phi_range):
    euler = random_euler(1000, 9)
    euler[:, 1] = np.random.default_rng(0).uniform(*phi_range, 1000)
    reduced = reduce_euler(euler, nickelate)
    assert reduced[:, 1].max() <= 90 + 1e-6
    assert reduced[:, 2].max() < 120
    assert reduced[:, [0, 2]].min() >= 0
    error = misorientation_deg(
        matrices_from_euler(reduced), matrices_from_euler(euler), nickelate.proper_operators
    )
    np.testing.assert_allclose(error, 0, atol=1e-5)


def test_reducing_gives_equivalents_the_same_angles_and_changes_nothing_twice(nickelate, cubic):
    for crystal in (nickelate, cubic):
        euler = random_euler(50, 10)
        reduced = reduce_euler(euler, crystal)
        np.testing.assert_allclose(reduce_euler(reduced, crystal), reduced, atol=1e-6)
        for operator in crystal.proper_operators:
            other = euler_from_matrices(operator @ matrices_from_euler(euler))
            np.testing.assert_allclose(reduce_euler(other, crystal), reduced, atol=1e-6)


ANY_EULER = st.tuples(st.floats(-720, 720), st.floats(0, 180), st.floats(-720, 720))


@given(first=ANY_EULER, second=ANY_EULER)
def test_whatever_the_angles(nickelate, first, second):
    """Round trip; a misorientation is the same both ways, and for all equivalents."""
    operators = nickelate.proper_operators
    g1, g2 = matrices_from_euler(first), matrices_from_euler(second)
    euler = euler_from_matrices(g1)
    np.testing.assert_allclose(matrices_from_euler(euler), g1, atol=1e-8)
    assert (euler >= 0).all()
    assert (euler < [360, 180 + 1e-9, 360]).all()
    # Near 0 and 180 degrees the arc cosine knows half of the digits.
    angle = misorientation_deg(g1, g2, operators)
    np.testing.assert_allclose(misorientation_deg(g2, g1, operators), angle, atol=1e-5)
    np.testing.assert_allclose(misorientation_deg(operators @ g1, g2, operators), angle, atol=1e-5)
    reduced = matrices_from_euler(reduce_euler(first, nickelate))
    np.testing.assert_allclose(misorientation_deg(reduced, g2, operators), angle, atol=1e-5)


def test_reduce_keeps_the_leading_shape(nickelate):
    assert reduce_euler(random_euler(6).reshape(2, 3, 3), nickelate).shape == (2, 3, 3)


def test_mean_orientation_knows_the_symmetry(cubic):
    rng = np.random.default_rng(6)
    near = matrices_from_euler(random_euler(5))
    tilts = np.array([about(axis, angle) for axis in np.eye(3) for angle in (-3, 3)])
    around = cubic.proper_operators[rng.integers(24, size=(5, 6))] @ tilts @ near[:, None]
    far = np.broadcast_to(matrices_from_euler([10.0, 20, 30]), (5, 1, 3, 3))
    weights = np.array([1.0] * 6 + [0.0])
    mean = mean_orientation(
        np.concatenate([around, far], axis=1),
        np.broadcast_to(weights, (5, 7)),
        near,
        cubic.proper_operators,
    )
    np.testing.assert_allclose(mean, near, atol=1e-12)


def test_angles_do_not_depend_on_where_numbers_lie_in_memory(nickelate):
    """They did, in the last digit, and with them the weights of networks trained from one seed."""
    rng = np.random.default_rng(0)
    euler = rng.uniform(0, [360, 180, 360], (1000, 3))
    first = reduce_euler(euler, nickelate)
    for _ in range(10):
        kept = [np.empty(n) for n in rng.integers(1, 3000, 40)]  # moves what comes after
        assert len(kept) == 40
        np.testing.assert_array_equal(reduce_euler(euler, nickelate), first)
