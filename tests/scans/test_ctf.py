from dataclasses import replace

import numpy as np
import pytest
from map_samples import COPPER, CRYSTALS, SILICON, random_map
from orix import io

from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.errors import MapError
from zoneaxis.scans.orientation_map import OrientationMap

CTF_DEG = 2e-5  # .ctf stores 1e-5 degrees, rounded thrice
OXFORD = """\
Channel Text File
Prj\tsample
Author\t[Unknown]
JobMode\tGrid
XCells\t3
YCells\t2
XStep\t0,1
YStep\t0,1
AcqE1\t0
AcqE2\t0
AcqE3\t0
Euler angles refer to Sample Coordinate system (CS0)!\tMag\t180\tCoverage\t100\tDevice\t0\tKV\t20
Phases\t2
3,524;3,524;3,524\t90;90;90\tNi-superalloy\t11\t225\t\t\tSome reference
2,95;2,95;4,68\t90;90;120\tTi-Hex\t9\t0\t3803863129_5.0.6.3\t-1823\tAnother
Phase\tX\tY\tBands\tError\tEuler1\tEuler2\tEuler3\tMAD\tBC\tBS
1\t0,0000\t0,0000\t12\t0\t45,1020\t29,9010\t20,3080\t0,5100\t152\t159
1\t0,1000\t0,0000\t10\t0\t45,1020\t29,9010\t20,3080\t0,5100\t152\t159
0\t0,2000\t0,0000\t0\t3\t0,0000\t0,0000\t0,0000\t0,0000\t71\t100
2\t0,0000\t0,1000\t8\t0\t145,1020\t129,9010\t20,3080\t0,7100\t152\t159
2\t0,1000\t0,1000\t8\t0\t145,1020\t129,9010\t20,3080\t0,7100\t152\t159
1\t0,2000\t0,1000\t8\t0\t45,1020\t29,9010\t20,3080\t0,7100\t152\t159
"""
ASTAR = """\
Channel Text File
Prj\tx.res
Author\tFile created from ACOM RES results
JobMode\tGrid
XCells\t4
YCells\t2
XStep\t0.00191999995708466
YStep\t0.00191999995708466
Phases\t1
3.6150;3.6150;3.6150\t90;90;90\tPhase_1\t11\t225
Phase\tX\tY\tBands\tError\tEuler1\tEuler2\tEuler3\tMAD\tBC\tBS
""" + "".join(
    f"1\t{x}\t{y}\t6\t0\t233.79\t35.66\t90.16\t0.0700\t43\t50\n"
    for y in ("0.0000", "0.0019")
    for x in ("0.0000", "0.0019", "0.0038", "0.0058")
)  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """The text of a .ctf, changed and read again."""

    def load(text, *changes, **options):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "changed.ctf").write_text(text)
        return OrientationMap.load(tmp_path / "changed.ctf", **options)

    return load


# orix 0.15 knows Laue group 10 by a name, m3, that it does not have.
READ_BY_ORIX = [crystal for crystal in CRYSTALS if crystal.point_group.name != "m-3"]


# orix takes the Laue group for the point group, and drops a space group of less symmetry.
@pytest.mark.filterwarnings("ignore:Setting space group to 'None'")
@pytest.mark.parametrize("crystal", READ_BY_ORIX, ids=lambda crystal: crystal.name)
def test_orix_reads_what_we_write(tmp_path, crystal):
    written = random_map(crystal)
    written.save(tmp_path / "map.ctf")
    theirs = io.load(str(tmp_path / "map.ctf"))
    assert theirs.shape == (5, 7)
    assert theirs.dx * 1e3 == pytest.approx(written.step_nm, rel=1e-6)
    good = written.indexed
    np.testing.assert_array_equal(theirs.is_indexed.reshape(5, 7), good)
    # No frame changes: not even the choice among symmetric equivalents does.
    matrices = theirs.rotations.to_matrix().reshape(5, 7, 3, 3)
    angles = misorientation_deg(matrices, written.matrices, np.eye(3)[None])
    assert angles[good].max() < CTF_DEG
    np.testing.assert_allclose(theirs.BC / 100, written.score.ravel(), atol=1e-7)
    np.testing.assert_allclose(theirs.MAD, written.reliability.ravel(), atol=1e-7)
    phase = theirs.phases[1]
    assert phase.name == crystal.name
    assert phase.structure.lattice.abcABG() == pytest.approx(crystal.cell)
    assert phase.point_group.laue.name == crystal.point_group.laue.name


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda crystal: crystal.name)
def test_the_space_group_is_kept(tmp_path, crystal):
    random_map(crystal).save(tmp_path / "map.ctf")
    assert OrientationMap.load(tmp_path / "map.ctf").crystal.space_group == crystal.space_group


def test_several_phases(tmp_path, nickelate):
    written = random_map((nickelate, SILICON, COPPER))
    written.save(tmp_path / "map.ctf")
    theirs = io.load(str(tmp_path / "map.ctf"))
    assert theirs.phases.names == ["not_indexed", "LiNiO2", "Si", "Cu"]
    expected = np.where(written.indexed, written.phase + 1, -1).ravel()
    np.testing.assert_array_equal(theirs.phase_id, expected)
    read = OrientationMap.from_crystal_map(theirs)
    np.testing.assert_array_equal(read.phase, written.phase)
    np.testing.assert_allclose(read.score, written.score, atol=1.2e-7)


@pytest.mark.parametrize("step_nm", [0.05, 1 / 3, 20.372, 1000.0])
def test_steps(tmp_path, step_nm):
    random_map(SILICON, (2, 40), step_nm=step_nm).save(tmp_path / "map.ctf")
    assert OrientationMap.load(tmp_path / "map.ctf").step_nm == pytest.approx(step_nm, rel=1e-8)
    assert io.load(str(tmp_path / "map.ctf")).shape == (2, 40)


def test_not_indexed_points_keep_their_scores(tmp_path):
    written = random_map(SILICON)
    written.save(tmp_path / "map.ctf")
    read = OrientationMap.load(tmp_path / "map.ctf")
    np.testing.assert_allclose(read.score, written.score, atol=1.2e-7)
    np.testing.assert_allclose(read.reliability, written.reliability, atol=1.2e-7)
    table = np.loadtxt(tmp_path / "map.ctf", skiprows=15)[~written.indexed.ravel()]
    assert (table[:, [0, 3, 4, 5, 6, 7]] == [0, 0, 3, 0, 0, 0]).all()


def test_file_is_what_channel_5_expects(tmp_path):
    """Lines end as on Windows, the header stands in the usual order, without blank lines."""
    random_map((SILICON, COPPER)).save(tmp_path / "map.ctf")
    content = (tmp_path / "map.ctf").read_bytes().decode()
    assert content.count("\r\n") == content.count("\n") == 16 + 35
    keys = [line.split("\t")[0] for line in content.split("\r\n")[:13]]
    assert " ".join(keys[:12]) == (
        "Channel Text File Prj Author JobMode XCells YCells XStep YStep AcqE1 AcqE2 AcqE3 "
        "Euler angles refer to Sample Coordinate system (CS0)!"
    )
    assert keys[12] == "Phases"


def test_names_stay_on_their_line(tmp_path):
    random_map(replace(SILICON, name="Si\tβ\nlow")).save(tmp_path / "map.ctf")
    assert OrientationMap.load(tmp_path / "map.ctf").crystal.name == "Si β low"


def test_oxford_with_commas(saved):
    with (
        pytest.warns(UserWarning, match="no scores"),  # MAD is an angle, BC a band contrast
        pytest.warns(UserWarning, match="put Ti-Hex 30 degrees about c"),
    ):
        found = saved(OXFORD)
    assert (found.shape, found.step_nm) == ((2, 3), pytest.approx(100.0))
    assert [c.name for c in found.crystals] == ["Ni-superalloy", "Ti-Hex"]
    assert [c.space_group for c in found.crystals] == [225, 191]
    np.testing.assert_array_equal(found.phase, [[0, 0, -1], [1, 1, 0]])
    np.testing.assert_allclose(found.euler_deg[1, 0, 0], [145.102, 129.901, 20.308])


@pytest.mark.filterwarnings("ignore:The map has no scores", "ignore:Programs that have x along")
def test_oxford_as_orix_reads_it(saved, tmp_path):
    found = saved(OXFORD.replace(",", "."))
    theirs = OrientationMap.from_crystal_map(io.load(str(tmp_path / "changed.ctf")))
    np.testing.assert_array_equal(theirs.phase, found.phase)
    np.testing.assert_allclose(theirs.matrices[found.indexed], found.matrices[found.indexed])
    assert [c.cell for c in theirs.crystals] == [c.cell for c in found.crystals]
    assert [c.space_group for c in theirs.crystals] == [c.space_group for c in found.crystals]


@pytest.mark.filterwarnings("ignore:Programs that have x along")
def test_without_scores(saved):
    text = "\n".join(
        "\t".join(fields[:8]) if len(fields := line.split("\t")) == 11 else line
        for line in OXFORD.splitlines()
    )
    with pytest.warns(UserWarning, match="no scores"):
        assert saved(text).indexed.sum() == 5


def test_astar_rounds_its_coordinates(saved):
    found = saved(ASTAR)
    assert found.shape == (2, 4)
    assert found.step_nm == pytest.approx(1.92, rel=1e-6)
    assert found.score.max() == np.float32(0.43)
    assert found.reliability.max() == np.float32(0.07)


def test_astar_contradicts_its_coordinates(saved):
    contradiction = ("Step\t0.00191999995708466", "Step\t0.0054")
    with (
        pytest.warns(UserWarning, match=r"along x points lie 1\.93333 nm .* the header says 5\.4"),
        pytest.warns(UserWarning, match=r"along y points lie 1\.9 nm .* the header says 5\.4"),
    ):
        assert saved(ASTAR, contradiction).step_nm == pytest.approx(5.4)


@pytest.mark.filterwarnings("ignore:The map has no scores")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("XCells\t3", "XCells\t4", "announces 2 x 4 points and holds 6"),
        ("XCells\t3\nYCells\t2", "XCells\t2\nYCells\t3", "not a complete square grid"),
        ("XStep\t0,1", "XStep\t0,2", "points lie 100 nm apart, the header says 200"),
        ("Phases\t2", "Phases\t9", "announces 9 phases and lists 2"),
        ("Phases\t2", "Phases\tmany", "lists no phases"),
        ("Phases\t2", "Phases\t1", "has points of phase 2 but lists 1"),
        ("\t11\t225", "\t99\t225", "phase 1 of its header cannot be read"),
        ("\t11\t225", "\t0\t225", "phase 1 of its header cannot be read"),
        ("\t11\t225", "\t7\t225", "no symmetry of Ni"),
        ("3,524;3,524;3,524\t", "3,524\t", "no lattice constants"),
        ("90;90;90", "90;91;110", "lacks that symmetry"),
        ("\nPhase\tX", "\nPhaseX", "names the columns is missing"),
        ("Channel", "Canal", "does not begin with 'Channel Text File'"),
        ("MAD\tBC\tBS", "MAD\tBC\tBS\tAFI", "names 12 columns and has 11"),
    ],
)
def test_contradictions(saved, old, new, message):
    with pytest.raises(MapError, match=message):
        saved(OXFORD, (old, new))


def test_radians_in_degrees_place(saved):
    radians = ASTAR.replace("233.79\t35.66\t90.16", "4.0804\t0.6224\t1.5736")
    with pytest.raises(MapError, match=r"reach 4\.0804 only, .* degrees=False.* =True"):
        saved(radians)
    np.testing.assert_allclose(
        saved(radians, degrees=False).euler_deg[0, 0, 0], [233.79, 35.66, 90.16], atol=2e-2
    )
    np.testing.assert_allclose(saved(radians, degrees=True).euler_deg[0, 0, 0, 0], 4.0804)


def test_a_grain_along_the_axes(saved, tmp_path):
    """It is taken where its angles are all 0, or where we wrote them."""
    assert not saved(ASTAR, ("233.79\t35.66\t90.16", "0.00\t0.00\t0.00")).euler_deg.any()
    written = random_map(SILICON)
    written.euler_deg[:] = [1.0, 2.0, 3.0]
    written.save(tmp_path / "map.ctf")
    read = OrientationMap.load(tmp_path / "map.ctf")
    np.testing.assert_allclose(read.euler_deg[read.indexed], written.euler_deg[read.indexed])
