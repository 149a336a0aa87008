import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from zoneaxis.diffraction.orientations import ROTATE_180_ABOUT_BEAM, euler_from_matrices
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.figures import map_figures
from zoneaxis.evaluation.thresholds import Threshold
from zoneaxis.scans.orientation_map import OrientationMap


@pytest.fixture
def pair(nickelate):
    """A map with a not-indexed corner of NaN, and a reference of another."""
    rng = np.random.default_rng(0)
    reference = rng.uniform([0, 5, 0], [360, 85, 120], (7, 9, 1, 3))
    euler = reference + rng.normal(0, 1, reference.shape)
    indexed = np.ones((2, 7, 9), bool)
    indexed[0, :2, :2] = indexed[1, -2:, -2:] = False
    euler[:2, :2] = np.nan
    return tuple(
        OrientationMap.of_crystal(
            crystal=nickelate,
            euler_deg=angles,
            score=rng.random((7, 9, 1)).astype(np.float32),
            reliability=rng.random((7, 9)).astype(np.float32),
            indexed=mask,
            step_nm=25.0,
            properties={"thickness_nm": np.full((7, 9), 40.0)},
        )
        for angles, mask in zip((euler, reference), indexed, strict=True)
    )


@pytest.fixture
def ax():
    return Figure(figsize=(3, 3), layout="constrained").add_subplot()


def drawn(ax):
    """Render, so that layout and text are exercised; return the strings shown."""
    ax.figure.savefig(io.BytesIO(), format="png")
    return [text.get_text() for text in ax.figure.findobj(lambda a: hasattr(a, "get_text"))]


def one_point(crystal, euler_deg):
    return OrientationMap.of_crystal(
        crystal=crystal,
        euler_deg=np.reshape(np.asarray(euler_deg, float), (1, 1, 1, 3)),
        score=np.ones((1, 1, 1), np.float32),
        reliability=np.ones((1, 1), np.float32),
        indexed=np.ones((1, 1), bool),
        step_nm=1.0,
    )


@pytest.mark.parametrize(
    ("euler_deg", "color"),
    [((40, 0, 0), "red"), ((0, 90, 60), "blue"), ((0, 90, 120), "lime")],
)
def test_beam_along_the_corners_of_the_key_has_their_colors(nickelate, euler_deg, color):
    from matplotlib.colors import to_rgb

    found = map_figures.ipf_colors(one_point(nickelate, euler_deg))[0, 0]
    np.testing.assert_allclose(found, to_rgb(color), atol=0.01)


def test_colors_are_those_of_orix_and_obey_symmetry(pair):
    from orix.plot import IPFColorKeyTSL
    from orix.quaternion import Orientation
    from orix.vector import Vector3d

    reference = pair[1]
    symmetry = reference.crystal.point_group
    orientations = Orientation.from_euler(reference.euler_deg[..., 0, :], symmetry, degrees=True)
    for direction, vector in (("z", Vector3d.zvector()), ("x", Vector3d.xvector())):
        expected = IPFColorKeyTSL(symmetry, vector).orientation2color(orientations)
        found = map_figures.ipf_colors(reference, direction)
        np.testing.assert_allclose(found[reference.indexed], expected[reference.indexed], atol=1e-6)
    friend = OrientationMap.of_crystal(
        reference.crystal,
        euler_from_matrices(reference.matrices @ ROTATE_180_ABOUT_BEAM)[:, :, None],
        reference.score,
        reference.reliability,
        reference.indexed,
        reference.step_nm,
    )
    np.testing.assert_allclose(
        map_figures.ipf_colors(friend), map_figures.ipf_colors(reference), atol=1e-6
    )


def test_points_without_orientation_are_black(pair, ax):
    colors = map_figures.ipf_colors(pair[0])
    assert (colors[:2, :2] == 0).all()
    assert colors[pair[0].indexed].max(axis=-1).min() > 0.4
    assert np.isfinite(colors).all()


def test_ipf_map_starts_at_the_upper_left_and_has_a_scale_bar(pair, ax):
    map_figures.ipf_map(ax, pair[0])
    assert ax.images[0].origin == "upper"
    np.testing.assert_array_equal(ax.images[0].get_array()[0, 0], 0)
    assert "50 nm" in drawn(ax)


def test_key_has_labels_at_its_corners(nickelate):
    figure = Figure(figsize=(3, 3), layout="constrained")
    ax = map_figures.ipf_key(figure, nickelate)
    assert r"[$0 0 0 1$]" in drawn(ax)


def test_maps_draw_with_units(pair, ax):
    comparison = compare(*pair)
    map_figures.misorientation_map(ax, comparison, 25.0)
    assert ax.images[0].get_array().mask.sum() == 8
    assert {"misorientation (°)", "50 nm"} <= set(drawn(ax))


@pytest.mark.parametrize("quantity", ["score", "reliability", "thickness_nm"])
def test_confidence_map_has_a_labelled_bar(pair, ax, quantity):
    map_figures.confidence_map(ax, pair[0], quantity)
    assert quantity in drawn(ax)


def test_agreement_map_counts_points(pair, ax):
    map_figures.agreement_map(ax, compare(*pair), 25.0, ("network", "truth"))
    assert {"both: 55", "network only: 4", "truth only: 4", "neither: 0"} <= set(drawn(ax))


def test_histogram_shares_add_up(pair, ax):
    map_figures.misorientation_histogram(ax, compare(*pair))
    for patch in ax.patches:
        assert patch.get_data().values.sum() == pytest.approx(100)
    assert {"raw", "modulo 60° about c", "misorientation (°)"} <= set(drawn(ax))


def test_histogram_of_perfect_agreement(pair, ax):
    map_figures.misorientation_histogram(ax, compare(pair[1], pair[1]))
    drawn(ax)


def test_risk_coverage_names_both_confidences(pair, ax):
    map_figures.risk_coverage(ax, compare(*pair))
    assert {"score", "reliability"} <= set(drawn(ax))


def test_risk_coverage_marks_a_threshold(pair, ax):
    chosen = Threshold("reliability", 0.125, 0.8, 0.02, 0.04, 0.05)
    map_figures.risk_coverage(ax, compare(*pair), [chosen])
    star = next(line for line in ax.lines if line.get_marker() == "*")
    np.testing.assert_allclose(star.get_xydata(), [[80, 2]])
    assert "0.125" in drawn(ax)


def test_pyplot_keeps_no_figure(pair, nickelate):
    map_figures.ipf_key(Figure(), nickelate)
    from matplotlib import pyplot

    assert not pyplot.get_fignums()
