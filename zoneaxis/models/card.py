"""The README.md of a checkpoint folder: what the network is, how it was trained, how good it is."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoneaxis import __version__
from zoneaxis.cards import MetricFacts, ModelFacts, render_model_card
from zoneaxis.dataset_builder.card import crystal_facts
from zoneaxis.dataset_builder.recipe import PatternRecipe, ScanRecipe
from zoneaxis.files import atomic_path
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import CartesianInput, PolarInput

# key in `training`: name, unit, factor into it, whether higher is better
METRICS = {
    "validation_median_deg": ("median misorientation", "degrees", 1, False),
    "validation_within_2_deg": ("share within 2 degrees", "%", 100, True),
    "validation_within_5_deg": ("share within 5 degrees", "%", 100, True),
    "validation_crystal_indexed": ("crystalline patterns indexed", "%", 100, True),
    "validation_empty_rejected": ("vacuum and amorphous patterns rejected", "%", 100, True),
}
UNITS = {"_deg": "degrees", "_px": "pixels", "_inv_angstrom": "1/Å", "_mrad": "mrad", "_nm": "nm"}
VALIDATION = "simulated patterns, augmented, of directions held out of training"
SCAN_VALIDATION = "measured patterns, augmented, of grains held out of training"
RECIPE_ROWS = (
    "convergence_mrad",
    "precession_deg",
    "precessed_share",
    "thickness_nm",
    "k_max_inv_angstrom",
)


def write_card(folder: Path, facts: ModelFacts) -> None:
    """Write README.md where there is none; one that is there may be a user's and is kept."""
    path, text = folder / "README.md", render_model_card(facts)
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8", errors="replace") != text:
        warnings.warn(
            f"{path} was there before and is kept: it may describe another model. Remove it and "
            "save again for a new one.",
            stacklevel=3,
        )


def model_facts(
    architecture: str,
    parameters: int,
    labels: OrientationLabels,
    preprocess: PolarInput | CartesianInput,
    recipe: PatternRecipe,
    training: dict[str, Any],
    min_confidence: float,
) -> ModelFacts:
    """Return what the card of a model says; arguments are the parts of a NetworkIndexer."""
    crystal = crystal_facts(labels.crystal)
    measured = isinstance(recipe, ScanRecipe)
    data = "measured" if measured else "simulated"
    metrics = tuple(_metrics(training, SCAN_VALIDATION if measured else VALIDATION))
    return ModelFacts(
        name=f"Orientations of {crystal.name} by {architecture}",
        architecture=architecture,
        parameters=parameters,
        crystal=crystal,
        inputs=_inputs(preprocess),
        outputs=f"probabilities of {len(labels.directions_deg):,} beam directions at {labels.bins} "
        "in-plane angles each, of vacuum and of amorphous material; neighbors are merged into a "
        "few orientations, and vacuum and amorphous material are marked not indexed",
        dataset=f"{data} diffraction patterns of {crystal.name}",
        dataset_id=recipe.id,
        training=tuple(_training_rows(recipe, training)),
        metrics=metrics,
        version=__version__,
        confidence_threshold=min_confidence or None,
        limits=tuple(_limits(preprocess, training, bool(metrics))),
    )


def _inputs(preprocess: PolarInput | CartesianInput) -> str:
    if isinstance(preprocess, PolarInput):
        return (
            "the pattern of any camera, centered by its direct beam, on "
            f"{preprocess.n_radii} rings from {preprocess.inner_inv_angstrom:.2f} to "
            f"{preprocess.outer_inv_angstrom:.2f} 1/Å with {preprocess.n_angles} angles"
        )
    return (
        "the pattern of any camera, its direct beam in the middle, cropped to "
        f"{preprocess.outer_inv_angstrom:.2f} 1/Å, resized to {preprocess.size} x "
        f"{preprocess.size} pixels, logarithmic over a range of {preprocess.dynamic_range:g}"
    )


def _metrics(training: dict[str, Any], dataset: str) -> Iterator[MetricFacts]:
    for key, (name, unit, factor, higher) in METRICS.items():
        if key in training:
            yield MetricFacts(
                key=key.removeprefix("validation_"),
                name=name,
                value=factor * training[key],
                unit=unit,
                higher_is_better=higher,
                dataset=dataset,
                split="validation",
                patterns=training["validation_patterns"],
            )


def _training_rows(recipe: PatternRecipe, training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every setting of data set, training and augmentation with its unit."""
    precession = recipe.precession_deg if recipe.precessed_share else 0.0
    yield "voltage", f"{recipe.voltage_kv:g} kV"
    for name in RECIPE_ROWS:
        if hasattr(recipe, name):  # of a measured scan, thickness is not known
            yield _row(name, getattr(recipe, name) if name != "precession_deg" else precession)
    for name, value in training.items():
        if name == "augmentation":
            for drawn, limits in value.items():
                what, text = _row(drawn, limits)
                yield f"augmentation: {what}", text
        elif name not in ("model",) and not name.startswith("validation_"):
            yield _row(name, value)


def _row(name: str, value: Any) -> tuple[str, str]:
    ending = next((ending for ending in UNITS if name.endswith(ending)), "")
    parts = value if isinstance(value, list | tuple) else [value]
    if len(parts) == 2 and parts[0] == parts[1]:
        parts = parts[:1]
    text = " to ".join(f"{p:g}" if isinstance(p, float) else str(p) for p in parts)
    if isinstance(value, bool) or value is None:
        text = "yes" if value else "no"
    return name.removesuffix(ending).replace("_", " "), f"{text} {UNITS.get(ending, '')}".strip()


def _limits(
    preprocess: PolarInput | CartesianInput, training: dict[str, Any], measured: bool
) -> Iterator[str]:
    if not training:
        yield "It is untrained: its weights are what it was initialized with."
    yield "It has seen one perfect crystal at a time: where grains overlap it may find either."
    yield "Voltage, convergence, precession and thickness beyond those below were never tested."
    yield f"Patterns are to reach {preprocess.outer_inv_angstrom:.2f} 1/Å; less loses accuracy."
    if measured:
        yield (
            "The figures above are of simulated patterns; on a real scan they may be worse. "
            "Compare a map with template matching (`zoneaxis match`, `zoneaxis compare`)."
        )
