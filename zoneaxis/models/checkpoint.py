"""The files of a checkpoint folder: config.json and safetensors; nothing is ever unpickled.

config.json is timm's and ours at once: timm ignores the key "zoneaxis".
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoneaxis import __version__
from zoneaxis.dataset_builder.recipe import PatternRecipe, recipe_from_json
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import CheckpointError, SettingsError, ZoneAxisError
from zoneaxis.files import atomic_path
from zoneaxis.models.extras import require_extras
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import CartesianInput, PolarInput, preprocessing_from_dict
from zoneaxis.models.registry import create_network, input_kind

if TYPE_CHECKING:
    from torch import nn

CONFIG, WEIGHTS, LABELS = "config.json", "model.safetensors", "labels.safetensors"
FORMAT = 3  # of a checkpoint folder; a newer one is refused
OLDEST = 2  # format that is read; it knew no log odds
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
CALIBRATION = ("temperature", "log_odds", "min_confidence")


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json, or say what is wrong with the folder.

    Raises:
        CheckpointError: no such file, not the config of a zoneaxis model, or of another format.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {CONFIG}: name a folder that `train` wrote.")
    try:
        config = config_from_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is not the config of a zoneaxis model ({error}): name a folder that "
            "`train` wrote."
        ) from error
    version = config["zoneaxis"]["format"]
    if version > FORMAT:
        raise CheckpointError(
            f"{folder} has format {version}, newer than {FORMAT}: update zoneaxis."
        )
    if version < OLDEST:
        raise CheckpointError(f"{folder} has the old format {version}: train the model again.")
    return config


def config_from_json(text: str) -> dict[str, Any]:
    """Return the config of a zoneaxis model of any format.

    Raises:
        ValueError: it is none.
    """
    config = json.loads(text)
    try:
        if isinstance(config["zoneaxis"]["format"], int):
            return config
    except (KeyError, TypeError):
        pass
    raise ValueError("it names no format of zoneaxis")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        CheckpointError: missing, damaged, another kind of file, or a number that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        pickles = sorted(p.name for p in path.parent.iterdir() if p.suffix in PICKLES)
        hint = f" Pickled weights ({', '.join(pickles)}) are not opened." if pickles else ""
        raise CheckpointError(f"{path} is missing.{hint} Save the model again as safetensors.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or is damaged ({error}): get or save the model again."
        ) from error
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} is not finite. Train the model again.")
    return tensors


def write_checkpoint(
    folder: Path,
    network: "nn.Module",
    labels: OrientationLabels,
    preprocess: PolarInput | CartesianInput,
    recipe: PatternRecipe,
    *,
    half: bool = False,
    **settings: Any,
) -> None:
    """Write a checkpoint folder: config.json, which tells a whole one, last.

    Args:
        folder: made where absent.
        network: its weights are written.
        labels: of its classes.
        preprocess: of its input.
        recipe: of its training set.
        half: store half-precision weights, in half of the space; whoever loads them, timm too,
            computes in single precision all the same.
        settings: the other fields of a NetworkIndexer.

    Raises:
        OutputError: the folder cannot be written.
        SettingsError: a weight is beyond the range of half precision.
    """
    from safetensors.torch import save_file

    config = _timm_config(network, preprocess, settings)
    config["zoneaxis"] = _own_config(labels, preprocess, recipe, settings)
    with atomic_path(folder / LABELS) as path:
        save_file({"euler_deg": torch.from_numpy(np.ascontiguousarray(labels.euler_deg))}, path)
    with atomic_path(folder / WEIGHTS) as path:
        stored = _halved if half else torch.Tensor.contiguous
        weights = network.state_dict().items()
        save_file({name: stored(weight) for name, weight in weights}, path)
    with atomic_path(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _halved(weight: torch.Tensor) -> torch.Tensor:
    """Return matrices in half precision; vectors, such as variances, are few and stay exact."""
    if weight.ndim < 2 or not weight.is_floating_point():
        return weight.contiguous()
    half = weight.half().contiguous()
    if not half.isfinite().all():
        raise SettingsError(
            f"A weight of {weight.abs().max():g} has no place in half precision: save it whole."
        )
    return half


def _timm_config(
    network: "nn.Module", preprocess: PolarInput | CartesianInput, settings: dict[str, Any]
) -> dict[str, Any]:
    return {
        "architecture": settings["architecture"],
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "model_args": settings["model_args"],
        "pretrained_cfg": {
            "input_size": preprocess.input_size,
            "fixed_input_size": bool(network.default_cfg.get("fixed_input_size")),
            "num_classes": network.num_classes,
            "license": "gpl-3.0",
        },
    }


def _own_config(
    labels: OrientationLabels,
    preprocess: PolarInput | CartesianInput,
    recipe: PatternRecipe,
    settings: dict[str, Any],
) -> dict[str, Any]:
    import timm

    return {
        "format": FORMAT,
        "versions": {
            "zoneaxis": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
        "crystal": labels.crystal.to_dict(),
        "optics": {
            "voltage_kv": recipe.voltage_kv,
            "convergence_mrad": recipe.convergence_mrad,
            "precession_deg": recipe.typical_precession_deg,
            "k_max_inv_angstrom": recipe.k_max_inv_angstrom,
        },
        "labels": {"classes": labels.n_orientations, "bins": labels.bins},
        "extras": settings["extras"],
        "preprocessing": asdict(preprocess),
        "recipe": json.loads(recipe.to_json()),
        "recipe_id": recipe.id,
        "calibration": {name: settings[name] for name in CALIBRATION},
        "training": settings["training"],
    }


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the fields of the NetworkIndexer that was saved; every weight must be there and fit.

    Raises:
        CheckpointError: no config, no safetensors weights (a pickle is never opened), a key
            missing or too many, or another format.
    """
    config = read_config(folder)
    try:
        return _fields(config, folder)
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{folder} lacks {error}: save the model again.") from error
    except (TypeError, ValueError, AttributeError, RuntimeError, ZoneAxisError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder} does not fit together: {reason} Get or save the model again."
        ) from error


def _fields(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    ours = config["zoneaxis"]
    labels = OrientationLabels(
        Crystal.from_dict(ours["crystal"]),
        read_tensors(folder / LABELS)["euler_deg"].numpy(),
        int(ours["labels"]["bins"]),
    )
    recipe = recipe_from_json(json.dumps(ours["recipe"]))
    if recipe.crystal != labels.crystal.to_dict():
        raise CheckpointError(f"{folder}: labels and training set are of different crystals.")
    architecture, arguments = config["architecture"], dict(config["model_args"])
    network = create_network(architecture, config["num_classes"], arguments).eval()
    network.load_state_dict(read_tensors(folder / WEIGHTS), strict=True)
    preprocess = preprocessing_from_dict(ours["preprocessing"])
    extras = require_extras(ours["extras"], input_kind(network))
    _require_fit(network, labels, preprocess, extras)
    calibration = _calibration(ours["calibration"], int(ours["format"]))
    return {
        "network": network,
        "labels": labels,
        "preprocess": preprocess,
        "recipe": recipe,
        "architecture": architecture,
        "model_args": arguments,
        "extras": extras,
        "training": dict(ours["training"]),
        **calibration,
    }


def _calibration(stored: dict[str, Any], version: int) -> dict[str, Any]:
    log_odds = stored["log_odds"] if version > OLDEST else (1, 0)
    slope, offset = map(float, log_odds)
    numbers = {name: float(stored[name]) for name in CALIBRATION if name != "log_odds"}
    calibration = {**numbers, "log_odds": (slope, offset)}
    require_calibration(**calibration)
    return calibration


def require_calibration(
    min_confidence: float, temperature: float, log_odds: tuple[float, float]
) -> None:
    """Check the numbers that make an answer of probabilities.

    Raises:
        SettingsError: out of their range.
    """
    if not 0 <= min_confidence <= 1:
        raise SettingsError(f"min_confidence = {min_confidence}: expected 0 to 1.")
    if not 0 < temperature < math.inf:
        raise SettingsError(f"temperature = {temperature}: expected more than 0.")
    slope, offset = log_odds
    if not (0 < slope < math.inf and math.isfinite(offset)):
        raise SettingsError(f"log_odds = {log_odds}: expected a slope above 0 and an offset.")


@torch.inference_mode()
def _require_fit(
    network: "nn.Module",
    labels: OrientationLabels,
    preprocess: PolarInput | CartesianInput,
    extras: tuple[str, ...],
) -> None:
    """Run the network once: whatever does not fit, fails here."""
    (outputs,) = network(preprocess(torch.zeros(1, 64, 64), 0.05))
    if outputs.shape != (labels.n_classes + len(extras),):
        raise ValueError(
            f"the network has {len(outputs)} outputs for {labels.n_classes} classes and "
            f"{len(extras)} further values."
        )
