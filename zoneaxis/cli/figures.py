"""Figures that commands write: where to, and how."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoneaxis.cli.terminal import say
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
FigureOut = Annotated[Path, typer.Option(help="Figure to write: .png, .svg or .pdf.")]


def require_figure_path(path: Path) -> Path:
    """Return a path that a figure can be written to; call it before a long computation.

    Raises:
        SettingsError: another suffix.
        OutputError: no writable place.
    """
    from zoneaxis.files import require_writable

    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{path}: the name of a figure ends in {', '.join(SUFFIXES)}.")
    return require_writable(path)


@contextmanager
def figure_to(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Yield an empty figure of a size in inches; write it in the end."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from zoneaxis.evaluation.figures.map_figures import STYLE
    from zoneaxis.files import atomic_path

    with rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary)
    say(f"Figure in {path}")
