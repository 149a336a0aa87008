import io
from dataclasses import replace

import numpy as np
import pytest
from dataset_reader import euler_of, patterns_of, read_split
from orix.quaternion import symmetry

from zoneaxis.dataset_builder.card_figures import (
    AUGMENTATIONS,
    Rows,
    augmentations_figure,
    examples_figure,
)
from zoneaxis.dataset_builder.plan import plan_of
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.dataset_builder.sampling_figure import sampling_figure, zone_axis


@pytest.fixture(scope="module")
def rows(tiny_dataset) -> Rows:
    return Rows.read(tiny_dataset)


def drawn(figure) -> list[str]:
    """Render, so that layout and text are exercised; return the strings shown."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def density(figure) -> np.ndarray:
    (stairs,) = figure.axes[-1].patches
    return stairs.get_data().values


def sampling_of(recipe, crystal):
    plan = plan_of(recipe.to_json())
    euler = plan.orientations_deg.repeat(recipe.thicknesses, axis=0)
    group = crystal.point_group.proper_subgroup
    return sampling_figure(crystal, group, euler, plan.held_out.ravel())


def test_rows_are_those_of_the_data_set(rows, tiny_dataset):
    train = read_split(tiny_dataset)[:]
    np.testing.assert_array_equal(rows.pattern(33), patterns_of(train)[33])  # of another row group
    np.testing.assert_allclose(rows.euler_deg[33], euler_of(train)[33], rtol=1e-6)
    assert rows.held_out.sum() == 2


def test_typical_rows_span_the_data_set(rows):
    typical = rows.typical(8)
    tilt, thickness = rows.euler_deg[typical, 1], rows.thickness_nm[typical]
    assert tilt[0] < 20
    assert tilt[-1] > 80
    assert thickness.min() < 35
    assert thickness.max() > 70
    unknown = replace(rows, thickness_nm=np.full(48, np.nan), precession_deg=np.arange(48) % 2)
    assert list(unknown.precession_deg[unknown.typical(8)]) == [0, 1] * 4


def test_examples_name_what_they_show(rows):
    texts = drawn(examples_figure(rows, 0.1))
    assert sum("Φ" in text and " nm" in text for text in texts) == 8
    unknown = replace(rows, thickness_nm=np.full(48, np.nan), precession_deg=np.full(48, 0.6))
    texts = drawn(examples_figure(unknown, 0.1))
    assert sum("precession 0.6°" in text for text in texts) == 8
    assert not any(" nm" in text for text in texts)


def test_every_augmentation_changes_the_pattern(rows, nickelate):
    figure = augmentations_figure(rows, 0.1, nickelate)
    assert set(AUGMENTATIONS) <= set(drawn(figure))
    plain, *others = [ax.images[0].get_array() for ax in figure.axes]
    assert len(others) == len(AUGMENTATIONS) + 2
    assert all(other.shape != plain.shape or abs(other - plain).max() > 0.1 for other in others)


def test_stepped_crowds_at_the_pole_and_equispaced_does_not(nickelate):
    stepped = sampling_of(preset("stepped", nickelate), nickelate)
    assert density(stepped)[0] > 8
    even = sampling_of(preset("equispaced", nickelate), nickelate)
    np.testing.assert_allclose(density(even), 1, atol=0.15)
    assert {"train: 1,730", "validation: 432", "$[0001]$"} <= set(drawn(even))


def test_directions_in_both_splits_are_told_apart(nickelate):
    recipe = preset("equispaced", nickelate, resolution=10, split="rows")
    plan = plan_of(recipe.to_json())
    some, every = plan.held_out.any(axis=1), plan.held_out.all(axis=1)
    texts = drawn(sampling_of(recipe, nickelate))
    assert f"both: {(some & ~every).sum()}" in texts
    assert f"train: {(~some).sum()}" in texts


@pytest.mark.parametrize("name", ["C1", "Ci", "C2", "C3", "C4v", "D3d", "O", "Oh"])
def test_directions_lie_within_the_drawn_sector(nickelate, name):
    rng = np.random.default_rng(0)
    euler = np.rad2deg(
        np.stack([np.zeros(400), np.arccos(rng.uniform(-1, 1, 400)), rng.uniform(0, 7, 400)], 1)
    )
    figure = sampling_figure(nickelate, getattr(symmetry, name), euler, rng.random(400) < 0.2)
    drawn(figure)
    *maps, _ = figure.axes
    assert len(maps) == (2 if name in ("C1", "C2", "C3", "C4v") else 1)
    points = 0
    for ax in maps:
        edge = np.concatenate([line.get_xydata() for line in ax.lines])
        for dots in ax.collections:
            x, y = dots.get_offsets().T
            assert (
                np.nanmin(edge[:, 0]) - 1e-3 <= x.min() <= x.max() <= np.nanmax(edge[:, 0]) + 1e-3
            )
            assert (
                np.nanmin(edge[:, 1]) - 1e-3 <= y.min() <= y.max() <= np.nanmax(edge[:, 1]) + 1e-3
            )
            points += np.isfinite(x).sum()
    assert points == 400


def test_names_of_zone_axes(nickelate):
    directions = {
        (0, 0, 2): r"$[0001]$",
        (1, 0, 0): r"$[2\bar{1}\bar{1}0]$",
        (np.cos(np.pi / 6), -0.5, 0): r"$[1\bar{1}00]$",
        (1, 0.123, 0.77): None,
    }
    found = {direction: zone_axis(nickelate, np.array(direction)) for direction in directions}
    assert found == directions
    cubic = replace(nickelate, cell=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0))
    assert zone_axis(cubic, np.array([1, -1, 0])) == r"$[1\bar{1}0]$"
