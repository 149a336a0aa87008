"""The commands that make a model again from nothing: what in them differs from a preset."""

from collections.abc import Iterator, Mapping
from typing import Any

from zoneaxis.dataset_builder.recipe import PRESETS as RECIPES
from zoneaxis.dataset_builder.recipe import PatternRecipe, Recipe
from zoneaxis.dataset_builder.recipe import preset as recipe_preset
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.errors import ZoneAxisError
from zoneaxis.models.settings import PRESETS, TrainingSettings, training_preset

# Fields of a recipe that `zoneaxis build` has options for, and those options.
BUILD_OPTIONS = {
    name: name
    for name in (
        "voltage_kv",
        "convergence_mrad",
        "precession_deg",
        "precessed_share",
        "absorption",
        "thickness_nm",
        "thicknesses",
        "size",
        "inv_angstrom_per_pixel",
        "split",
        "validation_share",
        "seed",
    )
} | {"k_max_inv_angstrom": "k_max"}
SCHEMES = {"random": "directions", "equispaced": "step_deg", "stepped": "step_deg"}
NO_OPTION = {"augmentation", "clip_grad"}  # of `zoneaxis train`


def commands(recipe: PatternRecipe, training: Mapping[str, Any]) -> tuple[str, ...]:
    """Return command lines that build the data set and train the network; () where there are none.

    A comment among them says what no option can.

    Args:
        recipe: of the data set; for one of a measured scan there is no command.
        training: of the model.
    """
    if not isinstance(recipe, Recipe) or "augmentation" not in training:
        return ()
    if data := training.get("dataset_repository"):
        return tuple(_train(recipe, training, data))
    return (*_build(recipe), *_train(recipe, training, "dataset"))


def _build(recipe: Recipe) -> Iterator[str]:
    crystal = Crystal.from_dict(recipe.crystal)
    presets = {name: recipe_preset(name, crystal) for name in RECIPES}
    name, changed = _nearest(presets, recipe)
    scheme = changed.pop("scheme", presets[name].scheme)
    if "resolution" in changed or scheme != presets[name].scheme:
        changed[SCHEMES.get(scheme, "scheme")] = changed.pop("resolution", recipe.resolution)
    if "precession_deg" in changed:  # which would mean a share of 1
        changed["precessed_share"] = recipe.precessed_share
    if changed.keys() - BUILD_OPTIONS.keys() - set(SCHEMES.values()):
        yield "# recipe.json: what config.json holds under zoneaxis, recipe"
        yield "zoneaxis build --recipe recipe.json --out dataset"
        return
    options = {BUILD_OPTIONS.get(option, option): value for option, value in changed.items()}
    named = {"crystal": _crystal(crystal), "preset": name, **options}
    yield f"zoneaxis build{_options(named)} --out dataset"


def _train(recipe: Recipe, training: Mapping[str, Any], data: str) -> Iterator[str]:
    presets = {name: training_preset(name, recipe) for name in PRESETS}
    seen, planned = training["images"], training.get("planned_images")
    settings = TrainingSettings.of({**training, "images": planned or seen})
    name, changed = _nearest(presets, settings)
    if start := training.get("fine_tuned_from"):
        changed.pop("model", None)
        changed = {"from": start.partition("(weights")[0].strip() or "WEIGHTS", **changed}
    if "extras" in changed:
        changed["extra"] = changed.pop("extras")
    if changed.get("label_step_deg", 0) is None:
        changed["label_step_deg"] = 0
    if untold := sorted(changed.keys() & NO_OPTION):
        yield f"# with {' and '.join(untold)} as below, by zoneaxis.models.training.train"
    options = {option: value for option, value in changed.items() if option not in NO_OPTION}
    preset = {} if name == "modern" else {"preset": name}
    yield f"zoneaxis train --data {data}{_options(preset | options)} --out model"
    if planned:
        yield f"# stopped after {seen} images; then the same command with --finish"


def _nearest(presets: Mapping[str, Any], wanted: Any) -> tuple[str, dict[str, Any]]:
    """Return the preset that differs least, and the values of what differs."""
    differing = {
        name: {field: value for field, value in vars(wanted).items() if getattr(p, field) != value}
        for name, p in presets.items()
    }
    name = min(differing, key=lambda name: len(differing[name]))
    return name, differing[name]


def _crystal(crystal: Crystal) -> str:
    """Return the name of a built-in crystal, or that of a CIF."""
    try:
        built_in = load_crystal(crystal.name).to_dict() == crystal.to_dict()
    except ZoneAxisError:
        built_in = False
    return crystal.name if built_in else f"{crystal.name}.cif"


def _options(options: Mapping[str, Any]) -> str:
    parts = []
    for name, value in options.items():
        option = f" --{name.replace('_', '-')}"
        if name == "extra":
            parts += [f"{option} {extra}" for extra in value]
        else:
            values = value if isinstance(value, tuple) else (value,)
            parts.append(" ".join([option, *map(_text, values)]))
    return "".join(parts)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
