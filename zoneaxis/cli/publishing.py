"""`zoneaxis publish` and `export`: data sets and models for others."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.options import MODEL
from zoneaxis.cli.terminal import say
from zoneaxis.errors import SettingsError


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
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
) -> None:
    """Write a network as ONNX, for programs without torch; needs the extra onnx of the package.

    Its metadata "zoneaxis" tell how patterns are prepared and what the outputs mean.
    """
    from zoneaxis.files import require_writable
    from zoneaxis.models.indexer import NetworkIndexer

    if out.suffix != ".onnx":
        raise SettingsError(f"{out}: ONNX files end in .onnx.")
    require_writable(out)
    size = NetworkIndexer.from_pretrained(model).export_onnx(out).stat().st_size
    say(f"{out}, {size / 1e6:.1f} MB")
