"""Each network's size and speed, and what one training step at the paper's class counts takes.

OMP_NUM_THREADS=2 python benchmarks/bench_networks.py
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import timm
import torch
from common import RESULTS, shortest_s, write_results
from torch.nn.functional import cross_entropy

import zoneaxis.models.backbone
import zoneaxis.models.cnn
import zoneaxis.models.polar  # noqa: F401 - importing them registers their networks

BATCH, REPEATS, BINS = 64, 6, 72
# Of networks 1, 2 and 3 of the paper; ours have two more, vacuum and amorphous.
CLASSES = [
    ("zoneaxis_cnn_6400", 69_984),
    ("zoneaxis_cnn_3200", 255_744),
    ("zoneaxis_cnn_3200", 155_664),
]
BYTES_PER_WEIGHT = 4 * 4  # the weight, its gradient and AdamW's two averages
SPARE_GIB = 2.0  # maps of a batch, libraries, and something for everybody else


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "networks.json")
    parser.add_argument("--step", nargs=3, metavar=("NAME", "CLASSES", "HEAD"), help="one step")
    arguments = parser.parse_args()
    if arguments.step:
        name, classes, head = arguments.step
        print(json.dumps(step(name, int(classes), head)))
        return
    rows = []  # the steps come first: a process starts with the peak of the one that started it
    for name, classes in CLASSES:
        for head in ("factored", "flat"):
            rows.append({"what": "training step", "network": name, "classes": classes})
            rows[-1] |= {"head": head, **step_apart(name, classes, head)}
            print(rows[-1], flush=True)
    rows += [forward(name) for name in timm.list_models("*zoneaxis*")]
    settings = {"batch": BATCH, "repeats": REPEATS, "bins": BINS, "optimizer": "AdamW(fused=True)"}
    settings["load_average"] = round(os.getloadavg()[1], 1)  # times suffer above the threads
    write_results(arguments.json, settings, rows)


def forward(name: str) -> dict:
    """Return weights and speed of a network with its default number of classes."""
    network = timm.create_model(name).eval()
    images = torch.rand(BATCH, *network.default_cfg["input_size"])
    with torch.inference_mode():
        seconds = shortest_s(lambda: network(images), REPEATS)
    row = {
        "what": "forward",
        "network": name,
        "classes": network.num_classes,
        "weights": weights(network),
        "patterns_per_s": round(BATCH / seconds, 1),
    }
    print(row, flush=True)
    return row


def step_apart(name: str, classes: int, head: str) -> dict:
    """Return the figures of a step in its own process, or why there are none."""
    with torch.device("meta"):
        needed = weights(create(name, classes, head)) * BYTES_PER_WEIGHT / 2**30 + SPARE_GIB
    free = psutil.virtual_memory().available / 2**30
    if needed > free:
        return {"skipped": f"{needed:.1f} GiB needed, {free:.1f} GiB free"}
    command = [sys.executable, __file__, "--step", name, str(classes), head]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        return {"skipped": f"the process ended with {run.returncode}"}
    return json.loads(run.stdout.splitlines()[-1])


def step(name: str, classes: int, head: str) -> dict:
    """Return time and peak memory of forward, backward and optimizer."""
    network = create(name, classes, head).train()
    # Not fused, AdamW needs two further copies of the largest layer while it steps.
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    images = torch.rand(BATCH, *network.default_cfg["input_size"])
    target = torch.randint(classes, (BATCH,))

    def one() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images), target).backward()
        optimizer.step()

    seconds = shortest_s(one, REPEATS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "weights": weights(network),
        "seconds": round(seconds, 2),
        "peak_gib": round(peak, 2),
        "patterns_per_s": round(BATCH / seconds, 1),
    }


def create(name: str, classes: int, head: str) -> torch.nn.Module:
    return timm.create_model(name, num_classes=classes + 2, head=head, bins=BINS)


def weights(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


if __name__ == "__main__":
    main()
