import numpy as np
import pytest
import torch
from scipy import ndimage

from zoneaxis.diffraction.camera import (
    amorphous_rings,
    beam_stop,
    blur,
    dead_rows,
    diffuse_bell,
    hot_pixels,
    log_range,
    poisson,
    read_out,
    resample,
    zoom_and_blur,
)

N = 4


@pytest.fixture
def patterns():
    """Random patterns with something at the edges."""
    return torch.rand(N, 48, 48, generator=torch.Generator().manual_seed(0)) ** 4


@pytest.fixture
def smooth():
    """Broad blobs inside the frame, for what interpolates."""
    rng = np.random.default_rng(1)
    y, x = np.indices((64, 64)) - 32
    images = np.zeros((N, 64, 64))
    for image in images:
        for cx, cy in rng.uniform(-12, 12, (5, 2)):
            image += rng.uniform(0.2, 1) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)
    return torch.tensor(images, dtype=torch.float32)


def radius(size):
    y, x = np.indices((size, size)) - size // 2
    return np.hypot(x, y)


def per_pattern(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_log_range_is_the_formula(patterns):
    ranges = per_pattern(10.0, 100.0, 1e3, 1e5)
    found = log_range(patterns, ranges)
    for image, m, ours in zip(patterns.double(), ranges.double(), found, strict=True):
        rescaled = 1 + (image / image.max()) * (m - 1)
        expected = np.log(rescaled) / np.log(m)
        torch.testing.assert_close(ours, expected.float(), atol=1e-6, rtol=1e-5)
    assert float(found.amax()) == pytest.approx(1)
    assert float(found.amin()) >= 0


def test_log_range_does_not_care_for_the_exposure_nor_fail_in_the_dark(patterns):
    torch.testing.assert_close(log_range(patterns * 1e5, 300.0), log_range(patterns, 300.0))
    assert (log_range(torch.zeros(2, 8, 8), 300.0) == 0).all()


def test_blur_is_a_gaussian_filter(patterns):
    sigmas = per_pattern(0.4, 0.8, 1.3, 2.1)
    found = blur(patterns, sigmas)
    for image, sigma, ours in zip(patterns.numpy(), sigmas.tolist(), found, strict=True):
        expected = ndimage.gaussian_filter(image, sigma, mode="constant", radius=7)
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_blur_of_zero_changes_nothing_and_of_a_point_keeps_the_sum(patterns):
    torch.testing.assert_close(blur(patterns, 0.0), patterns)
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 3.0
    assert float(blur(point, 2.5).sum()) == pytest.approx(3.0, rel=1e-5)


def test_diffuse_bell_is_a_normal_distribution_of_the_beam(patterns):
    fractions, sigmas = per_pattern(0.0, 0.1, 0.3, 0.5), per_pattern(3.0, 5.0, 7.0, 9.0)
    added = (diffuse_bell(patterns, fractions, sigmas) - patterns).numpy()
    for bell, fraction, sigma in zip(added, fractions.tolist(), sigmas.tolist(), strict=True):
        expected = fraction * np.exp(-(radius(48) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        np.testing.assert_allclose(bell, expected, atol=2e-7)
    whole = diffuse_bell(torch.zeros(1, 101, 101), 0.25, 10.0)
    assert float(whole.sum()) == pytest.approx(0.25, rel=1e-4)
    assert divmod(int(whole[0].argmax()), 101) == (50, 50)


def test_amorphous_rings_are_rings_of_the_given_share(patterns):
    radii, widths = torch.tensor([20.0, 35.0]), torch.tensor([2.0, 3.0])
    image = amorphous_rings(torch.zeros(1, 121, 121), 0.2, radii, widths)[0].double().numpy()
    assert image.sum() == pytest.approx(0.2, rel=5e-3)
    r = radius(121)
    for mean, width in ((20.0, 2.0), (35.0, 3.0)):
        assert image[np.abs(r - mean) < 3.5 * width].sum() == pytest.approx(0.1, rel=0.02)
        profile = [image[np.abs(r - s) < 0.5].mean() for s in np.arange(mean - 4, mean + 5)]
        assert abs(np.argmax(profile) - 4) <= 0
        ratio = image[60, 60 + int(mean + width)] / image[60, 60 + int(mean)]
        assert ratio == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_amorphous_rings_may_differ_by_pattern(patterns):
    radii = torch.tensor([[8.0, 15.0], [9.0, 16.0], [10.0, 17.0], [11.0, 18.0]])
    widths = torch.full((N, 2), 1.5)
    fractions = per_pattern(0.0, 0.1, 0.2, 0.3)
    batch = amorphous_rings(patterns, fractions, radii, widths)
    for i in range(N):
        single = amorphous_rings(patterns[i : i + 1], fractions[i : i + 1], radii[i], widths[i])
        torch.testing.assert_close(batch[i], single[0])
    torch.testing.assert_close(batch[0], patterns[0])


def test_poisson_is_drawn_from_the_generator_alone(patterns):
    def draw(seed):
        return poisson(patterns, 30.0, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert draw(1).dtype == torch.float32
    assert torch.equal(draw(1), draw(1).round())


def test_poisson_has_the_mean_and_variance_of_counts():
    flat = torch.full((2, 300, 300), 1e-3)
    counts = poisson(flat, per_pattern(1e3, 1e4), torch.Generator().manual_seed(0)).double()
    for image, mean in zip(counts, (1.0, 10.0), strict=True):
        assert float(image.mean()) == pytest.approx(mean, abs=5 * np.sqrt(mean / 9e4))
        assert float(image.var()) == pytest.approx(mean, rel=0.03)
    assert (poisson(-flat, 1e4) == 0).all()  # interpolation may leave a trace below zero


def test_resample_of_nothing_changes_nothing(smooth, patterns):
    torch.testing.assert_close(resample(smooth, 64), smooth, atol=1e-5, rtol=0)
    torch.testing.assert_close(resample(patterns[:, :47, :47], 47), patterns[:, :47, :47])


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("size", [64, 63])
def test_quarter_turns_are_exact_about_the_middle_pixel(smooth, quarters, size):
    images = smooth[:, :size, :size]
    turned = resample(images, size, rotation_deg=90.0 * quarters)
    pad = 1 - size % 2  # makes pixel n // 2 the middle
    padded = torch.nn.functional.pad(images, (0, pad, 0, pad))
    expected = torch.rot90(padded, -quarters, (1, 2))[:, :size, :size]
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)


def test_rotation_goes_from_x_toward_y():
    point = torch.zeros(1, 65, 65)
    point[0, 32, 52] = 1.0
    turned = resample(point, 65, rotation_deg=90.0)
    assert divmod(int(turned[0].argmax()), 65) == (52, 32)


def test_resample_is_an_affine_map(smooth):
    scales, angles = per_pattern(0.8, 1.0, 1.25, 1.1), per_pattern(10.0, -33.0, 77.0, 160.0)
    shifts = torch.tensor([[0.0, 0.0], [2.5, -1.0], [-3.0, 4.0], [0.3, 0.6]])
    found = resample(smooth, 48, scales, angles, shifts)
    for image, scale, angle, (column, row), ours in zip(
        smooth.numpy(), scales.tolist(), np.deg2rad(angles.tolist()), shifts.tolist(), found,
        strict=True,
    ):  # fmt: skip
        # Output (row, column) -> input, row vectors of y and x, about pixels 24 and 32.
        c, s = np.cos(angle), np.sin(angle)
        matrix = scale * np.array([[c, -s], [s, c]])
        offset = 32 - matrix @ (24 + np.array([row, column]))
        expected = scale**2 * ndimage.affine_transform(image, matrix, offset, (48, 48), order=1)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_shift_puts_the_direct_beam_there():
    beam = torch.zeros(1, 64, 64)
    beam[0, 32, 32] = 1.0
    moved = resample(beam, 64, shift_px=torch.tensor([[5.0, -3.0]]))
    assert divmod(int(moved[0].argmax()), 64) == (32 - 3, 32 + 5)
    cropped = resample(beam, 32, scale=2.0)
    assert divmod(int(cropped[0].argmax()), 32) == (16, 16)


@pytest.mark.parametrize("scale", [0.6, 0.9, 1.4])
def test_resample_keeps_the_intensity(smooth, scale):
    total = resample(smooth, 110, scale, rotation_deg=21.0).sum(dim=(1, 2))
    torch.testing.assert_close(total, smooth.sum(dim=(1, 2)), rtol=3e-3, atol=0)


def test_what_is_not_turned_comes_out_as_if_turned_by_nothing(patterns):
    """Two ways of interpolation, one of them for patterns that are neither turned nor distorted."""
    scales, shifts = per_pattern(0.7, 0.95, 1.0, 1.6), torch.randn(N, 2) * 4
    for size in (48, 37):
        plain = resample(patterns, size, scales, shift_px=shifts)
        general = resample(patterns, size, scales, torch.zeros(N), shifts)
        torch.testing.assert_close(plain, general, atol=2e-5, rtol=0)


def test_zoom_and_blur_are_both_in_one(patterns):
    scales, sigmas = per_pattern(0.8, 0.95, 1.0, 1.3), per_pattern(0.0, 0.4, 0.9, 1.5)
    shifts = torch.randn(N, 2, generator=torch.Generator().manual_seed(0)) * 4
    apart = blur(resample(patterns, 70, scales, shift_px=shifts), sigmas)
    once = zoom_and_blur(patterns, 70, scales, shifts, sigmas)
    torch.testing.assert_close(once, apart, atol=1e-6, rtol=1e-5)


def test_blur_does_not_depend_on_the_others_in_the_batch(patterns):
    sigmas = per_pattern(0.4, 0.8, 1.3, 2.1)
    batch = blur(patterns, sigmas, reach_px=7)
    torch.testing.assert_close(batch[:1], blur(patterns[:1], sigmas[:1], reach_px=7))


@pytest.mark.parametrize("turn", [0.0, 25.0])
@pytest.mark.parametrize("axis", [0.0, 30.0, 90.0, 135.0])
def test_elliptical_distortion_moves_spots_along_its_axes(axis, turn):
    """A spot at (20, 6) pixels from the direct beam, turned, then stretched in the axis' frame."""
    ratio, size = 1.21, 121
    y, x = np.indices((size, size)) - size // 2
    spot = torch.tensor(np.exp(-((x - 20) ** 2 + (y - 6) ** 2) / 8), dtype=torch.float32)[None]
    found = resample(spot, size, 1.0, turn, None, ratio, axis)[0].double().numpy()
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    u = np.array([np.cos(np.deg2rad(axis)), np.sin(np.deg2rad(axis))])
    stretch = np.sqrt(ratio) * np.outer(u, u) + (np.eye(2) - np.outer(u, u)) / np.sqrt(ratio)
    expected = stretch @ np.array([[c, -s], [s, c]]) @ [20, 6]
    center = [(found * axis).sum() / found.sum() for axis in (x, y)]
    np.testing.assert_allclose(center, expected, atol=0.02)
    assert found.sum() == pytest.approx(float(spot.sum()), rel=5e-3)


def test_elliptical_distortion_is_about_the_direct_beam_wherever_it_is():
    beam = torch.eye(65)[32].outer(torch.eye(65)[32])[None]
    moved = resample(beam, 65, 1.0, 0.0, torch.tensor([[7.0, -4.0]]), 1.2, 40.0)
    assert divmod(int(moved[0].argmax()), 65) == (32 - 4, 32 + 7)


def test_beam_stop_hides_a_disk_and_an_arm(patterns):
    bright = torch.ones(2, 41, 41)
    center = torch.tensor([[0.0, 0.0], [3.0, -2.0]])
    left = beam_stop(bright, 4.0, per_pattern(0.0, 90.0), 2.5, center)
    y, x = np.indices((41, 41)) - 20
    np.testing.assert_array_equal(left[0] == 0, (np.hypot(x, y) < 4) | ((x > 0) & (abs(y) < 1.25)))
    hidden = (np.hypot(x - 3, y + 2) < 4) | ((y > -2) & (abs(x - 3) < 1.25))
    np.testing.assert_array_equal(left[1] == 0, hidden)


def test_dead_rows_are_dark(patterns):
    rows = torch.zeros(N, 48, dtype=torch.bool)
    rows[1, [3, 40]] = True
    found = dead_rows(patterns, rows)
    assert (found[1, [3, 40]] == 0).all()
    found[1, [3, 40]] = patterns[1, [3, 40]]
    assert torch.equal(found, patterns)


def test_hot_pixels_rise_to_their_level(patterns):
    places = torch.tensor([[5 * 48 + 7, 9]]).expand(N, -1)
    found = hot_pixels(patterns, places, torch.tensor([[1.0, 0.0]]).expand(N, -1))
    assert torch.equal(found[:, 5, 7], patterns.amax(dim=(1, 2)))
    found[:, 5, 7] = patterns[:, 5, 7]
    assert torch.equal(found, patterns)  # level 0 leaves a pixel as it was


def test_read_out_gives_whole_levels(patterns):
    step = patterns.amax(dim=(1, 2), keepdim=True) / 50
    found = read_out(patterns, 50.0)
    assert ((found - patterns).abs() <= 0.501 * step).all()
    torch.testing.assert_close(found / step, (found / step).round(), atol=1e-4, rtol=0)
    assert (read_out(torch.zeros(2, 4, 4), torch.tensor([1e3, 1e7])) == 0).all()


def test_batch_equals_single(smooth):
    def each(images, pick):
        p = per_pattern(0.5, 1.0, 1.5, 2.0)[pick]
        yield log_range(images, 1e3 * p)
        yield blur(images, 2.0)
        yield diffuse_bell(images, 0.1 * p, 5 * p)
        yield resample(images, 40, p, 30 * p, torch.stack([p, -p], 1))

    for i in range(N):
        one = slice(i, i + 1)
        for batch, single in zip(each(smooth, slice(None)), each(smooth[one], one), strict=True):
            torch.testing.assert_close(batch[one], single, atol=1e-6, rtol=1e-5)


def test_inputs_stay_as_they_were(patterns):
    before = patterns.clone()
    rings = torch.tensor([8.0]), torch.tensor([2.0])
    log_range(patterns, 100.0)
    blur(patterns, 1.0)
    diffuse_bell(patterns, 0.1, 5.0)
    amorphous_rings(patterns, 0.1, *rings)
    poisson(patterns, 100.0)
    resample(patterns, 20, 2.0, 30.0)
    resample(patterns, 20, 0.9)
    zoom_and_blur(patterns, 48, 1.0, None, 0.5)
    beam_stop(patterns, 3.0, 0.0, 1.0, torch.zeros(N, 2))
    dead_rows(patterns, torch.ones(N, 48, dtype=torch.bool))
    hot_pixels(patterns, torch.zeros(N, 1, dtype=torch.int64), torch.ones(N, 1))
    read_out(patterns, 5.0)
    assert torch.equal(patterns, before)
    assert [float(value) for value in rings] == [8.0, 2.0]
