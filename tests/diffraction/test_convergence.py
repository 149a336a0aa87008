import numpy as np
import pytest

from zoneaxis.diffraction.convergence import beam_convergence
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import SettingsError

DIRECTIONS = np.array([[12.0, 33.0], [47.5, 101.0], [88.0, 59.0]])
THICKNESSES_NM = [20.0, 60.0]
ERRORS = (0.02, 0.05, 0.12)


@pytest.fixture(scope="module")
def rows(nickelate):
    return beam_convergence(
        nickelate, Optics(), DIRECTIONS, THICKNESSES_NM,
        k_max_inv_angstrom=(1.2, 1.8), max_excitation_errors_inv_angstrom=ERRORS,
    )  # fmt: skip


def test_every_pair_of_limits_has_its_row(rows):
    limits = [(r.k_max_inv_angstrom, r.max_excitation_error_inv_angstrom) for r in rows]
    assert limits == [(k, s) for k in (1.2, 1.8) for s in ERRORS]


def test_more_beams_bring_the_intensities_nearer_to_the_widest(rows):
    for row in (rows[:3], rows[3:]):
        assert row[0].beams < row[1].beams < row[2].beams
        assert row[0].r_factor > row[1].r_factor > row[2].r_factor
    assert rows[-1].largest_difference == rows[-1].r_factor == 0
    assert rows[0].largest_difference > rows[-2].largest_difference > 0


def test_the_default_ladder_starts_from_the_optics(nickelate):
    rows = beam_convergence(
        nickelate, Optics(k_max_inv_angstrom=0.8), DIRECTIONS[:1], THICKNESSES_NM, method="WK"
    )
    assert [r.k_max_inv_angstrom for r in rows[::6]] == pytest.approx([0.8, 1.0, 1.2])
    assert len(rows) == 18


def test_refuses_an_empty_ladder(nickelate):
    with pytest.raises(SettingsError, match="at least one"):
        beam_convergence(
            nickelate, Optics(), DIRECTIONS, THICKNESSES_NM, max_excitation_errors_inv_angstrom=()
        )
