"""`zoneaxis publish`: a data set on the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from zoneaxis.cli.terminal import say


def publish(
    folder: Annotated[Path, typer.Argument(help="Data set that `zoneaxis build` made.")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="Made where absent.")],
    private: Annotated[
        bool, typer.Option("--private", help="Let nobody else see it; refuses a public one.")
    ] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    check: Annotated[
        bool, typer.Option(help="Compare checksums before, not only sizes of files.")
    ] = True,
) -> None:
    """Push a data set to the Hugging Face Hub: only what changed; an edited card is kept.

    The token is that of `hf auth login` or of the variable HF_TOKEN.
    """
    from zoneaxis.dataset_builder.publish import publish as push

    done = push(folder, repository, private=private, message=message, check=check)
    say(f"{len(done.uploaded)} files uploaded, {len(done.removed)} old ones removed: {done.url}")
    say(f"datasets.load_dataset({repository!r})")
