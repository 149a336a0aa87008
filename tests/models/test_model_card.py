from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from zoneaxis.dataset_builder.transforms import Augmentation
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.training import TrainingSettings, train


@pytest.fixture(scope="module")
def trained(tiny_dataset) -> NetworkIndexer:
    settings = TrainingSettings(
        model="test_zoneaxis_polar",
        images=32,
        batch_size=16,
        learning_rate=1e-3,
        label_step_deg=15.0,
        label_bins=24,
        label_sigma_deg=1.5,
    )
    return train(tiny_dataset, settings, Augmentation(shift_px=1.25))


@pytest.fixture
def card(trained, tmp_path) -> ModelCard:
    return ModelCard.load(trained.save_pretrained(tmp_path) / "README.md")


def rows(card: ModelCard) -> list[list[str]]:
    """Cells of every line of every table."""
    lines = [line for line in card.text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_it_says_what_the_network_is(card, trained):
    weights = sum(p.numel() for p in trained.network.parameters())
    for words in (
        f"`test_zoneaxis_polar` (timm), {weights:,} parameters",
        "LiNiO2, R-3m (166), proper point group 32",
        f"{len(trained.labels.directions_deg)} beam directions at 24 in-plane angles",
        "on 16 rings from 0.17 to 1.52 1/Å with 144 angles",
        trained.recipe.id,
        "Patterns are to reach 1.52 1/Å",
    ):
        assert words in card.text
    assert "untrained" not in card.text
    assert "confidence of at least" in card.text


def test_every_setting_has_its_row(card):
    table = rows(card)
    for row in (
        ["voltage", "300 kV"],
        ["convergence", "1.3 to 1.8 mrad"],
        ["precession", "0 degrees"],
        ["precessed share", "0"],
        ["thickness", "5 to 100 nm"],
        ["k max", "1.9 1/Å"],
        ["images", "32"],
        ["batch size", "16"],
        ["learning rate", "0.001"],
        ["label step", "15 degrees"],
        ["label bins", "24"],
        ["label sigma", "1.5 degrees"],
        ["seed", "0"],
        ["augmentation: shift", "1.25 pixels"],
        ["augmentation: rotate", "yes"],
        ["augmentation: counts", "10000 to 1e+06"],
        ["augmentation: rings", "0.25 to 0.6 1/Å"],
    ):
        assert row in table


def test_every_figure_has_its_row(card, trained):
    found = trained.training
    table = {row[0]: row for row in rows(card)}
    crystals = str(found["validation_patterns"])
    share = f"{100 * found['validation_within_5_deg']:.4g}"
    assert table["share within 5 degrees"][1:4] == [share, "%", "higher"]
    assert table["share within 5 degrees"][-2:] == ["validation", crystals]
    median = f"{found['validation_median_deg']:.4g}"
    assert table["median misorientation"][1:4] == [median, "degrees", "lower"]
    assert table["crystalline patterns indexed"][-1] == crystals
    results = card.data.eval_results
    assert {result.metric_type for result in results} == {
        "median_deg",
        "within_2_deg",
        "within_5_deg",
        "crystal_indexed",
        "empty_rejected",
    }
    assert "on a real scan they may be worse" in card.text


def test_the_same_card_after_loading(card, tmp_path):
    loaded = NetworkIndexer.from_pretrained(tmp_path)
    again = loaded.save_pretrained(tmp_path / "again")
    assert (again / "README.md").read_bytes() == (tmp_path / "README.md").read_bytes()


def test_a_threshold_is_told(trained, tmp_path):
    folder = trained.with_min_confidence(0.3).save_pretrained(tmp_path)
    assert "confidence of at least 0.3" in (folder / "README.md").read_text()


def test_an_untrained_network_says_so(labels, recipe, tmp_path):
    folder = create_indexer("test_zoneaxis_cnn", labels, recipe).save_pretrained(tmp_path)
    text = (folder / "README.md").read_text()
    assert "It is untrained" in text
    assert "Nothing has been measured yet" in text
    assert "its direct beam in the middle, cropped to 1.52 1/Å, resized to 32 x 32" in text


def test_no_validation_makes_no_claim(trained, tmp_path):
    settings = {k: v for k, v in trained.training.items() if not k.startswith("validation")}
    folder = replace(trained, training=settings).save_pretrained(tmp_path)
    text = (folder / "README.md").read_text()
    assert "Nothing has been measured yet" in text
    assert "It is untrained" not in text


def test_readme_of_a_user_is_kept(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    trained.save_pretrained(tmp_path)  # the same again: nothing to say
    (tmp_path / "README.md").write_text("mine")
    with pytest.warns(UserWarning, match="is kept: it may describe another model"):
        trained.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
