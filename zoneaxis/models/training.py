"""Training a network on a data set: stream, augment, fit, measure, save; and go on where it was."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from zoneaxis.dataset_builder.recipe import PatternRecipe, read_recipe
from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import CheckpointError, SettingsError, TrainingError
from zoneaxis.files import require_writable
from zoneaxis.models.batch_statistics import BatchStatistics
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.objective import Objective
from zoneaxis.models.preprocessing import PolarInput
from zoneaxis.models.pretrained import require_crystal
from zoneaxis.models.run import NAME, Run
from zoneaxis.models.settings import TrainingSettings
from zoneaxis.models.templates import kinematic_templates
from zoneaxis.models.validation import Validation

Progress = Callable[[int, int, float], None]


def train(
    data: str | Path,
    settings: TrainingSettings | None = None,
    out: str | Path | None = None,
    start: NetworkIndexer | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> NetworkIndexer:
    """Train a network and return it as an indexer, with its figures on held-out patterns.

    `accelerate launch` starts it on several processes, CPUs or GPUs; they give the same network as
    one process does, up to rounding, as long as settings.passes stays the same.

    Args:
        data: folder that `build` made, or an fsspec URL such as hf://datasets/user/name.
        settings: network, labels, length; our own by default.
        out: folder of the trained model, of checkpoints after each epoch and of TensorBoard logs.
            A run that was interrupted goes on from its checkpoint. None keeps everything in
            memory.
        start: a model whose weights, labels and preprocessing training starts from, to fine-tune
            it; settings of network and labels are then without effect.
        workers: further processes of each, which read the data set ahead.
        progress: called after each step with (patterns since the last call, patterns in all,
            loss of the step), in the main process.

    Raises:
        DatasetError: not a data set.
        SettingsError: no such network, or one that does not fit labels, patterns or processes.
        CheckpointError: `out` holds another run, or `start` is of another crystal.
        TrainingError: the loss is no longer a number.
    """
    settings = settings or TrainingSettings()
    recipe = read_recipe(data)
    out = None if out is None else Path(out)
    accelerator = _accelerator(settings, out)
    with torch.random.fork_rng():  # the caller's random numbers stay as they were
        torch.manual_seed(settings.seed)
        indexer = _beginning(recipe, settings, start).to(accelerator.device)
        identity = _identity(indexer, settings, start)
        run = Run.begin(indexer.network, settings)
        if out is not None and run.resume(_checkpoint(out), identity) and progress:
            total = settings.steps * settings.batch_size
            progress(run.step * settings.batch_size, total, run.history[-1]["loss"])
        fitting = _Fitting(data, settings, indexer, run, accelerator, out, identity)
        fitting.go(workers, progress)
        trained = fitting.result(_history(settings, start))
    if out is not None and accelerator.is_main_process:
        trained.save_pretrained(out, figures=True)
        _checkpoint(out).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return trained


class _Fitting:
    """One run of the loop over the steps."""

    def __init__(
        self,
        data: str | Path,
        settings: TrainingSettings,
        indexer: NetworkIndexer,
        run: Run,
        accelerator: Accelerator,
        out: Path | None,
        identity: dict[str, Any],
    ) -> None:
        self.data, self.settings, self.run, self.out = data, settings, run, out
        self.indexer, self.accelerator, self.identity = indexer, accelerator, identity
        self.objective = Objective.of(indexer, settings, accelerator.device)
        self.validation = None
        if Validation.is_possible(data, settings):
            self.validation = Validation(data, self.objective, settings)
        self.statistics = BatchStatistics(run.network)
        self.network, self.optimizer = accelerator.prepare(run.network, run.optimizer)
        self.passes = settings.passes // accelerator.num_processes  # of this process
        if settings.passes % accelerator.num_processes:
            raise SettingsError(
                f"passes = {settings.passes} cannot be shared by {accelerator.num_processes} "
                "processes: make it a multiple of them (--passes)."
            )

    def go(self, workers: int, progress: Progress | None) -> None:
        """Take all steps that are left."""
        settings, run = self.settings, self.run
        batches = self._batches(workers)
        began = time.monotonic() - run.seconds
        losses, hits = [], []
        while run.step < settings.steps:
            loss, right = self._step(batches)
            losses.append(loss)
            hits.append(right)
            if progress and self.accelerator.is_main_process:
                progress(settings.batch_size, settings.steps * settings.batch_size, loss)
            if run.step % settings.epoch_steps == 0 or run.step == settings.steps:
                run.seconds = time.monotonic() - began
                self._end_epoch({"loss": np.mean(losses), "train_class_accuracy": np.mean(hits)})
                losses, hits = [], []

    def _batches(self, workers: int) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
        """Yield this process's parts of the batches, each with its number, for ever."""
        settings, accelerator = self.settings, self.accelerator
        stream = PatternStream(
            self.data,
            "train",
            batch_size=settings.batch_size // settings.passes,
            epochs=settings.steps * settings.passes,
            seed=settings.seed,
            config=settings.config,
            drop_last=True,
        )
        numbers = stream.numbers(
            self.run.step * self.passes, accelerator.process_index, accelerator.num_processes
        )
        # Worker processes are forked while torch may hold threads; they read and decode only.
        loader = DataLoader(
            stream, batch_size=None, sampler=numbers, num_workers=workers, collate_fn=_as_it_is
        )
        for number, rows in zip(numbers, loader, strict=False):
            yield number, self.objective.augmented(rows, number // stream.batches_per_epoch)

    def _step(self, batches: Iterator[tuple[int, dict[str, torch.Tensor]]]) -> tuple[float, float]:
        """Take an optimizer step; return the loss and the share of exact classes."""
        settings, run, accelerator = self.settings, self.run, self.accelerator
        self.network.train()
        self.statistics.start_step()
        totals = torch.zeros(3, device=accelerator.device)
        for part in range(self.passes):
            number, batch = next(batches)
            torch.manual_seed(hash((settings.seed, number)) % 2**63)  # of dropout
            last = part == self.passes - 1
            with nullcontext() if last else accelerator.no_sync(self.network):
                with accelerator.autocast():
                    output = self.objective.output(self.network, batch)
                loss = self.objective.loss(output, batch)
                accelerator.backward(loss / self.passes)
            self.statistics.end_pass()
            hits = self.objective.class_hits(output, batch)
            totals += torch.stack([loss.detach(), hits.sum(), torch.tensor(len(hits))])
        self.statistics.end_step(settings.passes, lambda tensor: accelerator.reduce(tensor, "sum"))
        loss, right, crystals = accelerator.reduce(totals, "sum").tolist()
        self._require_finite(loss)
        accelerator.clip_grad_norm_(self.network.parameters(), settings.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        run.step += 1
        if not isinstance(run.scheduler, ReduceLROnPlateau):
            run.scheduler.step_update(run.step)
        if run.average:
            run.average.update(run.network, step=run.step)
        return loss / settings.passes, right / max(crystals, 1)

    def _end_epoch(self, figures: Mapping[str, float]) -> None:
        """Measure, log and write a checkpoint, in the main process."""
        run, accelerator = self.run, self.accelerator
        images = run.step * self.settings.batch_size
        epoch = {"images": images, **{name: float(value) for name, value in figures.items()}}
        epoch["learning_rate"] = run.optimizer.param_groups[0]["lr"]
        if self.validation and accelerator.is_main_process:
            epoch |= self.validation.figures(self._indexer())
        shared = [epoch]
        broadcast_object_list(shared)  # the schedule needs the loss in every process
        epoch = shared[0]
        if isinstance(run.scheduler, ReduceLROnPlateau):
            run.scheduler.step(epoch.get("validation_loss", epoch["loss"]))
        run.history.append({**epoch, "seconds": run.seconds})
        if self.out is not None:
            accelerator.log({k: v for k, v in epoch.items() if k != "images"}, step=images)
            if accelerator.is_main_process:
                self._save()
        accelerator.wait_for_everyone()

    def _save(self) -> None:
        try:
            self.run.save(_checkpoint(self.out), self.identity)
        except TrainingError as error:
            raise TrainingError(f"{error}: {self._advice()}") from error

    def _require_finite(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise TrainingError(f"The loss is {loss} at step {self.run.step}: {self._advice()}")

    def _advice(self) -> str:
        text = "lower the learning rate."
        if self.out is not None and self.run.history:
            images = self.run.history[-1]["images"]
            text += f" {_checkpoint(self.out)} holds the last good state, after {images:,} images."
        return text

    def _indexer(self) -> NetworkIndexer:
        return replace(self.indexer, network=self.run.trained.eval())

    def result(self, training: dict[str, Any]) -> NetworkIndexer:
        """Return the trained network with its calibration and figures, on every process."""
        indexer = self._indexer()
        if self.validation and self.accelerator.is_main_process:
            indexer = self.validation.calibrated(indexer)
            training |= self.validation.summary(indexer)
        shared = [(indexer.temperature, indexer.min_confidence, training)]
        broadcast_object_list(shared)
        temperature, threshold, training = shared[0]
        self.accelerator.end_training()
        return replace(
            indexer.to("cpu"),
            temperature=temperature,
            min_confidence=threshold,
            training={**training, "history": self.run.history},
        )


def _as_it_is(rows: dict[str, Any]) -> dict[str, Any]:
    return rows


def _accelerator(settings: TrainingSettings, out: Path | None) -> Accelerator:
    """Return what runs the training; statistics are averaged by us, not copied from rank 0."""
    if out is not None:
        require_writable(_checkpoint(out))
        if (out / "config.json").exists():
            raise CheckpointError(
                f"{out} holds a trained model: name another folder, or remove it."
            )
    AcceleratorState._reset_state()  # of an earlier training; it would fix the precision for good
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        log_with=None if out is None else "tensorboard",
        project_dir=out,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if out is not None:
        accelerator.init_trackers("logs")
    return accelerator


def _beginning(
    recipe: PatternRecipe, settings: TrainingSettings, start: NetworkIndexer | None
) -> NetworkIndexer:
    """Return the indexer before the first step."""
    crystal = Crystal.from_dict(recipe.crystal)
    if start is not None:
        require_crystal(start.crystal, crystal, "What is to be fine-tuned")
        labels = replace(start.labels, crystal=crystal)  # perhaps another refinement of it
        return replace(start, network=deepcopy(start.network), recipe=recipe, labels=labels)
    if settings.label_step_deg is None:
        labels = OrientationLabels.of_recipe(recipe)
    else:
        labels = OrientationLabels.equispaced(crystal, settings.label_step_deg, settings.label_bins)
    indexer = create_indexer(
        settings.model, labels, recipe, head=settings.head, extras=settings.extras
    )
    if isinstance(indexer.preprocess, PolarInput):
        indexer.network.set_templates(_templates(indexer))
    return indexer


def _templates(indexer: NetworkIndexer) -> torch.Tensor:
    """Return kinematic templates, averaged over the precession angles of the data."""
    recipe = indexer.recipe
    parts = [
        kinematic_templates(
            indexer.labels, indexer.preprocess, recipe.optics(recipe.mean_convergence_mrad, angle)
        )
        for angle in recipe.typical_precession_deg
    ]
    return torch.stack(parts).mean(dim=0)


def _identity(
    indexer: NetworkIndexer, settings: TrainingSettings, start: NetworkIndexer | None
) -> dict[str, Any]:
    """Return what a run must have in common with the checkpoint that it takes up."""
    started = None if start is None else _digest(start.network)
    identity = {**asdict(settings), "data set": indexer.recipe.id, "start": started}
    return json.loads(json.dumps(identity))


def _digest(network: nn.Module) -> str:
    import hashlib

    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _history(settings: TrainingSettings, start: NetworkIndexer | None) -> dict[str, Any]:
    """Return the settings as a model's card and config show them."""
    values = asdict(settings)
    if start is not None:
        for name in ("head", "extras", "label_step_deg", "label_bins"):
            del values[name]
        values |= {"model": start.architecture, "fine_tuned_from": start.recipe.id}
    return values


def _checkpoint(out: Path) -> Path:
    return out / NAME
