import numpy as np
import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import (
    first_of_orbits,
    full_operators,
    nearest_equivalent_deg,
    parse_zone_axis,
    sample_directions,
    zone_axis_euler,
)
from zoneaxis.diffraction.orientations import (
    beam_directions,
    matrices_from_euler,
    mirrored,
    reduce_euler,
)
from zoneaxis.errors import SettingsError


def vectors(directions: np.ndarray) -> np.ndarray:
    return beam_directions(np.pad(directions, ((0, 0), (1, 0))))


@pytest.fixture(scope="module")
def chiral(nickelate):
    return Crystal.from_dict({**nickelate.to_dict(), "space_group": 155})  # R32


@pytest.fixture(scope="module")
def cubic():
    positions = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cell = (4.08, 4.08, 4.08, 90, 90, 90)
    return Crystal("gold", cell, 225, np.full(4, 79), positions, np.ones(4), np.ones(4))


def test_counts_of_the_trigonal_sector(nickelate):
    assert len(sample_directions(nickelate, 2.0)) == 2162  # the paper's
    assert len(sample_directions(nickelate, 2.0, mirrored=True)) == 1042
    assert len(sample_directions(nickelate, 4.0)) == 592


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ["nickelate", "chiral", "cubic"])
@pytest.mark.parametrize("step", [2.0, 4.0, 5.0])
def test_no_two_are_equivalent_and_every_direction_has_one_near(request, name, half, step):
    crystal = request.getfixturevalue(name)
    operators = full_operators(crystal) if half else crystal.proper_operators
    directions = sample_directions(crystal, step, mirrored=half)
    grid = vectors(directions)
    cosine = np.max([grid @ operator @ grid.T for operator in operators], axis=0)
    np.fill_diagonal(cosine, -1)
    assert cosine.max() < 1 - 1e-9
    beams = np.random.default_rng(1).normal(size=(1000, 3))
    beams /= np.linalg.norm(beams, axis=1, keepdims=True)
    anywhere = np.rad2deg([np.arccos(beams[:, 2]), np.arctan2(beams[:, 0], beams[:, 1])]).T
    assert nearest_equivalent_deg(anywhere, directions, operators).max() < step


@pytest.mark.parametrize("half", [False, True])
def test_they_lie_in_the_documented_region(nickelate, half):
    euler = np.pad(sample_directions(nickelate, 2.0, mirrored=half), ((0, 0), (1, 0)))
    np.testing.assert_allclose(reduce_euler(euler, nickelate)[:, 1:], euler[:, 1:], atol=1e-6)
    assert euler[:, 1].max() <= 90 + 1e-6
    assert euler[:, 2].max() < 120


def test_the_first_of_an_orbit_is_kept(nickelate):
    beams = vectors(np.array([[40.0, 70.0], [10.0, 5.0], [40.0, 50.0], [40.0, 190.0]]))
    proper = first_of_orbits(beams, nickelate.proper_operators)
    assert proper.tolist() == [True, True, True, False]  # 190 = 70 + 120
    full = first_of_orbits(beams, full_operators(nickelate))
    assert full.tolist() == [True, True, False, False]  # 50 = 120 - 70


def test_nearest_equivalent(nickelate, chiral):
    first, others = np.array([[40.0, 71.0], [90.0, 10.0]]), np.array([[40.0, 50.0], [89.0, 50.0]])
    sine = np.sin(np.deg2rad(40.0))
    angles = nearest_equivalent_deg(first, others, full_operators(nickelate))
    np.testing.assert_allclose(angles, [sine, 1.0], atol=1e-3)
    angles = nearest_equivalent_deg(first, others, full_operators(chiral))
    np.testing.assert_allclose(angles, [21 * sine, 1.0], atol=0.1)


def test_the_mirrored_half_completes_the_sector(nickelate):
    half = np.pad(sample_directions(nickelate, 5.0, mirrored=True), ((0, 0), (1, 0)))
    both = reduce_euler(np.concatenate([half, mirrored(half, nickelate)]), nickelate)
    whole = reduce_euler(np.pad(sample_directions(nickelate, 5.0), ((0, 0), (1, 0))), nickelate)
    nearest = (beam_directions(whole) @ beam_directions(both).T).max(axis=1)
    assert np.rad2deg(np.arccos(np.clip(nearest, -1, 1))).max() < 5.0


@pytest.mark.parametrize("step", [0.0, -2.0, 50.0, float("nan")])
def test_refuses_a_senseless_step(nickelate, step):
    with pytest.raises(SettingsError, match="step_deg"):
        sample_directions(nickelate, step)


@pytest.mark.parametrize(
    ("text", "uvw"),
    [
        ("[10-10]", [2, 1, 0]),
        ("[1-100]", [1, -1, 0]),
        ("1 -1 0", [1, -1, 0]),
        ("<2,2,4>", [1, 1, 2]),
        ("[0001]", [0, 0, 1]),
        ("[10 0 -1]", [10, 0, -1]),
        ("[11-20]", [1, 1, 0]),
    ],
)
def test_zone_axes_are_read(nickelate, text, uvw):
    assert parse_zone_axis(text, nickelate).tolist() == uvw


@pytest.mark.parametrize("text", ["", "[1.5 0 0]", "abc", "[000]", "[10]", "1 -", "[1000]"])
def test_what_is_no_zone_axis(nickelate, text):
    with pytest.raises(SettingsError, match=r"zone axis|four indices"):
        parse_zone_axis(text, nickelate)


def test_the_beam_passes_along_the_zone_axis(nickelate):
    for uvw in ([2, 1, 0], [0, 0, 1], [1, -1, 3], [0, 0, -1]):
        euler = zone_axis_euler(np.array(uvw), nickelate, 33.0)
        axis = uvw @ nickelate.lattice_angstrom
        np.testing.assert_allclose(
            matrices_from_euler(euler)[:, 2], axis / np.linalg.norm(axis), atol=1e-12
        )
        assert euler[0] == 33


def test_four_indices_need_hexagonal_axes(cubic):
    with pytest.raises(SettingsError, match="no hexagonal axes: give three"):
        parse_zone_axis("[10-10]", cubic)
