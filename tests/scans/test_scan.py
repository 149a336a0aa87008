import dask.array as da
import numpy as np
import pytest

from zoneaxis.errors import OutputError, ScanError, SettingsError
from zoneaxis.scans.reading import _scan_axes_first
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.units import inverse_length_in_inv_angstrom, length_in_nm
from zoneaxis.scans.writing import write_scan


@pytest.fixture
def patterns():
    return np.random.default_rng(0).integers(0, 5000, (5, 3, 16, 12), dtype=np.uint16)


@pytest.fixture
def scan_file(tmp_path, patterns):
    return write_scan(
        tmp_path / "scan.hspy", patterns, step_nm=2.5, inv_angstrom_per_pixel=0.03, title="t"
    )


@pytest.mark.parametrize(
    ("unit", "nm"),
    [
        *[("nm", 1.0), ("Å", 0.1), ("\u212b", 0.1), ("A", 0.1), ("pm", 1e-3)],
        *[("um", 1e3), ("\u00b5m", 1e3), ("\u03bcm", 1e3), (b"nm", 1.0)],
        *[("px", None), ("mrad", None), ("", None), (None, None), ("A^-1", None)],
    ],
)
def test_lengths(unit, nm):
    assert length_in_nm(unit) == nm


@pytest.mark.parametrize(
    ("unit", "inv_angstrom"),
    [
        *[("1/Å", 1.0), ("1/A", 1.0), ("A^-1", 1.0), ("Å^-1", 1.0), ("$A^{-1}$", 1.0)],
        *[("1/nm", 0.1), ("nm^-1", 0.1), ("nm⁻¹", 0.1), ("nm**-1", 0.1), (r"$\AA^{-1}$", 1.0)],
        *[("mrad", None), ("cm", None), ("px", None), (None, None), ("nm", None), ("1/px", None)],
    ],
)
def test_reciprocal_lengths(unit, inv_angstrom):
    found = inverse_length_in_inv_angstrom(unit)
    assert found == (None if inv_angstrom is None else pytest.approx(inv_angstrom))


def test_write_and_open(scan_file, patterns):
    scan = Scan.open(scan_file)
    assert isinstance(scan.patterns, da.Array)
    assert (scan.shape, scan.path) == ((5, 3), scan_file)
    assert (scan.step_nm, scan.inv_angstrom_per_pixel) == (2.5, 0.03)
    np.testing.assert_array_equal(scan.read(slice(None), slice(None)), patterns)
    np.testing.assert_array_equal(scan.read(slice(1, 3), slice(2, 3)), patterns[1:3, 2:3])


def test_given_calibration_wins(scan_file):
    scan = Scan.open(scan_file, inv_angstrom_per_pixel=0.01, step_nm=7)
    assert (scan.step_nm, scan.inv_angstrom_per_pixel) == (7, 0.01)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_senseless_calibration(scan_file, value):
    with pytest.raises(ScanError, match="must be > 0"):
        Scan.open(scan_file, inv_angstrom_per_pixel=value)


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 8, 8)])
def test_numpy_file(tmp_path, shape):
    data = np.arange(np.prod(shape)).reshape(shape)
    np.save(tmp_path / "scan.npy", data)
    with pytest.warns(UserWarning, match="no scan step"):
        scan = Scan.open(tmp_path / "scan.npy")
    assert scan.inv_angstrom_per_pixel is None
    assert scan.step_nm == 1.0
    read = scan.read(slice(None), slice(None))
    np.testing.assert_array_equal(read, data if data.ndim == 4 else data[None])


def test_pattern_axes_come_last():
    y, energy, x = ({"navigate": navigate} for navigate in (True, False, True))
    assert _scan_axes_first([y, energy, x], 3) is None  # spectra
    assert _scan_axes_first([energy, energy, x], 3) == [2, 0, 1]
    assert _scan_axes_first([y, x, energy, energy], 4) == [0, 1, 2, 3]
    assert _scan_axes_first([{}] * 4, 4) == [0, 1, 2, 3]


def test_no_such_scan(tmp_path):
    with pytest.raises(ScanError, match="No scan at"):
        Scan.open(tmp_path / "missing.hspy")
    with pytest.raises(ScanError, match="is a folder"):
        Scan.open(tmp_path)


def test_unknown_extension(tmp_path):
    (tmp_path / "scan.docx").write_text("x")
    with pytest.raises(ScanError, match="kind that cannot be read"):
        Scan.open(tmp_path / "scan.docx")


@pytest.mark.parametrize(
    "data", [np.ones((8, 8)), np.ones((2, 2, 8, 8), complex), np.ones((2, 2, 8, 8), bool)]
)
def test_not_patterns(tmp_path, data):
    np.save(tmp_path / "scan.npy", data)
    with pytest.raises(ScanError, match="holds no patterns"):
        Scan.open(tmp_path / "scan.npy")


def test_truncated_file(tmp_path, scan_file):
    content = scan_file.read_bytes()
    for i, size in enumerate(np.linspace(0, len(content) - 1, 15).astype(int)):
        cut = tmp_path / f"cut{i}.hspy"  # HDF5 remembers names
        cut.write_bytes(content[:size])
        with pytest.raises(ScanError, match=cut.name):
            Scan.open(cut)


def test_damaged_chunk_is_found_when_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65536, (16, 8, 32, 32), dtype=np.uint16)
    whole = write_scan(
        tmp_path / "whole.hspy", noise, step_nm=1, inv_angstrom_per_pixel=0.02, title="t"
    )
    content = bytearray(whole.read_bytes())
    middle = len(content) // 4  # in the first of two chunks
    content[middle : middle + 1000] = bytes(1000)
    damaged = tmp_path / "damaged.hspy"
    damaged.write_bytes(content)
    scan = Scan.open(damaged)
    with pytest.raises(ScanError, match=r"damaged\.hspy cannot be read from row 0"):
        scan.read(slice(0, 8), slice(0, 8))


def test_write_needs_hspy(tmp_path, patterns):
    with pytest.raises(OutputError, match="hspy"):
        write_scan(tmp_path / "s.blo", patterns, step_nm=1, inv_angstrom_per_pixel=1, title="t")


def test_real_files(shared_data):
    data = shared_data / "third_party"
    scan = Scan.open(data / "austenite" / "subset_data.hspy")
    assert scan.patterns.shape == (2, 2, 256, 256)
    assert (scan.step_nm, scan.inv_angstrom_per_pixel) == (2.0, 0.01261)
    blockfile = Scan.open(data / "blockfile" / "test1.blo")
    assert blockfile.patterns.shape == (3, 2, 144, 144)
    assert blockfile.inv_angstrom_per_pixel is None  # it says cm on the camera
    assert blockfile.step_nm == pytest.approx(12.8)


@pytest.mark.parametrize(
    ("name", "shape", "pixel"),
    [
        ("layered_oxide/scan.hspy", (80, 58, 128, 128), 0.025),
        ("silver/SPED_Ag_labels_sum_signal.hspy", (1, 5, 112, 112), 0.0267283),
    ],
)
def test_real_files_without_step(shared_data, name, shape, pixel):
    with pytest.warns(UserWarning, match="no scan step"):
        scan = Scan.open(shared_data / "third_party" / name)
    assert scan.patterns.shape == shape
    assert scan.inv_angstrom_per_pixel == pytest.approx(pixel, abs=1e-7)
    assert scan.step_nm == 1.0


def test_masks_are_not_patterns(shared_data):
    with pytest.raises(ScanError, match="bool"):
        Scan.open(shared_data / "third_party" / "silver" / "SPED_Ag_labels.hspy")


def test_truncated_blockfile(shared_data, tmp_path):
    content = (shared_data / "third_party" / "blockfile" / "test1.blo").read_bytes()
    for size in np.linspace(0, len(content) - 1, 25).astype(int):
        cut = tmp_path / f"cut{size}.blo"
        cut.write_bytes(content[:size])
        with pytest.raises(ScanError, match=cut.name):
            Scan.open(cut).read(slice(None), slice(None))


def test_crop_takes_neighboring_points_only_and_a_scan_says_what_it_is(tmp_path):
    scan = Scan(da.ones((4, 6, 8, 8), dtype=np.uint8), 2.0, 0.02, tmp_path / "a.hspy")
    with pytest.raises(SettingsError, match="step 1"):
        scan.crop(slice(0, 4, 2), slice(0, 6))
    text = repr(scan.crop(slice(0, 2), slice(0, 3)))
    assert text.startswith("Scan a.hspy: 2 x 3 points, 2 nm apart, patterns of 8 x 8 uint8")
    assert len(text) < 200
