"""Template matching beside py4DSTEM's ACOM and pyxem: speed and accuracy on the same patterns.

    python benchmarks/bench_matching.py [--patterns N] [--threads 2] [--json OUT]

All match the multislice patterns with beam directions 2 degrees apart, 2 degrees in-plane, the same
k_max and pixel size. Ours counts directions and their mirror images; the others match the mirror
image of each of their 1,081 besides, which makes 2,162. The others' settings and how their answers
come into this project's frame: other_matchers.py. pyxem takes part where it is installed
(`pip install -c constraints.txt -e ".[bench]"`).

Conditions: `common.multislice_conditions`, (a) in counts, too. Nobody is told what (c) changes;
"camera scales" tries seven factors on the pixel size. Columns: `patterns_per_s` from the array of
patterns to orientations, libraries and compilation left out, the median of repeats; `kernel_per_s`
the matching alone, where disks or polar patterns are made apart from it; share of patterns within
1, 2, 5, 10 degrees, and within 5 modulo the false friends.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import (
    RESULTS,
    SHARED_DATA,
    accuracy,
    defaults,
    markdown,
    multislice_conditions,
    write_results,
)
from other_matchers import (
    BLUR_INV_ANGSTROM,
    DISKS,
    EXCITATION_ERROR,
    PLAN,
    POWER,
    RINGS,
    Acom,
    Found,
    Pyxem,
)

from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.evaluation.template_matching import TemplateIndexer, camera_scales

K_MAX = 1.8
STEP_DEG = 2.0
COARSE_DEG = 6.0  # of ACOM's first pass, where it has two
CAMERA_LENGTH_ERROR = 0.1
SETS = ("plain", "precession")

Match = Callable[[np.ndarray, float], Found]


def main() -> None:
    arguments = parse()
    if not arguments.data.is_dir():
        print(f"{arguments.data} is absent: name the folder of the multislice patterns by --data.")
        return
    warnings.filterwarnings("ignore")  # the others' own
    crystal = load_crystal("LiNiO2")
    rows = []
    for name in SETS:
        data = np.load(arguments.data / f"{name}.npz")
        patterns, truth = (data[key][: arguments.patterns] for key in ("pattern", "euler"))
        pixel = float(data["inv_angstrom_per_pixel"])
        made = multislice_conditions(patterns, arguments.counts, arguments.seed)
        made["a"] = made["a"] * np.float32(arguments.counts)
        for method, (match, directions) in matchers(crystal, data, arguments.threads).items():
            match(made["b"][:4], pixel)  # compiles, starts threads
            for condition, condition_patterns in made.items():
                found, whole_s, kernel_s = timed(match, condition_patterns, pixel, arguments)
                row = {"method": method, "directions": directions, "set": name}
                row |= {"condition": condition, "n": len(patterns)}
                row["patterns_per_s"] = round(len(patterns) / whole_s, 1)
                row["kernel_per_s"] = round(len(patterns) / kernel_s, 1) if kernel_s else None
                row |= accuracy(found.matrices, matrices_from_euler(truth), found.indexed, crystal)
                rows.append(row)
                print(row, flush=True)
    print(markdown(rows))
    write_results(arguments.json, settings(arguments), rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "multislice")
    parser.add_argument("--patterns", type=int, help="take the first so many of each set")
    parser.add_argument("--counts", type=float, default=1e5, help="electrons per pattern")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs, at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="after which no run is repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS / "matching.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments


def matchers(crystal: Crystal, data: dict, threads: int) -> dict[str, tuple[Match, int]]:
    """Return each method's matching and the number of its beam directions."""
    optics = Optics(precession_deg=float(data["precession_deg"]), k_max_inv_angstrom=K_MAX)
    found = {}
    for label, scales in {"": 0.0, ", camera scales": CAMERA_LENGTH_ERROR}.items():
        indexer = TemplateIndexer(
            crystal, optics, step_deg=STEP_DEG, camera_scales=camera_scales(scales)
        )
        found[f"zoneaxis{label}"] = ours(indexer), len(indexer.matrices)
    coarse = Acom(crystal, optics, STEP_DEG, COARSE_DEG)
    full = Acom(crystal, optics, STEP_DEG)
    directions = len(full.directions)
    found["py4DSTEM"] = full.match, directions
    found["py4DSTEM, coarse to fine"] = coarse.match, directions
    if importlib.util.find_spec("pyxem"):
        pyxem = Pyxem(crystal, optics, full.directions, threads)
        found["pyxem"] = pyxem.match, directions
        found["pyxem, a tenth in full"] = partial(pyxem.match, share=0.1), directions
    return found


def ours(indexer: TemplateIndexer) -> Match:
    def match(patterns: np.ndarray, pixel: float) -> Found:
        found = indexer.index(patterns, pixel)
        return Found(matrices_from_euler(found.euler_deg[:, 0]), found.indexed, 0.0)

    return match


def timed(
    match: Match, patterns: np.ndarray, pixel: float, arguments: argparse.Namespace
) -> tuple[Found, float, float]:
    """Return what is found, and the median seconds of the whole and of the matching alone."""
    whole, kernel = [], []
    while len(whole) < arguments.repeats and sum(whole) < arguments.seconds:
        start = time.perf_counter()
        found = match(patterns, pixel)
        whole.append(time.perf_counter() - start)
        kernel.append(found.kernel_s)
    return found, float(np.median(whole)), float(np.median(kernel))


def settings(arguments: argparse.Namespace) -> dict:
    return {
        "crystal": "LiNiO2",
        "counts": arguments.counts,
        "seed": arguments.seed,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "optics": {**Optics(k_max_inv_angstrom=K_MAX).to_dict(), "precession_deg": "of the set"},
        "step_deg": STEP_DEG,
        "templates": defaults(TemplateIndexer),
        "py4DSTEM": {"disks": DISKS, "plan": PLAN, "coarse_deg": COARSE_DEG},
        "pyxem": {
            "blur_inv_angstrom": BLUR_INV_ANGSTROM,
            "rings": RINGS,
            "power": POWER,
            "excitation_error": EXCITATION_ERROR,
        },
        "versions": {name: version(name) for name in ("py4DSTEM", "pyxem", "diffsims")},
        "load_average": round(os.getloadavg()[0], 1),  # rates suffer above the threads
    }


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
