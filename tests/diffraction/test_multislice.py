"""Bloch waves against a calculation that shares neither code nor approximation with them."""

from pathlib import Path

import numpy as np
import pytest

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.structure_factors import structure_factors

SAMPLE = Path(__file__).parents[1] / "data" / "multislice_sample.npz"


@pytest.fixture(scope="module")
def multislice(nickelate) -> list:
    """(pattern, simulated disks at the known orientation, phi1) of the sample's patterns."""
    with np.load(SAMPLE) as data:
        sample = {name: data[name].astype(float) for name in data}
    k_max = 1.7
    factors = structure_factors(nickelate, 300.0, 2 * k_max)
    rows = []
    for i, (phi1, *direction) in enumerate(sample["euler"]):
        optics = Optics(300.0, 1.5, sample["precession_deg"][i], k_max)
        thickness = [sample["thickness_nm"][i]]
        disks = bloch_disks(nickelate, optics, [direction], thickness, rings=1, factors=factors)
        rows.append((sample["pattern"][i], disks, phi1))
    return rows


def integrated(pattern, q, pixel=0.03125, radius_px=3.2):
    """Sum of the pattern within a disk at each q; NaN where it leaves the frame."""
    y, x = np.indices(pattern.shape) - len(pattern) // 2
    sums = [pattern[np.hypot(x - a, y - b) < radius_px].sum() for a, b in q / pixel]
    return np.where(np.abs(q).max(axis=1) / pixel < len(pattern) // 2 - 4, sums, np.nan)


def correlation(pattern, disks, matrix):
    q = disks.q_inv_angstrom[0].numpy() @ matrix[:2, :2]
    measured, expected = integrated(pattern, q)[1:], disks.mean_intensity[0, 0].numpy()[1:]
    used = ~np.isnan(measured)
    return np.corrcoef(measured[used], expected[used])[0, 1]


def median_correlation(multislice, frame, sense=1.0):
    return np.median(
        [
            correlation(pattern, disks, matrices_from_euler([sense * phi1, 0, 0]) @ frame)
            for pattern, disks, phi1 in multislice
        ]
    )


def test_agrees_in_the_frame_of_the_conventions(multislice):
    assert median_correlation(multislice, np.eye(3)) > 0.98


@pytest.mark.parametrize(
    ("frame", "sense"),
    [
        pytest.param(np.diag([-1.0, 1.0, 1.0]), 1, id="mirrored"),
        pytest.param(np.eye(3)[[1, 0, 2]], 1, id="transposed"),
        pytest.param(np.diag([-1.0, -1.0, 1.0]), 1, id="reversed"),
        pytest.param(np.eye(3), -1, id="turned the other way"),
    ],
)
def test_agrees_in_no_other_frame(multislice, frame, sense):
    assert median_correlation(multislice, frame, sense) < 0.3
