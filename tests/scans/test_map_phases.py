from dataclasses import replace

import numpy as np
import pytest
from map_samples import COPPER, CRYSTALS, SILICON, SILVER

from zoneaxis.errors import MapError
from zoneaxis.scans.map_phases import PhaseEntry, alike, assign, first_space_group, without_sites

NICKEL = without_sites("Ni", (3.524, 3.524, 3.524, 90, 90, 90), 225)


def entry(number, crystal, **changes):
    return replace(PhaseEntry(number, crystal.name, crystal.cell, crystal.space_group), **changes)


def test_entries_become_crystals_in_the_order_of_their_numbers():
    crystals, phase = assign([entry(7, SILICON), entry(2, COPPER)], np.array([7, -1, 2, 7]), ())
    assert [crystal.name for crystal in crystals] == ["Cu", "Si"]
    assert phase.tolist() == [1, -1, 0, 1]
    assert phase.dtype == np.int8


def test_an_entry_of_no_use_without_points_is_left_out():
    b_unique = PhaseEntry(4, "augite", (9.7, 8.9, 5.3, 90, 105, 90), 15)
    entries = [entry(1, SILICON), entry(2, COPPER, cell=()), entry(3, SILVER), b_unique]
    crystals, phase = assign(entries, np.array([3, 1]), ())
    assert [crystal.name for crystal in crystals] == ["Si", "Ag"]
    assert phase.tolist() == [1, 0]
    with pytest.raises(MapError, match="no lattice constants in Angstrom of Cu: give the crystal"):
        assign(entries, np.array([2]), ())


def test_given_crystals_are_matched_by_name_then_cell():
    """The cells of Cu and Ni are within 5 %."""
    assert alike(COPPER, NICKEL)
    entries = [entry(1, NICKEL), entry(2, COPPER)]
    assert assign(entries, np.array([1, 2]), (COPPER, NICKEL))[1].tolist() == [1, 0]
    unnamed = [replace(e, name=f"Phase_{e.number}") for e in entries]
    assert assign(unnamed, np.array([1, 2]), (COPPER, NICKEL))[1].tolist() == [1, 0]
    swapped = [replace(entries[0], name="Cu"), replace(entries[1], name="Ni")]
    assert assign(swapped, np.array([1, 2]), (COPPER, NICKEL))[1].tolist() == [0, 1]


def test_one_crystal_is_not_two_phases():
    entries = [entry(1, NICKEL), entry(2, COPPER)]
    with pytest.raises(MapError, match=r"2 phases \(Ni and Cu\), give a crystal for each"):
        assign(entries, np.array([1, 2]), (COPPER,))
    assert assign(entries, np.array([2, 2]), (COPPER,))[0] == (COPPER,)


@pytest.mark.parametrize(("factor", "fits"), [(1.04, True), (1.06, False)])
def test_a_given_crystal_must_have_the_cell(nickelate, factor, fits):
    cell = (*nickelate.cell[:2], nickelate.cell[2] * factor, *nickelate.cell[3:])
    other = without_sites("stretched", cell, 160)  # 3m and -3m are one Laue group
    if fits:
        assert assign([entry(1, nickelate)], np.array([1]), (other,))[0] == (other,)
    else:
        with pytest.raises(MapError, match=r"map of LiNiO2 .* not of stretched"):
            assign([entry(1, nickelate)], np.array([1]), (other,))


def test_a_given_crystal_must_have_the_laue_group(nickelate):
    with pytest.raises(
        MapError, match=r"map of Si \(Laue group m-3m, .* not of LiNiO2 \(Laue group -3m.*made for"
    ):
        assign([entry(1, SILICON)], np.array([1]), (nickelate,))


@pytest.mark.parametrize(
    "unknown",
    [
        {"cell": ()},
        {"cell": (1, 1, 1, 90, 90, 90)},  # orix's stand-in
        {"cell": (0.288, 0.288, 1.419, 90, 90, 120)},  # nm
        {"cell": (np.nan,) * 6},
        {"space_group": None},
    ],
)
def test_an_unknown_phase_takes_any_crystal(nickelate, unknown):
    assert assign([entry(1, nickelate, **unknown)], np.array([1]), (SILICON,))[0] == (SILICON,)
    named = [entry(1, SILICON, **unknown), entry(2, SILVER)]
    assert assign(named, np.array([1, 2]), (SILVER, SILICON))[1].tolist() == [1, 0]
    with pytest.raises(MapError, match=r"map of Si, not of Ag .* or Cu"):
        assign(named, np.array([1, 2]), (SILVER, COPPER))


def test_no_entry_at_all():
    with pytest.raises(MapError, match="describes no phase"):
        assign([], np.array([0, -1]), ())
    crystals, phase = assign([], np.array([3, -1]), (SILICON,))
    assert (crystals, phase.tolist()) == ((SILICON,), [0, -1])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(1, COPPER)], "has points of phase 2 but lists 1"),
        ([entry(2, COPPER), entry(2, SILVER)], "two phases of one number"),
        ([entry(2, COPPER, cell=(3, 4, 5, 90, 90, 90))], "lacks that symmetry"),
        ([entry(2, COPPER, cell=(3, 3, 3, 170, 170, 170))], "lacks that symmetry"),
        ([entry(2, COPPER, space_group=None)], "no symmetry of Cu"),
        # The unique axis along b, and rhombohedral axes: other frames than ours.
        ([entry(2, COPPER, cell=(3, 4, 5, 90, 100, 90), space_group=14)], "unique axis"),
        ([entry(2, COPPER, cell=(5, 5, 5, 33, 33, 33), space_group=166)], "hexagonal axes"),
    ],
)
def test_refused(entries, message):
    with pytest.raises(MapError, match=message):
        assign(entries, np.array([2, -1]), ())


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda crystal: crystal.name)
def test_every_cell_has_its_symmetry(crystal):
    assert entry(1, crystal).crystal().point_group.name == crystal.point_group.name


@pytest.mark.parametrize(
    ("group", "number"), [("-1", 2), ("2/m", 10), ("-3m", 162), ("m-3", 200), ("m-3m", 221)]
)
def test_first_space_group(group, number):
    assert first_space_group(group) == number
