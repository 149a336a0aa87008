"""The README's picture from what `make demo` left: make_figure.py demo docs/demo.png."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from zoneaxis.evaluation.figures.map_figures import confidence_map, ipf_key, ipf_map
from zoneaxis.scans.orientation_map import OrientationMap


def main(demo: Path, out: Path) -> None:
    maps = {
        "truth": OrientationMap.load(demo / "scan.truth.h5"),
        "template matching": OrientationMap.load(demo / "matched.h5"),
        "network": OrientationMap.load(demo / "network.h5"),
    }
    figure = Figure(figsize=(13, 2.6), layout="constrained")
    *panels, key = figure.subfigures(1, 5, width_ratios=[1, 1, 1, 1.25, 0.8])
    for panel, (title, found) in zip(panels, maps.items(), strict=False):
        axes = panel.subplots()
        ipf_map(axes, found)
        axes.set_title(title)
    axes = panels[3].subplots()
    confidence_map(axes, maps["network"], "score")
    axes.set_title("network: confidence")
    ipf_key(key, maps["truth"].crystal)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
