"""How a network is trained: everything that changes the result, apart from the data set."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from zoneaxis.dataset_builder.recipe import PatternRecipe
from zoneaxis.dataset_builder.schema import DISKS, PATTERNS
from zoneaxis.dataset_builder.transforms import Augmentation
from zoneaxis.errors import SettingsError

PRECISIONS = ("no", "bf16")
PLATEAU = "plateau"
SCHEDULES = ("cosine", "tanh", PLATEAU)
LEAST_SIGMA_DEG = 0.05  # narrower soft labels are 0 everywhere


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        model: name in timm's registry.
        head: "flat", one output a class, or "factored", direction and in-plane angle apart;
            without meaning for polar networks.
        extras: further outputs, of `zoneaxis.models.extras`.
        config: "patterns", the images of the data set, or "disks", drawn anew for each batch with
            a semi-angle of convergence of its own.
        images: augmented patterns seen in all; the last batch is whole or left out, the first
            always seen.
        epoch_images: after so many patterns figures are measured and a checkpoint is written.
        batch_size: patterns a step.
        passes: parts in which a batch goes through the network. Processes share them, so that one
            process and several give the same result.
        optimizer: of timm.
        learning_rate: its largest value.
        schedule: of timm, by steps, "cosine" or "tanh"; or "plateau", which halves the
            rate when the validation loss has not fallen for `patience` epochs.
        patience: epochs.
        weight_decay: of the optimizer, for matrices.
        clip_grad: largest norm of all gradients together; 0 for no limit.
        average: share that a moving average of the weights keeps at each step, lower at the
            beginning; 0 for none.
        mixed_precision: "no" or "bf16".
        label_step_deg: spacing of the direction classes; None for the data set's own classes,
            which are the paper's.
        label_bins: in-plane classes over 360 degrees, where label_step_deg is given.
        label_sigma_deg: width of the soft labels; 0 for the nearest class alone.
        validation_patterns: held-out patterns that figures are measured on.
        augmentation: what specimen and camera add.
        seed: of initialization, order, augmentation and dropout.
    """

    model: str = "zoneaxis_polar_small"
    head: str = "flat"
    extras: tuple[str, ...] = ()
    config: str = PATTERNS
    images: int = 20_000
    epoch_images: int = 4096
    batch_size: int = 64
    passes: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    patience: int = 20
    weight_decay: float = 0.02
    clip_grad: float = 1.0
    average: float = 0.99
    mixed_precision: str = "no"
    label_step_deg: float | None = 2.0
    label_bins: int = 72
    label_sigma_deg: float = 1.2
    validation_patterns: int = 512
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        whole = ("images", "epoch_images", "batch_size", "passes", "patience", "label_bins")
        for name in (*whole, "validation_patterns", "seed"):
            value, least = getattr(self, name), 0 if name == "seed" else 1
            if type(value) is not int or value < least:
                raise SettingsError(f"{name} = {value}: expected a whole number from {least} on.")
        for name in ("learning_rate", "label_step_deg"):
            value = getattr(self, name)
            if not (name == "label_step_deg" and value is None) and not 0 < value < math.inf:
                raise SettingsError(f"{name} = {value}: expected more than 0.")
        for name in ("weight_decay", "clip_grad"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected 0 or more.")
        sigma = self.label_sigma_deg
        if sigma != 0 and not LEAST_SIGMA_DEG <= sigma < math.inf:
            raise SettingsError(
                f"label_sigma_deg = {sigma}: expected {LEAST_SIGMA_DEG} or more, or 0."
            )
        if not 0 <= self.average < 1:
            raise SettingsError(f"average = {self.average}: expected 0 to less than 1.")
        choices = {
            "config": (PATTERNS, DISKS),
            "mixed_precision": PRECISIONS,
            "schedule": SCHEDULES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"{name} = {getattr(self, name)!r}: expected {' or '.join(known)}."
                )
        if self.batch_size % self.passes:
            raise SettingsError(
                f"batch_size = {self.batch_size} cannot be split into {self.passes} passes: make "
                "it a multiple of them."
            )

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings that a trained model was trained with.

        Args:
            training: of the model; what is no setting of these is left out.
        """
        values = {f.name: training[f.name] for f in fields(cls) if f.name in training}
        augmentation = {name: _pair(value) for name, value in values["augmentation"].items()}
        values |= {"augmentation": Augmentation(**augmentation)}
        values["extras"] = tuple(values.get("extras", ()))
        return cls(**values)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return max(1, self.images // self.batch_size)

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps between two checkpoints."""
        return max(1, self.epoch_images // self.batch_size)


def _pair(value: Any) -> Any:
    """Return a range that was a list in JSON."""
    return tuple(value) if isinstance(value, list) else value


def training_preset(name: str, recipe: PatternRecipe) -> TrainingSettings:
    """Return settings by name.

    Args:
        name: "modern", our own; or "paper", the paper's networks 2 and 3: 900 epochs of 16,384
            images, the learning rate halved after 20 epochs without a lower validation loss, one
            class an orientation, the paper's augmentations. What it does not print is ours: Adam
            at 1e-3, batches of 64. Its patterns were simulated at each in-plane angle; ours are
            turned by whole steps, which gives the same patterns. One thing differs: of its first
            augmentation, the drawn range [1, m] decides which faint pixels are lost, but the
            logarithm itself is that of `CartesianInput`, over one range for all patterns, so that
            a scan needs no m.
        recipe: of the data set, for the step of its in-plane classes.

    Raises:
        SettingsError: no such name.

    Source of "paper": Scheunert et al., npj Comput. Mater. (2026).
    """
    if name not in PRESETS:
        raise SettingsError(f"No training preset {name!r}: choose {' or '.join(PRESETS)}.")
    step = getattr(recipe, "phi1_step_deg", 0.0)
    augmentation = PRESETS[name].get("augmentation")
    if augmentation is None:
        return TrainingSettings(**PRESETS[name])
    return TrainingSettings(
        **{**PRESETS[name], "augmentation": replace(augmentation, rotate_step_deg=step)}
    )


PRESETS: dict[str, dict[str, Any]] = {
    "modern": {},
    "paper": {
        "model": "zoneaxis_cnn_3200",
        "images": 900 * 16_384,
        "epoch_images": 16_384,
        "optimizer": "adam",
        "schedule": PLATEAU,
        "weight_decay": 0.0,
        "clip_grad": 0.0,
        "average": 0.0,
        "label_step_deg": None,
        "label_sigma_deg": 0.0,
        "augmentation": replace(Augmentation.paper(), log_image=False, rotate=True),
    },
}
