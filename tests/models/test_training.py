import json
import os
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.scan_dataset import build_scan_dataset
from zoneaxis.dataset_builder.transforms import Augmentation
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import CheckpointError, DatasetError, SettingsError, TrainingError
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.settings import TrainingSettings
from zoneaxis.models.training import train
from zoneaxis.scans.phantom import Phantom, make_phantom
from zoneaxis.scans.writing import write_scan

SHORT = {
    "images": 16 * 24,
    "batch_size": 16,
    "label_step_deg": 15.0,
    "label_bins": 24,
    "learning_rate": 1e-2,
    "validation_patterns": 32,
}
POLAR, CNN = "test_zoneaxis_polar", "test_zoneaxis_cnn"
# Plateau and dropout here, cosine and moving average there.
RUNS = {
    POLAR: {"model": POLAR, "epoch_images": 64, "images": 256},
    CNN: {
        "model": CNN,
        "epoch_images": 64,
        "images": 256,
        "schedule": "plateau",
        "patience": 1,
        "average": 0.0,
        "optimizer": "nadamw",
    },
}


class StopError(Exception):
    pass


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{"model": POLAR, **SHORT, **changes})


def weights(indexer) -> dict[str, torch.Tensor]:
    return indexer.network.state_dict()


def assert_equal_weights(first, second, **tolerances) -> None:
    pairs = zip(weights(first).values(), weights(second).values(), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, **{"atol": 0, "rtol": 0, **tolerances})


def figures(indexer) -> list[dict]:
    """Return the history without its times."""
    return [{k: v for k, v in e.items() if k != "seconds"} for e in indexer.training["history"]]


def recorded(losses: list, stop_after: int | None = None):
    def progress(done, total, loss):
        losses.append(loss)
        if len(losses) == stop_after:
            raise StopError

    return progress


@pytest.mark.parametrize("model", [POLAR, CNN])
def test_the_loss_falls(tiny_dataset, model):
    still = Augmentation(
        scale=(1.0, 1.0), shift_px=0.0, rotate=False, mirror=False, counts=None, sensitivity=None
    )
    steps = []
    chosen = settings(model=model, images=16 * 60, augmentation=still)
    train(tiny_dataset, chosen, progress=lambda *step: steps.append(step))
    loss = np.array([step[2] for step in steps])
    assert [step[:2] for step in steps] == [(16, 16 * 60)] * 60
    assert loss[-6:].mean() < loss[:4].mean() - 0.5


def test_a_network_of_timm_trains(tiny_dataset):
    trained = train(tiny_dataset, settings(model="test_resnet", images=8, batch_size=4))
    assert trained.architecture == "zoneaxis_backbone"
    assert trained.training["validation_patterns"] == 32


@pytest.mark.parametrize("model", [POLAR, CNN])
def test_the_same_seed_gives_the_same_weights(tiny_dataset, model):
    chosen = settings(model=model, images=64)
    state = torch.get_rng_state()
    first = train(tiny_dataset, chosen)
    assert torch.equal(torch.get_rng_state(), state)  # of others
    torch.rand(7)
    second = train(tiny_dataset, chosen, workers=1)
    other = train(tiny_dataset, replace(chosen, seed=1))
    assert_equal_weights(first, second)
    assert figures(first) == figures(second)
    assert any(not torch.equal(weights(other)[k], v) for k, v in weights(first).items())


def test_the_result_says_how_it_came_about(tiny_dataset):
    augmentation = Augmentation(vacuum_probability=0.0, amorphous_probability=0.0)
    chosen = settings(images=64, epoch_images=32, augmentation=augmentation)
    trained = train(tiny_dataset, chosen)
    found = trained.training
    assert found["images"] == 64
    assert found["augmentation"]["vacuum_probability"] == 0
    assert found["validation_patterns"] == 32
    assert 0 <= found["validation_within_2_deg"] <= found["validation_within_5_deg"] <= 1
    assert 0 <= found["validation_expected_calibration_error"] <= 1
    assert 0 < found["validation_median_deg"] < 120
    assert [epoch["images"] for epoch in found["history"]] == [32, 64]
    assert found["validation_measured_on"] == 20 * 2  # so often each of two held-out patterns
    assert found["history"][0]["seconds"] < found["history"][1]["seconds"]
    assert trained.min_confidence >= 0
    assert trained.temperature > 0
    assert not trained.network.training


@pytest.mark.parametrize(("images", "steps"), [(1, 1), (16, 1), (47, 2), (48, 3)])
def test_the_last_batch_is_whole_or_left_out(images, steps):
    assert settings(images=images).steps == steps


def test_a_batch_larger_than_the_data_set(tiny_dataset):
    with pytest.raises(SettingsError, match="rows are less than a batch of 100: lower it"):
        train(tiny_dataset, settings(batch_size=100))


def test_batches_of_one(tiny_dataset):
    trained = train(tiny_dataset, settings(images=2, batch_size=1))
    assert trained.training["validation_patterns"] == 32


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tiny_dataset, tmp_path, run):
    chosen = settings(**run)
    whole, first, rest = [], [], []
    expected = train(tiny_dataset, chosen, progress=recorded(whole))
    with pytest.raises(StopError):
        train(tiny_dataset, chosen, tmp_path / "out", progress=recorded(first, 10))
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
    resumed = train(tiny_dataset, chosen, tmp_path / "out", progress=recorded(rest))
    assert first == whole[:10]
    assert rest[1:] == whole[8:]  # from the checkpoint after 8 steps; the first call reports it
    assert_equal_weights(resumed, expected)
    assert figures(resumed) == figures(expected)
    for name in ("temperature", "log_odds", "min_confidence"):
        assert getattr(resumed, name) == getattr(expected, name)
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()
    assert_equal_weights(NetworkIndexer.from_pretrained(tmp_path / "out"), expected)


def test_a_run_can_be_finished_early(tiny_dataset, tmp_path):
    chosen, out = settings(**RUNS[POLAR]), tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is not there: there is no"):
        train(tiny_dataset, chosen, out, finish=True)
    with pytest.raises(StopError):
        train(tiny_dataset, chosen, out, progress=recorded([], 10))
    early = train(tiny_dataset, chosen, out, finish=True)
    assert early.training["images"] == early.training["history"][-1]["images"] == 128
    assert early.training["planned_images"] == chosen.images
    assert early.training["validation_within_5_deg"] >= 0
    assert early.temperature != 1
    assert_equal_weights(NetworkIndexer.from_pretrained(out), early)
    assert (out / "checkpoint.safetensors").exists()  # which can still go on
    (out / "config.json").unlink()
    assert_equal_weights(train(tiny_dataset, chosen, out), train(tiny_dataset, chosen))


def arguments(data: Path, out: Path, run: dict) -> list[str]:
    options = {**SHORT, **run, "data": data, "out": out}
    options["label_step_deg"] = f"{options['label_step_deg']:g}"
    pairs = ((f"--{name.replace('_', '-')}", str(options[name])) for name in options)
    return ["-m", "zoneaxis", "train", *(text for pair in pairs for text in pair)]


def test_a_killed_run_goes_on(tiny_dataset, tmp_path, one_thread):
    """SIGKILL, which nothing can catch, at whatever step it comes."""
    run = {**RUNS[CNN], "images": 16 * 150, "epoch_images": 16 * 50}
    command = [sys.executable, *arguments(tiny_dataset, tmp_path, run)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    patience = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < patience:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "config.json").exists()
    chosen = settings(**run)
    assert_equal_weights(
        train(tiny_dataset, chosen, tmp_path), train(tiny_dataset, chosen), atol=1e-5, rtol=1e-4
    )


TRAIN = """
import sys
from accelerate import PartialState
from zoneaxis.cli import main
main(sys.argv[1:])
assert PartialState().num_processes == 2
"""


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_two_processes_give_what_one_gives(tiny_dataset, tmp_path, one_thread, run):
    """Two that exchange gradients and statistics, which the script itself makes sure of."""
    run = {**run, "passes": 2, "patience": 20}
    (tmp_path / "script.py").write_text(TRAIN)
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(tmp_path / "script.py"), *arguments(tiny_dataset, tmp_path / "two", run)[2:]),
        ],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    one = train(tiny_dataset, settings(**run))
    two = NetworkIndexer.from_pretrained(tmp_path / "two")
    assert_equal_weights(two, one, atol=1e-5, rtol=1e-4)
    for here, there in zip(figures(one), figures(two), strict=True):
        assert here == pytest.approx(there, rel=1e-4, abs=1e-6)


def test_passes_that_processes_cannot_share(tiny_dataset, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(SettingsError, match=r"passes = 3 cannot be shared by 2 processes"):
        train(tiny_dataset, settings(passes=3, batch_size=12))


@pytest.fixture
def interrupted(tiny_dataset, tmp_path) -> Path:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        train(tiny_dataset, settings(**RUNS[CNN]), out, progress=recorded([], 5))
    return out


def test_another_run_is_not_taken_up(tiny_dataset, interrupted):
    before = (interrupted / "checkpoint.safetensors").read_bytes()
    changed = settings(**{**RUNS[CNN], "learning_rate": 2e-2})
    with pytest.raises(CheckpointError, match=r"another run \(learning_rate = 0.01 there, 0.02 he"):
        train(tiny_dataset, changed, interrupted)
    assert (interrupted / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b"x" * 500])
def test_a_damaged_checkpoint(tiny_dataset, interrupted, damage):
    path = interrupted / "checkpoint.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors"):
        train(tiny_dataset, settings(**RUNS[CNN]), interrupted)


def test_a_checkpoint_of_something_else(tiny_dataset, interrupted):
    trained = train(tiny_dataset, settings(images=16))
    trained.save_pretrained(interrupted / "model")
    shutil.copy(interrupted / "model/model.safetensors", interrupted / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match=r"cannot be taken up .*: remove it to start again"):
        train(tiny_dataset, settings(**RUNS[CNN]), interrupted)


def test_a_trained_model_is_not_replaced(tiny_dataset, tmp_path):
    train(tiny_dataset, settings(images=16), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}
    with pytest.raises(CheckpointError, match="holds a trained model: name another folder"):
        train(tiny_dataset, settings(images=16), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")} == before


def test_a_loss_that_is_no_number(tiny_dataset, tmp_path):
    chosen = settings(model=CNN, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss is .* at step [0-9]+: lower the learning rate"):
        train(tiny_dataset, chosen)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_after_a_good_epoch(tiny_dataset, tmp_path, monkeypatch):
    """The message names the checkpoint, which holds finite weights."""
    from zoneaxis.models.objective import Objective

    loss, calls = Objective.loss, []

    def failing(self, output, batch):
        calls.append(1)
        return loss(self, output, batch) * (float("nan") if len(calls) > 8 else 1.0)

    monkeypatch.setattr(Objective, "loss", failing)
    with pytest.raises(TrainingError, match=r"checkpoint.safetensors holds .* after 64 images"):
        train(tiny_dataset, settings(**RUNS[CNN], validation_patterns=16), tmp_path)
    tensors = load_file(tmp_path / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_no_validation(tiny_dataset, tmp_path):
    data = shutil.copytree(tiny_dataset, tmp_path / "data")
    for path in data.glob("*/validation-*"):
        path.unlink()
    found = train(data, settings(images=16)).training
    assert not [n for n in found if n.startswith("validation") and n != "validation_patterns"]


def test_logs_for_tensorboard(tiny_dataset, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = train(tiny_dataset, settings(**RUNS[POLAR]), tmp_path)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    logged = [(event.step, event.value) for event in events.Scalars("validation_loss")]
    history = trained.training["history"]
    expected = [(epoch["images"], epoch["validation_loss"]) for epoch in history]
    np.testing.assert_allclose(logged, expected, rtol=1e-6)


def test_disks_are_drawn_for_training(tiny_dataset):
    losses = []
    train(tiny_dataset, settings(config="disks", images=640), progress=recorded(losses))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_further_outputs_are_trained_and_reported(tiny_dataset, tmp_path):
    names = ("thickness_nm", "camera_scale", "amorphous_share")
    train(tiny_dataset, settings(model=CNN, images=16, extras=names), tmp_path)
    loaded = NetworkIndexer.from_pretrained(tmp_path)
    found = loaded.index(np.ones((2, 32, 32), np.float32), 0.1).properties
    assert set(names) < set(found)


def test_the_papers_labels(tiny_dataset):
    """The data set's own classes, one for each orientation."""
    chosen = settings(model=CNN, label_step_deg=None, label_sigma_deg=0.0, images=32)
    trained = train(tiny_dataset, chosen)
    assert trained.labels.bins == 72
    assert trained.training["validation_class_accuracy"] >= 0


def test_fine_tuning_starts_from_the_model(tiny_dataset, tmp_path):
    first = train(tiny_dataset, settings(model=CNN, images=320))
    again = settings(images=16, learning_rate=1e-9, average=0.0, label_step_deg=5.0)
    second = train(tiny_dataset, again, tmp_path, start=first)
    names = [name for name, _ in first.network.named_parameters()]
    for name in names:
        torch.testing.assert_close(weights(second)[name], weights(first)[name], atol=1e-6, rtol=0)
    assert second.labels.n_classes == first.labels.n_classes
    assert second.training["fine_tuned_from"].startswith("(weights ")
    assert second.training["model"] == CNN
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["zoneaxis"]["training"]["fine_tuned_from"].startswith("(weights ")


def test_fine_tuning_leaves_the_model_as_it_is(tiny_dataset):
    first = train(tiny_dataset, settings(model=CNN, images=16))
    before = {name: tensor.clone() for name, tensor in weights(first).items()}
    train(tiny_dataset, settings(images=32), start=first)
    assert all(torch.equal(weights(first)[name], tensor) for name, tensor in before.items())


def test_fine_tuning_on_a_labeled_scan(tiny_dataset, nickelate, tmp_path):
    """As the sister paper trains: on measured patterns and the map of another method."""
    recipe = Phantom((8, 10), grains=4, size=32, inv_angstrom_per_pixel=0.1, thicknesses=1)
    patterns, truth = make_phantom(nickelate, Optics(k_max_inv_angstrom=1.6), recipe)
    scan = write_scan(
        tmp_path / "scan.hspy", patterns, step_nm=5, inv_angstrom_per_pixel=0.1, title="phantom"
    )
    truth.save(tmp_path / "map.ang")
    data = build_scan_dataset(scan, tmp_path / "map.ang", tmp_path / "data", nickelate)
    first = train(tiny_dataset, settings(model=CNN, images=160))
    losses = []
    chosen = settings(images=16 * 30, augmentation=Augmentation.off())
    start = first.save_pretrained(tmp_path / "first")
    tuned = train(data, chosen, tmp_path / "out", start, progress=recorded(losses))
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.5
    assert tuned.recipe.id == read_recipe(data).id != first.recipe.id
    loaded = NetworkIndexer.from_pretrained(tmp_path / "out")
    assert loaded.training["fine_tuned_from"].startswith(f"{start} (weights ")
    assert f"fine-tuned from | {start} (weights" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(SettingsError, match="measured patterns have none; take patterns"):
        train(data, replace(chosen, config="disks"), start=first)


def test_fine_tuning_on_another_refinement(tiny_dataset, tmp_path):
    """Cell and name of the same crystal differ a little; the result is of the data set's."""
    first = train(tiny_dataset, settings(model=CNN, images=16))
    values = {**first.crystal.to_dict(), "name": "mine", "cell": [2.88, 2.88, 14.2, 90, 90, 120]}
    start = replace(first, labels=replace(first.labels, crystal=Crystal.from_dict(values)))
    train(tiny_dataset, settings(images=16), tmp_path, start=start)
    assert NetworkIndexer.from_pretrained(tmp_path).crystal.name == "LiNiO2"


def test_fine_tuning_on_another_crystal(tiny_dataset):
    first = train(tiny_dataset, settings(model=CNN, images=16))
    values = {**first.crystal.to_dict(), "name": "LiCoO2", "cell": [2.8, 2.8, 14, 90, 90, 120]}
    labels = replace(first.labels, crystal=Crystal.from_dict(values))
    with pytest.raises(CheckpointError, match=r"is a model of LiCoO2 \(cell .* take one of LiNiO2"):
        train(tiny_dataset, settings(images=16), start=replace(first, labels=labels))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet51"}, "No network 'resnet51'"),
        ({"label_bins": 50}, "50 bins: expected a divisor of the 144 angles"),
        ({"label_step_deg": 31.0}, "step_deg = 31.0: expected 0.1 to 30"),
        ({"optimizer": "sgdd"}, "optimizer = 'sgdd'"),
        ({"optimizer": "adahessian"}, "optimizer = 'adahessian' cannot be used here"),
        ({"head": "factored"}, "a polar network has a head of its own"),
        ({"head": "deep", "model": CNN}, "deep"),
        ({"extras": ("mass",)}, "No further output 'mass'"),
        ({"extras": ("center_x_inv_angstrom",)}, "polar network sees patterns about"),
    ],
)
def test_settings_that_do_not_fit(tiny_dataset, changes, message):
    with pytest.raises(SettingsError, match=message):
        train(tiny_dataset, settings(**changes))


def test_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no recipe.json"):
        train(tmp_path, settings())


@pytest.mark.parametrize("model", [POLAR, CNN])
def test_mixed_precision(tiny_dataset, model):
    """In one process after another precision; the loss differs by its rounding and no more."""
    losses = {"no": [], "bf16": []}
    for precision, found in losses.items():
        chosen = settings(model=model, images=64, mixed_precision=precision)
        trained = train(tiny_dataset, chosen, progress=recorded(found))
        assert {t.dtype for t in trained.network.parameters()} == {torch.float32}
        inputs = torch.rand(2, *trained.preprocess.input_size)
        plain = deepcopy(trained.network).float()(inputs)
        assert torch.equal(trained.network(inputs), plain)  # nothing of the training is left
    np.testing.assert_allclose(losses["bf16"], losses["no"], rtol=0.02)
    assert losses["bf16"] != losses["no"]
