import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from orix.quaternion import Orientation
from scipy.spatial.transform import Rotation

from zoneaxis.dataset_builder import transforms
from zoneaxis.dataset_builder.plan import plan_of
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.dataset_builder.sampling import equispaced_orientations
from zoneaxis.dataset_builder.simulate import write_classes
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.errors import SettingsError
from zoneaxis.models import labels as module
from zoneaxis.models.labels import OrientationLabels

SIGMA_DEG = 2.0


@pytest.fixture(scope="module")
def labels(nickelate) -> OrientationLabels:
    return OrientationLabels.equispaced(nickelate, 4.0, 72)


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return torch.from_numpy(Rotation.random(256, random_state=0).as_matrix()).float()


@pytest.fixture(scope="module")
def angles(labels, truth) -> np.ndarray:
    """Misorientation of the first 16 orientations to every class, by brute force."""
    classes = labels.class_matrices(torch.arange(labels.n_orientations)).numpy()
    return np.stack(
        [
            misorientation_deg(g, classes, labels.crystal.proper_operators)
            for g in truth[:16].numpy()
        ]
    )


def logits_of(labels: OrientationLabels, targets: tuple[torch.Tensor, torch.Tensor]):
    """What a network that has learnt soft targets would say."""
    classes, weights = targets
    logits = torch.full((len(classes), labels.n_classes), -30.0)
    return logits.scatter_(1, classes, weights.clamp(min=1e-9).log())


def test_kinds_are_those_of_the_transforms():
    for name in ("CRYSTAL", "VACUUM", "AMORPHOUS"):
        assert getattr(module, name) == getattr(transforms, name)


def test_numbers_of_classes(labels):
    assert labels.n_orientations == 72 * len(labels.directions_deg)
    assert labels.n_classes == labels.n_orientations + 2
    # A sixth of the sphere in cells of 4 x 4 degrees holds 430, and the rims some more.
    assert 400 < len(labels.directions_deg) < 650


@pytest.fixture(scope="module", params=["directions", "own angles", "so3"])
def table(request, labels, nickelate) -> OrientationLabels:
    """Tables with bins, with base classes turned in their plane, and without bins."""
    if request.param == "so3":
        return OrientationLabels(nickelate, equispaced_orientations(nickelate, 12.0))
    if request.param == "directions":
        return labels
    phi1 = np.random.default_rng(0).uniform(0, 360, len(labels.directions_deg))
    return OrientationLabels(nickelate, np.insert(labels.directions_deg, 0, phi1, axis=1), 3)


def brute_force(labels: OrientationLabels, matrices: torch.Tensor) -> np.ndarray:
    classes = labels.class_matrices(torch.arange(labels.n_orientations)).double().numpy()
    operators = labels.crystal.proper_operators
    return np.stack([misorientation_deg(g, classes, operators) for g in matrices.double().numpy()])


def test_nearest_class_is_that_of_brute_force(table, truth):
    angles = brute_force(table, truth[:32])
    found = table.nearest_class(truth[:32])
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found, angles.argmin(axis=1))


def test_nearest_class_agrees_with_orix(table, truth, nickelate):
    """One more route: orix reduces misorientations by quaternions of its own."""
    group = nickelate.point_group.proper_subgroup
    numbers = table.nearest_class(truth[:8])
    found, others = (
        Orientation(Rotation.from_matrix(g.double()).as_quat(scalar_first=True), symmetry=group)
        for g in (table.class_matrices(numbers), truth[:8])
    )
    angles = brute_force(table, truth[:8]).min(axis=1)
    np.testing.assert_allclose(others.angle_with(found, degrees=True), angles, atol=0.01)


def test_classes_are_their_own_nearest(table):
    numbers = torch.arange(0, table.n_orientations, 37)
    found = table.nearest_class(table.class_matrices(numbers))
    angle = misorientation_deg(
        table.class_matrices(found).numpy(),
        table.class_matrices(numbers).numpy(),
        table.crystal.proper_operators,
    )
    assert angle.max() < 0.2
    assert (found <= numbers).all()  # the first of equivalent ones


def test_equal_classes_give_the_first(nickelate):
    """At Phi = 0 the stepped classes of all phi2 are one direction: 144 classes an orientation."""
    labels = OrientationLabels.of_recipe(
        preset("stepped", nickelate, resolution=15.0, phi1_step_deg=15.0)
    )
    turns = matrices_from_euler(np.array([[105.0, 0, 0], [60, 0, 45], [105, 0, 120]]))
    found = labels.nearest_class(torch.from_numpy(turns).float())
    np.testing.assert_array_equal(
        found, [np.flatnonzero(a < 0.1)[0] for a in brute_force(labels, torch.from_numpy(turns))]
    )


def test_no_sigma_is_the_nearest_class_alone(table, truth):
    classes, weights = table.soft_targets(truth, 0.0)
    assert torch.equal(classes[:, 0], table.nearest_class(truth))
    assert torch.equal(weights, torch.ones(256, 1))


def test_soft_targets_of_any_table(table, truth):
    sigma = 6.0
    classes, weights = table.soft_targets(truth[:16], sigma)
    expected = np.exp(-0.5 * (brute_force(table, truth[:16]) / sigma) ** 2)
    made = torch.zeros(expected.shape).scatter_add_(1, classes, weights).numpy()
    # In a finer table, the tail is longer than what is kept.
    kept = np.zeros_like(expected)
    np.put_along_axis(kept, classes.numpy(), 1, axis=1)
    assert (expected * kept).sum() > 0.3 * expected.sum()
    expected *= kept
    np.testing.assert_allclose(made, expected / expected.sum(axis=1, keepdims=True), atol=2e-3)


def test_batches_are_compared_in_parts(labels, truth, monkeypatch):
    whole = labels.soft_targets(truth, SIGMA_DEG)
    nearest = labels.nearest_class(truth)
    monkeypatch.setattr(module, "COMPARED_TOGETHER", 7 * 6 * len(labels.euler_deg))
    for one, other in zip(labels.soft_targets(truth, SIGMA_DEG), whole, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(labels.nearest_class(truth), nearest)


@pytest.mark.parametrize(
    ("bins", "changes"),
    [
        (72, {"scheme": "equispaced", "resolution": 10.0}),
        (18, {"scheme": "stepped", "resolution": 20.0, "phi1_step_deg": 20.0}),
        (72, {"scheme": "random", "resolution": 20, "random_phi1": True}),
        (1, {"scheme": "random", "resolution": 20, "phi1_step_deg": 7.0}),  # divides no turn
        (1, {"scheme": "so3", "resolution": 20.0}),
    ],
)
def test_classes_are_those_of_the_data_set(nickelate, tmp_path, bins, changes):
    recipe = preset("test", nickelate, **changes)
    write_classes(tmp_path / "classes.parquet", recipe, plan_of(recipe.to_json()))
    table = pq.read_table(tmp_path / "classes.parquet").to_pandas()
    labels = OrientationLabels.of_recipe(recipe)
    assert labels.n_orientations == len(table)
    assert labels.bins == bins
    made = labels.class_matrices(torch.tensor(table["class_id"]))
    written = matrices_from_euler(table[["phi1_deg", "Phi_deg", "phi2_deg"]].to_numpy())
    np.testing.assert_allclose(made, written, atol=1e-6)


def test_numbers_of_the_papers_classes(nickelate):
    labels = OrientationLabels.of_recipe(preset("equispaced", nickelate))
    assert (labels.n_orientations, labels.bins) == (155_664, 72)
    assert labels.euler_deg.dtype == np.float64


def test_a_scan_has_no_classes():
    with pytest.raises(SettingsError, match="label step"):
        OrientationLabels.of_recipe(None)


@pytest.mark.parametrize(("shape", "bins"), [((4, 2), 72), ((3,), 1), ((0, 3), 1), ((4, 3), 0)])
def test_bad_tables(nickelate, shape, bins):
    with pytest.raises(SettingsError, match="expected"):
        OrientationLabels(nickelate, np.zeros(shape), bins)


def test_class_matrices_are_bunge_angles(labels):
    classes = torch.tensor([[0, 5], [72 * 7, 72 * 7 + 18]])
    direction = labels.directions_deg
    expected = [
        [[0, *direction[0]], [25, *direction[0]]],
        [[0, *direction[7]], [90, *direction[7]]],
    ]
    made = labels.class_matrices(classes)
    np.testing.assert_allclose(made, matrices_from_euler(np.array(expected)), atol=1e-6)


def test_classes_cover_all_orientations(angles):
    # Half the diagonal of a cell of 4 x 4 degrees, with 2.5 degrees to the next bin.
    assert angles.min(axis=1).max() < 4.5


def test_soft_targets_are_the_gaussian_over_all_classes(labels, truth, angles):
    classes, weights = labels.soft_targets(truth[:16], SIGMA_DEG)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(16))
    expected = np.exp(-0.5 * (angles / SIGMA_DEG) ** 2)
    expected /= expected.sum(axis=1, keepdims=True)
    made = np.zeros_like(expected)
    for row, number, weight in zip(made, classes.numpy(), weights.numpy(), strict=True):
        assert len(set(number)) == len(number)
        row[number] = weight
    np.testing.assert_array_equal(made.argmax(axis=1), angles.argmin(axis=1))
    assert np.abs(made - expected).sum(axis=1).max() < 0.03


def test_soft_targets_know_the_symmetry(labels, truth):
    operator = torch.from_numpy(labels.crystal.proper_operators[3]).float()
    plain = logits_of(labels, labels.soft_targets(truth, SIGMA_DEG)).exp()
    equal = logits_of(labels, labels.soft_targets(operator @ truth, SIGMA_DEG)).exp()
    # Of neighbors equally far away, not the same ones may be kept.
    assert (plain - equal).abs().max() < 5e-3


def test_soft_targets_of_a_class_point_at_it(labels):
    numbers = torch.tensor([100, 72 * 300 + 71, 72 * 300])
    classes, weights = labels.soft_targets(labels.class_matrices(numbers), SIGMA_DEG)
    # A direction on the rim has an equivalent of its own: either may carry the weight.
    best = labels.class_matrices(classes.gather(1, weights.argmax(1, keepdim=True))[:, 0])
    angle = misorientation_deg(
        best.numpy(), labels.class_matrices(numbers).numpy(), labels.crystal.proper_operators
    )
    assert angle.max() < 0.1


def test_orientations_are_finer_than_the_classes(labels, truth):
    matrices, mass, _ = labels.n_best(logits_of(labels, labels.soft_targets(truth, SIGMA_DEG)))
    angle = misorientation_deg(
        matrices[:, 0].numpy(), truth.numpy(), labels.crystal.proper_operators
    )
    assert np.median(angle) < 0.6
    assert angle.max() < 2.0
    assert mass[:, 0].min() > 0.6


def test_n_best_are_sorted_rotations(labels):
    logits = torch.randn(8, labels.n_classes, generator=torch.Generator().manual_seed(0)) * 3
    before = logits.clone()
    matrices, mass, other = labels.n_best(logits, n_best=4)
    assert torch.equal(logits, before)
    assert matrices.shape == (8, 4, 3, 3)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(8, 4))
    identity = torch.eye(3).expand(8, 4, 3, 3)
    torch.testing.assert_close(matrices @ matrices.mT, identity, atol=1e-5, rtol=0)
    assert (mass.sum(dim=1) + other.sum(dim=1) <= 1 + 1e-5).all()


def test_no_logits_give_nothing(labels):
    matrices, mass, other = labels.n_best(torch.zeros(0, labels.n_classes), n_best=2)
    assert matrices.shape == (0, 2, 3, 3)
    assert (mass.shape, other.shape) == ((0, 2), (0, 2))


def test_two_grains_come_out_in_order(labels, nickelate):
    euler = np.array([[10.0, 30, 20], [200.0, 70, 100]])
    grains = torch.from_numpy(matrices_from_euler(euler)).float()
    classes, weights = labels.soft_targets(grains, SIGMA_DEG)
    weights = weights * torch.tensor([[0.3], [0.7]])
    logits = logits_of(labels, (classes.view(1, -1), weights.view(1, -1)))
    matrices, mass, _ = labels.n_best(logits, n_best=5)
    angle = misorientation_deg(
        matrices[0, :2].numpy(), grains.flip(0).numpy(), nickelate.proper_operators
    )
    assert angle.max() < 1.5
    torch.testing.assert_close(mass[0, :2], torch.tensor([0.7, 0.3]), atol=0.1, rtol=0)


def test_equivalent_classes_are_one_result(labels, nickelate):
    """Two classes on opposite rims of the sector, equal by symmetry, share one cluster."""
    g = matrices_from_euler(labels.euler_deg)
    best = None
    for d in range(0, len(g), 5):
        for operator in nickelate.proper_operators[1:]:
            cosine = (operator @ g[d])[:, 2] @ g[:, :, 2].T
            other = int(np.argmax(np.where(np.arange(len(g)) == d, -1, cosine)))
            if cosine[other] > np.cos(np.deg2rad(0.5)):
                best = (d, other)
    if best is None:
        pytest.skip("no direction has an equivalent on the rim of this grid")
    first = torch.tensor([best[0] * 72])
    all_second = torch.arange(best[1] * 72, best[1] * 72 + 72)
    angle = misorientation_deg(
        labels.class_matrices(first).numpy(),
        labels.class_matrices(all_second).numpy(),
        nickelate.proper_operators,
    )
    logits = torch.full((1, labels.n_classes), -30.0)
    logits[0, first] = 1.0
    logits[0, all_second[int(angle.argmin())]] = 0.9
    _, mass, _ = labels.n_best(logits, n_best=2)
    assert mass[0, 0] > 0.99
    assert mass[0, 1] < 0.01


def test_few_classes_leave_empty_places(labels):
    logits = torch.full((1, labels.n_classes), -80.0)
    logits[0, 5] = 0.0
    matrices, mass, _ = labels.n_best(logits, considered=4)
    assert mass[0, 0] == pytest.approx(1)
    assert mass[0, 1:].max() < 1e-6
    logits[0, 6:] = -torch.inf
    logits[0, :5] = -torch.inf
    matrices, mass, _ = labels.n_best(logits, considered=4)
    assert mass.tolist() == [[1, 0, 0, 0, 0]]
    torch.testing.assert_close(matrices, matrices[:, :1].expand_as(matrices))


def test_probabilities_are_those_of_a_softmax(labels):
    logits = 4 * torch.randn(3, labels.n_classes, generator=torch.Generator().manual_seed(5))
    _, mass, other = labels.n_best(logits, n_best=1, radius_deg=180, considered=10**6)
    expected = logits.softmax(dim=1)[:, labels.n_orientations :]
    torch.testing.assert_close(other, expected)
    torch.testing.assert_close(mass[:, 0], 1 - expected.sum(dim=1))


def test_temperature_divides_the_logits(labels):
    logits = 4 * torch.randn(3, labels.n_classes, generator=torch.Generator().manual_seed(5))
    made = labels.n_best(logits, temperature=2.5)
    for one, other in zip(made, labels.n_best(logits / 2.5), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_vacuum_and_amorphous(labels):
    logits = torch.zeros(2, labels.n_classes)
    logits[0, labels.n_orientations] = 30
    logits[1, labels.n_orientations + 1] = 30
    _, mass, other = labels.n_best(logits)
    torch.testing.assert_close(other, torch.eye(2), atol=1e-4, rtol=0)
    assert mass.max() < 1e-4


def test_many_likely_classes_outweigh_the_likeliest(labels, nickelate):
    """The best orientation is that of the greatest probability, not of the highest peak."""
    logits = torch.full((1, labels.n_classes), -30.0)
    peak, broad = 72 * 100 + 10, torch.arange(72 * 300 + 30, 72 * 300 + 32)
    logits[0, peak], logits[0, broad] = np.log(0.4), np.log(0.3)
    matrices, mass, _ = labels.n_best(logits, n_best=2)
    torch.testing.assert_close(mass, torch.tensor([[0.6, 0.4]]), atol=1e-3, rtol=0)
    expected = labels.class_matrices(torch.tensor([int(broad[0]), peak])).numpy()
    angle = misorientation_deg(matrices[0].numpy(), expected, nickelate.proper_operators)
    assert angle.max() < 3
