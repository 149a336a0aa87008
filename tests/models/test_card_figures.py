import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from zoneaxis.cards import FigureFacts
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.models.card_figures import (
    confidence_figure,
    direction_probabilities,
    example_patterns,
    ipf_figure,
    training_figure,
    write_figures,
)
from zoneaxis.models.confidence import confidence_curves
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.scans.indexing import Indexed

HISTORY = [
    {"images": 100, "loss": 8.0, "validation_loss": 9.0, "median_deg": 30.0, "within_5_deg": 0.1},
    {"images": 200, "loss": 4.0, "validation_loss": None, "median_deg": 9.0, "within_5_deg": 0.5},
    {"images": 300, "loss": 3.0, "median_deg": float("nan"), "within_5_deg": 0.75},
]


def drawn(figure) -> list[str]:
    """Render, so that layout and text are exercised; return the strings shown."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def curves(ax) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(xy) for xy in line.get_xydata()] for line in ax.lines}


def test_the_course_of_training():
    figure = training_figure(HISTORY)
    assert "patterns seen" in drawn(figure)
    loss, shares, median = (curves(ax) for ax in figure.axes)
    assert loss == {"training": [(100, 8), (200, 4), (300, 3)], "validation": [(100, 9)]}
    assert shares == {"within 5°": [(100, 10), (200, 50), (300, 75)]}
    assert median == {"validation": [(100, 30), (200, 9)]}


def test_how_honest_a_confidence_is():
    curves_of = confidence_curves(np.linspace(0.5, 0.95, 100), np.arange(100) < 20)
    figure = confidence_figure(curves_of)
    assert {"confidence (%)", "within 5°", "beyond 5° (%)"} <= set(drawn(figure))
    honest, risky = figure.axes
    stated, right = honest.lines[1].get_xydata().T
    np.testing.assert_allclose(right, [100 * 2 / 22, 100, 100, 100, 100])
    assert (np.diff(stated) > 0).all()
    assert sum(bar.get_height() for bar in honest.patches) == pytest.approx(100)
    coverage, risk = risky.lines[0].get_xydata().T
    assert (coverage[-1], risk[-1]) == pytest.approx((100, 20))
    assert risk[coverage < 80].max() == 0


def test_a_training_without_validation():
    figure = training_figure([{"images": 10, "loss": 2.0}])
    drawn(figure)
    assert [len(ax.lines) for ax in figure.axes] == [1, 0, 0]


class Sure:
    """A network that finds one class of each pattern, and little else."""

    def __init__(self, labels: OrientationLabels, classes: list[int]) -> None:
        self.labels, self.classes = labels, torch.tensor(classes)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def eval(self) -> "Sure":
        return self

    def parameters(self):
        return iter([self.weight])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), self.labels.n_classes + 1)
        logits[:, -1] = 30.0  # a further output
        logits[torch.arange(len(x)), self.classes] = 20.0
        return logits


def sure(labels: OrientationLabels, recipe, classes: list[int], euler_deg=None) -> SimpleNamespace:
    """What the figures need of an indexer."""
    euler = np.zeros((len(classes), 1, 3)) if euler_deg is None else euler_deg[:, None]
    found = Indexed(euler, np.full((len(classes), 1), 0.8, np.float32), None, None)
    return SimpleNamespace(
        network=Sure(labels, classes),
        labels=labels,
        preprocess=lambda patterns, pixel: patterns,
        recipe=recipe,
        training={},
        temperature=2.0,
        index=lambda patterns, pixel: found,
    )


def test_probabilities_of_directions(labels, recipe):
    d, bins = len(labels.directions_deg), labels.bins
    classes = [3 * bins + 5, d * bins]  # one direction; vacuum
    indexer = sure(labels, recipe, classes)
    directions, found = direction_probabilities(indexer, np.zeros((2, 8, 8), np.float32), 0.1)
    likely = np.exp(20 / 2) / (np.exp(20 / 2) + d * bins + 1)
    rest = bins / (np.exp(20 / 2) + d * bins + 1)
    place = int(np.abs(directions - labels.directions_deg[3]).sum(axis=1).argmin())
    np.testing.assert_allclose(directions[place], labels.directions_deg[3], atol=1e-4)
    np.testing.assert_allclose(found[0, place], likely + rest * (bins - 1) / bins, rtol=1e-4)
    np.testing.assert_allclose(np.delete(found[0], place), rest, rtol=1e-4)
    assert found[1].sum() < 1 - likely + 1e-3


def test_classes_of_one_direction_are_one_dot(labels, recipe):
    turned = np.insert(np.repeat([[30.0, 20.0], [60.0, 40.0]], 3, axis=0), 0, [0, 9, 18] * 2, 1)
    flat = OrientationLabels(labels.crystal, turned.astype(float), 1)
    indexer = sure(flat, recipe, [4])
    directions, found = direction_probabilities(indexer, np.zeros((1, 8, 8), np.float32), 0.1)
    assert directions.tolist() == [[30, 20], [60, 40]]
    assert found[0, 1] > 0.99


@pytest.fixture(scope="module")
def truths(nickelate, recipe) -> np.ndarray:
    """Bunge angles of the examples, (3, 3)."""
    return example_patterns(recipe, nickelate)[1]


def test_truth_and_answer_stand_where_they_belong(labels, recipe, truths):
    operators = labels.crystal.proper_operators
    answer = truths + np.array([0, 8, 0])
    figure = ipf_figure(sure(labels, recipe, [0, 0, 0], answer))
    texts = drawn(figure)
    for i, ax in enumerate(figure.axes[3:6]):
        off = misorientation_deg(*matrices_from_euler(np.stack([truths[i], answer[i]])), operators)
        assert f"{off:.1f}° off, confidence 80%" in texts
        marks = {
            line.get_marker(): line.get_xydata()[0]
            for line in ax.lines
            if len(line.get_xydata()) == 1
        }
        for mark, euler in (("x", truths[i]), ("o", answer[i])):
            tilt = 2 * np.rad2deg(np.arctan(np.hypot(*marks[mark])))  # stereographic
            assert abs(min(euler[1], 180 - euler[1]) - tilt) < 0.1
    assert np.ptp(truths[:, 1]) > 30


def test_the_likeliest_direction_is_drawn_where_it_is(labels, recipe, truths):
    d = [int(np.abs(labels.directions_deg - t[1:]).sum(axis=1).argmin()) for t in truths]
    figure = ipf_figure(sure(labels, recipe, [n * labels.bins for n in d]))
    drawn(figure)
    for ax, n in zip(figure.axes[3:6], d, strict=True):
        (dots,) = ax.collections
        x, y = dots.get_offsets()[-1]  # on top
        assert dots.get_array()[-1] > 0.8
        assert abs(labels.directions_deg[n, 0] - 2 * np.rad2deg(np.arctan(np.hypot(x, y)))) < 0.1


NICKEL = {
    "name": "Ni",
    "cell": [3.52, 3.52, 3.52, 90.0, 90.0, 90.0],
    "space_group": 225,
    "numbers": [28] * 4,
    "positions": [[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]],
    "occupancies": [1.0] * 4,
    "b_iso_angstrom2": [0.4] * 4,
}


@pytest.mark.parametrize("changes", [{"space_group": 146}, NICKEL], ids=["polar", "cubic"])
def test_other_crystals(nickelate, changes):
    crystal = Crystal.from_dict({**nickelate.to_dict(), **changes})
    labels = OrientationLabels.equispaced(crystal, 15.0, 4)
    recipe = preset("test", crystal, size=64, inv_angstrom_per_pixel=0.05)
    figure = ipf_figure(sure(labels, recipe, [0, 1, 2]))
    drawn(figure)
    for ax in figure.axes[3:6]:
        edge = np.concatenate(
            [line.get_xydata() for line in ax.lines if line.get_marker() == "None"]
        )
        low, high = np.nanmin(edge, axis=0) - 1e-3, np.nanmax(edge, axis=0) + 1e-3
        points = np.ma.getdata(ax.collections[0].get_offsets())
        points = points[np.isfinite(points).all(axis=1)]
        assert len(points)
        assert ((points >= low) & (points <= high)).all()
        (truth,) = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "x"]
        assert ((truth >= low) & (truth <= high)).all()


def test_a_measured_scan(labels, nickelate):
    names = dict.fromkeys(("scan_sha256", "labels_sha256"), "0" * 64)
    recipe = ScanRecipe(
        nickelate.to_dict(), "a", labels_name="b", **names, inv_angstrom_per_pixel=0.05,
        direct_beam_px=(32, 32), size=64,
    )  # fmt: skip
    assert len(drawn(ipf_figure(sure(labels, recipe, [0, 1, 2])))) > 9


def test_figures_are_files_and_facts(matched: NetworkIndexer, tmp_path):
    before = matched.network.state_dict()["norm.running_mean"].clone()
    (alone,) = write_figures(tmp_path / "a", matched)
    assert alone.name == "ipf"
    assert "52.5 nm thick" in alone.caption
    both = write_figures(tmp_path / "b", replace(matched, training={"history": HISTORY}))
    assert [fact.name for fact in both] == ["training", "ipf"]
    assert all(isinstance(fact, FigureFacts) and fact.caption.endswith(".") for fact in both)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert files == ["a/figures/ipf.png", "b/figures/ipf.png", "b/figures/training.png"]
    assert (tmp_path / files[0]).read_bytes() == (tmp_path / files[1]).read_bytes()
    for name in files:
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 300
    assert torch.equal(before, matched.network.state_dict()["norm.running_mean"])
