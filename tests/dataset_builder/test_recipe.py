import json
from dataclasses import fields, replace

import numpy as np
import pytest

from zoneaxis.dataset_builder.recipe import FORMAT, PRESETS, Recipe, preset, read_recipe
from zoneaxis.errors import DatasetError, SettingsError


@pytest.fixture
def recipe(nickelate) -> Recipe:
    return preset("test", nickelate)


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_is_exact(nickelate, name):
    made = preset(name, nickelate, precession_deg=(0.0, 0.6), convergence_mrad=(1.1, 1 / 0.7))
    read = Recipe.from_json(made.to_json())
    assert read == made
    assert read.to_json() == made.to_json()
    assert isinstance(read.precession_deg, tuple)


def test_id_does_not_depend_on_how_numbers_are_written(recipe):
    same = replace(
        recipe,
        resolution=np.float32(24),
        thicknesses=np.int64(2),
        voltage_kv=300,
        thickness_nm=[5, 100],
        precession_deg=np.array([0.6, 0.6]),
        random_phi1=np.False_,
        size=32.0,
    )
    assert same == recipe
    assert same.id == recipe.id
    assert len(recipe.id) == 12


def test_id_depends_on_every_setting(recipe):
    changes = {
        "voltage_kv": 200,
        "convergence_mrad": (1.3, 1.7),
        "precession_deg": (0.0, 0.6),
        "precessed_share": 0.5,
        "k_max_inv_angstrom": 1.6,
        "absorption": "WK",
        "scheme": "equispaced",
        "resolution": 25,
        "sector": "proper",
        "random_phi1": True,
        "phi1_step_deg": 2.5,
        "thickness_nm": (5, 90),
        "thicknesses": 3,
        "random_thickness": False,
        "size": 33,
        "inv_angstrom_per_pixel": 0.09,
        "split": "rows",
        "validation_share": 0.1,
        "seed": 1,
        "crystal": {**recipe.crystal, "name": "another"},
    }
    assert set(changes) == {field.name for field in fields(Recipe)} - {"Phi_end_deg"}
    ids = {replace(recipe, **{name: value}).id for name, value in changes.items()}
    assert len(ids | {recipe.id}) == len(changes) + 1


OUT_OF_RANGE = {
    "voltage_kv": [0, 5000, float("nan"), "300", True],
    "convergence_mrad": [(1.8, 1.3), (0, 1), (1,), 1.5, (1, 2, 3), "ab"],
    "precession_deg": [(), (-1, 0), (0, 90), (0.6, 0.5), 0.6],
    "precessed_share": [-0.1, 1.1, None],
    "absorption": ["wk", None],
    "k_max_inv_angstrom": [0, 100],
    "scheme": ["hopping", None],
    "sector": ["half", None],
    "Phi_end_deg": [-1, 200, "90"],
    "random_phi1": [0, 1.0, "yes"],
    "phi1_step_deg": [0, 400],
    "random_thickness": [None],
    "split": ["grains"],
    "resolution": [0, -1, 2.5, float("inf"), 1e9],
    "thickness_nm": [(100, 5), (0, 5), (-5, 5), (5, float("inf"))],
    "thicknesses": [0, 1.5, None],
    "size": [8, 2048, 32.5],
    "inv_angstrom_per_pixel": [0, -0.1, 1],
    "validation_share": [-0.1, 1, float("nan")],
    "seed": [-1, 0.5],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OUT_OF_RANGE.items() for value in values]
)
def test_out_of_range(recipe, name, value):
    with pytest.raises(SettingsError, match=name):
        replace(recipe, **{name: value})


def test_step_of_equispaced_directions(recipe):
    assert replace(recipe, scheme="equispaced", resolution=2.5).resolution == 2.5
    with pytest.raises(SettingsError, match="resolution"):
        replace(recipe, scheme="equispaced", resolution=40)


def test_a_pattern_ends_where_the_simulation_ends(recipe):
    assert replace(recipe, k_max_inv_angstrom=1.6 / 1.05 + 1e-6).frame_inv_angstrom == 1.6
    with pytest.raises(
        SettingsError, match=r"reaches 1\.6 1/Å and k_max only 1\.5 1/Å: raise k_max"
    ):
        replace(recipe, k_max_inv_angstrom=1.5)
    with pytest.raises(SettingsError, match="size = 256"):
        replace(recipe, size=256)


def test_mean_convergence(recipe):
    made = replace(recipe, convergence_mrad=(1.0, 2.0))
    assert made.mean_convergence_mrad == 1.5


@pytest.mark.parametrize(("share", "angles"), [(0, (0,)), (0.5, (0, 0.5)), (1, (0.5,))])
def test_typical_precession(recipe, share, angles):
    made = replace(recipe, precession_deg=(0.4, 0.6), precessed_share=share)
    assert made.typical_precession_deg == angles


def test_optics_of_a_batch(recipe):
    optics = recipe.optics(1.5, 0.6)
    assert (optics.voltage_kv, optics.convergence_mrad, optics.precession_deg) == (300, 1.5, 0.6)
    assert optics.k_max_inv_angstrom == recipe.k_max_inv_angstrom


def changed(recipe: Recipe, **values: object) -> str:
    return json.dumps({**json.loads(recipe.to_json()), **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}.*update zoneaxis"),
        ({"format": "new"}, "format new"),
        ({"colour": 1}, "unknown keys colour"),
        ({"kind": "scan"}, "of kind scan, expected simulation"),
        ({"size": -1}, "size"),
        ({"size": "large"}, "size"),
        ({"crystal": {}}, "crystal"),
        ({"crystal": None}, "crystal"),
    ],
)
def test_unreadable_json(recipe, values, message):
    with pytest.raises(DatasetError, match=message):
        Recipe.from_json(changed(recipe, **values))


def test_a_recipe_that_lacks_a_setting(recipe):
    values = json.loads(recipe.to_json())
    del values["seed"]
    with pytest.raises(DatasetError, match="missing keys seed"):
        Recipe.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"format": 2}'])
def test_not_a_recipe(text):
    with pytest.raises(DatasetError, match="Not a recipe"):
        Recipe.from_json(text)


def test_read_recipe(recipe, tmp_path):
    with pytest.raises(DatasetError, match=r"holds no recipe\.json"):
        read_recipe(tmp_path)
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    assert read_recipe(tmp_path) == recipe
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=str(path)):
        read_recipe(tmp_path)


def test_presets(nickelate):
    assert preset("demo", nickelate).size == 128
    assert preset("demo", nickelate, resolution=10).resolution == 10
    with pytest.raises(SettingsError, match="test, demo, default, random, stepped, equispaced"):
        preset("tiny", nickelate)
    with pytest.raises(SettingsError, match="colour"):
        preset("test", nickelate, colour=1)


def test_a_recipe_anywhere(recipe, tmp_path):
    import fsspec

    fsspec.filesystem("memory").pipe("/data/recipe.json", recipe.to_json().encode())
    assert read_recipe("memory://data") == recipe
    assert read_recipe("memory://data/recipe.json") == recipe
    with pytest.raises(DatasetError, match=r"memory://other holds no recipe\.json"):
        read_recipe("memory://other")
    with pytest.raises(DatasetError, match=r"recipe\.json cannot be read"):
        read_recipe("nosuch://data")


def test_settings_that_belong_to_one_scheme(recipe):
    stepped = replace(recipe, scheme="stepped", resolution=5)
    assert replace(stepped, Phi_end_deg=60).id != stepped.id
    with pytest.raises(SettingsError, match="Phi_end_deg"):
        replace(recipe, Phi_end_deg=60)
    with pytest.raises(SettingsError, match="random_phi1"):
        replace(recipe, scheme="so3", resolution=5, random_phi1=True)
