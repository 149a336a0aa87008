"""MapArrays: what an orientation map is made of; `OrientationMap` adds what one does with it.

The file formats read and write these, and so need not know the class that calls them.
"""

from dataclasses import dataclass, field

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import MapError

RESERVED = {"x", "y", "phi1", "Phi", "phi2", "phase_id", "id", "is_in_data", "score", "reliability"}


@dataclass(frozen=True, eq=False)
class MapArrays:
    """Orientations on the points of a scan, the n best of each, best first.

    Attributes:
        crystals: the phases that there may be.
        euler_deg: Bunge angles, float64, shape (rows, cols, n_best, 3).
        score: confidence of a network, correlation index of template matching, 0..1, float32,
            shape (rows, cols, n_best). Files of other programs may hold another quantity.
        reliability: how far the best stands out, 0..1, float32, shape (rows, cols).
        phase: which of `crystals` a point is, -1 where there is no orientation, int, shape
            (rows, cols). All n best orientations of a point are of its phase.
        step_nm: distance between neighboring points, along rows and columns alike.
        properties: further values by name, each of shape (rows, cols). Agreed names:
            `thickness_nm`, and the class probabilities `vacuum` and `amorphous`, 0..1.
    """

    crystals: tuple[Crystal, ...]
    euler_deg: np.ndarray
    score: np.ndarray
    reliability: np.ndarray
    phase: np.ndarray
    step_nm: float
    properties: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.phase.shape
        arrays = {"reliability": self.reliability, **self.properties}
        wrong = [name for name, values in arrays.items() if values.shape != shape]
        if self.score.shape[:2] != shape or self.euler_deg.shape != (*self.score.shape, 3):
            wrong.append("euler_deg or score")
        if wrong or len(shape) != 2:
            raise MapError(f"A map of shape {shape} cannot hold {', '.join(wrong)} of another.")
        taken = RESERVED & set(self.properties)
        if taken:
            raise MapError(f"A property of a map cannot be called {', '.join(sorted(taken))}.")
        if self.phase.size and not -1 <= self.phase.min() <= self.phase.max() < len(self.crystals):
            raise MapError(f"A map of {len(self.crystals)} crystals has phase {self.phase.max()}.")
        if not np.isfinite(self.euler_deg[self.indexed, 0]).all():
            raise MapError("An indexed point has Euler angles that are not numbers.")
        if not 0 < self.step_nm < np.inf:
            raise MapError(f"The step of a map is {self.step_nm} nm: expected a length above 0.")

    @property
    def shape(self) -> tuple[int, int]:
        """Points of the map: (rows, cols)."""
        return self.phase.shape

    @property
    def n_best(self) -> int:
        """Orientations kept at each point."""
        return self.score.shape[2]

    @property
    def indexed(self) -> np.ndarray:
        """False where there is no orientation, bool, shape (rows, cols)."""
        return self.phase >= 0
