import pytest
import timm
import torch

import zoneaxis.models.cnn  # noqa: F401 - registers its networks

CLASSES = 7
GOLDEN = [34644168.0, 37494088.0, 36838372.0, 34613112.0, 37388688.0, 36969832.0, 34593272.0]
WEIGHTS = {"zoneaxis_cnn_small": 543_031, "test_zoneaxis_cnn": 6_063}


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_zoneaxis_cnn", num_classes=CLASSES).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def test_timm_lists_them():
    assert timm.list_models("*zoneaxis_cnn*") == sorted(WEIGHTS)


@pytest.mark.parametrize("name", WEIGHTS)
def test_sizes(name):
    network = timm.create_model(name, num_classes=CLASSES).eval()
    assert sum(p.numel() for p in network.parameters()) == WEIGHTS[name]
    size = network.default_cfg["input_size"]
    assert network(torch.zeros(2, *size)).shape == (2, CLASSES)


def test_forward_is_head_of_features(network, images):
    features = network.forward_features(images)
    assert features.shape == (3, network.num_features, 4, 4)
    assert torch.equal(network.forward_head(features), network(images))
    hidden = network.forward_head(features, pre_logits=True)
    assert hidden.shape == (3, network.head_hidden_size)
    assert torch.equal(network.get_classifier()(hidden), network(images))


def test_reset_classifier(network, images):
    hidden = network.forward_head(network.forward_features(images), pre_logits=True)
    network.reset_classifier(0)
    assert torch.equal(network(images), hidden)
    network.reset_classifier(11)
    assert network(images).shape == (3, 11)
    assert network.num_classes == 11


def test_no_classes_from_the_start(images):
    network = timm.create_model("test_zoneaxis_cnn", num_classes=0)
    assert network(images).shape == (3, network.head_hidden_size)


def test_more_channels():
    network = timm.create_model("test_zoneaxis_cnn", in_chans=3, num_classes=CLASSES)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, CLASSES)


def test_golden_logits(formula, ramp, network):
    """The architecture stays what checkpoints were written for."""
    made = formula(network)(ramp(1, 1, 32, 32))[0]
    torch.testing.assert_close(made, torch.tensor(GOLDEN), atol=0, rtol=1e-4)
