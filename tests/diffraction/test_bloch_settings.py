"""Foils, devices, memory and what is refused; `test_bloch.py` has the physics."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from zoneaxis.diffraction.beams import incident_wave_vectors
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError

K_MAX = 1.25  # the fixtures' tables reach to twice of it
OPTICS = Optics(k_max_inv_angstrom=K_MAX)
K0 = 1 / OPTICS.wavelength_angstrom
DIRECTIONS = np.array([[12.0, 33.0], [47.5, 101.0], [1.0, 5.0]])
THICKNESSES_NM = np.array([5.0, 20.0, 45.0, 80.0, 120.0])
CENTRAL, SEVEN = disk_tilts(0), disk_tilts(1)


def test_a_tilted_foil_is_a_longer_way_and_another_rocking_curve(nickelate, elastic):
    matrices = matrices_from_euler(np.pad(DIRECTIONS, ((0, 0), (1, 0))))
    slope = np.deg2rad(40.0)
    normal = matrices @ [np.sin(slope), 0.0, np.cos(slope)]
    settings = {"factors": elastic, "tilts": SEVEN}
    upright = bloch_disks(nickelate, OPTICS, DIRECTIONS, [30.0], **settings)
    along = bloch_disks(
        nickelate, OPTICS, DIRECTIONS, [30.0], foil_normal=-2 * matrices[:, :, 2], **settings
    )
    tilted = bloch_disks(nickelate, OPTICS, DIRECTIONS, [30.0], foil_normal=normal, **settings)
    torch.testing.assert_close(along.intensity, upright.intensity, atol=2e-6, rtol=0)
    assert (tilted.intensity - upright.intensity).abs().max() > 0.05
    total = tilted.intensity.sum(dim=2)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
    # To first order in g / k, a foil of t cos(slope) is crossed on a way of t.
    shorter = bloch_disks(
        nickelate, OPTICS, DIRECTIONS, [30.0 * np.cos(slope)], foil_normal=normal, **settings
    )
    assert (shorter.intensity - upright.intensity).abs().max() < 0.05
    thin = [bloch_disks, kinematic_disks]
    dynamic, kinematic = (
        f(nickelate, OPTICS, DIRECTIONS, [0.1], foil_normal=normal, **settings) for f in thin
    )
    strong = kinematic.intensity > 1e-6
    strong[:, :, 0] = False
    ratio = dynamic.intensity[strong] / kinematic.intensity[strong]
    assert len(ratio) > 20
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=0.05, rtol=0)


def test_a_tilted_foil_agrees_with_the_matrix_exponential(nickelate, elastic):
    direction, thickness = DIRECTIONS[0], 50.0
    turn = matrices_from_euler(np.array([0.0, *direction]))
    normal = np.array([0.5, 0.0, np.sqrt(0.75)])
    optics = Optics(k_max_inv_angstrom=K_MAX, precession_deg=1.0)
    disks = bloch_disks(
        nickelate, optics, [direction], [thickness], foil_normal=turn @ normal, azimuths=3,
        factors=elastic, tilts=CENTRAL,
    )  # fmt: skip
    hkl = disks.hkl[0].numpy().astype(int)
    g = hkl @ nickelate.reciprocal_inv_angstrom @ turn
    expected = 0
    for k in incident_wave_vectors(optics, torch.zeros(1, 2), 3)[:, 0].numpy():
        out = k + g
        matrix = elastic.lookup(hkl[:, None] - hkl[None]) / (2 * k @ normal)
        np.fill_diagonal(matrix, (K0**2 - (out**2).sum(axis=1)) / (2 * out @ normal))
        expected = expected + np.abs(expm(20j * np.pi * thickness * matrix)[:, 0]) ** 2 / 3
    np.testing.assert_allclose(disks.intensity[0, 0, :, 0], expected, atol=1e-5, rtol=0)
    # What leaves the foil keeps its component along it, and its length.
    out = np.array([0, 0, K0]) + g
    error = (K0**2 - (out**2).sum(axis=1)) / (2 * out @ normal)
    place = g[:, :2] + error[:, None] * normal[:2]
    np.testing.assert_allclose(disks.q_inv_angstrom[0], place, atol=1e-6)
    assert np.abs(place - g[:, :2]).max() > 5e-3


def test_says_how_much_memory_it_would_need(nickelate, elastic, monkeypatch):
    from zoneaxis.diffraction import bloch

    free = type("Free", (), {"available": 10_000})
    monkeypatch.setattr(bloch.psutil, "virtual_memory", lambda: free)
    with pytest.raises(SettingsError, match=r"3 directions x 5 thicknesses .* GB .*fewer"):
        bloch_disks(nickelate, OPTICS, DIRECTIONS, THICKNESSES_NM, factors=elastic)


def test_the_kinematic_disks_say_so_too(nickelate, elastic, monkeypatch):
    from zoneaxis.diffraction import bloch

    free = type("Free", (), {"available": 10_000})
    monkeypatch.setattr(bloch.psutil, "virtual_memory", lambda: free)
    with pytest.raises(SettingsError, match=r"3 directions x 5 thicknesses .* GB .*fewer"):
        kinematic_disks(nickelate, OPTICS, DIRECTIONS, THICKNESSES_NM, factors=elastic)


def test_small_batches_change_nothing(nickelate, absorptive, monkeypatch):
    from zoneaxis.diffraction import bloch

    whole = bloch_disks(nickelate, OPTICS, DIRECTIONS, [30.0], factors=absorptive)
    monkeypatch.setitem(bloch.BATCH_BYTES, "cpu", 1.0)
    single = bloch_disks(nickelate, OPTICS, DIRECTIONS, [30.0], factors=absorptive)
    torch.testing.assert_close(single.intensity, whole.intensity, atol=2e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("simulate", [bloch_disks, kinematic_disks])
def test_a_gpu_finds_the_same(nickelate, absorptive, simulate):
    optics = Optics(precession_deg=0.5, k_max_inv_angstrom=K_MAX)
    settings = {"factors": absorptive, "tilts": SEVEN, "foil_normal": np.array([0.1, 0.2, 1.0])}
    here, there = (
        simulate(nickelate, optics, DIRECTIONS[:1], THICKNESSES_NM, device=device, **settings)
        for device in ("cpu", "cuda")
    )
    assert there.intensity.device.type == "cuda"
    torch.testing.assert_close(there.intensity.cpu(), here.intensity, atol=1e-5, rtol=0)
    drawn = [render(disks, 64, 0.04, 20.0).cpu() for disks in (here, there)]
    torch.testing.assert_close(*drawn, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": torch.float16}, "dtype torch.float16"),
        ({"azimuths": 0}, "0 azimuths"),
        ({"azimuths": 2.5}, r"2\.5 azimuths"),
        ({"device": "mps"}, "device mps"),
        ({"device": "gpu"}, "device gpu: expected one of cpu"),
        ({"method": "WK-X"}, "WK-X"),
        ({"tilts": torch.full((3, 2), 2.0)}, "A tilt of length"),
        ({"foil_normal": np.zeros(3)}, "Foil normal"),
    ],
)
def test_refuses_senseless_settings(nickelate, settings, message):
    with pytest.raises(SettingsError, match=message):
        bloch_disks(nickelate, OPTICS, DIRECTIONS, [10.0], **settings)


@pytest.mark.parametrize(
    ("directions", "thicknesses", "message"),
    [
        (DIRECTIONS, [0.0], "Thicknesses .*positive"),
        (DIRECTIONS, [10.0, -1.0], "Thicknesses .*positive"),
        (DIRECTIONS, [np.nan], "Thicknesses .*positive"),
        (DIRECTIONS, [np.inf], "Thicknesses .*positive"),
        (DIRECTIONS, [20_000.0], "Thicknesses .*up to 10000"),
        (DIRECTIONS, [], "Thicknesses of shape"),
        (DIRECTIONS, [[10.0, 20.0]], "Thicknesses of shape"),
        (DIRECTIONS[0], [10.0], "Directions of shape"),
        (np.zeros((2, 3)), [10.0], "Directions of shape"),
        (np.zeros((0, 2)), [10.0], "Directions of shape"),
        ([[np.nan, 0.0]], [10.0], "Directions: an angle is NaN"),
    ],
)
def test_refuses_senseless_input(nickelate, elastic, directions, thicknesses, message):
    with pytest.raises(SettingsError, match=message):
        bloch_disks(nickelate, OPTICS, directions, thicknesses, factors=elastic)


def test_a_table_too_small_for_the_beams_is_refused(nickelate, elastic):
    with pytest.raises(SettingsError, match=r"up to 2\.5 1/Angstrom: expected 3\."):
        bloch_disks(nickelate, Optics(k_max_inv_angstrom=1.5), DIRECTIONS, [10.0], factors=elastic)


def test_factors_of_another_voltage_are_refused(nickelate, elastic):
    optics = Optics(voltage_kv=200.0, k_max_inv_angstrom=K_MAX)
    for simulate in (bloch_disks, kinematic_disks):
        with pytest.raises(SettingsError, match="for 300 kV do not fit optics of 200 kV"):
            simulate(nickelate, optics, DIRECTIONS, [10.0], factors=elastic)


def test_nothing_but_the_direct_beam_is_refused(nickelate, elastic):
    optics = Optics(k_max_inv_angstrom=0.1)  # below the first reflection
    with pytest.raises(SettingsError, match="No reflection"):
        bloch_disks(nickelate, optics, DIRECTIONS, [10.0], factors=elastic)
