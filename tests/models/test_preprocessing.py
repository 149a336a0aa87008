from dataclasses import asdict

import numpy as np
import pytest
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.disks import Disks, disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.render import render
from zoneaxis.models.preprocessing import CartesianInput, PolarInput, preprocessing_from_dict

INPUTS = [PolarInput(), CartesianInput(size=64)]


@pytest.fixture(scope="module")
def disks(nickelate) -> Disks:
    directions = np.array([[20.0, 40.0], [55.0, 70.0], [80.0, 35.0]])
    optics = Optics(k_max_inv_angstrom=1.6)
    return bloch_disks(nickelate, optics, directions, np.array([30.0]), tilts=disk_tilts(1))


def pattern(disks: Disks, size: int = 128, pixel: float = 0.025, phi1: float = 0.0):
    return render(disks, size, pixel, phi1)[:, 0]


def correlation(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    pairs = zip(first.flatten(1), second.flatten(1), strict=True)
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])


@pytest.mark.parametrize("prepare", INPUTS)
def test_inputs_are_scaled_and_the_pattern_stays(disks, prepare):
    patterns = pattern(disks)
    before = patterns.clone()
    made = prepare(patterns, 0.025)
    assert torch.equal(patterns, before)
    assert made.shape == (3, *prepare.input_size)
    assert made.dtype == torch.float32
    assert made.min() == 0
    assert made.max() == pytest.approx(1)


@pytest.mark.parametrize("prepare", INPUTS)
def test_exposure_does_not_matter(disks, prepare):
    patterns = pattern(disks)
    torch.testing.assert_close(
        prepare(1e5 * patterns, 0.025), prepare(patterns, 0.025), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("prepare", INPUTS)
def test_one_pattern_alone_is_prepared_alike(disks, prepare):
    patterns = pattern(disks)
    torch.testing.assert_close(prepare(patterns[1:2], 0.025), prepare(patterns, 0.025)[1:2])


@pytest.mark.parametrize("steps", [1, 17, 36])
def test_in_plane_rotation_shifts_the_polar_input(disks, steps):
    prepare = PolarInput(inner_inv_angstrom=0.24)  # beyond the direct beam's blurred flank
    plain = prepare(pattern(disks, 160), 0.025)
    turned = prepare(pattern(disks, 160, phi1=2.5 * steps), 0.025)
    assert correlation(plain.roll(steps, dims=-1), turned).min() > 0.96
    assert correlation(plain.roll(-steps, dims=-1), turned).max() < 0.9


@pytest.mark.parametrize("prepare", INPUTS)
@pytest.mark.parametrize(("size", "pixel"), [(256, 0.0125), (512, 0.00625)])
def test_pixel_size_of_the_camera_does_not_matter(disks, prepare, size, pixel):
    coarse, fine = prepare(pattern(disks), 0.025), prepare(pattern(disks, size, pixel), pixel)
    assert correlation(coarse, fine).min() > 0.9


def test_small_pixels_keep_their_electrons(disks):
    """Counts of a camera with 16 times the pixels make as clean an input."""
    prepare, generator = PolarInput(), torch.Generator().manual_seed(0)
    for size, pixel in ((128, 0.025), (512, 0.00625)):
        clean = pattern(disks, size, pixel)
        noisy = torch.poisson(1e5 * clean, generator)
        assert correlation(prepare(clean, pixel), prepare(noisy, pixel)).min() > 0.97


def test_polar_input_finds_the_center(disks):
    prepare, patterns = PolarInput(), pattern(disks)
    moved = patterns.roll((3, -2), dims=(1, 2))
    assert correlation(prepare(moved, 0.025), prepare(patterns, 0.025)).min() > 0.99


@pytest.mark.parametrize("prepare", INPUTS)
@pytest.mark.parametrize("shape", [(96, 128), (128, 96), (97, 128)])
def test_frames_that_are_not_square(disks, prepare, shape):
    patterns = pattern(disks)
    h, w = shape
    top, left = 64 - h // 2, 64 - w // 2
    cut = patterns[:, top : top + h, left : left + w]
    blank = torch.zeros_like(patterns)
    blank[:, top : top + h, left : left + w] = cut
    assert correlation(prepare(cut, 0.025), prepare(blank, 0.025)).min() > 0.99


@pytest.mark.parametrize("prepare", INPUTS)
def test_vacuum_and_darkness_are_finite(prepare):
    axis = torch.arange(64) - 32
    beam = (torch.hypot(axis[:, None].float(), axis[None].float()) < 2).float()
    made = prepare(torch.stack([beam, torch.zeros(64, 64), torch.full((64, 64), 1e-42)]), 0.05)
    assert torch.isfinite(made).all()
    assert (made[1] == 0).all()


@pytest.mark.parametrize("prepare", [*INPUTS, PolarInput(n_radii=32)])
def test_settings_survive_a_checkpoint(prepare):
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(prepare).items()}
    assert preprocessing_from_dict(values) == prepare


def test_unknown_settings():
    with pytest.raises(TypeError):
        preprocessing_from_dict({"n_radii": 48, "colour": 1})
