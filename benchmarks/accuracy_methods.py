"""The methods that bench_accuracy.py measures, each as an Indexer.

All are told the same: crystal, optics, pixel size. py4DSTEM and pyxem run as in other_matchers.py.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
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
from zoneaxis.models.pretrained import shipped_models
from zoneaxis.scans.indexing import Indexed, Indexer

CAMERA_LENGTH_ERROR = 0.1
DYNAMICAL_NM = (20.0, 40.0, 60.0, 80.0)
STEP_DEG = 2.0
REFINEMENT = "zoneaxis.evaluation.refined_indexer"
REFINED = 320  # patterns

METHODS = (
    "kinematic",
    "scales",
    "dynamical",
    "acom",
    "pyxem",
    "cnn",
    "network",
    "kinematic-refined",
    "network-refined",
)

Make = Callable[[Crystal, Optics], Indexer]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        label: what the table calls it.
        make: its indexer, for a crystal and the optics of a set.
        most: patterns of a set and condition that it is given; slow methods get fewer.
        source: which checkpoint, if it has one.
    """

    label: str
    make: Make
    most: int | None = None
    source: str | None = None


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


def methods(model: str | Path | None, cnn: Path | None, threads: int) -> dict[str, Method]:
    """Return all methods that can run here, by the names that --methods takes.

    Args:
        model: folder or name of the network; the last of those that come with zoneaxis by default.
        cnn: folder of the paper's CNN.
        threads: of those libraries that ask.
    """
    model = model or next(reversed(shipped_models()), None)
    found = {
        "kinematic": Method("template matching", _templates()),
        "scales": Method(
            "template matching, 7 camera scales",
            _templates(camera_scales=camera_scales(CAMERA_LENGTH_ERROR)),
            most=640,
        ),
        "dynamical": Method(
            "template matching, dynamical", _templates(thicknesses_nm=DYNAMICAL_NM), most=640
        ),
        "acom": Method("py4DSTEM ACOM", _acom, most=64),
    }
    if importlib.util.find_spec("pyxem"):
        found["pyxem"] = Method("pyxem", lambda *at: _pyxem(*at, threads), most=128)
    if cnn:
        found["cnn"] = Method("the paper's CNN", _network(cnn), source=cnn.name)
    if model:
        source = Path(model).name
        found["network"] = Method("network", _network(model), source=source)
    if importlib.util.find_spec(REFINEMENT):
        refined = _refined(_templates())
        found["kinematic-refined"] = Method("template matching + refinement", refined, REFINED)
        if model:
            refined = _refined(_network(model))
            found["network-refined"] = Method("network + refinement", refined, REFINED, source)
    return found


def _templates(**settings: Any) -> Make:
    return lambda crystal, optics: TemplateIndexer(crystal, optics, step_deg=STEP_DEG, **settings)


def _network(name: str | Path) -> Make:
    return lambda crystal, optics: NetworkIndexer.from_pretrained(name, crystal=crystal)


def _refined(proposer: Make) -> Make:
    def make(crystal: Crystal, optics: Optics) -> Indexer:
        indexer = importlib.import_module(REFINEMENT).RefinedIndexer
        return indexer(proposer(crystal, optics), crystal, optics)

    return make


def _acom(crystal: Crystal, optics: Optics) -> Indexer:
    return Matched(crystal, Acom(crystal, optics, STEP_DEG).match)


def _pyxem(crystal: Crystal, optics: Optics, threads: int) -> Indexer:
    directions = sample_directions(crystal, STEP_DEG, mirrored=True)
    beams = beam_directions(np.pad(directions, ((0, 0), (1, 0))))
    return Matched(crystal, Pyxem(crystal, optics, beams, threads).match)
