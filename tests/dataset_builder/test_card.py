import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from zoneaxis.cards import render_dataset_card
from zoneaxis.dataset_builder.build import build
from zoneaxis.dataset_builder.card import (
    crystal_facts,
    dataset_facts,
    scan_facts,
    write_card,
    write_scan_card,
)
from zoneaxis.dataset_builder.plan import held_out_deg, plan_of
from zoneaxis.dataset_builder.recipe import Recipe, preset, read_recipe
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.diffraction.crystal import Crystal

OPEN_IT = """
import sys
from datasets import load_dataset
splits = load_dataset(sys.argv[1])
row = splits["train"][0]
assert row["image"].size == (32, 32), row
assert 0 <= row["Phi_deg"] <= 90 and row["phi1_deg"] == 0 and "phi2_deg" in row, row
assert 5 <= row["thickness_nm"] <= 100, row
assert len(load_dataset(sys.argv[1], "disks")["train"]) == len(splits["train"])
assert load_dataset(sys.argv[1], "classes")["train"].features["class_id"].dtype == "int32"
assert "zoneaxis" not in sys.modules
print({name: len(split) for name, split in splits.items()})
"""
WRITTEN = ("README.md", "croissant.json", "figures/examples.png", "figures/sampling.png")


@pytest.fixture(scope="module")
def recipe(nickelate) -> Recipe:
    return preset("test", nickelate)


def facts_of(recipe: Recipe):
    return dataset_facts(recipe, plan_of(recipe.to_json()))


def open_elsewhere(folder: Path, home: Path) -> str:
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
    assert "Nothing is held out" in text
    assert open_elsewhere(folder, tmp_path) == "{'train': 3}"


def test_card_of_the_tiny_data_set(tiny_dataset, nickelate):
    card = DatasetCard.load(tiny_dataset / "README.md")
    configs = card.data.to_dict()["configs"]
    assert [config["config_name"] for config in configs] == ["patterns", "disks", "classes"]
    recipe = read_recipe(tiny_dataset)
    held_out = held_out_deg(plan_of(recipe.to_json()), nickelate)
    for words in (
        recipe.id,
        "R-3m (166), proper point group 32",
        "| directions | 24, quasi-random",
        "over the sector of the full point group -3m |",
        "5 to 100 nm",
        "| train | 46 |",
        "| train | 1,728 |",
        "mirror a pattern left to right",
        f"symmetry and mirror included, is {held_out:.2f} degrees",
    ):
        assert words in card.text
    for figure in re.findall(r"\]\((figures/.*?)\)", card.text):
        assert (tiny_dataset / figure).is_file()


def test_the_code_of_the_card_lists_the_disks(tiny_dataset, capsys):
    recipe = read_recipe(tiny_dataset)
    facts = replace(facts_of(recipe), location=str(tiny_dataset))
    *_, code = re.findall(r"```python\n(.*?)```", render_dataset_card(facts), re.DOTALL)
    names: dict = {}
    exec(code, names)
    np.testing.assert_allclose(names["points"].mean(1), names["row"]["intensity"], rtol=2e-3)
    assert capsys.readouterr().out.startswith("0 0 0 0.0 0.0 0.")


def test_what_is_there_is_kept_and_what_is_not_is_written_again(tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    recipe = read_recipe(folder)
    before = {name: (folder / name).read_bytes() for name in WRITTEN[1:]}
    for name in before:
        (folder / name).unlink()
    (folder / "README.md").write_text("mine")
    write_card(folder, recipe, plan_of(recipe.to_json()))
    assert (folder / "README.md").read_text() == "mine"
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_facts_follow_the_recipe(recipe):
    changes = {
        "scheme": "stepped",
        "resolution": 10,
        "absorption": "WK-CP",
        "split": "rows",
        "precessed_share": 0.5,
        "precession_deg": (0.4, 0.8),
        "random_thickness": False,
        "random_phi1": True,
    }
    facts = facts_of(replace(recipe, **changes))
    made = dict(facts.made)
    assert made["directions"].startswith("120, equal steps of 10°")
    assert made["directions"].endswith("proper point group 32, mirrored directions included")
    assert "1.4 to 1.6 times weaker" in made["absorption"]
    assert made["precession"].startswith("50% of the patterns: 0.4 to 0.8 degrees, drawn")
    assert made["thicknesses"] == "2 of each direction, 5 to 100 nm, evenly spaced"
    assert made["in-plane angle phi1"] == "drawn for each direction"
    assert "does not prove" in facts.split
    assert facts.configs[0].rows == (("train", 228), ("validation", 12))
    assert len(facts.limits) == 2  # nothing is left out


def test_classes_of_whole_orientations(recipe):
    facts = facts_of(replace(recipe, scheme="so3", resolution=30))
    patterns, _, classes = facts.configs
    assert "a simulated orientation" in classes.summary
    assert classes.rows[0][1] == sum(n for _, n in patterns.rows) / 2


def test_a_crystal_without_mirror_has_no_such_limit(recipe):
    chiral = {**recipe.crystal, "space_group": 155}
    limits = facts_of(replace(recipe, crystal=chiral)).limits
    assert not any("mirror" in limit for limit in limits)
    facts = crystal_facts(Crystal.from_dict(chiral))
    assert (facts.space_group, facts.point_group) == ("R32 (155)", "32")


@pytest.fixture
def scan_recipe(nickelate) -> ScanRecipe:
    return ScanRecipe(
        crystal=nickelate.to_dict(),
        scan_name="scan|1.hspy",
        scan_sha256="0" * 64,
        labels_name="map.ang",
        labels_sha256="1" * 64,
        inv_angstrom_per_pixel=0.1,
        direct_beam_px=(20, 18),
        size=32,
        precession_deg=(0.6, 0.6),
        min_q=0.2,
    )


def test_card_of_a_measured_scan(scan_recipe):
    text = render_dataset_card(scan_facts(scan_recipe, {"train": 80, "validation": 20}))
    for words in (
        "# Measured diffraction patterns of LiNiO2",
        "scan\\|1.hspy",
        "with correlation index of at least 0.2 |",
        "| convergence semi-angle | 1.5 mrad |",
        "| precession | 0.6 degrees |",
        "Splits share no grain",
        "with the direct beam at pixel [16, 16]",
    ):
        assert words in text
    assert "simulat" not in text
    assert "Nothing is held out" in scan_facts(scan_recipe, {"train": 80}).split


def test_the_folder_of_a_measured_scan_gets_a_card(tiny_dataset, tmp_path, scan_recipe):
    shutil.copytree(tiny_dataset / "patterns", tmp_path / "patterns")
    shutil.copy(tiny_dataset / "manifest.json", tmp_path)
    write_scan_card(tmp_path, scan_recipe, {"train": 46, "validation": 2})
    assert all((tmp_path / name).is_file() for name in WRITTEN)
    assert not (tmp_path / "figures/augmentations.png").exists()
    (config,) = DatasetCard.load(tmp_path / "README.md").data.to_dict()["configs"]
    assert config["config_name"] == "patterns"
