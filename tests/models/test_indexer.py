import numpy as np
import pytest
import timm
import torch

from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import OutputError, SettingsError
from zoneaxis.models import indexer as module
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.scans.indexing import Indexed

PIXEL = 0.025
DIRECTIONS = [3, 17, 40]


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


# Saved and loaded


def test_a_checkpoint_gives_the_same_bits(indexer, patterns, tmp_path):
    before = indexer.index(patterns(DIRECTIONS), PIXEL)
    folder = indexer.with_min_confidence(0.25).save_pretrained(tmp_path / "deep" / "model")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "labels.safetensors",
        "model.safetensors",
    ]
    loaded = NetworkIndexer.from_pretrained(str(folder))
    assert loaded.min_confidence == 0.25
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
    assert indexer.preprocess.input_size == (1, 160, 160)
    found = indexer.index(patterns(DIRECTIONS), PIXEL)
    folder = indexer.save_pretrained(tmp_path)
    assert same(found, NetworkIndexer.from_pretrained(folder).index(patterns(DIRECTIONS), PIXEL))
    inputs = torch.rand(2, 1, 160, 160)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(network(inputs), indexer.network(inputs))


def test_an_unknown_network(labels, recipe):
    with pytest.raises(SettingsError, match="No network 'resnet51': choose one of test_zoneaxis"):
        create_indexer("resnet51", labels, recipe)


def test_bins_that_do_not_fit_the_network(nickelate, recipe):
    labels = module.OrientationLabels.equispaced(nickelate, 20.0, 50)
    with pytest.raises(SettingsError, match="50 bins do not divide the 144 angles"):
        create_indexer("test_zoneaxis_polar", labels, recipe)


def test_patterns_too_small_for_rings(labels, nickelate):
    recipe = Recipe(nickelate.to_dict(), size=16, inv_angstrom_per_pixel=0.01)
    with pytest.raises(SettingsError, match="ends before its reflections begin"):
        create_indexer("test_zoneaxis_polar", labels, recipe)


def test_a_place_that_cannot_be_written(matched, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot make the folder"):
        matched.save_pretrained(tmp_path / "file" / "model")
