"""The README.md of a checkpoint folder: what the network is, how it was trained, how good it is."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoneaxis import __version__
from zoneaxis.cards import ColumnFacts, FigureFacts, MetricFacts, ModelFacts, render_model_card
from zoneaxis.cards.merge import merge_cards
from zoneaxis.dataset_builder.card import crystal_facts
from zoneaxis.dataset_builder.recipe import PatternRecipe, ScanRecipe
from zoneaxis.errors import HubError
from zoneaxis.files import atomic_path
from zoneaxis.models.commands import commands
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import CartesianInput, PolarInput
from zoneaxis.models.yardstick import CONDITIONS, accuracy_facts

# key in `training`: name, unit, factor into it, whether higher is better
METRICS = {
    "validation_median_deg": ("median misorientation", "degrees", 1, False),
    "validation_within_2_deg": ("share within 2 degrees", "%", 100, True),
    "validation_within_5_deg": ("share within 5 degrees", "%", 100, True),
    "validation_class_accuracy": ("class accuracy", "%", 100, True),
    "validation_expected_calibration_error": ("expected calibration error", "%", 100, False),
    "validation_crystal_indexed": ("crystalline patterns indexed", "%", 100, True),
    "validation_empty_rejected": ("vacuum and amorphous patterns rejected", "%", 100, True),
}
UNITS = {"_deg": "degrees", "_px": "pixels", "_inv_angstrom": "1/Å", "_mrad": "mrad", "_nm": "nm"}
# Settings that stand in the card's first table or its header.
ELSEWHERE = ("model", "head", "extras", "fine_tuned_from", "dataset_repository")
RISKS = (0.2, 0.1, 0.05, 0.02, 0.01)
MOST_PARTS = 8  # of a setting that is a list
VALIDATION = "simulated patterns, augmented, of directions held out of training"
SCAN_VALIDATION = "measured patterns, augmented, of grains held out of training"
RECIPE_ROWS = (
    "convergence_mrad",
    "precession_deg",
    "precessed_share",
    "thickness_nm",
    "k_max_inv_angstrom",
)
HEADS = {
    "flat": "flat: each class has weights of its own",
    "factored": "factored: a class is the sum of its direction's and its in-plane angle's output",
    "polar": "polar: an in-plane rotation of the pattern shifts the outputs of a direction",
}
PROPERTIES = {
    "vacuum": "probability that nothing is there",
    "amorphous": "probability that what is there is not crystalline",
    "thickness_nm": "thickness of the crystal",
    "camera_scale": "true size of a pixel relative to the stated one",
    "center_x_inv_angstrom": "how far right of the middle of the pattern the direct beam is",
    "center_y_inv_angstrom": "how far below the middle of the pattern the direct beam is",
    "amorphous_share": "share of amorphous material in what is scattered",
}


def write_card(folder: Path, facts: ModelFacts) -> None:
    """Write README.md; one that is there is renewed, and what somebody edited in it stays.

    Metadata follow the new model, `model-index` above all, and so does each section (from one
    line `## Heading` to the next) that is still as it was written here. Sections that somebody
    changed or added stay word for word, removed ones stay away, and so do added metadata; see
    `merge_cards`. A file without our mark keeps its whole text and gets metadata. One that cannot
    be read, or whose header is no YAML, is left alone with a warning: a trained model is not lost
    over its card.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / "README.md"
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else None
        text = merge_cards(render_model_card(facts), old, place=str(folder))
    except (HubError, OSError, UnicodeDecodeError) as error:
        warnings.warn(
            f"{path} is kept as it is and may describe another model: {error} Mend or remove it "
            "and save again for a new one.",
            stacklevel=3,
        )
        return
    if text != old:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def trained_for(recipe: PatternRecipe) -> str:
    """Return in a few words which optics and specimens a data set stands for."""
    angles = " or ".join(f"{angle:g}" for angle in recipe.typical_precession_deg)
    words = [
        f"{recipe.voltage_kv:g} kV",
        _row("convergence_mrad", recipe.convergence_mrad)[1],
        f"{angles} degrees of precession" if angles != "0" else "no precession",
    ]
    if hasattr(recipe, "thickness_nm"):  # of a measured scan it is not known
        words.append(_row("thickness_nm", recipe.thickness_nm)[1])
    return ", ".join(words)


def model_facts(
    architecture: str,
    parameters: int,
    labels: OrientationLabels,
    preprocess: PolarInput | CartesianInput,
    recipe: PatternRecipe,
    training: Mapping[str, Any],
    min_confidence: float,
    *,
    model_args: Mapping[str, Any] | None = None,
    extras: Sequence[str] = (),
    temperature: float = 1.0,
    log_odds: tuple[float, float] = (1.0, 0.0),
    figures: tuple[FigureFacts, ...] = (),
) -> ModelFacts:
    """Return what the card of a model says.

    Args:
        architecture: of a NetworkIndexer, as are all others but two.
        parameters: number of the network's weights.
        labels: of the indexer.
        preprocess: of the indexer.
        recipe: of the indexer.
        training: of the indexer.
        min_confidence: of the indexer.
        model_args: of the indexer.
        extras: of the indexer.
        temperature: of the indexer.
        log_odds: of the indexer.
        figures: what `write_figures` returned.
    """
    crystal = crystal_facts(labels.crystal)
    measured = isinstance(recipe, ScanRecipe)
    arguments = model_args or {}
    metrics = tuple(_metrics(training, SCAN_VALIDATION if measured else VALIDATION))
    return ModelFacts(
        name=f"Orientations of {crystal.name} by {arguments.get('backbone', architecture)}",
        architecture=architecture,
        parameters=parameters,
        crystal=crystal,
        inputs=_inputs(preprocess),
        outputs=_outputs(labels),
        dataset=f"{'measured' if measured else 'simulated'} diffraction patterns of {crystal.name}",
        dataset_id=recipe.id,
        training=tuple(_training_rows(recipe, training)),
        metrics=metrics,
        version=__version__,
        head=_head(arguments, preprocess),
        properties=tuple(
            ColumnFacts(name, "float32", _unit(name), PROPERTIES[name])
            for name in ("vacuum", "amorphous", *extras)
        ),
        dataset_repository=training.get("dataset_repository"),
        fine_tuned_from=training.get("fine_tuned_from"),
        temperature=temperature,
        log_odds=log_odds,
        confidence_threshold=min_confidence or None,
        thresholds=tuple(_thresholds(training.get("risk_coverage", ()))),
        conditions=tuple(CONDITIONS.items()),
        accuracy=accuracy_facts(training.get("accuracy", ())),
        commands=commands(recipe, training),
        limits=tuple(_limits(preprocess, recipe, training, bool(metrics))),
        figures=figures,
    )


def _outputs(labels: OrientationLabels) -> str:
    classes = f"{labels.n_orientations:,} orientations"
    if labels.bins > 1:
        directions = labels.n_orientations // labels.bins
        classes = f"{directions:,} beam directions at {labels.bins} in-plane angles each"
    return (
        f"probabilities of {classes}, of vacuum and of amorphous material; neighbors are merged "
        "into a few orientations, and vacuum and amorphous material are marked not indexed"
    )


def _head(arguments: Mapping[str, Any], preprocess: PolarInput | CartesianInput) -> str:
    kind = arguments.get("head", "polar" if isinstance(preprocess, PolarInput) else None)
    backbone = f"on `{arguments['backbone']}` of timm, " if "backbone" in arguments else ""
    return backbone + HEADS.get(kind, "")


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


def _metrics(training: Mapping[str, Any], dataset: str) -> Iterator[MetricFacts]:
    for key, (name, unit, factor, higher) in METRICS.items():
        if (measured := training.get(key)) is not None and math.isfinite(measured):
            yield MetricFacts(
                key=key.removeprefix("validation_"),
                name=name,
                value=factor * measured,
                unit=unit,
                higher_is_better=higher,
                dataset=dataset,
                split="validation",
                patterns=training.get("validation_measured_on", training["validation_patterns"]),
            )


def _thresholds(curve: Sequence[Sequence[float]]) -> Iterator[tuple[float, float, float]]:
    """Yield risk, least confidence and the largest coverage with so little risk, if there is one.

    Args:
        curve: (coverage, risk, least confidence) for rising coverage.
    """
    for largest in RISKS:
        fine = [(threshold, coverage) for coverage, risk, threshold in curve if risk <= largest]
        if fine:
            yield largest, *fine[-1]


def _training_rows(recipe: PatternRecipe, training: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
        elif name not in ELSEWHERE and not name.startswith("validation_") and _is_setting(value):
            yield _row(name, value)


def _is_setting(value: Any) -> bool:
    """Whether a value is a number, a text or a few of them; the course of a training is neither."""
    parts = value if isinstance(value, list | tuple) else [value]
    return len(parts) <= MOST_PARTS and not any(isinstance(p, dict | list | tuple) for p in parts)


def _row(name: str, value: Any) -> tuple[str, str]:
    unit, what = _unit(name), name.removesuffix(_ending(name)).replace("_", " ")
    if isinstance(value, bool) or value is None or value in ((), []):
        return what, "yes" if value else "no"
    parts = value if isinstance(value, list | tuple) else [value]
    if len(parts) == 2 and parts[0] == parts[1]:
        parts = parts[:1]
    between = ", " if isinstance(parts[0], str) else " to "
    text = between.join(f"{p:g}" if isinstance(p, float) else str(p) for p in parts)
    return what, f"{text} {unit}".strip()


def _ending(name: str) -> str:
    return next((ending for ending in UNITS if name.endswith(ending)), "")


def _unit(name: str) -> str:
    return UNITS.get(_ending(name), "")


def _limits(
    preprocess: PolarInput | CartesianInput,
    recipe: PatternRecipe,
    training: Mapping[str, Any],
    validated: bool,
) -> Iterator[str]:
    if not training:
        yield "It is untrained: its weights are what it was initialized with."
    if not training.get("augmentation", {}).get("second_grain_probability"):
        yield "It has seen one perfect crystal at a time: where grains overlap it may find either."
    yield f"Trained for {trained_for(recipe)}: what is beyond was never tested."
    yield f"Patterns are to reach {preprocess.outer_inv_angstrom:.2f} 1/Å; less loses accuracy."
    if validated:
        measured = isinstance(recipe, ScanRecipe)
        other, kind = ("another", "one scan") if measured else ("a real", "simulated patterns")
        yield (
            f"The figures above are of {kind}; on {other} scan they may be worse. Compare a map "
            "with template matching (`zoneaxis match`, `zoneaxis compare`)."
        )
