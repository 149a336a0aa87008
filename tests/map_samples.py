"""Orientation maps for the tests of their file formats."""

import numpy as np

from zoneaxis.scans.map_phases import without_sites
from zoneaxis.scans.orientation_map import OrientationMap

SILICON = without_sites("Si", (5.431, 5.431, 5.431, 90, 90, 90), 227)
COPPER = without_sites("Cu", (3.615, 3.615, 3.615, 90, 90, 90), 225)
SILVER = without_sites("Ag", (4.085, 4.085, 4.085, 90, 90, 90), 225)
CRYSTALS = [
    without_sites("cubic", (4, 4, 4, 90, 90, 90), 225),
    without_sites("cubic m-3", (4, 4, 4, 90, 90, 90), 205),
    without_sites("hexagonal", (3, 3, 5, 90, 90, 120), 194),
    without_sites("hexagonal 6", (3, 3, 5, 90, 90, 120), 176),
    without_sites("trigonal", (3, 3, 14, 90, 90, 120), 166),
    without_sites("quartz", (4.9, 4.9, 5.4, 90, 90, 120), 152),
    without_sites("trigonal -3", (3, 3, 14, 90, 90, 120), 148),
    without_sites("tetragonal", (3, 3, 5, 90, 90, 90), 139),
    without_sites("tetragonal 4", (3, 3, 5, 90, 90, 90), 87),
    without_sites("orthorhombic", (3, 4, 5, 90, 90, 90), 62),
    without_sites("monoclinic", (3, 4, 5, 90, 90, 107), 14),
    without_sites("triclinic", (3, 4, 5, 80, 95, 107), 2),
]


def random_map(crystals, shape=(5, 7), n_best=1, step_nm=20.372, seed=0):
    """Random orientations and scores; a third of the points is not indexed."""
    rng = np.random.default_rng(seed)
    crystals = crystals if isinstance(crystals, tuple) else (crystals,)
    return OrientationMap(
        crystals=crystals,
        euler_deg=rng.uniform(0, 1, (*shape, n_best, 3)) * [360, 180, 360],
        score=rng.uniform(size=(*shape, n_best)).astype(np.float32),
        reliability=rng.uniform(size=shape).astype(np.float32),
        phase=np.where(
            rng.uniform(size=shape) > 0.3, rng.integers(0, len(crystals), shape), -1
        ).astype(np.int8),
        step_nm=step_nm,
        properties={"thickness_nm": rng.uniform(10, 80, shape).astype(np.float32)},
    )
