"""Bad input in the two text formats: refused with one clear error."""

import numpy as np
import pytest
from map_samples import COPPER, SILICON, SILVER, random_map

from zoneaxis.errors import MapError
from zoneaxis.scans.orientation_map import OrientationMap

FIRST_ANGLE = {".ang": 0, ".ctf": 5}  # its column
SUFFIXES = sorted(FIRST_ANGLE)


@pytest.fixture(params=SUFFIXES)
def written(request, tmp_path):
    """A map of two phases in a file of each format."""
    found = random_map((COPPER, SILVER), (4, 5))
    found.phase[:] = np.arange(20).reshape(4, 5) % 2
    path = tmp_path / f"map{request.param}"
    found.save(path)
    return path


def with_field(path, line, column, value):
    """Set one field of the table's `line`, -1 for the last."""
    lines = path.read_text().splitlines()
    fields = lines[line - 20 if line >= 0 else line].split()
    fields[column] = value
    lines[line - 20 if line >= 0 else line] = "\t".join(fields)
    path.write_text("\n".join(lines) + "\n")


def test_truncated(written, tmp_path):
    content = written.read_bytes()
    last_number = len(content.rstrip()) - len(content.split()[-1])
    for size in np.random.default_rng(0).integers(0, last_number, 50):
        cut = tmp_path / f"{size}_{written.name}"
        cut.write_bytes(content[:size])
        with pytest.raises(MapError, match=cut.name):
            OrientationMap.load(cut)


def test_real_truncated(shared_data, tmp_path):
    path = shared_data / "third_party" / "astar" / "TVIPS_without_mask.ctf"
    content = path.read_bytes()
    for size in np.random.default_rng(0).integers(0, len(content) - 4, 50):
        cut = tmp_path / f"{size}.ctf"
        cut.write_bytes(content[:size])
        with pytest.raises(MapError, match=cut.name):
            OrientationMap.load(cut)


def test_a_cut_last_number_does_not_matter(written):
    whole = OrientationMap.load(written)
    written.write_bytes(written.read_bytes().rstrip()[:-1] or b"0")
    if written.suffix == ".ctf":  # its last number has a single digit
        with pytest.raises(MapError, match="line 20 of its table has 10 columns, the first has 11"):
            OrientationMap.load(written)
    else:
        np.testing.assert_array_equal(OrientationMap.load(written).phase, whole.phase)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_not_a_number(written, value):
    with_field(written, 3, FIRST_ANGLE[written.suffix], value)
    with pytest.raises(MapError, match=rf"column phi1 holds {value} in line 4 of its table"):
        OrientationMap.load(written)


def test_word_in_the_table(written):
    with_field(written, 3, FIRST_ANGLE[written.suffix], "1.2.3")
    with pytest.raises(MapError, match="line 4 of its table is not of numbers"):
        OrientationMap.load(written)


@pytest.mark.parametrize("value", ["", "1 2"])
def test_line_of_other_length(written, value):
    with_field(written, 3, FIRST_ANGLE[written.suffix], value)
    with pytest.raises(MapError, match=r"line 4 of its table has \d+ columns, the first has"):
        OrientationMap.load(written)


def test_too_few_columns(written):
    lines = written.read_text().splitlines()
    start = len(lines) - 20
    lines[start:] = [" ".join(line.split()[:7]) for line in lines[start:]]
    written.write_text("\n".join(lines))
    with pytest.raises(MapError, match=r"has 7 columns: expected \d+ or more"):
        OrientationMap.load(written)


def test_phase_without_entry(written):
    with_field(written, -1, {".ang": 7, ".ctf": 0}[written.suffix], "3")
    with pytest.raises(MapError, match="has points of phase 3 but lists 1, 2"):
        OrientationMap.load(written)


def test_two_phases_where_one_is_expected(written):
    with pytest.raises(MapError, match=r"2 phases \(Cu and Ag\), give a crystal for each"):
        OrientationMap.load(written, COPPER)
    with pytest.raises(MapError, match=r"several phases \(Cu, Ag\): choose one with `of_phase`"):
        _ = OrientationMap.load(written).crystal


def test_points_out_of_order(written):
    lines = written.read_text().splitlines()
    lines[-3], lines[-9] = lines[-9], lines[-3]
    written.write_text("\n".join(lines))
    with pytest.raises(MapError, match="not a complete square grid, 4 rows of 5 points"):
        OrientationMap.load(written)


def test_unequal_steps(written):
    lines = written.read_text().splitlines()
    for i in range(len(lines) - 20, len(lines)):
        fields = lines[i].split()
        y = {".ang": 4, ".ctf": 2}[written.suffix]
        fields[y] = str(2 * float(fields[y]))
        lines[i] = "\t".join(fields)
    text = "\n".join(lines)
    for name in ("YSTEP: 0.020372", "YStep\t0.020372"):
        text = text.replace(name, name.replace("0.020372", "0.040744"))
    written.write_text(text)
    with pytest.raises(MapError, match=r"0\.020372 along x and 0\.040744 along y"):
        OrientationMap.load(written)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\r\n \r\n", "empty"),
        (b"\x89PNG\x00\xff\xfe" * 99, "not a text file"),
        (bytes(range(1, 256)) * 9, ""),
        (b"hello\n", ""),
        (b"# x\n1 2 3\n", ""),
        (b"# x\n", ""),
    ],
)
def test_garbage(tmp_path, suffix, content, message):
    path = tmp_path / f"map{suffix}"
    path.write_bytes(content)
    with pytest.raises(MapError, match=rf"map\{suffix}: .*{message}"):
        OrientationMap.load(path)


def test_latin_1(written):
    """As programs on Windows write names."""
    written.write_bytes(written.read_bytes().replace(b"Cu", b"Cu-\xe9"))
    assert OrientationMap.load(written).crystals[0].name == "Cu-é"


def test_scores_that_are_no_numbers_are_written_as_0(tmp_path):
    found = random_map(SILICON)
    found.score[found.indexed] = np.nan
    for suffix in SUFFIXES:
        found.save(tmp_path / f"map{suffix}")
        assert not OrientationMap.load(tmp_path / f"map{suffix}").score[found.indexed].any()
