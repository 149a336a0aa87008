import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from zoneaxis.cards import FigureFacts
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.dataset_builder.transforms import Augmentation
from zoneaxis.errors import OutputError
from zoneaxis.models.card import model_facts, write_card
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels

HISTORY = [{"images": 16 * (i + 1), "loss": 8.0 - i, "seconds": float(i)} for i in range(40)]
TRAINING = {
    "model": "test_zoneaxis_polar",
    "head": "flat",
    "extras": [],
    "images": 640,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "label_step_deg": None,
    "label_sigma_deg": 1.5,
    "seed": 0,
    "mixed_precision": "no",
    "betas": [0.9, 0.999],
    "augmentation": asdict(Augmentation(shift_px=1.25)),
    "history": HISTORY,
    "layers": {"a": {"b": 1}},
    "validation_patterns": 512,
    "validation_median_deg": 1.234,
    "validation_within_2_deg": 0.5,
    "validation_within_5_deg": 0.75,
    "validation_crystal_indexed": 0.9,
    "validation_empty_rejected": 0.99,
    "validation_class_accuracy": 0.25,
    "validation_expected_calibration_error": 0.031,
    "validation_loss": 3.2,
}


@pytest.fixture(scope="module")
def trained(labels, recipe) -> NetworkIndexer:
    """A network that says of itself that it was trained."""
    torch.manual_seed(0)
    indexer = create_indexer("test_zoneaxis_polar", labels, recipe, extras=("thickness_nm",))
    return replace(indexer, training=TRAINING, temperature=1.25, min_confidence=0.3)


def facts_of(indexer: NetworkIndexer, **changes):
    values = {
        name: getattr(indexer, name)
        for name in ("architecture", "labels", "preprocess", "recipe", "training", "model_args")
    }
    parameters = sum(p.numel() for p in indexer.network.parameters())
    rest = {"min_confidence": indexer.min_confidence, "temperature": indexer.temperature}
    return model_facts(
        **{**values, **rest, "parameters": parameters, "extras": indexer.extras, **changes}
    )


def text_of(folder: Path, indexer: NetworkIndexer, **changes) -> str:
    write_card(folder, facts_of(indexer, **changes))
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def card(trained, tmp_path) -> ModelCard:
    return ModelCard(text_of(tmp_path, trained))


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
        "on simulated diffraction patterns of LiNiO2",
        "confidence of at least 0.3",
        "a temperature of 1.25",
        "| head | polar",
        "| `thickness_nm` | nm | thickness of the crystal |",
        "| `vacuum` |",
    ):
        assert words in card.text
    for words in ("untrained", "figures/", "fine-tuned", "camera_scale", "{{", "None"):
        assert words not in card.text


def test_every_setting_has_its_row_and_the_history_none(card):
    table = rows(card)
    for row in (
        ["voltage", "300 kV"],
        ["convergence", "1.3 to 1.8 mrad"],
        ["precession", "0 degrees"],
        ["precessed share", "0"],
        ["thickness", "5 to 100 nm"],
        ["k max", "1.9 1/Å"],
        ["images", "640"],
        ["batch size", "16"],
        ["learning rate", "0.001"],
        ["label step", "no"],
        ["label sigma", "1.5 degrees"],
        ["seed", "0"],
        ["mixed precision", "no"],
        ["betas", "0.9 to 0.999"],
        ["augmentation: shift", "1.25 pixels"],
        ["augmentation: rotate", "yes"],
    ):
        assert row in table
    names = [row[0] for row in table]
    assert len(names) == len(set(names))
    assert not {"history", "layers", "loss", "validation loss", "model", "extras"} & set(names)


def test_every_figure_has_its_row(card):
    table = {row[0]: row for row in rows(card)}
    data = "simulated patterns, augmented, of directions held out of training"
    for name, value, unit, better in (
        ("share within 5 degrees", "75", "%", "higher"),
        ("median misorientation", "1.234", "degrees", "lower"),
        ("class accuracy", "25", "%", "higher"),
        ("expected calibration error", "3.1", "%", "lower"),
    ):
        assert table[name] == [name, value, unit, better, data, "validation", "512"]
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {
        "median_deg": 1.234,
        "within_2_deg": 50.0,
        "within_5_deg": 75.0,
        "crystal_indexed": 90.0,
        "empty_rejected": 99.0,
        "class_accuracy": 25.0,
        "expected_calibration_error": 3.1,
    }
    assert "on a real scan they may be worse" in card.text


def test_the_hub_takes_the_card(card, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    card.validate()


def test_the_three_lines_of_the_card_load_the_model(trained, patterns, tmp_path):
    folder = trained.save_pretrained(tmp_path)
    text = (folder / "README.md").read_text(encoding="utf-8").replace('"FOLDER"', repr(str(folder)))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 3
    names = {"patterns": patterns([3]), "inv_angstrom_per_pixel": 0.025}
    exec(code, names)
    expected = trained.index(patterns([3]), 0.025)
    np.testing.assert_allclose(names["found"].score, expected.score, atol=1e-6)
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == expected.properties.keys()


def test_heads_and_backbones(trained, recipe, nickelate, tmp_path):
    labels = OrientationLabels.equispaced(nickelate, 15.0, 1)
    arguments = {"head": "factored", "backbone": "convnext_femto", "bins": 1}
    facts = facts_of(trained, labels=labels, model_args=arguments, architecture="zoneaxis_backbone")
    assert facts.name == "Orientations of LiNiO2 by convnext_femto"
    assert facts.head.startswith("on `convnext_femto` of timm, factored")
    assert f"{labels.n_orientations} orientations" in facts.outputs
    fine_tuned = {**TRAINING, "fine_tuned_from": "user/model"}
    text = text_of(tmp_path, trained, training=fine_tuned)
    assert "| fine-tuned from | user/model |" in text
    assert "zoneaxis train --data dataset --from user/model --images 640" in text
    assert text.count("user/model") == 2


def test_a_measured_scan_is_no_simulation(trained, nickelate, tmp_path):
    names = dict.fromkeys(("scan_sha256", "labels_sha256"), "0" * 64)
    recipe = ScanRecipe(
        nickelate.to_dict(), "a", labels_name="b", **names, inv_angstrom_per_pixel=0.025,
        direct_beam_px=(64, 64), size=128,
    )  # fmt: skip
    text = text_of(tmp_path, trained, recipe=recipe)
    assert "simulat" not in text
    assert "measured diffraction patterns of LiNiO2" in text
    assert "on another scan they may be worse" in text


def test_what_was_not_measured_is_left_out(trained, tmp_path):
    training = {**TRAINING, "validation_median_deg": float("nan"), "validation_within_2_deg": None}
    card = ModelCard(text_of(tmp_path, trained, training=training))
    assert len(card.data.eval_results) == 5
    assert "nan" not in card.text


def test_no_validation_makes_no_claim(trained, tmp_path):
    settings = {k: v for k, v in TRAINING.items() if not k.startswith("validation")}
    text = text_of(tmp_path, trained, training=settings)
    assert "Nothing has been measured yet" in text
    assert "It is untrained" not in text


def test_an_untrained_network_says_so(labels, recipe, tmp_path):
    indexer = create_indexer("test_zoneaxis_cnn", labels, recipe)
    text = text_of(tmp_path, indexer)
    assert "It is untrained" in text
    assert "Nothing has been measured yet" in text
    assert "its direct beam in the middle, cropped to 1.52 1/Å, resized to 32 x 32" in text
    assert "temperature" not in text


def test_pictures_are_shown_where_there_are_any(trained, tmp_path):
    text = text_of(tmp_path, trained, figures=(FigureFacts("ipf", "Where it looks."),))
    assert "![ipf](figures/ipf.png)\n\nWhere it looks.\n" in text
    assert "figures/" not in text_of(tmp_path, trained)


def test_the_same_card_after_loading(trained, tmp_path):
    first = trained.save_pretrained(tmp_path / "first")
    again = NetworkIndexer.from_pretrained(first).save_pretrained(tmp_path / "again")
    assert (again / "README.md").read_bytes() == (first / "README.md").read_bytes()


def test_an_edited_card_keeps_its_text_and_gets_the_new_figures(trained, tmp_path):
    path = tmp_path / "README.md"
    text = text_of(tmp_path, trained)
    edited = text.replace("license: gpl-3.0", "license: mit\nlanguage: en")
    edited = edited.replace("- It knows one crystal", "- Ask Ada.\n- It knows one crystal")
    path.write_text(edited + "\n## Thanks\n\nTo ```## Grace```.\n", encoding="utf-8")
    better = {**TRAINING, "validation_within_5_deg": 0.875, "batch_size": 64}
    for _ in range(2):  # the second time changes nothing
        text = text_of(tmp_path, trained, training=better)
        data = ModelCard(text).data
        results = {result.metric_type: result.metric_value for result in data.eval_results}
        assert (data.license, data.language, results["within_5_deg"]) == ("mit", "en", 87.5)
        assert "- Ask Ada.\n- It knows" in text
        assert text.endswith("\n## Thanks\n\nTo ```## Grace```.\n")
        assert "| share within 5 degrees | 87.5 |" in text  # a section that nobody edited
        assert "| batch size | 64 |" in text
        assert text.count("## Measured") == text.count("# Orientations of") == 1


def test_a_card_of_somebody_else_gets_metadata_alone(trained, tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n\nÄhem.\n", encoding="utf-8")
    text = text_of(tmp_path, trained)
    assert text.endswith("---\n# Mine\n\nÄhem.\n")
    assert len(ModelCard(text).data.eval_results) == 7
    assert text_of(tmp_path, trained) == text


@pytest.mark.parametrize(
    "broken",
    [b"---\na: [\n---\nMine", b"---\n- a\n---\nMine", b"---\n1: a\n---\nMine", b"M\xfcnchen"],
    ids=["no YAML", "a list", "a number", "Latin-1"],
)
def test_a_card_that_cannot_be_read_is_left_alone(trained, tmp_path, broken):
    path = tmp_path / "README.md"
    path.write_bytes(broken)
    with pytest.warns(UserWarning, match="is kept as it is and may describe another model"):
        write_card(tmp_path, facts_of(trained))
    assert path.read_bytes() == broken


def test_a_folder_in_the_way(trained, tmp_path):
    (tmp_path / "README.md").mkdir()
    with pytest.warns(UserWarning, match="is kept as it is"):
        write_card(tmp_path, facts_of(trained))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot make the folder"):
        write_card(tmp_path / "file", facts_of(trained))
