"""How many patterns a second a network indexes, stage by stage: untrained, for speed alone.

python benchmarks/bench_indexing.py [--networks NAME:STEP_DEG ...] [--threads 1 2] [--json OUT]

Stages are timed on batches of the indexer's size, the whole path through `NetworkIndexer.index`.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, shortest_s, write_results

from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.render import render
from zoneaxis.models.indexer import BATCH, NetworkIndexer, create_indexer
from zoneaxis.models.labels import CONSIDERED, OrientationLabels
from zoneaxis.models.precision import half_precision

# Each with the angle between the directions it tells apart: the rate depends on their number.
NETWORKS = ["zoneaxis_polar_small:2", "zoneaxis_polar_small:3", "zoneaxis_cnn_small:2"]
SIZE, PIXEL, COUNTS, BINS = 256, 0.014, 1e5, 72


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "indexing.json")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--patterns", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    crystal = load_crystal("LiNiO2")
    recipe = preset("demo", crystal, size=SIZE, inv_angstrom_per_pixel=PIXEL)
    rows = []
    for name, _, step_deg in (network.partition(":") for network in arguments.networks):
        labels = OrientationLabels.equispaced(crystal, float(step_deg), BINS)
        patterns = simulated(labels, recipe.optics(recipe.mean_convergence_mrad, 0.0))
        patterns = np.resize(patterns, (arguments.patterns, SIZE, SIZE))
        indexer = create_indexer(name, labels, recipe)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            for stage, rate in rates(indexer, patterns, arguments.repeats).items():
                row = {"network": name, "classes": labels.n_classes, "threads": threads}
                rows.append({**row, "stage": stage, "patterns_per_s": round(rate)})
                print(rows[-1], flush=True)
    settings = {
        "size": SIZE,
        "patterns": arguments.patterns,
        "repeats": arguments.repeats,
        "load_average": round(os.getloadavg()[0], 1),  # rates suffer above the threads
    }
    write_results(arguments.json, settings, rows)


def simulated(labels: OrientationLabels, optics) -> np.ndarray:
    """Return noisy kinematic patterns of some directions, float32, shape (n, size, size)."""
    directions = labels.directions_deg[:: len(labels.directions_deg) // BATCH][:BATCH]
    disks = kinematic_disks(labels.crystal, optics, directions, np.array([20.0]))
    clean = render(disks, SIZE, PIXEL)[:, 0].clamp_min(0)
    return torch.poisson(COUNTS * clean, torch.Generator().manual_seed(0)).numpy()


@torch.inference_mode()
def rates(indexer: NetworkIndexer, patterns: np.ndarray, repeats: int) -> dict[str, float]:
    """Return patterns a second of each stage and of the whole path."""
    network, half = indexer.network.eval(), half_precision(indexer.network)
    batch = torch.from_numpy(patterns[:BATCH])
    inputs = indexer.preprocess(batch, PIXEL)
    logits = network(inputs)
    stages = {
        "preprocess": lambda: indexer.preprocess(batch, PIXEL),
        "network": lambda: network(inputs),
        "n best": lambda: indexer.labels.n_best(logits),
    }
    if half is not network:
        stages["network, bfloat16"] = lambda: half(inputs)
    if hasattr(half, "likeliest"):  # what a scan is indexed by
        found = half.likeliest(inputs, CONSIDERED)
        stages["likeliest"] = lambda: half.likeliest(inputs, CONSIDERED)
        stages["n best of the likeliest"] = lambda: indexer.labels.merged(found)
    made = {name: len(batch) / shortest_s(stage, repeats) for name, stage in stages.items()}
    index = shortest_s(lambda: indexer.index(patterns, PIXEL), repeats)
    return {**made, "index": len(patterns) / index}


if __name__ == "__main__":
    main()
