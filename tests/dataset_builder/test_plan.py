import numpy as np
import pytest

from zoneaxis.dataset_builder.plan import BATCH, SHARD_BATCHES, held_out_deg, plan_of
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.diffraction.directions import full_operators, nearest_equivalent_deg


@pytest.mark.parametrize(
    ("name", "directions", "rows", "classes"),
    [
        ("random", 972, 19_440, 69_984),
        ("stepped", 1_776, 8_880, 255_744),
        ("equispaced", 2_162, 10_810, 155_664),
    ],
)
def test_counts_of_the_paper(nickelate, name, directions, rows, classes):
    recipe = preset(name, nickelate)
    plan = plan_of(recipe.to_json())
    numbers, phi1 = plan.class_grid(recipe)
    assert len(plan.orientations_deg) == len(numbers) == directions
    assert plan.rows().total() == rows
    assert len(numbers) * len(phi1) == classes
    assert plan.rows()["validation"] / rows == pytest.approx(0.2, abs=1e-3)


def test_stepped_without_the_equator(nickelate):
    recipe = preset("stepped", nickelate, Phi_end_deg=87.5)
    numbers, phi1 = plan_of(recipe.to_json()).class_grid(recipe)
    assert len(numbers) * len(phi1) == 248_832


@pytest.mark.parametrize("name", ["stepped", "equispaced"])
def test_no_direction_is_in_both_splits(nickelate, name):
    """Nor an equivalent or the mirror of one."""
    recipe = preset(name, nickelate)
    plan = plan_of(recipe.to_json())
    held_out = plan.held_out.all(axis=1)
    directions = plan.orientations_deg[:, 1:]
    apart = nearest_equivalent_deg(
        directions[held_out], directions[~held_out], full_operators(nickelate)
    )
    assert apart.min() > 0.1
    assert held_out_deg(plan, nickelate) == np.median(apart)


def test_every_row_has_one_file(nickelate):
    plan = plan_of(preset("test", nickelate, resolution=500).to_json())
    numbers = [i for shard in plan.shards for batch in shard.batches for i in batch]
    assert sorted(numbers) == list(range(500))
    assert max(len(batch) for shard in plan.shards for batch in shard.batches) == BATCH
    assert max(len(shard.batches) for shard in plan.shards) == SHARD_BATCHES
    files = [file for shard in plan.shards for file in shard.files]
    assert len(set(files)) == len(files)
    assert sum(plan.rows(shard).total() for shard in plan.shards) == plan.rows().total()


@pytest.mark.parametrize(("share", "held_out"), [(0.0, 0), (0.2, 5), (0.99, 23)])
def test_something_is_left_to_train_on(nickelate, share, held_out):
    plan = plan_of(preset("test", nickelate, validation_share=share).to_json())
    assert plan.rows()["validation"] == 2 * held_out
    assert (held_out_deg(plan, nickelate) is None) == (held_out == 0)


def test_rows_held_out_at_random(nickelate):
    plan = plan_of(preset("random", nickelate, split="rows").to_json())
    assert plan.held_out.sum() == 3888
    assert 0.05 < plan.held_out.mean(axis=1).std() < 0.15
    assert all(shard.splits == ("train", "validation") for shard in plan.shards)


def test_a_grid_of_whole_orientations(nickelate):
    recipe = preset("test", nickelate, scheme="so3", resolution=20)
    plan = plan_of(recipe.to_json())
    numbers, phi1 = plan.class_grid(recipe)
    assert len(phi1) == 1
    assert len(numbers) > 200
    assert np.ptp(plan.orientations_deg[:, 0]) > 300
