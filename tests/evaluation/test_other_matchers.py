"""The benchmark's use of py4DSTEM and pyxem: what they find comes out in this project's frame."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.diffraction.render import render

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OPTICS = Optics(k_max_inv_angstrom=1.5)
SIZE, PIXEL, COUNTS = 128, 0.025, 1e5
N = 8
STEP_DEG = 4.0

# Theirs, which they show to their own users, too.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def others(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("other_matchers")


@pytest.fixture(scope="module")
def patterns(nickelate):
    rng = np.random.default_rng(2)
    tilt = np.rad2deg(np.arccos(rng.random(N)))
    euler = np.stack([rng.uniform(0, 360, N), tilt, rng.uniform(0, 120, N)], axis=1)
    disks = kinematic_disks(nickelate, OPTICS, euler[:, 1:], np.array([5.0]))
    drawn = render(disks, SIZE, PIXEL, torch.tensor(euler[:, 0]))[:, 0].numpy()
    return COUNTS * drawn, matrices_from_euler(euler)


def test_py4dstem_finds_kinematic_patterns(nickelate, others, patterns):
    found = others.Acom(nickelate, OPTICS, STEP_DEG).match(patterns[0], PIXEL)
    assert found.indexed.all()
    errors = misorientation_deg(found.matrices, patterns[1], nickelate.proper_operators)
    assert (errors < STEP_DEG).all()


def test_pyxem_finds_kinematic_patterns_by_templates_and_by_their_mirror_images(
    nickelate, others, patterns, monkeypatch
):
    pytest.importorskip("pyxem")
    monkeypatch.setattr(others, "RINGS", 50)
    # Each pattern's own direction, or the one opposite, whose template it matches unmirrored.
    directions = patterns[1][:, :, 2] * np.where(np.arange(N) % 2, -1, 1)[:, None]
    found = others.Pyxem(nickelate, OPTICS, directions, threads=1).match(patterns[0], PIXEL)
    errors = misorientation_deg(found.matrices, patterns[1], nickelate.proper_operators)
    for unmirrored_or_not in (errors[::2], errors[1::2]):
        assert np.median(unmirrored_or_not) < others.IN_PLANE_STEP_DEG
