"""The library of Bloch waves holds what a simulation of each orientation itself would give."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices, misorientation_deg
from zoneaxis.evaluation.matching import dynamical_library
from zoneaxis.evaluation.matching.dynamical_library import (
    METHOD,
    SELECTION,
    DynamicalLibrary,
    incident_cone,
    shortest_turns,
)

NM = np.array([10.0, 40.0])
OPTICS = Optics(k_max_inv_angstrom=1.2)


@pytest.fixture(scope="module")
def library(nickelate) -> DynamicalLibrary:
    return DynamicalLibrary(nickelate, OPTICS, NM)


@pytest.fixture(scope="module")
def orientations() -> np.ndarray:
    """Some whose patterns are mirrors of those in the library, and some whose are not."""
    return Rotation.random(8, random_state=4).as_matrix()


def in_pattern(disks, phi1_deg):
    angle = np.deg2rad(phi1_deg)
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    return disks.q_inv_angstrom[0].double().numpy() @ np.array(turn)


# A precessing beam is sampled on a grid, across which thick crystals' intensities change.
@pytest.mark.parametrize(("precession_deg", "atol"), [(0.0, 0.004), (0.6, 0.01)])
def test_fans_agree_with_simulations_of_their_own(nickelate, orientations, precession_deg, atol):
    optics = replace(OPTICS, precession_deg=precession_deg)
    library = DynamicalLibrary(nickelate, optics, NM)
    places = library.locate(orientations)
    assert set(places.sign) == {1, -1}
    for i, euler in enumerate(euler_from_matrices(orientations[:4])):
        fan = library.fan(int(places.fan[i]))
        # A direction that the fan holds, near the orientation.
        step = np.rint(places.tilt_rad[i] / library.step_rad).astype(int)
        held = replace(
            places,
            **{name: getattr(places, name)[i : i + 1] for name in vars(places)},
        )
        there = library.tilted(held, step[None] * library.step_rad)
        euler = euler_from_matrices(there)[0]
        disks = bloch_disks(
            nickelate,
            optics,
            euler[None, 1:],
            NM,
            azimuths=64,
            selection=SELECTION,
            method=METHOD,
        )
        spots = library.spots(fan, library.locate(there), 0).numpy()
        apart = np.linalg.norm(in_pattern(disks, euler[0])[:, None] - spots, axis=-1)
        # Two places may look alike: the strongest beams decide.
        strong = np.argsort(disks.mean_intensity[0, 1].numpy())[::-1][:8]
        assert (apart.min(axis=1)[strong] < 1e-3).all()
        x, y = step + library.half
        ours = fan.intensity[:, x, y].float().numpy()[:, apart.argmin(axis=1)[strong]]
        theirs = disks.mean_intensity[0].numpy()[:, strong]
        np.testing.assert_allclose(ours, theirs, rtol=0.12, atol=atol)


def test_tilted_orientations_look_along_their_tilt(library, orientations):
    places = library.locate(orientations)
    moved = library.tilted(places, places.tilt_rad)
    operators = library.crystal.proper_operators
    assert misorientation_deg(moved, orientations, operators).max() < 1e-5
    aside = library.tilted(places, places.tilt_rad + np.array([0.01, 0.0]))
    apart = misorientation_deg(aside, orientations, operators)
    np.testing.assert_allclose(apart, np.rad2deg(0.01), rtol=0.01)


def test_turns_are_the_shortest():
    beams = Rotation.random(5, random_state=0).as_matrix()[:, :, 2]
    beams[:, 2] = np.abs(beams[:, 2])
    tilt = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, -0.2], [0.3, 0.1], [-0.1, 0.2]])
    turns = shortest_turns(beams, tilt)
    aims = np.einsum("mij,mj->mi", turns, beams)
    np.testing.assert_allclose(aims[:, :2], tilt, atol=1e-12)
    angle = np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2)
    np.testing.assert_allclose(angle, np.arccos((aims * beams).sum(axis=1)), atol=1e-9)


def test_the_cone_is_round_and_whole():
    for optics in (OPTICS, replace(OPTICS, precession_deg=0.5)):
        cone = incident_cone(optics, np.deg2rad(0.1))
        assert float(cone.sum()) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(cone, cone.flip(0), atol=2e-3)
        np.testing.assert_allclose(cone, cone.T, atol=8e-3)
    assert float(cone[len(cone) // 2, len(cone) // 2]) < 1e-6  # nothing in the middle of a ring


def test_fans_are_kept_and_dropped(nickelate, monkeypatch):
    library = DynamicalLibrary(nickelate, OPTICS, NM)
    first = library.fan(0)
    assert library.fan(0) is first
    monkeypatch.setattr(dynamical_library, "MOST_BYTES", 1)
    library.fan(1)
    assert library.fan(0) is not first


def test_threads_share_a_fan(nickelate):
    library = DynamicalLibrary(nickelate, OPTICS, NM)
    with ThreadPoolExecutor(4) as pool:
        fans = list(pool.map(library.fan, [5, 5, 5, 5]))
    assert all(fan is fans[0] for fan in fans)


def test_workers_are_sent_no_fans(library):
    bare = len(pickle.dumps(library))
    fan = library.fan(3)
    assert len(pickle.dumps(library)) == bare
    copy = pickle.loads(pickle.dumps(library))
    assert copy.fan(3).intensity.equal(fan.intensity)
