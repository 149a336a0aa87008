"""The loop over the steps of a training run."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.errors import SettingsError, TrainingError
from zoneaxis.models.batch_statistics import BatchStatistics
from zoneaxis.models.checkpoint import CALIBRATION
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.labels import CRYSTAL
from zoneaxis.models.objective import Objective
from zoneaxis.models.run import Run
from zoneaxis.models.settings import TrainingSettings
from zoneaxis.models.validation import Validation

Progress = Callable[[int, int, float], None]


class Fitting:
    """One training run: takes the steps that are left, measures, logs and writes checkpoints."""

    def __init__(
        self,
        data: str | Path,
        settings: TrainingSettings,
        indexer: NetworkIndexer,
        run: Run,
        accelerator: Accelerator,
        checkpoint: Path | None,
        identity: dict[str, Any],
    ) -> None:
        self.data, self.settings, self.run, self.checkpoint = data, settings, run, checkpoint
        self.indexer, self.accelerator, self.identity = indexer, accelerator, identity
        self.objective = Objective.of(indexer, settings, accelerator.device)
        self.passes = settings.passes // accelerator.num_processes  # of this process
        self.validation = None
        if accelerator.is_main_process and Validation.is_possible(data, settings):
            self.validation = Validation(data, self.objective, settings)
        with warnings.catch_warnings():  # its successor is not in older versions of torch
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            self.network, self.optimizer = accelerator.prepare(run.network, run.optimizer)
        self.statistics = BatchStatistics(run.network)

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
                inputs = self.objective.inputs(batch)
                with self._precision():
                    output = self.network(inputs)
                output = output.float()
                loss = self.objective.loss(output, batch)
                accelerator.backward(loss / self.passes)
            self.statistics.end_pass()
            hits = self.objective.class_hits(output, batch)
            crystals = (batch["kind"] == CRYSTAL).sum()
            totals += torch.stack([loss.detach(), hits.sum(), crystals])
        self.statistics.end_step(settings.passes, lambda tensor: accelerator.reduce(tensor, "sum"))
        loss, right, crystals = accelerator.reduce(totals, "sum").tolist()
        self._require_finite(loss)
        if settings.clip_grad:
            accelerator.clip_grad_norm_(self.network.parameters(), settings.clip_grad)
        try:
            self.optimizer.step()
        except (RuntimeError, TypeError) as error:
            raise SettingsError(
                f"optimizer = {settings.optimizer!r} cannot be used here: {error}."
            ) from error
        self.optimizer.zero_grad()
        run.step += 1
        if not isinstance(run.scheduler, ReduceLROnPlateau):
            run.scheduler.step_update(run.step)
        if run.average:
            run.average.update(run.network, step=run.step)
        return loss / settings.passes, right / max(crystals, 1)

    def _precision(self) -> torch.autocast:
        half = self.settings.mixed_precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=half)

    def _end_epoch(self, figures: Mapping[str, float]) -> None:
        """Measure, log and write a checkpoint, in the main process."""
        run, accelerator = self.run, self.accelerator
        images = run.step * self.settings.batch_size
        epoch = {"images": images, **{name: float(value) for name, value in figures.items()}}
        epoch["learning_rate"] = run.optimizer.param_groups[0]["lr"]
        if self.validation:
            epoch |= self.validation.figures(self._indexer())
        shared = [epoch]
        broadcast_object_list(shared)  # the schedule needs the loss in every process
        epoch = shared[0]
        if isinstance(run.scheduler, ReduceLROnPlateau):
            run.scheduler.step(epoch.get("validation_loss", epoch["loss"]))
        run.history.append({**epoch, "seconds": run.seconds})
        if self.checkpoint:
            accelerator.log({k: v for k, v in epoch.items() if k != "images"}, step=images)
            if accelerator.is_main_process:
                self._save()
        accelerator.wait_for_everyone()

    def _save(self) -> None:
        try:
            self.run.save(self.checkpoint, self.identity)
        except TrainingError as error:
            raise TrainingError(f"{error}: {self._advice()}") from error

    def _require_finite(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise TrainingError(f"The loss is {loss} at step {self.run.step}: {self._advice()}")

    def _advice(self) -> str:
        text = "lower the learning rate."
        if self.checkpoint and self.run.history:
            images = self.run.history[-1]["images"]
            text += f" {self.checkpoint} holds the last good state, after {images:,} images; "
            text += "as it goes on with the same settings only, name another folder for others."
        return text

    def _indexer(self) -> NetworkIndexer:
        return replace(self.indexer, network=self.run.trained)

    def result(self, training: dict[str, Any]) -> NetworkIndexer:
        """Return the trained network with its calibration and figures, on every process."""
        indexer = self._indexer()
        if self.validation:
            indexer = self.validation.calibrated(indexer)
            training |= self.validation.summary(indexer)
        shared = [({name: getattr(indexer, name) for name in CALIBRATION}, training)]
        broadcast_object_list(shared)
        calibration, training = shared[0]
        training = {**training, "history": self.run.history}
        return replace(indexer.to("cpu"), training=training, **calibration)


def _as_it_is(rows: dict[str, Any]) -> dict[str, Any]:
    return rows
