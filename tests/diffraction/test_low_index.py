import numpy as np
import pytest
from orix.crystal_map import Phase
from orix.vector import Miller
from scipy.stats import uniform_direction

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.low_index import (
    direction_label,
    low_index_directions,
    nearest_direction,
)


def crystal_of(space_group, *cell):
    return Crystal(
        "x", cell, space_group, *(np.zeros(1, int), np.zeros((1, 3)), np.ones(1), np.ones(1))
    )


CUBIC = 4.0, 4.0, 4.0, 90.0, 90.0, 90.0
HEXAGONAL = 3.2, 3.2, 5.2, 90.0, 90.0, 120.0


@pytest.mark.parametrize(
    ("space_group", "cell", "first"),
    [
        (221, CUBIC, ["[001]", "[111]", "[011]"]),
        (225, CUBIC, ["[001]", "[111]", "[011]", "[112]"]),
        (229, CUBIC, ["[001]", "[111]", "[011]"]),
        (194, HEXAGONAL, ["[0001]", "[11-20]", "[10-10]"]),
        (62, (5.0, 6.0, 7.0, 90.0, 90.0, 90.0), ["[100]", "[010]", "[001]"]),
    ],
)
def test_main_axes_come_first(space_group, cell, first):
    crystal = crystal_of(space_group, *cell)
    found = low_index_directions(crystal, 10.0)
    assert [direction_label(uvw, crystal) for uvw in found[: len(first)]] == first


def test_a_rhombohedral_lattice_is_obverse(nickelate):
    """[10-11] is three times denser than [01-11]: a third of [211] is a lattice vector."""
    names = [direction_label(uvw, nickelate) for uvw in low_index_directions(nickelate, 5.0)]
    assert names.index("[10-11]") < names.index("[02-21]") < names.index("[01-11]")


@pytest.mark.parametrize("apart_deg", [10.0, 20.0])
def test_directions_are_apart_and_cover_the_sphere(nickelate, apart_deg):
    uvw = low_index_directions(nickelate, apart_deg)
    vectors = uvw @ nickelate.lattice_angstrom
    for i in range(1, len(uvw)):
        _, away = nearest_direction(vectors[[i]], uvw[:i], nickelate)
        assert away[0] >= apart_deg - 1e-6
    _, away = nearest_direction(uniform_direction(3, seed=0).rvs(1000), uvw, nickelate)
    assert np.mean(away <= apart_deg) > 0.9


def test_equivalents_and_opposites_are_one_direction(nickelate):
    uvw = low_index_directions(nickelate, 12.0)
    vectors = uvw @ nickelate.lattice_angstrom
    for operator in nickelate.proper_operators:
        number, away = nearest_direction(-vectors @ operator.T, uvw, nickelate)
        np.testing.assert_array_equal(number, range(len(uvw)))
        assert away.max() < 1e-5


def test_four_indices_are_those_of_orix(nickelate):
    phase = Phase(point_group="-3m", structure=nickelate.phase.structure)
    for uvw in ([1, 0, 0], [2, 1, 0], [0, 0, 1], [2, 1, 1], [1, -1, 2]):
        four = Miller(uvw=uvw, phase=phase).UVTW[0]
        mine = direction_label(np.array(uvw), nickelate)
        smallest = np.abs(four[np.abs(four) > 1e-6]).min()
        for factor in (1, 2, 3):
            scaled = four / smallest * factor
            if np.allclose(scaled, np.round(scaled)):
                break
        assert mine == "[" + "".join(str(round(i)) for i in scaled) + "]"


def test_large_indices_are_apart():
    assert direction_label(np.array([11, 0, -2]), crystal_of(221, *CUBIC)) == "[11 0 -2]"
