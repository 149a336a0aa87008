import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from zoneaxis.evaluation.figures.pattern_figures import log_scaled, pattern_pair


def test_patterns_have_titles_and_a_scale():
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    rng = np.random.default_rng(0)
    pattern_pair(
        figure, rng.poisson(1.0, (48, 64)), {"simulated: network": rng.random((48, 64))}, 0.025
    )
    figure.savefig(io.BytesIO(), format="png")
    shown = {text.get_text() for text in figure.findobj(Text)}
    assert {"measured", "simulated: network", "0.2 Å$^{-1}$"} <= shown


def test_log_scale_ignores_direct_beam_and_bad_pixels():
    pattern = np.full((33, 33), 1e-3)
    pattern[16, 16] = 1e6
    pattern[4, 4:7] = 1.0
    pattern[0, :3] = np.nan, -5.0, np.inf
    scaled = log_scaled(pattern, direct_beam_px=2)
    assert np.isfinite(scaled).all()
    assert (scaled[16, 16], scaled[4, 5]) == (1, 1)
    assert scaled[0, :3].tolist() == [0, 0, 0]
    assert log_scaled(np.zeros((8, 8))).max() == 0


def test_a_displaced_direct_beam_is_left_out_of_the_scale():
    pattern = np.zeros((32, 32))
    pattern[18:21, 12:15] = 1e6
    pattern[4, 4:7] = 1.0
    assert log_scaled(pattern, 2, center_px=(13.0, 19.0))[4, 5] == 1
    assert log_scaled(pattern, 2)[4, 5] == 0
