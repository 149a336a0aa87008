import re

import numpy as np
import pytest

from zoneaxis.diffraction.crystal import CRYSTALS, Crystal, load_crystal
from zoneaxis.errors import CrystalError

LINIO2 = (CRYSTALS / "LiNiO2.cif").read_text()
SITES = LINIO2[LINIO2.index("loop_") :]
GOLD = """data_gold
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
_cell_length_a 4.08
_cell_length_b 4.08
_cell_length_c 4.08
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Au1 Au 0 0 0 0.008
"""


def cif(tmp_path, text):
    path = tmp_path / "sample.cif"
    path.write_text(text)
    return path


def test_cubic_cif_with_u_instead_of_b(tmp_path):
    gold = load_crystal(cif(tmp_path, GOLD))
    assert (gold.name, gold.symbols) == ("sample", ["Au"] * 4)
    np.testing.assert_allclose(gold.b_iso_angstrom2, 8 * np.pi**2 * 0.008, rtol=1e-6)
    assert gold.proper_operators.shape == (24, 3, 3)
    assert len(gold.centering) == 4
    assert gold.volume_angstrom3 == pytest.approx(4.08**3)


def test_charges_are_no_part_of_an_element(tmp_path, nickelate):
    text = LINIO2.replace("Li1 Li", "Li1 Li1+").replace("O1 O", "O1 O2-")
    assert load_crystal(cif(tmp_path, text)).symbols == nickelate.symbols


@pytest.mark.parametrize("value", [".", "?", "0", "-0.3", "45"])
def test_unbelievable_b_is_replaced_with_a_warning_that_names_the_site(tmp_path, value):
    path = cif(tmp_path, LINIO2.replace(" 0.45\n", f" {value}\n"))
    with pytest.warns(UserWarning, match=r"sample\.cif: site Ni1 has B = .*taking 0\.5") as caught:
        crystal = load_crystal(path)
    assert len(caught) == 1
    b = dict(zip(crystal.symbols, crystal.b_iso_angstrom2.tolist(), strict=True))
    assert b == {"Li": 1.0, "Ni": 0.5, "O": 0.7}


def test_one_warning_names_every_site_without_b(tmp_path):
    text = re.sub(r"(?m)^((Ni|Li|O)1 .*) [\d.]+$", r"\1", LINIO2)
    path = cif(tmp_path, text.replace("_atom_site_B_iso_or_equiv\n", ""))
    with pytest.warns(UserWarning, match="site Ni1 has B = 0, Li1 has B = 0, O1 has") as caught:
        load_crystal(path)
    assert len(caught) == 1


LITHIUM_NICKEL_OXIDE = LINIO2[: LINIO2.index("loop_")]
SITE = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")


def loop(columns, *rows):
    return "\n".join(["loop_", *(f"_atom_site_{c}" for c in columns), *rows, ""])


ANISOTROPIC = loop(
    [f"aniso_{c}" for c in ("label", "U_11", "U_22", "U_33", "U_12", "U_13", "U_23")],
    "Ni1 0.006 0.006 0.009 0.003 0 0",
)
NICKEL = "Ni1 Ni 0 0 0"


@pytest.mark.parametrize(
    ("sites", "b"),
    [
        (loop((*SITE, "U_iso_or_equiv"), f"{NICKEL} 0.007(2)"), 8 * np.pi**2 * 0.007),
        (loop((*SITE, "B_iso_or_equiv", "adp_type"), f"{NICKEL} 0.55 Biso"), 0.55),
        (loop((*SITE, "U_iso_or_equiv", "adp_type"), f"{NICKEL} .1 Uani") + ANISOTROPIC, None),
        (loop(SITE, NICKEL) + ANISOTROPIC, None),
        (loop(SITE, NICKEL) + ANISOTROPIC.replace("U", "B").replace("0.00", "0."), 0.7),
    ],
    ids=["U_iso", "B_iso", "U_aniso beside U_iso", "U_aniso", "B_aniso"],
)
def test_every_kind_of_displacement_factor_is_read(tmp_path, sites, b):
    crystal = load_crystal(cif(tmp_path, LITHIUM_NICKEL_OXIDE + sites))
    assert crystal.symbols == ["Ni"] * 3
    # The mean over the three directions.
    np.testing.assert_allclose(crystal.b_iso_angstrom2, b or 8 * np.pi**2 * 0.007, rtol=1e-5)


def test_antisite_mixing_and_vacancies_are_read(tmp_path, nickelate):
    text = LINIO2.replace("Ni1 Ni 0 0 0 1 0.45", "Ni1 Ni 0 0 0 0.98 0.45\nLi2 Li 0 0 0 0.02 0.45")
    mixed = load_crystal(cif(tmp_path, text.replace("0.5 1 1.0", "0.5 0.9 1.0")))
    found = sorted(zip(mixed.symbols, mixed.occupancies.tolist(), strict=True))
    assert found == sorted([("Ni", 0.98), ("Li", 0.02), ("Li", 0.9), *[("O", 1.0)] * 2] * 3)
    np.testing.assert_array_equal(mixed.centering, nickelate.centering)


TITANIUM = GOLD[: GOLD.index("Au1")].replace("4.08", "2.95").replace("c 2.95", "c 4.68")
for old, new in (("F m -3 m", "P 63/m m c"), ("225", "194"), ("gamma 90", "gamma 120")):
    TITANIUM = TITANIUM.replace(old, new)


@pytest.mark.parametrize("place", ["0.33333333 0.66666667", "0.3333 0.6667"])
def test_rounded_special_positions_hold_one_atom(tmp_path, place):
    titanium = load_crystal(cif(tmp_path, TITANIUM + f"Ti1 Ti {place} 0.25 0.006\n"))
    expected = [[1 / 3, 2 / 3, 1 / 4], [2 / 3, 1 / 3, 3 / 4]]
    np.testing.assert_allclose(titanium.positions, expected, atol=1e-7)


BROKEN = {
    "empty": ("", "no symmetry or no sites"),
    "garbage": ("this is\nno CIF", "not a readable CIF"),
    "cut short": (LINIO2[:-20], "not a readable CIF"),
    "no symmetry": (re.sub("_space_group.*\n", "", LINIO2), "not a readable CIF"),
    "no such group": (
        LINIO2.replace("166", "999").replace("R -3 m", "R 9"),
        "unknown space group identifier '999'",
    ),
    "rhombohedral setting": (re.sub("_space_group_IT.*\n", "", LINIO2), "transform the cell"),
    "no sites": (LINIO2.replace(SITES, ""), "no symmetry or no sites"),
    "unknown element": (LINIO2.replace("Li1 Li", "Li1 Xx"), "unknown element 'Xx'"),
    "no cell": (re.sub("_cell.*\n", "", LINIO2), "is not a unit cell"),
    "cell without a": (LINIO2.replace("_cell_length_a 2.878\n", ""), "is not a unit cell"),
    "cell of zero": (LINIO2.replace("_a 2.878", "_a 0"), "not a readable CIF"),
    "cell in words": (LINIO2.replace("_a 2.878", "_a big"), "not a readable CIF"),
    "impossible angle": (LINIO2.replace("gamma 120", "gamma 190"), "is not a unit cell"),
    "cell of another symmetry": (LINIO2.replace("gamma 120", "gamma 90"), "lack the symmetry"),
    "NaN position": (LINIO2.replace("0.2585", "nan"), "not a readable CIF"),
    "too few digits": (TITANIUM + "Ti1 Ti 0.333 0.667 0.25 0.006\n", "more digits"),
    "site listed twice": (LINIO2.replace("Li1 Li 0 0 0.5", "Li1 Ni 0 0 0"), "remove a duplicate"),
    "overfull site": (LINIO2.replace("0.5 1 1.0", "0.5 7 1.0"), "occupancies .* expected 0 to 1"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_cifs_are_refused_in_silence(tmp_path, capfd, text, message):
    with pytest.raises(CrystalError, match=message) as error:
        load_crystal(cif(tmp_path, text))
    assert "sample" in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_binary_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "binary.cif"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(CrystalError, match="not a readable CIF"):
        load_crystal(path)
    for missing in (tmp_path / "absent.cif", tmp_path, "LiNiO3"):
        with pytest.raises(CrystalError, match=r"No CIF at .*, and no built-in crystal"):
            load_crystal(missing)


P4_N_SECOND_ORIGIN = """data_second_origin
_cell_length_a 5.0
_cell_length_b 5.0
_cell_length_c 6.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 4/n :2'
_symmetry_Int_Tables_number 85
{operations}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
Si1 Si 0.25 0.25 0.1 0.5
"""
OPERATIONS = """loop_
_symmetry_equiv_pos_as_xyz
x,y,z
-x+1/2,-y+1/2,z
-y+1/2,x,z
y,-x+1/2,z
-x,-y,-z
x+1/2,y+1/2,-z
y+1/2,-x,-z
-y,x+1/2,-z
"""


def test_listed_operations_go_before_the_name(tmp_path):
    path = tmp_path / "second.cif"
    path.write_text(P4_N_SECOND_ORIGIN.format(operations=OPERATIONS))
    crystal = Crystal.from_cif(path)
    assert crystal.space_group == 85
    found = sorted(map(tuple, np.round(crystal.positions % 1, 4).tolist()))
    assert found == [(0.25, 0.25, 0.1), (0.75, 0.75, 0.9)]


def test_a_second_origin_without_operations_is_refused(tmp_path):
    path = tmp_path / "second.cif"
    path.write_text(P4_N_SECOND_ORIGIN.format(operations=""))
    with pytest.raises(CrystalError, match=r"second setting.*_space_group_symop_operation_xyz"):
        Crystal.from_cif(path)


def test_the_unique_axis_of_monoclinic_crystals_is_turned_onto_c(tmp_path):
    path = tmp_path / "baddeleyite.cif"
    path.write_text(
        """data_ZrO2
_cell_length_a 5.1505
_cell_length_b 5.2116
_cell_length_c 5.3173
_cell_angle_alpha 90
_cell_angle_beta 99.230
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1 21/c 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
Zr1 Zr 0.2754 0.0395 0.2083 0.4
O1 O 0.0700 0.3317 0.3447 0.5
O2 O 0.4496 0.7569 0.4792 0.5
"""
    )
    with pytest.warns(UserWarning, match="a, b, c of this crystal are c, a, b of the CIF"):
        crystal = Crystal.from_cif(path)
    assert crystal.cell == pytest.approx((5.3173, 5.1505, 5.2116, 90, 90, 99.23))
    assert crystal.space_group == 14
    assert len(crystal.numbers) == 12
    zirconium = crystal.numbers == 40
    offset = crystal.positions[zirconium][0] - crystal.positions[~zirconium]
    distance = np.linalg.norm((offset - np.round(offset)) @ crystal.lattice_angstrom, axis=1)
    # Seven oxygen neighbors, as in baddeleyite, from 2.05 to 2.28 Angstrom.
    np.testing.assert_allclose(np.sort(distance)[[0, 6]], [2.05, 2.28], atol=0.03)
