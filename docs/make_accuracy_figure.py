"""The figure of docs/accuracy.md, from bench_accuracy.py's figures.

python docs/make_accuracy_figure.py [benchmarks/results/accuracy.json] [docs/accuracy.png]
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

SETS = {"plain": "multislice", "precession": "multislice, precession 0.6°"}
CONDITIONS = {  # -> what they are called, and their marks
    "a": ("calibrated, noise-free", "o"),
    "b": ("1e5 counts", "s"),
    "c": ("1e5 counts, camera length ±10 %, center ±3 of 256 px", "D"),
}
GAP = 0.22  # between the conditions of a method


def main(results: str = "benchmarks/results/accuracy.json", out: str = "docs/accuracy.png") -> None:
    values = json.loads(Path(results).read_text(encoding="utf-8"))
    rows = [row for row in values["rows"] if row["set"] in SETS]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    reference = values["settings"]["reference_within_5"]
    height = 1.6 + 0.42 * len(labels)
    figure, panels = plt.subplots(1, 2, figsize=(9, height), sharey=True, layout="constrained")
    for axes, (name, title) in zip(panels, SETS.items(), strict=True):
        for number, (condition, (meaning, mark)) in enumerate(CONDITIONS.items()):
            shown = [r for r in rows if (r["set"], r["condition"]) == (name, condition)]
            y = [labels.index(row["label"]) + GAP * (number - 1) for row in shown]
            share = [100 * row["within_5"] for row in shown]
            error = [100 * (row["within_5_error"] or 0) for row in shown]
            color = f"C{number}"
            axes.errorbar(share, y, xerr=error, fmt=mark, ms=5, color=color, label=meaning)
            axes.axvline(100 * reference[name][condition], color=color, ls=":", lw=1)
        for row in range(0, len(labels), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
        axes.set(title=title, xlabel="patterns within 5° (%)", xlim=(-3, 103))
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].plot([], [], ls=":", lw=1, color="gray", label="ACOM by the patterns' makers")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
