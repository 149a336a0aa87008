import numpy as np
import pytest
from orix.crystal_map import CrystalMap, Phase, PhaseList
from orix.quaternion import Rotation

from zoneaxis.errors import MapError
from zoneaxis.scans import crystal_maps


def map_of(shape=(2, 3), unit="nm", step=1.0, phase=None, **prop):
    y, x = np.indices(shape) * step
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
    found = crystal_maps.scores(map_of(**columns), (2, 3, 1))
    assert (found[0] == score).all()
    assert (found[1] == reliability).all()
    assert found[0].shape == (2, 3, 1)


def test_angle_in_mad_is_no_reliability():
    with pytest.warns(UserWarning, match="no scores"):
        score, reliability = crystal_maps.scores(map_of(bands=8, BC=120, MAD=0.7), (2, 3, 1))
    assert not score.any()
    assert not reliability.any()


def test_one_score_for_all_orientations():
    score, _ = crystal_maps.scores(map_of(score=0.5, reliability=1), (2, 3, 4))
    assert score.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("group", "space_group"), [("432", 221), ("321", 162), ("622", 191), ("m-3", 200), ("1", 2)]
)
def test_first_space_group_of_the_laue_class(group, space_group):
    phase = Phase("x", point_group=group)
    phase.structure.lattice.setLatPar(3, 3, 5, 90, 90, 120)
    crystal = crystal_maps.crystal_of(map_of(phase=phase))
    assert crystal.space_group == space_group
    assert crystal.cell == (3, 3, 5, 90, 90, 120)
    assert len(crystal.numbers) == 0


def test_no_crystal_without_lattice_or_symmetry():
    with pytest.raises(MapError, match="lattice constants"):
        crystal_maps.crystal_of(map_of())
    phase = Phase("x")
    phase.structure.lattice.setLatPar(3, 3, 5, 90, 90, 120)
    with pytest.raises(MapError, match="no symmetry"):
        crystal_maps.crystal_of(map_of(phase=phase))
