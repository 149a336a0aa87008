import numpy as np
import pytest

from zoneaxis.diffraction.beams import BeamSelection
from zoneaxis.diffraction.directions import parse_zone_axis, zone_axis_euler
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.zone_axes import compare_zone_axes, first_laue_zone_inv_angstrom
from zoneaxis.errors import SettingsError

# [10-10] and [1-100]; Figure 9 of the paper.
PRISMS = np.array([[20.0, 90.0, 60.0], [20.0, 90.0, 120.0]])
TO_FIRST_ORDER = Optics(k_max_inv_angstrom=4.6)
THICKNESSES_NM = [10.0, 40.0, 80.0]


@pytest.fixture(scope="module")
def pair(nickelate):
    return compare_zone_axes(
        nickelate, TO_FIRST_ORDER, PRISMS, THICKNESSES_NM, selection=BeamSelection(0.1)
    )


def test_the_axes_are_those_of_the_paper(nickelate):
    for euler, uvw in zip(PRISMS, ([2, 1, 0], [1, -1, 0]), strict=True):
        axis = uvw @ nickelate.lattice_angstrom
        np.testing.assert_allclose(
            matrices_from_euler(euler)[:, 2], axis / np.linalg.norm(axis), atol=1e-12
        )


def test_prism_axes_are_alike_kinematically_and_not_dynamically(pair):
    assert pair.unpaired == (0, 0)
    assert pair.kinematic.shape == pair.dynamic.shape == (2, 3, len(pair.q_inv_angstrom))
    assert len(pair.q_inv_angstrom) > 100
    assert np.abs(pair.kinematic[0] - pair.kinematic[1]).max() <= 1e-6
    assert np.abs(pair.relative_difference("kinematic")).max() <= 1e-6
    assert np.abs(pair.dynamic[0] - pair.dynamic[1]).max(axis=1).min() > 1e-6
    bright = pair.dynamic.mean(axis=0) > 1e-3
    assert np.abs(pair.relative_difference("dynamic"))[bright].max() > 1e-3


def test_the_higher_zones_make_the_difference(nickelate):
    flat = compare_zone_axes(nickelate, Optics(k_max_inv_angstrom=1.5), PRISMS, THICKNESSES_NM)
    assert np.abs(flat.dynamic[0] - flat.dynamic[1]).max() < 1e-12


def test_spots_stand_where_the_orientation_puts_them(nickelate, pair):
    for hkl, euler in zip(pair.hkl, PRISMS, strict=True):
        q = hkl @ nickelate.reciprocal_inv_angstrom @ matrices_from_euler(euler)
        np.testing.assert_allclose(q[:, :2], pair.q_inv_angstrom, atol=1e-6)
        np.testing.assert_allclose(q[:, 2], 0, atol=1e-9)


def test_any_pair_works_and_strangers_share_little(nickelate):
    orientations = np.array([[0.0, 90.0, 60.0], [0.0, 0.0, 0.0]])
    pair = compare_zone_axes(nickelate, Optics(), orientations, [30.0])
    assert min(pair.unpaired) > 5
    assert len(pair.q_inv_angstrom) < 10


def test_refuses_another_number_of_orientations(nickelate):
    with pytest.raises(SettingsError, match=r"shape \(3,\)"):
        compare_zone_axes(nickelate, Optics(), PRISMS[0], [30.0])


def test_the_first_order_zone_is_where_beams_of_it_are_excited(nickelate):
    """Independent route: the smallest excitation error among reflections with h . uvw = 1."""
    for text in ("[10-10]", "[0001]", "[2-1-10]", "[241]"):
        uvw = parse_zone_axis(text, nickelate)
        radius = first_laue_zone_inv_angstrom(nickelate, TO_FIRST_ORDER, uvw)
        matrix = matrices_from_euler(zone_axis_euler(uvw, nickelate))
        hkl = np.indices((41, 41, 161)).reshape(3, -1).T - [20, 20, 80]
        hkl = hkl[hkl @ [-1, 1, 1] % 3 == 0]  # obverse
        g = hkl @ nickelate.reciprocal_inv_angstrom @ matrix
        height = np.unique(np.round(np.abs(g[:, 2]), 6))[1]
        k0 = 1 / TO_FIRST_ORDER.wavelength_angstrom
        assert radius == pytest.approx(np.sqrt(k0**2 - (k0 - height) ** 2), rel=1e-4)
