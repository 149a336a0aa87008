import pytest
import timm
import torch

from zoneaxis.models import polar
from zoneaxis.models.polar import MATCHED_SCALE, SpectralConv

BINS, DIRECTIONS = 24, 5
CLASSES = DIRECTIONS * BINS + 2
WEIGHTS = {"zoneaxis_polar_small": 2_650_181, "test_zoneaxis_polar": 34_469}
GOLDEN = [936521.75, 953814.375, 770036.5, 1159702.875, 808870.8125]


@pytest.fixture
def network(shake) -> torch.nn.Module:
    torch.manual_seed(0)
    made = timm.create_model("test_zoneaxis_polar", num_classes=CLASSES, bins=BINS)
    return shake(made)


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return torch.rand(3, 1, 16, 144, generator=torch.Generator().manual_seed(0))


def per_bin(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, :-2].view(len(logits), DIRECTIONS, BINS)


def test_timm_lists_them():
    assert timm.list_models("*zoneaxis_polar*") == sorted(WEIGHTS)


@pytest.mark.parametrize("name", WEIGHTS)
def test_sizes(name):
    network = timm.create_model(name, num_classes=722).eval()
    assert sum(p.numel() for p in network.parameters()) == WEIGHTS[name]
    size = network.default_cfg["input_size"]
    assert network(torch.zeros(2, *size)).shape == (2, network.num_classes)


@pytest.mark.parametrize("bins_turned", [1, 7, 23])
def test_equivariant(network, inputs, bins_turned):
    turned = network(inputs.roll(bins_turned * network.stride, dims=-1))
    plain = network(inputs)
    torch.testing.assert_close(
        per_bin(turned), per_bin(plain).roll(bins_turned, dims=-1), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(turned[:, -2:], plain[:, -2:], atol=1e-4, rtol=1e-4)
    # What is equivariant must not be so for want of any answer.
    assert per_bin(plain).std(dim=-1).min() > 1e-2


def test_equivariant_after_training(network, inputs):
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.01)
    target = torch.tensor([3, 40, CLASSES - 1])
    before = torch.nn.functional.cross_entropy(network(inputs), target)
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), target).backward()
        optimizer.step()
    assert torch.nn.functional.cross_entropy(network(inputs), target) < before
    test_equivariant(network.eval(), inputs, 5)


@pytest.mark.parametrize("bins", [24, 9])
def test_spectral_convolution_is_that_of_the_fft(bins):
    """Complex numbers and a fast Fourier transform give what real matrices do."""
    generator = torch.Generator().manual_seed(0)
    layer = SpectralConv(3, 5, bins)
    x = torch.randn(2, 3, bins, generator=generator)
    weight = torch.complex(*layer.weight.detach().unbind(dim=1))
    spectra = torch.einsum("bcf,fco->bof", torch.fft.rfft(x), weight)
    torch.testing.assert_close(layer(x), torch.fft.irfft(spectra, bins), atol=1e-5, rtol=1e-4)


def test_normalized_is_band_limited_by_the_fft(network, inputs):
    weighted = network.radial_weight * inputs[:, 0]
    spectra = torch.fft.rfft(weighted - weighted.mean(dim=-1, keepdim=True))[..., : BINS // 2 + 1]
    rings = torch.fft.irfft(spectra, BINS)
    expected = rings / rings.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(network.normalized(inputs), expected, atol=1e-6, rtol=1e-4)


def test_half_precision(network, inputs):
    """Logits stay single: bfloat16 would round those of the likeliest classes to an eighth."""
    exact = network(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        casted = network(inputs)
    for made in (casted, network.bfloat16()(inputs)):
        assert made.dtype == torch.float32
        assert not torch.equal(made.bfloat16().float(), made)
        error = made - exact
        assert 0 < error.abs().max() < 0.02 * exact.abs().max()


def test_parts_are_the_whole(network, inputs, monkeypatch):
    """Without gradients the last layer works on some directions at a time."""
    monkeypatch.setattr(polar, "DIRECTIONS_TOGETHER", 2)
    whole = network(inputs)
    with torch.inference_mode():
        torch.testing.assert_close(network(inputs), whole)


def test_exports_without_complex_numbers(network, inputs):
    batch = torch.export.Dim("batch")
    made = torch.export.export(network, (inputs,), dynamic_shapes=({0: batch},))
    called = {str(node.target) for node in made.graph.nodes if node.op == "call_function"}
    assert not [name for name in called if "fft" in name or "complex" in name]
    torch.testing.assert_close(made.module()(inputs[:2]), network(inputs[:2]))


def test_compiles_as_one_graph(network, inputs):
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(inputs), network(inputs))


def test_extras_do_not_turn(shake, inputs):
    made = timm.create_model("test_zoneaxis_polar", num_classes=CLASSES + 3, bins=BINS, extras=3)
    network = shake(made)
    plain, turned = network(inputs), network(inputs.roll(5 * network.stride, dims=-1))
    assert plain.shape == (3, CLASSES + 3)
    torch.testing.assert_close(turned[:, -5:], plain[:, -5:], atol=1e-4, rtol=1e-4)
    assert (plain[:, -3:].std(dim=0) > 0).all()
    network.reset_classifier(2 * BINS + 2 + 3)
    assert network(inputs).shape == (3, 2 * BINS + 5)
    with pytest.raises(ValueError, match=r"expected directions \* 24 \+ 5"):
        network.reset_classifier(2 * BINS + 2)


def test_forward_is_head_of_features(network, inputs):
    before = inputs.clone()
    features = network.forward_features(inputs)
    assert features.shape == (3, network.num_features, BINS)
    assert torch.equal(network.forward_head(features), network(inputs))
    assert torch.equal(network.get_classifier()(features), network(inputs))
    pooled = network.forward_head(features, pre_logits=True)
    assert pooled.shape == (3, network.head_hidden_size)
    assert torch.equal(inputs, before)


def test_reset_classifier(network, inputs):
    pooled = network.forward_head(network.forward_features(inputs), pre_logits=True)
    network.reset_classifier(0)
    assert torch.equal(network(inputs), pooled)
    network.reset_classifier(2 * BINS + 2)
    assert network(inputs).shape == (3, 2 * BINS + 2)


def test_pooled_features_do_not_turn(shake, inputs):
    network = shake(timm.create_model("test_zoneaxis_polar", num_classes=0, bins=BINS))
    turned = network(inputs.roll(4 * network.stride, dims=-1))
    torch.testing.assert_close(turned, network(inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("classes", [1, 2, BINS, BINS + 3])
def test_classes_are_bins_of_directions(network, classes):
    with pytest.raises(ValueError, match=r"expected directions \* 24 \+ 2"):
        network.reset_classifier(classes)


@pytest.mark.parametrize("bins", [1, 50])
def test_bins_divide_the_angles(bins):
    with pytest.raises(ValueError, match="expected a divisor of the 144 angles"):
        timm.create_model("test_zoneaxis_polar", num_classes=2 * bins + 2, bins=bins)


def test_templates_make_a_matched_filter(inputs):
    """A template, turned, has its greatest logit at its direction and bin: a full correlation."""
    network = timm.create_model("test_zoneaxis_polar", num_classes=CLASSES, bins=BINS).eval()
    templates = torch.rand(DIRECTIONS, 1, 16, 144, generator=torch.Generator().manual_seed(1))
    before = templates.clone()
    network.set_templates(templates)
    assert torch.equal(templates, before)
    for turn in (0, 9):
        scores = per_bin(network(templates.roll(turn * network.stride, dims=-1)))
        best = scores.flatten(1).argmax(dim=1)
        assert torch.equal(best, torch.arange(DIRECTIONS) * BINS + turn)
        peak = scores.flatten(1).amax(dim=1)
        torch.testing.assert_close(peak, torch.full((DIRECTIONS,), MATCHED_SCALE), atol=0.5, rtol=0)
    half = network(torch.rand_like(inputs)).amax()
    assert half < peak.min()


def test_background_and_exposure_do_not_matter_to_templates(network, inputs):
    """Rings have no mean and the whole has norm 1, as the correlation index asks."""
    background = torch.linspace(0, 3, 16)[:, None]
    plain = network.normalized(inputs)
    torch.testing.assert_close(network.normalized(5 * inputs + background), plain)
    torch.testing.assert_close(plain.flatten(1).norm(dim=1), torch.ones(3))


def test_a_blank_pattern_is_finite(network):
    assert torch.isfinite(network(torch.zeros(2, 1, 16, 144))).all()


def test_golden_logits(formula, ramp, network):
    """The architecture stays what checkpoints were written for."""
    made = formula(network)(ramp(1, 1, 16, 144))[0, [0, 10, 50, -2, -1]]
    torch.testing.assert_close(made, torch.tensor(GOLDEN), atol=0, rtol=1e-4)
