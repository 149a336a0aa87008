import pytest
import timm
import torch

from zoneaxis.models.precision import half_precision


@pytest.fixture
def network(shake) -> torch.nn.Module:
    import zoneaxis.models.polar  # noqa: F401 - registers it

    torch.manual_seed(0)
    return shake(timm.create_model("test_zoneaxis_polar", num_classes=5 * 24 + 2, bins=24))


@pytest.fixture
def capable(monkeypatch):
    """Set what the processor can do."""

    def choose(*names: str) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True))

    return choose


def test_answers_are_nearly_the_same(network, capable):
    capable("avx512_f", "avx512_bf16")
    patterns = torch.rand(4, 1, 16, 144, generator=torch.Generator().manual_seed(0))
    exact = network(patterns)
    with torch.inference_mode():
        copy = half_precision(network)
        made = copy(patterns)
    assert {p.dtype for p in copy.parameters()} == {torch.bfloat16}
    assert not copy.training
    assert made.dtype == torch.float32
    assert 0 < (made - exact).abs().max() < 0.02 * exact.abs().max()
    assert torch.equal(network(patterns), exact)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_other_processors_compute_in_single_precision(network, capable):
    capable("avx512_f")
    assert half_precision(network) is network


def test_other_networks_stay(network, capable):
    capable("avx512_bf16")
    image = torch.nn.Linear(3, 4)
    assert half_precision(image) is image
    assert half_precision(network.double()) is network
