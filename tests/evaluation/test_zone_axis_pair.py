import numpy as np
import pytest
from matplotlib.figure import Figure

from zoneaxis.diffraction.directions import parse_zone_axis, sample_directions, zone_axis_euler
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.zone_axes import ZoneAxisPair
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.ambiguity import DirectionScores
from zoneaxis.evaluation.figures.zone_axis_figures import draw_zone_axes
from zoneaxis.evaluation.zone_axis_pair import bright_differences, zero_order_patterns

OPTICS = Optics(k_max_inv_angstrom=1.5)
FRAME = {"size": 40, "inv_angstrom_per_pixel": 0.05, "first_zone_inv_angstrom": 4.5}


@pytest.fixture
def euler(nickelate):
    axes = [parse_zone_axis(text, nickelate) for text in ("[10-10]", "[1-100]")]
    return np.stack([zone_axis_euler(uvw, nickelate, 20.0) for uvw in axes])


@pytest.fixture
def pair():
    kinematic = np.array([[[1.0, 0.2, 1e-5, 0.1]], [[1.0, 0.2, 5e-5, 0.1]]])
    dynamic = kinematic + np.array([[[0.0, 0.01, 0.0, 0.0]], [[0.0, -0.01, 0.0, 0.02]]])
    q = np.array([[0.0, 0.0], [0.4, 0.0], [0.8, 0.0], [0.0, 0.4]])
    return ZoneAxisPair(np.zeros((2, 4, 3), int), q, kinematic, dynamic, (0, 0))


def test_faint_spots_and_the_direct_beam_do_not_count(pair):
    kinematic, dynamic = (bright_differences(pair, kind) for kind in ("kinematic", "dynamic"))
    assert kinematic.mask.tolist() == [False, True, False]
    assert np.abs(kinematic).max() == 0
    np.testing.assert_allclose(dynamic[[0, 2]], [2 * 0.02 / 0.4, -2 * 0.02 / 0.22])


def test_patterns_without_higher_zones_are_the_same(nickelate, euler):
    """Only beams of higher Laue zones tell the two apart, and k_max leaves them out here."""
    first, second = zero_order_patterns(nickelate, OPTICS, euler, 40.0, **FRAME)
    assert first.shape == (40, 40)
    np.testing.assert_allclose(first, second, atol=1e-6)
    other = zero_order_patterns(nickelate, OPTICS, euler + np.array([0, 5, 0]), 40.0, **FRAME)
    assert np.abs(other[0] - first).max() > 1e-3


def test_a_frame_that_shows_the_ring_is_refused(nickelate, euler):
    wide = FRAME | {"first_zone_inv_angstrom": 1.4}
    with pytest.raises(SettingsError, match=r"reaches 1\.41 .* begins at 1\.32: take"):
        zero_order_patterns(nickelate, OPTICS, euler, 40.0, **wide)


@pytest.mark.parametrize("asked", [True, False])
def test_the_figure(nickelate, euler, pair, asked):
    directions = sample_directions(nickelate, 8.0)
    values = np.random.default_rng(0).random((2, len(directions)))
    scores = DirectionScores(nickelate, directions, values) if asked else None
    patterns = np.random.default_rng(0).random((2, 40, 40))
    figure = Figure((11, 7), layout="constrained")
    draw_zone_axes(figure, pair, patterns, euler, ("[10-10]", "[1-100]"), 0.05, 0.08, scores)
    figure.canvas.draw()
    titles = [ax.get_title() for ax in (figure.subfigs[0] if asked else figure).axes]
    assert titles[:4] == [
        "a: [10-10], dynamic",
        "b: [1-100], dynamic",
        "kinematic: at most 0",
        "dynamic: at most 0.18",
    ]
