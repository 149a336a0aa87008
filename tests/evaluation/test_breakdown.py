import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.low_index import low_index_directions
from zoneaxis.diffraction.orientations import euler_from_matrices
from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.breakdown import BREAKDOWNS, break_down
from zoneaxis.evaluation.comparison import compare
from zoneaxis.scans.orientation_map import OrientationMap


@pytest.fixture
def pair(nickelate):
    """Four grains of 5 x 4 points; the map is 30 degrees off in the last, 3 in the third."""
    kinds = np.array([[10, 0, 0], [40, 50, 10], [200, 30, 70], [90, 80, 100]], float)
    grain = np.repeat([0, 1, 2, 3], 4) * np.ones((5, 1), int)
    turn = np.array([0, 0, 3, 30])[grain]
    truth = kinds[grain][:, :, None]
    mine = truth + np.stack([turn, 0 * turn, 0 * turn], axis=-1)[:, :, None]
    indexed = np.ones(grain.shape, bool)
    indexed[0, :2] = False
    properties = {"thickness_nm": np.array([10.0, 20, 20, 30])[grain]}
    score = np.linspace(1, 0, grain.size, dtype=np.float32).reshape(grain.shape)
    arguments = score[..., None], score, indexed, 2.0
    map = OrientationMap.of_crystal(nickelate, mine, *arguments)
    everywhere = np.ones_like(indexed)
    reference = OrientationMap.of_crystal(
        nickelate, truth, *arguments[:2], everywhere, 2.0, properties
    )
    return map, reference


def rows(name, map, reference):
    return break_down(name, compare(map, reference), map, reference)


def test_by_grain(pair):
    found = rows("grain", *pair)
    assert found.labels == ("0", "1", "2", "3")
    assert found.points.tolist() == [20] * 4
    np.testing.assert_allclose(found.metrics["median_deg"], [0, 0, 3, 30], atol=0.02)
    np.testing.assert_allclose(found.metrics["found_5"], [0.9, 1, 1, 0])
    np.testing.assert_allclose(found.metrics["within_5"], [1, 1, 1, 0])


def test_by_thickness(pair):
    map, reference = pair
    found = rows("thickness", map, reference)
    assert (found.labels, found.unit) == (("10", "20", "30"), "nm")
    assert found.points.tolist() == [20, 40, 20]
    np.testing.assert_allclose(found.metrics["within_2"], [1, 0.5, 0])
    properties = reference.properties
    swapped = rows(
        "thickness", replace(map, properties=properties), replace(reference, properties={})
    )
    np.testing.assert_array_equal(swapped.points, found.points)
    with pytest.raises(MapError, match="Neither map holds a property thickness_nm"):
        rows("thickness", map, map)


def test_many_values_are_sorted_into_tenths(pair):
    found = rows("score", *pair)
    assert len(found.labels) == 10
    assert found.points.sum() == 78  # without the two that the map rejects
    assert np.ptp(found.points) <= 1
    assert found.labels[0].startswith("0 - ")


def test_by_zone_axis(nickelate):
    """Maps whose beam is along a low-index direction end in that direction's row."""
    axes = low_index_directions(nickelate, 15.0) @ nickelate.lattice_angstrom
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    side = np.cross(axes, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    matrices = np.stack([side, np.cross(axes, side), axes], axis=-1)
    equivalent = nickelate.proper_operators[3] @ matrices
    euler = euler_from_matrices(np.stack([matrices, equivalent]))[:, :, None]
    ones = np.ones(euler.shape[:3], np.float32)
    map = OrientationMap.of_crystal(nickelate, euler, ones, ones[..., 0], ones[..., 0] > 0, 1.0)
    found = rows("zone-axis", map, map)
    assert found.points.tolist() == [2] * len(axes)
    assert found.labels[:3] == ("[0001]", "[11-20]", "[10-10]")


def test_by_phase(pair, nickelate):
    map, reference = pair
    salt = Crystal(
        *("NiO", (4.18, 4.18, 4.18, 90.0, 90.0, 90.0), 225),
        *(np.array([28]), np.zeros((1, 3)), np.ones(1), np.ones(1)),
    )
    phase = reference.phase.copy()
    phase[:, 12:] = 1
    two = replace(reference, crystals=(nickelate, salt), phase=phase)
    found = rows("phase", map, two)
    assert found.labels == ("LiNiO2", "NiO")
    assert found.points.tolist() == [60, 20]
    np.testing.assert_allclose(found.metrics["phase_right"], [1, 0])
    assert np.isnan(found.metrics["median_deg"][1])
    assert found.to_dict()["metrics"]["median_deg"][1] is None
    assert rows("zone-axis", map, two).labels[0].startswith("LiNiO2 [")


@pytest.mark.parametrize("name", BREAKDOWNS)
def test_json_and_table(pair, name):
    found = rows(name, *pair)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(values["labels"]) == len(values["points"]) == len(values["metrics"]["found_5"])
    console = Console(width=120, file=io.StringIO())
    console.print(found.table())
    for label in found.labels[:3]:
        assert label in console.file.getvalue()


@pytest.mark.parametrize("name", BREAKDOWNS)
def test_no_point_of_the_same_phase(pair, nickelate, name):
    map, reference = pair
    two = (nickelate, replace(nickelate, name="other", space_group=225, cell=(4, 4, 4, 90, 90, 90)))
    map, reference = (
        replace(one, crystals=two, phase=np.where(one.indexed, number, -1))
        for number, one in enumerate(pair)
    )
    found = rows(name, map, reference)
    assert (found.metrics["within_5"] == 0).all()
    assert found.table().row_count == len(found.labels)


def test_long_tables_end_in_the_rest(pair):
    map, reference = pair
    thickness = np.arange(80.0).reshape(5, 16)
    many = replace(reference, properties={"thickness_nm": thickness})
    assert len(rows("thickness", map, many).labels) == 10
    rng = np.random.default_rng(0)
    euler = np.repeat(np.repeat(rng.uniform(0, 90, (6, 6, 1, 3)), 3, axis=0), 3, axis=1)
    ones = np.ones((18, 18, 1), np.float32)
    wild = OrientationMap.of_crystal(map.crystal, euler, ones, ones[..., 0], ones[..., 0] > 0, 1.0)
    found = rows("grain", wild, wild)
    assert len(found.labels) > 25
    assert found.table().row_count == 21


def test_unknown(pair):
    with pytest.raises(SettingsError, match="--by moon: expected grain, zone-axis, thickness"):
        rows("moon", *pair)


def test_every_point_is_in_one_row(pair):
    """Every point that the reference indexes is in one row, and in one only."""
    map, reference = pair
    for name in ("grain", "zone-axis", "thickness", "phase"):
        assert rows(name, map, reference).points.sum() == reference.indexed.sum()
