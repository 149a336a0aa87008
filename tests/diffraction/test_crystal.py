import json

import numpy as np
import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import CrystalError


def test_linio2_is_what_the_conventions_say(nickelate):
    assert nickelate.name == "LiNiO2"
    assert nickelate.cell == (2.878, 2.878, 14.19, 90, 90, 120)
    assert nickelate.space_group == 166
    assert sorted(nickelate.symbols) == ["Li"] * 3 + ["Ni"] * 3 + ["O"] * 6
    b = dict(zip(nickelate.symbols, nickelate.b_iso_angstrom2.tolist(), strict=True))
    assert b == {"Li": 1.0, "Ni": 0.45, "O": 0.7}
    assert (nickelate.occupancies == 1).all()
    assert nickelate.volume_angstrom3 == pytest.approx(2.878**2 * np.sqrt(3) / 2 * 14.19)
    oxygen = nickelate.positions[nickelate.numbers == 8]
    heights = np.sort(oxygen[np.abs(oxygen[:, :2]).max(axis=1) < 1e-6, 2])
    np.testing.assert_allclose(heights, [0.2585, 1 - 0.2585])


def test_frame_has_x_along_a_and_z_along_c_star(nickelate):
    a, b, _ = nickelate.lattice_angstrom
    np.testing.assert_allclose(a, [2.878, 0, 0], atol=1e-12)
    assert b[0] < 0 < b[1]
    np.testing.assert_allclose(nickelate.reciprocal_inv_angstrom[2], [0, 0, 1 / 14.19], atol=1e-12)


def test_lattice_agrees_with_orix_for_a_triclinic_cell():
    cell = (4.0, 5.5, 7.1, 83.0, 97.0, 112.0)
    crystal = Crystal(
        "odd", cell, 1, *(np.array(v) for v in ([6], [[0.1, 0.2, 0.3]], [1.0], [0.5]))
    )
    np.testing.assert_allclose(crystal.lattice_angstrom, crystal.phase.structure.lattice.base)
    product = crystal.lattice_angstrom @ crystal.reciprocal_inv_angstrom.T
    np.testing.assert_allclose(product, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(crystal.lattice_angstrom, axis=1), cell[:3])


def test_centering_is_the_obverse_rhombohedral_one(nickelate):
    found = {tuple(np.round(3 * t).astype(int) % 3) for t in nickelate.centering}
    assert nickelate.centering[0].tolist() == [0, 0, 0]
    assert len(nickelate.centering) == 3
    assert found == {(0, 0, 0), (2, 1, 1), (1, 2, 2)}


def test_proper_operators_are_the_group_32_and_carry_the_crystal_into_itself(nickelate):
    operators = nickelate.proper_operators
    assert operators.shape == (6, 3, 3)
    np.testing.assert_allclose(operators[0], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(operators), 1)
    for product in (operators[:, None] @ operators[None]).reshape(-1, 3, 3):
        assert np.abs(operators - product).max(axis=(1, 2)).min() < 1e-9
    angles = np.rad2deg(np.arccos((np.trace(operators, axis1=1, axis2=2) - 1) / 2))
    assert np.sort(np.round(angles)).tolist() == [0, 120, 120, 180, 180, 180]
    # The sites themselves, in Cartesian coordinates modulo the lattice, know nothing of orix.
    sites = nickelate.positions @ nickelate.lattice_angstrom
    for operator in (*operators, nickelate.mirror):
        moved = sites @ operator.T @ np.linalg.inv(nickelate.lattice_angstrom)
        offset = moved[:, None] - nickelate.positions[None]
        same = (np.abs(offset - np.round(offset)) < 1e-6).all(axis=-1)
        assert (nickelate.numbers[same.argmax(axis=1)] == nickelate.numbers).all()
        assert same.any(axis=1).all()


def test_mirror_is_improper_and_absent_from_chiral_crystals(nickelate):
    assert np.linalg.det(nickelate.mirror) == pytest.approx(-1)
    chiral = Crystal.from_dict(nickelate.to_dict() | {"space_group": 155})
    assert chiral.mirror is None


@pytest.mark.parametrize(("operator", "kept"), [(30.0, False), (60.0, False), (120.0, True)])
def test_has_symmetry_only_where_the_sites_have_it(nickelate, operator, kept):
    c, s = np.cos(np.deg2rad(operator)), np.sin(np.deg2rad(operator))
    assert nickelate.has_symmetry(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])) is kept


def test_dict_round_trip_through_json(nickelate):
    again = Crystal.from_dict(json.loads(json.dumps(nickelate.to_dict())))
    assert again.to_dict() == nickelate.to_dict()
    np.testing.assert_array_equal(again.centering, nickelate.centering)


def test_symmetry_in_other_axes_than_orix_has_is_refused(nickelate):
    # Sites of P312 (149): its two-fold axes lie between a and b, orix puts those of 32 along a.
    values = nickelate.to_dict() | {
        "numbers": [8] * 6 + [22],
        "positions": [
            [x, y, z] for x, y in ((0.1, 0.3), (0.7, 0.8), (0.2, 0.9)) for z in (0.2,)
        ] + [[x, y, 0.8] for x, y in ((0.7, 0.9), (0.2, 0.3), (0.1, 0.8))] + [[0, 0, 0]],
        "occupancies": [1.0] * 7,
        "b_iso_angstrom2": [0.5] * 7,
    }  # fmt: skip
    assert Crystal.from_dict(values | {"space_group": 143}).space_group == 143
    with pytest.raises(CrystalError, match="lack the symmetry 32 of space group 149"):
        Crystal.from_dict(values | {"space_group": 149})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers": [28]}, "differ in number"),
        ({"numbers": [], "positions": [], "occupancies": [], "b_iso_angstrom2": []}, "none"),
        ({"cell": [2.9, 2.9, 14.2]}, "not a unit cell"),
        ({"cell": [2.9, 2.9, float("nan"), 90, 90, 120]}, "not a unit cell"),
        ({"cell": [3, 3, 3, 30, 30, 90]}, "not a unit cell"),
        ({"space_group": 0}, "space group 0"),
        ({"space_group": "R-3m"}, "Not a crystal description"),
        ({"numbers": [120] * 12}, "expected 1 to 98"),
        ({"b_iso_angstrom2": [-1.0] * 12}, "expected above 0, to 20"),
        ({"b_iso_angstrom2": [0.5] * 11 + [0.0]}, "expected above 0, to 20"),
        ({"positions": [[0, 0, float("nan")]] * 12}, "not a number"),
        ({"positions": [[0, 0]] * 12}, "differ in number"),
    ],
)
def test_from_dict_refuses_what_is_no_crystal(nickelate, change, message):
    with pytest.raises(CrystalError, match=message):
        Crystal.from_dict(nickelate.to_dict() | change)


def nickel(*sites):
    """Nickel atoms in a cubic cell of 4 Angstrom: (z, occupancy) of each."""
    return {
        "name": "test",
        "cell": [4, 4, 4, 90, 90, 90],
        "space_group": 1,
        "numbers": [28 - i % 2 for i in range(len(sites))],
        "positions": [[0.25, 0.25, z] for z, _ in sites],
        "occupancies": [occupancy for _, occupancy in sites],
        "b_iso_angstrom2": [0.5] * len(sites),
    }


@pytest.mark.parametrize(
    "sites",
    [
        ((0.0, 1.0), (0.13, 1.0)),  # 0.52 Angstrom apart, odd but no crowd
        ((0.0, 0.98), (0.0, 0.02)),  # mixed
        ((0.0, 0.33), (0.0, 0.33), (0.0, 0.34)),  # one element in two valences, and another
        ((0.02, 0.5), (-0.02, 0.5)),  # split
        ((0.0, 0.5), (0.0, 0.505)),  # rounded
        ((0.0, 0.3), (0.0, 0.2)),  # with vacancies
    ],
)
def test_atoms_may_share_a_place_that_they_do_not_overfill(sites):
    assert len(Crystal.from_dict(nickel(*sites)).numbers) == len(sites)


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (((0.0, 1.0), (0.5, 1.0), (0.0, 1.0)), r"Ni at \(0.25, 0.25, 0\), Ni at .* add up to 2: "),
        (((0.0, 0.98), (0.0, 0.05)), r"Ni at .*, Co at .* add up to 1.03: remove a duplicate"),
        (((0.01, 0.6), (-0.01, 0.6)), r"Co at \(0.25, 0.25, -0.01\), with .* add up to 1.2"),
        (
            ((0.05, 1.0), (0.95, 1.0)),
            "add up to 2: .*special positions with more digits",
        ),  # across the cell's face
        (((0.0, 1.0), (0.0, 0.3), (0.0, 0.3)), "add up to 1.6"),
    ],
)
def test_atoms_too_near_to_be_there_at_once_are_refused(sites, message):
    with pytest.raises(CrystalError, match=f"^test: within 0.5 Angstrom lie .*{message}"):
        Crystal.from_dict(nickel(*sites))


def test_from_dict_names_the_missing_key(nickelate):
    values = nickelate.to_dict()
    del values["cell"]
    with pytest.raises(CrystalError, match="cell"):
        Crystal.from_dict(values)
