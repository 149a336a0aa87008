import numpy as np
import pytest
import timm
import torch

from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.models import likeliest as module
from zoneaxis.models.labels import CONSIDERED
from zoneaxis.models.likeliest import likeliest
from zoneaxis.models.precision import half_precision

BASE, BINS = 50, 24
TEMPERATURE = 1.5


@pytest.fixture
def outputs() -> torch.Tensor:
    """Scores of six patterns, with three further outputs."""
    generator = torch.Generator().manual_seed(3)
    return 4 * torch.randn(6, BASE * BINS + 5, generator=generator)


@pytest.fixture
def network(shake) -> torch.nn.Module:
    import zoneaxis.models.polar  # noqa: F401 - registers it

    torch.manual_seed(0)
    settings = {"num_classes": BASE * BINS + 5, "bins": BINS, "extras": 3}
    return shake(timm.create_model("test_zoneaxis_polar", **settings))


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.rand(6, 1, 16, 144, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("considered", [1, 20, 1000, 2000])
def test_classes_and_probabilities_are_those_of_the_plain_way(outputs, considered):
    found = likeliest(outputs, BINS, BASE, considered, TEMPERATURE)
    classes, probabilities, other = found.classes(considered)
    plain = (outputs[:, :-3] / TEMPERATURE).softmax(dim=1)
    best = plain[:, :-2].topk(min(considered, BASE * BINS), dim=1)
    assert torch.equal(classes, best.indices)
    torch.testing.assert_close(probabilities, best.values)
    torch.testing.assert_close(other, plain[:, -2:])
    assert torch.equal(found.extras, outputs[:, -3:])


def test_the_rest_is_what_is_left_out(outputs):
    found = likeliest(outputs, BINS, BASE, 7, TEMPERATURE)
    left = (outputs[:, : BASE * BINS] / TEMPERATURE).view(6, BASE, BINS)
    left = left.masked_fill((found.base[:, :, None] == torch.arange(BASE)).any(1)[..., None], -99)
    torch.testing.assert_close(found.rest, left.flatten(1).logsumexp(dim=1))


def test_impossible_classes(outputs):
    outputs[:, : BASE * BINS] = -torch.inf
    outputs[:, 5] = 1.0
    classes, probabilities, other = likeliest(outputs, BINS, BASE, 3, 1.0).classes(3)
    assert (classes[:, 0] == 5).all()
    assert (probabilities[:, 1:] == 0).all()
    torch.testing.assert_close(probabilities[:, 0] + other.sum(dim=1), torch.ones(6))


def test_parts_are_the_whole(outputs, monkeypatch):
    whole = likeliest(outputs, BINS, BASE, 7, TEMPERATURE)
    monkeypatch.setattr(module, "SUMMED_TOGETHER", 2 * BASE * BINS)
    parts = likeliest(outputs, BINS, BASE, 7, TEMPERATURE)
    assert all(
        torch.equal(a, b) for a, b in zip(vars(whole).values(), vars(parts).values(), strict=True)
    )


def test_a_polar_network_needs_no_scores_of_all(network, inputs):
    found = network.likeliest(inputs, 7, TEMPERATURE)
    plain = likeliest(network(inputs).detach(), BINS, BASE, 7, TEMPERATURE)
    for name, values in vars(plain).items():
        torch.testing.assert_close(getattr(found, name), values, atol=1e-4, rtol=1e-4)
    assert not found.logits.requires_grad


def test_half_precision_rounds_the_rest_alone(network, inputs, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    half = half_precision(network)
    found = half.likeliest(inputs, 20, TEMPERATURE)
    plain = likeliest(half(inputs).detach(), BINS, BASE, 20, TEMPERATURE)
    assert found.logits.dtype == torch.float32
    same = (found.base == plain.base).all(dim=1)
    torch.testing.assert_close(found.logits[same], plain.logits[same], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.rest, plain.rest, atol=0.05, rtol=0)


def test_orientations_are_those_of_all_scores(matched, patterns, recipe):
    """Noisy patterns of many directions: the same best ones, confidences within 0.01."""
    labels = matched.labels
    clean = patterns(list(range(len(labels.directions_deg))), 37.0)
    noisy = torch.poisson(1e5 * torch.from_numpy(clean), torch.Generator().manual_seed(0))
    inputs = matched.preprocess(noisy, recipe.inv_angstrom_per_pixel)
    network = half_precision(matched.network.eval())
    with torch.inference_mode():
        matrices, mass, other = labels.merged(network.likeliest(inputs, CONSIDERED))
        expected = labels.n_best(network(inputs))
    operators = labels.crystal.proper_operators
    angle = misorientation_deg(matrices[:, 0].numpy(), expected[0][:, 0].numpy(), operators)
    assert np.mean(angle < 0.1) > 0.995
    torch.testing.assert_close(mass, expected[1], atol=0.01, rtol=0)
    torch.testing.assert_close(other, expected[2], atol=0.01, rtol=0)
