"""The paper's preset, and the switches beyond it, on patterns of a few spots."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from zoneaxis.dataset_builder import augmentation
from zoneaxis.dataset_builder.augmentation import CRYSTAL, VACUUM, Augmentation
from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.orientations import matrices_from_euler

N, SIZE, PIXEL = 24, 96, 0.03
PAPER = Augmentation.paper()
NOTHING = replace(Augmentation.off(), random_crop=True)
EULER = np.random.default_rng(0).uniform(0, 90, (N, 3))


@pytest.fixture(scope="module")
def patterns() -> torch.Tensor:
    """Spots of 1.5 pixels, the direct beam among them, each pattern of sum 1."""
    images = np.zeros((N, SIZE, SIZE), np.float32)
    rng = np.random.default_rng(1)
    for image in images:
        image[48, 48] = 0.5
        for y, x in rng.integers(10, 86, (6, 2)):
            image[y, x] += rng.uniform(0.02, 0.1)
        image /= image.sum()
    return torch.from_numpy(ndimage.gaussian_filter(images, (0, 1.5, 1.5)))


@pytest.fixture
def augment(nickelate, patterns):
    def run(settings: Augmentation, images: torch.Tensor = patterns, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        return settings(images, EULER[: len(images)], PIXEL, nickelate, generator)

    return run


def radius() -> np.ndarray:
    return np.hypot(*(np.indices((SIZE, SIZE)) - SIZE // 2))


def test_the_papers_five_by_scipy(augment, patterns):
    """All but the crop's place, with every range drawn together to one value."""
    settings = replace(
        PAPER,
        point_spread_px=(1.1, 1.1),
        bell_fraction=(0.1, 0.1),
        bell_sigma_inv_angstrom=(0.6, 0.6),
        rings_probability=1.0,
        rings_fraction=(0.2, 0.2),
        rings_inv_angstrom=(0.4, 0.4),
        scale=(1.0, 1.0),
        sensitivity=(1e5, 1e5),
    )
    r, sigma = radius(), 0.6 / PIXEL
    added = 0.1 * np.exp(-(r**2) / 2 / sigma**2) / (2 * np.pi * sigma**2)
    for ring in (0.4 / PIXEL, 1.75 * 0.4 / PIXEL):
        width = 0.15 * ring
        profile = np.exp(-((r - ring) ** 2) / 2 / width**2)
        added += 0.1 * profile / ((2 * np.pi) ** 1.5 * ring * width)
    for pattern, found in zip(patterns.double().numpy(), augment(settings).patterns, strict=True):
        blurred = ndimage.gaussian_filter(pattern + added, 1.1, mode="constant", radius=4)
        rescaled = 1 + (1e5 - 1) * blurred / blurred.max()
        np.testing.assert_allclose(found, np.log(rescaled) / np.log(1e5), atol=1e-4)


def test_the_paper_draws_its_ranges_and_nothing_else(augment):
    assert (PAPER.sensitivity, PAPER.rings_probability) == ((1e3, 1e7), 0.1)
    batch = augment(PAPER)
    np.testing.assert_allclose(batch.matrices, matrices_from_euler(EULER), atol=1e-6)
    assert (batch.kind == CRYSTAL).all()
    assert (batch.grain_share == 1).all()
    torch.testing.assert_close(batch.patterns.amax((1, 2)), torch.ones(N))
    assert batch.patterns.min() >= 0
    assert batch.patterns.shape == (N, SIZE, SIZE)
    assert batch.inv_angstrom_per_pixel == PIXEL


@pytest.mark.parametrize(("scale", "pixel"), [(0.5, 1), (0.8, 1), (1.0, 1), (0.8, 0.7)])
def test_a_random_crop_stays_in_the_frame_and_reaches_its_edges(scale, pixel):
    settings = replace(NOTHING, scale=(scale, scale), pixel=(pixel, pixel))
    ramp = torch.arange(float(SIZE)).expand(4 * N, SIZE, SIZE)
    generator = torch.Generator().manual_seed(0)
    found = settings(
        ramp, np.tile(EULER, (4, 1)), PIXEL, load_crystal("LiNiO2"), generator
    ).patterns
    size = found.shape[-1]
    columns = found[:, size // 2] / (scale * SIZE / size) ** 2
    np.testing.assert_allclose(columns.diff(dim=1), scale * SIZE / size, atol=1e-3)
    first, last = columns[:, 0], columns[:, -1]
    assert first.min() >= -1e-3
    assert last.max() <= SIZE - 1 + 1e-3
    assert first.max() - first.min() >= 0.85 * (1 - scale) * SIZE
    torch.testing.assert_close(found[:, 0], found[:, -1])  # no dark rows


def test_a_new_switch_changes_only_what_it_switches(augment):
    settings = replace(Augmentation(), rotate=False, pixel=(1, 1), counts=None, sensitivity=None)
    plain = augment(settings).patterns
    dead = augment(replace(settings, dead_rows=(3, 3))).patterns
    rows = (dead == 0).all(dim=2)
    assert (rows.sum(dim=1) <= 3).all()
    assert rows.sum() > 2.5 * N
    assert torch.equal(dead[~rows], plain[~rows])


def test_hot_pixels_come_after_the_optics_and_before_the_read_out(augment, patterns):
    flat = torch.full((N, SIZE, SIZE), 1e-4)
    flat[:, 48, 48] = 1.0
    hot = augment(replace(NOTHING, hot_pixels=(5, 20), point_spread_px=(0.2, 0.2)), flat).patterns
    number = (hot > 2e-4).sum(dim=(1, 2)) - 1
    assert number.min() >= 4  # the direct beam, and one that is nearly dark, may stand in
    assert 15 <= number.max() <= 20
    read = augment(replace(NOTHING, hot_pixels=(5, 20), sensitivity=(10, 10)), flat).patterns
    torch.testing.assert_close(10 * read, (10 * read).round(), atol=1e-4, rtol=0)


def test_two_grains_overlap_and_the_stronger_is_the_label(augment, patterns):
    settings = replace(
        NOTHING, second_grain_probability=0.6, second_grain_share=(0.2, 0.5), vacuum_probability=0.2
    )
    batch = augment(settings)
    np.testing.assert_allclose(batch.matrices, matrices_from_euler(EULER), atol=1e-6)
    mixed = batch.grain_share < 1
    assert 0.2 < mixed.float().mean() < 0.8
    assert (batch.kind == VACUUM).any()
    assert (batch.kind[mixed] == CRYSTAL).all()
    assert batch.grain_share.min() >= 0.5
    assert batch.grain_share[mixed].max() <= 0.8
    for i in mixed.nonzero().flatten().tolist():
        rest = batch.patterns[i] - batch.grain_share[i] * patterns[i]
        distance = (rest / (1 - batch.grain_share[i]) - patterns).abs().sum((1, 2))
        assert distance.min() < 1e-3
        assert int(distance.argmin()) != i


def test_a_grain_alone_in_its_batch_has_no_second(augment, patterns):
    batch = augment(replace(NOTHING, second_grain_probability=1.0), patterns[:1])
    assert batch.grain_share.tolist() == [1.0]
    torch.testing.assert_close(batch.patterns, patterns[:1])


def test_the_second_grain_is_turned_by_itself(augment, patterns):
    """Two copies of one pattern: where they differ by an angle, the mixture has more spots."""
    settings = replace(Augmentation(), pixel=(1, 1), mirror=False, counts=None, sensitivity=None)
    settings = replace(settings, vacuum_probability=0, amorphous_probability=0)
    same = patterns[:1].expand(N, -1, -1)
    alone = augment(settings, same).patterns
    mixed = augment(replace(settings, second_grain_probability=1.0), same).patterns
    assert ((mixed - alone).abs().sum((1, 2)) > 0.02).all()


def test_circles_become_ellipses(augment):
    ring = torch.from_numpy(np.exp(-((radius() - 25) ** 2) / 8)).float().expand(N, -1, -1)
    batch = augment(replace(NOTHING, ellipse=(1.1, 1.1)), ring)
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    angles = []
    for image in batch.patterns.double().numpy():
        xx, yy, xy = ((image * q).sum() / image.sum() for q in (x * x, y * y, x * y))
        small, large = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
        assert np.sqrt(large / small) == pytest.approx(1.1, abs=2e-3)
        angles.append(0.5 * np.arctan2(2 * xy, xx - yy))
    assert np.ptp(angles) > 2  # the axis is drawn from 180 degrees
    np.testing.assert_allclose(batch.matrices, matrices_from_euler(EULER), atol=1e-6)


def test_a_beam_stop_hides_the_direct_beam_of_its_share(augment, patterns):
    settings = replace(
        NOTHING, beam_stop_probability=0.5, beam_stop_inv_angstrom=(0.3, 0.4), counts=(1e4, 1e4)
    )
    batch = augment(settings)
    hidden = batch.patterns[:, 47:50, 47:50].amax((1, 2)) == 0
    assert 0.2 < hidden.float().mean() < 0.8
    everything = replace(Augmentation(), beam_stop_probability=1.0, amorphous_probability=0)
    dark = augment(replace(everything, vacuum_probability=1.0))
    assert torch.isfinite(dark.patterns).all()


def test_how_many_are_augmented_together_does_not_matter(augment, monkeypatch):
    settings = replace(
        Augmentation(), second_grain_probability=0.5, ellipse=(1, 1.1), hot_pixels=(0, 9)
    )
    whole = augment(settings)
    monkeypatch.setattr(augmentation, "CACHED_PIXELS", 5 * SIZE**2)
    parts = augment(settings)
    for name in ("patterns", "matrices", "kind", "grain_share"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_the_bell_is_as_broad_as_multislice_has_it(shared_data):
    """Gaussians through the medians over rings: hardly a disk counts, speckle costs some."""
    data = np.load(shared_data / "multislice" / "plain.npz")
    pixel, settings = float(data["inv_angstrom_per_pixel"]), Augmentation()
    r = np.hypot(*(np.indices((256, 256)) - 128)) * pixel
    edges = np.arange(0.3, 1.9, 0.1)
    for pattern in data["pattern"][:16]:
        rings = [(r >= low) & (r < low + 0.1) for low in edges]
        medians = np.log([np.median(pattern[ring]) for ring in rings])
        slope, top = np.polyfit((edges + 0.05) ** 2, medians, 1)
        sigma = np.sqrt(-0.5 / slope)
        share = np.exp(top) * 2 * np.pi * (sigma / pixel) ** 2
        assert settings.bell_sigma_inv_angstrom[0] < sigma < settings.bell_sigma_inv_angstrom[1]
        assert settings.bell_fraction[0] < share < settings.bell_fraction[1]
