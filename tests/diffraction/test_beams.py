import numpy as np
import pytest
import torch

from zoneaxis.diffraction.beams import (
    Beams,
    BeamSelection,
    excitation_errors,
    foil_normals,
    incident_wave_vectors,
    select_beams,
)
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.errors import SettingsError

K_MAX = 1.25  # the fixtures' tables reach to twice of it
OPTICS = Optics(k_max_inv_angstrom=K_MAX)
K0 = 1 / OPTICS.wavelength_angstrom
DIRECTIONS = np.array([[12.0, 33.0], [47.5, 101.0], [1.0, 5.0]])


def rotations(directions):
    return matrices_from_euler(np.pad(directions, ((0, 0), (1, 0))))


@pytest.fixture(scope="module")
def beams(elastic) -> Beams:
    return select_beams(elastic, OPTICS, DIRECTIONS, BeamSelection(0.05))


def indices(beams, i):
    return {tuple(hkl) for hkl in beams.hkl[i, : beams.count[i]].tolist()}


def test_beams_are_those_near_the_ewald_sphere(elastic, beams):
    for i, turn in enumerate(rotations(DIRECTIONS)):
        every = elastic.g_inv_angstrom @ turn
        gap = np.abs(K0 - np.linalg.norm(every + np.array([0, 0, K0]), axis=1))
        length = np.linalg.norm(every, axis=1)
        gap -= 1e-3 * OPTICS.convergence_mrad * length  # the disk's rim comes closer
        near = (gap < 0.049) & (length <= K_MAX)
        assert {tuple(h) for h in elastic.hkl[near]} <= indices(beams, i)
        assert beams.count[i] <= ((gap < 0.051) & (length <= K_MAX + 0.01)).sum()


def test_the_direct_beam_comes_first_and_padding_is_zero(nickelate, beams):
    assert (beams.hkl[:, 0] == 0).all()
    assert len(set(beams.count.tolist())) > 1
    assert beams.present.sum(dim=1).tolist() == beams.count.tolist()
    assert (beams.hkl[~beams.present] == 0).all()
    assert (beams.hkl[beams.present].any(dim=-1).sum()) == (beams.count - 1).sum()
    expected = beams.hkl.double().numpy() @ nickelate.reciprocal_inv_angstrom
    expected = expected @ rotations(DIRECTIONS)
    np.testing.assert_allclose(beams.g_inv_angstrom, expected, atol=1e-12)
    rows = torch.tensor([2])
    assert beams[rows].hkl.shape[1] == beams.count[2]
    assert indices(beams[rows], 0) == indices(beams, 2)


def test_selection_by_structure_factor_leaves_the_weak_out(elastic, beams):
    least = float(np.median(np.abs(elastic.lookup(beams.hkl[0, : beams.count[0]].numpy()))))
    strong = select_beams(elastic, OPTICS, DIRECTIONS, BeamSelection(0.05, least))
    assert strong.count.sum() < beams.count.sum()
    for i in range(len(DIRECTIONS)):
        kept, left_out = indices(strong, i), indices(beams, i) - indices(strong, i)
        assert kept <= indices(beams, i)
        assert all(abs(elastic.lookup(np.array(h))) >= least for h in kept - {(0, 0, 0)})
        assert all(abs(elastic.lookup(np.array(h))) < least for h in left_out)


def test_a_wider_selection_holds_the_narrower(elastic, beams):
    wide = select_beams(elastic, OPTICS, DIRECTIONS, BeamSelection(0.1))
    precessed = select_beams(
        elastic, Optics(k_max_inv_angstrom=K_MAX, precession_deg=1.0), DIRECTIONS, BeamSelection()
    )
    for i in range(len(DIRECTIONS)):
        assert indices(beams, i) < indices(wide, i)
        assert indices(beams, i) < indices(precessed, i)


def test_incident_waves_fill_the_cone():
    tilts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -0.5]])
    (waves,) = incident_wave_vectors(OPTICS, tilts)
    np.testing.assert_allclose(waves[:, :2], tilts * OPTICS.disk_radius_inv_angstrom, atol=1e-8)
    np.testing.assert_allclose(waves.norm(dim=-1), K0)


def test_precession_turns_the_wave_about_the_axis():
    optics = Optics(precession_deg=0.6)
    for azimuths in (5, 16):
        waves = incident_wave_vectors(optics, torch.zeros(1, 2), azimuths)
        assert waves.shape == (azimuths, 1, 3)
        np.testing.assert_allclose(waves.norm(dim=-1), K0)
        np.testing.assert_allclose(np.rad2deg(np.arccos(waves[..., 2] / K0)), 0.6)
        np.testing.assert_allclose(waves[..., :2].sum(dim=0), 0, atol=1e-12)
    assert incident_wave_vectors(OPTICS, torch.zeros(1, 2), 16).shape == (1, 1, 3)


def test_excitation_errors_lead_back_to_the_ewald_sphere():
    generator = torch.Generator().manual_seed(0)
    g = torch.rand(2, 7, 3, generator=generator, dtype=torch.float64) - 0.5
    k = incident_wave_vectors(OPTICS, torch.tensor([[0.0, 0.0], [0.3, -0.9]]))[0]
    tilted = torch.tensor([[0.6, 0.0, 0.8], [0.0, -0.28, 0.96]], dtype=torch.float64)
    for normal in (None, tilted):
        s = excitation_errors(g, k, normal)
        along = torch.tensor([[0.0, 0.0, 1.0]]).double() if normal is None else normal
        on_sphere = (k + g[:, :, None]) + s[..., None] * along[:, None, None]
        # To first order in s: the sphere curves by s^2 / k.
        np.testing.assert_allclose(on_sphere.norm(dim=-1), K0, atol=2e-2)
        assert (s[g[..., 2] > 0.1] < 0).all()


def test_foil_normals_are_turned_into_the_pattern():
    matrices = rotations(DIRECTIONS)
    assert foil_normals(None, DIRECTIONS, "cpu") is None
    in_pattern = np.array([0.1, -0.2, 1.0]) / np.sqrt(1.05)
    for sense in (3.0, -1.0):
        found = foil_normals(sense * matrices @ in_pattern, DIRECTIONS, "cpu")
        np.testing.assert_allclose(found, np.tile(in_pattern, (3, 1)), atol=1e-12)
    one = foil_normals(np.array([0, 0, 1]), DIRECTIONS, "cpu")
    np.testing.assert_allclose(one, matrices[:, 2], atol=1e-12)


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        (np.ones(2), "Foil normal of shape"),
        (np.ones((2, 3)), "Foil normal of shape"),
        (np.zeros(3), "length of 0"),
        (np.array([np.nan, 0, 1]), "NaN"),
        (np.array([1.0, 0, 0]), "degrees from the beam"),
    ],
)
def test_refuses_senseless_foil_normals(normal, message):
    with pytest.raises(SettingsError, match=message):
        foil_normals(normal, DIRECTIONS, "cpu")


@pytest.mark.parametrize(
    "values", [(0.0,), (-1.0,), (np.nan,), (np.inf,), (0.05, -1), (0.05, np.nan)]
)
def test_refuses_senseless_selections(values):
    with pytest.raises(SettingsError, match=r"excitation error|structure factor"):
        BeamSelection(*values)


def test_says_when_no_reflection_is_left(elastic):
    with pytest.raises(SettingsError, match=r"No reflection within 0\.1 1/Angstrom"):
        select_beams(elastic, Optics(k_max_inv_angstrom=0.1), DIRECTIONS, BeamSelection())
    with pytest.raises(SettingsError, match="as strong as 5 1/Angstrom"):
        select_beams(elastic, OPTICS, DIRECTIONS, BeamSelection(0.05, 5.0))
