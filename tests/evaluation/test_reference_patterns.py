"""Template matching of patterns measured elsewhere, against what others found in them."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GRID_STEP_DEG = 2.0


@pytest.fixture
def benchmark(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("bench_reference_patterns")


def test_silver_grains_lie_to_each_other_as_published(shared_data, benchmark):
    grains, pairs = benchmark.silver_misorientations(shared_data / "third_party")
    assert all(grain["indexed"] for grain in grains)
    assert len(pairs) == 10
    published = {pair["pair"]: pair["published_deg"] for pair in pairs}
    assert published["01"] == 60
    assert published["13"] == 32
    for pair in pairs:
        assert abs(pair["difference_deg"]) < GRID_STEP_DEG, pair


def test_silver_grains_need_no_voltage(shared_data, benchmark):
    _, pairs = benchmark.silver_misorientations(shared_data / "third_party", voltage_kv=300)
    assert max(abs(pair["difference_deg"]) for pair in pairs) < GRID_STEP_DEG


def test_austenite_is_near_astars_answer_in_one_frame(shared_data, benchmark):
    rows = benchmark.austenite_frames(shared_data / "third_party")
    assert all(row["indexed"] for row in rows)
    assert {row["frame"] for row in rows} == {"xy180"}
    angles = np.array([[row["to_astar_deg"], row["next_deg"]] for row in rows])
    assert angles[:, 0].max() < 7
    assert angles[:, 1].min() > 12
