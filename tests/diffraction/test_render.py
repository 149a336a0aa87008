from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.disks import Disks, disk_tilts, fit_degree
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import euler_from_matrices, matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.errors import SettingsError

PIXEL = 0.02
RADIUS_PX = 4.3
SIZE = 96
SQUARE = torch.cartesian_prod(*2 * [torch.linspace(-0.77, 0.77, 7)])
SQUARE = SQUARE[SQUARE.norm(dim=1) < 1]  # 45 tilts


def disks_at(q_px, intensity=None, rings=2, thicknesses=1, radius_px=RADIUS_PX, tilts=None):
    """Disks of one direction at positions in pixels; uniform unless `intensity` is (n, t)."""
    q = torch.as_tensor(np.array(q_px), dtype=torch.float32).reshape(1, -1, 2) * PIXEL
    tilts = disk_tilts(rings) if tilts is None else tilts
    n = q.shape[1]
    if intensity is None:
        intensity = torch.linspace(1.0, 0.2, n)[:, None].expand(n, len(tilts))
    batch = intensity.expand(1, thicknesses, -1, -1).clone()
    return Disks(torch.zeros(1, n, 3, dtype=torch.int16), q, batch, tilts, radius_px * PIXEL)


def center_of_mass(image):
    image = image.double()
    grid = torch.arange(len(image), dtype=torch.float64)
    column, row = (image.sum(0) @ grid) / image.sum(), (image.sum(1) @ grid) / image.sum()
    return np.array([float(column), float(row)])


def turned(phi1_deg):
    """The matrix that turns row vectors v to Z(phi1)^T v."""
    return matrices_from_euler(np.array([phi1_deg, 0.0, 0.0]))[:2, :2]


def reference(place_px, radius_px, tilts, samples, phi1_deg, strips=512):
    """A disk integrated over each pixel, negative integrals as zero: Gauss' rule in thin strips."""
    degree = fit_degree(tilts)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    tilts = tilts.double().numpy()
    terms = np.stack([tilts[:, 0] ** i * tilts[:, 1] ** j for i, j in powers], 1)
    coefficients = np.zeros((degree + 1, degree + 1))
    coefficients[tuple(np.transpose(powers))] = np.linalg.lstsq(terms, samples, rcond=None)[0]
    column, row = place_px @ turned(phi1_deg) + SIZE // 2
    nodes, weights = np.polynomial.legendre.leggauss(4)
    first, last = int(column - radius_px) - 1, int(column + radius_px) + 2
    image = np.zeros((SIZE, SIZE))
    x = (np.arange(first - 0.5 + 0.5 / strips, last, 1 / strips) - column) / radius_px
    chord = np.sqrt(np.clip(1 - x**2, 0, None))
    for r in range(int(row - radius_px) - 1, int(row + radius_px) + 2):
        low, high = (np.clip((r + end - row) / radius_px, -chord, chord) for end in (-0.5, 0.5))
        y = (low + high)[:, None] / 2 + (high - low)[:, None] / 2 * nodes
        back = np.stack([np.broadcast_to(x[:, None], y.shape), y], -1) @ turned(phi1_deg).T
        values = np.polynomial.polynomial.polyval2d(back[..., 0], back[..., 1], coefficients)
        strip = (values @ weights) * (high - low) / 2 / strips / radius_px / np.pi
        sums = np.add.reduceat(strip, np.arange(0, len(strip), strips))
        image[r, first : first + len(sums)] = sums
    return image.clip(0)


@pytest.fixture(scope="module")
def simulated(nickelate, absorptive):
    optics = Optics(k_max_inv_angstrom=0.75)
    directions = np.array([[12.0, 33.0], [1.0, 101.0], [75.0, 5.0]])
    return bloch_disks(nickelate, optics, directions, [15.0, 40.0], factors=absorptive)


def test_direct_beam_stands_at_the_middle_pixel():
    for size in (64, 65):
        image = render(disks_at([[0.0, 0.0]]), size, PIXEL)
        assert image.shape == (1, 1, size, size)
        np.testing.assert_allclose(center_of_mass(image[0, 0]), size // 2, atol=1e-4)


def test_x_is_the_column_and_y_the_row():
    image = render(disks_at([[20.0, -7.0]]), SIZE, PIXEL)[0, 0]
    np.testing.assert_allclose(center_of_mass(image), [48 + 20, 48 - 7], atol=1e-4)


@pytest.mark.parametrize("radius_px", [0.05, 0.6, 1.5, 2.4, 6.1])
def test_position_is_kept_to_a_twentieth_of_a_pixel(radius_px):
    for place in np.random.default_rng(0).uniform(-30, 30, (30, 2)):
        image = render(disks_at([place], radius_px=radius_px), SIZE, PIXEL)[0, 0]
        np.testing.assert_allclose(center_of_mass(image) - 48, place, atol=0.05)


@pytest.mark.parametrize("rings", [0, 1, 2, 3])
@pytest.mark.parametrize("radius_px", [0.6, 1.7, 6.1, 15.0])
def test_pixels_are_integrals_of_the_disk(rings, radius_px):
    generator = np.random.default_rng(int(10 * radius_px) + rings)
    tilts = disk_tilts(rings)
    place, phi1 = generator.uniform(-9, 9, 2), generator.uniform(0, 360)
    # Fringes from nothing to all, which the polynomial cannot follow everywhere.
    samples = np.sin(tilts.double().numpy() @ generator.normal(0, 3, 2) + generator.uniform()) ** 2
    disks = disks_at([place], torch.tensor(samples[None]).float(), rings, 1, radius_px)
    image = render(disks, SIZE, PIXEL, phi1)[0, 0].numpy()
    expected = reference(place, radius_px, tilts, samples, phi1)
    np.testing.assert_allclose(image, expected, atol=1e-3 * expected.max(), rtol=0)


@pytest.mark.parametrize("radius_px", [0.6, 2.4, 6.1, 15.0])
def test_pixels_sum_to_the_mean_of_the_disk(radius_px):
    x, y = disk_tilts(2).T
    samples = (1 + 0.5 * x + 0.3 * x * y - 0.4 * y**2)[None]  # the mean of y^2 is 1 / 4
    for place in np.random.default_rng(0).uniform(-20, 20, (20, 2)):
        disks = disks_at([place], samples, radius_px=radius_px)
        assert float(render(disks, SIZE, PIXEL, 20.0).sum()) == pytest.approx(0.9, rel=1e-5)


def test_intensity_of_uniform_disks_is_kept():
    disks = disks_at([[0, 0], [20.3, 4.4], [-15.7, 30.1]], thicknesses=2)
    images = render(disks, SIZE, PIXEL, phi1_deg=33.0)
    expected = disks.mean_intensity.sum(dim=-1)
    torch.testing.assert_close(images.sum(dim=(2, 3)), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("convergence_mrad", [0.01, 0.03, 0.1])
def test_spots_of_nearly_parallel_illumination_keep_their_intensity(convergence_mrad):
    radius = Optics(convergence_mrad=convergence_mrad).disk_radius_inv_angstrom
    corners = np.stack(np.meshgrid([-0.5, 0.0, 0.49], [-0.5, 0.2, 0.5]), -1).reshape(-1, 2)
    disks = disks_at(corners * 0.028 / PIXEL, radius_px=radius / PIXEL)
    disks = replace(disks, intensity=torch.ones_like(disks.intensity))
    image = render(disks, SIZE, 0.028)[0, 0]
    assert torch.isfinite(image).all()
    assert float(image.sum()) == pytest.approx(len(corners), rel=1e-4)
    middle = SIZE // 2
    assert float(image[middle - 2 : middle + 3, middle - 2 : middle + 3].sum()) > 8.99


def test_intensity_of_simulated_disks_is_kept(simulated):
    expected = simulated.mean_intensity.sum(dim=-1)
    for pixel in (0.02, 0.01):
        images = render(simulated, round(2.0 / pixel), pixel)
        total = images.sum(dim=(2, 3))
        torch.testing.assert_close(total, expected, rtol=0.02, atol=0)


def test_disks_over_the_edge_are_cut_not_wrapped():
    half = render(disks_at([[48.0 - 0.5, 0.0]]), SIZE, PIXEL)[0, 0]
    assert float(half.sum()) == pytest.approx(0.5, abs=0.01)
    assert half[:, : SIZE // 2].sum() == 0
    assert render(disks_at([[300.0, 0.0]]), SIZE, PIXEL).sum() == 0


def test_outline_is_a_circle_of_the_right_area():
    image = render(disks_at([[0.3, -0.4]], radius_px=20.0), SIZE, PIXEL)[0, 0]
    area = float(image.sum() / image.max())
    assert area == pytest.approx(np.pi * 20.0**2, rel=2e-3)
    y, x = np.indices(image.shape) - 48
    inside = np.hypot(x - 0.3, y + 0.4) < 19
    np.testing.assert_allclose(image.numpy()[inside], image.max(), rtol=1e-4)


@pytest.mark.parametrize("rings", [0, 1, 2, 3])
def test_uniform_disks_show_no_trace_of_the_tilts(rings):
    image = render(disks_at([[0.0, 0.0]], rings=rings, radius_px=12.0), SIZE, PIXEL)[0, 0].double()
    y, x = np.indices(image.shape) - 48
    z = torch.from_numpy(x + 1j * y) / 12.0
    second = (image * (z**2)).sum() / (image * z.abs() ** 2).sum()
    sixth = (image * (z**6)).sum() / (image * z.abs() ** 6).sum()
    twelfth = (image * (z**12)).sum() / (image * z.abs() ** 12).sum()
    assert abs(second) < 1e-6
    assert abs(sixth) < 1e-6  # the pixels are four-fold, the sampling six-fold
    assert abs(twelfth) < 0.02
    radial = (image * z.abs() ** 2).sum() / image.sum()
    assert float(radial) == pytest.approx(0.5, rel=5e-3)
    one = render(disks_at([[0.0, 0.0]], rings=0, radius_px=12.0), SIZE, PIXEL)[0, 0]
    torch.testing.assert_close(image.float(), one, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("tilts", [*map(disk_tilts, range(4)), SQUARE], ids=len)
def test_disks_are_round_to_a_tenth_of_a_pixel(tilts):
    radius_px = 8.3
    bowl = (1 + 0.5 * (tilts**2).sum(dim=1))[None]
    azimuth = np.deg2rad(np.arange(0, 360, 5))
    rays = np.stack([np.sin(azimuth), np.cos(azimuth)])[..., None] * np.arange(5, 10, 0.01)
    brightness = []  # along each ray, from where the disk is shining to where it is not
    # The phase of the pixels is averaged out: it moves an outline by up to 0.1 pixels.
    for x, y in np.stack(np.meshgrid(*2 * [np.arange(0, 1, 0.25)]), -1).reshape(-1, 2):
        disks = disks_at([[x, y]], bowl, radius_px=radius_px, tilts=tilts)
        image = render(disks, SIZE, PIXEL)[0, 0].numpy()
        place = np.array([y, x])[:, None, None] + SIZE // 2
        brightness.append(map_coordinates(image, rays + place, order=1).sum(axis=1))
    reach = np.mean(brightness, axis=0)
    reach *= (radius_px - 5) / reach.mean()
    assert np.ptp(reach) < 0.02


def test_tilts_appear_where_they_belong():
    # A tilt t of the illumination lands at q + t: bright at positive t_x is bright on the right.
    tilts = disk_tilts(2)
    slope = 1 + 0.5 * tilts[:, :1].T
    for phi1, side in ((0.0, (1, 0)), (90.0, (0, 1)), (180.0, (-1, 0))):
        image = render(disks_at([[0, 0]], slope, radius_px=12.0), SIZE, PIXEL, phi1)[0, 0]
        # The mean of x (1 + x / 2) over a unit disk is 1 / 8.
        offset = (center_of_mass(image) - 48) / 12.0
        np.testing.assert_allclose(offset, np.array(side) / 8, atol=2e-3)


def test_phi1_turns_the_pattern_as_the_crystal_turns(nickelate, simulated):
    phi1 = 37.0
    images = render(simulated, 128, PIXEL, phi1_deg=phi1)
    for i, direction in enumerate(([12.0, 33.0], [1.0, 101.0], [75.0, 5.0])):
        g = simulated.hkl[i].double().numpy() @ nickelate.reciprocal_inv_angstrom
        place = g @ matrices_from_euler(np.array([phi1, *direction]))[:, :2] / PIXEL + 64
        weights = simulated.mean_intensity[i, 0]
        shining = weights > 1e-3
        assert shining.sum() > 1
        y, x = np.indices((128, 128))
        for column, row in place[shining.numpy()]:
            near = np.hypot(x - column, y - row) < RADIUS_PX
            assert images[i, 0][torch.from_numpy(near)].sum() > 0
        all_near = np.zeros((128, 128), dtype=bool)
        for column, row in place[(weights > 0).numpy()]:
            all_near |= np.hypot(x - column, y - row) < 5.0
        assert images[i, 0][torch.from_numpy(~all_near)].sum() == 0
        share = images[i, 0][torch.from_numpy(all_near)].sum() / weights.sum()
        assert float(share) == pytest.approx(1, abs=0.02)


def test_phi1_turns_places_and_tilts_alike(simulated):
    turn = torch.from_numpy(turned(37.0)).float()
    beforehand = replace(
        simulated, q_inv_angstrom=simulated.q_inv_angstrom @ turn, tilts=simulated.tilts @ turn
    )
    expected = render(beforehand, SIZE, PIXEL)
    deviation = render(simulated, SIZE, PIXEL, 37.0) - expected
    assert float((deviation.abs().amax((2, 3)) / expected.amax((2, 3))).max()) < 1e-5


def test_everything_happens_on_the_device_of_the_disks(simulated):
    with torch.device("meta"):  # a tensor made without a device could not meet the disks
        image = render(simulated, SIZE, PIXEL, 10.0)
    assert torch.equal(image, render(simulated, SIZE, PIXEL, 10.0))


def test_phi1_of_90_degrees_is_a_quarter_turn_x_toward_y(simulated):
    size = 97  # odd, so that the middle pixel is the middle
    plain, turned = (render(simulated, size, PIXEL, phi1_deg=a) for a in (0.0, 90.0))
    torch.testing.assert_close(torch.rot90(plain, -1, (2, 3)), turned, atol=2e-5, rtol=1e-3)


def test_equivalent_orientations_are_drawn_alike_at_any_angle(nickelate, absorptive):
    # The two-fold axis brings another phi1, so that the tilts lie turned within the disks.
    optics = Optics(k_max_inv_angstrom=0.75)
    two_fold = nickelate.proper_operators[3] @ matrices_from_euler([20.0, 12.0, 33.0])
    images = []
    for phi1, *direction in ([20.0, 12.0, 33.0], euler_from_matrices(two_fold)):
        disks = bloch_disks(
            nickelate, optics, [direction], [40.0], tilts=disk_tilts(3), factors=absorptive
        )
        images.append(render(disks, SIZE, PIXEL, phi1_deg=phi1)[0, 0])
    assert float((images[0] - images[1]).abs().max() / images[0].max()) < 0.01


def test_batch_equals_single(simulated):
    phi1 = torch.tensor([10.0, 200.0, 301.5])
    batch = render(simulated, SIZE, PIXEL, phi1_deg=phi1)
    assert batch.shape == (3, 2, SIZE, SIZE)
    assert batch.dtype == torch.float32
    for i in range(3):
        q, intensity = simulated.q_inv_angstrom[i : i + 1], simulated.intensity[i : i + 1]
        single = replace(simulated, q_inv_angstrom=q, intensity=intensity)
        torch.testing.assert_close(render(single, SIZE, PIXEL, float(phi1[i]))[0], batch[i])


def test_many_directions_are_drawn_in_batches():
    one = disks_at([[0, 0], [10.2, 5.1]], rings=0)
    n = 130
    q, intensity = one.q_inv_angstrom.expand(n, -1, -1), one.intensity.expand(n, -1, -1, -1)
    many = replace(one, q_inv_angstrom=q, intensity=intensity)
    images = render(many, 32, PIXEL, phi1_deg=torch.arange(n) * 1.0)
    assert images.shape == (n, 1, 32, 32)
    torch.testing.assert_close(images[129], render(one, 32, PIXEL, phi1_deg=129.0)[0])


def test_center_may_lie_anywhere():
    disks = disks_at([[0, 0], [15.0, 3.0]])
    moved = render(disks, SIZE, PIXEL, center_px=(50.0, 45.0))
    torch.testing.assert_close(
        moved, torch.roll(render(disks, SIZE, PIXEL), (-3, 2), (2, 3)), atol=1e-6, rtol=1e-4
    )
    halfway = render(disks_at([[0, 0]]), SIZE, PIXEL, center_px=(48.25, 47.4))[0, 0]
    np.testing.assert_allclose(center_of_mass(halfway), [48.25, 47.4], atol=0.02)


def test_intensities_are_never_negative_and_the_input_stays(simulated):
    fields = ("hkl", "q_inv_angstrom", "intensity", "tilts")
    before = {name: getattr(simulated, name).clone() for name in fields}
    assert render(simulated, SIZE, PIXEL, phi1_deg=12.0, center_px=(40.0, 50.0)).min() >= 0
    for name, value in before.items():
        assert torch.equal(getattr(simulated, name), value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size = 0"),
        ({"size": 25.5}, r"size = 25\.5"),
        ({"size": 200_000}, "size = 200000"),
        ({"inv_angstrom_per_pixel": 0.0}, "positive number"),
        ({"inv_angstrom_per_pixel": -0.02}, "positive number"),
        ({"inv_angstrom_per_pixel": np.nan}, "positive number"),
        ({"phi1_deg": np.nan}, "phi1_deg"),
        ({"phi1_deg": torch.zeros(2)}, "phi1_deg of shape"),
        ({"center_px": (np.nan, 0.0)}, "center_px"),
        ({"center_px": (1.0, 2.0, 3.0)}, "center_px"),
    ],
)
def test_refuses_what_makes_no_pattern(settings, message):
    arguments = {"size": SIZE, "inv_angstrom_per_pixel": PIXEL} | settings
    with pytest.raises(SettingsError, match=message):
        render(disks_at([[0.0, 0.0]]), **arguments)
