import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from zoneaxis.evaluation.figures.image_axes import color_bar, draw_map, robust_limits, round_length


@pytest.mark.parametrize(
    ("length", "expected"), [(1.0, 1), (1.99, 1), (4.9, 2), (73, 50), (0.031, 0.02), (1e4, 1e4)]
)
def test_lengths_are_rounded_down_to_1_2_5(length, expected):
    assert round_length(length) == pytest.approx(expected)


@pytest.mark.parametrize(("step_nm", "label"), [(0.5, "5 nm"), (50.0, "500 nm"), (200.0, "2 µm")])
def test_scale_bar_has_a_readable_unit(step_nm, label):
    ax = Figure().add_subplot()
    draw_map(ax, np.zeros((20, 40)), step_nm)
    texts = ax.findobj(lambda artist: hasattr(artist, "get_text"))
    assert label in [text.get_text() for text in texts]


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (30, 20), (1, 1)])
def test_any_shape_draws_with_a_color_bar(shape):
    figure = Figure(figsize=(3, 3), layout="constrained")
    ax = figure.add_subplot()
    color_bar(draw_map(ax, np.zeros(shape), 1.0, vmin=0, vmax=1), ax, "score")
    figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("values", [[np.nan, np.nan], [2.0, 2.0], [0.0, np.nan]])
def test_limits_are_apart(values):
    low, high = robust_limits(np.array(values))
    assert high > low
