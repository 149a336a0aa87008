"""validate_indexer: what everything that indexes must hold to, whatever its method and quality."""

from collections.abc import Iterator

import numpy as np
import torch

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
    reduce_euler,
)
from zoneaxis.diffraction.render import render
from zoneaxis.scans.indexing import Indexed, Indexer

PATTERNS = 4
SIZE = 128  # pixels along an edge
THICKNESS_NM = 5.0
LARGEST_COUNT = 60_000  # counts are whole numbers, which all types of the arrays hold
TURNS_DEG = (30.0, 105.0, 240.0)
DTYPES = {"euler_deg": np.float64, "score": np.float32, "reliability": np.float32, "indexed": bool}
EDGE_DEG = 0.01  # an answer may lie so far beyond the edge of the region of reduced angles
DISTINCT_DEG = 0.5  # two answers to one pattern that are closer are one
ROUNDING = 1e-5  # by which a sum of probabilities may exceed 1


def validate_indexer(
    indexer: Indexer,
    *,
    seed: int = 0,
    optics: Optics | None = None,
    tolerance: float = 2e-3,
    tolerance_deg: float = 0.5,
    turns_with_pattern: bool = False,
    turn_tolerance_deg: float = 3.0,
    turn_tolerance: float = 0.2,
) -> None:
    """Check that an indexer keeps the promises of `zoneaxis.scans.indexing.Indexer`.

    On kinematic patterns of its own crystal: shapes, types and ranges of the answers; best first
    and none twice, as symmetry counts; angles reduced as by `reduce_euler`; the patterns left as
    they were; the same answers again, to patterns one by one, to other types of numbers and to
    arrays that are not contiguous; no answer to no pattern; the same ones to symmetry-equivalent
    orientations. All this holds for an untrained network as well. Whether answers are right is
    not asked.

    Args:
        indexer: what is checked.
        seed: of the orientations.
        optics: of the patterns, which reach to its k_max; by default 300 kV, 1.5 mrad and
            1.8 1/Angstrom.
        tolerance: largest difference of scores that count as the same.
        tolerance_deg: largest misorientation of answers that count as the same.
        turns_with_pattern: check that phi1 turns with the pattern, too. Template matching and
            polar networks turn by construction; a Cartesian network has to learn it and, while
            untrained, fails.
        turn_tolerance_deg: `tolerance_deg` of that check; pixels and in-plane bins stay behind.
        turn_tolerance: `tolerance` of that check.

    Raises:
        AssertionError: says which promise is broken.
    """
    optics = optics or Optics(k_max_inv_angstrom=1.8)
    _require(len(indexer.crystals) == 1, "only indexers of a single phase can be checked")
    (crystal,), pixel = indexer.crystals, optics.k_max_inv_angstrom / (SIZE // 2)
    euler = _orientations(seed)
    patterns = _patterns(crystal, optics, euler)

    def checked(given: np.ndarray) -> Indexed:
        before = given.copy()
        found = _index(indexer, given, pixel)
        _require(np.array_equal(before, given), "index() changed the patterns that it was given")
        _check_form(found, len(given))
        _check_values(found)
        _check_angles(found, crystal)
        _check_distinct(found, crystal)
        return found

    found = checked(patterns)
    _check_repeats(found, checked(patterns))
    _check_empty(found, checked(patterns[:0]))
    same = [("the patterns one by one", _joined([checked(p[None]) for p in patterns]))]
    same += [(f"patterns that are {what}", checked(p)) for what, p in _other_arrays(patterns)]
    for operator in crystal.proper_operators[1:]:
        equivalent = euler_from_matrices(operator @ matrices_from_euler(euler))
        answer = checked(_patterns(crystal, optics, equivalent))
        same.append(("symmetry-equivalent orientations", answer))
    for what, other in same:
        _check_same(found, other, crystal, what, tolerance, tolerance_deg)
    if turns_with_pattern:
        for turn in TURNS_DEG:
            other = checked(_patterns(crystal, optics, euler + np.array([turn, 0, 0])))
            what = f"patterns turned by {turn:g} degrees"
            _check_same(found, other, crystal, what, turn_tolerance, turn_tolerance_deg, turn)


def _index(indexer: Indexer, patterns: np.ndarray, pixel: float) -> Indexed:
    try:
        return indexer.index(patterns, pixel)
    except Exception as error:
        raise AssertionError(
            f"index() of {patterns.dtype} patterns of shape {patterns.shape} and strides "
            f"{patterns.strides} raised {error!r}."
        ) from error


def _orientations(seed: int) -> np.ndarray:
    """Return Bunge angles spread evenly over all orientations, (n, 3)."""
    u, v, w = np.random.default_rng(seed).uniform(size=(3, PATTERNS))
    return np.stack([360 * u, np.rad2deg(np.arccos(1 - 2 * v)), 360 * w], axis=1)


def _patterns(crystal: Crystal, optics: Optics, euler_deg: np.ndarray) -> np.ndarray:
    """Return patterns in whole counts, float32, (n, SIZE, SIZE)."""
    disks = kinematic_disks(crystal, optics, euler_deg[:, 1:], np.array([THICKNESS_NM]))
    phi1 = torch.from_numpy(np.ascontiguousarray(euler_deg[:, 0]))
    drawn = render(disks, SIZE, optics.k_max_inv_angstrom / (SIZE // 2), phi1)[:, 0].numpy()
    return np.round(LARGEST_COUNT * drawn / drawn.max(axis=(1, 2), keepdims=True))


def _other_arrays(patterns: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the same patterns in other types and layouts."""
    yield "float64", patterns.astype(np.float64)
    yield "uint16", patterns.astype(np.uint16)
    yield "in Fortran's order", np.asfortranarray(patterns)
    yield "every second column of an array", np.repeat(patterns, 2, axis=2)[:, :, ::2]


def _joined(parts: list[Indexed]) -> Indexed:
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in DTYPES}
    properties = {
        name: np.concatenate([part.properties[name] for part in parts])
        for name in parts[0].properties
    }
    return Indexed(**columns, properties=properties)


def _require(condition: bool | np.bool_, sentence: str) -> None:
    if not condition:
        raise AssertionError(f"{sentence}.")


def _check_form(found: Indexed, n: int) -> None:
    _require(isinstance(found, Indexed), f"index() returned {type(found).__name__}, not Indexed")
    k = found.score.shape[1] if found.score.ndim == 2 else 0
    _require(k >= 1, f"score has shape {found.score.shape}: expected (n, k) with k >= 1")
    shapes = {"euler_deg": (n, k, 3), "score": (n, k), "reliability": (n,), "indexed": (n,)}
    for name, dtype in DTYPES.items():
        values = getattr(found, name)
        _require(
            values.shape == shapes[name] and values.dtype == dtype,
            f"{name} of {n} patterns is {values.dtype} of shape {values.shape}: expected "
            f"{np.dtype(dtype)} of shape {shapes[name]}",
        )
    for name, values in found.properties.items():
        _require(
            values.shape == (n,),
            f"property {name} of {n} patterns has shape {values.shape}: expected {(n,)}",
        )


def _check_values(found: Indexed) -> None:
    for name in ("score", "reliability"):
        values = getattr(found, name)
        fine = (values >= 0) & (values <= 1 + ROUNDING)  # NaN is neither
        _require(fine.all(), f"{name} is not within 0 to 1: {values[~fine][:3]}")
    rising = np.diff(found.score, axis=1).max(initial=-1)
    _require(rising <= 0, f"the best answer is not the first: a score rises by {rising:.3g}")


def _check_angles(found: Indexed, crystal: Crystal) -> None:
    euler = found.euler_deg.reshape(-1, 3)
    _require(np.isfinite(euler).all(), "an Euler angle is not finite")
    fine = ((euler >= 0) & (euler < [360, 180 + EDGE_DEG, 360])).all(axis=1)
    _require(fine.all(), f"Euler angles beyond 0..360, 0..180, 0..360 degrees: {euler[~fine][:1]}")
    # On the edge of the region two answers are right: one is reduced if it is, or one close by.
    reduced = np.zeros(len(euler), dtype=bool)
    for nudge in np.array([[0, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * EDGE_DEG:
        away = reduce_euler(euler + nudge, crystal) - (euler + nudge)
        reduced |= (np.abs((away + 180) % 360 - 180) < EDGE_DEG / 2)[:, 1:].all(axis=1)
    _require(
        reduced.all(),
        f"Euler angles are not reduced by symmetry: {euler[~reduced][:1]}, where "
        f"{reduce_euler(euler[~reduced][:1], crystal)} is the same orientation",
    )


def _check_distinct(found: Indexed, crystal: Crystal) -> None:
    matrices = matrices_from_euler(found.euler_deg)
    for i in range(1, found.score.shape[1]):
        angle = misorientation_deg(
            matrices[:, :i], matrices[:, i : i + 1], crystal.proper_operators
        )
        twice = (angle < DISTINCT_DEG) & (found.score[:, i : i + 1] > 0)
        _require(not twice.any(), "two answers to one pattern are the same orientation")


def _check_repeats(found: Indexed, again: Indexed) -> None:
    for what in (*DTYPES, "properties"):
        first, second = getattr(found, what), getattr(again, what)
        if what != "properties":
            first, second = {"": first}, {"": second}
        for name, values in first.items():
            _require(
                np.array_equal(values, second[name], equal_nan=values.dtype != bool),
                f"the same patterns got another {name or what} the second time",
            )


def _check_empty(found: Indexed, nothing: Indexed) -> None:
    _require(
        nothing.score.shape[1] == found.score.shape[1],
        f"no pattern gets {nothing.score.shape[1]} answers each, others {found.score.shape[1]}",
    )
    _require(
        nothing.properties.keys() == found.properties.keys(),
        f"no pattern has the properties {[*nothing.properties]}, others {[*found.properties]}",
    )


def _check_same(
    found: Indexed,
    other: Indexed,
    crystal: Crystal,
    what: str,
    tolerance: float,
    tolerance_deg: float,
    turn_deg: float = 0.0,
) -> None:
    """Compare answers; `other` is of patterns turned by an angle."""
    _require(
        other.score.shape == found.score.shape,
        f"{what} get {other.score.shape[1]} answers each, not {found.score.shape[1]}",
    )
    difference = np.abs(other.score - found.score).max()
    _require(difference <= tolerance, f"{what} get scores that differ by {difference:.3g}")
    expected = matrices_from_euler(found.euler_deg) @ matrices_from_euler([turn_deg, 0, 0])
    best = matrices_from_euler(other.euler_deg[:, :1])
    angle = misorientation_deg(expected, best, crystal.proper_operators)
    # Of two answers that are equally good, either may come first.
    angle[found.score < found.score[:, :1] - 2 * tolerance] = 180
    away = angle.min(axis=1).max()
    _require(away <= tolerance_deg, f"{what} get answers that are {away:.3g} degrees away")
    for name, values in found.properties.items():
        _require(
            np.allclose(values, other.properties[name], tolerance, tolerance, equal_nan=True),
            f"{what} get another {name}",
        )
