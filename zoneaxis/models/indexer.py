"""NetworkIndexer: a network with all that is needed to index a scan with it."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoneaxis import __version__
from zoneaxis.cards import ModelFacts
from zoneaxis.dataset_builder.recipe import PatternRecipe, recipe_from_json
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import euler_from_matrices, reduce_euler
from zoneaxis.errors import CheckpointError, SettingsError, ZoneAxisError
from zoneaxis.files import atomic_path
from zoneaxis.models.card import model_facts, write_card
from zoneaxis.models.checkpoint import FORMAT, read_config, read_tensors
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import (
    CartesianInput,
    PolarInput,
    preprocessing_from_dict,
)
from zoneaxis.scans.indexing import Indexed, require_frame

if TYPE_CHECKING:
    from torch import nn

BATCH = 32  # patterns in one pass: their 155,000 scores each then stay in the cache
N_BEST = 5


@dataclass(frozen=True, eq=False)
class NetworkIndexer:
    """A trained network that speaks the Indexer protocol.

    Attributes:
        network: patterns, preprocessed -> logits (b, labels.n_classes).
        labels: what the classes mean, and of which crystal.
        preprocess: recorded patterns -> network input.
        recipe: of the data set it was trained on.
        architecture: the network's name in timm's registry.
        training: settings and validation figures.
        min_confidence: patterns with less are marked not indexed.
    """

    network: "nn.Module"
    labels: OrientationLabels
    preprocess: PolarInput | CartesianInput
    recipe: PatternRecipe
    architecture: str
    training: dict[str, Any] = field(default_factory=dict)
    min_confidence: float = 0.0

    def with_min_confidence(self, min_confidence: float | None) -> "NetworkIndexer":
        """Return the indexer with another threshold; None keeps its own.

        Raises:
            SettingsError: not within 0 to 1.
        """
        if min_confidence is None:
            return self
        if not 0 <= min_confidence <= 1:
            raise SettingsError(f"min_confidence = {min_confidence}: expected 0 to 1.")
        return replace(self, min_confidence=min_confidence)

    @property
    def crystal(self) -> Crystal:
        """The crystal whose orientations it knows."""
        return self.labels.crystal

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Return the n best orientations of each pattern.

        The score is the probability of an orientation and its neighbors, the reliability
        1 - second / first. Indexed is what is likelier one orientation than vacuum or amorphous
        material, and at least `min_confidence`.

        Args:
            patterns: any non-negative intensities, shape (n, h, w).
            inv_angstrom_per_pixel: size of a pixel.

        Raises:
            ScanError: the frame shows less than half of what the network has learned to look at.
        """
        half = 0.5 * self.preprocess.outer_inv_angstrom
        require_frame(patterns.shape[1:], inv_angstrom_per_pixel, half)
        parts = [
            self._index_batch(patterns[start : start + BATCH], inv_angstrom_per_pixel)
            for start in range(0, max(len(patterns), 1), BATCH)
        ]
        matrices, mass, other = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        first, second = mass[:, 0], mass[:, 1]
        return Indexed(
            euler_deg=reduce_euler(euler_from_matrices(matrices), self.crystal),
            score=mass,
            reliability=1 - second / np.maximum(first, 1e-30),
            indexed=first > np.maximum(other.sum(axis=1), self.min_confidence),
            properties={"vacuum": other[:, 0], "amorphous": other[:, 1]},
        )

    def _index_batch(
        self, patterns: np.ndarray, inv_angstrom_per_pixel: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        copied = torch.from_numpy(np.array(patterns, dtype=np.float32))
        return self.labels.n_best(self._logits(copied, inv_angstrom_per_pixel), N_BEST)

    @torch.inference_mode()
    def _logits(self, patterns: torch.Tensor, inv_angstrom_per_pixel: float) -> torch.Tensor:
        self.network.eval()
        logits = self.network(self.preprocess(patterns, inv_angstrom_per_pixel))
        if logits.shape[1:] != (self.labels.n_classes,):
            raise ValueError(
                f"the network has {tuple(logits.shape[1:])} outputs for {self.labels.n_classes} "
                "classes."
            )
        return logits

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write model.safetensors, labels.safetensors and config.json into a folder.

        timm loads the network from it as well: `create_model("local-dir:FOLDER", pretrained=True)`.
        README.md, the model card, is written where there is none; one that is there is kept, with
        a warning if it differs.

        Raises:
            OutputError: the folder cannot be written.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        with atomic_path(folder / "labels.safetensors") as path:
            directions = np.ascontiguousarray(self.labels.directions_deg)
            save_file({"directions_deg": torch.from_numpy(directions)}, path)
        with atomic_path(folder / "model.safetensors") as path:
            weights = self.network.state_dict()
            save_file({key: value.contiguous() for key, value in weights.items()}, path)
        with atomic_path(folder / "config.json") as path:
            path.write_text(json.dumps(self._config(), indent=2), encoding="utf-8")
        write_card(folder, self._facts())
        return folder

    def _facts(self) -> ModelFacts:
        return model_facts(
            architecture=self.architecture,
            parameters=sum(weight.numel() for weight in self.network.parameters()),
            labels=self.labels,
            preprocess=self.preprocess,
            recipe=self.recipe,
            training=self.training,
            min_confidence=self.min_confidence,
        )

    def _config(self) -> dict[str, Any]:
        channels, height, width = self.preprocess.input_size
        return {
            "architecture": self.architecture,
            "num_classes": self.labels.n_classes,
            "num_features": self.network.num_features,
            "model_args": _model_args(self.architecture, self.labels),
            "pretrained_cfg": {
                "input_size": [channels, height, width],
                "fixed_input_size": bool(self.network.default_cfg.get("fixed_input_size")),
                "num_classes": self.labels.n_classes,
                "license": "gpl-3.0",
            },
            "zoneaxis": {
                "format": FORMAT,
                "version": __version__,
                "crystal": self.crystal.to_dict(),
                "bins": self.labels.bins,
                "preprocessing": asdict(self.preprocess),
                "recipe": json.loads(self.recipe.to_json()),
                "recipe_id": self.recipe.id,
                "min_confidence": self.min_confidence,
                "training": self.training,
            },
        }

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "NetworkIndexer":
        """Load what `save_pretrained` wrote; every weight must be there and fit.

        Raises:
            CheckpointError: no config, no safetensors weights (a pickle is never opened), a key
                missing or too many, or a newer format.
        """
        folder = Path(folder)
        config = read_config(folder)
        try:
            return cls._from_config(config, folder)
        except CheckpointError:
            raise
        except KeyError as error:
            raise CheckpointError(f"{folder} lacks {error}: save the model again.") from error
        except (TypeError, ValueError, AttributeError, RuntimeError, ZoneAxisError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{folder} does not fit together: {reason} Get or save the model again."
            ) from error

    @classmethod
    def _from_config(cls, config: dict[str, Any], folder: Path) -> "NetworkIndexer":
        ours = config["zoneaxis"]
        directions = read_tensors(folder / "labels.safetensors")["directions_deg"].numpy()
        labels = OrientationLabels(
            Crystal.from_dict(ours["crystal"]), directions.reshape(-1, 2), int(ours["bins"])
        )
        recipe = recipe_from_json(json.dumps(ours["recipe"]))
        if recipe.crystal != labels.crystal.to_dict():
            raise CheckpointError(f"{folder}: labels and training set are of different crystals.")
        name = config["architecture"]
        network = _create_network(name, config["num_classes"], config["model_args"])
        network.load_state_dict(read_tensors(folder / "model.safetensors"), strict=True)
        preprocess = preprocessing_from_dict(ours["preprocessing"])
        indexer = cls(network.eval(), labels, preprocess, recipe, name, dict(ours["training"]))
        indexer._logits(torch.zeros(1, 64, 64), 0.05)  # whatever does not fit, fails here
        return indexer.with_min_confidence(float(ours["min_confidence"]))


def create_indexer(model: str, labels: OrientationLabels, recipe: PatternRecipe) -> NetworkIndexer:
    """Return an untrained network from timm's registry with labels and preprocessing.

    Args:
        model: name of a network; any of timm's takes the pattern as a one-channel image.
        labels: decide the number of classes.
        recipe: of the data to train on; its optics decide where the direct beam ends.

    Raises:
        SettingsError: no such network, or one that does not fit the labels or the patterns.
    """
    network = _create_network(model, labels.n_classes, _model_args(model, labels))
    outer = 0.95 * min(recipe.frame_inv_angstrom, recipe.k_max_inv_angstrom)
    _, height, width = network.default_cfg["input_size"]
    if getattr(network, "input_kind", "cartesian") == "polar":
        disk = recipe.optics(recipe.mean_convergence_mrad, 0.0).disk_radius_inv_angstrom
        preprocess = PolarInput(
            inner_inv_angstrom=disk + 3 * PolarInput.blur_inv_angstrom,
            outer_inv_angstrom=outer,
            n_radii=height,
            n_angles=width,
            disk_radius_inv_angstrom=disk,
        )
    else:
        preprocess = CartesianInput(height, outer)
    return NetworkIndexer(network, labels, preprocess, recipe, model)


def _create_network(model: str, num_classes: int, arguments: dict[str, Any]) -> "nn.Module":
    import timm

    import zoneaxis.models.cnn
    import zoneaxis.models.polar  # noqa: F401 - importing them registers their networks

    if not timm.is_model(model):
        known = ", ".join(timm.list_models("*zoneaxis*"))
        raise SettingsError(f"No network {model!r}: choose one of {known}, or any of timm's.")
    try:
        return timm.create_model(model, num_classes=num_classes, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(f"{model} with {num_classes} classes: {error}.") from error


def _is_polar(model: str) -> bool:
    return "zoneaxis_polar" in model


def _model_args(model: str, labels: OrientationLabels) -> dict[str, Any]:
    return {"bins": labels.bins} if _is_polar(model) else {"in_chans": 1}
