import sys

import numpy as np
import pytest

from zoneaxis.diffraction.crystal import CRYSTALS, Crystal
from zoneaxis.diffraction.structure_factors import (
    METHODS,
    reciprocal_lattice,
    structure_factors,
)
from zoneaxis.errors import SettingsError


def with_b(crystal, b):
    count = len(crystal.numbers)
    return Crystal.from_dict(crystal.to_dict() | {"b_iso_angstrom2": [b] * count})


@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_py4dstem(nickelate, py4dstem_crystals, method):
    # Its Lobato atoms are at rest.
    crystal = with_b(nickelate, 1e-12) if method.startswith("Lobato") else nickelate
    ours = structure_factors(crystal, 300.0, 2.5, method)
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


def test_both_parametrizations_describe_the_same_atoms(nickelate, elastic):
    lobato = structure_factors(nickelate, 300.0, 2.5, "Lobato").u_inv_angstrom2
    difference = np.abs(lobato - elastic.u_inv_angstrom2)
    assert 1e-4 < difference.max() < 0.05 * np.abs(lobato).max()


def test_methods_differ_in_absorption_alone(nickelate):
    u = {m: structure_factors(nickelate, 300.0, 1.5, m).u_inv_angstrom2 for m in METHODS}
    for method in METHODS:
        elastic = u["Lobato" if "Lobato" in method else "WK"]
        np.testing.assert_allclose(u[method].real, elastic.real, atol=1e-12)
    np.testing.assert_allclose(u["Lobato-absorptive"].imag, 0.1 * u["Lobato"].real, atol=1e-12)
    assert min(u["WK-C"].imag.max(), u["WK-P"].imag.max()) > 1e-4
    np.testing.assert_allclose(u["WK-C"].imag + u["WK-P"].imag, u["WK-CP"].imag, atol=1e-12)


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
    real = structure_factors(zincblende, 200.0, 1.5, "WK")
    np.testing.assert_allclose(real.lookup(-real.hkl), real.u_inv_angstrom2.conj(), atol=1e-12)
    assert np.abs(real.u_inv_angstrom2.imag).max() > 1e-3  # no center of inversion to make it real
    lossy = structure_factors(zincblende, 200.0, 1.5, "WK-CP")
    assert np.abs(lossy.lookup(-lossy.hkl) - lossy.u_inv_angstrom2.conj()).max() > 1e-4


def test_real_exactly_where_inverted_at_the_origin(nickelate, elastic):
    assert (elastic.table.imag == 0).all()
    positions = nickelate.positions + np.array([0, 0, 1e-6])
    shifted = Crystal.from_dict(nickelate.to_dict() | {"positions": positions.tolist()})
    u = structure_factors(shifted, 300.0, 2.5, "WK").u_inv_angstrom2
    assert np.abs(u.imag).max() > 1e-8


def test_table_is_what_the_engine_indexes(absorptive):
    table, center = absorptive.table, np.array(absorptive.table.shape) // 2
    assert table.flags.c_contiguous
    assert table.dtype == np.complex128
    assert (np.array(table.shape) % 2 == 1).all()
    flat = (absorptive.hkl + center) @ [table.shape[1] * table.shape[2], table.shape[2], 1]
    np.testing.assert_array_equal(table.reshape(-1)[flat], absorptive.u_inv_angstrom2)
    length = np.linalg.norm(absorptive.g_inv_angstrom, axis=1)
    assert 2.4 < length.max() <= absorptive.k_max_inv_angstrom == 2.5


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


@pytest.mark.parametrize("method", ["Lobato", "WK"])
def test_vibrations_follow_debye_and_waller(nickelate, method):
    still, moving = (
        structure_factors(with_b(nickelate, b), 300.0, 1.5, method) for b in (0.1, 1.1)
    )
    expected = np.exp(-(still.g_inv_angstrom**2).sum(axis=1) / 4)
    strong = np.abs(still.u_inv_angstrom2) > 1e-4
    ratio = moving.u_inv_angstrom2[strong] / still.u_inv_angstrom2[strong]
    np.testing.assert_allclose(ratio, expected[strong], rtol=1e-9)


def test_half_filled_sites_scatter_by_half(nickelate, elastic):
    values = nickelate.to_dict()
    half = structure_factors(
        Crystal.from_dict(values | {"occupancies": [0.5] * 12}), 300.0, 2.5, "WK"
    )
    np.testing.assert_allclose(2 * half.u_inv_angstrom2, elastic.u_inv_angstrom2, atol=1e-12)


def test_mixed_sites_scatter_by_the_sum_of_their_atoms(tmp_path):
    from py4DSTEM.process.diffraction.WK_scattering_factors import compute_WK_factor

    text = (CRYSTALS / "LiNiO2.cif").read_text()
    text = text.replace("Ni1 Ni 0 0 0 1 0.45", "Ni1 Ni 0 0 0 0.98 0.45\nLi2 Li 0 0 0 0.02 0.6")
    text = text.replace("0.5 1 1.0", "0.5 0.9 1.0")  # one Li site in ten stays empty
    (tmp_path / "mixed.cif").write_text(text)
    mixed = Crystal.from_cif(tmp_path / "mixed.cif")
    hkl = np.array([[0, 0, 3], [1, 0, 1], [1, 1, 0]])
    g = np.linalg.norm(hkl @ mixed.reciprocal_inv_angstrom, axis=1)
    atoms = [  # number, B, occupancy and z along c in the primitive cell
        (28, 0.45, 0.98, 0.0), (3, 0.6, 0.02, 0.0), (3, 1.0, 0.9, 0.5),
        (8, 0.7, 1.0, 0.2585), (8, 0.7, 1.0, -0.2585),
    ]  # fmt: skip
    u = sum(
        share
        * compute_WK_factor(g, number, 3e5, np.sqrt(b / (8 * np.pi**2)))
        * np.exp(-2j * np.pi * hkl[:, 2] * z)
        for number, b, share, z in atoms
    )
    found = structure_factors(mixed, 300.0, 1.0).lookup(hkl)
    np.testing.assert_allclose(found, 3 * u / mixed.volume_angstrom3, atol=1e-12)


def test_lookup_is_zero_beyond_the_table_and_keeps_the_shape(elastic):
    hkl = np.array([[[99, 0, 0], [0, 0, 3]], [[0, 0, 0], [0, -50, 7]]])
    found = elastic.lookup(hkl)
    assert found.shape == (2, 2)
    assert (found != 0).tolist() == [[False, True], [True, False]]


def test_kept_from_one_run_to_the_next(zincblende, tmp_path, monkeypatch):
    monkeypatch.setenv("ZONEAXIS_CACHE", str(tmp_path))
    built = structure_factors(zincblende, 200.0, 1.0)
    renamed = Crystal.from_dict(zincblende.to_dict() | {"name": "sphalerite"})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "py4DSTEM.process.diffraction.WK_scattering_factors", None)
        loaded = structure_factors(renamed, 200.0, 1.0)
        with pytest.raises(ImportError):
            structure_factors(zincblende, 200.0, 1.0, "WK")
    for name in ("hkl", "g_inv_angstrom", "u_inv_angstrom2", "table"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(built, name))


def test_every_input_has_its_own_cached_table(zincblende, tmp_path, monkeypatch):
    monkeypatch.setenv("ZONEAXIS_CACHE", str(tmp_path))
    values = zincblende.to_dict()
    inputs = [
        (zincblende, 200.0, 1.0, "WK"),
        (zincblende, 201.0, 1.0, "WK"),
        (zincblende, 200.0, 1.01, "WK"),
        (zincblende, 200.0, 1.0, "Lobato"),
        (with_b(zincblende, 0.8), 200.0, 1.0, "WK"),
        (Crystal.from_dict(values | {"numbers": [31] * 4 + [16] * 4}), 200.0, 1.0, "WK"),
        (Crystal.from_dict(values | {"occupancies": [0.9] * 8}), 200.0, 1.0, "WK"),
        (Crystal.from_dict(values | {"cell": [5.4] * 3 + [90] * 3}), 200.0, 1.0, "WK"),
    ]
    for count, one in enumerate(inputs, start=1):
        structure_factors(*one)
        assert len(list(tmp_path.iterdir())) == count


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((300.0, 2.0, "wk"), "Unknown method 'wk': choose one of Lobato, .*, WK-CP"),
        ((5.0, 2.0), "voltage_kv = 5.0: expected 10 to 3000"),
        ((float("nan"), 2.0), "voltage_kv = nan"),
        ((300e3, 2.0), "voltage_kv = 300000.0"),
        ((300.0, 0.0), "k_max_inv_angstrom = 0.0: expected above 0"),
        ((300.0, float("nan")), "k_max_inv_angstrom = nan"),
        ((300.0, 60.0), r"LiNiO2 up to 60 1/Angstrom need 32.4 GB, .* a smaller k_max"),
        ((300.0, float("inf")), "need inf GB"),
    ],
)
def test_refuses_senseless_settings(nickelate, settings, message):
    with pytest.raises(SettingsError, match=message):
        structure_factors(nickelate, *settings)
