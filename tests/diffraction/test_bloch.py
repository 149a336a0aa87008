import numpy as np
import pytest
import torch
from scipy.linalg import expm

from zoneaxis.diffraction.beams import BeamSelection, incident_wave_vectors
from zoneaxis.diffraction.bloch import bloch_disks, propagate
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
)
from zoneaxis.diffraction.structure_factors import structure_factors

K_MAX = 1.25  # the fixtures' tables reach to twice of it
OPTICS = Optics(k_max_inv_angstrom=K_MAX)
K0 = 1 / OPTICS.wavelength_angstrom
DIRECTIONS = np.array([[12.0, 33.0], [47.5, 101.0], [1.0, 5.0]])
THICKNESSES_NM = np.array([5.0, 20.0, 45.0, 80.0, 120.0])
CENTRAL, SEVEN = disk_tilts(0), disk_tilts(1)


def euler(direction, phi1=0.0):
    return np.array([phi1, *direction])


def by_hkl(disks, values, i=0):
    """{hkl: value} of one direction, without the padding; `values` has shape (b, n)."""
    shining = disks.intensity[i].sum(dim=(0, 2)) > 0
    keys = map(tuple, disks.hkl[i][shining].tolist())
    return dict(zip(keys, values[i][shining].tolist(), strict=True))


def by_place(q, values):
    """Values at positions in the pattern, in an order that does not depend on hkl."""
    order = np.lexsort(np.round(q, 3).T)
    return np.asarray(q)[order], np.asarray(values)[order]


def structure_matrix(hkl, crystal, direction, factors, tilt=(0.0, 0.0)):
    """The matrix of the module's docstring for one incident wave, written out beam by beam."""
    g = hkl @ crystal.reciprocal_inv_angstrom @ matrices_from_euler(euler(direction))
    k = np.array([*tilt, np.sqrt(K0**2 - tilt[0] ** 2 - tilt[1] ** 2)])
    matrix = np.zeros((len(hkl), len(hkl)), dtype=complex)
    for row in range(len(hkl)):
        for column in range(len(hkl)):
            matrix[row, column] = factors.lookup(hkl[row] - hkl[column]) / (2 * k[2])
        out = k + g[row]
        error = (K0**2 - out @ out) / (2 * out[2])
        absorbed = 1j * factors.lookup(np.zeros(3, dtype=int)).imag
        matrix[row, row] = error + absorbed / (2 * k[2])
    return matrix


@pytest.mark.parametrize("error", [0.0, 0.001, -0.004])
def test_two_beams_follow_the_closed_form(error):
    coupling = 1 / 900  # 2 / extinction distance, 1/Angstrom
    matrix = torch.tensor([[[0, coupling], [coupling, 0]]], dtype=torch.complex128)
    diagonal = torch.tensor([[[0.0], [error]]], dtype=torch.complex128)
    thicknesses = torch.linspace(1, 1500, 60, dtype=torch.float64)
    flux = propagate(matrix, diagonal, None, thicknesses).abs().square()[0, :, :, 0].numpy()
    beat = np.hypot(error, 2 * coupling)
    expected = (2 * coupling / beat * np.sin(np.pi * beat * thicknesses.numpy())) ** 2
    np.testing.assert_allclose(flux[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(flux[:, 0], 1 - expected, atol=1e-6)


def test_nothing_is_lost_without_absorption(nickelate, elastic):
    disks = bloch_disks(nickelate, OPTICS, DIRECTIONS, THICKNESSES_NM, factors=elastic)
    total = disks.intensity.sum(dim=2)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


def test_absorption_takes_more_from_thicker_crystals(nickelate, absorptive):
    disks = bloch_disks(nickelate, OPTICS, DIRECTIONS, THICKNESSES_NM, factors=absorptive)
    total = disks.mean_intensity.sum(dim=-1)
    assert (total.diff(dim=1) < 0).all()
    assert (total < 1).all()
    assert (total > 0).all()


def test_thin_crystals_scatter_kinematically(nickelate, elastic):
    thickness = 0.1  # nm
    disks = bloch_disks(nickelate, OPTICS, DIRECTIONS, [thickness], tilts=CENTRAL, factors=elastic)
    for i, direction in enumerate(DIRECTIONS):
        found = by_hkl(disks, disks.mean_intensity[:, 0], i)
        for hkl, value in found.items():
            g = hkl @ nickelate.reciprocal_inv_angstrom @ matrices_from_euler(euler(direction))
            error = -(2 * K0 * g[2] + g @ g) / (2 * (K0 + g[2]))
            u = abs(elastic.lookup(np.array(hkl)))
            t = 10 * thickness
            expected = (np.pi * t * u / K0 * np.sinc(error * t)) ** 2
            if hkl != (0, 0, 0) and expected > 1e-7:
                assert value == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("absorption", [False, True])
def test_agrees_with_the_matrix_exponential(nickelate, elastic, absorptive, absorption):
    factors = absorptive if absorption else elastic
    disks = bloch_disks(nickelate, OPTICS, DIRECTIONS, THICKNESSES_NM, tilts=SEVEN, factors=factors)
    for i, direction in enumerate(DIRECTIONS):
        n = len(by_hkl(disks, disks.mean_intensity[:, 0], i))
        hkl = disks.hkl[i, :n].numpy().astype(int)
        for j in (0, 4):
            tilt = disks.tilts[j].double().numpy() * OPTICS.disk_radius_inv_angstrom
            matrix = structure_matrix(hkl, nickelate, direction, factors, tilt)
            for z, thickness in enumerate(THICKNESSES_NM):
                wave = expm(2j * np.pi * 10 * thickness * matrix)[:, 0]
                found = disks.intensity[i, z, :n, j]
                np.testing.assert_allclose(found, np.abs(wave) ** 2, atol=1e-5)


@pytest.mark.parametrize("number", range(6))
def test_equivalent_orientations_give_the_pattern_turned(nickelate, absorptive, number):
    matrix = nickelate.proper_operators[number] @ matrices_from_euler(euler(DIRECTIONS[1]))
    phi1, *direction = euler_from_matrices(matrix)
    plain, other = (
        bloch_disks(nickelate, OPTICS, [d], [30.0], tilts=CENTRAL, factors=absorptive)
        for d in (DIRECTIONS[1], direction)
    )
    turn = matrices_from_euler([phi1, 0, 0])[:2, :2]
    ours = by_place(plain.q_inv_angstrom[0].numpy(), plain.mean_intensity[0, 0])
    theirs = by_place(other.q_inv_angstrom[0].numpy() @ turn, other.mean_intensity[0, 0])
    np.testing.assert_allclose(theirs[0], ours[0], atol=1e-5)
    np.testing.assert_allclose(theirs[1], ours[1], atol=1e-5)


def test_phi2_to_120_minus_phi2_mirrors_the_pattern_along_x(nickelate, absorptive):
    for phi, phi2 in DIRECTIONS:
        plain, other, unrelated = (
            bloch_disks(nickelate, OPTICS, [d], [30.0], tilts=CENTRAL, factors=absorptive)
            for d in ((phi, phi2), (phi, 120 - phi2), (phi, 60 - phi2))
        )
        q = plain.q_inv_angstrom[0].numpy() * [-1, 1]
        ours = by_place(q, plain.mean_intensity[0, 0])
        theirs = by_place(other.q_inv_angstrom[0].numpy(), other.mean_intensity[0, 0])
        np.testing.assert_allclose(theirs[0], ours[0], atol=1e-5)
        np.testing.assert_allclose(theirs[1], ours[1], atol=1e-5)
        if phi > 5:  # near c, six-fold symmetry nearly holds
            direct = [float(d.mean_intensity[0, 0, 0]) for d in (plain, unrelated)]
            assert abs(direct[0] - direct[1]) > 1e-4


def test_precession_averages_over_the_azimuths(nickelate, elastic):
    angle = 0.6
    optics = Optics(precession_deg=angle, k_max_inv_angstrom=K_MAX)
    disks = bloch_disks(
        nickelate, optics, DIRECTIONS[:1], [40.0], tilts=CENTRAL, factors=elastic,
        selection=BeamSelection(0.08),
    )  # fmt: skip
    precessed = by_hkl(disks, disks.mean_intensity[:, 0])
    waves = incident_wave_vectors(optics, torch.zeros(1, 2)).numpy()
    assert waves.shape == (16, 1, 3)
    np.testing.assert_allclose(np.linalg.norm(waves, axis=-1), K0)
    np.testing.assert_allclose(np.rad2deg(np.arccos(waves[..., 2] / K0)), angle)
    # The beam tilted by an angle is the crystal tilted by it, but for its surface.
    sums = dict.fromkeys(precessed, 0.0)
    for wave in waves[:, 0]:
        x, y, z = matrices_from_euler(euler(DIRECTIONS[0])) @ wave / K0
        direction = np.rad2deg([np.arccos(z), np.arctan2(x, y)])
        still = bloch_disks(
            nickelate, OPTICS, [direction], [40.0], tilts=CENTRAL, factors=elastic,
            selection=BeamSelection(0.1),
        )  # fmt: skip
        for hkl, value in by_hkl(still, still.mean_intensity[:, 0]).items():
            if hkl in sums:
                sums[hkl] += value / 16
    assert max(abs(sums[hkl] - precessed[hkl]) for hkl in sums) < 5e-4
    unprecessed = bloch_disks(
        nickelate, OPTICS, DIRECTIONS[:1], [40.0], tilts=CENTRAL, factors=elastic
    )
    plain = by_hkl(unprecessed, unprecessed.mean_intensity[:, 0])
    assert max(abs(plain[hkl] - precessed[hkl]) for hkl in plain) > 0.1


def test_batch_equals_single_and_padding_is_dark(nickelate, absorptive, monkeypatch):
    from zoneaxis.diffraction import bloch

    monkeypatch.setitem(bloch.BATCH_BYTES, "cpu", 1e6)  # several batches
    directions = np.random.default_rng(3).uniform([0, 0], [90, 120], (19, 2))
    directions.setflags(write=False)
    batch = bloch_disks(
        nickelate, OPTICS, directions, [10.0, 50.0], tilts=SEVEN, factors=absorptive
    )
    for i, direction in enumerate(directions):
        single = bloch_disks(
            nickelate, OPTICS, [direction], [10.0, 50.0], tilts=SEVEN, factors=absorptive
        )
        n = single.hkl.shape[1]
        torch.testing.assert_close(batch.hkl[i, :n], single.hkl[0])
        torch.testing.assert_close(batch.q_inv_angstrom[i, :n], single.q_inv_angstrom[0])
        torch.testing.assert_close(
            batch.intensity[i, :, :n], single.intensity[0], atol=1e-5, rtol=0
        )
        assert (batch.intensity[i, :, n:] == 0).all()


def test_own_factors_are_the_default(nickelate, absorptive, elastic):
    for method, factors in (("WK-CP", absorptive), ("WK", elastic)):
        own = bloch_disks(nickelate, OPTICS, DIRECTIONS[:1], [30.0], tilts=CENTRAL, method=method)
        given = bloch_disks(
            nickelate, OPTICS, DIRECTIONS[:1], [30.0], tilts=CENTRAL, factors=factors
        )
        torch.testing.assert_close(own.intensity, given.intensity)


def test_a_direct_beam_alone_passes_through(nickelate, elastic):
    # One direction may excite nothing; that is no error of its batch.
    disks = bloch_disks(
        nickelate, OPTICS, DIRECTIONS, [10.0, 300.0], factors=elastic,
        selection=BeamSelection(1e-9), tilts=CENTRAL,
    )  # fmt: skip
    lonely = (disks.hkl != 0).any(dim=-1).sum(dim=-1) == 0
    assert lonely.any()
    torch.testing.assert_close(disks.intensity[lonely, :, 0], torch.ones(int(lonely.sum()), 2, 1))


def gold():
    return Crystal.from_dict(
        {
            "name": "Au",
            "cell": [4.078, 4.078, 4.078, 90, 90, 90],
            "space_group": 225,
            "numbers": [79] * 4,
            "positions": [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
            "occupancies": [1.0] * 4,
            "b_iso_angstrom2": [0.6] * 4,
        }
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("direction", [(0.0, 0.0), (45.0, 0.0), (12.0, 33.0)])
def test_thick_heavy_crystals_absorb_as_the_matrix_exponential_says(direction, dtype):
    # Here the bound Bloch waves lose far more than the mean: a plain series overflows.
    crystal = gold()
    thicknesses = [150.0, 40.0]  # in no order
    factors = structure_factors(crystal, 300.0, 2 * K_MAX)
    disks = bloch_disks(
        crystal, OPTICS, [direction], thicknesses, factors=factors, tilts=CENTRAL, dtype=dtype
    )
    assert disks.intensity.dtype == dtype
    matrix = structure_matrix(disks.hkl[0].numpy().astype(int), crystal, direction, factors)
    for z, thickness in enumerate(thicknesses):
        wave = expm(2j * np.pi * 10 * thickness * matrix)[:, 0]
        tolerance = 2e-6 if dtype == torch.float32 else 1e-12
        np.testing.assert_allclose(
            disks.intensity[0, z, :, 0], np.abs(wave) ** 2, atol=tolerance, rtol=0
        )


def test_double_precision_is_exact(nickelate, absorptive):
    settings = {"factors": absorptive, "tilts": SEVEN}
    single, double = (
        bloch_disks(nickelate, OPTICS, DIRECTIONS, THICKNESSES_NM, dtype=dtype, **settings)
        for dtype in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single.intensity.double(), double.intensity, atol=3e-6, rtol=0)
    hkl = double.hkl[1].numpy().astype(int)
    hkl = hkl[: 1 + hkl.any(axis=1).sum()]
    tilt = double.tilts[5].double().numpy() * OPTICS.disk_radius_inv_angstrom
    matrix = structure_matrix(hkl, nickelate, DIRECTIONS[1], absorptive, tilt)
    wave = expm(2j * np.pi * 10 * THICKNESSES_NM[-1] * matrix)[:, 0]
    np.testing.assert_allclose(
        double.intensity[1, -1, : len(hkl), 5], np.abs(wave) ** 2, atol=1e-8, rtol=0
    )
