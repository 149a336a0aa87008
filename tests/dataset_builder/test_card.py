import os
import subprocess
import sys
from dataclasses import replace

import pytest
from huggingface_hub import DatasetCard

from zoneaxis.dataset_builder.build import build, held_out_deg, recipe_directions
from zoneaxis.dataset_builder.card import crystal_facts, dataset_facts, write_card
from zoneaxis.dataset_builder.recipe import Recipe, preset, read_recipe
from zoneaxis.diffraction.crystal import Crystal

OPEN_IT = """
import sys
from datasets import load_dataset
splits = load_dataset(sys.argv[1])
row = splits["train"][0]
assert row["image"].size == (32, 32), row
assert 0 <= row["Phi_deg"] <= 90 and row["phi1_deg"] == 0 and "phi2_deg" in row, row
assert 5 <= row["thickness_nm"] <= 100, row
assert "zoneaxis" not in sys.modules
print({name: len(split) for name, split in splits.items()})
"""


@pytest.fixture(scope="module")
def recipe(nickelate) -> Recipe:
    return preset("test", nickelate)


def open_elsewhere(folder, home) -> str:
    """Open a folder as somebody who has `datasets` alone."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", OPEN_IT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_load_dataset_needs_nothing_of_ours(tiny_dataset, tmp_path):
    assert open_elsewhere(tiny_dataset, tmp_path) == "{'train': 46, 'validation': 2}"


def test_card_without_validation(nickelate, tmp_path):
    recipe = preset("test", nickelate, resolution=3, thicknesses=1, validation_share=0)
    folder = build(recipe, tmp_path / "data", workers=1)
    text = (folder / "README.md").read_text()
    assert "validation-" not in text
    assert "Splits share" not in text
    assert open_elsewhere(folder, tmp_path) == "{'train': 3}"


def test_card_of_the_tiny_data_set(tiny_dataset):
    card = DatasetCard.load(tiny_dataset / "README.md")
    (config,) = card.data.to_dict()["configs"]
    assert config["config_name"] == "patterns"
    recipe = read_recipe(tiny_dataset)
    held_out = held_out_deg(recipe, recipe_directions(recipe))
    for words in (
        recipe.id,
        "R-3m (166), proper point group 32",
        "24, quasi-random",
        "5 to 100 nm",
        "| train | 46 |",
        "mirror a pattern left to right",
        f"symmetry and mirror included, is {held_out:.2f} degrees",
    ):
        assert words in card.text


def test_readme_of_a_user_is_kept(recipe, tmp_path):
    write_card(tmp_path, recipe, {"train": 1}, 1)
    path = tmp_path / "README.md"
    assert "| train | 1 |" in path.read_text()
    path.write_text("mine")
    write_card(tmp_path, recipe, {"train": 1}, 1)
    assert path.read_text() == "mine"


def test_facts_follow_the_recipe(recipe):
    facts = dataset_facts(
        replace(recipe, scheme="equispaced", resolution=2.5), {"train": 40, "validation": 2}, 21
    )
    assert facts.sampling.startswith("equispaced by 2.5°")
    assert facts.configs[0].rows == (("train", 40), ("validation", 2))


def test_a_crystal_without_mirror_has_no_such_limit(recipe):
    chiral = {**recipe.crystal, "space_group": 155}
    assert dataset_facts(replace(recipe, crystal=chiral), {"train": 1}, 1).limits == ()
    facts = crystal_facts(Crystal.from_dict(chiral))
    assert (facts.space_group, facts.point_group) == ("R32 (155)", "32")
