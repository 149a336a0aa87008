import socket

import pytest
import timm
import timm.optim
import torch

import zoneaxis.models.backbone  # noqa: F401 - registers its networks

BINS = 12
CLASSES = 5 * BINS + 2
TINY = ["test_vit", "test_convnext", "test_resnet", "test_efficientnet", "test_mambaout"]
LARGE = [
    "convnext_femto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swin_s3_tiny_224",
    "densenet121",
    "resnet18",
    "resnet18.a1_in1k",
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def create(backbone: str = "test_vit", **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = {"num_classes": CLASSES, "bins": BINS, **settings}
    return timm.create_model("test_zoneaxis_backbone", backbone=backbone, **settings).eval()


def test_timm_lists_them():
    names = ["test_zoneaxis_backbone", "zoneaxis_backbone"]
    assert timm.list_models("*zoneaxis_backbone*") == names


@pytest.mark.parametrize("head", ["flat", "factored"])
@pytest.mark.parametrize("backbone", LARGE)
def test_large_ones(backbone, head):
    """On the meta device: shapes without the arithmetic."""
    with torch.device("meta"):
        network = timm.create_model(
            "zoneaxis_backbone", backbone=backbone, head=head, num_classes=CLASSES, bins=BINS
        )
        patterns = torch.zeros(2, 1, 128, 128)
        assert network(patterns).shape == (2, CLASSES)
        features = network.forward_features(patterns)
        hidden = network.forward_head(features, pre_logits=True)
    assert hidden.shape == (2, network.head_hidden_size)
    assert network.num_features in features.shape


@pytest.mark.parametrize("head", ["flat", "factored"])
@pytest.mark.parametrize("backbone", TINY)
def test_tiny_ones(backbone, head, images):
    network = create(backbone, head=head, extras=2, num_classes=CLASSES + 2)
    made = network(images)
    assert made.shape == (3, CLASSES + 2)
    assert made.std(dim=0).max() > 0  # it looks at the pattern
    torch.testing.assert_close(network(images[1:2]), made[1:2])
    hidden = network.forward_head(network.forward_features(images), pre_logits=True)
    assert torch.equal(network.get_classifier()(hidden), made)


def test_it_is_the_network_of_timm(images):
    """Pooled features are those of the backbone alone with the same weights."""
    network = create("test_resnet", num_classes=0)
    alone = timm.create_model("test_resnet", num_classes=0, in_chans=1).eval()
    alone.load_state_dict(network.backbone.state_dict())
    assert torch.equal(network(images), alone(images))


def test_it_learns(images):
    network = create().train()
    optimizer = timm.optim.create_optimizer_v2(network, "adamw", lr=1e-3, weight_decay=0.05)
    target = torch.tensor([3, 40, CLASSES - 1])
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(torch.nn.functional.cross_entropy(network(images), target))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None for p in network.parameters())


def test_image_size_reaches_a_backbone_that_fixes_it():
    network = create(img_size=96)
    assert network(torch.zeros(2, 1, 96, 96)).shape == (2, CLASSES)
    assert network.backbone.pos_embed.shape[1] == (96 // 16) ** 2 + 1


def test_settings_of_the_backbone(images):
    network = create(patch_size=8, in_chans=2)
    assert network.forward_features(images.expand(-1, 2, -1, -1)).shape == (3, 65, 64)


def test_weights_that_must_not_decay():
    assert create().no_weight_decay() >= {"backbone.pos_embed", "backbone.cls_token"}
    assert create("test_efficientnet").no_weight_decay() == set()


def test_checkpointing_changes_nothing(images):
    network = create().train()
    plain = network(images)
    network.set_grad_checkpointing()
    torch.testing.assert_close(network(images), plain)


def test_reset_classifier(images):
    network = create("test_resnet", head="factored")
    hidden = network(images), network.forward_head(network.forward_features(images), True)
    network.reset_classifier(0)
    assert torch.equal(network(images), hidden[1])
    network.reset_classifier(2 * BINS + 2, "max")
    assert network(images).shape == (3, 2 * BINS + 2)
    assert network.get_classifier().out_features == 2 + BINS + 2
    with pytest.raises(ValueError, match="num_classes = 9"):
        network.reset_classifier(9)


def test_features_only(images):
    network = timm.create_model(
        "test_zoneaxis_backbone", backbone="test_resnet", features_only=True
    ).eval()
    maps = network(images)
    assert [m.shape[1] for m in maps] == network.feature_info.channels()
    assert [64 // m.shape[2] for m in maps] == network.feature_info.reduction()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("convnext_fento", "the nearest are convnext_femto"),
        ("qqqq", "timm.list_models"),
        ("zoneaxis_cnn_small", "no backbone"),
        ("hf-hub:timm/resnet18.a1_in1k", "no backbone"),
    ],
)
def test_unknown_backbone(name, hint):
    with pytest.raises(ValueError, match=hint):
        create(name)


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext"])
@pytest.mark.parametrize("head", ["flat", "factored"])
def test_round_trip_through_a_folder(tmp_path, images, backbone, head):
    network = create(backbone, head=head, extras=1, num_classes=CLASSES + 1)
    settings = {"backbone": backbone, "head": head, "bins": BINS, "extras": 1}
    timm.models.save_for_hf(network, tmp_path, model_args=settings, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(loaded(images), network(images))
