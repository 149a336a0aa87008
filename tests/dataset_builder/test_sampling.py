import numpy as np
import pytest
from orix.vector import Vector3d

from zoneaxis.dataset_builder.sampling import directions_of, random_directions
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import full_operators
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.errors import SettingsError


def beams(directions: np.ndarray) -> np.ndarray:
    return beam_directions(np.insert(directions, 0, 0.0, axis=1))


@pytest.mark.parametrize(("scheme", "resolution"), [("random", 300), ("equispaced", 5.0)])
def test_directions_fill_the_sector_of_the_full_point_group(nickelate, scheme, resolution):
    directions = directions_of(scheme, nickelate, resolution, seed=0)
    points = beams(directions)
    equivalent = np.einsum("sij,nj->sni", full_operators(nickelate), points)
    inside = Vector3d(equivalent) <= nickelate.point_group.fundamental_sector
    assert inside.any(axis=0).all()
    phi, phi2 = directions.T
    assert phi.min() >= 0
    assert phi.max() <= 90 + 1e-6
    turned = (phi2[phi > 1] - 1e-6) % 120  # the rim at 120 is written as 0
    assert np.ptp(turned) == pytest.approx(60, abs=5)
    # A twelfth of the sphere holds one beam in twelve of any even distribution.
    assert points[:, 2].mean() == pytest.approx(0.5, abs=0.03)


def test_random_directions_are_evenly_spread(nickelate):
    points = beams(random_directions(nickelate, 400, seed=1))
    cosine = points @ points.T
    np.fill_diagonal(cosine, -1)
    nearest = np.rad2deg(np.arccos(cosine.max(axis=1)))
    # 400 points on a twelfth of the sphere, on a hexagonal lattice, would be 3.0 degrees apart.
    assert 1.2 < np.median(nearest) < 3.0


def test_random_directions_are_counted_and_seeded(nickelate):
    first = random_directions(nickelate, 50, seed=0)
    assert first.shape == (50, 2)
    np.testing.assert_array_equal(first, random_directions(nickelate, 50, seed=0))
    assert not np.allclose(first, random_directions(nickelate, 50, seed=1))


def test_more_directions_begin_with_the_fewer(nickelate):
    many = random_directions(nickelate, 80, seed=0)
    np.testing.assert_array_equal(many[:50], random_directions(nickelate, 50, seed=0))


@pytest.mark.parametrize(("scheme", "resolution"), [("random", 60), ("equispaced", 10.0)])
def test_order_is_shuffled_by_the_seed(nickelate, scheme, resolution):
    first = directions_of(scheme, nickelate, resolution, seed=0)
    np.testing.assert_array_equal(first, directions_of(scheme, nickelate, resolution, seed=0))
    assert np.abs(np.corrcoef(np.arange(len(first)), first[:, 0])[0, 1]) < 0.4
    assert len(np.unique(first, axis=0)) == len(first)


def test_equispaced_directions_are_never_equivalent(nickelate):
    """Else training would see what validation holds out."""
    points = beams(directions_of("equispaced", nickelate, 4.0, seed=0))
    cosine = np.max([points @ s @ points.T for s in full_operators(nickelate)], axis=0)
    np.fill_diagonal(cosine, -1)
    assert np.rad2deg(np.arccos(cosine.max())) > 2


def test_a_crystal_without_mirror_keeps_both_halves(nickelate):
    chiral = Crystal.from_dict({**nickelate.to_dict(), "space_group": 155})  # R32
    assert chiral.mirror is None
    phi, phi2 = random_directions(chiral, 200, seed=0).T
    assert np.ptp(phi2[phi > 1]) > 100


def test_step_out_of_range(nickelate):
    with pytest.raises(SettingsError, match="step_deg"):
        directions_of("equispaced", nickelate, 90.0, seed=0)
