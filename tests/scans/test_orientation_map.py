import numpy as np
import pytest
from orix.crystal_map import CrystalMap, Phase, PhaseList
from orix.quaternion import Rotation

from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.errors import MapError, OutputError
from zoneaxis.scans.crystal_maps import without_sites
from zoneaxis.scans.orientation_map import OrientationMap

IDENTITY = np.eye(3)[None]
ANG_DEG = 1e-3  # .ang stores 1e-5 rad, rounded thrice


def random_map(crystal, shape=(5, 7), n_best=2, step_nm=20.372, seed=0):
    rng = np.random.default_rng(seed)
    euler = rng.uniform(0, 1, (*shape, n_best, 3)) * [360, 180, 360]
    return OrientationMap.of_crystal(
        crystal=crystal,
        euler_deg=euler,
        score=rng.uniform(size=(*shape, n_best)).astype(np.float32),
        reliability=rng.uniform(size=shape).astype(np.float32),
        indexed=rng.uniform(size=shape) > 0.3,
        step_nm=step_nm,
        properties={"thickness_nm": rng.uniform(10, 80, shape).astype(np.float32)},
    )


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (6, 1), (1, 1)])
@pytest.mark.parametrize("n_best", [1, 3])
def test_h5_keeps_everything(nickelate, tmp_path, shape, n_best):
    written = random_map(nickelate, shape, n_best)
    written.save(tmp_path / "map.h5")
    read = OrientationMap.load(tmp_path / "map.h5")
    np.testing.assert_allclose(read.euler_deg, written.euler_deg, atol=1e-9)
    for name in ("score", "reliability", "indexed"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    np.testing.assert_array_equal(
        read.properties["thickness_nm"], written.properties["thickness_nm"]
    )
    assert read.step_nm == written.step_nm
    assert read.crystal.to_dict() == nickelate.to_dict()


def test_h5_is_orix_own_format(nickelate, tmp_path):
    from orix import io

    written = random_map(nickelate)
    written.save(tmp_path / "map.h5")
    crystal_map = io.load(str(tmp_path / "map.h5"))
    assert crystal_map.shape == (5, 7)
    assert crystal_map.scan_unit == "nm"
    io.save(str(tmp_path / "theirs.h5"), crystal_map)
    read = OrientationMap.load(tmp_path / "theirs.h5")
    np.testing.assert_array_equal(read.score, written.score)
    np.testing.assert_array_equal(read.indexed, written.indexed)
    assert set(read.properties) == {"thickness_nm"}
    assert read.step_nm == pytest.approx(written.step_nm)
    assert read.crystal.space_group == 166


@pytest.mark.parametrize("shape", [(5, 7), (1, 6)])
@pytest.mark.parametrize("step_nm", [20.372, 0.5, 1000.0])
def test_ang_keeps_the_best(nickelate, tmp_path, shape, step_nm):
    written = random_map(nickelate, shape, step_nm=step_nm)
    written.save(tmp_path / "map.ang")
    read = OrientationMap.load(tmp_path / "map.ang", crystal=nickelate)
    good = written.indexed
    assert read.shape == shape
    np.testing.assert_array_equal(read.indexed, good)
    assert misorientation_deg(read.matrices, written.matrices, IDENTITY)[good].max() < ANG_DEG
    np.testing.assert_allclose(read.score[good], written.score[good][:, :1], atol=6e-6)
    np.testing.assert_allclose(read.reliability[good], written.reliability[good], atol=6e-6)
    assert (read.euler_deg[~good] == 0).all()
    assert read.step_nm == pytest.approx(step_nm, rel=1e-6)
    assert read.crystal is nickelate


def test_ang_without_crystal_knows_lattice_and_laue_class(nickelate, tmp_path):
    random_map(nickelate).save(tmp_path / "map.ang")
    crystal = OrientationMap.load(tmp_path / "map.ang").crystal
    assert crystal.cell == pytest.approx(nickelate.cell, abs=1e-3)
    assert crystal.point_group.name == nickelate.point_group.name == "-3m"
    np.testing.assert_allclose(crystal.proper_operators, nickelate.proper_operators, atol=1e-12)


def test_map_of_known_lattice_only_can_be_saved(nickelate, tmp_path):
    random_map(nickelate).save(tmp_path / "map.ang")
    OrientationMap.load(tmp_path / "map.ang").save(tmp_path / "map.h5")
    crystal = OrientationMap.load(tmp_path / "map.h5").crystal
    assert len(crystal.numbers) == 0
    assert crystal.space_group == 162


def test_map_without_indexed_point(nickelate, tmp_path):
    empty = random_map(nickelate)
    empty.phase[:] = -1
    for name in ("map.ang", "map.h5"):
        empty.save(tmp_path / name)
        assert not OrientationMap.load(tmp_path / name, crystal=nickelate).indexed.any()
    with pytest.raises(MapError, match="give the crystal"):
        OrientationMap.load(tmp_path / "map.ang")


def test_through_crystal_map(nickelate):
    written = random_map(nickelate)
    read = OrientationMap.from_crystal_map(written.to_crystal_map(), nickelate)
    np.testing.assert_allclose(read.euler_deg, written.euler_deg, atol=1e-9)
    np.testing.assert_array_equal(read.score, written.score)
    np.testing.assert_array_equal(
        read.properties["thickness_nm"], written.properties["thickness_nm"]
    )


def test_second_phase_is_not_indexed(nickelate):
    y, x = np.indices((2, 3))
    phases = PhaseList({0: nickelate.phase, 1: Phase("Ag", space_group=225)})
    crystal_map = CrystalMap(
        Rotation.identity((6,)), np.array([0, 0, 1, 0, 1, 0]), x.ravel(), y.ravel(), phases
    )
    with (
        pytest.warns(UserWarning, match="no scores"),
        pytest.warns(UserWarning, match="2 phases: keeping LiNiO2"),
    ):
        read = OrientationMap.from_crystal_map(crystal_map)
    assert read.indexed.tolist() == [[True, True, False], [True, False, True]]
    assert read.crystal.name == "LiNiO2"


def test_incomplete_grid(nickelate):
    crystal_map = random_map(nickelate).to_crystal_map()
    with pytest.raises(MapError, match="square grid"):
        OrientationMap.from_crystal_map(crystal_map[crystal_map.is_indexed], nickelate)


def test_matrices(nickelate):
    found = random_map(nickelate)
    assert found.matrices.shape == (5, 7, 3, 3)
    np.testing.assert_allclose(np.linalg.det(found.matrices), 1)


@pytest.mark.parametrize("name", ["map.ang", "map.h5"])
def test_truncated_map(nickelate, tmp_path, name):
    random_map(nickelate).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    # The last number of an .ang is its pattern fit, which nobody misses.
    for i, size in enumerate(np.linspace(0, len(content) - 12, 40).astype(int)):
        cut = tmp_path / f"{i}_{name}"
        cut.write_bytes(content[:size])
        with pytest.raises(MapError, match=cut.name):
            OrientationMap.load(cut, crystal=nickelate)


@pytest.mark.parametrize("name", ["map.ang", "map.ctf", "map.h5"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89PNG\x00\xff\xfe" * 99, b"# x\n1 2 3\n"])
def test_garbage(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MapError, match=name):
        OrientationMap.load(tmp_path / name)


SILICON = without_sites("Si", (5.431, 5.431, 5.431, 90, 90, 90), 227)


@pytest.mark.parametrize("name", ["map.ang", "map.h5", "orix.h5"])
def test_a_given_crystal_must_be_the_map_s(nickelate, tmp_path, name):
    from orix import io

    silicon = random_map(SILICON)
    if name == "orix.h5":
        io.save(str(tmp_path / name), silicon.to_crystal_map())
    else:
        silicon.save(tmp_path / name)
    with pytest.raises(
        MapError, match=r"map of Si \(Laue group m-3m, .* not of LiNiO2 \(Laue gr.*-3m"
    ):
        OrientationMap.load(tmp_path / name, nickelate)
    assert OrientationMap.load(tmp_path / name, SILICON).crystal is SILICON


@pytest.mark.parametrize(("factor", "fits"), [(1.04, True), (1.06, False)])
def test_a_given_crystal_must_have_the_map_s_cell(nickelate, tmp_path, factor, fits):
    random_map(nickelate).save(tmp_path / "map.ang")
    cell = (*nickelate.cell[:2], nickelate.cell[2] * factor, *nickelate.cell[3:])
    other = without_sites("stretched", cell, 160)  # 3m and -3m are one Laue class
    if fits:
        assert OrientationMap.load(tmp_path / "map.ang", other).crystal is other
    else:
        with pytest.raises(MapError, match="not of stretched"):
            OrientationMap.load(tmp_path / "map.ang", other)


def test_a_map_without_usable_lattice_takes_any_crystal(nickelate, tmp_path):
    path = tmp_path / "map.ang"
    random_map(nickelate).save(path)
    text = path.read_text()
    line = next(line for line in text.splitlines() if "LatticeConstants" in line)
    for constants in ("1 1 1 90 90 90", "0.288 0.288 1.419 90 90 120"):
        path.write_text(text.replace(line, f"# LatticeConstants {constants}"))
        assert OrientationMap.load(path, SILICON).crystal is SILICON


def test_real_map_takes_its_own_kind_of_crystal(shared_data, nickelate):
    folder = shared_data / "third_party"
    assert OrientationMap.load(folder / "layered_oxide/acom.ang", nickelate).crystal is nickelate
    with pytest.raises(MapError, match="not of LiNiO2"):
        OrientationMap.load(folder / "astar/ACOM.ang", nickelate)


def test_no_such_map(tmp_path, nickelate):
    with pytest.raises(MapError, match="No map at"):
        OrientationMap.load(tmp_path / "missing.ang")
    (tmp_path / "map.txt").write_text("x")
    with pytest.raises(MapError, match=r"expected \.ang or \.ctf or \.h5"):
        OrientationMap.load(tmp_path / "map.txt")
    with pytest.raises(MapError, match=r"expected \.ang or \.h5"):
        random_map(nickelate).save(tmp_path / "map.ctf")


def test_failed_save_leaves_the_old_file(nickelate, tmp_path):
    (tmp_path / "map.ang").write_text("old")
    with pytest.raises(MapError, match="single column"):
        random_map(nickelate, (6, 1)).save(tmp_path / "map.ang")
    assert (tmp_path / "map.ang").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["map.ang"]


def test_unwritable_place(nickelate, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        random_map(nickelate).save(tmp_path / "file" / "map.h5")


def test_arrays_must_fit(nickelate):
    good = random_map(nickelate)
    with pytest.raises(MapError, match="reliability"):
        OrientationMap.of_crystal(
            nickelate, good.euler_deg, good.score, good.reliability[:2], good.indexed, 1.0
        )
    with pytest.raises(MapError, match="cannot be called score"):
        OrientationMap.of_crystal(
            nickelate,
            good.euler_deg,
            good.score,
            good.reliability,
            good.indexed,
            1.0,
            {"score": good.reliability},
        )


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


def test_real_orientation(shared_data):
    path = shared_data / "third_party" / "austenite" / "200625ResultsAusteniteNoLin.ctf"
    euler = OrientationMap.load(path).euler_deg[100, 100, 0]
    np.testing.assert_allclose(euler, [83.32, 137.41, 252.76], atol=1e-9)


def test_step_of_ctf_against_its_coordinates(shared_data, tmp_path):
    text = (shared_data / "third_party" / "astar" / "TVIPS_without_mask.ctf").read_text()
    (tmp_path / "map.ctf").write_text(text.replace("XStep\t0.0027", "XStep\t0.0054"))
    with pytest.warns(UserWarning, match=r"2\.7 nm apart, the header says 5\.4"):
        assert OrientationMap.load(tmp_path / "map.ctf").step_nm == pytest.approx(5.4, rel=1e-6)


def test_truncated_ctf(shared_data, tmp_path):
    content = (shared_data / "third_party" / "astar" / "TVIPS_without_mask.ctf").read_bytes()
    for size in np.linspace(0, len(content) - 60, 12).astype(int):
        cut = tmp_path / f"cut{size}.ctf"
        cut.write_bytes(content[:size])
        with pytest.raises(MapError, match=cut.name):
            OrientationMap.load(cut)
