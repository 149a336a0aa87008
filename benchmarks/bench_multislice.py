"""How often indexers find the known orientations of the multislice patterns.

    python benchmarks/bench_multislice.py [--model DIR] [--counts 1e5] [--json OUT] [--flip]

The network is that of --model, or of `make demo` where it has run. Figures go to
benchmarks/results/multislice.json.

Conditions: `common.multislice_conditions`; what (c) changes is unknown to the indexer. Columns:
share of patterns within 1, 2, 5, 10 degrees, and within 5 modulo the two false friends.
A pattern that is not indexed counts as off by 180 degrees, raw and modulo false friends.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import (
    RESULTS,
    ROOT,
    SHARED_DATA,
    accuracy,
    defaults,
    markdown,
    multislice_conditions,
    write_results,
)

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.evaluation.template_matching import TemplateIndexer, camera_scales
from zoneaxis.scans.indexing import Indexer

K_MAX = 1.8
CAMERA_LENGTH_ERROR = 0.1  # of the slower template matching
DEMO_MODEL = ROOT / "demo" / "model"


def main() -> None:
    arguments = parse()
    if not arguments.data.is_dir():
        print(f"{arguments.data} is absent: name the folder of the multislice patterns by --data.")
        return
    crystal = load_crystal("LiNiO2")
    rows = []
    for name in ("plain", "precession"):
        data = np.load(arguments.data / f"{name}.npz")
        precession = float(data["precession_deg"])
        for method, indexer in indexers(crystal, precession, arguments.model).items():
            for condition, patterns in conditions(data["pattern"], arguments).items():
                pixel = float(data["inv_angstrom_per_pixel"])
                row = score(indexer, patterns, pixel, data["euler"])
                rows.append({"method": method, "set": name, "condition": condition, **row})
    print(markdown(rows))
    write_results(arguments.json, settings(arguments), rows)


def settings(arguments: argparse.Namespace) -> dict:
    return {
        "crystal": "LiNiO2",
        "counts": arguments.counts,
        "seed": arguments.seed,
        "flip": arguments.flip,
        "optics": {**Optics(k_max_inv_angstrom=K_MAX).to_dict(), "precession_deg": "of the set"},
        "templates": defaults(TemplateIndexer),
        "more_camera_scales": camera_scales(CAMERA_LENGTH_ERROR),
        "model": arguments.model.name if arguments.model else None,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint; default: demo/model if it exists")
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "multislice")
    parser.add_argument("--counts", type=float, default=1e5, help="electrons per pattern")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/multislice.json")
    parser.add_argument("--flip", action="store_true", help="transpose: nothing must be found")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.model is None and DEMO_MODEL.is_dir():
        arguments.model = DEMO_MODEL
    name = "multislice_flipped.json" if arguments.flip else "multislice.json"
    arguments.json = arguments.json or RESULTS / name
    torch.set_num_threads(arguments.threads)
    return arguments


def indexers(crystal, precession_deg: float, model: Path | None) -> dict[str, Indexer]:
    optics = Optics(precession_deg=precession_deg, k_max_inv_angstrom=K_MAX)
    scales = camera_scales(CAMERA_LENGTH_ERROR)
    found = {
        "templates": TemplateIndexer(crystal, optics),
        f"templates, {len(scales)} scales": TemplateIndexer(crystal, optics, camera_scales=scales),
    }
    if model is not None:
        from zoneaxis.models.indexer import NetworkIndexer

        found["network"] = NetworkIndexer.from_pretrained(model)
    return found


def conditions(patterns: np.ndarray, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    if arguments.flip:
        patterns = np.ascontiguousarray(patterns.transpose(0, 2, 1))
    return multislice_conditions(patterns, arguments.counts, arguments.seed)


def score(indexer: Indexer, patterns: np.ndarray, pixel: float, truth_deg: np.ndarray) -> dict:
    start = time.perf_counter()
    found = indexer.index(patterns, pixel)
    seconds = time.perf_counter() - start
    matrices, truth = (matrices_from_euler(e) for e in (found.euler_deg[:, 0], truth_deg))
    return {
        "n": len(patterns),
        **accuracy(matrices, truth, found.indexed, indexer.crystals[0]),
        "indexed": round(float(found.indexed.mean()), 3),
        "score_median": round(float(np.median(found.score[:, 0])), 3),
        "patterns_per_s": round(len(patterns) / seconds, 1),
    }


if __name__ == "__main__":
    main()
