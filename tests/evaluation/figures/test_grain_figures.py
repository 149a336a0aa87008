import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    euler_from_matrices,
    matrices_from_euler,
)
from zoneaxis.evaluation.boundaries import Twin, find_boundaries
from zoneaxis.evaluation.figures import grain_figures
from zoneaxis.evaluation.figures.map_figures import ipf_colors
from zoneaxis.evaluation.grains import find_grains
from zoneaxis.scans.orientation_map import OrientationMap


@pytest.fixture
def grains(nickelate):
    """Two columns of grains: a false friend on the left, another orientation on the right."""
    base = matrices_from_euler(np.array([20.0, 50.0, 70.0]))
    other = matrices_from_euler(np.array([200.0, 30.0, 10.0]))
    euler = euler_from_matrices(np.stack([base, base @ ROTATE_180_ABOUT_BEAM, other]))
    kind = np.kron([[0, 2, -1], [1, 2, -1]], np.ones((4, 5), int))
    ones = np.ones((*kind.shape, 1), np.float32)
    map = OrientationMap.of_crystal(
        nickelate, euler[kind][:, :, None], ones, ones[..., 0], kind >= 0, 500.0
    )
    return find_grains(map, largest_hole=0)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def lines(ax):
    return [c for c in ax.collections if isinstance(c, LineCollection)]


def test_grain_map_colors_the_means_and_marks_boundaries(ax, grains):
    grain_figures.grain_map(ax, grains, find_boundaries(grains))
    image = ax.images[0].get_array()
    expected = ipf_colors(grains.mean_map)
    np.testing.assert_allclose(image[grains.labels >= 0], expected[grains.labels >= 0])
    np.testing.assert_allclose(image[grains.labels < 0], grain_figures.NO_GRAIN)
    assert ax.get_ylim() == (7.5, -0.5)  # origin in the upper left
    drawn = {c.get_color()[0][:3].tobytes(): c.get_segments() for c in lines(ax)[1:]}
    assert sorted(len(segments) for segments in drawn.values()) == [0, 5, 8]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["boundary", "false friend, likely misindexed"]


def test_segments_lie_between_the_points(grains):
    boundaries = find_boundaries(grains)
    segments, number = grain_figures._segments(boundaries, boundaries.suspicious)
    assert (segments[:, :, 1] == 3.5).all()
    assert (segments[:, 1] - segments[:, 0] == [1, 0]).all()
    assert set(number) == {0} or boundaries.suspicious[list(set(number))].all()
    others, _ = grain_figures._segments(boundaries, ~boundaries.suspicious)
    assert (others[:, :, 0] == 4.5).all()


def test_without_boundaries_there_are_no_lines(ax, grains):
    grain_figures.grain_map(ax, grains)
    assert not lines(ax)
    assert ax.get_legend() is None


def test_boundary_map_colors_by_misorientation(ax, grains):
    boundaries = find_boundaries(grains)
    grain_figures.boundary_map(ax, boundaries)
    colored = lines(ax)[-1]
    assert colored.get_array().size == 13
    assert set(np.unique(colored.get_array())) == set(boundaries.misorientation_deg)
    assert colored.get_clim()[1] >= boundaries.misorientation_deg.max()


def test_boundary_histogram_is_weighted_by_length(ax, grains):
    grain_figures.boundary_histogram(ax, find_boundaries(grains))
    shown = {patch.get_label(): patch.get_data().values.sum() for patch in ax.patches}
    assert shown["all"] == pytest.approx(100)
    assert shown["false friends"] == pytest.approx(100 * 5 / 13)
    assert shown["random"] == pytest.approx(100)


def test_size_histogram_counts_grains_and_area(ax, grains):
    grain_figures.grain_size_histogram(ax, grains)
    assert [patch.get_data().values.sum() for patch in ax.patches] == pytest.approx([100, 100])
    assert "(µm)" in ax.get_xlabel()


def test_the_figure_is_written(tmp_path, grains, nickelate):
    path = tmp_path / "grains.png"
    boundaries = find_boundaries(grains, [Twin(60.0, (0, 0, 1))])
    grain_figures.write_grains_figure(path, grains, boundaries)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_single_grain_can_be_drawn(tmp_path, nickelate):
    ones = np.ones((4, 4, 1), np.float32)
    euler = np.zeros((4, 4, 1, 3))
    map = OrientationMap.of_crystal(nickelate, euler, ones, ones[..., 0], ones[..., 0] > 0, 1.0)
    grains = find_grains(map)
    path = tmp_path / "one.png"
    grain_figures.write_grains_figure(path, grains, find_boundaries(grains))
    assert path.is_file()
