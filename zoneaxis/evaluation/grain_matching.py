"""The grains of a map against those of a reference: which are found, split, merged or missed.

Grains are matched by overlap alone; whether a grain that was found also has the right orientation
is said by the misorientation of the means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.errors import MapError
from zoneaxis.evaluation.grains import Grains
from zoneaxis.evaluation.metrics import RIGHT_DEG
from zoneaxis.evaluation.phases import require_common_crystal, with_full_symmetry

if TYPE_CHECKING:
    from rich.table import Table

FOUND_IOU = 0.5  # beyond it, a grain can have one partner only
OUTCOMES = {
    "found": "overlaps one of the map by more than half of what either covers",
    "split": "two or more grains of the map lie mostly in it and cover half of it",
    "merged": "the map's grain that covers most of it holds another grain, too",
    "missed": "none of these",
}


@dataclass(frozen=True, eq=False)
class GrainMatch:
    """What became of each grain of a reference in a map.

    Attributes:
        outcome: of each grain of the reference, one of `OUTCOMES`, shape (n,).
        partner: number of the map's grain that overlaps best, -1 for none, shape (n,).
        iou: points of both over points of either, with the partner, shape (n,).
        misorientation_deg: of the partners' mean orientations, NaN without partner or of another
            phase, shape (n,).
        invented: number of the map's grains that lie mostly where the reference has no grain.
    """

    outcome: np.ndarray
    partner: np.ndarray
    iou: np.ndarray
    misorientation_deg: np.ndarray
    invented: int

    @property
    def counts(self) -> dict[str, int]:
        """How many grains of the reference came to what, and those invented by the map."""
        counts = {name: int((self.outcome == name).sum()) for name in OUTCOMES}
        right = (self.outcome == "found") & (self.misorientation_deg <= RIGHT_DEG)
        return {
            "grains": len(self.outcome),
            **counts,
            "found_right": int(right.sum()),
            "invented": self.invented,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return counts, definitions and every grain, for JSON; null for NaN."""
        angles = self.misorientation_deg.tolist()
        return {
            "counts": self.counts,
            "definitions": OUTCOMES,
            "outcome": self.outcome.tolist(),
            "partner": self.partner.tolist(),
            "iou": np.round(self.iou, 4).tolist(),
            "misorientation_deg": [round(a, 4) if np.isfinite(a) else None for a in angles],
        }

    def table(self) -> "Table":
        """Return the counts as a rich table."""
        from rich.table import Table

        table = Table(title="grains of the reference")
        table.add_column("in the map")
        table.add_column("grains", justify="right")
        meanings = {
            **OUTCOMES,
            "found_right": f"of the found, with mean orientations within {RIGHT_DEG:g}°",
            "invented": "of the map, mostly where the reference has no grain",
        }
        for name, meaning in meanings.items():
            table.add_row(f"{name.replace('_', ' ')}: {meaning}", str(self.counts[name]))
        return table


def match_grains(map: Grains, reference: Grains) -> GrainMatch:
    """Match the grains of a map with those of a reference.

    Args:
        map: grains of what is judged.
        reference: grains of what it is judged by.

    Raises:
        MapError: the maps differ in shape or have no crystal in common.
    """
    if map.labels.shape != reference.labels.shape:
        raise MapError(
            f"Grains of a map of {map.labels.shape} points and of one of "
            f"{reference.labels.shape}: match grains of the same scan."
        )
    crystals = require_common_crystal(map.crystals, reference.crystals)
    mine, theirs, shared = _overlaps(map.labels, reference.labels)
    ours, all_ = len(map), len(reference)
    iou = shared / (map.points[mine] + reference.points[theirs] - shared)
    order = np.lexsort((-iou, theirs))
    best = order[np.unique(theirs[order], return_index=True)[1]]
    partner, overlap = np.full(all_, -1), np.zeros(all_)
    partner[theirs[best]], overlap[theirs[best]] = mine[best], iou[best]
    mostly_in = shared > map.points[mine] / 2  # the map's grain lies mostly in the reference's
    mostly_of = shared > reference.points[theirs] / 2
    pieces = np.bincount(theirs[mostly_in], minlength=all_)
    covered = np.bincount(theirs[mostly_in], shared[mostly_in], minlength=all_)
    holds = np.bincount(mine[mostly_of], minlength=ours)
    merged = np.isin(np.arange(all_), theirs[mostly_of & (holds[mine] >= 2)])
    split = (pieces >= 2) & (covered >= reference.points / 2)
    kinds = [overlap > FOUND_IOU, split, merged]
    outside = np.bincount(map.labels[(map.labels >= 0) & (reference.labels < 0)], minlength=ours)
    return GrainMatch(
        outcome=np.select(kinds, ["found", "split", "merged"], "missed"),
        partner=partner,
        iou=overlap,
        misorientation_deg=_means_apart(map, reference, partner, crystals),
        invented=int((outside > map.points / 2).sum()),
    )


def _overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of labels that share points, and how many, each of shape (p,)."""
    both = (first >= 0) & (second >= 0)
    width = second.max() + 1
    pair, shared = np.unique(first[both] * width + second[both], return_counts=True)
    return pair // width, pair % width, shared


def _means_apart(
    map: Grains, reference: Grains, partner: np.ndarray, crystals: Sequence[int]
) -> np.ndarray:
    """Return misorientations of the partners' means, NaN without one or of another phase, (n,)."""
    angle = np.full(len(reference), np.nan)
    fullest = with_full_symmetry(map.crystals, reference.crystals, crystals)
    for mine, (theirs, crystal) in enumerate(zip(crystals, fullest, strict=True)):
        same = (map.phase[partner] == mine) & (reference.phase == theirs) & (partner >= 0)
        means = map.matrices[partner[same]], reference.matrices[same]
        angle[same] = misorientation_deg(*means, crystal.proper_operators)
    return angle
