"""How often indexers find the known orientations of the multislice patterns.

    python benchmarks/bench_multislice.py [--model DIR] [--counts 1e5] [--json OUT] [--flip]

The network is that of --model, or of `make demo` where it has run. Figures go to
benchmarks/results/multislice.json.

Conditions: (a) as calculated, (b) Poisson noise at the given counts, (c) the same with the camera
length off by up to 10 % and the center by up to 3 of 256 pixels, both unknown to the indexer.
A pattern that is not indexed counts as off by 180 degrees, raw and modulo false friends.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, ROOT, SHARED_DATA, defaults, write_results
from rich.console import Console
from rich.table import Table
from scipy.ndimage import affine_transform

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, pseudo_symmetric_deg
from zoneaxis.evaluation.template_matching import TemplateIndexer, camera_scales
from zoneaxis.scans.indexing import Indexer

K_MAX = 1.8
CAMERA_LENGTH_ERROR = 0.1  # of the slower template matching
DEMO_MODEL = ROOT / "demo" / "model"
LIMITS_DEG = (1, 2, 5, 10)


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
    show(rows)
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
    rng = np.random.default_rng(arguments.seed)
    noisy = rng.poisson(patterns * arguments.counts)
    displaced = rng.poisson(np.stack([displace(p, rng) for p in patterns]) * arguments.counts)
    return {"a": patterns, "b": noisy.astype(np.float32), "c": displaced.astype(np.float32)}


def displace(pattern: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Magnify by up to 10 % about the beam, then shift by up to 3 of 256 pixels."""
    scale = 1 + rng.uniform(-0.1, 0.1)
    middle = len(pattern) // 2
    shift = rng.uniform(-3, 3, 2) * len(pattern) / 256
    offset = middle - (middle + shift) / scale
    return affine_transform(pattern, np.eye(2) / scale, offset, order=1).clip(0) / scale**2


def score(indexer: Indexer, patterns: np.ndarray, pixel: float, truth_deg: np.ndarray) -> dict:
    start = time.perf_counter()
    found = indexer.index(patterns, pixel)
    seconds = time.perf_counter() - start
    errors = pseudo_symmetric_deg(
        matrices_from_euler(found.euler_deg[:, 0]),
        matrices_from_euler(truth_deg),
        indexer.crystal,
    )
    errors = {friend: np.where(found.indexed, e, 180.0) for friend, e in errors.items()}
    row = {"n": len(patterns), "median_deg": round(float(np.median(errors["raw"])), 3)}
    row |= {f"within_{limit}": share(errors["raw"], limit) for limit in LIMITS_DEG}
    row |= {f"{friend}_5": share(errors[friend], 5) for friend in ("beam_180", "c_60")}
    return {
        **row,
        "indexed": round(float(found.indexed.mean()), 3),
        "score_median": round(float(np.median(found.score[:, 0])), 3),
        "patterns_per_s": round(len(patterns) / seconds, 1),
    }


def share(values: np.ndarray, limit: float) -> float:
    return round(float((values <= limit).mean()), 3)


def show(rows: list[dict]) -> None:
    table = Table(title="Share of patterns within 1, 2, 5, 10 degrees; beam_180 and c_60 modulo")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
