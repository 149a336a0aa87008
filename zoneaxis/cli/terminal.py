"""What the commands print: messages, progress, warnings and errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(emoji=False)  # "host:x:" is an address


def say(message: str) -> None:
    """Print a line as it is: paths with brackets, and lines longer than the terminal, too."""
    console.print(escape(message), highlight=False, soft_wrap=True)


def complain(kind: str, style: str, message: object) -> None:
    """Print "kind: message" to the error stream, on one line."""
    text = " ".join(str(message).split())
    Console(stderr=True, emoji=False).print(
        f"[{style}]{kind}:[/] {escape(text)}", highlight=False, soft_wrap=True
    )


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Stand in for `warnings.showwarning`: no file name, no line of code."""
    complain("Warning", "yellow", message)


class _Rate(ProgressColumn):
    """Things done per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress_bar(
    doing: str, things: str, shown: str = "", kept: str = "no file is left half written"
) -> Iterator[Callable[..., None]]:
    """Yield advance(done, total, value) that drives a bar with rate and remaining time.

    Args:
        doing: what goes on, "training".
        things: what is counted, "patterns".
        shown: what the value at the end of the line is, "loss".
        kept: after Ctrl-C, what becomes of the things that are done.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(things),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(doing, total=None, value="")

        def advance(done: int, total: int, value: float | None = None) -> None:
            text = "" if value is None else f"{shown} {value:.3f}"
            bars.update(task, advance=done, total=total, value=text)

        try:
            yield advance
        except KeyboardInterrupt:
            bars.stop()
            done, total = bars.tasks[task].completed, bars.tasks[task].total
            where = "" if total is None else f" at {done:,.0f} of {total:,.0f} {things}"
            complain("Interrupted", "yellow", f"{doing} stopped{where}; {kept}.")
            raise
