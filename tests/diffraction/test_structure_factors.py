import numpy as np
import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.structure_factors import reciprocal_lattice, structure_factors


@pytest.mark.parametrize("method", ["WK", "WK-CP"])
def test_agrees_with_py4dstem(elastic, absorptive, py4dstem_crystals, method):
    ours = absorptive if method == "WK-CP" else elastic
    theirs = py4dstem_crystals[method].Ug_dict
    inside = {
        hkl: u
        for hkl, u in theirs.items()
        if abs(u) > 1e-12 and np.linalg.norm(hkl @ py4dstem_crystals[method].lat_inv) < 2.499
    }
    assert len(inside) > 1000
    found = ours.lookup(np.array(list(inside), dtype=int))
    np.testing.assert_allclose(found, list(inside.values()), atol=1e-9)
    absent = [hkl for hkl, u in theirs.items() if abs(u) <= 1e-12]
    assert np.abs(ours.lookup(np.array(absent, dtype=int))).max() < 1e-12


def test_only_the_obverse_setting_reflects(nickelate, elastic):
    assert (elastic.hkl @ [-1, 1, 1] % 3 == 0).all()
    assert elastic.hkl.tolist().count([0, 0, 0]) == 1
    # As many points as fit the sphere: its volume times that of the primitive cell.
    primitive = nickelate.volume_angstrom3 / 3
    assert len(elastic.hkl) == pytest.approx(4 / 3 * np.pi * 2.5**3 * primitive, rel=0.05)


def test_no_reflection_on_the_sphere_is_missed(nickelate):
    wide = reciprocal_lattice(nickelate, 2.0)
    length = np.linalg.norm(wide @ nickelate.reciprocal_inv_angstrom, axis=1)
    narrow = reciprocal_lattice(nickelate, 1.0)
    assert {tuple(h) for h in narrow} == {tuple(h) for h in wide[length <= 1.0]}


def test_friedel_pairs_are_conjugate_without_absorption(zincblende):
    real = structure_factors(zincblende, 200.0, 1.5, absorption=False)
    np.testing.assert_allclose(
        real.lookup(-real.hkl), real.u_inv_angstrom2.conj(), atol=1e-12
    )  # fmt: skip
    assert np.abs(real.u_inv_angstrom2.imag).max() > 1e-3  # no center of inversion to make it real
    lossy = structure_factors(zincblende, 200.0, 1.5, absorption=True)
    assert np.abs(lossy.lookup(-lossy.hkl) - lossy.u_inv_angstrom2.conj()).max() > 1e-4


def test_equivalent_reflections_are_equally_strong(nickelate, absorptive):
    lattice = nickelate.reciprocal_inv_angstrom
    for operator in (*nickelate.proper_operators, nickelate.mirror):
        turned = absorptive.g_inv_angstrom @ operator.T @ np.linalg.inv(lattice)
        hkl = np.round(turned).astype(int)
        np.testing.assert_allclose(turned, hkl, atol=1e-9)
        np.testing.assert_allclose(
            np.abs(absorptive.lookup(hkl)), np.abs(absorptive.u_inv_angstrom2), atol=1e-12
        )


def test_absorption_only_takes_away(elastic, absorptive):
    zero = np.zeros(3, dtype=int)
    assert absorptive.lookup(zero).imag > 0
    assert absorptive.lookup(zero).real == pytest.approx(elastic.lookup(zero).real)


def test_vibrations_follow_debye_and_waller(nickelate):
    values = nickelate.to_dict()
    still, moving = (
        structure_factors(
            Crystal.from_dict(values | {"b_iso_angstrom2": [b] * 12}), 300.0, 1.5, False
        )
        for b in (0.1, 1.1)
    )
    expected = np.exp(-(still.g_inv_angstrom**2).sum(axis=1) / 4)
    strong = np.abs(still.u_inv_angstrom2) > 1e-4
    ratio = moving.u_inv_angstrom2[strong] / still.u_inv_angstrom2[strong]
    np.testing.assert_allclose(ratio, expected[strong], rtol=1e-9)


def test_half_filled_sites_scatter_by_half(nickelate, elastic):
    values = nickelate.to_dict()
    half = structure_factors(
        Crystal.from_dict(values | {"occupancies": [0.5] * 12}), 300.0, 2.5, False
    )
    np.testing.assert_allclose(2 * half.u_inv_angstrom2, elastic.u_inv_angstrom2, atol=1e-12)


def test_lookup_is_zero_beyond_the_table_and_keeps_the_shape(elastic):
    hkl = np.array([[[99, 0, 0], [0, 0, 3]], [[0, 0, 0], [0, -50, 7]]])
    found = elastic.lookup(hkl)
    assert found.shape == (2, 2)
    assert (found != 0).tolist() == [[False, True], [True, False]]
