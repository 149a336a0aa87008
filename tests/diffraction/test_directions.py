import numpy as np
import pytest

from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.orientations import beam_directions, mirrored, reduce_euler
from zoneaxis.errors import SettingsError


def vectors(directions: np.ndarray) -> np.ndarray:
    return beam_directions(np.pad(directions, ((0, 0), (1, 0))))


def test_counts_of_the_trigonal_sector(nickelate):
    assert len(sample_directions(nickelate, 2.0)) == 2162
    assert len(sample_directions(nickelate, 2.0, mirrored=True)) == 1057


@pytest.mark.parametrize("half", [False, True])
def test_every_direction_has_a_neighbor(nickelate, half):
    grid = vectors(sample_directions(nickelate, 5.0, mirrored=half))
    operators = nickelate.proper_operators
    if half:
        operators = np.concatenate([operators, nickelate.mirror @ operators])
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(300, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    equivalent = np.einsum("sij,nj->nsi", operators, directions)
    nearest = (equivalent @ grid.T).max(axis=(1, 2))
    assert np.rad2deg(np.arccos(nearest.min())) < 5.0


def test_the_mirrored_half_completes_the_sector(nickelate):
    half = np.pad(sample_directions(nickelate, 5.0, mirrored=True), ((0, 0), (1, 0)))
    both = reduce_euler(np.concatenate([half, mirrored(half, nickelate)]), nickelate)
    whole = reduce_euler(np.pad(sample_directions(nickelate, 5.0), ((0, 0), (1, 0))), nickelate)
    nearest = (beam_directions(whole) @ beam_directions(both).T).max(axis=1)
    assert np.rad2deg(np.arccos(np.clip(nearest, -1, 1))).max() < 5.0


@pytest.mark.parametrize("step", [0.0, -2.0, 50.0, float("nan")])
def test_refuses_a_senseless_step(nickelate, step):
    with pytest.raises(SettingsError, match="step_deg"):
        sample_directions(nickelate, step)
