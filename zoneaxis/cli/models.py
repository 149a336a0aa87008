"""`zoneaxis train`: a network from a data set."""

import os
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from zoneaxis.cli.options import Seed
from zoneaxis.cli.terminal import progress_bar, say

UNSET = None  # takes the preset's value
OF_A_NEW_NETWORK = ("model", "head", "extra", "label_step_deg", "label_bins")


def train(
    data: Annotated[
        str, typer.Option(help="Folder that `zoneaxis build` made, or user/name on the Hub.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the trained model, its checkpoints and logs.")
    ],
    start: Annotated[
        str | None,
        typer.Option("--from", help="Model to fine-tune: a folder, or user/name on the Hub."),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="modern (ours, whose values are shown below) or paper.")
    ] = "modern",
    model: Annotated[
        str | None,
        typer.Option(
            help="Network of zoneaxis, or any of timm's.", show_default="zoneaxis_polar_small"
        ),
    ] = UNSET,
    head: Annotated[
        str | None, typer.Option(help="flat or factored.", show_default="flat")
    ] = UNSET,
    extra: Annotated[
        list[str] | None, typer.Option(help="Further output, such as thickness_nm; repeatable.")
    ] = UNSET,
    images: Annotated[
        int | None, typer.Option(help="Augmented patterns to learn from.", show_default="20000")
    ] = UNSET,
    epoch_images: Annotated[
        int | None, typer.Option(help="Patterns between two checkpoints.", show_default="4096")
    ] = UNSET,
    batch_size: Annotated[
        int | None, typer.Option(help="Patterns a step.", show_default="64")
    ] = UNSET,
    passes: Annotated[
        int | None, typer.Option(help="Parts of a batch, which processes share.", show_default="1")
    ] = UNSET,
    optimizer: Annotated[str | None, typer.Option(help="Of timm.", show_default="adamw")] = UNSET,
    learning_rate: Annotated[
        float | None, typer.Option(help="Largest.", show_default="0.001")
    ] = UNSET,
    schedule: Annotated[
        str | None, typer.Option(help="Of timm, or plateau.", show_default="cosine")
    ] = UNSET,
    patience: Annotated[
        int | None,
        typer.Option(help="Epochs on a plateau before the rate is halved.", show_default="20"),
    ] = UNSET,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of the optimizer.", show_default="0.02")
    ] = UNSET,
    average: Annotated[
        float | None,
        typer.Option(
            help="Share that a moving average of weights keeps; 0: none.", show_default="0.99"
        ),
    ] = UNSET,
    mixed_precision: Annotated[
        str | None, typer.Option(help="no or bf16.", show_default="no")
    ] = UNSET,
    label_step_deg: Annotated[
        float | None,
        typer.Option(
            help="Spacing of direction classes; 0: the data set's own.", show_default="2.0"
        ),
    ] = UNSET,
    label_bins: Annotated[
        int | None, typer.Option(help="In-plane classes.", show_default="72")
    ] = UNSET,
    label_sigma_deg: Annotated[
        float | None,
        typer.Option(help="Width of soft labels; 0: the nearest class.", show_default="1.2"),
    ] = UNSET,
    config: Annotated[
        str | None,
        typer.Option(help="patterns, or disks drawn anew for each batch.", show_default="patterns"),
    ] = UNSET,
    validation_patterns: Annotated[
        int | None, typer.Option(help="Held-out patterns to measure on.", show_default="512")
    ] = UNSET,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read ahead.")] = 0,
    seed: Seed = 0,
    finish: Annotated[
        bool, typer.Option("--finish", help="Train no further: make a model of the checkpoint.")
    ] = False,
) -> None:
    """Train a network on a data set, with augmentations drawn while streaming.

    Killed, it goes on from its last checkpoint when run again. Several processes, with a GPU each
    where there are any: `torchrun --nproc-per-node 2 -m zoneaxis train --passes 2 ...`
    """
    given = {name: value for name, value in locals().items() if value is not UNSET}
    from zoneaxis.models.run import NAME
    from zoneaxis.models.training import train as train_model

    data = _place(data)
    settings = _settings(data, preset, given)
    speaks = os.environ.get("RANK", "0") == "0"  # torchrun's; the first process alone does
    if speaks and (out / NAME).exists():
        say(f"Going on from {out / NAME}")
    with progress_bar("training", "patterns", "loss") if speaks else nullcontext() as advance:
        indexer = train_model(
            data, settings, out, start, workers=workers, progress=advance, finish=finish
        )
    if not speaks:
        return
    for name, value in indexer.training.items():
        if name.startswith("validation"):
            say(f"{name.replace('_', ' ')}: {value:.3g}")
    say(f"Model in {out}: zoneaxis index SCAN --model {out} --out map.ang")


def _place(data: str) -> str:
    """Return a folder, or where user/name is on the Hub."""
    is_name = re.fullmatch(r"[\w.-]+/[\w.-]+", data) and not Path(data).exists()
    return f"hf://datasets/{data}" if is_name else data


def _settings(data: str, preset: str, given: dict[str, Any]) -> Any:
    """Return the preset's settings with the options that were given.

    Raises:
        SettingsError: no such preset, a value out of range, or an option without effect.
    """
    from zoneaxis.dataset_builder.recipe import read_recipe
    from zoneaxis.errors import SettingsError
    from zoneaxis.models.settings import training_preset

    vain = [name for name in OF_A_NEW_NETWORK if name in given and "start" in given]
    if vain:
        raise SettingsError(
            f"--{vain[0].replace('_', '-')} has no effect with --from, which brings network and "
            "labels: leave it out."
        )
    settings = training_preset(preset, read_recipe(data))
    changes = {name: value for name, value in given.items() if name in vars(settings)}
    if "extra" in given:
        changes["extras"] = tuple(given["extra"])
    if changes.get("label_step_deg") == 0:
        changes["label_step_deg"] = None
    return replace(settings, **changes)
