import numpy as np
import pytest
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.kinematic import enveloped_disks, kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.errors import SettingsError

DIRECTIONS = np.array([[12.0, 33.0], [47.5, 101.0], [81.0, 5.0]])
OPTICS = Optics(k_max_inv_angstrom=1.5)


@pytest.fixture(scope="module")
def factors(nickelate):
    return structure_factors(nickelate, 300.0, 1.5, method="WK")


def test_is_the_thin_limit_of_bloch_waves(nickelate, factors):
    optics = Optics(k_max_inv_angstrom=1.0)
    tilts = disk_tilts(1)
    kinematic = kinematic_disks(nickelate, optics, DIRECTIONS, [0.5], tilts=tilts, factors=factors)
    bloch = bloch_disks(nickelate, optics, DIRECTIONS, [0.5], tilts=tilts, method="WK")
    for i in range(len(DIRECTIONS)):
        dynamical = {
            tuple(hkl): value
            for hkl, value in zip(
                bloch.hkl[i].tolist(), bloch.mean_intensity[i, 0].tolist(), strict=True
            )
            if value > 0
        }
        compared = 0
        for hkl, value in zip(
            kinematic.hkl[i].tolist(), kinematic.mean_intensity[i, 0].tolist(), strict=True
        ):
            if value > 1e-5:
                assert value == pytest.approx(dynamical[tuple(hkl)], rel=0.1)
                compared += 1
        assert compared > 2


def test_direct_beam_is_first_and_whole_and_padding_is_dark(nickelate, factors):
    disks = kinematic_disks(nickelate, OPTICS, DIRECTIONS, [5.0, 10.0], factors=factors)
    assert disks.hkl.dtype == torch.int16
    assert not disks.hkl[:, 0].any()
    assert (disks.intensity[:, :, 0] == 1).all()
    padding = ~disks.hkl.any(dim=-1)
    padding[:, 0] = False
    assert (disks.intensity.sum(dim=(1, 3))[padding] == 0).all()


def test_thickness_fringe_vanishes_where_sinc_does(nickelate, factors):
    disks = enveloped_disks(nickelate, OPTICS, DIRECTIONS[:1], factors=factors)
    beam = int(disks.intensity[0, 0, :, 0].argmax())
    hkl = disks.hkl[0, beam].tolist()
    g = hkl @ nickelate.reciprocal_inv_angstrom
    g = g @ matrices_from_euler(np.array([0.0, *DIRECTIONS[0]]))
    k0 = 1 / OPTICS.wavelength_angstrom
    error = -(2 * k0 * g[2] + g @ g) / (2 * (k0 + g[2]))
    fringe_nm = 0.1 / abs(error)
    thin = kinematic_disks(
        nickelate, OPTICS, DIRECTIONS[:1], [fringe_nm / 2, fringe_nm], factors=factors
    )
    found = thin.hkl[0].tolist().index(hkl)
    half, full = thin.intensity[0, :, found, 0].tolist()
    assert full < 1e-6 * half


def test_envelope_falls_with_the_excitation_error(nickelate, factors):
    narrow = enveloped_disks(
        nickelate, OPTICS, DIRECTIONS, sigma_inv_angstrom=0.005, factors=factors
    )
    wide = enveloped_disks(nickelate, OPTICS, DIRECTIONS, sigma_inv_angstrom=0.04, factors=factors)
    precessed = enveloped_disks(
        nickelate, Optics(precession_deg=0.6), DIRECTIONS, sigma_inv_angstrom=0.005,
        factors=factors,
    )  # fmt: skip
    n_beams = [(disks.intensity > 0).sum().item() for disks in (narrow, precessed, wide)]
    assert n_beams == sorted(n_beams)
    assert narrow.intensity.sum() < wide.intensity.sum()
    assert (wide.intensity[:, :, 0] == 0).all()


def test_precession_at_zero_angle_limit(nickelate, factors):
    still = kinematic_disks(nickelate, OPTICS, DIRECTIONS, [20.0], factors=factors)
    nearly = kinematic_disks(
        nickelate, Optics(precession_deg=1e-4), DIRECTIONS, [20.0], factors=factors
    )
    torch.testing.assert_close(still.intensity, nearly.intensity, atol=1e-5, rtol=1e-2)


@pytest.mark.parametrize("thickness", [[0.0], [-1.0], [np.nan]])
def test_refuses_thicknesses_that_are_none(nickelate, factors, thickness):
    with pytest.raises(SettingsError, match="Thicknesses"):
        kinematic_disks(nickelate, OPTICS, DIRECTIONS, thickness, factors=factors)
