import numpy as np
import pytest
from map_samples import COPPER, SILICON, SILVER, random_map

from zoneaxis.errors import MapError, OutputError
from zoneaxis.scans.orientation_map import OrientationMap


def assert_equal(found, expected):
    for name in ("euler_deg", "score", "reliability", "phase"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    assert found.properties.keys() == expected.properties.keys()
    for name, values in expected.properties.items():
        np.testing.assert_array_equal(found.properties[name], values)
    assert found.step_nm == expected.step_nm


# ---------------------------------------------------------------- parts


def test_a_part_is_a_map():
    whole = random_map((COPPER, SILVER), (8, 9), n_best=2)
    part = whole[2:7, 3:5]
    assert part.shape == (5, 2)
    assert part.crystals == whole.crystals
    np.testing.assert_array_equal(part.euler_deg, whole.euler_deg[2:7, 3:5])
    np.testing.assert_array_equal(part.score, whole.score[2:7, 3:5])
    np.testing.assert_array_equal(part.phase, whole.phase[2:7, 3:5])
    np.testing.assert_array_equal(
        part.properties["thickness_nm"], whole.properties["thickness_nm"][2:7, 3:5]
    )
    assert part.step_nm == whole.step_nm


@pytest.mark.parametrize(
    ("index", "shape", "stride"),
    [
        (np.s_[::2, ::2], (4, 5), 2),
        (np.s_[::3, 1::3], (3, 3), 3),
        (np.s_[3], (1, 9), 1),
        (np.s_[-1, ::4], (1, 3), 4),
        (np.s_[:, 2], (8, 1), 1),
        (np.s_[::3, -2], (3, 1), 3),
        (np.s_[np.int64(1), 1], (1, 1), 1),
        (np.s_[5:99], (3, 9), 1),
        (np.s_[:5:4, ::2], (2, 5), None),
    ],
)
def test_the_step_follows(index, shape, stride):
    whole = random_map(COPPER, (8, 9))
    if stride is None:
        with pytest.raises(MapError, match="one stride"):
            whole[index]
        return
    assert whole[index].shape == shape
    assert whole[index].step_nm == pytest.approx(stride * whole.step_nm)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (np.s_[::-1], MapError),
        (np.s_[4:4], MapError),
        (np.s_[:, :, 0], MapError),
        (np.s_[[1, 2]], MapError),
        (np.s_[1.0], MapError),
        (np.s_[8], IndexError),
        (np.s_[0, -10], IndexError),
    ],
)
def test_no_part(index, error):
    with pytest.raises(error):
        random_map(COPPER, (8, 9))[index]


def test_rows_one_by_one():
    whole = random_map(COPPER, (4, 3))
    assert [row.shape for row in whole] == [(1, 3)] * 4


def test_of_phase():
    whole = random_map((COPPER, SILVER))
    silver = whole.of_phase(1)
    assert silver.crystal is SILVER
    np.testing.assert_array_equal(silver.indexed, whole.phase == 1)
    with pytest.raises(MapError, match=r"several phases \(Cu, Ag\)"):
        _ = whole.crystal
    for number in (-1, 2):
        with pytest.raises(MapError, match="2 phases, counted from 0"):
            whole.of_phase(number)


def test_matrices():
    found = random_map(SILICON)
    assert found.matrices.shape == (5, 7, 3, 3)
    np.testing.assert_allclose(np.linalg.det(found.matrices), 1)


# ---------------------------------------------------------------- what a map cannot be


def fields_of(found, **changes):
    return {**vars(found), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reliability": np.zeros((2, 7))}, "reliability"),
        ({"properties": {"score": np.zeros((5, 7))}}, "cannot be called score"),
        ({"properties": {"vacuum": np.zeros(5)}}, "cannot hold vacuum"),
        ({"phase": np.ones((5, 7), int)}, "map of 1 crystals has phase 1"),
        ({"phase": np.full((5, 7), -2)}, "has phase -2"),
        ({"euler_deg": np.full((5, 7, 1, 3), np.nan)}, "not numbers"),
        ({"step_nm": 0.0}, "step of a map is 0.0 nm"),
        ({"step_nm": np.nan}, "step of a map"),
    ],
)
def test_fields_must_fit(changes, message):
    with pytest.raises(MapError, match=message):
        OrientationMap(**fields_of(random_map(SILICON), **changes))


def test_no_angles_are_needed_where_not_indexed():
    found = random_map(SILICON)
    found.euler_deg[~found.indexed] = np.nan
    assert OrientationMap(**fields_of(found)).n_best == 1


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".ang", ".ctf", ".h5"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (6, 1), (1, 1)])
def test_every_shape_in_every_format(tmp_path, suffix, shape):
    written = random_map((SILICON, COPPER), shape)
    written.save(tmp_path / f"map{suffix}")
    read = OrientationMap.load(tmp_path / f"map{suffix}")
    assert read.shape == shape
    np.testing.assert_array_equal(read.phase, written.phase)
    good = written.indexed
    np.testing.assert_allclose(read.euler_deg[good], written.euler_deg[good], atol=3e-4)
    np.testing.assert_allclose(read.score[good], written.score[good], atol=1.2e-7)
    np.testing.assert_allclose(read.reliability[good], written.reliability[good], atol=1.2e-7)
    assert read.step_nm == pytest.approx(written.step_nm, rel=1e-9)
    assert [crystal.name for crystal in read.crystals] == ["Si", "Cu"]


@pytest.mark.parametrize("suffix", [".ang", ".ctf", ".h5"])
def test_map_without_indexed_point(nickelate, tmp_path, suffix):
    empty = random_map(nickelate)
    empty.phase[:] = -1
    path = tmp_path / f"map{suffix}"
    empty.save(path)
    read = OrientationMap.load(path)
    assert not read.indexed.any()
    assert read.crystal.cell == pytest.approx(nickelate.cell)
    assert OrientationMap.load(path, nickelate).crystal is nickelate
    with pytest.raises(MapError, match="not of Si"):
        OrientationMap.load(path, SILICON)


@pytest.mark.parametrize("suffix", [".ang", ".ctf", ".h5"])
def test_phase_without_point(tmp_path, suffix):
    random_map(COPPER).save(tmp_path / f"map{suffix}")
    written = random_map((SILICON, COPPER))
    written.phase[written.phase == 0] = -1
    written.save(tmp_path / f"map{suffix}")
    read = OrientationMap.load(tmp_path / f"map{suffix}")
    np.testing.assert_array_equal(read.phase, written.phase)
    assert [crystal.name for crystal in read.crystals] == ["Si", "Cu"]
    assert OrientationMap.load(tmp_path / f"map{suffix}", COPPER).crystal is COPPER


@pytest.mark.parametrize("suffix", [".ang", ".ctf", ".h5"])
def test_given_crystals(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    written = random_map((COPPER, SILVER))
    written.save(path)
    read = OrientationMap.load(path, crystals=(SILVER, SILICON, COPPER))
    assert read.crystals == (SILVER, SILICON, COPPER)
    np.testing.assert_array_equal(read.phase == 2, written.phase == 0)
    np.testing.assert_array_equal(read.phase == 0, written.phase == 1)
    with pytest.raises(MapError, match=r"map of Ag .*not of Cu .*2 phases \(Cu and Ag\)"):
        OrientationMap.load(path, COPPER)
    with pytest.raises(MapError, match="not of Si"):
        OrientationMap.load(path, crystals=(SILICON, SILVER))


def test_no_such_map(tmp_path):
    with pytest.raises(MapError, match="No map at"):
        OrientationMap.load(tmp_path / "missing.ang")
    (tmp_path / "map.txt").write_text("x")
    for act in (OrientationMap.load, random_map(SILICON).save):
        with pytest.raises(MapError, match=r"expected \.ang or \.ctf or \.h5"):
            act(tmp_path / "map.txt")


def test_failed_save_leaves_the_old_file(tmp_path):
    (tmp_path / "map.h5").write_text("old")
    broken = random_map(SILICON)
    broken.properties["a/b/"] = broken.reliability  # no name for HDF5
    with pytest.raises(ValueError, match="name"):
        broken.save(tmp_path / "map.h5")
    assert (tmp_path / "map.h5").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["map.h5"]


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        random_map(SILICON).save(tmp_path / "file" / "map.h5")


# ---------------------------------------------------------------- other programs' maps


@pytest.mark.parametrize(
    ("name", "shape", "step_nm", "group", "n_indexed", "score", "reliability"),
    [
        ("layered_oxide/acom.ang", (80, 58), 1000.0, "-3m", 3232, 70.0, 1.0),
        ("astar/ACOM.ang", (15, 15), 2.0, "m-3m", 219, 0.624, 0.48),
        ("astar/TVIPS_without_mask.ctf", (59, 111), 2.7, "m-3m", 6549, 1.0, 0.64),
        ("austenite/200625ResultsAusteniteNoLin.ctf", (200, 260), 5.0, "m-3m", 52000, 1.0, 0.58),
    ],
)
def test_real_maps(shared_data, name, shape, step_nm, group, n_indexed, score, reliability):
    found = OrientationMap.load(shared_data / "third_party" / name)
    assert found.shape == shape
    assert found.step_nm == pytest.approx(step_nm, rel=1e-6)
    assert found.crystal.point_group.name == group
    assert found.indexed.sum() == n_indexed
    assert found.score.max() == pytest.approx(score)
    assert found.reliability.max() == pytest.approx(reliability)
    assert found.reliability.min() >= 0
    assert (found.score.dtype, found.reliability.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    "name", ["layered_oxide/acom.ang", "astar/ACOM.ang", "astar/TVIPS_without_mask.ctf"]
)
def test_real_maps_as_orix_reads_them(shared_data, name):
    from orix import io

    path = shared_data / "third_party" / name
    found = OrientationMap.load(path)
    theirs = OrientationMap.from_crystal_map(io.load(str(path)))
    good = found.indexed
    np.testing.assert_array_equal(theirs.indexed, good)
    np.testing.assert_allclose(theirs.matrices[good], found.matrices[good], atol=1e-9)
    np.testing.assert_array_equal(theirs.score[good], found.score[good])
    np.testing.assert_array_equal(theirs.reliability[good], found.reliability[good])
    assert theirs.step_nm == pytest.approx(found.step_nm)
    assert theirs.crystal.cell == pytest.approx(found.crystal.cell)
    assert theirs.crystal.space_group == found.crystal.space_group


def test_real_orientation(shared_data):
    path = shared_data / "third_party" / "austenite" / "200625ResultsAusteniteNoLin.ctf"
    euler = OrientationMap.load(path).euler_deg[100, 100, 0]
    np.testing.assert_allclose(euler, [83.32, 137.41, 252.76], atol=1e-9)


def test_real_map_takes_its_own_kind_of_crystal(shared_data, nickelate):
    folder = shared_data / "third_party"
    assert OrientationMap.load(folder / "layered_oxide/acom.ang", nickelate).crystal is nickelate
    with pytest.raises(MapError, match="not of LiNiO2"):
        OrientationMap.load(folder / "astar/ACOM.ang", nickelate)
