from itertools import combinations
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch

from zoneaxis.diffraction import camera
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.disks import Disks
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    matrices_from_euler,
    misorientation_deg,
    pseudo_symmetric_deg,
)
from zoneaxis.diffraction.render import render
from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.ellipse import Ellipse
from zoneaxis.scans.indexing import index_scan
from zoneaxis.scans.scan import Scan

SAMPLE = Path(__file__).parents[1] / "data" / "multislice_sample.npz"
PIXEL = 0.03125
STEP = 2.0
SILVER_CIF = """data_Ag
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
_cell_length_a 4.08
_cell_length_b 4.08
_cell_length_c 4.08
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
Ag Ag 0 0 0 0.7
"""
SILVER_MISORIENTATIONS = [60.00, 35.43, 39.00, 60.00, 38.19, 32.00, 39.00, 60.00, 39.20, 60.00]


@pytest.fixture(scope="module")
def indexer(nickelate) -> TemplateIndexer:
    return TemplateIndexer(nickelate, Optics(k_max_inv_angstrom=1.8), step_deg=STEP)


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    with np.load(SAMPLE) as data:
        return {name: data[name].astype(float) for name in data}


@pytest.fixture(scope="module")
def kinematic(nickelate) -> tuple[np.ndarray, np.ndarray]:
    """Patterns at random full Euler angles over the whole sphere, and those angles."""
    rng = np.random.default_rng(4)
    n = 40
    euler = np.stack(
        [
            rng.uniform(0, 360, n),
            np.rad2deg(np.arccos(rng.uniform(-1, 1, n))),
            rng.uniform(0, 360, n),
        ],
        axis=1,
    )
    disks = kinematic_disks(nickelate, Optics(k_max_inv_angstrom=1.8), euler[:, 1:], [4.0])
    patterns = render(disks, 128, PIXEL, phi1_deg=torch.as_tensor(euler[:, 0]))[:, 0]
    return patterns.numpy(), euler


def errors_deg(indexer, found, euler_deg, which=0) -> np.ndarray:
    return misorientation_deg(
        matrices_from_euler(found.euler_deg[:, which]),
        matrices_from_euler(euler_deg),
        indexer.crystal.proper_operators,
    )


def test_finds_kinematic_patterns_within_the_grid_step(indexer, kinematic):
    patterns, euler = kinematic
    found = indexer.index(patterns, PIXEL)
    assert found.indexed.all()
    errors = np.stack([errors_deg(indexer, found, euler, i) for i in range(3)])
    # The oxide is nearly rock salt: another of its four c axes may come first, barely.
    assert (errors[0] < STEP).mean() > 0.9
    assert (errors.min(axis=0) < STEP).mean() > 0.95
    assert np.median(errors[0]) < STEP / 4


def test_finds_them_off_center_and_noisy(indexer, kinematic):
    patterns, euler = kinematic
    moved = np.roll(patterns, (2, -1), axis=(1, 2))
    noisy = np.random.default_rng(5).poisson(moved * 1e5).astype(np.float32)
    found = indexer.index(noisy, PIXEL)
    assert (errors_deg(indexer, found, euler) < STEP).mean() > 0.85


def test_finds_multislice_patterns(nickelate, indexer, sample):
    still = sample["precession_deg"] == 0
    optics = Optics(k_max_inv_angstrom=1.8, precession_deg=0.6)
    precessed = TemplateIndexer(nickelate, optics, step_deg=STEP)
    for chosen, method in ((still, indexer), (~still, precessed)):
        patterns = sample["pattern"][chosen]
        found = method.index(patterns, float(sample["inv_angstrom_per_pixel"]))
        truth = sample["euler"][chosen]
        assert (errors_deg(method, found, truth) < STEP).mean() >= 0.8
        transposed = method.index(patterns.transpose(0, 2, 1), PIXEL)
        friends = pseudo_symmetric_deg(
            matrices_from_euler(transposed.euler_deg[:, 0]), matrices_from_euler(truth), nickelate
        )
        assert friends["raw"].min() > 5


def test_other_camera_length_is_searched(nickelate, sample):
    still = sample["precession_deg"] == 0
    method = TemplateIndexer(
        nickelate, Optics(k_max_inv_angstrom=1.8), camera_scales=(0.92, 0.96, 1.0, 1.04)
    )
    found = method.index(sample["pattern"][still], PIXEL / 0.92)
    right = errors_deg(method, found, sample["euler"][still]) < STEP
    assert right.mean() >= 0.8
    np.testing.assert_allclose(found.properties["camera_scale"][right], 0.92)


def test_batch_equals_single_and_leaves_its_input(indexer, kinematic):
    patterns = kinematic[0][:3].copy()
    found = indexer.index(patterns, PIXEL)
    np.testing.assert_array_equal(patterns, kinematic[0][:3])
    single = indexer.index(patterns[1:2], PIXEL)
    np.testing.assert_allclose(found.euler_deg[1], single.euler_deg[0], atol=0.05)
    np.testing.assert_allclose(found.score[1], single.score[0], atol=1e-4)
    np.testing.assert_allclose(indexer.index(1e4 * patterns, PIXEL).score, found.score, atol=1e-3)


def test_solutions_are_distinct_and_ordered(indexer, sample):
    found = indexer.index(sample["pattern"], PIXEL)
    assert found.euler_deg.shape == (10, 3, 3)
    assert found.euler_deg.dtype == np.float64
    assert (np.diff(found.score, axis=1) <= 0).all()
    assert ((found.score >= 0) & (found.score <= 1)).all()
    matrices = matrices_from_euler(found.euler_deg)
    for i, j in combinations(range(3), 2):
        away = misorientation_deg(matrices[:, i], matrices[:, j], indexer.crystal.proper_operators)
        assert away[found.score[:, j] > 0].min() > 2
    expected = 1 - found.score[:, 1] / found.score[:, 0]
    np.testing.assert_allclose(found.reliability[found.indexed], expected[found.indexed], 1e-5)


def test_a_fine_grid_has_a_second_solution_as_a_coarse_one_has():
    """The neighbors of the best are many, and must not be all that is scored in full."""
    cell = (4.08, 4.08, 4.08, 90.0, 90.0, 90.0)
    one = np.ones(1)
    silver = Crystal("Ag", cell, 225, np.array([47]), np.zeros((1, 3)), one, one)
    optics = Optics(precession_deg=0.5, k_max_inv_angstrom=1.6)
    rng = np.random.default_rng(0)
    euler = rng.uniform(0, [360, 180, 360], (12, 3))
    disks = kinematic_disks(silver, optics, euler[:, 1:], [10.0])
    patterns = render(disks, 128, 0.03, phi1_deg=torch.from_numpy(euler[:, 0].copy()))[:, 0]
    coarse, fine = (
        TemplateIndexer(silver, optics, step_deg=step).index(patterns.numpy(), 0.03)
        for step in (2.0, 0.5)
    )
    assert (fine.score[:, 1] > 0).all()
    assert np.median(np.abs(fine.reliability - coarse.reliability)) < 0.05


def test_direct_beam_alone_and_nothing_are_not_indexed(indexer, kinematic):
    rng = np.random.default_rng(0)
    distance = np.hypot(*(np.indices((128, 128)) - 64))
    vacuum = 1e5 / 20 * (distance < 2.45)
    patterns = [vacuum, rng.poisson(vacuum), np.zeros((128, 128)), kinematic[0][0]]
    found = indexer.index(np.array(patterns, dtype=np.float32), PIXEL)
    assert found.indexed.tolist() == [False, False, False, True]
    assert np.isfinite(found.euler_deg).all()
    assert (found.reliability[:3] == 0).all()


def off_crystal(size: int, pixel: float, n: int) -> dict[str, torch.Tensor]:
    """Patterns without a crystal, as fractions of the beam, each shape (n, size, size)."""
    beam = Disks(
        hkl=torch.zeros(1, 1, 3, dtype=torch.int16),
        q_inv_angstrom=torch.zeros(1, 1, 2),
        intensity=torch.ones(1, 1, 1, 1),
        tilts=torch.zeros(1, 2),
        radius_inv_angstrom=Optics().disk_radius_inv_angstrom,
    )
    vacuum = render(beam, size, pixel)[0, 0].expand(n, -1, -1)
    radii, widths = torch.tensor([[0.48, 0.83], [0.05, 0.08]]) / pixel
    rings = camera.amorphous_rings(0.85 * vacuum, 0.15, radii, widths)
    return {
        "vacuum": camera.diffuse_bell(vacuum, 0.003, 1.1 / pixel),
        "bell": camera.diffuse_bell(vacuum, 0.1, 0.5 / pixel),
        "amorphous": camera.blur(rings, 0.7),
    }


@pytest.mark.parametrize("counts", [1e3, 1e4, 1e5])
@pytest.mark.parametrize(("size", "pixel"), [(128, 0.025), (80, 0.05)])
def test_noise_is_told_from_crystal_at_any_dose(indexer, size, pixel, counts):
    generator = torch.Generator().manual_seed(1)
    for name, patterns in off_crystal(size, pixel, 40).items():
        noisy = camera.poisson(patterns, counts, generator).numpy()
        assert indexer.index(noisy, pixel).indexed.mean() <= 0.05, name


def test_noise_is_told_from_crystal_in_prepared_scans(indexer, tmp_path):
    """Binned, centered and stretched as a user might, vacuum stays vacuum."""
    patterns = off_crystal(128, 0.025, 40)["vacuum"][:, None]
    noisy = camera.poisson(patterns[:, 0], 1e5, torch.Generator().manual_seed(1)).numpy()
    scan = Scan(da.from_array(noisy[None]), 1.0, 0.025, tmp_path / "vacuum.hspy")
    centers = np.array([64, 64]) + np.random.default_rng(0).normal(0, 0.3, (1, 40, 2))
    for prepared in (
        scan.bin(2),
        scan.centered(centers),
        scan.centered(centers, Ellipse(1.02, 30)),
    ):
        assert index_scan(indexer, prepared).indexed.mean() <= 0.05


@pytest.mark.parametrize("counts", [1e4, 1e5])
def test_crystal_is_kept_at_usual_doses(indexer, shared_data, counts):
    with np.load(shared_data / "multislice" / "plain.npz") as data:
        patterns = torch.from_numpy(data["pattern"].astype(np.float32))
    patterns = camera.diffuse_bell(camera.resample(patterns, 128, 2.0), 0.04, 1.1 / PIXEL)
    noisy = camera.poisson(patterns, counts, torch.Generator().manual_seed(2)).numpy()
    found = indexer.index(noisy, PIXEL)
    assert found.indexed.mean() >= 0.9
    # A camera's gain means nothing.
    np.testing.assert_array_equal(indexer.index(7 * noisy, PIXEL).indexed, found.indexed)


def test_disks_too_narrow_to_be_halved_are_not_asked(nickelate, kinematic):
    narrow = TemplateIndexer(
        nickelate, Optics(convergence_mrad=0.4, k_max_inv_angstrom=1.8), step_deg=4.0
    )
    found = narrow.index(kinematic[0][:2], PIXEL)
    assert (found.properties["agreement"] == 1).all()


def test_no_patterns_give_empty_arrays(indexer):
    found = indexer.index(np.zeros((0, 64, 64), np.float32), PIXEL)
    assert found.euler_deg.shape == (0, 3, 3)
    assert found.score.shape == (0, 3)
    assert found.indexed.shape == (0,)


def test_a_smaller_frame_compares_fewer_rings(indexer, kinematic):
    patterns, euler = kinematic
    found = indexer.index(np.ascontiguousarray(patterns[:, 24:-24, 24:-24]), PIXEL)
    assert (errors_deg(indexer, found, euler) < STEP).mean() > 0.8


def test_refuses_a_pixel_size_that_cannot_be(indexer, kinematic):
    with pytest.raises(ScanError, match="--inv-angstrom-per-pixel"):
        indexer.index(kinematic[0][:1], 0.001)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_best": 0},
        {"n_best": 21},
        {"min_q": 2.0},
        {"min_agreement": 1.5},
        {"step_deg": 0.0},
        {"camera_scales": ()},
    ],
)
def test_refuses_settings_out_of_range(nickelate, settings):
    with pytest.raises(SettingsError):
        TemplateIndexer(nickelate, Optics(), **settings)


def test_refuses_disks_that_leave_nothing(nickelate):
    with pytest.raises(SettingsError, match="convergence"):
        TemplateIndexer(nickelate, Optics(convergence_mrad=20.0))


def test_silver_reproduces_published_misorientations(shared_data, tmp_path):
    import h5py

    cif = tmp_path / "Ag.cif"
    cif.write_text(SILVER_CIF)
    crystal = load_crystal(cif)
    path = shared_data / "third_party" / "silver" / "SPED_Ag_labels_sum_signal.hspy"
    with h5py.File(path) as file:
        patterns = file["Experiments/__unnamed__/data"][:].astype(np.float32)
    optics = Optics(
        voltage_kv=200, convergence_mrad=1.0, precession_deg=1.0, k_max_inv_angstrom=1.45
    )
    found = TemplateIndexer(crystal, optics, step_deg=STEP).index(patterns, 0.026728)
    matrices = matrices_from_euler(found.euler_deg[:, 0])
    measured = [
        misorientation_deg(matrices[i], matrices[j], crystal.proper_operators)
        for i, j in combinations(range(5), 2)
    ]
    np.testing.assert_allclose(measured, SILVER_MISORIENTATIONS, atol=STEP)
