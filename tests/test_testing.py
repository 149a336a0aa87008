from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    reduce_euler,
)
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.templates import kinematic_templates
from zoneaxis.scans.indexing import Indexed
from zoneaxis.testing import validate_indexer


@pytest.fixture(scope="module")
def networks(nickelate) -> dict[str, NetworkIndexer]:
    recipe = preset("test", nickelate, size=128, inv_angstrom_per_pixel=0.025)
    labels = OrientationLabels.equispaced(nickelate, 10.0, 24)
    names = {"polar": "test_zoneaxis_polar", "cnn": "test_zoneaxis_cnn"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {name: create_indexer(model, labels, recipe) for name, model in names.items()}
        matched = create_indexer(names["polar"], labels, recipe)
    optics = recipe.optics(recipe.mean_convergence_mrad, 0.0)
    matched.network.set_templates(kinematic_templates(labels, matched.preprocess, optics))
    return {**made, "polar with templates": matched}


@pytest.fixture(scope="module")
def templates(nickelate) -> TemplateIndexer:
    return TemplateIndexer(nickelate, Optics(k_max_inv_angstrom=1.8), step_deg=3.0)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["polar", "cnn", "polar with templates"])
def test_an_untrained_network_passes(networks, name, seed):
    validate_indexer(networks[name], seed=seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_template_matching_and_polar_networks_turn(networks, templates, seed):
    validate_indexer(templates, seed=seed, turns_with_pattern=True)
    validate_indexer(networks["polar with templates"], seed=seed, turns_with_pattern=True)


def test_an_untrained_cartesian_network_does_not_turn(networks):
    with pytest.raises(AssertionError, match="turned by 30 degrees get answers that are"):
        validate_indexer(networks["cnn"], turns_with_pattern=True, turn_tolerance=1.0)


class Remembered:
    """Template matching that is asked once for the same patterns, to save time."""

    def __init__(self, templates: TemplateIndexer) -> None:
        self.templates, self.crystal, self.answers = templates, templates.crystal, {}
        self.crystals = templates.crystals

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        patterns = np.ascontiguousarray(patterns, dtype=np.float32)
        key = patterns.tobytes()
        if key not in self.answers:
            self.answers[key] = self.templates.index(patterns, inv_angstrom_per_pixel)
        return self.answers[key]


@pytest.fixture(scope="module")
def good(templates) -> Remembered:
    return Remembered(templates)


class Broken:
    """A good indexer, its patterns and answers changed."""

    def __init__(self, good: Remembered, change: Callable[..., object]) -> None:
        self.good, self.crystal, self.change, self.calls = good, good.crystal, change, 0

    @property
    def crystals(self) -> tuple[Crystal, ...]:
        return (self.crystal,)

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> object:
        self.calls += 1
        return self.change(self, patterns, lambda p: self.good.index(p, inv_angstrom_per_pixel))


def answers(change: Callable[[Indexed, Crystal], dict[str, np.ndarray]]) -> Callable[..., object]:
    """An indexer whose answers are changed."""

    def index(broken: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
        found = ask(patterns)
        return replace(found, **change(found, broken.crystal))

    return index


def patterns(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., object]:
    """An indexer that changes what it is given before it looks at it."""
    return lambda broken, patterns, ask: ask(change(patterns))


def equivalent(found: Indexed, crystal: Crystal) -> dict[str, np.ndarray]:
    matrices = crystal.proper_operators[1] @ matrices_from_euler(found.euler_deg)
    return {"euler_deg": euler_from_matrices(matrices)}


def turned(found: Indexed, angle_deg: np.ndarray) -> dict[str, np.ndarray]:
    euler = found.euler_deg.copy()
    euler[..., 0] = (euler[..., 0] + angle_deg) % 360
    return {"euler_deg": euler}


def twice(found: Indexed, _: Crystal) -> dict[str, np.ndarray]:
    first = [0, 0, *range(1, found.score.shape[1])]
    return {"euler_deg": found.euler_deg[:, first], "score": found.score[:, first]}


def in_place(_: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
    found = ask(patterns)
    patterns += 1
    return found


def some_alone(_: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
    if not len(patterns):
        raise IndexError("list index out of range")
    return ask(patterns)


def fewer_for_none(_: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
    found = ask(patterns)
    k = None if len(patterns) else 1
    return replace(found, euler_deg=found.euler_deg[:, :k], score=found.score[:, :k])


def of_the_batch(_: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
    found = ask(patterns)
    return replace(found, **turned(found, np.float64(5 * len(patterns))))


def at_random(broken: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
    found = ask(patterns)
    return replace(found, reliability=found.reliability * np.float32(0.99**broken.calls))


def first(found: Indexed, _: Crystal) -> dict[str, np.ndarray]:
    return {"euler_deg": found.euler_deg[:, :1], "score": found.score[:, :1]}


def of_radians(found: Indexed, crystal: Crystal) -> dict[str, np.ndarray]:
    return {**first(found, crystal), "euler_deg": np.deg2rad(found.euler_deg[:, :1])}


BROKEN = {
    "no answer": (lambda *_: None, "returned NoneType"),
    "one answer": (answers(lambda f, _: {"euler_deg": f.euler_deg[:, 0]}), "euler_deg of 4"),
    "flat scores": (answers(lambda f, _: {"score": f.score[:, 0]}), "score has shape"),
    "single angles": (
        answers(lambda f, _: {"euler_deg": f.euler_deg.astype(np.float32)}),
        "is float32 of shape .* expected float64",
    ),
    "double scores": (answers(lambda f, _: {"score": f.score.astype(float)}), "score of 4"),
    "percent": (answers(lambda f, _: {"score": 100 * f.score}), "score is not within 0 to 1"),
    "NaN": (answers(lambda f, _: {"score": f.score * np.float32("nan")}), "score is not within"),
    "unreliable": (answers(lambda f, _: {"reliability": -f.reliability}), "reliability is not"),
    "worst first": (answers(lambda f, _: {"score": f.score[:, ::-1]}), "is not the first"),
    "infinite": (answers(lambda f, _: {"euler_deg": f.euler_deg / 0.0}), "is not finite"),
    "negative": (answers(lambda f, _: {"euler_deg": f.euler_deg - 360}), "beyond 0..360"),
    "not reduced": (answers(equivalent), "not reduced by symmetry"),
    "twice": (answers(twice), "two answers to one pattern"),
    "property": (answers(lambda f, _: {"properties": {"q": f.score}}), "property q of 4"),
    "in place": (in_place, "changed the patterns"),
    "at random": (at_random, "another reliability the second time"),
    "never none": (some_alone, r"shape \(0, 128, 128\).* raised IndexError"),
    "fewer for none": (fewer_for_none, "no pattern gets 1 answers each, others 3"),
    "of the batch": (of_the_batch, "one by one get answers that are 15 degrees away"),
    "of each": (
        lambda _, p, ask: replace(f := ask(p), score=f.score / np.float32(1 + len(p))),
        "one by one get scores that differ",
    ),
    "overflow": (patterns(lambda p: p * p.dtype.type(100)), "that are uint16 get"),
    "memory order": (patterns(lambda p: p.ravel("K").reshape(p.shape)), "in Fortran's order get"),
}
LAZY = {
    "never turned": answers(
        lambda f, c: {**first(f, c), "euler_deg": f.euler_deg[:, :1] * [0, 1, 1]}
    ),
    "turned back": answers(lambda f, _: turned(f, -2 * f.euler_deg[..., 0])),
    "radians": answers(of_radians),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("change", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_named(good, change, sentence):
    with pytest.raises(AssertionError, match=sentence):
        validate_indexer(Broken(good, change))


@pytest.mark.parametrize("change", LAZY.values(), ids=LAZY)
def test_what_turns_wrongly_is_seen_when_asked(good, change):
    with pytest.raises(AssertionError, match="turned by 30 degrees get answers that are"):
        validate_indexer(Broken(good, change), turns_with_pattern=True)


class Hexagonal(Crystal):
    """A crystal that claims 60 degrees about c, which trigonal ones do not have."""

    @property
    def proper_operators(self) -> np.ndarray:
        trigonal = super().proper_operators
        return np.concatenate([trigonal, matrices_from_euler([60.0, 0, 0]) @ trigonal])


def test_symmetry_that_the_patterns_do_not_have_is_seen(good, nickelate):
    def index(broken: Broken, patterns: np.ndarray, ask: Callable) -> Indexed:
        found = ask(patterns)
        euler = reduce_euler(found.euler_deg[:, :1], broken.crystal)
        return replace(found, euler_deg=euler, score=found.score[:, :1])

    broken = Broken(good, index)
    broken.crystal = Hexagonal(**{f.name: getattr(nickelate, f.name) for f in fields(nickelate)})
    with pytest.raises(AssertionError, match="symmetry-equivalent orientations get"):
        validate_indexer(broken)


def test_what_is_broken_above_was_good(good):
    validate_indexer(good, turns_with_pattern=True)
