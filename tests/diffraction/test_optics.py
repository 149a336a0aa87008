import json

import numpy as np
import pytest
from scipy import constants

from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import SettingsError


@pytest.mark.parametrize("voltage_kv", [60.0, 80.0, 200.0, 300.0, 1000.0])
def test_wavelength_follows_from_the_constants_of_nature(voltage_kv):
    energy = voltage_kv * 1e3 * constants.e
    rest = constants.m_e * constants.c**2
    momentum = np.sqrt(energy * (energy + 2 * rest)) / constants.c
    expected = constants.h / momentum * 1e10
    assert Optics(voltage_kv).wavelength_angstrom == pytest.approx(expected, rel=1e-6)


def test_angles_and_wave_vectors_at_300_kv():
    optics = Optics(300.0, convergence_mrad=1.5, k_max_inv_angstrom=1.5)
    assert optics.wavelength_angstrom == pytest.approx(0.0196875, abs=5e-8)
    assert optics.disk_radius_inv_angstrom == pytest.approx(0.0761905, rel=1e-5)
    assert optics.largest_angle_mrad == pytest.approx(29.53125, rel=1e-5)


def test_dict_round_trip_through_json():
    optics = Optics(200.0, 0.8, 0.6, 1.2)
    assert Optics(**json.loads(json.dumps(optics.to_dict()))) == optics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voltage_kv", 300_000.0),
        ("voltage_kv", -300.0),
        ("convergence_mrad", 0.0),
        ("convergence_mrad", float("nan")),
        ("precession_deg", -0.1),
        ("precession_deg", 10.0),
        ("k_max_inv_angstrom", float("inf")),
        ("k_max_inv_angstrom", 0.0),
    ],
)
def test_refuses_what_no_microscope_has(name, value):
    with pytest.raises(SettingsError, match=f"{name} = .*: expected"):
        Optics(**{name: value})
