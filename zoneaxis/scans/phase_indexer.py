"""PhaseIndexer: several indexers of one crystal each, of which the best answer decides the phase.

The reliability of the phase is ASTAR's, 1 - Q2 / Q1 with Q1 the best score of the chosen phase and
Q2 the best one of any other.

Source: E. F. Rauch, M. Veron, Mater. Charact. 98, 1 (2014) for the phase's reliability.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import SettingsError
from zoneaxis.scans.indexing import Indexed, Indexer


class PhaseIndexer:
    """Finds phase and orientation; implements Indexer with several crystals.

    Scores of the indexers are compared as they are: take indexers of one kind with one optics,
    such as `TemplateIndexer`s that differ in the crystal only. Confidences of two networks say
    nothing about which of them is right.

    Attributes:
        indexers: one for each crystal.
        crystals: the phases, in the order of the indexers.
    """

    def __init__(self, indexers: Sequence[Indexer]) -> None:
        """Combine indexers.

        Args:
            indexers: of one crystal each.

        Raises:
            SettingsError: none, one of several crystals, or two of the same crystal.
        """
        if not indexers or any(len(indexer.crystals) != 1 for indexer in indexers):
            raise SettingsError("PhaseIndexer expects one or more indexers of one crystal each.")
        self.indexers = tuple(indexers)
        self.crystals: tuple[Crystal, ...] = tuple(one.crystals[0] for one in indexers)
        for a, b in combinations(self.crystals, 2):
            if {**a.to_dict(), "name": ""} == {**b.to_dict(), "name": ""}:
                raise SettingsError(
                    f"Two phases are the same crystal ({a.name} and {b.name}): name each once."
                )

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Index patterns without changing them.

        Args:
            patterns: counts, shape (n, height, width).
            inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.

        Returns:
            The answers of each pattern's phase. That is the one of the highest score among those
            that its indexer marks as indexed; the reliability is that of the orientation. Further
            properties: phase_reliability, 0 to 1, and phase_0_score, phase_1_score, ..., the best
            score of each of `crystals`.
        """
        found = [one.index(patterns, inv_angstrom_per_pixel) for one in self.indexers]
        best = np.stack([answer.score[:, 0] for answer in found])
        # An answer that does not count loses to any that does.
        phase = (best + 2 * np.stack([answer.indexed for answer in found])).argmax(axis=0)
        n_best = max(answer.score.shape[1] for answer in found)

        def chosen(parts: Iterable[np.ndarray]) -> np.ndarray:
            return np.stack(list(parts))[phase, np.arange(len(phase))]

        indexed = chosen(answer.indexed for answer in found)
        return Indexed(
            euler_deg=chosen(_padded(answer, n_best).euler_deg for answer in found),
            score=chosen(_padded(answer, n_best).score for answer in found),
            reliability=chosen(answer.reliability for answer in found),
            indexed=indexed,
            properties={
                **_properties(found, chosen),
                "phase_reliability": np.where(indexed, _stands_out(best, phase), 0),
                **{f"phase_{i}_score": score for i, score in enumerate(best)},
            },
            phase=phase.astype(np.int8),
        )


def _padded(answer: Indexed, n_best: int) -> Indexed:
    """Return an answer with as many orientations; the first is repeated with score 0."""
    missing = n_best - answer.score.shape[1]
    if not missing:
        return answer
    again = np.repeat(answer.euler_deg[:, :1], missing, axis=1)
    return replace(
        answer,
        euler_deg=np.concatenate([answer.euler_deg, again], axis=1),
        score=np.pad(answer.score, ((0, 0), (0, missing))),
    )


def _properties(
    found: Sequence[Indexed], chosen: Callable[[Iterable[np.ndarray]], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the properties of each pattern's phase, NaN where its indexer has none such."""
    names = dict.fromkeys(name for answer in found for name in answer.properties)
    nothing = np.full(len(found[0].score), np.nan, np.float32)
    return {name: chosen(one.properties.get(name, nothing) for one in found) for name in names}


def _stands_out(best: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return 1 - best score of another phase / score of the chosen one, 0 to 1, shape (n,)."""
    rows = np.arange(len(phase))
    others = best.copy()
    others[phase, rows] = 0
    return np.clip(1 - others.max(axis=0) / np.maximum(best[phase, rows], 1e-30), 0, 1)
