"""Training a network on a data set: stream, augment, fit, measure, save; and go on where it was."""

import hashlib
import json
import re
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn

from zoneaxis.dataset_builder.recipe import PatternRecipe, read_recipe
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import CheckpointError, SettingsError
from zoneaxis.files import require_writable
from zoneaxis.models.fitting import Fitting, Progress
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import PolarInput
from zoneaxis.models.pretrained import require_crystal
from zoneaxis.models.run import NAME, Run
from zoneaxis.models.settings import TrainingSettings
from zoneaxis.models.templates import kinematic_templates

HUB = re.compile("hf://datasets/([^/]+/[^/@]+)")


def train(
    data: str | Path,
    settings: TrainingSettings | None = None,
    out: str | Path | None = None,
    start: str | Path | NetworkIndexer | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
    finish: bool = False,
) -> NetworkIndexer:
    """Train a network and return it as an indexer, with its figures on held-out patterns.

    `torchrun --nproc-per-node N` starts it on several processes, with a GPU each where there are
    any; they give the same network as one process does, up to rounding, as long as
    settings.passes stays the same.

    Args:
        data: folder that `build` made, or an fsspec URL such as hf://datasets/user/name.
        settings: network, labels, length; our own by default.
        out: folder of the trained model, of checkpoints after each epoch and of TensorBoard logs.
            A run that was interrupted goes on from its checkpoint. None keeps everything in
            memory.
        start: a model, or its name for `from_pretrained`, whose weights, labels and preprocessing
            training starts from, to fine-tune it; settings of network and labels are then
            without effect.
        workers: further processes of each, which read the data set ahead.
        progress: called after each step with (patterns since the last call, patterns in all,
            loss of the step), in the main process.
        finish: take no further step: make a model of what the checkpoint holds, which stays.

    Raises:
        DatasetError: not a data set.
        SettingsError: no such network, or one that does not fit labels, patterns or processes.
        CheckpointError: `out` holds another run, or none to finish, or `start` is of another
            crystal.
        TrainingError: the loss is no longer a number.
    """
    settings = settings or TrainingSettings()
    recipe = read_recipe(data)
    out = None if out is None else Path(out)
    checkpoint = None if out is None else _checkpoint(out)
    name = str(start) if isinstance(start, str | Path) else None
    start = start if name is None else NetworkIndexer.from_pretrained(start)
    accelerator = _accelerator(settings, out)
    if finish and not (checkpoint and checkpoint.is_file()):
        raise CheckpointError(f"{out}/{NAME} is not there: there is no training to finish.")
    with torch.random.fork_rng():  # the caller's random numbers stay as they were
        torch.manual_seed(settings.seed)
        indexer = _beginning(recipe, settings, start).to(accelerator.device)
        values = _values(settings, data, start, name)
        identity = _identity(indexer, settings, start)
        run = Run.begin(indexer.network, settings)
        if checkpoint and run.resume(checkpoint, identity) and progress:
            total = settings.steps * settings.batch_size
            progress(run.step * settings.batch_size, total, run.history[-1]["loss"])
        if checkpoint:
            accelerator.init_trackers("logs")
        fitting = Fitting(data, settings, indexer, run, accelerator, checkpoint, identity)
        if not finish:
            fitting.go(workers, progress)
        if run.step < settings.steps:
            seen = run.step * settings.batch_size
            values |= {"images": seen, "planned_images": settings.images}
        trained = fitting.result(values)
    if checkpoint and accelerator.is_main_process:
        _require_untrained(out)  # another training may have been quicker
        trained.save_pretrained(out, figures=True)
        if run.step == settings.steps:
            checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return trained


def _accelerator(settings: TrainingSettings, out: Path | None) -> Accelerator:
    """Return what runs the training.

    Precision is ours to switch: accelerate fixes it for as long as a program lives. So are the
    statistics of batch normalization, which are averaged, not copied from the first process.

    Raises:
        CheckpointError: there is a trained model.
        OutputError: the folder cannot be written.
        SettingsError: the processes cannot share the passes.
    """
    if out is not None:
        require_writable(_checkpoint(out))
        _require_untrained(out)
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="no",
        log_with=None if out is None else "tensorboard",
        project_dir=out,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if settings.passes % accelerator.num_processes:
        raise SettingsError(
            f"passes = {settings.passes} cannot be shared by {accelerator.num_processes} "
            "processes: make it a multiple of them (--passes)."
        )
    return accelerator


def _require_untrained(out: Path) -> None:
    if (out / "config.json").exists():
        raise CheckpointError(f"{out} holds a trained model: name another folder, or remove it.")


def _beginning(
    recipe: PatternRecipe, settings: TrainingSettings, start: NetworkIndexer | None
) -> NetworkIndexer:
    """Return the indexer before the first step."""
    crystal = Crystal.from_dict(recipe.crystal)
    if start is not None:
        require_crystal(start.crystal, crystal, "What is to be fine-tuned")
        reach = start.preprocess.outer_inv_angstrom
        if recipe.frame_inv_angstrom < reach / 2:
            raise SettingsError(
                f"The patterns reach {recipe.frame_inv_angstrom:.3f} 1/Angstrom, the model looks "
                f"as far as {reach:.3f}: fine-tune it on patterns that reach half of that at least."
            )
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
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _values(
    settings: TrainingSettings,
    data: str | Path,
    start: NetworkIndexer | None,
    name: str | None,
) -> dict[str, Any]:
    """Return the settings as a model's card and config show them, and where it comes from."""
    values = asdict(settings)
    if start is not None:
        for without_effect in ("head", "extras", "label_step_deg", "label_bins"):
            del values[without_effect]
        origin = " ".join(filter(None, (name, f"(weights {_digest(start.network)})")))
        values |= {"model": start.architecture, "fine_tuned_from": origin}
    if on_hub := HUB.match(str(data)):
        values["dataset_repository"] = on_hub[1]
    return values


def _checkpoint(out: Path) -> Path:
    return out / NAME
