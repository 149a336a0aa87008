"""The figure of docs/layered_oxide.md, from maps that bench_layered_oxide.py left.

python docs/make_layered_oxide_figure.py MAPS [docs/layered_oxide.png]
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from zoneaxis.evaluation.figures.image_axes import color_bar, scale_bar
from zoneaxis.evaluation.figures.map_figures import ipf_colors, ipf_key
from zoneaxis.scans.orientation_map import OrientationMap

TITLES = {
    "network": "network",
    "templates": "template matching",
    "acom": "acom.ang (py4DSTEM)",
}
BAR_POINTS = 20  # the step is not known
DPI = 110


def main(folder: str, out: str = "docs/layered_oxide.png") -> None:
    maps = {name: OrientationMap.load(Path(folder) / f"{name}.h5") for name in TITLES}
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    *panels, last, key = figure.subfigures(1, 5, width_ratios=[1, 1, 1, 1.35, 1])
    for panel, (name, title) in zip(panels, TITLES.items(), strict=True):
        axes = panel.subplots()
        draw(axes, ipf_colors(maps[name]), title)
    network = maps["network"]
    axes = last.subplots()
    image = draw(axes, network.score[..., 0], "network: confidence", cmap="cividis", vmin=0, vmax=1)
    color_bar(image, axes, "probability of being right")
    ipf_key(key, network.crystal)
    figure.savefig(out, dpi=DPI)


def draw(axes, values, title, **options):
    image = axes.imshow(values, interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[], title=title)
    scale_bar(axes, BAR_POINTS, f"{BAR_POINTS} points")
    return image


if __name__ == "__main__":
    main(*sys.argv[1:])
