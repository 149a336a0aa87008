import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from zoneaxis.diffraction.blur import blurred
from zoneaxis.diffraction.polar import (
    checkerboard,
    compressed_polar,
    direct_beam_center,
    polar_resample,
    rings_inside,
    smooth_polar,
)


def spots(positions, size=64, sigma=1.5) -> torch.Tensor:
    axis = torch.arange(size, dtype=torch.float32)
    image = torch.zeros(size, size)
    for x, y in positions:
        image += torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2))
    return image


def test_angle_grows_from_right_to_down_about_the_center():
    center = torch.tensor([[30.3, 33.7], [30.3, 33.7]])
    patterns = torch.stack([spots([(50.3, 33.7)]), spots([(30.3, 53.7)])])
    radii = torch.linspace(0.0, 0.25, 26)
    polar = polar_resample(patterns, center, 0.01, radii, 36)
    assert polar.shape == (2, 26, 36)
    assert divmod(int(polar[0].argmax()), 36) == (20, 0)
    assert divmod(int(polar[1].argmax()), 36) == (20, 9)


def test_pixel_size_may_differ_by_pattern_and_outside_is_zero():
    patterns = torch.ones(2, 32, 32)
    center = torch.full((2, 2), 16.0)
    radii = torch.tensor([0.1, 0.2])
    pixel = torch.tensor([0.01, 0.005])
    polar = polar_resample(patterns, center, pixel, radii, 8)
    inside = rings_inside((32, 32), center, pixel, radii)
    assert inside.tolist() == [[True, False], [False, False]]
    assert (polar[0, 0] == 1).all()
    assert (polar[1, 1] == 0).all()


def test_center_is_found_beside_a_brighter_disk():
    patterns = torch.stack(
        [spots([(31.2, 33.6), (48.0, 33.6)]), 5 * spots([(34.0, 30.5), (34.0, 12.0)])]
    )
    patterns[1] += 8 * spots([(10.0, 55.0)])
    center = direct_beam_center(patterns, 4.0)
    expected = np.array([[31.2, 33.6], [34.0, 30.5]])
    np.testing.assert_allclose(center.numpy(), expected, atol=0.05)


def test_blur_keeps_the_sum_and_widens():
    image = torch.zeros(1, 41, 31)
    image[0, 20, 15] = 2.0
    smooth = blurred(image, 2.0)
    assert smooth.sum().item() == pytest.approx(2.0, rel=1e-4)
    assert smooth[0, 20, 15].item() == pytest.approx(2 / (2 * np.pi * 4), rel=1e-3)
    torch.testing.assert_close(smooth[0, 20, 10:21], smooth[0, 15:26, 15])


@pytest.mark.parametrize("sigma", [0.7, 2.0, 9.0])
def test_blur_is_that_of_scipy(sigma):
    image = torch.rand(2, 150, 97, generator=torch.Generator().manual_seed(0))
    smooth = blurred(image, sigma)
    expected = gaussian_filter(image.double(), sigma, axes=(1, 2), mode="constant", truncate=9)
    np.testing.assert_allclose(smooth, expected, atol=1e-5)
    for rows, columns in (
        (range(21, 122), range(3, 90)),
        (range(1, 150, 2), range(0, 97, 3)),
        (range(148, 150), range(5, 6)),
    ):
        part = blurred(image, sigma, rows, columns)
        torch.testing.assert_close(part, smooth[:, rows][:, :, columns])


def test_compressed_patterns_of_any_center_and_ring():
    """What is cut away before the blur changes nothing, at the frame's edges neither."""
    patterns = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(0))
    center = torch.tensor([[35.0, 45.0], [30.2, 50.9], [38.0, 41.0]])
    for outer in (0.1, 0.3, 0.6):
        radii = torch.linspace(0.03, outer, 9)
        made = compressed_polar(patterns, center, 0.01, radii, 36, 0.02)
        polar = polar_resample(blurred(patterns, 2.0), center, 0.01, radii, 36)
        expected = (polar - polar.median(dim=-1, keepdim=True).values).clamp_min(0)
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_every_second_pixel_is_white():
    board = checkerboard(5, 6)
    assert board[0].tolist() == [True, False] * 3
    assert (board[1:] == ~board[:-1]).all()


def test_smoothed_patterns_keep_their_polar_image_at_a_stride():
    patterns = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(0))
    center = torch.tensor([[35.0, 45.0], [30.2, 50.9], [38.0, 41.0]])
    radii = torch.linspace(0.03, 0.3, 9)
    every, second = (
        smooth_polar(patterns, center, 0.01, radii, 36, 0.03, stride) for stride in (1, 2)
    )
    torch.testing.assert_close(second, every, atol=8e-3, rtol=0)
    assert (second - every).abs().max() > 1e-5  # it is not the same lookup
    half = smooth_polar(patterns * checkerboard(90, 70), center, 0.01, radii, 36, 0.03)
    torch.testing.assert_close(half, every / 2, atol=0.05, rtol=0)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_batch_is_the_same_as_each_of_its_patterns(stride):
    patterns = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(0))
    center = torch.tensor([[35.0, 45.0], [30.2, 50.9], [38.0, 41.0]])
    radii = torch.linspace(0.03, 0.2, 9)
    batch = smooth_polar(patterns, center, 0.01, radii, 36, 0.03, stride)
    for i in range(3):
        part = slice(i, i + 1)
        alone = smooth_polar(patterns[part], center[part], 0.01, radii, 36, 0.03, stride)
        torch.testing.assert_close(alone[0], batch[i], atol=1e-5, rtol=0)


def test_compression_removes_the_background_of_each_ring():
    center, radii = torch.tensor([[32.0, 32.0]]), torch.linspace(0.05, 0.25, 21)
    spot = spots([(52.0, 32.0)])[None]
    plain = compressed_polar(spot, center, 0.01, radii, 36, 0.01, 0.5)
    assert divmod(int(plain[0].argmax()), 36) == (15, 0)
    raised = compressed_polar(spot + 3, center, 0.01, radii, 36, 0.01, 0.5)
    torch.testing.assert_close(raised, plain, atol=2e-3, rtol=0)
    smooth = compressed_polar(spot, center, 0.01, radii, 36, 0.01)
    torch.testing.assert_close(smooth**0.5, plain)
