import numpy as np
import torch

from zoneaxis.diffraction import polar as module
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import PolarInput
from zoneaxis.models.templates import kinematic_templates

DIRECTIONS = [3, 17, 40]


def argmax(indexer, patterns: np.ndarray) -> np.ndarray:
    """The likeliest (direction, bin) of each pattern."""
    inputs = indexer.preprocess(torch.from_numpy(patterns), 0.025)
    logits = indexer.network(inputs)[:, : indexer.labels.n_orientations]
    return np.stack(np.divmod(logits.argmax(dim=1).numpy(), indexer.labels.bins), axis=1)


def test_templates_have_the_shape_of_inputs(matched, labels, recipe, monkeypatch):
    preprocess = PolarInput(n_radii=12, powers=(0.25, 0.5))
    whole = kinematic_templates(
        labels, preprocess, recipe.optics(recipe.mean_convergence_mrad, 0.0)
    )
    assert whole.shape == (len(labels.directions_deg), 2, 12, 144)
    assert whole.min() >= 0
    monkeypatch.setattr(module, "DRAWN_TOGETHER", 7)
    assert torch.equal(
        whole,
        kinematic_templates(labels, preprocess, recipe.optics(recipe.mean_convergence_mrad, 0.0)),
    )


def test_templates_look_like_the_input(matched, labels, recipe, patterns):
    made = kinematic_templates(
        labels, matched.preprocess, recipe.optics(recipe.mean_convergence_mrad, 0.0)
    )[DIRECTIONS]
    inputs = matched.preprocess(torch.from_numpy(patterns(DIRECTIONS)), 0.025)
    for template, pattern in zip(made, inputs, strict=True):
        both = torch.stack([template.flatten(), pattern.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.5


def test_base_classes_have_in_plane_angles(matched, labels, recipe, patterns):
    """A class that is turned by itself has the template of its turned pattern."""
    optics, preprocess = recipe.optics(recipe.mean_convergence_mrad, 0.0), matched.preprocess
    turned = np.insert(labels.directions_deg, 0, 35.0, axis=1)
    made = kinematic_templates(OrientationLabels(labels.crystal, turned, 24), preprocess, optics)
    plain = kinematic_templates(labels, preprocess, optics)
    torch.testing.assert_close(made, plain.roll(14, dims=-1), atol=1e-4, rtol=0)
    inputs = preprocess(torch.from_numpy(patterns(DIRECTIONS, 35.0)), 0.025)
    for template, pattern in zip(made[DIRECTIONS], inputs, strict=True):
        assert torch.corrcoef(torch.stack([template.flatten(), pattern.flatten()]))[0, 1] > 0.5


def test_a_clean_pattern_has_its_class(matched, patterns):
    expected = [[d, 0] for d in DIRECTIONS]
    assert argmax(matched, patterns(DIRECTIONS)).tolist() == expected


def test_an_in_plane_turn_moves_the_class(matched, patterns):
    for turn in (1, 6, 23):
        found = argmax(matched, patterns(DIRECTIONS, turn * 360 / matched.labels.bins))
        assert found.tolist() == [[d, turn] for d in DIRECTIONS]


def test_most_directions_find_themselves(matched, patterns, labels):
    everything = list(range(len(labels.directions_deg)))
    found = argmax(matched, patterns(everything))
    assert (found == [[d, 0] for d in everything]).all(axis=1).mean() > 0.8
