"""Pixel size and ellipse come out of patterns that were made with known ones."""

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.render import render
from zoneaxis.errors import ScanError
from zoneaxis.evaluation.calibration import _decided, calibrate
from zoneaxis.evaluation.pixel_size_fit import PixelSizeFit
from zoneaxis.scans.calibration import Calibration
from zoneaxis.scans.detectors import dark_field, otsu_mask, virtual_images
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.peaks import Peaks
from zoneaxis.scans.phantom import Phantom, write_phantom
from zoneaxis.scans.pixel_size import propose_pixel_sizes, reflection_shells
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.survey import survey_scan

PIXEL, SIZE, SHAPE = 0.024, 128, (8, 10)
COUNTS = 2e4


@pytest.fixture(scope="module")
def scan(nickelate):
    """Kinematic patterns in random orientations, with noise, a drifting beam and vacuum."""
    rng = np.random.default_rng(0)
    n = SHAPE[0] * SHAPE[1]
    phi1, cosine, phi2 = rng.uniform(0, 360, n), rng.uniform(0, 1, n), rng.uniform(0, 120, n)
    directions = np.stack([np.rad2deg(np.arccos(cosine)), phi2], axis=1)
    disks = enveloped_disks(nickelate, Optics(300.0, 1.5, 0.0, 1.7), directions)
    intensity = 0.4 * disks.intensity / disks.intensity.sum(dim=2, keepdim=True)
    intensity[:, :, 0] = 0.6
    rows, cols = np.indices(SHAPE).reshape(2, -1)
    centers = torch.tensor(np.stack([64.3 + 0.1 * cols, 63.2 - 0.1 * rows], axis=1))
    patterns = [
        render(
            replace(
                disks,
                hkl=disks.hkl[i : i + 1],
                q_inv_angstrom=disks.q_inv_angstrom[i : i + 1],
                intensity=intensity[i : i + 1],
            ),
            SIZE,
            PIXEL,
            float(phi1[i]),
            tuple(centers[i].tolist()),
        )[0, 0]
        for i in range(n)
    ]
    counts = rng.poisson(COUNTS * torch.stack(patterns).clamp_min(0).numpy() + 0.2)
    counts = counts.astype(np.uint16).reshape(*SHAPE, SIZE, SIZE)
    return Scan(da.from_array(counts, chunks=(4, 5, SIZE, SIZE)), 2.0, None, Path("known.hspy"))


@pytest.fixture(scope="module")
def survey(scan):
    return survey_scan(scan)


@pytest.fixture(scope="module")
def found(survey, nickelate):
    return calibrate(survey, nickelate)


def test_pixel_size_from_scratch(found):
    size = found.size
    assert size.inv_angstrom_per_pixel == pytest.approx(PIXEL, rel=0.005)
    assert 0 < size.error_inv_angstrom_per_pixel < 0.005 * PIXEL
    assert size.rivals == ()
    assert size.n_peaks > 300
    assert found.ellipse == Ellipse()  # nothing that stands out of its error
    assert found.ellipse_error < 0.01
    true = np.stack([64.3 + 0.1 * np.indices(SHAPE)[1], 63.2 - 0.1 * np.indices(SHAPE)[0]], -1)
    assert np.abs(found.drift.centers(SHAPE) - true).max() < 0.15


def test_pixel_size_near_a_rough_one(survey, nickelate):
    found = calibrate(survey, nickelate, near_inv_angstrom=1.1 * PIXEL)
    assert found.size.inv_angstrom_per_pixel == pytest.approx(PIXEL, rel=0.005)
    with pytest.raises(ScanError, match=r"No pixel size within 15% of 0\.0205 .* but 0\.02[34]"):
        calibrate(survey, nickelate, near_inv_angstrom=0.0205)


def test_ellipse(survey, nickelate):
    true = Ellipse(1.04, 30.0)
    bent = survey.peaks.stretched(np.linalg.inv(true.matrix))
    found = calibrate(replace(survey, peaks=bent), nickelate)
    assert found.ellipse_error < 0.01
    assert found.ellipse.ratio == pytest.approx(true.ratio, abs=0.006)
    assert found.ellipse.angle_deg == pytest.approx(true.angle_deg, abs=5)
    assert found.size.inv_angstrom_per_pixel == pytest.approx(PIXEL, rel=0.005)


def test_noise_is_no_crystal(survey, nickelate):
    noise = np.random.default_rng(0).poisson(5.0, survey.patterns.shape).astype(np.float32)
    noise[:, 62:67, 62:67] += 500
    with pytest.raises(ScanError, match="No pattern shows a crystal beyond noise"):
        calibrate(replace(survey, patterns=noise), nickelate)


def test_calibrated_scan(scan, found, tmp_path):
    found.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == found
    straight = found.apply(scan)
    assert straight.inv_angstrom_per_pixel == found.size.inv_angstrom_per_pixel
    again = survey_scan(straight)
    away = again.center_px - SIZE // 2
    assert np.abs(away).max() < 0.8  # whole pixels are moved: up to half of one, and the noise
    assert np.abs(away.mean(axis=0)).max() < 0.3
    with pytest.raises(ScanError, match="of patterns of 128 x 128 pixels, those of"):
        found.apply(scan.crop_patterns(64))
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ScanError, match=r"c\.json is no calibration"):
        Calibration.load(tmp_path / "c.json")


def fit(size, *gains):
    """The fit of patterns of 10 disks each, at a size."""
    return PixelSizeFit(np.array([size]), np.array([gains]).T * 10.0, np.full(len(gains), 10))


@pytest.mark.parametrize(
    ("other", "rivals"),
    [
        ((1.0, 1.0, 1.0, 1.0), []),  # clearly worse
        ((1.95, 1.95, 1.95, 1.95), [0.02]),  # hardly worse
        ((4.0, 0.0, 1.0, 0.0), [0.02]),  # better in some patterns
    ],
)
def test_rivals(nickelate, other, rivals):
    fits = [fit(0.025, 2.0, 2.0, 2.0, 2.0), fit(0.02, *other)]
    best, found = _decided(fits, nickelate, None)
    assert best is fits[0]
    assert found == rivals
    if rivals:  # what the user says of the size decides
        assert _decided(fits, nickelate, 0.021) == (fits[1], [])
    else:
        with pytest.raises(ScanError, match=r"but 0\.02500 does"):
            _decided(fits, nickelate, 0.021)


def test_where_distances_alone_are_wrong(tmp_path, nickelate):
    """Noise and few grains: the rings say 0.0140, the orientations know better."""
    optics = Optics(300.0, 1.5, 0.0, 1.9)
    path, _ = write_phantom(tmp_path / "p.hspy", nickelate, optics, Phantom(shape=(24, 32), seed=2))
    scan = Scan.open(path)
    image = virtual_images(scan, [dark_field(scan)])[0]
    survey = survey_scan(scan.masked(otsu_mask(image)))
    first = propose_pixel_sizes(survey.peaks, nickelate, 0.003, 0.08, 1)
    assert first == pytest.approx(0.0140, rel=0.02)
    size = calibrate(survey, nickelate).size
    assert size.rivals == ()
    assert size.inv_angstrom_per_pixel == pytest.approx(0.025, rel=0.02)


def rings(radii, n=200):
    rng = np.random.default_rng(0)
    radius = rng.choice(radii, n) + rng.normal(0, 0.3, n)
    turn = rng.uniform(0, 2 * np.pi, n)
    offset = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    return Peaks(np.arange(n) // 4, offset, np.ones(n), 5.0, 60.0)


def test_proposed_sizes():
    length, _ = reflection_shells(cell(4.08), 1.1)
    proposed = propose_pixel_sizes(rings(length / 0.02), cell(4.08), 0.003, 0.08, 8)
    assert proposed[0] == pytest.approx(0.02, rel=0.005)
    assert len(proposed) == 8
    assert (np.diff(np.log(np.sort(proposed))) > np.log(1.05)).all()


def test_too_few_disks(nickelate):
    with pytest.raises(ScanError, match="Only 6 disks were found"):
        propose_pixel_sizes(rings([30.0], 6), nickelate, 0.003, 0.08, 8)


def test_shells(nickelate):
    length, power = reflection_shells(nickelate, 1.0)
    c = nickelate.cell[2]
    assert length[0] == pytest.approx(3 / c, abs=1e-5)  # 001 and 002 are absent
    assert (np.diff(length) > 0).all()
    assert (power > 0).all()


def cell(a):
    """Silver, or whatever is cubic face-centered with one atom a lattice point."""
    return Crystal.from_dict(
        {
            "name": "Ag",
            "cell": [a, a, a, 90, 90, 90],
            "space_group": 225,
            "numbers": [47] * 4,
            "positions": [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
            "occupancies": [1] * 4,
            "b_iso_angstrom2": [0.5] * 4,
        }
    )


# What published scans say of themselves; the layered oxide's cell is known to half a percent.
@pytest.mark.filterwarnings("ignore:.*has no scan step")
@pytest.mark.parametrize(
    ("name", "a", "pixel", "within"),
    [
        ("silver/SPED_Ag_labels_sum_signal.hspy", 4.08, 0.026728, 0.003),
        ("austenite/subset_data.hspy", 3.59, 0.01261, 0.008),
        ("layered_oxide/scan.hspy", None, 0.025, 0.01),
    ],
)
def test_measured_scans(shared_data, nickelate, name, a, pixel, within):
    crystal = (
        cell(a)
        if a
        else Crystal.from_dict(nickelate.to_dict() | {"cell": [2.92, 2.92, 14.25, 90, 90, 120]})
    )
    found = calibrate(survey_scan(Scan.open(shared_data / "third_party" / name)), crystal)
    assert found.size.inv_angstrom_per_pixel == pytest.approx(pixel, rel=within)


@pytest.mark.parametrize("name", ["plain", "precession"])
def test_multislice_patterns(shared_data, nickelate, name):
    patterns = np.load(shared_data / "multislice" / f"{name}.npz")["pattern"]
    counts = np.random.default_rng(0).poisson(1e5 * patterns).astype(np.uint16)
    counts = da.from_array(counts.reshape(8, -1, 256, 256))
    found = calibrate(survey_scan(Scan(counts, 1.0, None, Path(name))), nickelate)
    assert found.size.inv_angstrom_per_pixel == pytest.approx(0.015625, rel=0.007)
