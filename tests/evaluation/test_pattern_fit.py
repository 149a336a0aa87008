import numpy as np
import pytest

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.render import render
from zoneaxis.evaluation.pattern_fit import SERIES_NM, correlation, fit_pattern

OPTICS = Optics(k_max_inv_angstrom=0.9)
EULER = np.array([130.0, 37.0, 71.0])
PIXEL = 0.04


@pytest.fixture(scope="module")
def measured(nickelate):
    disks = bloch_disks(nickelate, OPTICS, EULER[None, 1:], np.array([35.0]))
    return 1e5 * render(disks, 48, PIXEL, float(EULER[0]))[0, 0].numpy()


def test_the_thickness_is_found(nickelate, measured):
    fit = fit_pattern(measured, EULER, nickelate, OPTICS, PIXEL)
    assert (fit.thickness_nm, fit.fitted) == (35.0, True)
    assert fit.correlation > 0.995
    assert fit.center_px == pytest.approx((24, 24), abs=0.1)
    np.testing.assert_allclose(fit.pattern.sum(), 1e-5 * measured.sum(), rtol=1e-3)


def test_a_shifted_pattern_fits_as_well(nickelate):
    disks = bloch_disks(nickelate, OPTICS, EULER[None, 1:], np.array([35.0]))
    shifted = render(disks, 48, PIXEL, float(EULER[0]), (26.0, 22.3))[0, 0].numpy()
    fit = fit_pattern(1e5 * shifted, EULER, nickelate, OPTICS, PIXEL)
    assert (fit.thickness_nm, fit.fitted) == (35.0, True)
    assert fit.center_px == pytest.approx((26.0, 22.3), abs=0.1)
    assert fit.correlation > 0.995
    np.testing.assert_allclose(fit.pattern, shifted, atol=0.1 * shifted.max())


def test_a_known_thickness_is_taken(nickelate, measured):
    fit = fit_pattern(measured, EULER, nickelate, OPTICS, PIXEL, thickness_nm=20.0)
    assert (fit.thickness_nm, fit.fitted) == (20.0, False)
    unknown = fit_pattern(measured, EULER, nickelate, OPTICS, PIXEL, thickness_nm=0.0)
    assert unknown.thickness_nm in SERIES_NM


def test_a_wrong_in_plane_angle_fits_worse(nickelate, measured):
    fit = fit_pattern(measured, EULER + np.array([90, 0, 0]), nickelate, OPTICS, PIXEL)
    assert fit.correlation < 0.5


def test_patterns_need_not_be_square(nickelate, measured):
    fit = fit_pattern(measured[:, 7:40], EULER, nickelate, OPTICS, PIXEL)
    assert fit.pattern.shape == (48, 33)


def test_the_crop_keeps_the_direct_beam_in_place(nickelate, measured):
    # Columns 8..40 of 48 put the direct beam, column 24, at 16 = 33 // 2.
    fit = fit_pattern(measured[:, 8:41], EULER, nickelate, OPTICS, PIXEL)
    assert fit.center_px == pytest.approx((16, 24), abs=0.1)
    assert fit.correlation > 0.995


def test_bad_and_empty_patterns_correlate_without_harm(measured):
    bad = measured.copy()
    bad[3, 3], bad[4, 4] = np.nan, -7
    assert correlation(bad, measured, 2.0) > 0.99
    assert correlation(np.zeros_like(measured), measured, 2.0) == 0
