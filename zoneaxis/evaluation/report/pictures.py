"""The pictures of the report and their captions, as base64 PNG."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.structure_factors import structure_factors
from zoneaxis.evaluation.boundaries import Boundaries
from zoneaxis.evaluation.comparison import Comparison
from zoneaxis.evaluation.figures import (
    grain_figures,
    map_figures,
    pattern_figures,
    pole_figures,
)
from zoneaxis.evaluation.grains import Grains
from zoneaxis.evaluation.metrics import FRIENDS, RIGHT_DEG
from zoneaxis.evaluation.pattern_fit import PatternFit, fit_pattern
from zoneaxis.evaluation.report.data import known_crystals
from zoneaxis.evaluation.report.picture import (
    Picture,
    map_picture,
    new_figure,
    picture_of,
    place_of,
)
from zoneaxis.evaluation.thresholds import Threshold
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOR_BAR_IN = 0.75
LEGEND_IN = 0.8
PLOT_SIZE_IN = (3.6, 3.0)

Maps = tuple[OrientationMap, ...]  # the map, and the reference if there is one
Names = tuple[str, ...]
WHERE = {"z": "along the beam", "x": "to the right", "y": "downward"}


def orientation_pictures(maps: Maps, names: Names) -> list[Picture]:
    """Return IPF maps along the beam and x, for a single map along y too."""
    return [
        map_picture(
            one.shape,
            lambda ax, one=one, axis=axis: map_figures.ipf_map(ax, one, axis),
            f"{name}, IPF-{axis.upper()}: the crystal direction {WHERE[axis]}. Black: not indexed.",
        )
        for axis in ("zx" if len(maps) > 1 else "zxy")
        for one, name in zip(maps, names, strict=True)
    ]


def key_pictures(maps: Maps) -> dict[str, Picture]:
    """Return the IPF color key of each Laue group among the crystals."""
    groups: dict[str, list[Crystal]] = {}
    for crystal in (crystal for one in maps for crystal in one.crystals):
        groups.setdefault(crystal.point_group.laue.name, []).append(crystal)
    pictures = {}
    for laue, crystals in groups.items():
        key = new_figure(2.4, 2.4)
        ax = map_figures.ipf_key(key, crystals[0])
        names = " and ".join(dict.fromkeys(crystal.name for crystal in crystals))
        picture = picture_of(key, f"Color key: directions of {names}, Laue group {laue}.")
        pictures[laue] = replace(picture, place=place_of(ax))
    return pictures


def texture_pictures(maps: Maps, names: Names) -> list[Picture]:
    """Return pole figures and the density of the beam direction, of each phase of each map."""
    pictures = []
    for one, name in zip(maps, names, strict=True):
        for number, crystal in enumerate(one.crystals):
            phase = one.of_phase(number)
            if not phase.indexed.any():
                continue
            whose = f"{name}, {crystal.name}" if len(one.crystals) > 1 else name
            poles, beam = new_figure(7.6, 2.1), new_figure(2.7, 2.1)
            pole_figures.pole_figures(poles, phase)
            pole_figures.beam_density(beam, phase)
            planes = pole_figures.plane_names(crystal)
            pictures += [
                picture_of(poles, f"{whose}: pole figures {planes}, equal-area, seen as the maps."),
                picture_of(beam, f"{whose}: which crystal direction the beam runs along."),
            ]
    return pictures


def misorientation_pictures(
    comparison: Comparison, step_nm: float, chosen: np.ndarray, names: tuple[str, str]
) -> list[Picture]:
    """Return the map of raw misorientations, its histogram, and who indexed which point.

    Args:
        comparison: of the two maps.
        step_nm: step of the scan.
        chosen: points to number, (row, column), shape (n, 2).
        names: what the map and the reference are called.
    """

    def draw(ax: "Axes") -> None:
        map_figures.misorientation_map(ax, comparison, step_nm)
        _mark_points(ax, chosen)

    shape = comparison.indexed_map.shape
    marks = " The numbers mark the patterns shown below." if len(chosen) else ""
    histogram = new_figure(*PLOT_SIZE_IN)
    map_figures.misorientation_histogram(histogram.add_subplot(), comparison)
    return [
        map_picture(
            shape,
            draw,
            f"Raw misorientation. Gray: not indexed by {names[0]} or {names[1]}.{marks}",
            bar_in=COLOR_BAR_IN,
        ),
        picture_of(
            histogram,
            "Misorientations, raw and modulo the false friends of diffraction patterns: what a "
            "colored line moves to the left was mistaken for its friend.",
        ),
        map_picture(
            shape,
            lambda ax: map_figures.agreement_map(ax, comparison, step_nm, names),
            "Points indexed by both, by one, or by neither.",
            below_in=LEGEND_IN,
        ),
    ]


def grain_pictures(grains: Grains, boundaries: Boundaries, name: str) -> list[Picture]:
    """Return the grains, their boundaries, and the histograms of both.

    Args:
        grains: of a map.
        boundaries: theirs.
        name: what the map is called.
    """
    shape = grains.labels.shape
    pictures = [
        map_picture(
            shape,
            lambda ax: grain_figures.grain_map(ax, grains, boundaries),
            f"{name}: {len(grains)} grains in the IPF-Z color of their mean orientation. "
            "Gray: no grain.",
            below_in=LEGEND_IN,
        )
    ]
    sizes = new_figure(*PLOT_SIZE_IN)
    grain_figures.grain_size_histogram(sizes.add_subplot(), grains)
    pictures.append(picture_of(sizes, "Sizes of the grains."))
    if not len(boundaries):
        return pictures
    angles = new_figure(*PLOT_SIZE_IN)
    grain_figures.boundary_histogram(angles.add_subplot(), boundaries)
    caption = "Misorientations at the boundaries, by their length, and those of random pairs."
    return [
        pictures[0],
        map_picture(
            shape,
            lambda ax: grain_figures.boundary_map(ax, boundaries),
            f"{name}: misorientation at {len(boundaries)} boundaries.",
            bar_in=COLOR_BAR_IN,
        ),
        *pictures[1:],
        picture_of(angles, caption),
    ]


def confidence_pictures(
    maps: Maps, comparison: Comparison | None, thresholds: Sequence[Threshold], names: Names
) -> list[Picture]:
    """Return score and reliability of the maps, and their histograms or what rejecting buys.

    Args:
        maps: the map, and the reference if there is one.
        comparison: of the two.
        thresholds: to be marked in what rejecting buys.
        names: what the maps are called.
    """
    pictures = [
        map_picture(
            one.shape,
            lambda ax, one=one, quantity=quantity: map_figures.confidence_map(ax, one, quantity),
            f"{name}: {quantity}. Gray: not indexed.",
            bar_in=COLOR_BAR_IN,
        )
        for one, name in zip(maps, names, strict=True)
        for quantity in ("score", "reliability")
    ]
    figure = new_figure(*PLOT_SIZE_IN)
    if comparison is None:
        map_figures.confidence_histogram(figure.add_subplot(), maps[0])
        caption = "How many of the indexed points have which score and reliability."
    else:
        map_figures.risk_coverage(figure.add_subplot(), comparison, thresholds)
        caption = (
            f"What rejecting buys: of the points that {names[0]} is surest of, the share off by "
            f"more than {RIGHT_DEG:g}°. A curve that falls to the left belongs to a confidence of "
            "use." + (" Stars: the thresholds named below." if thresholds else "")
        )
    return [*pictures, picture_of(figure, caption)]


def pattern_pictures(
    maps: Maps,
    comparison: Comparison | None,
    scan: Scan,
    optics: Optics,
    chosen: np.ndarray,
    names: Names,
) -> list[Picture]:
    """Return measured patterns beside simulated ones of the maps' orientations.

    Args:
        maps: the map, and the reference if there is one; the atoms of their crystals are known.
        comparison: of the two.
        scan: with a pixel size.
        optics: of the simulation.
        chosen: (row, column) of each pattern, shape (n, 2).
        names: what the maps are called.
    """
    crystals = known_crystals(maps)
    factors = {
        id(crystal): structure_factors(crystal, optics.voltage_kv, 2 * optics.k_max_inv_angstrom)
        for crystal in {id(c): c for group in crystals for c in group}.values()
    }
    pixel = scan.inv_angstrom_per_pixel
    pictures = []
    for number, (row, col) in enumerate(chosen.tolist(), start=1):
        measured = np.asarray(scan.patterns[row, col], dtype=np.float32)
        panels, rows = {}, []
        for one, name, known in zip(maps, names, crystals, strict=True):
            crystal = known[one.phase[row, col]]
            euler = one.euler_deg[row, col, 0]
            thickness = one.properties.get("thickness_nm", np.full(one.shape, np.nan))[row, col]
            fit = fit_pattern(
                *(measured, euler, crystal, optics, pixel),
                thickness_nm=float(thickness),
                factors=factors[id(crystal)],
            )
            panels[f"simulated: {name}"] = fit.pattern
            rows.append(_pattern_row(name, euler, one.score[row, col, 0], fit))
        figure = new_figure(0.35 + 1.72 * (1 + len(maps)), 2.2)
        pattern_figures.pattern_pair(
            figure, measured, panels, pixel, optics.disk_radius_inv_angstrom, fit.center_px
        )
        caption = f"{number}. Row {row}, column {col}.{_apart(comparison, row, col)}"
        pictures.append(picture_of(figure, caption, tuple(rows)))
    return pictures


def _apart(comparison: Comparison | None, row: int, col: int) -> str:
    if comparison is None:
        return ""
    angles = comparison.misorientation_deg
    apart = ", ".join(f"{angles[f][row, col]:.1f}° {FRIENDS[f]}" for f in comparison.friends)
    return f" Misorientation {apart}."


def _pattern_row(name: str, euler: np.ndarray, score: float, fit: PatternFit) -> tuple[str, ...]:
    return (
        name,
        ", ".join(f"{angle:.1f}" for angle in euler),
        f"{score:.2f}",
        f"{fit.thickness_nm:.0f}" + (" (fit)" if fit.fitted else ""),
        f"{fit.correlation:.2f}",
    )


def _mark_points(ax: "Axes", points: np.ndarray) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    for number, (row, col) in enumerate(points, start=1):
        ax.plot(col, row, "o", mfc="none", mec="white", ms=7, mew=2.5)
        ax.plot(col, row, "o", mfc="none", mec="black", ms=7, mew=1.2)
        ax.annotate(
            str(number),
            (col, row),
            xytext=(5, 4),
            textcoords="offset points",
            weight="bold",
            path_effects=halo,
            annotation_clip=False,
        )
