import numpy as np
import pytest
import torch

from zoneaxis.dataset_builder.transforms import AMORPHOUS, CRYSTAL, VACUUM
from zoneaxis.errors import SettingsError
from zoneaxis.models.extras import EXTRAS, extras_loss, properties, require_extras

NAMES = tuple(EXTRAS)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    return {
        "kind": torch.tensor([CRYSTAL, CRYSTAL, VACUUM, AMORPHOUS]),
        "thickness_nm": torch.tensor([20.0, torch.nan, 30.0, 40.0]),
        "camera_scale": torch.tensor([0.96, 1.04, 1.0, 1.0]),
        "center_inv_angstrom": torch.tensor([[0.02, -0.03], [0.0, 0.01], [0.04, 0.0], [0.0, 0.0]]),
        "amorphous_share": torch.tensor([0.0, 0.12, 0.0, 0.2]),
    }


@pytest.fixture
def truth() -> torch.Tensor:
    """In the order of NAMES; NaN where it is unknown or a pattern does not show it."""
    nan = torch.nan
    return torch.tensor(
        [
            [20.0, 0.96, 0.02, -0.03, 0.0],
            [nan, 1.04, 0.0, 0.01, 0.12],
            [nan, nan, 0.04, 0.0, 0.0],
            [nan, nan, 0.0, 0.0, 0.2],
        ]
    )


def right_outputs(truth: torch.Tensor) -> torch.Tensor:
    middle, width = torch.tensor(list(EXTRAS.values())).T
    return (truth - middle) / width


def test_the_right_outputs_cost_nothing_and_read_as_the_truth(batch, truth):
    outputs = right_outputs(truth).nan_to_num(123.0)  # whatever stands where nothing is known
    assert extras_loss(NAMES, outputs, batch) < 1e-10
    found = properties(NAMES, outputs)
    for i, name in enumerate(NAMES):
        known = truth[:, i].isfinite().numpy()
        np.testing.assert_allclose(found[name][known], truth[known, i], atol=1e-6)


@pytest.mark.parametrize("column", range(5))
def test_each_known_value_costs_and_no_other(batch, truth, column):
    outputs = right_outputs(truth).nan_to_num(0.0)
    for row in range(4):
        wrong = outputs.clone()
        wrong[row, column] += 0.5
        known = truth.isfinite()
        # The Huber loss of an error of 0.5 is half its square.
        expected = 0.125 / known.sum() if known[row, column] else 0.0
        assert float(extras_loss(NAMES, wrong, batch)) == pytest.approx(float(expected), abs=1e-6)


def test_nothing_known_costs_nothing(batch):
    batch = {**batch, "thickness_nm": torch.full((4,), torch.nan)}
    outputs = torch.ones(4, 1, requires_grad=True)
    loss = extras_loss(("thickness_nm",), outputs, batch)
    loss.backward()
    assert loss == 0
    assert not outputs.grad.any()


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        (("mass",), "polar", "No further output 'mass': choose among thickness_nm"),
        (("thickness_nm", "thickness_nm"), "polar", "name each once"),
        (("center_x_inv_angstrom",), "polar", "leave the center out"),
    ],
)
def test_names_that_cannot_be(names, kind, message):
    with pytest.raises(SettingsError, match=message):
        require_extras(names, kind)


def test_all_names_for_a_network_that_sees_the_frame():
    assert require_extras(NAMES, "cartesian") == NAMES
