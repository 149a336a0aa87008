import contextlib
import io

import numpy as np
import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.structure_factors import METHODS, StructureFactors, structure_factors

VOLTAGE_KV = 300.0
K_MAX = 1.25  # of beams; the tables reach twice as far


@pytest.fixture(scope="session")
def absorptive(nickelate) -> StructureFactors:
    return structure_factors(nickelate, VOLTAGE_KV, 2 * K_MAX)


@pytest.fixture(scope="session")
def elastic(nickelate) -> StructureFactors:
    return structure_factors(nickelate, VOLTAGE_KV, 2 * K_MAX, "WK")


@pytest.fixture(scope="session")
def zincblende() -> Crystal:
    """ZnS, without a center of inversion."""
    return Crystal.from_dict(
        {
            "name": "ZnS",
            "cell": [5.41, 5.41, 5.41, 90, 90, 90],
            "space_group": 216,
            "numbers": [30] * 4 + [16] * 4,
            "positions": [
                [x + d, y + d, z + d]
                for d in (0, 0.25)
                for x, y, z in ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
            ],
            "occupancies": [1.0] * 8,
            "b_iso_angstrom2": [0.9] * 4 + [0.7] * 4,
        }
    )


def in_py4dstem(crystal: Crystal, method: str):
    """The crystal in py4DSTEM, with its own structure factors by one of its methods."""
    from py4DSTEM.process.diffraction import Crystal as TheirCrystal

    b = dict(zip(crystal.numbers.tolist(), crystal.b_iso_angstrom2.tolist(), strict=True))
    theirs = TheirCrystal(crystal.positions, crystal.numbers, crystal.cell)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.calculate_dynamical_structure_factors(
            VOLTAGE_KV * 1e3,
            method,
            k_max=2 * K_MAX,
            thermal_sigma={z: np.sqrt(value / (8 * np.pi**2)) for z, value in b.items()},
        )
    return theirs


@pytest.fixture(scope="session")
def py4dstem_crystals(nickelate) -> dict:
    """LiNiO2 in py4DSTEM, by the name of the method."""
    return {method: in_py4dstem(nickelate, method) for method in METHODS}


@pytest.fixture(scope="session")
def py4dstem_zincblende(zincblende):
    return in_py4dstem(zincblende, "WK-CP")
