import pytest
import torch
from torch import nn

from zoneaxis.errors import SettingsError
from zoneaxis.models.run import Run
from zoneaxis.models.settings import TrainingSettings


def rates(settings: TrainingSettings) -> list[float]:
    """The learning rate at each step of a run."""
    run = Run.begin(nn.Linear(2, 2), settings)
    found = []
    for step in range(settings.steps):
        found.append(run.optimizer.param_groups[0]["lr"])
        run.scheduler.step_update(step + 1)
    return found


@pytest.mark.parametrize("schedule", ["cosine", "tanh"])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(schedule):
    settings = TrainingSettings(images=64 * 1000, schedule=schedule, learning_rate=1e-3)
    found = rates(settings)
    assert max(found) == pytest.approx(1e-3, rel=0.05)
    assert found.index(max(found)) <= 101
    assert found[0] < 2e-5
    assert found[-1] < 2e-5
    assert found[101:] == sorted(found[101:], reverse=True)


def test_the_rate_is_halved_after_as_many_flat_epochs():
    settings = TrainingSettings(schedule="plateau", patience=20, learning_rate=1.0, optimizer="sgd")
    run = Run.begin(nn.Linear(2, 2), settings)

    def after(loss: float) -> float:
        run.scheduler.step(loss)
        return run.optimizer.param_groups[0]["lr"]

    assert after(1.0) == 1.0
    assert [after(1.0) for _ in range(19)] == 19 * [1.0]
    assert after(1.0) == 0.5  # the twentieth that has not fallen
    assert after(1.0 - 1e-6) == 0.5  # however little it falls, the count starts again
    assert [after(1.0) for _ in range(19)] == 19 * [0.5]
    assert after(1.0) == 0.25


def test_an_unknown_optimizer():
    with pytest.raises(SettingsError, match="optimizer = 'sgdd'"):
        Run.begin(nn.Linear(2, 2), TrainingSettings(optimizer="sgdd"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion", "nadamw"])
def test_a_checkpoint_holds_the_whole_state(tmp_path, optimizer):
    settings = TrainingSettings(optimizer=optimizer, images=64 * 20, learning_rate=1e-2)
    inputs = torch.randn(20, 8, 2, generator=torch.Generator().manual_seed(0))

    def advance(run: Run, to: int) -> torch.Tensor:
        while run.step < to:
            run.network(inputs[run.step]).square().mean().backward()
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.step += 1
            run.scheduler.step_update(run.step)
            run.average.update(run.network, step=run.step)
        return torch.cat([t.detach().flatten() for t in run.trained.parameters()])

    def begin() -> Run:
        torch.manual_seed(1)
        return Run.begin(nn.Linear(2, 2), settings)

    whole = advance(begin(), 20)
    first = begin()
    advance(first, 12)
    first.save(tmp_path / "c.safetensors", {"run": 1})
    second = Run.begin(nn.Linear(2, 2), settings)
    assert second.resume(tmp_path / "c.safetensors", {"run": 1})
    assert second.step == 12
    assert torch.equal(advance(second, 20), whole)
    assert not begin().resume(tmp_path / "none.safetensors", {"run": 1})
