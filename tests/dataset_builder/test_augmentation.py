from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.dataset_builder.augmentation import (
    AMORPHOUS,
    CRYSTAL,
    VACUUM,
    Augmentation,
    direct_beam,
    mirror_x,
)
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.disks import disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
)
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError
from zoneaxis.models.preprocessing import PolarInput

SIZE, PIXEL = 128, 0.02
OPTICS = Optics(k_max_inv_angstrom=1.3)
NOTHING = Augmentation.off()


def simulated(crystal: Crystal, euler_deg: np.ndarray) -> torch.Tensor:
    """Patterns simulated at full orientations: no image is turned or mirrored."""
    disks = bloch_disks(crystal, OPTICS, euler_deg[:, 1:], np.array([30.0]), tilts=disk_tilts(1))
    phi1 = torch.from_numpy(euler_deg[:, 0]).float()
    return render(disks, SIZE, PIXEL, phi1)[:, 0]


def radius() -> torch.Tensor:
    """Wave vector of each pixel in 1/Angstrom."""
    axis = torch.arange(SIZE) - SIZE // 2
    return torch.hypot(axis[:, None].float(), axis[None].float()) * PIXEL


@pytest.fixture(scope="module")
def euler() -> np.ndarray:
    rng = np.random.default_rng(0)
    directions = np.stack([rng.uniform(5, 88, 8), rng.uniform(30, 90, 8)], axis=1)
    return np.insert(directions, 0, 0.0, axis=1)


@pytest.fixture(scope="module")
def patterns(nickelate, euler) -> torch.Tensor:
    return simulated(nickelate, euler)


@pytest.fixture
def augment(nickelate, patterns, euler):
    def run(augmentation: Augmentation, seed: int = 0, repeats: int = 1):
        rows = np.tile(np.arange(len(patterns)), repeats)
        generator = torch.Generator().manual_seed(seed)
        return augmentation(patterns[rows], euler[rows], PIXEL, nickelate, generator)

    return run


def scattered_correlation(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """Correlation of each pair of patterns outside the direct beam, softened by a pixel."""
    from zoneaxis.diffraction.camera import blur

    ring = (radius() > 0.12) & (radius() < 1.2)
    pairs = zip(blur(first, 1.0)[:, ring], blur(second, 1.0)[:, ring], strict=True)
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])


def test_nothing_changes_nothing(augment, patterns, euler):
    batch = augment(NOTHING)
    torch.testing.assert_close(batch.patterns, patterns, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(batch.matrices, matrices_from_euler(euler), atol=1e-6)
    assert (batch.kind == CRYSTAL).all()


@pytest.mark.parametrize(
    ("rotate", "mirror"), [(True, False), (False, True), (True, True)], ids=str
)
def test_labels_fit_the_images(augment, patterns, euler, nickelate, rotate, mirror):
    batch = augment(replace(NOTHING, rotate=rotate, mirror=mirror), seed=3)
    expected = simulated(nickelate, euler_from_matrices(batch.matrices.numpy()))
    assert scattered_correlation(batch.patterns, expected).min() > 0.97
    assert np.median(scattered_correlation(batch.patterns, expected)) > 0.99
    if rotate:
        assert np.median(scattered_correlation(batch.patterns, patterns)) < 0.3
    operators = nickelate.proper_operators
    beam = matrices_from_euler(euler)[:, :, 2]
    reached = (operators @ batch.matrices.numpy()[:, None, :, 2:])[..., 0]
    kept = np.linalg.norm(reached - beam[:, None], axis=-1).min(axis=1) < 1e-5
    assert (0 < kept.sum() < 8) if mirror else kept.all()


def test_mirror_shows_the_other_half_of_the_sphere(augment, euler, nickelate):
    batch = augment(replace(NOTHING, mirror=True), repeats=32)
    given = np.tile(matrices_from_euler(euler), (32, 1, 1))
    same = misorientation_deg(batch.matrices.numpy(), given, nickelate.proper_operators) < 0.1
    assert 0.4 < same.mean() < 0.6


def test_a_crystal_without_mirror_is_not_mirrored(patterns, euler, nickelate):
    chiral = Crystal.from_dict({**nickelate.to_dict(), "space_group": 155})
    generator = torch.Generator().manual_seed(0)
    batch = replace(NOTHING, mirror=True)(patterns, euler, PIXEL, chiral, generator)
    np.testing.assert_allclose(batch.matrices, matrices_from_euler(euler), atol=1e-6)


def test_the_seed_decides_and_inputs_stay(augment, patterns, euler):
    before, angles = patterns.clone(), euler.copy()
    first, again, other = (augment(Augmentation(), seed) for seed in (1, 1, 2))
    for name in ("patterns", "matrices", "kind", "grain_share"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.patterns, other.patterns)
    assert torch.equal(patterns, before)
    np.testing.assert_array_equal(euler, angles)


@pytest.mark.parametrize(("pixel", "size"), [(0.6, 213), (1.0, 128), (1.3, 98)])
def test_pixels_of_another_size_keep_view_and_intensity(augment, pixel, size):
    """The same pattern on a finer or coarser camera; the input of a network hardly changes."""
    plain = augment(NOTHING)
    batch = augment(replace(NOTHING, pixel=(pixel, pixel)))
    assert batch.patterns.shape[1:] == (size, size)
    assert batch.inv_angstrom_per_pixel == pytest.approx(PIXEL * SIZE / size)
    torch.testing.assert_close(
        batch.patterns.sum(dim=(1, 2)), plain.patterns.sum(dim=(1, 2)), rtol=0.05, atol=0.0
    )
    inputs = PolarInput(outer_inv_angstrom=1.2)
    fine = inputs(batch.patterns, batch.inv_angstrom_per_pixel).flatten(1)
    reference = inputs(plain.patterns, PIXEL).flatten(1)
    for one, other in zip(fine, reference, strict=True):
        assert float(torch.corrcoef(torch.stack([one, other]))[0, 1]) > 0.9


def test_outputs_are_fit_for_training(augment):
    batch = augment(Augmentation(), repeats=8)
    assert len(batch.patterns) == 64
    assert batch.patterns.dtype == batch.matrices.dtype == torch.float32
    assert torch.isfinite(batch.patterns).all()
    assert (batch.patterns >= 0).all()
    determinant = torch.linalg.det(batch.matrices)
    torch.testing.assert_close(determinant, torch.ones(64))


def test_point_spread(augment, patterns):
    blurred = augment(replace(NOTHING, point_spread_px=(1.0, 1.0))).patterns
    assert (blurred.amax((1, 2)) < patterns.amax((1, 2))).all()
    torch.testing.assert_close(blurred.sum((1, 2)), patterns.sum((1, 2)), rtol=1e-2, atol=0)


def test_bell(augment, patterns):
    settings = replace(NOTHING, bell_fraction=(0.1, 0.1), bell_sigma_inv_angstrom=(0.3, 0.3))
    bell = augment(settings).patterns - patterns
    torch.testing.assert_close(bell.sum((1, 2)), torch.full((8,), 0.1), rtol=1e-2, atol=0)
    peak = 0.1 / (2 * np.pi * (0.3 / PIXEL) ** 2)
    torch.testing.assert_close(
        bell[:, 64, 64], torch.full((8,), peak, dtype=torch.float32), rtol=1e-2, atol=1e-8
    )
    torch.testing.assert_close(
        bell[:, 64, 79], torch.full((8,), peak * np.exp(-0.5)).float(), rtol=1e-2, atol=1e-8
    )


def test_rings_in_a_tenth_of_the_patterns(augment, patterns):
    settings = replace(NOTHING, rings_probability=0.1, rings_inv_angstrom=(0.4, 0.4))
    added = augment(settings, repeats=100).patterns - patterns.repeat(100, 1, 1)
    with_rings = added.sum((1, 2)) > 1e-3
    assert 0.07 < with_rings.float().mean() < 0.13
    profile = added[with_rings][0, 64, 64:]  # from the direct beam to the right
    assert abs(int(profile.argmax()) * PIXEL - 0.4) < 0.03


def test_the_frame_does_not_tell_the_angle(nickelate):
    """Fog that fills the simulation's frame looks the same all round, however it is turned."""
    settings = replace(
        NOTHING,
        rotate=True,
        scale=(1.1, 1.1),
        bell_fraction=(0.1, 0.1),
        bell_sigma_inv_angstrom=(0.5, 0.5),
    )
    fog = torch.full((64, SIZE, SIZE), 1e-5)
    generator = torch.Generator().manual_seed(0)
    batch = settings(fog, np.zeros((64, 3)), PIXEL, nickelate, generator)
    uneven = (batch.patterns - batch.patterns.mean(0)).abs().sum((1, 2))
    assert (uneven / batch.patterns.sum((1, 2))).max() < 0.01
    assert batch.patterns[:, 0, 0].min() > 0  # the bell goes on to the corners


def test_camera_length(augment, patterns):
    batch = augment(replace(NOTHING, scale=(2.0, 2.0)))
    spread = [(p * radius()).sum((1, 2)) / p.sum((1, 2)) for p in (batch.patterns, patterns)]
    torch.testing.assert_close(2 * spread[0], spread[1], rtol=0.1, atol=0)


def test_centering(augment):
    batch = augment(replace(NOTHING, shift_px=3.0), repeats=4)
    near = (radius() < 0.2) * batch.patterns
    axis = torch.arange(SIZE) - SIZE / 2
    total = near.sum((1, 2))
    x, y = near.sum(1) @ axis / total, near.sum(2) @ axis / total
    for shift in (x, y):
        assert shift.abs().max() < 3.1
        assert shift.min() < -1
        assert shift.max() > 1
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.5


def test_counts(augment, patterns):
    counted = augment(replace(NOTHING, counts=(1e4, 1e4))).patterns
    assert torch.equal(counted, counted.round())
    torch.testing.assert_close(counted.sum((1, 2)), 1e4 * patterns.sum((1, 2)), rtol=0.05, atol=0)


def test_sensitivity(augment, patterns):
    dull = augment(replace(NOTHING, sensitivity=(1e3, 1e3))).patterns
    step = patterns.amax((1, 2), keepdim=True) / 1e3
    assert (dull[patterns < 0.49 * step] == 0).all()
    assert ((dull - patterns).abs() <= 0.501 * step + 1e-7).all()
    keen = augment(replace(NOTHING, sensitivity=(1e7, 1e7))).patterns
    torch.testing.assert_close(keen, patterns, rtol=1e-4, atol=1e-7)


def test_kinds_in_their_shares(augment):
    settings = replace(NOTHING, vacuum_probability=0.2, amorphous_probability=0.1)
    batch = augment(settings, repeats=125)
    shares = torch.bincount(batch.kind, minlength=3) / len(batch.kind)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.04)
    beyond = (batch.patterns * (radius() > 0.15)).sum((1, 2)) / batch.patterns.sum((1, 2))
    assert (beyond[batch.kind == VACUUM] == 0).all()
    # Rings alone: what is scattered is even over the angles, unlike a crystal's.
    even = batch.patterns * (radius() > 0.15)
    turned = torch.rot90(even[:, 1:, 1:], 1, (1, 2))
    lopsided = (even[:, 1:, 1:] - turned).abs().sum((1, 2)) / even.sum((1, 2)).clamp(min=1e-9)
    assert lopsided[batch.kind == AMORPHOUS].max() < 0.01
    assert beyond[batch.kind == AMORPHOUS].min() > 0.01
    assert lopsided[batch.kind == CRYSTAL].min() > 0.1


def test_direct_beam_holds_everything(patterns):
    beam = direct_beam(patterns, 5.5)
    torch.testing.assert_close(beam.sum((1, 2)), torch.ones(8))
    assert (beam[:, radius() / PIXEL > 5.5] == 0).all()


@pytest.mark.parametrize("n", [8, 9])
def test_mirror_x_keeps_the_beam_in_place(n):
    pattern = torch.rand(1, n, n)
    flipped = mirror_x(pattern)
    assert flipped[0, 3, n // 2] == pattern[0, 3, n // 2]
    assert flipped[0, 3, n // 2 + 1] == pattern[0, 3, n // 2 - 1]


@pytest.mark.parametrize(
    "values",
    [
        {"scale": (0, 1)},
        {"scale": (1.1, 0.9)},
        {"counts": (0, 1e4)},
        {"sensitivity": (0.5, 1e4)},
        {"bell_fraction": (-0.1, 0.1)},
        {"bell_sigma_inv_angstrom": (0, 1)},
        {"rings_probability": 1.5},
        {"shift_px": -1},
        {"counts": (1e4, float("nan"))},
        {"vacuum_probability": 0.6, "amorphous_probability": 0.6},
        {"ellipse": (0.9, 1.1)},
        {"second_grain_share": (0.2, 0.6)},
        {"random_crop": True, "scale": (0.9, 1.1)},
        {"hot_pixels": (0, 2.5)},
        {"dead_rows": (3, 2)},
        {"beam_stop_probability": -0.1},
        {"log_image": True, "sensitivity": None},
    ],
    ids=str,
)
def test_out_of_range(values):
    with pytest.raises(SettingsError, match="Augmentation"):
        Augmentation(**values)


def test_the_batch_tells_where_the_beam_is_and_how_large_its_pixels_are(augment, patterns):
    """Both are measured in the pictures: the beam's center, and a reflection's distance from it."""
    from zoneaxis.diffraction.polar import direct_beam_center

    off = replace(NOTHING, shift_px=3.0, scale=(0.9, 1.1))
    batch = augment(off)
    disk_px = OPTICS.disk_radius_inv_angstrom / PIXEL
    center = direct_beam_center(batch.patterns, disk_px, 5.0)
    found = (center - SIZE // 2) * batch.inv_angstrom_per_pixel
    np.testing.assert_allclose(found, batch.center_inv_angstrom, atol=0.25 * PIXEL)
    distance, known = (
        spread(p, direct_beam_center(p, disk_px, 5.0)) for p in (batch.patterns, patterns)
    )
    np.testing.assert_allclose(distance * batch.camera_scale, known, rtol=0.02)
    assert batch.camera_scale.max() - batch.camera_scale.min() > 0.05


def spread(patterns: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """Return the mean distance from the beam of what is scattered less than 0.8 1/Angstrom."""
    axis = torch.arange(SIZE)
    x, y = axis - center[:, :1], axis - center[:, 1:]
    distance = torch.hypot(y[:, :, None], x[:, None]) * PIXEL
    weight = patterns * (distance > 0.12)
    return (weight * distance).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))


def test_the_batch_tells_how_much_is_amorphous(augment):
    rings = augment(replace(NOTHING, rings_probability=0.5), repeats=4)
    shares = rings.amorphous_share
    assert 0 < (shares > 0).sum() < len(shares)
    assert shares[shares > 0].min() >= 0.02
    assert shares.max() <= 0.2
    empty = augment(replace(NOTHING, vacuum_probability=0.5, amorphous_probability=0.5))
    assert torch.equal(empty.amorphous_share > 0, empty.kind == AMORPHOUS)


def test_turns_by_whole_steps(augment, euler):
    batch = augment(replace(NOTHING, rotate=True, rotate_step_deg=15.0), repeats=4)
    phi1 = euler_from_matrices(batch.matrices.numpy())[:, 0]
    assert np.abs((phi1 + 7.5) % 15 - 7.5).max() < 1e-3
    assert len(np.unique(np.round(phi1 / 15))) > 5
    with pytest.raises(SettingsError, match=r"rotate_step_deg = -1.0: expected 0 or more"):
        Augmentation(rotate_step_deg=-1.0)
