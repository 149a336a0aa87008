import dataclasses

import numpy as np
import pytest

from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.errors import OutputError, SettingsError
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.phantom import Phantom, make_phantom, write_phantom
from zoneaxis.scans.scan import Scan

OPTICS = Optics(k_max_inv_angstrom=1.2)
RECIPE = Phantom(
    shape=(14, 18), grains=5, size=64, inv_angstrom_per_pixel=0.04, thicknesses=2, step_nm=4.0
)


@pytest.fixture(scope="module")
def phantom(nickelate):
    return make_phantom(nickelate, OPTICS, RECIPE)


def test_shapes(phantom, nickelate):
    patterns, truth = phantom
    assert (patterns.shape, patterns.dtype) == ((14, 18, 64, 64), np.uint16)
    assert truth.euler_deg.shape == (14, 18, 2, 3)
    assert truth.crystal is nickelate
    assert truth.step_nm == 4.0


def test_truth_is_consistent(phantom):
    _, truth = phantom
    inside = truth.indexed
    vacuum, amorphous = truth.properties["vacuum"] > 0, truth.properties["amorphous"] > 0
    assert not (vacuum & amorphous).any()
    np.testing.assert_array_equal(inside, ~vacuum & ~amorphous)
    assert inside.mean() == pytest.approx(1 - RECIPE.vacuum, abs=0.01)
    assert amorphous.any()
    assert vacuum.any()
    np.testing.assert_allclose(truth.score[inside].sum(axis=-1), 1, rtol=1e-6)
    assert (truth.score[..., 0] >= truth.score[..., 1]).all()
    assert (truth.score[inside][:, 1] > 0).any()
    assert set(truth.properties["grain"][inside]) <= set(range(RECIPE.grains))
    thickness = truth.properties["thickness_nm"]
    assert set(thickness[inside]) == {10.0, 80.0}
    assert (thickness[~inside] == 0).all()
    assert (truth.euler_deg[..., 1] <= 90).all()


def test_disks_lie_where_the_truth_says(phantom, nickelate):
    patterns, truth = phantom
    hkl = np.stack(np.meshgrid(*[np.arange(-20, 21)] * 3, indexing="ij"), -1).reshape(-1, 3)
    g = hkl @ nickelate.reciprocal_inv_angstrom
    g = g[np.linalg.norm(g, axis=1) < OPTICS.k_max_inv_angstrom]
    sharp = truth.indexed & (truth.score[..., 0] == 1)
    sharp &= truth.properties["thickness_nm"] == 10
    shares = []
    for row, col in np.argwhere(sharp):
        q = g @ truth.matrices[row, col]
        error = q[:, 2] + (q**2).sum(axis=1) * OPTICS.wavelength_angstrom / 2
        spots = 32 + q[np.abs(error) < 0.05, :2] / RECIPE.inv_angstrom_per_pixel
        pattern = patterns[row, col].astype(float)
        pattern[29:36, 29:36] = 0
        y, x = np.nonzero(pattern > 20)
        if len(x):
            apart = np.hypot(x[:, None] - spots[:, 0], y[:, None] - spots[:, 1]).min(axis=1)
            shares.append((apart < 3).mean())
    assert len(shares) > 10
    assert np.mean(shares) > 0.98


def test_vacuum_and_rim(phantom):
    patterns, truth = phantom
    y, x = np.indices((64, 64)) - 32
    ring = np.abs(np.hypot(x, y) * RECIPE.inv_angstrom_per_pixel - 0.48) < 0.05
    mean = {
        name: patterns[truth.properties[name] > 0].mean(axis=0) for name in ("vacuum", "amorphous")
    }
    assert mean["vacuum"].sum() == pytest.approx(RECIPE.counts, rel=0.01)
    assert mean["vacuum"][ring].sum() < 0.005 * RECIPE.counts
    assert mean["amorphous"][ring].sum() > 0.03 * RECIPE.counts
    for pattern in mean.values():
        assert pattern[29:36, 29:36].sum() > 0.8 * RECIPE.counts


def test_same_seed_same_phantom(phantom, nickelate):
    patterns, truth = make_phantom(nickelate, OPTICS, RECIPE)
    np.testing.assert_array_equal(patterns, phantom[0])
    np.testing.assert_array_equal(truth.euler_deg, phantom[1].euler_deg)
    other, _ = make_phantom(nickelate, OPTICS, dataclasses.replace(RECIPE, seed=1))
    assert (other != phantom[0]).any()


def test_shifted_centers(nickelate):
    recipe = dataclasses.replace(RECIPE, shift_px=2.0)
    patterns, truth = make_phantom(nickelate, OPTICS, recipe)
    beams = patterns[truth.properties["vacuum"] > 0].astype(float)
    y = (beams.sum(axis=2) * np.arange(64)).sum(axis=1) / beams.sum(axis=(1, 2)) - 32
    assert 1 < y.std() < 3
    assert beams.sum(axis=(1, 2)).mean() == pytest.approx(recipe.counts, rel=0.02)


def test_orientations_are_uniform():
    from zoneaxis.scans.phantom import _random_euler

    euler = _random_euler(4000, np.random.default_rng(0))
    np.testing.assert_allclose(beam_directions(euler).mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose((beam_directions(euler) ** 2).mean(axis=0), 1 / 3, atol=0.03)


def test_written_phantom(phantom, nickelate, tmp_path):
    scan_path, truth_path = write_phantom(tmp_path / "p.hspy", nickelate, OPTICS, RECIPE)
    assert truth_path == tmp_path / "p.truth.h5"
    scan = Scan.open(scan_path)
    assert (scan.step_nm, scan.inv_angstrom_per_pixel) == (4.0, 0.04)
    np.testing.assert_array_equal(scan.read(slice(None), slice(None)), phantom[0])
    truth = OrientationMap.load(truth_path)
    np.testing.assert_allclose(truth.euler_deg, phantom[1].euler_deg, atol=1e-9)
    np.testing.assert_array_equal(truth.score, phantom[1].score)
    assert set(truth.properties) == {"thickness_nm", "vacuum", "amorphous", "grain"}


def test_bad_output(nickelate, tmp_path):
    with pytest.raises(OutputError, match="hspy"):
        write_phantom(tmp_path / "p.blo", nickelate, OPTICS, RECIPE)


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"grains": 1}, {"counts": 0}, {"vacuum": 1.0}, {"shape": (1, 9)}, {"size": 4}],
        *[{"thickness_nm": (50.0, 10.0)}, {"seed": -1}, {"step_nm": float("nan")}],
    ],
)
def test_senseless_recipe(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Phantom(**wrong)


def test_more_grains_than_points(nickelate):
    recipe = dataclasses.replace(RECIPE, shape=(3, 3), grains=20)
    with pytest.raises(SettingsError, match="take fewer"):
        make_phantom(nickelate, OPTICS, recipe)
