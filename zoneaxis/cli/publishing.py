"""`zoneaxis publish` and `export`: data sets and models for others."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoneaxis.cli.options import MODEL
from zoneaxis.cli.terminal import say
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    from zoneaxis.models.indexer import NetworkIndexer

OTHER_KINDS = {".pt", ".pth", ".bin", ".safetensors", ".json"}


def publish(
    folder: Annotated[Path, typer.Argument(help="Data set or model that zoneaxis made.")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="Made where absent.")],
    private: Annotated[
        bool, typer.Option("--private", help="Let nobody else see it; refuses a public one.")
    ] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    check: Annotated[
        bool,
        typer.Option(help="Compare checksums of a data set before, not only sizes of files."),
    ] = True,
) -> None:
    """Push a data set or model to the Hugging Face Hub: only what changed; an edited card is kept.

    The token is that of `hf auth login` or of the variable HF_TOKEN.
    """
    if (folder / "recipe.json").is_file():
        from zoneaxis.dataset_builder.publish import publish as push

        done = push(folder, repository, private=private, message=message, check=check)
        load = f"datasets.load_dataset({repository!r})"
    elif (folder / "config.json").is_file():
        from zoneaxis.models.publish import publish as push

        done = push(folder, repository, private=private, message=message)
        load = f"zoneaxis index SCAN --model {repository} --out map.ang"
    else:
        raise SettingsError(
            f"{folder} holds neither recipe.json of a data set nor config.json of a model: name a "
            "folder that `zoneaxis build` or `zoneaxis train` made."
        )
    say(f"{len(done.uploaded)} files uploaded, {len(done.removed)} old ones removed: {done.url}")
    say(load)


def export(
    model: Annotated[str, typer.Argument(help=MODEL)],
    out: Annotated[Path, typer.Option(help="ONNX file, or a folder for a model of zoneaxis.")],
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in half precision: half of the space.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Data set of its training: calibrate and measure the model again."),
    ] = None,
    accuracy: Annotated[
        Path | None, typer.Option(help="Figures for the card, what bench_accuracy.py wrote.")
    ] = None,
) -> None:
    """Write a network as ONNX, for programs without torch, or a model's folder anew.

    ONNX needs the extra onnx of the package; its metadata "zoneaxis" tell how patterns are prepared
    and what the outputs mean. A folder may be smaller, calibrated again, or know more figures.
    """
    from zoneaxis.files import require_writable
    from zoneaxis.models.indexer import NetworkIndexer

    as_onnx = out.suffix == ".onnx"
    if as_onnx and (half or data or accuracy):
        raise SettingsError(
            "--half, --data and --accuracy are for folders, which ONNX is not: leave them out."
        )
    if not as_onnx and (out.suffix in OTHER_KINDS or out.is_file()):
        raise SettingsError(f"{out}: ONNX files end in .onnx, other models are folders.")
    require_writable(out if as_onnx else out / "config.json")
    indexer = NetworkIndexer.from_pretrained(model)
    if as_onnx:
        size = indexer.export_onnx(out).stat().st_size
    else:
        indexer = _renewed(indexer, data, accuracy)
        indexer.save_pretrained(out, figures=True, half=half)
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    say(f"{out}, {size / 1e6:.1f} MB")


def _renewed(
    indexer: "NetworkIndexer", data: str | None, accuracy: Path | None
) -> "NetworkIndexer":
    """Return a model as it is to be written."""
    from zoneaxis.models.validation import recalibrated
    from zoneaxis.models.yardstick import read_accuracy

    if accuracy is not None:
        training = {**indexer.training, "accuracy": read_accuracy(accuracy)}
        indexer = replace(indexer, training=training)
    return indexer if data is None else recalibrated(indexer, data)
