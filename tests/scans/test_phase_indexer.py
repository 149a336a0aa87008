import numpy as np
import pytest
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.indexing import Indexed
from zoneaxis.scans.phase_indexer import PhaseIndexer

FACES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
OPTICS = Optics(k_max_inv_angstrom=1.7)
PIXEL = 0.028


@pytest.fixture(scope="module")
def silver():
    return Crystal(
        "Ag", (4.08,) * 3 + (90.0,) * 3, 225, np.full(4, 47), FACES, np.ones(4), np.ones(4)
    )


class Answers:
    """Gives the answers that it was made with."""

    def __init__(self, crystal, score, indexed, **properties):
        self.crystals = (crystal,)
        score = np.array(score, np.float32)
        euler = np.zeros((*score.shape, 3)) + np.arange(1, score.shape[1] + 1)[:, None]
        self.answer = Indexed(
            euler_deg=euler * crystal.cell[0],
            score=score,
            reliability=score[:, 0] / 2,
            indexed=np.array(indexed),
            properties={name: np.array(v, np.float32) for name, v in properties.items()},
        )

    def index(self, patterns, inv_angstrom_per_pixel):
        return self.answer


def test_the_best_score_decides(nickelate, silver):
    a = Answers(
        nickelate, [[0.5, 0.4], [0.2, 0.1], [0.9, 0.1], [0.1, 0]], [1, 1, 0, 0], size=[1] * 4
    )
    b = Answers(silver, [[0.4], [0.8], [0.3], [0.2]], [1, 1, 1, 0], agreement=[2] * 4)
    found = PhaseIndexer([a, b]).index(np.zeros((4, 8, 8)), 0.1)
    assert found.phase.tolist() == [0, 1, 1, 1]  # of the third, the higher score does not count
    assert found.indexed.tolist() == [True, True, True, False]
    np.testing.assert_allclose(found.score, [[0.5, 0.4], [0.8, 0], [0.3, 0], [0.2, 0]])
    np.testing.assert_allclose(found.euler_deg[0, :, 0], np.array([1, 2]) * 2.878)
    np.testing.assert_allclose(found.euler_deg[1, :, 0], 4.08)  # repeated, with score 0
    np.testing.assert_allclose(found.reliability, [0.25, 0.4, 0.15, 0.1])
    properties = found.properties
    np.testing.assert_allclose(properties["phase_reliability"], [0.2, 0.75, 0, 0], atol=1e-6)
    np.testing.assert_allclose(properties["phase_0_score"], [0.5, 0.2, 0.9, 0.1])
    np.testing.assert_allclose(properties["phase_1_score"], [0.4, 0.8, 0.3, 0.2])
    np.testing.assert_equal(properties["size"], [1, np.nan, np.nan, np.nan])
    np.testing.assert_equal(properties["agreement"], [np.nan, 2, 2, 2])


def test_phases_that_are_none(nickelate, silver):
    a, b = (Answers(c, [[0.1]], [True]) for c in (nickelate, silver))
    with pytest.raises(SettingsError, match="the same crystal"):
        PhaseIndexer([a, b, Answers(Crystal.from_dict(nickelate.to_dict()), [[0.1]], [True])])
    with pytest.raises(SettingsError, match="of one crystal each"):
        PhaseIndexer([PhaseIndexer([a, b])])
    with pytest.raises(SettingsError, match="of one crystal each"):
        PhaseIndexer([])


def simulated(crystal, euler_deg):
    """Return noisy dynamical patterns, as of a phantom's 20 nm."""
    disks = bloch_disks(crystal, OPTICS, euler_deg[:, 1:], np.array([20.0]))
    clean = render(disks, 128, PIXEL, torch.as_tensor(euler_deg[:, 0].copy()).float())[:, 0]
    return torch.poisson(1e5 * clean.clamp_min(0), torch.Generator().manual_seed(0)).numpy()


def test_layered_oxide_and_silver(nickelate, silver):
    """Nearly the same spacing of atoms: what tells them apart is the oxide's layers."""
    rng = np.random.default_rng(0)
    euler = np.stack([rng.uniform(0, 360, 50), *beams(rng, 50)], axis=1)
    crystals = nickelate, silver
    indexer = PhaseIndexer([TemplateIndexer(c, OPTICS, step_deg=2.0) for c in crystals])
    assert indexer.crystals == crystals
    right = []
    for number, crystal in enumerate(crystals):
        found = indexer.index(simulated(crystal, euler), PIXEL)
        mine = found.phase == number
        angle = misorientation_deg(
            matrices_from_euler(euler),
            matrices_from_euler(found.euler_deg[:, 0]),
            crystal.proper_operators,
        )
        assert np.median(angle[mine]) < 1.0
        assert (found.properties["phase_reliability"][~mine] < 0.15).all()
        right.append(mine)
    assert np.mean(right) >= 0.95


def beams(rng, n):
    """Return Phi and phi2 in degrees of random beam directions."""
    return np.rad2deg(np.arccos(rng.uniform(-1, 1, n))), rng.uniform(0, 360, n)
