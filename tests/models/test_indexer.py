from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import OutputError, SettingsError
from zoneaxis.models import indexer as module
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.scans.indexing import Indexed

PIXEL = 0.025
DIRECTIONS = [3, 17, 40]
NETWORKS = ["test_zoneaxis_polar", "test_zoneaxis_cnn"]


def same(first: Indexed, second: Indexed) -> bool:
    """Whether two results agree bit for bit."""
    names = ("euler_deg", "score", "reliability", "indexed")
    pairs = [(getattr(first, n), getattr(second, n)) for n in names]
    pairs += [(first.properties[n], second.properties[n]) for n in first.properties]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


# What every indexer does


def test_shapes_and_ranges(indexer, patterns):
    images = patterns(DIRECTIONS)
    before = images.copy()
    found = indexer.index(images, PIXEL)
    assert np.array_equal(images, before)
    assert found.euler_deg.shape == (3, module.N_BEST, 3)
    assert found.score.shape == (3, module.N_BEST)
    assert found.reliability.shape == found.indexed.shape == (3,)
    assert found.indexed.dtype == bool
    assert set(found.properties) == {"vacuum", "amorphous"}
    shares = [found.score, found.reliability, *found.properties.values()]
    assert all(s.min() >= 0 and s.max() <= 1 + 1e-6 and s.dtype == np.float32 for s in shares)
    assert (np.diff(found.score, axis=1) <= 0).all()
    assert np.isfinite(found.euler_deg).all()


def test_a_pattern_alone_is_indexed_alike(indexer, patterns, monkeypatch):
    images = patterns(DIRECTIONS)
    together = indexer.index(images, PIXEL)
    monkeypatch.setattr(module, "BATCH", 2)
    cut = indexer.index(images, PIXEL)
    alone = [indexer.index(image[None], PIXEL) for image in images]
    score = np.concatenate([found.score for found in alone])
    g = np.concatenate([matrices_from_euler(found.euler_deg[:, 0]) for found in alone])
    for other, matrices in ((score, g), (cut.score, matrices_from_euler(cut.euler_deg[:, 0]))):
        np.testing.assert_allclose(other, together.score, atol=1e-5)
        expected = matrices_from_euler(together.euler_deg[:, 0])
        assert misorientation_deg(matrices, expected, indexer.crystal.proper_operators).max() < 0.1


def test_no_patterns(indexer):
    found = indexer.index(np.zeros((0, 64, 64), np.float32), PIXEL)
    assert found.euler_deg.shape == (0, module.N_BEST, 3)
    assert found.indexed.shape == found.properties["vacuum"].shape == (0,)


@pytest.mark.parametrize("kind", [np.uint16, np.float64, ">f4"])
def test_any_kind_of_counts(matched, patterns, kind):
    counts = (1e4 * patterns(DIRECTIONS)).round()
    made = matched.index(counts.astype(kind)[:, ::-1, ::-1], PIXEL)
    assert same(made, matched.index(counts[:, ::-1, ::-1].copy(), PIXEL))


def test_read_only_patterns(matched, patterns):
    images = patterns(DIRECTIONS)
    images.flags.writeable = False
    assert matched.index(images, PIXEL).indexed.all()


# What a good one does: a matched filter, not trained at all


def test_clean_patterns_are_found(matched, patterns, labels):
    found = matched.index(patterns(DIRECTIONS), PIXEL)
    truth = matrices_from_euler(np.insert(labels.directions_deg[DIRECTIONS], 0, 0.0, axis=1))
    angle = misorientation_deg(
        matrices_from_euler(found.euler_deg[:, 0]), truth, labels.crystal.proper_operators
    )
    assert angle.max() < 5  # half a step of the classes
    assert found.indexed.all()


@pytest.mark.parametrize("turn_deg", [15.0, 90.0, 195.0])
def test_phi1_turns_with_the_pattern(matched, patterns, labels, turn_deg):
    plain = matrices_from_euler(matched.index(patterns(DIRECTIONS), PIXEL).euler_deg[:, 0])
    turned = matched.index(patterns(DIRECTIONS, turn_deg), PIXEL).euler_deg[:, 0]
    about_beam = matrices_from_euler(np.array([turn_deg, 0.0, 0.0]))
    angle = misorientation_deg(
        matrices_from_euler(turned), plain @ about_beam, labels.crystal.proper_operators
    )
    assert angle.max() < 1.5


def test_threshold_of_confidence(matched, patterns):
    images = patterns(DIRECTIONS)
    strict = matched.with_min_confidence(1.0).index(images, PIXEL)
    assert not strict.indexed.any()
    assert matched.with_min_confidence(None) is matched
    assert matched.min_confidence == 0
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(SettingsError, match="expected 0 to 1"):
            matched.with_min_confidence(wrong)


class Divided(torch.nn.Module):
    """A network whose answer is divided by 3."""

    input_kind = "polar"  # may compute in half precision, as what it holds

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) / 3


def test_the_temperature_divides_logits(matched, patterns):
    images = patterns(DIRECTIONS)
    warm = replace(matched, temperature=3.0).index(images, PIXEL)
    divided = replace(matched, network=Divided(matched.network)).index(images, PIXEL)
    np.testing.assert_allclose(warm.score, divided.score, rtol=1e-3)
    np.testing.assert_allclose(warm.properties["vacuum"], divided.properties["vacuum"], rtol=1e-3)
    assert (warm.score[:, 0] < matched.index(images, PIXEL).score[:, 0]).all()
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(SettingsError, match=r"temperature = .*: expected more than 0"):
            replace(matched, temperature=wrong)


def test_log_odds_change_how_sure_but_nothing_else(matched, patterns):
    images = patterns(DIRECTIONS)
    plain, modest = (
        m.index(images, PIXEL) for m in (matched, replace(matched, log_odds=(0.5, -1)))
    )
    odds, lower = (f.score.astype(float) / (1 - f.score.astype(float)) for f in (plain, modest))
    np.testing.assert_allclose(lower[:, 0], odds[:, 0] ** 0.5 / np.e, rtol=1e-3)
    assert np.array_equal(plain.euler_deg, modest.euler_deg)
    assert np.array_equal(plain.indexed, modest.indexed)
    assert np.array_equal(plain.properties["vacuum"], modest.properties["vacuum"])
    assert (np.diff(modest.score, axis=1) <= 0).all()
    threshold = float(modest.score[1, 0])
    strict = replace(matched, log_odds=(0.5, -1), min_confidence=threshold).index(images, PIXEL)
    np.testing.assert_array_equal(strict.indexed, modest.score[:, 0] >= modest.score[1, 0])


def test_device(indexer):
    assert indexer.device == torch.device("cpu")
    assert indexer.to("meta") is indexer
    assert {weight.device.type for weight in indexer.network.parameters()} == {"meta"}
    assert indexer.device.type == "meta"


@pytest.mark.parametrize("name", NETWORKS)
def test_further_outputs(name, labels, recipe, patterns, tmp_path):
    """They are the last columns, in units: a bias alone gives the same value for every pattern."""
    extras = ("camera_scale", "thickness_nm")
    indexer = create_indexer(name, labels, recipe, extras=extras)
    weights = indexer.network.state_dict()
    for key in (key for key, tensor in weights.items() if len(tensor.shape) and "head" in key):
        if len(weights[key]) in (labels.n_classes + 2, 4):  # all outputs, or the polar one's others
            weights[key][-2:] = 0 if weights[key].ndim > 1 else torch.tensor([0.4, -0.5])
    found = indexer.index(patterns(DIRECTIONS), PIXEL)
    assert list(found.properties) == ["vacuum", "amorphous", *extras]
    np.testing.assert_allclose(found.properties["camera_scale"], 3 * [1.02], rtol=1e-3)
    np.testing.assert_allclose(found.properties["thickness_nm"], 3 * [35.0], rtol=1e-2)
    loaded = NetworkIndexer.from_pretrained(indexer.save_pretrained(tmp_path))
    assert loaded.extras == extras
    assert same(found, loaded.index(patterns(DIRECTIONS), PIXEL))
    answers = indexer.answers(torch.zeros(2, labels.n_classes + 2)).properties
    np.testing.assert_allclose(answers["thickness_nm"], [50, 50])


def test_a_polar_network_knows_no_center(labels, recipe):
    with pytest.raises(SettingsError, match="leave the center out"):
        create_indexer("test_zoneaxis_polar", labels, recipe, extras=["center_x_inv_angstrom"])


@pytest.mark.parametrize("head", ["flat", "factored"])
@pytest.mark.parametrize("name", ["test_zoneaxis_cnn", "test_resnet"])
def test_heads(name, head, labels, recipe, tmp_path):
    indexer = create_indexer(name, labels, recipe, head=head)
    rows = {"flat": labels.n_classes, "factored": len(labels.euler_deg) + labels.bins + 2}[head]
    assert len(indexer.network.get_classifier().weight) == rows
    loaded = NetworkIndexer.from_pretrained(indexer.save_pretrained(tmp_path)).network
    by_timm = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    inputs = torch.rand(2, *indexer.preprocess.input_size)
    for network in (loaded, by_timm):
        assert torch.equal(network(inputs), indexer.network.eval()(inputs))


def test_classes_of_any_table(nickelate, recipe, patterns, tmp_path):
    euler = np.random.default_rng(0).uniform(0, (360, 90, 120), (40, 3))
    labels = OrientationLabels(nickelate, euler, bins=1)
    indexer = create_indexer("test_zoneaxis_cnn", labels, recipe)
    found = indexer.index(patterns([0, 1]), PIXEL)
    loaded = NetworkIndexer.from_pretrained(indexer.save_pretrained(tmp_path))
    np.testing.assert_array_equal(loaded.labels.euler_deg, euler)
    assert loaded.labels.bins == 1
    assert same(found, loaded.index(patterns([0, 1]), PIXEL))


# Saved and loaded


def test_a_checkpoint_gives_the_same_bits(indexer, patterns, tmp_path):
    indexer = replace(indexer, temperature=1.5)
    before = indexer.index(patterns(DIRECTIONS), PIXEL)
    folder = indexer.with_min_confidence(0.25).save_pretrained(tmp_path / "deep" / "model")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "labels.safetensors",
        "model.safetensors",
    ]
    loaded = NetworkIndexer.from_pretrained(str(folder))
    assert (loaded.min_confidence, loaded.temperature) == (0.25, 1.5)
    assert same(before, loaded.with_min_confidence(0.0).index(patterns(DIRECTIONS), PIXEL))
    assert loaded.recipe == indexer.recipe
    assert loaded.preprocess == indexer.preprocess
    assert loaded.crystal.to_dict() == indexer.crystal.to_dict()
    # Saving again changes nothing.
    again = loaded.save_pretrained(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_timm_loads_the_network(indexer, tmp_path):
    folder = indexer.save_pretrained(tmp_path / "model")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    inputs = torch.rand(2, *indexer.preprocess.input_size)
    assert torch.equal(network(inputs), indexer.network(inputs))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_networks_of_timm(name, labels, recipe, patterns, tmp_path):
    indexer = create_indexer(name, labels, recipe)
    assert indexer.preprocess.input_size == (1, 128, 128)
    found = indexer.index(patterns(DIRECTIONS), PIXEL)
    folder = indexer.save_pretrained(tmp_path)
    assert same(found, NetworkIndexer.from_pretrained(folder).index(patterns(DIRECTIONS), PIXEL))
    inputs = torch.rand(2, 1, 128, 128)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(network(inputs), indexer.network(inputs))


def test_an_unknown_network(labels, recipe):
    with pytest.raises(SettingsError, match="No network 'resnet51': choose resnet51q"):
        create_indexer("resnet51", labels, recipe)


def test_bins_that_do_not_fit_the_network(nickelate, recipe):
    labels = OrientationLabels.equispaced(nickelate, 20.0, 50)
    with pytest.raises(SettingsError, match="50 bins: expected a divisor of the 144 angles"):
        create_indexer("test_zoneaxis_polar", labels, recipe)


def test_patterns_too_small_for_rings(labels, nickelate):
    recipe = Recipe(nickelate.to_dict(), size=16, inv_angstrom_per_pixel=0.01)
    with pytest.raises(SettingsError, match="ends before its reflections begin"):
        create_indexer("test_zoneaxis_polar", labels, recipe)


def test_a_place_that_cannot_be_written(matched, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot make the folder"):
        matched.save_pretrained(tmp_path / "file" / "model")


def test_confidences_of_classes_and_directions(indexer, patterns):
    images, labels = patterns(DIRECTIONS), indexer.labels
    sharper = replace(indexer, temperature=0.5)
    classes = sharper.class_confidences(images, PIXEL)
    assert classes.shape == (3, labels.n_classes)
    np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-5)
    by_direction = sharper.confidences(images, PIXEL)
    assert by_direction.shape == (3, len(labels.directions_deg))
    bins = classes[:, : labels.n_orientations].reshape(3, -1, labels.bins)
    np.testing.assert_allclose(by_direction, bins.sum(axis=2), atol=1e-6)
    found, decided = sharper.index(images, PIXEL), sharper.decide(classes)
    np.testing.assert_allclose(decided.score, found.score, atol=1e-4)
    np.testing.assert_array_equal(decided.indexed, found.indexed)
    assert indexer.confidences(images[:0], PIXEL).shape == (0, len(labels.directions_deg))
