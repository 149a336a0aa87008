import numpy as np
import pytest
from map_samples import COPPER, SILVER, random_map
from orix.crystal_map import CrystalMap, Phase, PhaseList
from orix.quaternion import Rotation

from zoneaxis.errors import MapError
from zoneaxis.scans import crystal_maps
from zoneaxis.scans.orientation_map import OrientationMap


def map_of(shape=(2, 3), unit="nm", step=1.0, phase=None, y_step=None, **prop):
    y, x = np.indices(shape) * np.reshape([y_step or step, step], (2, 1, 1))
    n = x.size
    return CrystalMap(
        rotations=Rotation.identity((n,)),
        x=x.ravel(),
        y=y.ravel(),
        phase_list=PhaseList({0: phase or Phase("Ag", space_group=225)}),
        prop={name: np.full(n, value, float) for name, value in prop.items()},
        scan_unit=unit,
    )


@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize(("unit", "factor"), [("nm", 1.0), ("um", 1e3)])
def test_grid(shape, unit, factor):
    rows, cols, step_nm = crystal_maps.grid(map_of(shape, unit, step=0.5))
    assert (rows, cols) == shape
    assert step_nm == pytest.approx((0.5 if max(shape) > 1 else 1.0) * factor)


def test_no_square_grid():
    with pytest.raises(MapError, match="steps are 1 along x and 2 along y"):
        crystal_maps.grid(map_of(y_step=2.0))
    for x in ([0, 2, 1, 3], [0, 1, 5, 6], [0, -1, -2, -3], [0, 0, 0, 0]):
        line = CrystalMap(Rotation.identity((4,)), x=np.array(x, float), y=np.zeros(4))
        with pytest.raises(MapError, match="x to the right and y down"):
            crystal_maps.grid(line)
    mirrored = map_of()
    mirrored._x, mirrored._y = -mirrored._x, -mirrored._y
    with pytest.raises(MapError, match="x to the right and y down"):
        crystal_maps.grid(mirrored)
    found = random_map(COPPER).to_crystal_map()
    with pytest.raises(MapError, match="square grid"):
        OrientationMap.from_crystal_map(found[found.is_indexed])


@pytest.mark.parametrize(
    ("columns", "score", "reliability"),
    [
        ({"score": 0.5, "reliability": 0.25}, 0.5, 0.25),
        ({"iq": 0.5, "ci": 0.25}, 0.5, 0.25),
        ({"ind": 50.0, "rel": 0.25, "relx100": 25.0}, 0.5, 0.25),
        ({"bands": 6, "BC": 50, "MAD": 0.25}, 0.5, 0.25),
    ],
)
def test_scores_of_each_program(columns, score, reliability):
    found = crystal_maps.scores(map_of(**columns).prop, np.ones((2, 3), bool))
    assert (found[0] == score).all()
    assert (found[1] == reliability).all()
    assert found[0].shape == (2, 3, 1)


def test_angle_in_mad_is_no_reliability():
    columns = map_of(bands=8, BC=120, MAD=0.7).prop
    with pytest.warns(UserWarning, match="no scores"):
        score, reliability = crystal_maps.scores(columns, np.ones((2, 3), bool))
    assert not score.any()
    assert not reliability.any()


def test_one_score_for_all_orientations():
    columns = map_of(score=0.5, reliability=1).prop
    assert crystal_maps.scores(columns, np.ones((2, 3), bool), 4)[0].shape == (2, 3, 4)


@pytest.mark.parametrize("n_best", [1, 3])
def test_there_and_back(nickelate, n_best):
    written = random_map((nickelate, SILVER), n_best=n_best)
    read = OrientationMap.from_crystal_map(written.to_crystal_map())
    np.testing.assert_allclose(read.euler_deg, written.euler_deg, atol=1e-9)
    for name in ("score", "reliability", "phase"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.properties.keys() == {"thickness_nm"}
    np.testing.assert_array_equal(
        read.properties["thickness_nm"], written.properties["thickness_nm"]
    )
    assert read.step_nm == pytest.approx(written.step_nm)
    assert [c.space_group for c in read.crystals] == [166, 225]
    given = OrientationMap.from_crystal_map(written.to_crystal_map(), crystals=(nickelate, SILVER))
    assert given.crystals == (nickelate, SILVER)


def test_crystal_map_has_all_phases(nickelate):
    written = random_map((nickelate, SILVER))
    crystal_map = written.to_crystal_map()
    assert crystal_map.phases.names == ["not_indexed", "LiNiO2", "Ag"]
    silver = crystal_map["Ag"].orientations  # with the phase's symmetry, as orix has it
    assert silver.symmetry.name == "m-3m"
    np.testing.assert_allclose(silver.to_matrix(), written.matrices[written.phase == 1], atol=1e-9)


def test_coordinates_in_pixels():
    crystal_map = map_of(unit="px", score=0.5, reliability=1)
    with pytest.warns(UserWarning, match="coordinates are in px"):
        assert OrientationMap.from_crystal_map(crystal_map, SILVER).step_nm == 1.0


def test_columns_of_other_programs_are_no_properties():
    found = OrientationMap.from_crystal_map(map_of(iq=0.5, ci=0.25, fit=3), SILVER)
    assert found.properties.keys() == {"fit"}


@pytest.mark.parametrize(
    ("group", "space_group"), [("432", 221), ("321", 162), ("622", 191), ("m-3", 200), ("1", 2)]
)
def test_first_space_group_of_the_laue_group(group, space_group):
    phase = Phase("x", point_group=group)
    phase.structure.lattice.setLatPar(3, 3, 5, 90, 90, 120)
    (entry,) = crystal_maps.entries(map_of(phase=phase).phases)
    assert (entry.number, entry.name, entry.space_group) == (0, "x", space_group)
    assert entry.cell == (3, 3, 5, 90, 90, 120)


def test_no_crystal_without_lattice_or_symmetry():
    scores = {"score": 0.5, "reliability": 1}
    with pytest.raises(MapError, match="lattice constants"):
        OrientationMap.from_crystal_map(map_of(**scores))
    phase = Phase("x")
    phase.structure.lattice.setLatPar(3, 3, 5, 90, 90, 120)
    with pytest.raises(MapError, match="no symmetry"):
        OrientationMap.from_crystal_map(map_of(phase=phase, **scores))
