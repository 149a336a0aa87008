"""Proposals that are wrong or coarse come out right, with a thickness and what else is possible."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    ROTATE_180_ABOUT_BEAM,
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
)
from zoneaxis.diffraction.render import render
from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.evaluation.refined_indexer import PROPERTIES, RefinedIndexer
from zoneaxis.scans.indexing import Indexed

PIXEL = 0.025
OPTICS = Optics(k_max_inv_angstrom=1.4)
NM = (10, 20, 30, 40, 50)
N = 6


class Proposer:
    """Says what it is told."""

    def __init__(self, crystal, found):
        self.crystals, self.found = (crystal,), found

    def index(self, patterns, inv_angstrom_per_pixel):
        return self.found


def simulated(crystal, optics):
    """Return patterns in counts, their orientations and thicknesses."""
    rng = np.random.default_rng(3)
    euler = rng.uniform([0, 25, 5], [360, 80, 115], (N, 3))
    nm = rng.choice(NM[1:-1], N).astype(float)
    patterns = []
    for angles, thickness in zip(euler, nm, strict=True):
        disks = bloch_disks(crystal, optics, angles[None, 1:], np.array([thickness]))
        patterns.append(render(disks, 112, PIXEL, float(angles[0]))[0, 0].numpy())
    counts = rng.poisson(1e6 * np.stack(patterns)).astype(np.float32)
    return counts, matrices_from_euler(euler), nm


@pytest.fixture(scope="module")
def known(nickelate):
    return simulated(nickelate, OPTICS)


def proposed(matrices, indexed=None) -> Indexed:
    """Two proposals each: 1.5 degrees beside a false friend, and nonsense."""
    aside = matrices_from_euler(np.array([0.5, 1.4, 0.0]))
    wrong = matrices @ ROTATE_180_ABOUT_BEAM @ aside
    nonsense = wrong @ matrices_from_euler(np.array([20.0, 33.0, 0.0]))
    n = len(matrices)
    return Indexed(
        euler_deg=euler_from_matrices(np.stack([wrong, nonsense], axis=1)),
        score=np.tile(np.float32([0.6, 0.2]), (n, 1)),
        reliability=np.full(n, 0.5, np.float32),
        indexed=np.ones(n, bool) if indexed is None else indexed,
        properties={"vacuum": np.linspace(0, 1, n)},
    )


@pytest.fixture(scope="module")
def refined(nickelate, known):
    patterns, matrices, _ = known
    indexer = RefinedIndexer(
        Proposer(nickelate, proposed(matrices)), nickelate, OPTICS, thicknesses_nm=NM
    )
    return indexer.index(patterns, PIXEL)


def apart_deg(crystal, found, matrices):
    best = matrices_from_euler(found.euler_deg[:, 0])
    return misorientation_deg(best, matrices, crystal.proper_operators)


def test_false_friends_are_told_apart_and_refined(nickelate, known, refined):
    apart = apart_deg(nickelate, refined, known[1])
    assert (apart < 1).sum() >= N - 1
    assert np.median(apart) < 0.25
    assert (refined.score[:, 0] > 0.5).all()
    np.testing.assert_allclose(refined.score.sum(axis=1), 1, atol=1e-5)
    assert (np.diff(refined.score, axis=1) <= 0).all()


def test_thickness_is_told(nickelate, known, refined):
    right = apart_deg(nickelate, refined, known[1]) < 1
    error = np.abs(refined.properties["thickness_nm"] - known[2])[right]
    assert np.median(error) == 0
    assert (refined.properties["thickness_error_nm"][right] >= 5).all()


def test_a_precessing_beam(nickelate):
    """It washes the disks out, whose means tell the thickness then."""
    optics = replace(OPTICS, precession_deg=0.5)
    patterns, matrices, nm = simulated(nickelate, optics)
    proposer = Proposer(nickelate, proposed(matrices))
    found = RefinedIndexer(proposer, nickelate, optics, thicknesses_nm=NM).index(patterns, PIXEL)
    right = apart_deg(nickelate, found, matrices) < 1
    assert right.sum() >= N - 1
    assert (np.abs(found.properties["thickness_nm"] - nm)[right] <= 10).all()


def test_camera_length_and_center_are_found(nickelate, known):
    patterns, matrices, _ = known
    moved = np.roll(patterns, (1, -2), axis=(1, 2))
    indexer = RefinedIndexer(
        Proposer(nickelate, proposed(matrices)), nickelate, OPTICS, thicknesses_nm=NM
    )
    found = indexer.index(moved, PIXEL / 1.06)
    right = apart_deg(nickelate, found, matrices) < 1
    assert right.sum() >= N - 1
    np.testing.assert_allclose(found.properties["camera_scale"][right], 1.06, rtol=0.01)


def test_what_is_rejected_stays_as_it_was(nickelate, known):
    patterns, matrices, _ = known
    indexed = np.arange(N) % 2 == 0
    told = proposed(matrices, indexed)
    indexer = RefinedIndexer(Proposer(nickelate, told), nickelate, OPTICS, thicknesses_nm=NM)
    found = indexer.index(patterns, PIXEL)
    np.testing.assert_array_equal(found.indexed, indexed)
    np.testing.assert_allclose(found.euler_deg[~indexed, :2], told.euler_deg[~indexed])
    np.testing.assert_allclose(found.score[~indexed, :2], told.score[~indexed])
    assert np.isnan(found.properties["thickness_nm"][~indexed]).all()
    np.testing.assert_array_equal(found.properties["vacuum"], told.properties["vacuum"])
    nothing = Proposer(nickelate, proposed(matrices, np.zeros(N, bool)))
    none = RefinedIndexer(nothing, nickelate, OPTICS).index(patterns, PIXEL)
    assert set(PROPERTIES) <= set(none.properties)
    assert not none.indexed.any()


def test_a_pattern_of_the_direct_beam_alone(nickelate, known):
    _, matrices, _ = known
    patterns = np.zeros((N, 112, 112), np.float32)
    patterns[1:, 56, 56] = 1e5
    proposer = Proposer(nickelate, proposed(matrices))
    found = RefinedIndexer(proposer, nickelate, OPTICS, thicknesses_nm=NM).index(patterns, PIXEL)
    np.testing.assert_allclose(found.properties["dynamical_q"], 0, atol=1e-5)
    assert np.isfinite(found.score).all()
    assert np.isfinite(found.euler_deg).all()


def test_bad_input(nickelate, known):
    patterns, matrices, _ = known
    proposer = Proposer(nickelate, proposed(matrices))
    with pytest.raises(SettingsError, match="n_best"):
        RefinedIndexer(proposer, nickelate, OPTICS, n_best=0)
    with pytest.raises(SettingsError, match="leave nothing to compare"):
        RefinedIndexer(proposer, nickelate, Optics(convergence_mrad=20.0))
    proposer.crystals = (nickelate, nickelate)
    with pytest.raises(SettingsError, match="one phase"):
        RefinedIndexer(proposer, nickelate, OPTICS)
    proposer.crystals = (nickelate,)
    with pytest.raises(ScanError, match="pixel"):
        RefinedIndexer(proposer, nickelate, OPTICS).index(patterns, 1e-4)


def test_torch_is_left_as_it_was(refined):
    assert not torch.is_inference_mode_enabled()


def test_q_is_a_correlation(refined):
    assert (refined.properties["dynamical_q"] > 0.5).all()
    assert (refined.properties["dynamical_q"] <= 1).all()
