import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.evaluation.figures import pole_figures
from zoneaxis.scans.orientation_map import OrientationMap


def map_of(crystal, euler_deg):
    """A map with a row of points, the last of them not indexed."""
    euler = np.reshape(np.asarray(euler_deg, float), (1, -1, 1, 3))
    ones = np.ones(euler.shape[:3], np.float32)
    indexed = np.ones(euler.shape[:2], bool)
    indexed[0, -1] = False
    return OrientationMap.of_crystal(crystal, euler, ones, ones[..., 0], indexed, 1.0)


@pytest.mark.parametrize(
    ("hkl", "count", "euler", "pole"),
    [
        ((0, 0, 1), 2, (0, 0, 0), (0, 0, 1)),
        ((0, 0, 1), 2, (0, 90, 0), (0, -1, 0)),  # c lies along -y: G rotates by Phi about x
        ((1, 1, 0), 6, (0, 0, 0), (0.5, np.sqrt(3) / 2, 0)),
        ((1, 1, 0), 6, (30, 0, 0), (0, 1, 0)),
    ],
)
def test_poles_stand_where_the_orientation_puts_them(nickelate, hkl, count, euler, pole):
    found = pole_figures.pole_directions(map_of(nickelate, [euler, (1, 2, 3)]), hkl)
    assert found.shape == (count, 3)
    assert np.abs(found - pole).max(axis=1).min() < 1e-6
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-6)


def test_poles_are_those_of_orix(nickelate):
    from orix.quaternion import Orientation
    from orix.vector import Miller

    euler = (40.0, 70.0, 25.0)
    turn = Orientation.from_euler(np.deg2rad([euler]), nickelate.point_group)
    plane = Miller(hkl=[[1, 0, 4]], phase=nickelate.phase).symmetrise(unique=True)
    expected = (~turn * plane.unit).data.reshape(-1, 3)
    found = pole_figures.pole_directions(map_of(nickelate, [euler, euler]), (1, 0, 4))
    assert len(found) == len(expected) == 6
    for pole in found:
        assert np.abs(expected - pole).max(axis=1).min() < 1e-6


def test_random_directions_are_of_density_one_and_poles_at_their_place():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(400_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    density = pole_figures.density(directions)
    y, x = (np.indices(density.shape) + 0.5) * 4 / pole_figures.CELLS - 2
    inside = np.hypot(x, y) < pole_figures.RIM
    assert density[inside].mean() == pytest.approx(1, abs=0.01)
    assert density[inside].std() < 0.15
    peak = pole_figures.density(np.array([[0.6, -0.48, 0.64]]))
    place = np.unravel_index(peak.argmax(), peak.shape)
    radius = 2 * np.sin(np.arccos(0.64) / 2)
    np.testing.assert_allclose(
        (x[place], y[place]), radius * np.array([0.6, -0.48]) / np.hypot(0.6, 0.48), atol=0.02
    )


def test_figures_draw_with_names_and_the_frame_of_maps(nickelate):
    some = map_of(nickelate, np.random.default_rng(0).uniform([0, 0, 0], [360, 90, 120], (9, 3)))
    figure = Figure(figsize=(7, 2), layout="constrained")
    axes = pole_figures.pole_figures(figure, some)
    assert [ax.get_title() for ax in axes] == list(pole_figures.POLES["trigonal"])
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # y down
    figure.savefig(io.BytesIO(), format="png")
    assert pole_figures.plane_names(nickelate) == "{0001}, {10-10}, {11-20}"


def test_the_beam_is_dense_where_the_crystals_point(nickelate):
    """All beams along [0001]: the corner of the sector is bright, the rest empty."""
    figure = Figure(figsize=(3, 2), layout="constrained")
    turned = [(phi1, 0, 0) for phi1 in range(0, 50, 10)]
    assert np.allclose(matrices_from_euler(np.array(turned, float))[:, 2, 2], 1)
    ax = pole_figures.beam_density(figure, map_of(nickelate, turned))
    drawn = ax.collections[0].get_array()
    place = ax.collections[0].get_coordinates()[:-1, :-1]
    distance = np.hypot(place[..., 0], place[..., 1])
    assert drawn[distance < 0.02].max() > 50
    assert drawn[distance > 0.3].max() < 0.1
