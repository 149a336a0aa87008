"""The network's frames on patterns that share no code with ours: multislice."""

from pathlib import Path

import numpy as np
import pytest

from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import ScanError
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.templates import kinematic_templates

SAMPLE = Path(__file__).parents[1] / "data" / "multislice_sample.npz"


@pytest.fixture(scope="module")
def untrained(nickelate) -> NetworkIndexer:
    """A network as training finds it: kinematic templates in its last layer."""
    labels = OrientationLabels.equispaced(nickelate, 4.0, 72)
    indexer = create_indexer("zoneaxis_polar_small", labels, preset("demo", nickelate))
    optics = indexer.recipe.optics(1.5, 0.0)
    indexer.network.set_templates(kinematic_templates(labels, indexer.preprocess, optics))
    return indexer


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    with np.load(SAMPLE) as data:
        return dict(data)


def angles_deg(indexer: NetworkIndexer, patterns: np.ndarray, sample: dict) -> np.ndarray:
    found = indexer.index(patterns, float(sample["inv_angstrom_per_pixel"]))
    truth = matrices_from_euler(sample["euler"])[:, None]
    operators = indexer.crystal.proper_operators
    return misorientation_deg(matrices_from_euler(found.euler_deg), truth, operators)


def test_known_orientations_are_found(untrained, sample):
    angle = angles_deg(untrained, sample["pattern"].astype(np.float32), sample)
    assert (angle[:, 0] < 5).mean() >= 0.6
    assert (angle.min(axis=1) < 5).mean() >= 0.9


@pytest.mark.parametrize("axes", [(0, 2, 1), "mirror"], ids=["transposed", "mirrored"])
def test_another_frame_finds_none(untrained, sample, axes):
    patterns = sample["pattern"].astype(np.float32)
    if axes == "mirror":
        patterns = np.roll(patterns[:, :, ::-1], 1, axis=2)
    else:
        patterns = patterns.transpose(axes)
    assert (angles_deg(untrained, patterns, sample)[:, 0] < 5).mean() <= 0.1


@pytest.mark.parametrize("pixel", [0.0003, 0.005, float("nan")])
def test_a_frame_that_shows_too_little_is_refused(untrained, sample, pixel):
    with pytest.raises(ScanError, match="--inv-angstrom-per-pixel"):
        untrained.index(sample["pattern"].astype(np.float32), pixel)
