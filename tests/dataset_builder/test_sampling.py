import numpy as np
import pytest
from orix.vector import Vector3d

from zoneaxis.dataset_builder.sampling import (
    equal_directions,
    equispaced_orientations,
    orientations_of,
    random_directions,
    stepped_directions,
)
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import full_operators
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.errors import SettingsError

SITES = ("numbers", "positions", "occupancies", "b_iso_angstrom2")


def directions_of(scheme: str, crystal: Crystal, resolution: float, seed: int) -> np.ndarray:
    euler = orientations_of(scheme, crystal, resolution, seed)
    assert (euler[:, 0] == 0).all()
    return euler[:, 1:]


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


@pytest.mark.parametrize("sector", ["full", "proper"])
def test_random_directions_lie_in_the_crystals_region(nickelate, sector):
    phi, phi2 = random_directions(nickelate, 500, seed=0, sector=sector).T
    assert phi.max() <= 90
    assert 0 <= phi2.min() <= phi2.max() < 120
    half = 60 if sector == "full" else 120
    assert np.unique(phi2 // 15).size * 15 == pytest.approx(half, abs=30)


@pytest.mark.parametrize(
    ("space_group", "phi", "phi2"),
    [(225, 90, 90), (195, 90, 180), (194, 90, 60), (1, 180, 360), (2, 180, 360), (146, 180, 120)],
)
def test_steps_fill_the_region_of_any_point_group(nickelate, space_group, phi, phi2):
    hexagonal = space_group in (194, 146)
    cell = [3.0, 3.0, 3.0, 90.0, 90.0, 120.0 if hexagonal else 90.0]
    atom = {name: nickelate.to_dict()[name][:1] for name in SITES}
    crystal = Crystal.from_dict({"name": "Ni", "cell": cell, "space_group": space_group, **atom})
    directions = stepped_directions(crystal, 7.5)
    assert len(directions) == (phi / 7.5 + 1) * (phi2 / 7.5)
    np.testing.assert_allclose(directions.max(axis=0), [phi, phi2 - 7.5])
    assert len(stepped_directions(crystal, 7.5, Phi_end_deg=45)) == 7 * phi2 / 7.5


def test_equispaced_orientations(nickelate):
    """The zone of 32 is a sixth of all orientations, of which 10 degrees leave 17,000."""
    from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg

    euler = equispaced_orientations(nickelate, 10.0)
    assert 2000 < len(euler) < 4000
    assert (euler.max(axis=0) <= [360, 90.001, 120.001]).all()
    g = matrices_from_euler(euler)
    other = matrices_from_euler(np.random.default_rng(0).uniform(0, [360, 90, 120], (30, 3)))
    nearest = [misorientation_deg(g, o, nickelate.proper_operators).min() for o in other]
    assert 2 < np.median(nearest) < 8
    assert max(nearest) < 12


def test_in_plane_angles_of_their_own(nickelate):
    euler = orientations_of("random", nickelate, 300, 0, random_phi1=True)
    assert np.histogram(euler[:, 0], 6, (0, 360))[0].min() > 30
    still = orientations_of("random", nickelate, 300, 0)
    np.testing.assert_array_equal(euler[:, 1:], still[:, 1:])


def test_equal_directions(nickelate):
    """Three-fold, two-fold and mirrored images of a direction are the same, others are not."""
    beam = np.array([[10, 20, 30], [70, 20, 150], [0, 20, 90], [0, 20, -30], [0, 20, 31]])
    number = equal_directions(beam.astype(float), nickelate)
    assert number[:2].tolist() == [0, 0]
    assert number[4] == number[:4].max() + 1
    orbit = beams(np.array([[20.0, 30.0]])) @ full_operators(nickelate).transpose(0, 2, 1)
    x, y, z = orbit[:, 0].T
    euler = np.rad2deg(np.stack([0 * x, np.arccos(z), np.arctan2(x, y)], axis=1))
    assert set(equal_directions(euler, nickelate)) == {0}
