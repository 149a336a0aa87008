"""The README's curve of accuracy against images seen and time, from bench_training.py's figures.

python docs/make_training_figure.py [benchmarks/results/training.json] [docs/training.png]
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

NAMES = {
    "polar": "polar network, 10 minutes",
    "polar long": "polar network, 24 minutes",
    "cnn flat": "the paper's CNN, one class an orientation",
    "cnn factored": "the same, direction and in-plane angle apart",
}


def main(results: str = "benchmarks/results/training.json", out: str = "docs/training.png") -> None:
    rows = {row["run"]: row for row in json.loads(Path(results).read_text())["rows"]}
    figure, (by_images, by_time) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, label in NAMES.items():
        history = rows[name]["history"]
        share = [100 * epoch["within_5_deg"] for epoch in history]
        by_images.plot([epoch["images"] for epoch in history], share, "o-", ms=3, label=label)
        by_time.plot([epoch["seconds"] / 60 for epoch in history], share, "o-", ms=3, label=label)
    by_images.set(
        xlabel="augmented patterns seen", ylabel="held-out patterns within 5° (%)", xscale="log"
    )
    by_time.set(xlabel="minutes on one core")
    for axes in (by_images, by_time):
        axes.set_ylim(-3, 100)
        axes.grid(alpha=0.3)
    handles, labels = by_time.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
