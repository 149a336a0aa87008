from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from dataset_reader import euler_of, patterns_of, read_split

from zoneaxis.dataset_builder.build import build
from zoneaxis.dataset_builder.disk_rows import disks_of_rows, recipe_tilts
from zoneaxis.dataset_builder.recipe import Recipe, preset, read_recipe
from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.dataset_builder.transforms import Augmentation, DiskTransform, Transform
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.render import render
from zoneaxis.errors import DatasetError, SettingsError


@pytest.fixture(scope="module")
def folder(nickelate, tmp_path_factory) -> Path:
    """Directions at in-plane angles of their own, half of them precessed."""
    recipe = preset(
        "test",
        nickelate,
        random_phi1=True,
        precessed_share=0.5,
        precession_deg=(0.2, 0.4),
        convergence_mrad=(1.5, 1.5),
        thickness_nm=(5, 40),
    )
    return build(recipe, tmp_path_factory.mktemp("turned"), workers=1)


@pytest.fixture(scope="module")
def recipe(folder) -> Recipe:
    return read_recipe(folder)


@pytest.fixture(scope="module")
def rows(folder) -> dict:
    return pq.read_table(sorted(folder.glob("disks/train-*"))).slice(0, 12).to_pydict()


def test_disks_draw_the_pattern_beside_them(folder, recipe, rows):
    disks = disks_of_rows(rows, recipe_tilts(recipe), recipe.optics(1.5, 0.0))
    drawn = render(disks, recipe.size, recipe.inv_angstrom_per_pixel)[:, 0]
    beside = read_split(folder)[:12]
    stored = torch.from_numpy(patterns_of(beside))
    assert len(set(euler_of(beside)[:, 0])) > 3
    # Profiles are half-precision numbers, turned by way of a polynomial.
    assert (drawn - stored).abs().max() < 1e-3 * stored.max()
    faint = stored < 0.01 * stored.max()
    assert (drawn - stored)[faint].abs().max() < 1e-4 * stored.max()


def test_a_smaller_cone_is_the_inner_part(nickelate, recipe, rows):
    first = {name: values[:1] for name, values in rows.items()}
    assert first["precession_deg"] == [0.0] or first["precession_deg"][0] > 0.1
    optics = recipe.optics(1.0, first["precession_deg"][0])
    drawn = render(disks_of_rows(first, recipe_tilts(recipe), optics), 64, 0.05)[0, 0]
    direction = [[first["Phi_deg"][0], first["phi2_deg"][0]]]
    exact = bloch_disks(
        nickelate, optics, np.array(direction), np.array(first["thickness_nm"]), method="WK-P"
    )
    exact = render(exact, 64, 0.05, torch.tensor(first["phi1_deg"]))[0, 0]
    assert (drawn - exact).abs().max() < 5e-3 * exact.max()
    assert torch.corrcoef(torch.stack([drawn.flatten(), exact.flatten()]))[0, 1] > 0.9999


def test_a_larger_cone_was_never_simulated(recipe, rows):
    with pytest.raises(SettingsError, match=r"at most the 1\.5 mrad"):
        disks_of_rows(rows, recipe_tilts(recipe), recipe.optics(1.6, 0.0))


def test_tilts_of_another_recipe(recipe, rows):
    with pytest.raises(SettingsError, match="these 7 tilts"):
        disks_of_rows(rows, recipe_tilts(recipe)[:7], recipe.optics(1.5, 0.0))


def test_lists_belong_together(rows):
    for h, q_x, intensity, profile in zip(
        rows["h"], rows["q_x"], rows["intensity"], rows["profile"], strict=True
    ):
        assert len(h) == len(q_x) == len(intensity)
        assert len(profile) % len(h) == 0
        beam = np.argmax(intensity)
        assert (h[beam], q_x[beam]) == (0, 0)
        means = np.reshape(profile, (len(h), -1)).mean(axis=1)
        np.testing.assert_allclose(means, 1, atol=1e-3)
        assert 0.5 < sum(intensity) <= 1.001


def test_patterns_drawn_while_streaming(folder, recipe):
    """Each batch has a cone of its own; the same rows, seed and epoch give the same batch."""
    transform = DiskTransform.of_recipe(recipe, Augmentation.off(), convergence_mrad=(0.7, 1.5))
    stream = PatternStream(folder, "train", transform, 8, epochs=2, config="disks")
    batches = [stream[k] for k in range(5)]
    again = PatternStream(folder, "train", transform, 8, epochs=2, config="disks")[4]
    assert all(torch.equal(batches[4][name], value) for name, value in again.items())
    assert {name: tuple(value.shape) for name, value in again.items()} == {
        **dict.fromkeys(("kind", "grain_share", "thickness_nm", "direction_id"), (8,)),
        **dict.fromkeys(("camera_scale", "amorphous_share"), (8,)),
        "center_inv_angstrom": (8, 2),
        "inv_angstrom_per_pixel": (8,),
        "pattern": (8, 32, 32),
        "euler_deg": (8, 3),
        "matrix": (8, 3, 3),
    }
    # A wide disk spreads the direct beam over more pixels, so that its brightest holds less.
    middle = torch.stack([batch["pattern"][:, 15:18, 15:18] for batch in batches])
    peak = (middle.amax(dim=(2, 3)) / middle.sum(dim=(2, 3))).mean(dim=1)
    assert peak.max() > 1.1 * peak.min()


def test_the_whole_cone_draws_what_is_stored(folder, recipe):
    of_disks = DiskTransform.of_recipe(recipe, Augmentation.off(), convergence_mrad=(9.0, 9.0))
    of_images = Transform.of_recipe(recipe, Augmentation.off())
    first, second = (
        PatternStream(folder, "train", transform, 8, config=config)[0]
        for transform, config in ((of_disks, "disks"), (of_images, "patterns"))
    )
    assert torch.equal(first["direction_id"], second["direction_id"])
    assert torch.equal(first["matrix"], second["matrix"])
    difference = (first["pattern"] - second["pattern"]).abs().amax(dim=(1, 2))
    assert (difference < 1e-3 * second["pattern"].amax(dim=(1, 2))).all()


def test_rows_that_are_no_disks(recipe):
    transform = DiskTransform.of_recipe(recipe)
    with pytest.raises(DatasetError, match="read config 'disks'"):
        transform({"direction_id": [1], "thickness_nm": [5.0], "convergence_mrad": [1.5]})
