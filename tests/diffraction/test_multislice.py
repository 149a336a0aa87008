"""Bloch waves against a calculation that shares neither code nor approximation with them."""

from pathlib import Path

import numpy as np
import pytest

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation.disk_intensities import disk_intensities

SAMPLE = Path(__file__).parents[1] / "data" / "multislice_sample.npz"
K_MAX, LARGEST_Q = 1.8, 1.5
OUTLINE_PX = 0.6


@pytest.fixture(scope="module")
def correlations(nickelate):
    """A function from an archive of patterns, and a frame, to a correlation for each pattern."""
    factors = structure_factors(nickelate, 300.0, 2 * K_MAX)

    def measure(path: Path, frame=((1, 0), (0, 1)), sense=1.0) -> np.ndarray:
        with np.load(path) as data:
            n = len(data["euler"])
            patterns = {k: np.broadcast_to(v, (n, *v.shape[1:])) for k, v in data.items()}
        return np.array([one(patterns, i, np.array(frame), sense) for i in range(n)])

    def one(patterns, i, frame, sense):
        phi1, *direction = patterns["euler"][i]
        pixel = patterns["inv_angstrom_per_pixel"][i]
        optics = Optics(300.0, 1.5, float(patterns["precession_deg"][i]), K_MAX)
        thickness = [patterns["thickness_nm"][i]]
        disks = bloch_disks(nickelate, optics, [direction], thickness, factors=factors)
        measured = patterns["pattern"][i].astype(float)
        size = len(measured)
        turn = matrices_from_euler([sense * phi1, 0, 0])[:2, :2]
        q = disks.q_inv_angstrom[0].double().numpy() @ turn
        ours = render(disks, size, pixel, sense * phi1)[0, 0].double().numpy()
        radius = optics.disk_radius_inv_angstrom / pixel + OUTLINE_PX
        # Moving the disks' places moves where a pattern of another frame would show them.
        expected = disk_intensities(ours, q / pixel + size // 2, radius)
        found = disk_intensities(measured, q @ frame / pixel + size // 2, radius)
        used = np.isfinite(found) & np.isfinite(expected) & (np.linalg.norm(q, axis=1) < LARGEST_Q)
        used[0] = False
        return np.corrcoef(found[used], expected[used])[0, 1]

    return measure


def test_a_sample_agrees_in_the_frame_of_the_conventions(correlations):
    assert np.median(correlations(SAMPLE)) > 0.98


@pytest.mark.parametrize("name", ["plain", "precession"])
def test_every_pattern_agrees(correlations, shared_data, name):
    found = correlations(shared_data / "multislice" / f"{name}.npz")
    assert np.median(found) >= 0.98
    # The rest scatter too little to stand out from the phonons', or are the thickest.
    assert np.mean(found >= 0.98) > 0.85
    assert found.min() > 0.85


@pytest.mark.parametrize(
    ("frame", "sense"),
    [
        pytest.param([[-1, 0], [0, 1]], 1, id="mirrored"),
        pytest.param([[0, 1], [1, 0]], 1, id="transposed"),
        pytest.param([[-1, 0], [0, -1]], 1, id="reversed"),
        pytest.param([[1, 0], [0, 1]], -1, id="turned the other way"),
    ],
)
def test_agrees_in_no_other_frame(correlations, frame, sense):
    assert np.median(correlations(SAMPLE, frame, sense)) < 0.3
