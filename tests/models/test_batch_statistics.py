import pytest
import torch
from torch import nn

from zoneaxis.models.batch_statistics import BatchStatistics


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)
    ).train()


def after(network, parts, processes: int) -> dict[str, torch.Tensor]:
    """Statistics after a step whose parts are shared by processes, here one after another."""
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    sums, last = [], None
    for process in range(processes):
        network.load_state_dict(start)
        statistics = BatchStatistics(network)
        statistics.start_step()
        for part in parts[process::processes]:
            network(part)
            statistics.end_pass()
        statistics.end_step(1, lambda tensor: sums.append(tensor.clone()) or tensor)
        last = statistics
    last.end_step(len(parts), lambda _: torch.stack(sums).sum(dim=0))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_one_process_and_several_end_with_the_same(network):
    parts = [torch.randn(4, 1, 8, 8) * (1 + i) for i in range(4)]
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    one = after(network, parts, 1)
    network.load_state_dict(start)
    two = after(network, parts, 2)
    names = [name for name in one if name.endswith(("running_mean", "running_var"))]
    assert len(names) == 4
    for name in names:
        torch.testing.assert_close(one[name], two[name], rtol=1e-6, atol=1e-7)
        assert not torch.equal(one[name], start[name])


def test_one_pass_is_what_torch_does(network):
    part = torch.randn(4, 1, 8, 8)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = after(network, [part], 1)
    network.load_state_dict(start)
    network(part)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor)


def test_a_network_without_statistics():
    statistics = BatchStatistics(nn.Linear(2, 2))
    statistics.start_step()
    statistics.end_pass()
    statistics.end_step(1, lambda tensor: tensor)
