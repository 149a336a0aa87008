"""The commands in a model's card make the same data set and train with the same settings."""

import shlex
from dataclasses import asdict, replace

import pytest

from zoneaxis.dataset_builder.augmentation import Augmentation
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.errors import TrainingError
from zoneaxis.models.commands import commands
from zoneaxis.models.settings import training_preset

BUILDS = {
    "default": ({}, "zoneaxis build --crystal LiNiO2 --preset default --out dataset"),
    "demo": (
        {"resolution": 3000, "thickness_nm": (5.0, 50.0), "seed": 3},
        "zoneaxis build --crystal LiNiO2 --preset demo --thickness-nm 5 50 --seed 3 "
        "--directions 3000 --out dataset",
    ),
    "equispaced": ({"precession_deg": (0.5, 1.0), "precessed_share": 0.25}, None),
    "random": ({"scheme": "equispaced", "resolution": 12.5, "voltage_kv": 200.0}, None),
    "stepped": ({"resolution": 5.0, "k_max_inv_angstrom": 2.25, "absorption": "WK"}, None),
}
TRAININGS = {
    "modern": {"images": 409600, "label_step_deg": 2.1, "extras": ("camera_scale", "thickness_nm")},
    "paper": {"images": 1000, "schedule": "cosine", "average": 0.998},
    "classes": {"label_step_deg": None, "mixed_precision": "bf16", "config": "disks"},
}


@pytest.fixture
def done(run, monkeypatch, tmp_path):
    """Return a function that runs commands as far as the work, and returns what it was given."""

    def of(lines: tuple[str, ...]) -> dict:
        given = {}

        def build(recipe, out, **_):
            given["recipe"] = recipe

        def train(data, settings, out, start, **_):
            given.update(settings=settings, data=data, start=start)
            raise TrainingError("far enough")

        monkeypatch.setattr("zoneaxis.dataset_builder.build.build", build)
        monkeypatch.setattr("zoneaxis.models.training.train", train)
        monkeypatch.setattr(
            "zoneaxis.dataset_builder.recipe.read_recipe", lambda _: given["recipe"]
        )
        for line in lines:
            run(*shlex.split(line)[1:])
        return given

    return of


@pytest.mark.parametrize("name", BUILDS)
def test_the_same_data_set(done, nickelate, name):
    changes, expected = BUILDS[name]
    recipe = preset(name, nickelate, **changes)
    lines = commands(recipe, asdict(training_preset("modern", recipe)))
    assert expected in (None, lines[0])
    found = done(lines)
    assert found["recipe"] == recipe
    assert found["settings"] == training_preset("modern", recipe)
    assert (found["data"], found["start"]) == ("dataset", None)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_same_training(done, nickelate, name):
    recipe = preset("stepped", nickelate)
    settings = training_preset("paper" if name == "paper" else "modern", recipe)
    settings = replace(settings, **TRAININGS[name])
    assert done(commands(recipe, asdict(settings)))["settings"] == settings


def test_what_no_option_can_say(nickelate):
    odd = replace(preset("default", nickelate), sector="proper", random_phi1=True)
    training = asdict(
        replace(training_preset("modern", odd), augmentation=Augmentation(shift_px=5.0))
    )
    lines = commands(odd, training)
    assert lines[0].startswith("# recipe.json: ")
    assert lines[1] == "zoneaxis build --recipe recipe.json --out dataset"
    assert lines[2].startswith("# with augmentation as below")
    assert lines[3] == "zoneaxis train --data dataset --out model"
    other = preset("default", replace(nickelate, name="mine"))
    assert "--crystal mine.cif --preset" in commands(other, training)[0]
    at_hub = {**training, "dataset_repository": "user/data", "fine_tuned_from": "a/b (weights 1)"}
    assert commands(odd, at_hub)[-1] == "zoneaxis train --data user/data --from a/b --out model"
    assert commands(odd, {}) == ()


def test_a_training_that_was_finished_early(nickelate):
    """With fewer images the learning rate would fall faster: another network."""
    recipe = preset("default", nickelate)
    settings = asdict(training_preset("modern", recipe))
    early = {**settings, "images": 640, "planned_images": settings["images"]}
    *same, last = commands(recipe, early)
    assert tuple(same) == commands(recipe, settings)
    assert last == "# stopped after 640 images; then the same command with --finish"
