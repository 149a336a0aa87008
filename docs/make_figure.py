"""The README's picture from what `make demo` left: make_figure.py demo docs/demo.png.

Where there is a map by `index --refine`, demo/refined.h5, it is shown, too.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from zoneaxis.evaluation.figures.map_figures import confidence_map, ipf_key, ipf_map
from zoneaxis.scans.orientation_map import OrientationMap


def main(demo: Path, out: Path) -> None:
    names = {
        "truth": "scan.truth.h5",
        "template matching": "matched.h5",
        "network": "network.h5",
        "network, refined": "refined.h5",
    }
    maps = {
        title: OrientationMap.load(demo / name)
        for title, name in names.items()
        if (demo / name).exists()
    }
    widths = [*[1] * len(maps), 1.25, 0.8]
    figure = Figure(figsize=(2.6 * sum(widths), 2.6), layout="constrained")
    *panels, last, key = figure.subfigures(1, len(widths), width_ratios=widths)
    for panel, (title, found) in zip(panels, maps.items(), strict=True):
        axes = panel.subplots()
        ipf_map(axes, found)
        axes.set_title(title)
    axes = last.subplots()
    confidence_map(axes, maps["network"], "score")
    axes.set_title("network: confidence")
    ipf_key(key, maps["truth"].crystal)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
