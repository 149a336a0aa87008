"""Grains of an orientation map: where they lie, how large they are, how their crystals stand."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    reduce_euler,
)
from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.grain_statistics import ellipses, mean_and_spread
from zoneaxis.scans.grains import in_order, label_grains
from zoneaxis.scans.orientation_map import OrientationMap

if TYPE_CHECKING:
    from rich.table import Table

TOLERANCE_DEG = 5.0
SMALLEST_GRAIN = 5
LARGEST_HOLE = 10
SHOWN = 15  # grains in the table


@dataclass(frozen=True, eq=False)
class Grains:
    """The n grains of a map, from 0 on in the order of their first points.

    Attributes:
        crystals: of the map.
        labels: number of each point's grain, -1 where there is none, int, shape (rows, cols).
        filled: points of holes that were given to the grain around them, bool, shape (rows, cols).
        step_nm: distance between neighboring points.
        phase: which of the crystals each grain is, int, shape (n,).
        points: how many it has, filled ones among them, int, shape (n,).
        matrices: mean orientation G of the points with an orientation, shape (n, 3, 3).
        spread_deg: mean misorientation of these points to the mean, shape (n,).
        aspect: length over width of the ellipse of equal moments, at least 1, shape (n,).
        center_px: mean row and column, shape (n, 2).
        at_edge: whether it touches the edge of the map, where it may go on, bool, shape (n,).
    """

    crystals: tuple[Crystal, ...]
    labels: np.ndarray
    filled: np.ndarray
    step_nm: float
    phase: np.ndarray
    points: np.ndarray
    matrices: np.ndarray
    spread_deg: np.ndarray
    aspect: np.ndarray
    center_px: np.ndarray
    at_edge: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def area_nm2(self) -> np.ndarray:
        """Area of each grain in square nanometers, shape (n,)."""
        return self.points * self.step_nm**2

    @property
    def diameter_nm(self) -> np.ndarray:
        """Diameter of the circle of equal area, shape (n,)."""
        return 2 * np.sqrt(self.area_nm2 / np.pi)

    @property
    def euler_deg(self) -> np.ndarray:
        """Bunge angles of the mean orientations, reduced by symmetry, shape (n, 3)."""
        euler = euler_from_matrices(self.matrices)
        for number, crystal in enumerate(self.crystals):
            own = self.phase == number
            euler[own] = reduce_euler(euler[own], crystal)
        return euler

    @property
    def mean_map(self) -> OrientationMap:
        """Every point with the mean orientation of its grain; not indexed where there is none."""
        ones = np.ones((*self.labels.shape, 1), np.float32)
        return OrientationMap(
            crystals=self.crystals,
            euler_deg=self.euler_deg[self.labels][:, :, None],
            score=ones,
            reliability=ones[..., 0],
            phase=np.where(self.labels >= 0, self.phase[self.labels], -1),
            step_nm=self.step_nm,
        )

    def summary(self) -> dict[str, float]:
        """Return what one says of a map in a line: number, sizes, spread, share of the map."""
        diameter, area = self.diameter_nm, self.area_nm2
        return {
            "grains": len(self),
            "at_edge": int(self.at_edge.sum()),
            "median_diameter_nm": float(np.median(diameter)),
            "mean_diameter_nm": float(diameter.mean()),
            "area_weighted_diameter_nm": float(np.average(diameter, weights=area)),
            "median_spread_deg": float(np.median(self.spread_deg)),
            "share_of_points": float((self.labels >= 0).mean()),
            "filled_points": int(self.filled.sum()),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the summary and every grain, for JSON; without the labels of the points."""
        columns = {
            "points": self.points,
            "area_nm2": self.area_nm2,
            "diameter_nm": self.diameter_nm,
            "euler_deg": self.euler_deg,
            "spread_deg": self.spread_deg,
            "aspect": self.aspect,
            "center_px": self.center_px,
        }
        rounded = {name: np.round(values, 4).tolist() for name, values in columns.items()}
        return {
            "crystals": [crystal.name for crystal in self.crystals],
            "step_nm": self.step_nm,
            "summary": self.summary(),
            "grains": {
                "phase": self.phase.tolist(),
                **rounded,
                "at_edge": self.at_edge.tolist(),
            },
        }

    def table(self, name: str = "map") -> "Table":
        """Return the largest grains as a rich table.

        Args:
            name: what the map is called.
        """
        from rich.markup import escape
        from rich.table import Table

        values = self.summary()
        table = Table(
            title=f"{len(self)} grains of {name}",
            caption=f"Median diameter {length_text(values['median_diameter_nm'])}, weighted by "
            f"area {length_text(values['area_weighted_diameter_nm'])}; {values['at_edge']} touch "
            f"the edge; they hold {values['share_of_points']:.1%} of the points.",
            caption_justify="left",
        )
        several = len(self.crystals) > 1
        for head in ("grain", *(["phase"] * several), "points", "diameter", "Bunge angles"):
            table.add_column(head, justify="right", no_wrap=True)
        for head in ("spread", "aspect", "edge"):
            table.add_column(head, justify="right")
        euler = self.euler_deg
        for i in np.argsort(-self.points, kind="stable")[:SHOWN]:
            table.add_row(
                str(i),
                *([escape(self.crystals[self.phase[i]].name)] * several),
                f"{self.points[i]:,}",
                length_text(self.diameter_nm[i]),
                ", ".join(f"{angle:.1f}" for angle in euler[i]) + "°",
                f"{self.spread_deg[i]:.2f}°",
                f"{self.aspect[i]:.2f}",
                "yes" if self.at_edge[i] else "",
            )
        if len(self) > SHOWN:
            table.add_row("…", *([""] * several), f"{len(self) - SHOWN} more")
        return table


def length_text(length_nm: float) -> str:
    """Return a length in nm, or in µm from 1,000 nm on, to three digits."""
    return f"{length_nm / 1000:.3g} µm" if length_nm >= 999.5 else f"{length_nm:.3g} nm"


def find_grains(
    map: OrientationMap,
    tolerance_deg: float = TOLERANCE_DEG,
    smallest_grain: int = SMALLEST_GRAIN,
    largest_hole: int = LARGEST_HOLE,
) -> Grains:
    """Segment a map into grains.

    Regions of fewer than `smallest_grain` points are specks, mostly errors, and belong to no
    grain. Holes of up to `largest_hole` points, specks among them, are given to the nearest
    grain, and parts that this joins are one grain.

    Args:
        map: the orientations.
        tolerance_deg: neighbors whose misorientation is smaller are of one grain.
        smallest_grain: points of the smallest grain.
        largest_hole: points of the largest hole that is filled, 0 for none.

    Raises:
        SettingsError: a setting out of its range.
        MapError: no point is indexed, or all grains are too small.
    """
    _check(tolerance_deg, smallest_grain, largest_hole)
    if not map.indexed.any():
        raise MapError("No point of the map is indexed: there are no grains.")
    operators = [crystal.proper_operators for crystal in map.crystals]
    matrices, phase = map.matrices, map.phase
    labels = label_grains(matrices, phase, operators, tolerance_deg)
    labels = _without_specks(labels, smallest_grain, map.indexed)
    if not (labels >= 0).any():
        raise MapError(
            f"No grain has {smallest_grain} points at a tolerance of {tolerance_deg:g} degrees: "
            "lower --smallest-grain or raise --tolerance-deg."
        )
    filled = _holes(labels, largest_hole)
    if filled.any():
        nearest = _nearest_inside(labels)
        phase = np.where(filled, phase[nearest], np.where(labels >= 0, phase, -1))
        matrices = np.where(filled[..., None, None], matrices[nearest], matrices)
        joined = label_grains(matrices, phase, operators, tolerance_deg)
        labels = _without_specks(joined, smallest_grain, ~filled)
        filled &= labels >= 0
    return _measured(map, labels, filled, phase)


def _check(tolerance_deg: float, smallest_grain: int, largest_hole: int) -> None:
    if not 0 < tolerance_deg <= 60:
        raise SettingsError(f"tolerance_deg = {tolerance_deg}: expected more than 0, up to 60.")
    if smallest_grain < 1:
        raise SettingsError(f"smallest_grain = {smallest_grain}: expected 1 or more points.")
    if largest_hole < 0:
        raise SettingsError(f"largest_hole = {largest_hole}: expected 0 or more points.")


def _without_specks(labels: np.ndarray, smallest: int, counted: np.ndarray) -> np.ndarray:
    """Return labels of the regions with enough points that count, anew from 0 on."""
    points = np.bincount(labels[counted & (labels >= 0)], minlength=labels.max() + 1)
    kept = np.append(points >= smallest, False)  # the last for label -1
    return in_order(np.where(kept[labels], labels, -1))


def _holes(labels: np.ndarray, largest: int) -> np.ndarray:
    """Return the points of connected regions without a grain that are not too large."""
    from scipy.ndimage import label

    regions, _ = label(labels < 0)
    return (labels < 0) & (np.bincount(regions.ravel())[regions] <= largest)


def _nearest_inside(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the nearest point with a grain, for every point."""
    from scipy.ndimage import distance_transform_edt

    return tuple(distance_transform_edt(labels < 0, return_distances=False, return_indices=True))


def _measured(
    map: OrientationMap, labels: np.ndarray, filled: np.ndarray, phase: np.ndarray
) -> Grains:
    inside = labels >= 0
    first = np.unique(labels[inside], return_index=True)[1]
    grain_phase = phase[inside][first]
    count = len(first)
    means, spread = np.empty((count, 3, 3)), np.empty(count)
    own = inside & ~filled
    for number, crystal in enumerate(map.crystals):
        chosen = np.flatnonzero(grain_phase == number)
        points = own & (phase == number)
        if chosen.size:
            grain = np.searchsorted(chosen, labels[points])
            matrices = matrices_from_euler(map.euler_deg[points][:, 0])
            means[chosen], spread[chosen] = mean_and_spread(
                matrices, grain, crystal.proper_operators
            )
    edge = np.ones(labels.shape, bool)
    edge[1:-1, 1:-1] = False
    aspect, center = ellipses(labels)
    return Grains(
        crystals=map.crystals,
        labels=labels,
        filled=filled,
        step_nm=map.step_nm,
        phase=grain_phase,
        points=np.bincount(labels[inside]),
        matrices=means,
        spread_deg=spread,
        aspect=aspect,
        center_px=center,
        at_edge=np.isin(np.arange(count), labels[edge]),
    )
