"""`zoneaxis train`: a network from a data set."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.options import Seed
from zoneaxis.cli.terminal import progress_bar, say


def train(
    data: Annotated[Path, typer.Option(help="Folder that `zoneaxis build` made.")],
    out: Annotated[Path, typer.Option(help="Folder of the trained model; written at the end.")],
    model: Annotated[
        str, typer.Option(help="Network in timm's registry.")
    ] = "zoneaxis_polar_small",
    images: Annotated[int, typer.Option(help="Augmented patterns to learn from.")] = 20_000,
    batch_size: Annotated[int, typer.Option(help="Patterns a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine.")] = 1e-3,
    label_step_deg: Annotated[float, typer.Option(help="Spacing of direction classes.")] = 2.0,
    seed: Seed = 0,
) -> None:
    """Train a network on a data set, with augmentations drawn while streaming."""
    from zoneaxis.files import require_writable
    from zoneaxis.models.training import TrainingSettings
    from zoneaxis.models.training import train as train_model

    require_writable(out / "config.json")
    settings = TrainingSettings(
        model=model,
        images=images,
        batch_size=batch_size,
        learning_rate=learning_rate,
        label_step_deg=label_step_deg,
        seed=seed,
    )
    with progress_bar("training", "patterns", "loss") as advance:
        indexer = train_model(data, settings, progress=advance)
    indexer.save_pretrained(out)
    for name, value in indexer.training.items():
        if name.startswith("validation"):
            say(f"{name.replace('_', ' ')}: {value:.3g}")
    say(f"Model in {out}: zoneaxis index SCAN --model {out} --out map.ang")
