"""The tables of the report: the rich tables that the terminal prints, as plain text for HTML."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoneaxis.errors import MapError
from zoneaxis.evaluation.boundaries import Boundaries
from zoneaxis.evaluation.breakdown import BREAKDOWNS, break_down
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.grain_matching import match_grains
from zoneaxis.evaluation.grains import Grains
from zoneaxis.evaluation.thresholds import Threshold, choose_threshold
from zoneaxis.scans.orientation_map import OrientationMap

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ReportTable:
    """A table as the template wants it.

    Attributes:
        title: what is counted.
        heads: of the columns.
        rows: cells, as many as heads.
        caption: what a reader has to know; may be empty.
        left: which columns hold words, not numbers.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    left: tuple[bool, ...]


def metrics_table(comparison: Comparison, names: tuple[str, str]) -> ReportTable:
    """Return the metrics of all points, with what the map and the reference are called."""
    from rich.markup import escape

    return plain(comparison.table(tuple(escape(name) for name in names)))


def breakdown_tables(
    comparison: Comparison, maps: tuple[OrientationMap, OrientationMap]
) -> Iterator[ReportTable]:
    """Yield the comparison by everything that the maps hold; grains have a table of their own."""
    for name in BREAKDOWNS:
        if name == "grain" or (name == "phase" and not comparison.several_phases):
            continue
        try:
            yield plain(break_down(name, comparison, *maps).table())
        except MapError:  # no thickness in either map
            continue


def chosen_thresholds(comparison: Comparison) -> tuple[list[Threshold], list[str]]:
    """Return thresholds of score and reliability that leave few wrong points, and what they do.

    Where no threshold does, the sentence says so.
    """
    thresholds, sentences = [], []
    for quantity in comparison.confidence:
        try:
            thresholds.append(choose_threshold(comparison, quantity))
            sentences.append(thresholds[-1].sentence())
        except MapError as error:
            sentences.append(str(error).split(" Raise --")[0])
    return thresholds, sentences


def grain_tables(
    grains: Grains, boundaries: Boundaries, reference: Grains | None, name: str
) -> list[ReportTable]:
    """Return the largest grains, the longest boundaries, and what became of the reference's.

    Args:
        grains: of the map.
        boundaries: between them.
        reference: grains of the reference, if there are any.
        name: what the map is called.
    """
    from rich.markup import escape

    tables = [grains.table(escape(name)), boundaries.table()]
    if reference is not None:
        tables.append(match_grains(grains, reference).table())
    return [plain(table) for table in tables]


def plain(table: "Table") -> ReportTable:
    """Return a rich table without its markup."""
    columns = [tuple(map(_text, column.cells)) for column in table.columns]
    return ReportTable(
        title=_text(table.title),
        heads=tuple(_text(column.header) for column in table.columns),
        rows=tuple(zip(*columns, strict=True)),
        caption=_text(table.caption),
        left=tuple(column.justify == "left" for column in table.columns),
    )


def _text(cell: object) -> str:
    from rich.text import Text

    return Text.from_markup(str(cell)).plain if cell else ""
