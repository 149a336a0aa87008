"""The table of bench_accuracy.py's figures in Markdown, printed or renewed within a page.

    python benchmarks/accuracy_table.py [PAGE.md] [--json benchmarks/results/accuracy.json]
    python benchmarks/accuracy_table.py README.md --sets plain --columns median_deg,within_5

In the page it goes between the lines of `MARKERS`. `make accuracy` renews all pages.
"""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
MARKERS = "<!-- accuracy: benchmarks/accuracy_table.py -->", "<!-- /accuracy -->"
TITLES = {
    "plain": "Multislice, no precession",
    "precession": "Multislice, 0.6° precession",
    "held-out": "Held-out Bloch waves, no precession",
    "held-out precession": "Held-out Bloch waves, 0.6° precession",
    "phantom": "Phantom",
}
COLUMNS = {  # key of a row -> what the column is called; factor and form of its values
    "n": ("n", 1, "{:.0f}"),
    "median_deg": ("median (°)", 1, "{:.2f}"),
    "within_1": ("≤ 1° (%)", 100, "{:.0f}"),
    "within_2": ("≤ 2° (%)", 100, "{:.0f}"),
    "within_5": ("≤ 5° (%)", 100, "{:.0f}"),
    "within_10": ("≤ 10° (%)", 100, "{:.0f}"),
    "within_5_beam_180": ("≤ 5° modulo 180° about the beam", 100, "{:.0f}"),
    "within_5_c_60": ("≤ 5° modulo 60° about c", 100, "{:.0f}"),
    "within_5_all": ("≤ 5° if none is refused", 100, "{:.0f}"),
    "indexed": ("indexed", 100, "{:.0f}"),
    "rejected": ("vacuum and amorphous refused", 100, "{:.1f}"),
    "thickness_error_nm": ("thickness off by (nm)", 1, "{:.1f}"),
    "patterns_per_s": ("patterns/s", 1, "{:.0f}"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?", help="renew it; print if none is given")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--sets", default=",".join(TITLES), help="default: %(default)s")
    parser.add_argument("--columns", default=",".join(COLUMNS), help="default: %(default)s")
    arguments = parser.parse_args()
    results = json.loads(arguments.json.read_text(encoding="utf-8"))
    text = tables(results, arguments.sets.split(","), arguments.columns.split(","))
    if arguments.page is None:
        print(text)
    else:
        page = arguments.page.read_text(encoding="utf-8")
        arguments.page.write_text(renewed(page, text), encoding="utf-8")


def renewed(page: str, text: str) -> str:
    """Return a page with the text between its markers.

    Raises:
        SystemExit: the page has not both markers, one after the other.
    """
    first, last = MARKERS
    before, _, rest = page.partition(first)
    _, found, after = rest.partition(last)
    if not found:
        raise SystemExit(f"The page needs the lines {first} and {last}, for the table in between.")
    return f"{before}{first}\n\n{text}\n\n{last}{after}"


def tables(
    results: dict[str, Any], sets: Collection[str] = TITLES, columns: Collection[str] = COLUMNS
) -> str:
    """Return a table a set, of a row a method; cells hold conditions a / b / c.

    Args:
        results: what bench_accuracy.py writes.
        sets: names of `TITLES`.
        columns: names of `COLUMNS`.
    """
    parts = []
    for name in sets:
        methods: dict[str, dict[str, dict]] = {}
        for row in results["rows"]:
            if row["set"] == name:
                methods.setdefault(row["label"], {})[row["condition"]] = row
        if methods:
            parts.append(f"**{TITLES[name]}**, {_error(methods)}\n\n{_table(methods, columns)}")
    return "\n\n".join(parts)


def _table(methods: dict[str, dict[str, dict]], columns: Collection[str]) -> str:
    rows = [row for by_condition in methods.values() for row in by_condition.values()]
    columns = [name for name in columns if any(row.get(name) is not None for row in rows)]
    header = ["a / b / c", *(COLUMNS[name][0] for name in columns)]
    lines = [header, ["---"] * len(header)]
    for label, by_condition in methods.items():
        lines.append([label, *(_cell(by_condition, name) for name in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(by_condition: dict[str, dict], name: str) -> str:
    """Return the values of a column; one where they are the same, and for the speed that of (b)."""
    conditions = "b" if name == "patterns_per_s" else "abc"
    values = [by_condition.get(condition, {}).get(name) for condition in conditions]
    factor, form = COLUMNS[name][1:]
    texts = ["-" if value is None else form.format(factor * value) for value in values]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _error(methods: dict[str, dict[str, dict]]) -> str:
    rows = [row for by_condition in methods.values() for row in by_condition.values()]
    largest = max(row["within_5_error"] or 0.0 for row in rows)
    return f"standard error of shares within 5° up to {100 * largest:.0f} points:"


if __name__ == "__main__":
    main()
