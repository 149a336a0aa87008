"""The state of a training run, and its checkpoint: one safetensors file that training goes on from.

Order, augmentation and dropout are functions of the step, so that weights, optimizer and schedule
are all there is to keep.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from zoneaxis.errors import CheckpointError, SettingsError, TrainingError
from zoneaxis.files import atomic_path
from zoneaxis.models.checkpoint import read_tensors
from zoneaxis.models.settings import PLATEAU, TrainingSettings

FUSED = ("adam", "adamw")  # in torch: no copies of the gradients, which fills a small machine

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

NAME = "checkpoint.safetensors"


@dataclass(eq=False)
class Run:
    """What changes while a network is trained.

    Attributes:
        network: trained in place.
        average: moving average of its weights, or None.
        optimizer: of timm.
        scheduler: of timm, by steps; or torch's ReduceLROnPlateau, by epochs.
        step: optimizer steps done.
        seconds: spent so far.
        history: figures of each epoch.
    """

    network: nn.Module
    average: "ModelEmaV3 | None"
    optimizer: torch.optim.Optimizer
    scheduler: Any
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, network: nn.Module, settings: TrainingSettings) -> "Run":
        """Return the state before the first step.

        Raises:
            SettingsError: timm knows no such optimizer.
        """
        from timm.optim import create_optimizer_v2
        from timm.utils import ModelEmaV3

        average = None
        if settings.average:
            # At step n the average keeps n / (n + 5) at most: it follows quickly at first.
            warm = {"use_warmup": True, "warmup_gamma": 5.0, "warmup_power": 1.0}
            average = ModelEmaV3(network, decay=settings.average, **warm)
        try:
            optimizer = create_optimizer_v2(
                network,
                opt=settings.optimizer,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                **({"fused": True} if settings.optimizer in FUSED else {}),
            )
        except (ValueError, AssertionError, TypeError) as error:
            raise SettingsError(f"optimizer = {settings.optimizer!r}: {error}.") from error
        return cls(network, average, optimizer, _scheduler(optimizer, settings))

    @property
    def trained(self) -> nn.Module:
        """The network to use: the average, where there is one."""
        return self.average.module if self.average else self.network

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write a checkpoint.

        Args:
            path: of the file.
            identity: of the run, by which `resume` knows it.

        Raises:
            TrainingError: a weight is not finite; the file that is there stays.
            OutputError: the file cannot be written.
        """
        from safetensors.torch import save_file

        optimizer = self.optimizer.state_dict()
        tensors, numbers = _split(optimizer["state"])
        tensors |= _prefixed("network.", self.network.state_dict())
        if self.average:
            tensors |= _prefixed("average.", self.average.module.state_dict())
        if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise TrainingError(f"{broken[0]} is not finite after step {self.step}")
        state = {
            "identity": identity,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "scheduler": self._plateau(),
            "groups": optimizer["param_groups"],
            "numbers": numbers,
        }
        with atomic_path(path) as temporary:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()},
                temporary,
                metadata={"state": json.dumps(state)},
            )

    def resume(self, path: Path, identity: dict[str, Any]) -> bool:
        """Take up a checkpoint; return whether there was one.

        Raises:
            CheckpointError: it is damaged, or of another run.
        """
        from safetensors import safe_open

        if not path.exists():
            return False
        try:
            tensors = read_tensors(path)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is damaged: remove it to start again.") from error
        try:
            with safe_open(path, "pt") as file:
                state = json.loads(file.metadata()["state"])
            _require_same(path, state["identity"], identity)
            self.network.load_state_dict(_of("network.", tensors))
            if self.average:
                self.average.module.load_state_dict(_of("average.", tensors))
            moments = _joined(_of("optimizer.", tensors), state["numbers"])
            self.optimizer.load_state_dict({"state": moments, "param_groups": state["groups"]})
            if state["scheduler"] is not None:
                self.scheduler.load_state_dict(state["scheduler"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.history = state["history"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} cannot be taken up ({error!r}): remove it to start again."
            ) from error
        return True

    def _plateau(self) -> dict[str, Any] | None:
        """Return the state of a schedule that has one; timm's are functions of the step."""
        plateau = isinstance(self.scheduler, ReduceLROnPlateau)
        return self.scheduler.state_dict() if plateau else None


def _scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    from timm.scheduler import create_scheduler_v2

    if settings.schedule == PLATEAU:
        # torch counts the epochs beyond its patience.
        patience = settings.patience - 1
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=0)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=settings.schedule,
        num_epochs=settings.steps,
        warmup_epochs=max(1, min(100, settings.steps // 10)),
        warmup_lr=0.01 * settings.learning_rate,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return scheduler


def _require_same(path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{path} is of another run ({name} = {there.get(name)} there, {here.get(name)} "
                "here): give its settings to go on with it, or remove it, or name another folder."
            )


def _split(states: dict[int, dict[str, Any]]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return an optimizer's tensors and its plain numbers, both by "optimizer.NUMBER.NAME"."""
    tensors, numbers = {}, {}
    for number, values in states.items():
        for name, value in values.items():
            kind = tensors if isinstance(value, torch.Tensor) else numbers
            kind[f"optimizer.{number}.{name}"] = value
    return tensors, numbers


def _joined(tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> dict[int, dict[str, Any]]:
    states: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **_of("optimizer.", numbers)}.items():
        number, name = key.split(".", 1)
        states.setdefault(int(number), {})[name] = value
    return states


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _of(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
