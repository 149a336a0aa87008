import numpy as np
import pytest
from matplotlib.figure import Figure

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.figures.overlay_figures import draw_overlay, miller_label
from zoneaxis.evaluation.overlay import (
    color_merged,
    overlay,
    shared_spots,
    simulated_spots,
    template_pattern,
)

OPTICS, PIXEL = Optics(k_max_inv_angstrom=0.9), 0.04
EULER = np.array([130.0, 37.0, 71.0])


@pytest.fixture(scope="module")
def spots(nickelate):
    return simulated_spots(EULER, nickelate, OPTICS, 35.0)


@pytest.fixture(scope="module")
def measured(nickelate):
    disks = bloch_disks(nickelate, OPTICS, EULER[None, 1:], np.array([35.0]))
    return 1e5 * render(disks, 48, PIXEL, float(EULER[0]), (25.0, 23.0))[0, 0].numpy()


def test_spots_stand_where_the_crystal_puts_them(nickelate, spots):
    q = spots.hkl @ nickelate.reciprocal_inv_angstrom @ matrices_from_euler(EULER)
    np.testing.assert_allclose(spots.q_inv_angstrom, q[:, :2], atol=1e-5)
    assert (np.diff(spots.intensity) <= 0).all()
    assert np.abs(spots.hkl).sum(axis=1).min() > 0


def test_spots_lie_on_the_disks_of_the_pattern(measured, spots):
    places = spots.place_px(PIXEL, (25.0, 23.0))
    inside = ((places > 2) & (places < 45)).all(axis=1)
    columns, rows = np.round(places[inside]).astype(int).T
    assert np.median(measured[rows, columns]) > 100 * np.median(measured)
    assert measured[rows[0], columns[0]] > np.percentile(measured, 98)


def test_an_overlay_holds_what_the_figure_shows(nickelate, measured):
    found = overlay(measured, EULER, nickelate, OPTICS, PIXEL)
    assert found.fit.thickness_nm == 35
    assert found.fit.correlation > 0.99
    assert found.template.shape == measured.shape
    figure = Figure((13, 4), layout="constrained")
    draw_overlay(figure, found, ("a.h5", "b.ang"))
    figure.canvas.draw()
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "measured, disks of a.h5"
    assert titles[1] == "dynamic, a.h5, best at 35 nm"
    assert titles[3] == "kinematic, b.ang"
    for ax in figure.axes:  # all in the pattern's frame, origin in the upper left
        assert ax.get_xlim() == (-0.5, 47.5)
        assert ax.get_ylim() == (47.5, -0.5)


def test_a_reference_has_a_template_of_its_own(nickelate, measured):
    other = np.array([10.0, 80.0, 20.0])
    found = overlay(measured, EULER, nickelate, OPTICS, PIXEL, reference_euler_deg=other)
    expected = template_pattern(other, nickelate, OPTICS, (48, 48), PIXEL, found.fit.center_px)
    np.testing.assert_array_equal(found.template, expected)


def test_templates_know_symmetry_and_turn_with_phi1(nickelate):
    settings = nickelate, OPTICS, (49, 49), PIXEL, (24.0, 24.0)
    pattern = template_pattern(EULER, *settings)
    turned = template_pattern(EULER + np.array([90, 0, 0]), *settings)
    np.testing.assert_allclose(np.rot90(pattern, -1), turned, atol=1e-3)
    same = template_pattern(EULER + np.array([0, 0, 120]), *settings)
    np.testing.assert_allclose(pattern, same, atol=1e-3)


def test_spots_in_both(nickelate, spots):
    assert all(shared.all() for shared in shared_spots(spots, spots))
    turned = simulated_spots(EULER + np.array([180, 0, 0]), nickelate, OPTICS, 35.0)
    opposite = simulated_spots(EULER + np.array([7, 0, 0]), nickelate, OPTICS, 35.0)
    counts = [shared_spots(spots, other)[0].sum() for other in (turned, opposite)]
    assert counts[0] > counts[1]
    first, second = shared_spots(spots, turned)
    assert first.shape == (len(spots.hkl),)
    assert second.shape == (len(turned.hkl),)


def test_colors_add_up_to_white():
    one, none = np.ones((2, 2)), np.zeros((2, 2))
    np.testing.assert_array_equal(color_merged(one, one), 1.0)
    np.testing.assert_array_equal(color_merged(none, none), 0.0)
    orange, blue = color_merged(one, none)[0, 0], color_merged(none, one)[0, 0]
    assert orange[0] > 0.9 > 0.1 > orange[2]
    assert blue[2] > 0.9 > 0.1 > blue[0]
    with pytest.raises(SettingsError, match="cannot be merged"):
        color_merged(one, np.ones((3, 2)))


def test_miller_labels():
    assert miller_label(np.array([1, -1, 0])) == r"$1\bar{1}0$"
    assert miller_label(np.array([-2, 0, 12])) == r"$\bar{2}\,0\,12$"
