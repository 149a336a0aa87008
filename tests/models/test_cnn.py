import pytest
import timm
import torch
import torch.nn.functional as F

import zoneaxis.models.cnn  # noqa: F401 - registers its networks

CLASSES = 7
GOLDEN = [34644168.0, 37494088.0, 36838372.0, 34613112.0, 37388688.0, 36969832.0, 34593272.0]
WEIGHTS = {"zoneaxis_cnn_small": 543_031, "test_zoneaxis_cnn": 6_063}
PAPER = ["zoneaxis_cnn_3200", "zoneaxis_cnn_6400"]

# The paper's six blocks: 3 x 3 weights, biases, and scale and shift of the normalization.
CONVOLUTIONS = 9 * (1 * 8 + 8 * 16 + 16 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 3 * 504


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_zoneaxis_cnn", num_classes=CLASSES).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def weights(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_timm_lists_them():
    assert timm.list_models("*zoneaxis_cnn*") == sorted([*WEIGHTS, *PAPER])


@pytest.mark.parametrize("name", WEIGHTS)
def test_sizes(name):
    network = timm.create_model(name, num_classes=CLASSES).eval()
    assert weights(network) == WEIGHTS[name]
    size = network.default_cfg["input_size"]
    assert network(torch.zeros(2, *size)).shape == (2, CLASSES)


@pytest.mark.parametrize(
    ("hidden", "classes", "total"),
    [(6_400, 69_984, 515_549_200), (3_200, 255_744, 842_384_560), (3_200, 155_664, 522_028_480)],
)
def test_the_papers_networks(hidden, classes, total):
    """Fig. 4 at the three class counts; 256 pixels become 4 x 4 after six poolings."""
    dense = (4 * 4 * 256 + 1) * hidden + (hidden + 1) * hidden
    assert total == CONVOLUTIONS + dense + (hidden + 1) * classes
    with torch.device("meta"):
        network = timm.create_model(f"zoneaxis_cnn_{hidden}", num_classes=classes)
        assert network(torch.zeros(2, 1, 256, 256)).shape == (2, classes)
    assert weights(network) == total
    chances = [layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout)]
    assert chances == [0.2, 0.2]


@pytest.mark.parametrize(
    ("name", "classes"), [("zoneaxis_cnn_6400", 69_986), ("zoneaxis_cnn_3200", 155_666)]
)
def test_default_classes_are_the_papers_with_vacuum_and_amorphous(name, classes):
    with torch.device("meta"):
        assert timm.create_model(name).num_classes == classes


def test_factored_head_needs_a_fraction_of_the_weights():
    sizes = {}
    for head in ("flat", "factored"):
        with torch.device("meta"):
            network = timm.create_model(
                "zoneaxis_cnn_3200", head=head, bins=72, extras=5, num_classes=155_671
            )
            assert network(torch.zeros(2, 1, 256, 256)).shape == (2, 155_671)
        sizes[head] = weights(network.get_classifier())
    assert sizes == {"flat": 3_201 * 155_671, "factored": 3_201 * (2_162 + 72 + 2 + 5)}


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


def test_reset_classifier_keeps_the_kind_of_head(images):
    network = timm.create_model("test_zoneaxis_cnn", num_classes=26, head="factored", bins=12)
    network.reset_classifier(62)
    assert network(images).shape == (3, 62)
    assert network.get_classifier().out_features == 5 + 12 + 2


def test_no_classes_from_the_start(images):
    network = timm.create_model("test_zoneaxis_cnn", num_classes=0)
    assert network(images).shape == (3, network.head_hidden_size)


def test_there_is_no_pooling(network):
    with pytest.raises(ValueError, match="global_pool = 'avg': this network has none"):
        network.reset_classifier(CLASSES, "avg")


@pytest.mark.parametrize("name", ["test_zoneaxis_cnn", "zoneaxis_cnn_6400"])
def test_features_only(name):
    """One map a block, the same as in the whole network; no head is made for it."""
    with torch.device("meta" if name in PAPER else "cpu"):
        network = timm.create_model(name, features_only=True).eval()
        patterns = torch.ones(2, *network.default_cfg["input_size"])
        maps = network(patterns)
    blocks = len(maps)
    widths = [maps[0].shape[1] * 2**i for i in range(blocks)]
    assert widths[0] == {3: 4, 6: 8}[blocks]
    assert network.feature_info.channels() == widths
    assert network.feature_info.reduction() == [2 ** (i + 1) for i in range(blocks)]
    edge = patterns.shape[-1]
    expected = [(2, c, edge >> i, edge >> i) for i, c in enumerate(widths, start=1)]
    assert [tuple(m.shape) for m in maps] == expected
    assert weights(network) < 400_000


def test_features_are_those_of_the_network(network, images):
    extractor = timm.create_model("test_zoneaxis_cnn", features_only=True, out_indices=(0, 2))
    extractor.load_state_dict(
        {key.replace("blocks.", "blocks_"): value for key, value in network.state_dict().items()},
        strict=False,
    )
    first, last = extractor.eval()(images)
    assert first.shape[1:] == (4, 16, 16)
    torch.testing.assert_close(last, network.forward_features(images))


def test_blocks_are_the_papers(shake, network, images):
    """Convolution, normalization, ReLU, pooling, in the order of Fig. 4."""
    maps = images
    for convolution, norm, *_ in shake(network).blocks:
        maps = F.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        mean, var = norm.running_mean, norm.running_var
        maps = F.batch_norm(maps, mean, var, norm.weight, norm.bias)
        maps = F.max_pool2d(F.relu(maps), 2)
    assert (maps > 0).any()
    assert (maps == 0).any()
    torch.testing.assert_close(network.forward_features(images), maps)


def test_other_inputs():
    network = timm.create_model("test_zoneaxis_cnn", in_chans=3, img_size=48, num_classes=CLASSES)
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, CLASSES)
    oblong = timm.create_model("test_zoneaxis_cnn", img_size=(16, 40), num_classes=CLASSES)
    assert oblong(torch.zeros(2, 1, 16, 40)).shape == (2, CLASSES)


def test_too_small_an_input():
    with pytest.raises(ValueError, match="img_size = 32: 6 blocks need 64 pixels"):
        timm.create_model("zoneaxis_cnn_small", img_size=32)


@pytest.mark.parametrize("head", ["flat", "factored"])
def test_round_trip_through_a_folder(tmp_path, images, head):
    settings = {"num_classes": 5 * 12 + 3, "head": head, "bins": 12, "extras": 1}
    network = timm.create_model("test_zoneaxis_cnn", **settings).eval()
    timm.models.save_for_hf(network, tmp_path, model_args=settings, safe_serialization=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(loaded(images), network(images))


def test_a_folder_for_other_classes_and_channels(tmp_path, network, images):
    """timm keeps the rest of the weights, and adds up those of three channels for a gray image."""
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", True, num_classes=9, in_chans=3).eval()
    assert loaded(images.expand(-1, 3, -1, -1)).shape == (3, 9)
    torch.testing.assert_close(
        loaded.forward_features(images.expand(-1, 3, -1, -1)), network.forward_features(images)
    )


def test_golden_logits(formula, ramp, network):
    """The architecture stays what checkpoints were written for."""
    made = formula(network)(ramp(1, 1, 32, 32))[0]
    torch.testing.assert_close(made, torch.tensor(GOLDEN), atol=0, rtol=1e-4)
