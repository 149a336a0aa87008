"""The layered oxide's own parts: how maps differ, which of two fits better, the page's figure."""

import importlib
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from map_samples import random_map

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    euler_from_matrices,
    matrices_from_euler,
)
from zoneaxis.evaluation.pattern_fit import correlation, fit_pattern
from zoneaxis.scans.orientation_map import OrientationMap

ROOT = Path(__file__).parents[2]
OPTICS = Optics(k_max_inv_angstrom=0.8)
SIZE, PIXEL, THICKNESS_NM = 40, 0.05, 30.0
TRUTH = np.array([40.0, 35.0, 20.0])
BESIDE_ZONE = np.array([40.0, 87.0, 59.0])  # 3 degrees from [10-10]
ZONE = np.array([np.sqrt(3) / 2, 0.5, 0.0])
HALF_TURN = 2 * np.outer(ZONE, ZONE) - np.eye(3)
SIXTH_TURN = matrices_from_euler(np.array([60.0, 0.0, 0.0]))


def script(name: str, folder: str) -> pytest.fixture:
    @pytest.fixture
    def module(monkeypatch) -> ModuleType:
        monkeypatch.syspath_prepend(ROOT / folder)
        return importlib.import_module(name)

    return module


judge = script("dynamical_judge", "benchmarks")
bench = script("bench_layered_oxide", "benchmarks")
figure = script("make_layered_oxide_figure", "docs")


@pytest.fixture(scope="module")
def fit(nickelate):
    """Orientation -> simulated pattern beside that of `TRUTH`."""
    blank = np.zeros((SIZE, SIZE), np.float32)
    blank[SIZE // 2, SIZE // 2] = 1
    settings = {"crystal": nickelate, "optics": OPTICS, "inv_angstrom_per_pixel": PIXEL}
    pattern = fit_pattern(blank, TRUTH, thickness_nm=THICKNESS_NM, **settings).pattern
    return partial(fit_pattern, pattern, thickness_nm=THICKNESS_NM, **settings)


def one_point_map(crystal, euler_deg: np.ndarray) -> OrientationMap:
    ones = np.ones((1, 1, 1), np.float32)
    return OrientationMap.of_crystal(
        crystal, euler_deg[None, None, None], ones, ones[..., 0], np.ones((1, 1), bool), 1.0
    )


def test_the_kinds_of_difference(judge, nickelate):
    truth = matrices_from_euler(TRUTH)
    beside_zone = matrices_from_euler(BESIDE_ZONE)
    pairs = [
        (truth, truth),
        (beside_zone, HALF_TURN @ beside_zone),
        (truth, SIXTH_TURN @ truth),
        (truth, truth @ ROTATE_180_ABOUT_BEAM),
        (truth, SIXTH_TURN @ truth @ ROTATE_180_ABOUT_BEAM),
        (truth, matrices_from_euler(TRUTH + np.array([0, 20, 0]))),
    ]
    first, second = (np.stack(column) for column in zip(*pairs, strict=True))
    assert judge.kinds(first, second, nickelate).tolist() == [*range(6)]
    assert judge.kinds(second, first, nickelate).tolist() == [*range(6)]


def test_a_half_turn_about_a_zone_axis_near_the_beam_shows_in_no_pattern(fit):
    truth = matrices_from_euler(BESIDE_ZONE)
    patterns = [
        fit(euler_from_matrices(matrix)).pattern
        for matrix in (truth, HALF_TURN @ truth, truth @ ROTATE_180_ABOUT_BEAM)
    ]
    radius_px = OPTICS.disk_radius_inv_angstrom / PIXEL
    assert correlation(patterns[0], patterns[1], radius_px) > 0.999
    assert correlation(patterns[0], patterns[2], radius_px) < 0.9


def test_the_search_climbs_to_the_orientation(judge, fit):
    start = euler_from_matrices(matrices_from_euler(TRUTH) @ judge._turns(1.6)[3])
    assert fit(start).correlation < 0.93
    assert judge.best_fit(fit, start).correlation > 0.97


def test_dynamical_patterns_speak_for_the_right_map(judge, fit, nickelate):
    pattern = fit.args[0]
    scan = SimpleNamespace(
        read=lambda rows, cols: pattern[None, None], inv_angstrom_per_pixel=PIXEL
    )
    friend = euler_from_matrices(SIXTH_TURN @ matrices_from_euler(TRUTH))
    maps = one_point_map(nickelate, TRUTH), one_point_map(nickelate, friend)
    (verdict,) = judge.judge(scan, *maps, np.array([[0, 0]]), OPTICS)
    assert verdict.fits[0] > 0.97 > 0.8 > max(verdict.fits[1], verdict.alike)


def test_what_is_usual_where_maps_agree_says_nothing(judge):
    agreeing = [judge.Verdict((0.7, 0.7 + d), 0.9) for d in np.linspace(-0.02, 0.02, 41)]
    margin = judge.usual_difference(agreeing)
    assert 0.015 < margin < 0.02
    differing = [judge.Verdict(fits, 0.5) for fits in [(0.8, 0.7), (0.7, 0.69), (0.6, 0.7)]]
    figures = judge.tally(differing, margin)
    assert [figures[f"for_{who}"] for who in ("map", "reference", "neither")] == [1, 1, 1]
    assert figures["median_fit_map"] == figures["median_fit_reference"] == 0.7


def test_every_network_is_compared_with_reference_and_templates(bench):
    pairs = bench.pairs(dict.fromkeys(["acom.ang", "templates", "network", "refined"]))
    assert [b for _, b in pairs] == ["acom.ang"] * 3 + ["templates"] * 2


def test_a_map_differs_from_itself_nowhere(bench, shared_data):
    folder = shared_data / "third_party" / "layered_oxide"
    crystal = bench.corrected_crystal(folder / "LCO.cif")
    reference = OrientationMap.load(folder / "acom.ang", crystal)
    agree, *others = bench.how_they_differ(reference, reference, None, judged=0)["kinds"]
    assert agree["share"] == 1
    assert not any(kind["points"] for kind in others)
    assert 0.4 < bench.grain_figures(reference)["false_friends_share_of_length"] < 0.6


def test_the_figure_shows_the_maps(figure, tmp_path, nickelate):
    for seed, name in enumerate(figure.TITLES):
        random_map((nickelate,), (20, 15), seed=seed).save(tmp_path / f"{name}.h5")
    figure.main(tmp_path, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
