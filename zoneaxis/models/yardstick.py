"""A model's figures on the yardstick, benchmarks/bench_accuracy.py: read, kept, told."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoneaxis.cards import AccuracyFacts
from zoneaxis.errors import SettingsError

CONDITIONS = {
    "a": "calibrated, no noise",
    "b": "1e5 counts a pattern",
    "c": "1e5 counts, camera length unknown within 10 %, center off by up to 3 pixels of 256",
}
KEYS = ("set", "label", "condition", "n", "median_deg", "within_2", "within_5", "patterns_per_s")


def read_accuracy(path: Path) -> list[dict[str, Any]]:
    """Return what a card tells of each row of the yardstick.

    Args:
        path: of the JSON that bench_accuracy.py wrote.

    Raises:
        SettingsError: it cannot be read, or is something else.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [{key: row.get(key) for key in KEYS} | {"set": row["set"]} for row in rows]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--accuracy {path} cannot be read: {error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"--accuracy {path} is not what bench_accuracy.py writes.") from error


def accuracy_facts(rows: Iterable[Mapping[str, Any]]) -> tuple[AccuracyFacts, ...]:
    """Return a line a set and method, whose figures are those of each condition.

    Args:
        rows: of `read_accuracy`.
    """
    lines: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["set"], row["label"]), {})[row["condition"]] = row
    return tuple(
        AccuracyFacts(
            set=name,
            method=method,
            patterns=max(row["n"] for row in by_condition.values()),
            **{
                key: tuple(by_condition.get(c, {}).get(key) for c in CONDITIONS)
                for key in ("median_deg", "within_2", "within_5", "patterns_per_s")
            },
        )
        for (name, method), by_condition in lines.items()
    )
