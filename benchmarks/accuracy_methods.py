"""The methods that bench_accuracy.py measures, each as an Indexer.

All are told the same: crystal, optics, pixel size. py4DSTEM and pyxem run as in other_matchers.py.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from other_matchers import Acom, Found, Pyxem

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import beam_directions, euler_from_matrices
from zoneaxis.evaluation.template_matching import TemplateIndexer, camera_scales
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.scans.indexing import Indexed, Indexer

METHODS = {  # as --methods has them -> as the table has them
    "kinematic": "template matching",
    "scales": "template matching, 7 camera scales",
    "dynamical": "template matching, dynamical",
    "acom": "py4DSTEM ACOM",
    "pyxem": "pyxem",
    "cnn": "the paper's CNN",
    "network": "network",
    "kinematic-refined": "template matching + refinement",
    "network-refined": "network + refinement",
}
MOST = {  # patterns of a set and condition that the slower ones get; the others get all
    "scales": 320,
    "dynamical": 320,
    "acom": 64,
    "pyxem": 64,
    "kinematic-refined": 64,
    "network-refined": 64,
}
CAMERA_LENGTH_ERROR = 0.1
DYNAMICAL_NM = (20.0, 40.0, 60.0, 80.0)
STEP_DEG = 2.0
REFINEMENT = "zoneaxis.evaluation.refined_indexer"

Make = Callable[[Crystal, Optics], Indexer]


class Matched:
    """Another library's matching as an Indexer; its scores are not comparable and left out."""

    def __init__(self, crystal: Crystal, match: Callable[[np.ndarray, float], Found]) -> None:
        """Wrap `match`: patterns and pixel size -> what other_matchers.py finds."""
        self.crystals, self._match = (crystal,), match

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Index patterns, as `Indexer` has it."""
        found = self._match(patterns, inv_angstrom_per_pixel)
        known = found.indexed.astype(np.float32)
        euler = euler_from_matrices(found.matrices)[:, None]
        return Indexed(euler, known[:, None], known, found.indexed)


def makers(model: str | Path | None, cnn: Path | None, threads: int) -> dict[str, Make]:
    """Return what makes the indexer of each method that can run here.

    Args:
        model: folder or name of the network, if there is one.
        cnn: folder of the paper's CNN, if there is one.
        threads: for libraries that ask.
    """
    scales = camera_scales(CAMERA_LENGTH_ERROR)
    found = {
        "kinematic": _templates(),
        "scales": _templates(camera_scales=scales),
        "dynamical": _templates(thicknesses_nm=DYNAMICAL_NM),
        "acom": _acom,
    }
    if importlib.util.find_spec("pyxem"):
        found["pyxem"] = lambda crystal, optics: _pyxem(crystal, optics, threads)
    networks = {"cnn": cnn, "network": model}
    found |= {method: _network(name) for method, name in networks.items() if name}
    if importlib.util.find_spec(REFINEMENT):
        proposers = [method for method in ("kinematic", "network") if method in found]
        found |= {f"{method}-refined": _refined(found[method]) for method in proposers}
    return found


def _templates(**settings: Any) -> Make:
    return lambda crystal, optics: TemplateIndexer(crystal, optics, step_deg=STEP_DEG, **settings)


def _acom(crystal: Crystal, optics: Optics) -> Indexer:
    return Matched(crystal, Acom(crystal, optics, STEP_DEG).match)


def _pyxem(crystal: Crystal, optics: Optics, threads: int) -> Indexer:
    directions = sample_directions(crystal, STEP_DEG, mirrored=True)
    beams = beam_directions(np.pad(directions, ((0, 0), (1, 0))))
    return Matched(crystal, Pyxem(crystal, optics, beams, threads).match)


def _network(name: str | Path) -> Make:
    return lambda crystal, optics: NetworkIndexer.from_pretrained(name, crystal=crystal)


def _refined(proposer: Make) -> Make:
    def make(crystal: Crystal, optics: Optics) -> Indexer:
        refined = importlib.import_module(REFINEMENT).RefinedIndexer
        return refined(proposer(crystal, optics), crystal, optics)

    return make
