"""NetworkIndexer: a network with all that is needed to index a scan with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoneaxis.cards import ModelFacts
from zoneaxis.dataset_builder.recipe import PatternRecipe
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import euler_from_matrices, reduce_euler
from zoneaxis.hub import Push, require_name
from zoneaxis.models.card import model_facts, write_card
from zoneaxis.models.card_figures import write_figures
from zoneaxis.models.checkpoint import read_checkpoint, require_calibration, write_checkpoint
from zoneaxis.models.confidence import with_log_odds
from zoneaxis.models.export import export_onnx
from zoneaxis.models.extras import properties, require_extras
from zoneaxis.models.labels import CONSIDERED, OrientationLabels
from zoneaxis.models.likeliest import Likeliest, likeliest
from zoneaxis.models.precision import half_precision
from zoneaxis.models.preprocessing import CartesianInput, PolarInput
from zoneaxis.models.pretrained import find_pretrained, require_crystal
from zoneaxis.models.publish import publish
from zoneaxis.models.registry import create_network, input_kind, network_arguments
from zoneaxis.models.shipped import DEFAULT_MODEL, SHIPPED
from zoneaxis.models.threads import side_by_side
from zoneaxis.scans.indexing import Indexed, require_frame

if TYPE_CHECKING:
    from torch import nn

BATCH = 64  # patterns in one pass of a CPU: more would not fit into its cache
ACCELERATOR_BATCH = 256  # to keep it busy
N_BEST = 5

Answers = tuple[torch.Tensor, ...]  # with a row each pattern


@dataclass(frozen=True, eq=False)
class NetworkIndexer:
    """A trained network that speaks the Indexer protocol, on the device of its weights.

    Attributes:
        network: patterns, preprocessed -> logits (b, labels.n_classes), then the extras.
        labels: what the classes mean, and of which crystal.
        preprocess: recorded patterns -> network input.
        recipe: of the data set it was trained on.
        architecture: the network's name in timm's registry.
        model_args: what it was built with, beside the number of outputs.
        extras: names of further outputs, of `zoneaxis.models.extras`.
        training: settings and validation figures.
        min_confidence: patterns with less are marked not indexed.
        temperature: logits are divided by it.
        log_odds: slope and offset of the confidence's log odds; with the temperature they make
            confidences as often right as they say.
    """

    network: "nn.Module"
    labels: OrientationLabels
    preprocess: PolarInput | CartesianInput
    recipe: PatternRecipe
    architecture: str
    model_args: dict[str, Any]
    extras: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    min_confidence: float = 0.0
    temperature: float = 1.0
    log_odds: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        require_calibration(self.min_confidence, self.temperature, self.log_odds)

    def with_min_confidence(self, min_confidence: float | None) -> "NetworkIndexer":
        """Return the indexer with another threshold; None keeps its own.

        Raises:
            SettingsError: not within 0 to 1.
        """
        return self if min_confidence is None else replace(self, min_confidence=min_confidence)

    @property
    def crystal(self) -> Crystal:
        """The crystal whose orientations it knows."""
        return self.labels.crystal

    @property
    def crystals(self) -> tuple[Crystal, ...]:
        """The one crystal, as the Indexer protocol has it."""
        return (self.crystal,)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    def to(self, device: str | torch.device) -> "NetworkIndexer":
        """Move the network to a device, as `torch.nn.Module.to` does, and return the indexer."""
        self.network.to(device)
        return self

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Return the n best orientations of each pattern.

        The score is the probability that an orientation is right, the reliability
        1 - second / first. Indexed is what is likelier one orientation than vacuum or amorphous
        material, and at least `min_confidence`. Further outputs are among the properties.

        Args:
            patterns: any non-negative intensities, shape (n, h, w).
            inv_angstrom_per_pixel: size of a pixel.

        Raises:
            ScanError: the frame shows less than half of what the network has learned to look at.
        """
        return self._indexed(*self._answers(_best, patterns, inv_angstrom_per_pixel))

    def class_confidences(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> np.ndarray:
        """Return the probability of each class, vacuum and amorphous last, (n, n_classes).

        Args:
            patterns: as `index` takes them.
            inv_angstrom_per_pixel: size of a pixel.
        """
        (found,) = self._answers(_of_classes, patterns, inv_angstrom_per_pixel)
        return found.numpy()

    def confidences(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> np.ndarray:
        """Return the probability of each of `labels.directions_deg`, over all in-plane bins.

        Args:
            patterns: as `index` takes them.
            inv_angstrom_per_pixel: size of a pixel.

        Returns:
            Shape (n, directions).
        """
        (found,) = self._answers(_of_directions, patterns, inv_angstrom_per_pixel)
        return found.numpy()

    def decide(self, confidences: np.ndarray) -> Indexed:
        """Return the n best orientations for given probabilities; further outputs are left out.

        Args:
            confidences: of the classes, shape (n, n_classes).
        """
        logits = torch.from_numpy(confidences).clamp_min(1e-30).log() * self.temperature
        return replace(self, extras=()).answers(logits)

    def answers(self, outputs: torch.Tensor) -> Indexed:
        """Return what the network's outputs mean, as `index` does.

        Args:
            outputs: of the network, on any device, shape (n, labels.n_classes + extras).
        """
        return self._indexed(*self._merged(self._likeliest(outputs)))

    def _likeliest(self, outputs: torch.Tensor) -> Likeliest:
        labels = self.labels
        return likeliest(outputs, labels.bins, len(labels.euler_deg), CONSIDERED, self.temperature)

    def _merged(self, found: Likeliest) -> Answers:
        return *self.labels.merged(found, N_BEST), found.extras.cpu()

    def _indexed(
        self,
        matrices: torch.Tensor,
        mass: torch.Tensor,
        other: torch.Tensor,
        extras: torch.Tensor,
    ) -> Indexed:
        mass, other = mass.numpy(), other.numpy()
        score = with_log_odds(mass, *self.log_odds).astype(np.float32)
        crystalline = mass[:, 0] > other.sum(axis=1)
        return Indexed(
            euler_deg=reduce_euler(euler_from_matrices(matrices.numpy()), self.crystal),
            score=score,
            reliability=1 - score[:, 1] / np.maximum(score[:, 0], np.float32(1e-30)),
            indexed=crystalline & (score[:, 0] >= np.float32(self.min_confidence)),
            properties={
                "vacuum": other[:, 0],
                "amorphous": other[:, 1],
                **properties(self.extras, extras),
            },
        )

    def _answers(
        self,
        answer: Callable[["NetworkIndexer", torch.Tensor], Answers],
        patterns: np.ndarray,
        pixel: float,
    ) -> Answers:
        """Return what `answer` makes of the network's inputs, batch by batch, joined on the CPU."""
        require_frame(patterns.shape[1:], pixel, 0.5 * self.preprocess.outer_inv_angstrom)
        on_cpu = self.device.type == "cpu"
        size = BATCH if on_cpu else ACCELERATOR_BATCH
        fast = replace(self, network=half_precision(self.network.eval()))

        @torch.inference_mode()
        def answered(part: np.ndarray) -> Answers:
            copied = torch.from_numpy(np.array(part, dtype=np.float32)).to(self.device)
            return tuple(t.cpu() for t in answer(fast, self.preprocess(copied, pixel)))

        # Without any, a blank one tells the shapes: not every network can take none.
        given = patterns if len(patterns) else np.zeros((1, *patterns.shape[1:]))
        parts = [given[start : start + size] for start in range(0, len(given), size)]
        made = side_by_side(answered, parts) if on_cpu else [answered(part) for part in parts]
        return tuple(torch.cat(column)[: len(patterns)] for column in zip(*made, strict=True))

    def save_pretrained(
        self, folder: str | Path, *, figures: bool = False, half: bool = False
    ) -> Path:
        """Write model.safetensors, labels.safetensors and config.json into a folder.

        timm loads the network from it as well: `create_model("local-dir:FOLDER", pretrained=True)`.
        README.md, the model card, is renewed as well, but what somebody edited in it stays.

        Args:
            folder: made where absent.
            figures: draw the card's pictures, which takes a second or two.
            half: store the weights in half precision, see `write_checkpoint`.

        Raises:
            OutputError: the folder cannot be written.
            SettingsError: a weight is beyond the range of half precision.
        """
        folder = Path(folder)
        write_checkpoint(folder, **vars(self), half=half)
        drawn = write_figures(folder, self) if figures else ()
        place = folder.name if folder.resolve().parent == SHIPPED else ModelFacts.location
        write_card(folder, replace(self._facts(), figures=drawn, location=place))
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
            model_args=self.model_args,
            extras=self.extras,
            temperature=self.temperature,
            log_odds=self.log_odds,
        )

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        *,
        crystal: Crystal | None = None,
        token: str | None = None,
        endpoint: str | None = None,
    ) -> "NetworkIndexer":
        """Load what `save_pretrained` wrote; every weight must be there and fit.

        Args:
            name: a folder, a model that comes with zoneaxis, as the default does, or "user/name" of
                the Hugging Face Hub, with "@revision" for a tag, branch or commit.
            crystal: that it must be of; any by default.
            token: of the Hub; by default that of HF_TOKEN or of `hf auth login`.
            endpoint: of the Hub; by default that of HF_ENDPOINT, or the public one.

        Raises:
            CheckpointError: no such model, no config, no safetensors weights (a pickle is never
                opened), a key missing or too many, another format or another crystal.
            HubError: the Hub cannot be reached, and its cache does not hold the model.
        """
        folder = find_pretrained(name, token=token, endpoint=endpoint)
        indexer = cls(**read_checkpoint(folder))
        if crystal is not None:
            require_crystal(indexer.crystal, crystal, name)
        return indexer

    def push_to_hub(self, repository: str, **settings: Any) -> Push:
        """Push the model to the Hugging Face Hub.

        Args:
            repository: "user/name"; made where absent.
            **settings: `private`, `tag`, `message`, `token`, `endpoint`, as
                `zoneaxis.models.publish.publish` has them.

        Raises:
            HubError: the Hub refuses the token or the name, or cannot be reached.
        """
        require_name(repository)
        with TemporaryDirectory() as folder:
            return publish(self.save_pretrained(folder, figures=True), repository, **settings)

    def export_onnx(self, path: str | Path) -> Path:
        """Write the network as ONNX: preprocessed patterns -> what `network` returns.

        Args:
            path: of the file; see `zoneaxis.models.export.export_onnx`.
        """
        return export_onnx(path, **vars(self))


def _best(indexer: NetworkIndexer, inputs: torch.Tensor) -> Answers:
    """Return what `NetworkIndexer._indexed` takes; not every network needs all scores for it."""
    if hasattr(indexer.network, "likeliest"):
        found = indexer.network.likeliest(inputs, CONSIDERED, indexer.temperature)
    else:
        found = indexer._likeliest(indexer.network(inputs))
    return indexer._merged(found)


def _of_classes(indexer: NetworkIndexer, inputs: torch.Tensor) -> Answers:
    """Return calibrated probabilities of all classes, float32, shape (b, n_classes)."""
    logits = indexer.network(inputs)[:, : indexer.labels.n_classes].float()
    return ((logits / indexer.temperature).softmax(dim=1),)


def _of_directions(indexer: NetworkIndexer, inputs: torch.Tensor) -> Answers:
    """Return calibrated probabilities of base classes, float32, shape (b, d)."""
    (found,), labels = _of_classes(indexer, inputs), indexer.labels
    return (found[:, : labels.n_orientations].unflatten(1, (-1, labels.bins)).sum(dim=2),)


def create_indexer(
    model: str,
    labels: OrientationLabels,
    recipe: PatternRecipe,
    *,
    head: str = "flat",
    extras: Sequence[str] = (),
) -> NetworkIndexer:
    """Return an untrained network from timm's registry with labels and preprocessing.

    Args:
        model: name of a network; any of timm's takes the pattern as a one-channel image.
        labels: decide the number of classes.
        recipe: of the data to train on; its optics decide where the direct beam ends.
        head: "flat", a score for each class, or "factored", the sum of those of its base class
            and of its bin; a polar network has a head of its own.
        extras: names of further outputs, of `zoneaxis.models.extras`.

    Raises:
        SettingsError: no such network, or one that does not fit the labels or the patterns.
    """
    architecture, arguments = network_arguments(model, labels, head, len(extras))
    network = create_network(architecture, labels.n_classes + len(extras), arguments)
    outer = 0.95 * min(recipe.frame_inv_angstrom, recipe.k_max_inv_angstrom)
    _, height, width = network.default_cfg["input_size"]
    if input_kind(network) == "polar":
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
    names = require_extras(extras, input_kind(network))
    return NetworkIndexer(network, labels, preprocess, recipe, architecture, arguments, names)
