import numpy as np
import pytest
from map_samples import COPPER, CRYSTALS, SILICON, random_map
from orix import io

from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.errors import MapError
from zoneaxis.scans.orientation_map import OrientationMap

ANG_DEG = 1e-3  # .ang stores 1e-5 rad, rounded thrice
TSL = """\
# TEM_PIXperUM          1.000000
# x-star                0.413900
#
# Phase 2
# MaterialName  \tAustenite
# Formula     \tFe
# Info \t\t
# Symmetry              43
# LatticeConstants      3.595 3.595 3.595  90.000  90.000  90.000
# NumberFamilies        4
# hklFamilies   \t 1  1  1 1 0.000000
# Phase 1
# MaterialName  \tZirconium (alpha)
# Formula     \tZr
# Info \t\t
# Symmetry              62
# LatticeConstants      3.230 3.230 5.150  90.000  90.000 120.000
# NumberFamilies        0
#
# GRID: SqrGrid
# XSTEP: 0.100000
# YSTEP: 0.100000
# NCOLS_ODD: 3
# NCOLS_EVEN: 3
# NROWS: 2
#
  4.48549   0.95242   0.79150      0.00000      0.00000   22.2  0.060 2      1  1.308
  1.34390   0.27611   0.82589      0.10000      0.00000   18.1  0.400 1      1  1.365
  1.34390   0.27611   0.82589      0.20000      0.00000   16.1  0.300 1      1  1.365
  1.34390   0.27611   0.82589      0.00000      0.10000   16.1  0.200 2      1  1.365
  1.34390   0.27611   0.82589      0.10000      0.10000   16.1 -1.000 1      1  1.365
 12.56637  12.56637  12.56637      0.20000      0.10000    0.0 -1.000 0      1 180.00
"""


@pytest.fixture
def saved(tmp_path):
    """The text of a .ang, changed and read again."""

    def load(text, *changes, **options):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "changed.ang").write_text(text)
        return OrientationMap.load(tmp_path / "changed.ang", **options)

    return load


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda crystal: crystal.name)
def test_orix_reads_what_we_write(tmp_path, crystal):
    written = random_map(crystal)
    written.save(tmp_path / "map.ang")
    theirs = io.load(str(tmp_path / "map.ang"), autogen_names=False)
    assert theirs.shape == (5, 7)
    assert theirs.dx * 1e3 == pytest.approx(written.step_nm, rel=1e-6)
    good = written.indexed
    np.testing.assert_array_equal(theirs.is_indexed.reshape(5, 7), good)
    # No frame changes: not even the choice among symmetric equivalents does.
    matrices = theirs.rotations.to_matrix().reshape(5, 7, 3, 3)
    angles = misorientation_deg(matrices, written.matrices, np.eye(3)[None])
    assert angles[good].max() < ANG_DEG
    np.testing.assert_allclose(theirs["indexed"].iq, written.score[good][:, 0], atol=1e-7)
    np.testing.assert_allclose(theirs["indexed"].ci, written.reliability[good], atol=1e-7)
    phase = theirs.phases[1]
    assert phase.name == crystal.name
    assert phase.structure.lattice.abcABG() == pytest.approx(crystal.cell)
    assert phase.point_group.laue.name == crystal.point_group.laue.name


@pytest.mark.parametrize("step_nm", [0.05, 1 / 3, 20.372, 1000.0])
def test_steps(tmp_path, step_nm):
    random_map(SILICON, (2, 40), step_nm=step_nm).save(tmp_path / "map.ang")
    assert OrientationMap.load(tmp_path / "map.ang").step_nm == pytest.approx(step_nm, rel=1e-8)
    assert io.load(str(tmp_path / "map.ang")).shape == (2, 40)


def test_several_phases(tmp_path, nickelate):
    written = random_map((nickelate, SILICON, COPPER))
    written.save(tmp_path / "map.ang")
    theirs = io.load(str(tmp_path / "map.ang"), autogen_names=False)
    assert theirs.phases.names == ["not_indexed", "LiNiO2", "Si", "Cu"]
    expected = np.where(written.indexed, written.phase + 1, -1).ravel()
    np.testing.assert_array_equal(theirs.phase_id, expected)
    read = OrientationMap.load(tmp_path / "map.ang", crystals=(nickelate, SILICON, COPPER))
    np.testing.assert_array_equal(read.phase, written.phase)
    assert read.crystals == (nickelate, SILICON, COPPER)


def test_not_indexed_as_oim_and_mtex_have_it(tmp_path):
    written = random_map(SILICON)
    written.save(tmp_path / "map.ang")
    table = np.loadtxt(tmp_path / "map.ang")
    bad = table[~written.indexed.ravel()]
    np.testing.assert_allclose(bad[:, :3], 4 * np.pi, atol=1e-5)
    assert (bad[:, 6:] == [-1, 0, 0, 180]).all()
    score = OrientationMap.load(tmp_path / "map.ang").score
    np.testing.assert_allclose(score, written.score, atol=1e-7)  # of all points


def test_tsl(saved, tmp_path):
    found = saved(TSL)
    assert (found.shape, found.step_nm) == ((2, 3), 100.0)
    assert [c.name for c in found.crystals] == ["Zirconium (alpha)", "Austenite"]
    assert [c.point_group.name for c in found.crystals] == ["6/mmm", "m-3m"]
    np.testing.assert_array_equal(found.phase, [[1, 0, 0], [1, -1, -1]])
    assert found.score[0, 0, 0] == np.float32(22.2)
    theirs = io.load(str(tmp_path / "changed.ang"), autogen_names=False)
    same = OrientationMap.from_crystal_map(theirs)
    np.testing.assert_array_equal(same.phase, found.phase)
    np.testing.assert_allclose(same.matrices[same.indexed], found.matrices[found.indexed])


def test_a_single_phase_is_number_0(saved):
    """As EDAX writes it."""
    two, one = TSL.index("# Phase 2"), TSL.index("# Phase 1")
    rows = [(f"{a} {n}      1 ", f"{a} 0      1 ") for n in (1, 2) for a in ("60", "400", "300")]
    text = TSL[:two] + TSL[one:]
    for old, new in [*rows, ("0.200 2", "0.200 0"), ("-1.000 1", "-1.000 0")]:
        text = text.replace(old, new)
    np.testing.assert_array_equal(saved(text).phase, [[0, 0, 0], [0, -1, -1]])


def test_point_group_of_other_writers(saved):
    assert saved(TSL, ("Symmetry              43", "Symmetry  m-3")).crystals[1].space_group == 200


def test_emsoft_has_no_score_of_ours(saved):
    text = TSL.replace("# TEM_PIXperUM", "# EMsoft v. 4_1\n# TEM_PIXperUM")
    with pytest.warns(UserWarning, match="no scores"):
        assert not saved(text).score.any()


def test_ang_without_crystal_knows_lattice_and_laue_group(nickelate, tmp_path):
    random_map(nickelate).save(tmp_path / "map.ang")
    crystal = OrientationMap.load(tmp_path / "map.ang").crystal
    assert crystal.cell == pytest.approx(nickelate.cell)
    assert crystal.point_group.name == nickelate.point_group.name == "-3m"
    np.testing.assert_allclose(crystal.proper_operators, nickelate.proper_operators, atol=1e-12)


def test_a_single_point(saved):
    lines = TSL.splitlines(keepends=True)
    text = "".join(line for line in lines[:27] if "NROWS" not in line and "STEP" not in line)
    text = text.replace("NCOLS_ODD: 3", "NCOLS_ODD: 1")
    with pytest.warns(UserWarning, match="single point without a step"):
        found = saved(text)
    assert (found.shape, found.step_nm) == ((1, 1), 1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NROWS: 2", "NROWS: 3", "announces 3 x 3 points and holds 6"),
        ("NCOLS_ODD: 3\n# NCOLS_EVEN: 3\n# NROWS: 2", "NCOLS_ODD: 2\n# NROWS: 3", "square grid"),
        ("SqrGrid", "HexGrid", "grid is hexagonal"),
        ("XSTEP: 0.1", "XSTEP: 0.2", "points lie 100 nm apart, the header says 200"),
        (
            "LatticeConstants      3.595 3.595 3.595",
            "LatticeConstants  a b c",
            "phase 1 of its header",
        ),
        ("# Phase 2", "# Phase 1", r"two phases of one number \(1, 1\)"),
        ("# Phase 2", "# Phase 3", r"has points of phase 2 but lists 1, 3"),
        ("3.595 3.595 3.595", "3.595 3.595 4.1", "lacks that symmetry"),
        ("Symmetry              62", "Symmetry   20", "unique axis along b"),
        ("Symmetry              62", "Symmetry   99", "no symmetry of Zirconium"),
        ("3.595 3.595 3.595", "1 1 1", "no lattice constants in Angstrom of Austenite"),
        ("0.060 2 ", "0.060 2.5 ", "column phase holds 2.5"),
        ("0.060 2 ", "0.060 inf ", "column phase holds inf"),
        ("NROWS: 2\n", "NROWS: 2\n# COLUMN_COUNT: 14\n", "announces 14 columns and has 10"),
    ],
)
def test_contradictions(saved, old, new, message):
    with pytest.raises(MapError, match=message):
        saved(TSL, (old, new))


def test_degrees_in_radians_place(saved):
    degrees = TSL.replace("  4.48549   0.95242   0.79150", "  257.0   54.57   45.35")
    with pytest.raises(MapError, match=r"reach 257, .* degrees=True"):
        saved(degrees)
    found = saved(degrees, degrees=True)
    np.testing.assert_allclose(found.euler_deg[0, 0, 0], [257.0, 54.57, 45.35])
    # A grain near the axes: Phi beyond 180 degrees is none either.
    with pytest.raises(MapError, match="degrees=True"):
        saved(TSL, ("0.95242", "5.1"))


def test_astar_counts_no_points(shared_data, tmp_path):
    """Cut after a whole row or within the first, it is a smaller map; else it is refused."""
    path = shared_data / "third_party" / "astar" / "ACOM.ang"
    content = path.read_bytes()
    whole = OrientationMap.load(path)
    row = content.index(b"\n", content.index(b"28.000     8.000")) + 1
    accepted = []
    for size in (*np.random.default_rng(0).integers(0, len(content), 50), row):
        cut = tmp_path / f"cut{size}.ang"
        cut.write_bytes(content[:size])
        try:
            found = OrientationMap.load(cut)
        except MapError:
            continue
        accepted.append(found.shape)
        rows, cols = found.shape
        assert cols == 15 or rows == 1
        np.testing.assert_array_equal(found.euler_deg, whole[:rows, :cols].euler_deg)
    assert len(accepted) < 5
    assert accepted[-1] == (5, 15)
