"""Bloch waves against py4DSTEM's: same beams, tilts and thicknesses."""

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.beams import DEFAULT_SELECTION, select_beams
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import structure_factors

K_MAX = 1.25  # the fixtures' tables reach to twice of it
OPTICS = Optics(k_max_inv_angstrom=K_MAX)
THICKNESSES_NM = np.array([5.0, 20.0, 45.0, 80.0, 120.0])
TO_PY4DSTEM = np.diag([1.0, -1.0, -1.0])
APERTURE_PX = 4  # radius of the direct disk in py4DSTEM's pixels: 45 tilts

rng = np.random.default_rng(7)
ZONE_AXES = {"[0001]": (0.0, 0.0), "[10-10]": (90.0, 60.0), "[1-100]": (90.0, 120.0)}
DIRECTIONS = [
    *(
        pytest.param(phi, phi2, id=f"random {i}")
        for i, (phi, phi2) in enumerate(
            zip(np.rad2deg(np.arccos(rng.random(20))), 120 * rng.random(20), strict=True)
        )
    ),
    *(pytest.param(*direction, id=name) for name, direction in ZONE_AXES.items()),
]

# py4DSTEM takes int() of an array, which NumPy frowns at.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")


def rotation(direction):
    return matrices_from_euler(np.array([0.0, *direction]))


def beam_list(factors, direction):
    """py4DSTEM's beams, the ones that `bloch_disks` will choose; and their Miller indices."""
    from emdfile import PointList

    beams = select_beams(factors, OPTICS, np.array([direction]), DEFAULT_SELECTION)
    hkl, g = beams.hkl[0].numpy(), beams.g_inv_angstrom[0].numpy()
    fields = {"qx": g[:, 0], "qy": -g[:, 1], "intensity": 0, **dict(zip("hkl", hkl.T, strict=True))}
    values = np.zeros(len(hkl), dtype=[(name, float) for name in fields])
    for name, column in fields.items():
        values[name] = column
    return PointList(values), hkl


def spots_by_py4dstem(theirs, beams, direction):
    """Intensities (z, n) of the central tilt."""
    patterns = theirs.generate_dynamical_diffraction_pattern(
        beams,
        list(10 * THICKNESSES_NM),
        zone_axis_cartesian=(rotation(direction) @ TO_PY4DSTEM)[:, 2],
    )
    return np.array([pattern.data["intensity"] for pattern in patterns])


def disks_by_py4dstem(theirs, beams, hkl, direction):
    """Tilts (t, 2) as `bloch_disks` takes them, and py4DSTEM's intensities (z, n, t)."""
    zone = (rotation(direction) @ TO_PY4DSTEM)[:, 2]
    rocking = theirs.generate_CBED(
        beams,
        list(10 * THICKNESSES_NM),
        OPTICS.convergence_mrad,
        OPTICS.disk_radius_inv_angstrom / APERTURE_PX,
        zone_axis_cartesian=zone,
        foil_normal_cartesian=zone,
        LACBED=True,
        progress_bar=False,
        dtype=np.float64,
    )
    # It takes its x axis from the beams' list, and tilts its zone axis against the wave vector.
    q = np.stack([beams.data["qx"], beams.data["qy"]], axis=1)
    x_lattice = np.linalg.lstsq(q, hkl.astype(float), rcond=-1)[0][0]
    frame = theirs.parse_orientation(
        zone_axis_cartesian=zone, proj_x_lattice=x_lattice / np.linalg.norm(x_lattice)
    )
    pixels = np.stack(np.meshgrid(*2 * [np.arange(-APERTURE_PX, APERTURE_PX + 1)]), -1)
    pixels = pixels[np.hypot(*np.moveaxis(pixels, -1, 0)) < APERTURE_PX]
    angles = 1e-3 * OPTICS.convergence_mrad / APERTURE_PX * pixels
    waves = angles @ frame[:, :2].T - frame[:, 2]
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    tilts = waves @ rotation(direction)[:, :2] / (1e-3 * OPTICS.convergence_mrad)
    columns, rows = pixels.T + APERTURE_PX
    values = [[one[tuple(map(float, h))][columns, rows] for h in hkl] for one in rocking]
    return torch.from_numpy(tilts), np.array(values)


@pytest.mark.parametrize("method", ["WK", "WK-CP"])
@pytest.mark.parametrize(("phi", "phi2"), DIRECTIONS)
def test_spots_agree(nickelate, elastic, absorptive, py4dstem_crystals, method, phi, phi2):
    factors, direction = (absorptive if method == "WK-CP" else elastic), (phi, phi2)
    beams, _ = beam_list(factors, direction)
    ours = bloch_disks(
        nickelate, OPTICS, [direction], THICKNESSES_NM, tilts=disk_tilts(0), factors=factors
    )
    theirs = spots_by_py4dstem(py4dstem_crystals[method], beams, direction)
    np.testing.assert_allclose(ours.intensity[0, ..., 0], theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["WK", "WK-CP"])
@pytest.mark.parametrize(("phi", "phi2"), DIRECTIONS)
def test_disks_agree(nickelate, elastic, absorptive, py4dstem_crystals, method, phi, phi2):
    factors, direction = (absorptive if method == "WK-CP" else elastic), (phi, phi2)
    beams, hkl = beam_list(factors, direction)
    tilts, theirs = disks_by_py4dstem(py4dstem_crystals[method], beams, hkl, direction)
    assert len(tilts) == 45
    assert theirs.std(axis=-1).max() > 1e-4  # the tilts matter
    ours = bloch_disks(nickelate, OPTICS, [direction], THICKNESSES_NM, tilts=tilts, factors=factors)
    np.testing.assert_allclose(ours.intensity[0], theirs, atol=1e-5, rtol=0)


def test_tells_a_polar_crystal_from_its_inverse(zincblende, py4dstem_zincblende):
    direction = (35.0, 0.0)  # near [011], where hkl and -hkl are not equivalent
    values = zincblende.to_dict()
    inverse = Crystal.from_dict(values | {"positions": (-zincblende.positions).tolist()})
    ours, inverted = (
        bloch_disks(crystal, OPTICS, [direction], THICKNESSES_NM, tilts=disk_tilts(0))
        for crystal in (zincblende, inverse)
    )
    beams, _ = beam_list(structure_factors(zincblende, 300.0, 2 * K_MAX), direction)
    theirs = spots_by_py4dstem(py4dstem_zincblende, beams, direction)
    np.testing.assert_allclose(ours.intensity[0, ..., 0], theirs, atol=1e-5, rtol=0)
    assert (inverted.intensity - ours.intensity).abs().max() > 1e-4


def test_beams_stand_where_py4dstem_puts_them(elastic, py4dstem_crystals):
    direction = (12.0, 33.0)
    beams, hkl = beam_list(elastic, direction)
    places = dict(zip(map(tuple, hkl.tolist()), beams.data[["qx", "qy"]].tolist(), strict=True))
    crystal = py4dstem_crystals["WK"]
    crystal.calculate_structure_factors(K_MAX)
    peaks = crystal.generate_diffraction_pattern(
        orientation_matrix=rotation(direction) @ TO_PY4DSTEM
    ).data
    common = [peak for peak in peaks if tuple(int(peak[name]) for name in "hkl") in places]
    assert len(common) > 4
    for peak in common:
        place = places[tuple(int(peak[name]) for name in "hkl")]
        assert place == pytest.approx((peak["qx"], peak["qy"]), abs=1e-5)
