import io
import json
from dataclasses import replace

import numpy as np
import pytest
from orix.quaternion import Orientation, Rotation
from rich.console import Console
from skimage.measure import regionprops

from zoneaxis.diffraction.orientations import euler_from_matrices, matrices_from_euler
from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.grains import find_grains, length_text
from zoneaxis.scans.orientation_map import OrientationMap

KINDS = np.array([[10, 20, 30], [40, 50, 10], [200, 30, 70], [90, 80, 100], [300, 60, 20]], float)
STEP_NM = 2.5


def map_of(crystal, kind, noise_deg=0.0, seed=0, crystals=None, phase=None):
    """A map of far orientations, -1 not indexed, each point turned by a symmetry of its own."""
    kind, rng = np.asarray(kind), np.random.default_rng(seed)
    noise = rng.normal(0, noise_deg, (*kind.shape, 3))
    matrices = matrices_from_euler(noise) @ matrices_from_euler(KINDS[kind])
    matrices = crystal.proper_operators[rng.integers(6, size=kind.shape)] @ matrices
    ones = np.ones((*kind.shape, 1), np.float32)
    phase = np.zeros_like(kind) if phase is None else phase
    return OrientationMap(
        crystals=crystals or (crystal,),
        euler_deg=euler_from_matrices(matrices)[:, :, None],
        score=ones,
        reliability=ones[..., 0],
        phase=np.where(kind < 0, -1, phase),
        step_nm=STEP_NM,
    )


@pytest.fixture
def voronoi(nickelate):
    """A map of 40 x 50 points in 12 cells of 5 orientations, with a little noise."""
    rng = np.random.default_rng(5)
    seeds = rng.uniform(0, [40, 50], (12, 2))
    place = np.moveaxis(np.indices((40, 50)), 0, -1)
    cell = np.linalg.norm(place[:, :, None] - seeds, axis=-1).argmin(axis=-1)
    return map_of(nickelate, cell % 5, noise_deg=0.3)


def test_sizes_are_those_of_scikit_image(voronoi):
    grains = find_grains(voronoi)
    regions = regionprops(grains.labels + 1)
    assert len(grains) == len(regions) > 5
    np.testing.assert_array_equal(grains.points, [r.area for r in regions])
    np.testing.assert_allclose(
        grains.diameter_nm, [STEP_NM * r.equivalent_diameter_area for r in regions]
    )
    np.testing.assert_allclose(grains.center_px, [r.centroid for r in regions])
    ratio = [r.axis_major_length / r.axis_minor_length for r in regions]
    np.testing.assert_allclose(grains.aspect, ratio, rtol=0.02)  # its points have no extent
    edge = [r.bbox[0] == 0 or r.bbox[1] == 0 or r.bbox[2] == 40 or r.bbox[3] == 50 for r in regions]
    np.testing.assert_array_equal(grains.at_edge, edge)


def test_means_and_spreads_are_those_of_orix(nickelate):
    """Orix's mean knows no symmetry, so that it gets the same points without the turns by one."""
    kind = np.repeat([[0, 1, 2, 3, 4]], 30, axis=1) * np.ones((20, 1), int)
    map = map_of(nickelate, kind, noise_deg=1.0)
    plain = np.random.default_rng(0).normal(0, 1.0, (*kind.shape, 3))
    plain = matrices_from_euler(plain) @ matrices_from_euler(KINDS[kind])
    grains = find_grains(map)
    assert len(grains) == 5
    group = nickelate.point_group.proper_subgroup
    for number, mean in enumerate(grains.matrices):
        points = Rotation.from_matrix(plain[grains.labels == number])
        expected = Orientation(points.mean(), symmetry=group)
        mean = Orientation.from_matrix(mean[None], symmetry=group)
        assert mean.angle_with(expected, degrees=True)[0] < 0.01
        each = Orientation(points, symmetry=group).angle_with(expected, degrees=True)
        assert grains.spread_deg[number] == pytest.approx(each.mean(), abs=0.01)


def test_the_first_point_does_not_decide_the_mean(nickelate):
    """It lies 20 degrees along a bent grain, from whose ends different equivalents are nearest."""
    turn = np.linspace(0, 80, 41)
    euler = np.stack([0 * turn, 85 + 0 * turn, turn], axis=-1)[None, :, None]
    euler = np.repeat(euler, 3, axis=0)
    ones = np.ones(euler.shape[:3], np.float32)
    map = OrientationMap.of_crystal(nickelate, euler, ones, ones[..., 0], ones[..., 0] > 0, 1.0)
    grains = find_grains(map)
    assert len(grains) == 1
    np.testing.assert_allclose(grains.euler_deg[0], [0, 85, 40], atol=1e-6)
    assert grains.spread_deg[0] == pytest.approx(np.abs(turn - 40).mean(), abs=1e-6)


def test_specks_and_holes_go_to_the_grain_around(nickelate):
    kind = np.zeros((9, 9), int)
    kind[2, 2:4] = 1  # a speck
    kind[6, 6] = -1  # a hole
    grains = find_grains(map_of(nickelate, kind))
    assert (grains.labels == 0).all()
    assert grains.filled.sum() == grains.summary()["filled_points"] == 3
    assert grains.points.tolist() == [81]
    assert grains.spread_deg[0] < 1e-3  # of the points that have an orientation of the grain's own
    kept = find_grains(map_of(nickelate, kind), largest_hole=0)
    assert (kept.labels < 0).sum() == 3


def test_parts_that_a_hole_parts_are_one_grain(nickelate):
    kind = np.full((5, 9), 0)
    kind[:, 4] = -1
    assert len(find_grains(map_of(nickelate, kind))) == 1
    assert len(find_grains(map_of(nickelate, kind), largest_hole=4)) == 2


@pytest.mark.parametrize("smallest", [1, 2, 5])
def test_ragged_maps_have_grains_of_their_own_points(nickelate, smallest):
    """Filled points are never a grain by themselves, however they lie."""
    for seed in range(20):
        kind = np.random.default_rng(seed).choice(4, (15, 15), p=[0.5, 0.1, 0.1, 0.3])
        grains = find_grains(map_of(nickelate, kind - (kind == 3) * 4), 5.0, smallest)
        own = np.bincount(grains.labels[(grains.labels >= 0) & ~grains.filled])
        assert len(own) == len(grains)
        assert own.min() >= smallest
        assert np.isfinite(grains.spread_deg).all()


def test_vacuum_and_large_holes_stay(nickelate):
    kind = np.zeros((12, 12), int)
    kind[:, :3] = -1
    kind[5:8, 6:10] = -1
    labels = find_grains(map_of(nickelate, kind)).labels
    np.testing.assert_array_equal(labels, np.where(kind < 0, -1, 0))


def test_each_phase_by_itself(nickelate):
    kind = np.zeros((4, 8), int)
    phase = np.repeat([[0, 1]], 4, axis=1) * np.ones((4, 1), int)
    other = replace(nickelate, name="other")
    grains = find_grains(map_of(nickelate, kind, crystals=(nickelate, other), phase=phase))
    assert grains.phase.tolist() == [0, 1]
    np.testing.assert_allclose(grains.euler_deg[0], grains.euler_deg[1], atol=1e-6)
    assert grains.mean_map.phase.tolist() == phase.tolist()
    console = Console(width=120, file=io.StringIO())
    console.print(grains.table("two"))
    assert "other" in console.file.getvalue()


def test_json_and_table(voronoi):
    grains = find_grains(voronoi)
    values = json.loads(json.dumps(grains.to_dict(), allow_nan=False))
    assert values["summary"]["grains"] == len(grains) == len(values["grains"]["points"])
    assert values["crystals"] == ["LiNiO2"]
    console = Console(width=120, file=io.StringIO())
    console.print(grains.table("scan"))
    assert f"{len(grains)} grains of scan" in console.file.getvalue()


def test_inputs_are_left_as_they_were(voronoi):
    before = voronoi.euler_deg.copy(), voronoi.phase.copy()
    find_grains(voronoi)
    np.testing.assert_array_equal(voronoi.euler_deg, before[0])
    np.testing.assert_array_equal(voronoi.phase, before[1])


def test_nothing_to_find(nickelate):
    with pytest.raises(MapError, match="No point of the map is indexed"):
        find_grains(map_of(nickelate, np.full((3, 3), -1)))
    with pytest.raises(MapError, match="No grain has 10 points"):
        find_grains(map_of(nickelate, np.zeros((3, 3), int)), smallest_grain=10)


@pytest.mark.parametrize(
    "settings", [{"tolerance_deg": 0}, {"smallest_grain": 0}, {"largest_hole": -1}]
)
def test_settings_out_of_range(voronoi, settings):
    with pytest.raises(SettingsError, match=f"{next(iter(settings))} = .*: expected"):
        find_grains(voronoi, **settings)


@pytest.mark.parametrize(
    ("length", "text"), [(12.345, "12.3 nm"), (999.9, "1 µm"), (28481.0, "28.5 µm")]
)
def test_lengths_are_readable(length, text):
    assert length_text(length) == text


def test_the_real_map(shared_data):
    map = OrientationMap.load(shared_data / "third_party" / "layered_oxide" / "acom.ang")
    grains = find_grains(map)
    assert 35 < len(grains) < 50
    assert grains.points.max() > 500
    assert (grains.labels[~map.indexed] >= 0).sum() <= grains.filled.sum()
