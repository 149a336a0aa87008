"""Networks trained for the same time on the same data, and the paper's recipe at reduced scale.

    python benchmarks/bench_training.py [--seconds 480] [--work DIR] [--runs polar,cnn,...]

Each run has one thread, and as many go side by side as there are cores; runs whose figures are in
the work folder are not repeated. "polar long" and "paper reduced" take as long as they need.
Figures go to benchmarks/results/training.json, with the curve of accuracy against images seen.

Held out: augmented patterns of directions that training never saw. Full Euler: patterns simulated
at random orientations, no image turned, which shows whether a network reads the in-plane angle
from what turning leaves behind. Multislice: `common.multislice_conditions`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from common import (
    RESULTS,
    ROOT,
    SHARED_DATA,
    accuracy,
    multislice_conditions,
    write_results,
)

from zoneaxis.dataset_builder.build import build
from zoneaxis.dataset_builder.recipe import preset, read_recipe
from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.dataset_builder.transforms import Augmentation, Transform
from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.models.settings import TrainingSettings, training_preset
from zoneaxis.models.training import train

# As the demo's data, but held-out directions of their own for the honest test.
DATA = {
    "demo": {"name": "demo"},
    "euler": {"name": "demo", "resolution": 512, "thicknesses": 1, "random_phi1": True, "seed": 9},
    "reduced": {
        "name": "equispaced",
        "resolution": 10.0,
        "phi1_step_deg": 30.0,
        "split": "rows",
        "size": 128,
        "inv_angstrom_per_pixel": 2 / 64,
    },
}
# The paper's third network: 155,664 classes, 900 epochs of 16,384 images, patience of 20 epochs.
REDUCED_IMAGES, REDUCED_EPOCHS, REDUCED_PATIENCE = 300_000, 100, 5
RUNS = {
    "polar": {"model": "zoneaxis_polar_small"},
    "cnn flat": {"model": "zoneaxis_cnn_3200"},
    "cnn factored": {"model": "zoneaxis_cnn_3200", "head": "factored"},
    "polar long": {
        "images": 120_000,
        "epoch_images": 6000,
        "learning_rate": 2e-3,
        "average": 0.999,
        "mixed_precision": "bf16",
    },
    "paper reduced": {"model": "zoneaxis_cnn_small"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480.0, help="of training, each")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "training")
    parser.add_argument("--runs", default=",".join(RUNS))
    parser.add_argument("--one", help="this run alone, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        torch.set_num_threads(1)
        measure(arguments.one, arguments.work, arguments.seconds)
        return
    for name, changes in DATA.items():
        recipe = preset(**{"crystal": load_crystal("LiNiO2"), **changes})
        build(recipe, arguments.work / name)
    names = arguments.runs.split(",")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [name for name in names if not (arguments.work / f"{name}.json").exists()]
        list(pool.map(lambda name: in_process(name, arguments), waiting))
    rows = [json.loads((arguments.work / f"{name}.json").read_text()) for name in names]
    write_results(
        RESULTS / "training.json", {"seconds": arguments.seconds, "threads_a_run": 1}, rows
    )


def in_process(name: str, arguments: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--one", name, "--work", arguments.work]
    subprocess.run(
        [*map(str, command), "--seconds", str(arguments.seconds)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def measure(name: str, work: Path, seconds: float) -> None:
    """Train and write the figures of one run."""
    data = work / ("reduced" if name == "paper reduced" else "demo")
    settings = paper_settings(data) if name == "paper reduced" else timed(name, data, seconds)
    # In memory alone: a checkpoint of the paper's network has 8 GB.
    indexer = train(data, settings, progress=log(name))
    history = indexer.training["history"]
    row = {
        "run": name,
        "classes": indexer.labels.n_classes,
        "parameters": sum(weight.numel() for weight in indexer.network.parameters()),
        "settings": asdict(settings),
        "images": history[-1]["images"],
        "seconds": round(history[-1]["seconds"]),
        "held_out": {k: v for k, v in indexer.training.items() if k.startswith("validation_")},
        "full_euler": full_euler(indexer, work / "euler"),
        "multislice": multislice(indexer),
        "history": history,
    }
    (work / f"{name}.json").write_text(json.dumps(row, indent=1))
    print(name, json.dumps({k: v for k, v in row.items() if k not in ("history", "settings")}))


def timed(name: str, data: Path, seconds: float) -> TrainingSettings:
    """Return settings whose length takes so many seconds, by the rate of a short run."""
    if "images" in RUNS[name]:
        return TrainingSettings(**RUNS[name])
    short = TrainingSettings(**RUNS[name], images=64 * 12, validation_patterns=64)
    times = []
    train(data, short, progress=lambda *_: times.append(time.perf_counter()))
    rate = 64 * 10 / (times[-1] - times[1])
    images = max(2048, int(rate * seconds))
    print(f"{name}: {rate:.0f} patterns/s, {images:,} in {seconds:.0f} s", flush=True)
    return TrainingSettings(**RUNS[name], images=images, epoch_images=max(1024, images // 20))


def paper_settings(data: Path) -> TrainingSettings:
    """Return the paper's settings with fewer images, on fewer classes."""
    return replace(
        training_preset("paper", read_recipe(data)),
        **RUNS["paper reduced"],
        images=REDUCED_IMAGES,
        epoch_images=REDUCED_IMAGES // REDUCED_EPOCHS,
        patience=REDUCED_PATIENCE,
    )


def full_euler(indexer, data: Path) -> dict[str, float]:
    """Return figures on patterns simulated at random orientations, with noise, never turned."""
    still = replace(
        Augmentation(), rotate=False, mirror=False, vacuum_probability=0.0, amorphous_probability=0
    )
    transform = Transform.of_recipe(read_recipe(data), still, seed=1)
    stream = PatternStream(data, "train", transform, batch_size=64)
    angles = []
    for number in range(len(stream)):
        batch = stream[number]
        pixel = float(batch["inv_angstrom_per_pixel"][0])
        found = indexer.index(batch["pattern"].numpy(), pixel)
        matrices = matrices_from_euler(found.euler_deg[:, 0])
        operators = indexer.crystal.proper_operators
        angles.append(misorientation_deg(matrices, batch["matrix"].double().numpy(), operators))
    angle = np.concatenate(angles)
    return {
        "n": len(angle),
        "median_deg": round(float(np.median(angle)), 3),
        "within_2": round(float((angle < 2).mean()), 3),
        "within_5": round(float((angle < 5).mean()), 3),
    }


def multislice(indexer) -> list[dict]:
    """Return a row for each multislice set and condition."""
    folder = SHARED_DATA / "multislice"
    if not folder.is_dir():
        return []
    everything = replace(indexer, min_confidence=0.0)
    rows = []
    for name in ("plain", "precession"):
        data = np.load(folder / f"{name}.npz")
        pixel, truth = float(data["inv_angstrom_per_pixel"]), matrices_from_euler(data["euler"])
        for condition, patterns in multislice_conditions(data["pattern"], 1e5, seed=0).items():
            found = everything.index(patterns, pixel)
            matrices = matrices_from_euler(found.euler_deg[:, 0])
            row = accuracy(matrices, truth, found.indexed, indexer.crystal)
            rows.append({"set": name, "condition": condition, "n": len(patterns), **row})
    return rows


def log(name: str) -> Callable[[int, int, float], None]:
    """Return what prints a line every half minute."""
    seen, last = 0, 0.0

    def progress(done: int, total: int, loss: float) -> None:
        nonlocal seen, last
        seen += done
        if time.monotonic() - last > 30:
            last = time.monotonic()
            print(f"{name}: {seen:,} of {total:,}, loss {loss:.3f}", flush=True)

    return progress


if __name__ == "__main__":
    main()
