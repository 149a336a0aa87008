"""Refinement beyond the grid: orientation, camera length and center of known patterns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.template_matching import TemplateIndexer

PIXEL = 0.03
OPTICS = Optics(k_max_inv_angstrom=1.7)
EVERYTHING = ("orientation", "camera_length", "center")


@pytest.fixture(scope="module")
def known(nickelate) -> tuple[np.ndarray, np.ndarray]:
    """Patterns of an orientation each, and those, (n, 3, 3)."""
    rng = np.random.default_rng(0)
    euler = rng.uniform([0, 20, 0], [360, 90, 120], (12, 3))
    disks = kinematic_disks(nickelate, OPTICS, euler[:, 1:], np.array([4.0]))
    drawn = render(disks, 128, PIXEL, torch.from_numpy(euler[:, 0].copy()))[:, 0]
    return drawn.numpy(), matrices_from_euler(euler)


@pytest.fixture(scope="module")
def indexers(nickelate) -> dict[str, TemplateIndexer]:
    choices = {"none": (), "orientation": ("orientation",), "everything": EVERYTHING}
    return {
        name: TemplateIndexer(nickelate, OPTICS, step_deg=4.0, refine=refine)
        for name, refine in choices.items()
    }


def nearest_deg(indexer, found, matrices) -> np.ndarray:
    """Angle from the truth to the nearest solution: which comes first is not asked here."""
    solutions = matrices_from_euler(found.euler_deg)
    return misorientation_deg(solutions, matrices[:, None], indexer.crystal.proper_operators).min(
        axis=1
    )


def test_orientations_come_nearer_than_the_grid(indexers, known):
    patterns, matrices = known
    apart, scores = {}, {}
    for name in ("none", "orientation"):
        found = indexers[name].index(patterns, PIXEL)
        apart[name] = nearest_deg(indexers[name], found, matrices)
        scores[name] = found.score[:, 0]
    assert np.median(apart["orientation"]) < 0.4
    assert np.median(apart["orientation"]) < 0.7 * np.median(apart["none"])
    assert np.median(scores["orientation"] - scores["none"]) > 0


def test_a_large_cell_has_spots_enough(nickelate):
    """Half of the spots would leave the orientations as coarse as the grid."""
    a, _, c = nickelate.cell[:3]
    crystal = replace(nickelate, cell=(2 * a, 2 * a, c, 90.0, 90.0, 120.0))
    optics = Optics(convergence_mrad=1.0, k_max_inv_angstrom=1.7)
    euler = np.random.default_rng(0).uniform([0, 20, 0], [360, 90, 120], (16, 3))
    disks = kinematic_disks(crystal, optics, euler[:, 1:], np.array([8.0]))
    drawn = render(disks, 128, PIXEL, torch.from_numpy(euler[:, 0].copy()))[:, 0]
    indexer = TemplateIndexer(crystal, optics, step_deg=4.0)
    assert indexer._bank.typical_spots > 100
    found = indexer.index(drawn.numpy(), PIXEL)
    assert np.median(nearest_deg(indexer, found, matrices_from_euler(euler))) < 0.35


def test_camera_length_and_center_are_found(indexers, known):
    patterns, matrices = known
    moved = np.roll(patterns, (1, -1), axis=(1, 2))

    found = indexers["everything"].index(moved, PIXEL * 1.025)
    assert np.median(found.properties["camera_scale"]) == pytest.approx(1 / 1.025, abs=0.006)
    shift = np.stack([found.properties[f"center_shift_{axis}_px"] for axis in "xy"])
    assert np.abs(np.median(shift, axis=1)).max() < 0.2  # the direct beam was found already
    assert np.median(nearest_deg(indexers["everything"], found, matrices)) < 0.5


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_a_center_that_was_missed_is_found(nickelate, known, monkeypatch, scale):
    """In pixels of the pattern, at whatever camera length."""
    from zoneaxis.evaluation.matching import polar_patterns

    def fixed(patterns: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.tensor([[64.0, 64.0]]).expand(len(patterns), -1)

    monkeypatch.setattr(polar_patterns, "direct_beam_center", fixed)
    indexer = TemplateIndexer(
        nickelate, OPTICS, step_deg=4.0, refine=EVERYTHING, camera_scales=(scale,)
    )
    found = indexer.index(np.roll(known[0], (0, 1), axis=(1, 2)), PIXEL / scale)
    assert np.median(found.properties["center_shift_x_px"]) == pytest.approx(1.0, abs=0.2)
    assert np.median(found.properties["center_shift_y_px"]) == pytest.approx(0.0, abs=0.2)


def test_solutions_stay_distinct_and_in_order(indexers, known):
    found = indexers["everything"].index(known[0], PIXEL)
    assert (np.diff(found.score, axis=1) <= 0).all()
    solutions = matrices_from_euler(found.euler_deg)
    operators = indexers["everything"].crystal.proper_operators
    for i in (1, 2):
        away = misorientation_deg(solutions[:, :i], solutions[:, i, None], operators).min(axis=1)
        assert away[found.score[:, i] > 0].min() > 1


def test_what_cannot_be_refined_is_named(nickelate):
    with pytest.raises(SettingsError, match="'thickness'"):
        TemplateIndexer(nickelate, OPTICS, step_deg=8.0, refine=("thickness",))
