from dataclasses import replace

import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError
from zoneaxis.evaluation.phases import (
    match_crystals,
    require_common_crystal,
    with_full_symmetry,
)


def scaled(crystal: Crystal, factor: float, name: str) -> Crystal:
    cell = (*(factor * edge for edge in crystal.cell[:3]), *crystal.cell[3:])
    return replace(crystal, cell=cell, name=name)


def test_order_and_names_do_not_matter(nickelate):
    spinel = scaled(replace(nickelate, space_group=227), 1.0, "spinel")
    large = scaled(nickelate, 1.5, "large")
    renamed = replace(nickelate, name="phase 1")
    assert match_crystals([nickelate, spinel], [large, spinel, renamed]) == [2, 1]
    assert match_crystals([large], [nickelate, spinel]) == [-1]


def test_the_nearest_cell_wins_and_the_name_before_it(nickelate):
    near, nearer = scaled(nickelate, 1.03, "near"), scaled(nickelate, 1.01, "nearer")
    assert match_crystals([nickelate], [near, nearer]) == [1]
    assert match_crystals([nickelate], [replace(near, name="LiNiO2"), nearer]) == [0]
    assert match_crystals([nickelate, near], [scaled(nickelate, 1.02, "one")]) in ([0, -1], [-1, 0])


def test_the_crystal_of_more_symmetry_counts(nickelate):
    less = replace(nickelate, space_group=160)  # 3m: no two-fold axes
    assert with_full_symmetry([less, less], [nickelate], [0, -1]) == [nickelate, less]
    assert with_full_symmetry([nickelate], [less], [0]) == [nickelate]


def test_nothing_in_common_names_all(nickelate):
    other = scaled(nickelate, 1.5, "other")
    with pytest.raises(MapError, match=r"^LiNiO2 \(Laue group -3m.* and other \("):
        require_common_crystal([nickelate], [other])
