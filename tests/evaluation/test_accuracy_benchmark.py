"""The yardstick's own parts: held-out patterns, scans of draws, figures, tables."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE, PIXEL = 32, 0.1


def benchmark(name: str) -> pytest.fixture:
    @pytest.fixture
    def module(monkeypatch) -> ModuleType:
        monkeypatch.syspath_prepend(BENCHMARKS)
        return importlib.import_module(name)

    return module


held_out = benchmark("held_out")
sets = benchmark("accuracy_sets")
methods = benchmark("accuracy_methods")
table = benchmark("accuracy_table")
bench = benchmark("bench_accuracy")


@pytest.fixture
def three(sets):
    """Three patterns of a row, the last one of vacuum."""
    patterns = np.full((3, SIZE, SIZE), 1 / SIZE**2, np.float32)
    euler = np.array([[10.0, 30.0, 20.0], [200.0, 70.0, 50.0], [0.0, 0.0, 0.0]])
    return sets.PatternSet(
        name="plain",
        shape=(1, 3),
        patterns=patterns,
        matrices=matrices_from_euler(euler),
        thickness_nm=np.array([20.0, 50.0, 0.0]),
        crystalline=np.array([True, True, False]),
        inv_angstrom_per_pixel=PIXEL,
        optics=Optics(),
    )


def test_held_out_patterns_are_where_their_angles_say(nickelate, held_out):
    recipe = held_out.HeldOut(n=6, size=128, inv_angstrom_per_pixel=0.03125, k_max_inv_angstrom=2.0)
    made = held_out.simulate(nickelate, recipe)
    inside = made["pattern"].sum(axis=(1, 2))
    assert ((inside > 0.5) & (inside < 1.07)).all()
    assert np.ptp(made["thickness_nm"]) > 10
    found = TemplateIndexer(nickelate, Optics(k_max_inv_angstrom=1.8)).index(
        made["pattern"], recipe.inv_angstrom_per_pixel
    )
    errors = misorientation_deg(
        matrices_from_euler(found.euler_deg[:, 0]),
        matrices_from_euler(made["euler"]),
        nickelate.proper_operators,
    )
    assert np.median(errors) < 0.7


def test_held_out_patterns_are_simulated_once(nickelate, held_out, monkeypatch, tmp_path):
    recipe = held_out.HeldOut(n=2, size=64, inv_angstrom_per_pixel=0.0625)
    first = held_out.held_out(nickelate, recipe, tmp_path)
    monkeypatch.setattr(held_out, "simulate", lambda *_: pytest.fail("simulated again"))
    again = held_out.held_out(nickelate, recipe, tmp_path)
    assert {name: values.tolist() for name, values in first.items()} == {
        name: values.tolist() for name, values in again.items()
    }


def test_other_recipes_have_other_patterns(nickelate, held_out, tmp_path):
    recipe = held_out.HeldOut(n=2, size=64, inv_angstrom_per_pixel=0.0625)
    for other in (recipe, replace(recipe, seed=1), replace(recipe, precession_deg=0.1)):
        held_out.held_out(nickelate, other, tmp_path)
    euler = [np.load(path)["euler"] for path in tmp_path.iterdir()]
    assert len(np.unique(np.concatenate(euler), axis=0)) == 3 * 2


@pytest.mark.parametrize(
    ("shape", "most", "points"),
    [
        ((5, 64), None, (5, 64)),
        ((5, 64), 320, (5, 64)),
        ((5, 64), 200, (3, 64)),
        ((5, 64), 4, (1, 4)),
        ((1, 24), 64, (1, 24)),
    ],
)
def test_slow_methods_get_the_first_rows(sets, shape, most, points):
    assert np.zeros(shape)[sets.part(shape, most)].shape == points


def test_scans_hold_a_row_for_each_draw(sets, three, tmp_path):
    exposure = sets.Exposure(counts=1e5, draws=2)
    files = sets.write_scans(three, exposure, tmp_path, "key")
    exact, noisy, displaced = (Scan.open(files[c]).patterns.compute() for c in "abc")
    np.testing.assert_array_equal(exact[0], three.patterns * np.float32(1e5))
    assert exact.shape[:2] == (1, 3)
    assert noisy.shape == displaced.shape == (2, 3, SIZE, SIZE)
    assert noisy.dtype == np.uint16
    assert np.abs(noisy.sum(axis=(2, 3)) / 1e5 - 1).max() < 0.02
    assert (noisy[0] != noisy[1]).any()


def test_scans_are_written_once(sets, three, tmp_path):
    files = sets.write_scans(three, sets.Exposure(draws=1), tmp_path, "key")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sets.write_scans(three, sets.Exposure(draws=1), tmp_path, "key") == files
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_figures_count_draws_refusals_and_false_friends(bench, nickelate, three):
    euler = np.array(
        [
            [[13.0, 30.0, 20.0], [20.0, 70.0, 50.0], [0.0, 0.0, 0.0]],  # 3 and 180 about the beam
            [[10.5, 30.0, 20.0], [200.0, 70.0, 50.0], [0.0, 0.0, 0.0]],  # 0.5, and right if refused
        ]
    )
    found = OrientationMap.of_crystal(
        nickelate,
        euler[:, :, None],
        np.ones((2, 3, 1), np.float32),
        np.ones((2, 3), np.float32),
        np.array([[True, True, False], [True, False, True]]),
        step_nm=1.0,
        properties={"thickness_nm": np.array([[23.0, 0, 0], [21.0, 0, 0]])},
    )
    row = bench.figures(found, three)
    assert (row["n"], row["patterns"]) == (4, 2)
    assert row["within_1"] == 0.25
    assert row["within_5"] == 0.5
    assert row["within_5_beam_180"] == 0.75
    assert row["within_5_all"] == 0.75
    assert row["indexed"] == 0.75
    assert row["rejected"] == 0.5
    assert row["thickness_error_nm"] == 2.0
    assert row["within_5_error"] == 0.5


def test_draws_of_a_pattern_are_not_independent(bench):
    right, number = np.array([1, 1, 0, 0]), np.array([7, 7, 9, 9])
    assert bench.standard_error(right, number) == 0.5
    assert bench.standard_error(right, np.arange(4)) == pytest.approx(0.2887)
    assert bench.standard_error(right, np.zeros(4)) is None


def test_rows_are_kept_for_the_same_settings_only(bench, tmp_path):
    path = tmp_path / "accuracy.json"
    assert bench.stored_rows(path, {}) == {}
    row = {"set": "plain", "method": "network", "condition": "b"}
    path.write_text(json.dumps({"settings": {"some": [1]}, "rows": [row]}))
    assert bench.stored_rows(path, {"some": (1,)}) == {("plain", "network", "b"): row}
    with pytest.raises(SystemExit, match="other settings"):
        bench.stored_rows(path, {"some": (2,)})


def test_rows_stand_in_the_order_of_sets_methods_and_conditions(bench):
    places = [("phantom", "acom", "a"), ("plain", "network", "b"), ("plain", "acom", "c")]
    rows = bench.in_order({place: {"place": place} for place in places})
    assert [row["place"] for row in rows] == places[::-1]


def test_other_libraries_become_indexers(nickelate, methods):
    euler = np.array([[10.0, 30.0, 20.0], [0.0, 0.0, 0.0]])
    found = methods.Found(matrices_from_euler(euler), np.array([True, False]), 0.0)
    indexed = methods.Matched(nickelate, lambda patterns, pixel: found).index(np.zeros(2), PIXEL)
    np.testing.assert_allclose(indexed.euler_deg[:, 0], euler, atol=1e-9)
    assert indexed.score[:, 0].tolist() == indexed.reliability.tolist() == [1, 0]


def test_methods_are_those_that_can_run(nickelate, methods, monkeypatch, tmp_path):
    monkeypatch.setattr(methods, "REFINEMENT", "nowhere")
    assert not {"cnn", "network", "kinematic-refined"} & set(methods.makers(None, None, 1))
    (tmp_path / "refined_here.py").write_text("RefinedIndexer = lambda *given: given")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(methods, "REFINEMENT", "refined_here")
    makers = methods.makers("some/model", Path("cnn"), 1)
    assert set(makers) | {"pyxem"} == set(methods.METHODS)
    optics = Optics()
    proposer, *rest = makers["kinematic-refined"](nickelate, optics)
    assert isinstance(proposer, TemplateIndexer)
    assert rest == [nickelate, optics]


def test_table_has_a_row_for_a_method_and_renews_a_page(bench, table, nickelate, three):
    found = OrientationMap.of_crystal(
        nickelate,
        np.array([[10.0, 30.0, 20.0], [200.0, 70.0, 50.0], [0.0, 0.0, 0.0]])[None, :, None],
        np.ones((1, 3, 1), np.float32),
        np.ones((1, 3), np.float32),
        np.array([[True, False, False]]),
        step_nm=1.0,
    )
    about = {"set": "plain", "label": "network", "patterns_per_s": 1234.5}
    figures = bench.figures(found, three)
    rows = [{**about, "condition": "a", **figures}, {**about, "condition": "b", **figures}]
    text = table.tables({"rows": rows})
    (line,) = [line for line in text.splitlines() if line.startswith("| network")]
    assert "| 50 / 50 / - |" in line
    assert line.endswith("| 1234 |")
    assert "thickness" not in text
    assert (
        "| network | 50 / 50 / - |\n"
        in table.tables({"rows": rows}, ["plain"], ["within_5"]) + "\n"
    )
    first, last = table.MARKERS
    page = table.renewed(f"above\n{first}\nold\n{last}\nbelow\n", text)
    assert "old" not in page
    assert page.startswith("above\n")
    assert page.endswith("\nbelow\n")
    assert table.renewed(page, text) == page
    with pytest.raises(SystemExit, match="needs the lines"):
        table.renewed("no marks", text)
