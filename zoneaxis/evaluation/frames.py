"""Maps whose frames differ: which frame fits, and a map taken to it. Nothing is applied silently.

Programs differ in how the sample axes lie, in the order of the scan's rows and columns, in whether
an orientation turns sample to crystal or back, and in the crystal's axes. The eight operations of a
square, as proper rotations, cover the first two: "z90" turns by 90 degrees about the beam, from x
to y; "x180" is a half turn about x, which is what a mirrored y is for a crystal with an inversion
(a mirror of the pattern is a half turn of the orientation); "xy180" and "yx180" are half turns
about x + y and x - y, which swap the axes. Each acts on the orientations, "--frame", or on the
grid, "--grid". Before it may come "inverse", which transposes G, or "c30" and "c330", which turn
hexagonal axes about c: "c30" takes a crystal frame with x along a* to ours with x along a.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.low_index import HEXAGONAL_AXES
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
)
from zoneaxis.errors import SettingsError
from zoneaxis.evaluation.metrics import RIGHT_DEG
from zoneaxis.evaluation.phases import require_common_crystal, with_full_symmetry
from zoneaxis.scans.orientation_map import OrientationMap

SQUARE = {
    "identity": np.diag([1.0, 1.0, 1.0]),
    "z90": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "z180": np.diag([-1.0, -1.0, 1.0]),
    "z270": np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "x180": np.diag([1.0, -1.0, -1.0]),
    "y180": np.diag([-1.0, 1.0, -1.0]),
    "xy180": np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
    "yx180": np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
}
ABOUT_C = {
    name: matrices_from_euler(np.array([-degrees, 0.0, 0.0]))
    for name, degrees in (("c30", 30.0), ("c330", 330.0))
}
FRAMES = {
    "-".join(part for part in (before, square) if part not in ("", "identity")) or "identity": (
        before,
        square,
    )
    for before in ("", "inverse", *ABOUT_C)
    for square in SQUARE
}
CLEARLY = 0.2  # by which the share within 5 degrees must grow for another frame to be believed
SAMPLE_POINTS = 2000


@dataclass(frozen=True)
class FrameFit:
    """How well two maps agree once one of them is taken to another frame.

    Attributes:
        frame: of the orientations, one of `FRAMES`.
        grid: of the points, one of `SQUARE`.
        median_deg: median misorientation; NaN where no point is indexed in both.
        within_5: share of the points within 5 degrees.
    """

    frame: str
    grid: str
    median_deg: float
    within_5: float

    @property
    def options(self) -> str:
        """The options of the command line that apply it."""
        named = (("--frame", self.frame), ("--grid", self.grid))
        return " ".join(f"{option} {name}" for option, name in named if name != "identity")


def in_frame(
    map: OrientationMap, frame: str = "identity", grid: str = "identity"
) -> OrientationMap:
    """Return a map with its orientations, and its points, in another frame.

    A sample direction v becomes T v, hence G becomes G T^T, G^T T^T or C G T^T.

    Args:
        map: in its own frame.
        frame: of the orientations, one of `FRAMES`.
        grid: of the points, one of `SQUARE`.

    Raises:
        SettingsError: no such frame or grid.
    """
    _require_known(frame, grid)
    euler = map.euler_deg
    if frame != "identity":
        hexagonal = _has_hexagonal_axes(map)[..., None]
        euler = euler_from_matrices(_turned(matrices_from_euler(euler), hexagonal, frame))
    arrays = {
        "euler_deg": euler,
        "score": map.score,
        "reliability": map.reliability,
        "phase": map.phase,
    }
    return replace(
        map,
        **{name: _on_grid(values, grid) for name, values in arrays.items()},
        properties={name: _on_grid(values, grid) for name, values in map.properties.items()},
    )


def fit_frames(map: OrientationMap, reference: OrientationMap) -> list[FrameFit]:
    """Return how well the maps agree in every frame and grid that their shapes allow, best first.

    At most 2,000 points, spread evenly, are compared. Of equal fits the simpler comes first.

    Args:
        map: what is taken to other frames.
        reference: what it is compared with.

    Raises:
        MapError: the maps have no crystal in common.
    """
    found = require_common_crystal(map.crystals, reference.crystals)
    crystals = with_full_symmetry(map.crystals, reference.crystals, found)
    partner = np.array([*found, -1])
    hexagonal = _has_hexagonal_axes(map)
    frames = [f for f, (before, _) in FRAMES.items() if before not in ABOUT_C or hexagonal.any()]
    fits = []
    for grid in SQUARE:
        phase = _on_grid(map.phase, grid)
        if phase.shape != reference.shape:
            continue
        both = (phase >= 0) & reference.indexed
        same = np.flatnonzero(both & (partner[phase] == reference.phase))
        where = np.unravel_index(same[:: max(-(-same.size // SAMPLE_POINTS), 1)], phase.shape)
        euler = _on_grid(map.euler_deg, grid)[where], reference.euler_deg[where]
        first, second = (matrices_from_euler(angles[:, 0]) for angles in euler)
        right_phase = same.size / max(np.count_nonzero(both), 1)
        on_c = _on_grid(hexagonal, grid)[where]
        for frame in frames:
            turned = _turned(first, on_c, frame)
            angles = _angles(turned, second, phase[where], crystals)
            fits.append(_fit(frame, grid, angles, right_phase))
    return sorted(fits, key=lambda fit: (-round(fit.within_5, 9), len(fit.options)))


def clearly_better(fits: list[FrameFit]) -> FrameFit | None:
    """Return the best fit if the maps as they are agree far worse, else None.

    Args:
        fits: what `fit_frames` returned.
    """
    as_is = [fit.within_5 for fit in fits if not fit.options]
    better = fits and fits[0].within_5 >= max(as_is, default=0.0) + CLEARLY
    return fits[0] if better else None


def _angles(
    first: np.ndarray, second: np.ndarray, phase: np.ndarray, crystals: Sequence[Crystal]
) -> np.ndarray:
    angles = np.empty(len(first))
    for number, crystal in enumerate(crystals):
        own = phase == number
        angles[own] = misorientation_deg(first[own], second[own], crystal.proper_operators)
    return angles


def _fit(frame: str, grid: str, angles: np.ndarray, right_phase: float) -> FrameFit:
    if not angles.size:
        return FrameFit(frame, grid, np.nan, 0.0)
    within = right_phase * float(np.mean(angles <= RIGHT_DEG))
    return FrameFit(frame, grid, float(np.median(angles)), within)


def _turned(matrices: np.ndarray, hexagonal: np.ndarray, frame: str) -> np.ndarray:
    """Return orientations in another frame; where not `hexagonal`, the crystal's axes stay."""
    before, square = FRAMES[frame]
    if before == "inverse":
        matrices = matrices.swapaxes(-1, -2)
    elif before:
        matrices = np.where(hexagonal[..., None, None], ABOUT_C[before] @ matrices, matrices)
    return matrices @ SQUARE[square].T


def _has_hexagonal_axes(map: OrientationMap) -> np.ndarray:
    """Return which points are of a trigonal or hexagonal phase, bool, shape (rows, cols)."""
    systems = [crystal.point_group.system for crystal in map.crystals]
    return np.append(np.isin(systems, HEXAGONAL_AXES), False)[map.phase]


def _on_grid(values: np.ndarray, grid: str) -> np.ndarray:
    """Return an array of shape (rows, cols, ...) whose point p has gone to T p."""
    (xx, _), (_, yy) = turn = SQUARE[grid][:2, :2]
    if not xx:  # x of the result is y of the source
        values, (xx, yy) = values.swapaxes(0, 1), (turn[0, 1], turn[1, 0])
    return values[:: int(yy), :: int(xx)]


def _require_known(frame: str, grid: str) -> None:
    for option, name, known in (("--frame", frame, FRAMES), ("--grid", grid, SQUARE)):
        if name not in known:
            raise SettingsError(f"{option} {name}: expected one of {', '.join(known)}.")
