from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from zoneaxis.dataset_builder.recipe import Recipe, preset
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.render import render
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.templates import kinematic_templates

NETWORKS = ["test_zoneaxis_polar", "test_zoneaxis_cnn"]
BINS = 24
PIXEL = 0.025  # 1/Angstrom


def shaken(network: nn.Module) -> nn.Module:
    """Random weights and statistics everywhere, as after training, so that nothing is 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                positive = name.endswith(("running_var", "scale"))
                tensor.copy_(0.5 + noise if positive else tensor + 0.2 * (noise - 0.5))
    return network.eval()


def by_formula(network: nn.Module) -> nn.Module:
    """Weights from no random generator, so that golden logits outlive a change of it."""
    with torch.no_grad():
        for number, tensor in enumerate(network.state_dict().values()):
            if tensor.is_floating_point():
                phase = torch.arange(tensor.numel(), dtype=torch.float64) + number
                tensor.copy_((0.6 + 0.4 * (1.7 * phase).sin()).view(tensor.shape))
    return network.eval()


@pytest.fixture(scope="session")
def formula() -> Callable[[nn.Module], nn.Module]:
    return by_formula


@pytest.fixture(scope="session")
def ramp() -> Callable[..., torch.Tensor]:
    """Return an input of a given shape, by formula as well."""

    def make(*shape: int) -> torch.Tensor:
        return (0.37 * torch.arange(np.prod(shape)).double()).sin().abs().float().view(shape)

    return make


@pytest.fixture(scope="session")
def shake() -> Callable[[nn.Module], nn.Module]:
    return shaken


@pytest.fixture(scope="session")
def labels(nickelate) -> OrientationLabels:
    return OrientationLabels.equispaced(nickelate, 10.0, BINS)


@pytest.fixture(scope="session")
def recipe(nickelate) -> Recipe:
    return preset("test", nickelate, size=128, inv_angstrom_per_pixel=PIXEL)


@pytest.fixture(scope="session")
def matched(labels, recipe) -> NetworkIndexer:
    """An untrained polar network that starts from its templates."""
    torch.manual_seed(0)
    indexer = create_indexer("test_zoneaxis_polar", labels, recipe)
    templates = kinematic_templates(
        labels, indexer.preprocess, recipe.optics(recipe.mean_convergence_mrad, 0.0)
    )
    indexer.network.set_templates(templates)
    return indexer


@pytest.fixture(params=NETWORKS)
def indexer(request, labels, recipe) -> NetworkIndexer:
    torch.manual_seed(0)
    made = create_indexer(request.param, labels, recipe)
    shaken(made.network)
    return made


@pytest.fixture
def checkpoint(matched, tmp_path) -> Path:
    return matched.save_pretrained(tmp_path / "model")


@pytest.fixture(scope="session")
def patterns(labels, recipe):
    """Return clean kinematic patterns of direction classes, turned in their plane."""

    def make(directions: list[int], phi1_deg: float = 0.0) -> np.ndarray:
        disks = kinematic_disks(
            labels.crystal,
            recipe.optics(recipe.mean_convergence_mrad, 0.0),
            labels.directions_deg[directions],
            np.array([5.0]),
        )
        return render(disks, 128, PIXEL, phi1_deg)[:, 0].numpy()

    return make
