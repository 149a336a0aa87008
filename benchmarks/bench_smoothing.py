"""What neighbors on the scan can do for a noisy map: right points inside grains and at boundaries.

python benchmarks/bench_smoothing.py [--counts 5e3] [--seeds 2 3] [--json OUT]

Phantoms of few electrons a pattern are matched with templates: patterns as they are, or averaged
with their neighbors; the maps as they are, or with their neighbors' votes. A point is at a boundary
if one of its eight neighbors belongs to another grain or to none.
"""

import argparse
from pathlib import Path

import dask.array as da
import numpy as np
from common import RESULTS, write_results

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import misorientation_deg
from zoneaxis.evaluation.correlation import NEIGHBORS, correlate_neighbors
from zoneaxis.evaluation.neighbor_averaging import (
    averaged_scan,
    equal_weights,
    similarity_weights,
)
from zoneaxis.evaluation.neighbor_votes import VOTE, vote
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.indexing import index_scan
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.phantom import Phantom, make_phantom
from zoneaxis.scans.scan import Scan

SHAPE, GRAINS, STEP_DEG, N_BEST, RIGHT_DEG = (28, 36), 10, 2.5, 5, 5.0
POWER = 8.0  # of correlation indices, chosen on the seeds 0 and 1
OPTICS = Optics(k_max_inv_angstrom=1.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "smoothing.json")
    parser.add_argument("--counts", type=float, default=5e3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2, 3])
    arguments = parser.parse_args()
    crystal = load_crystal("LiNiO2")
    # Nothing is left out: how many are right is asked of all points of the particle.
    settings = {"step_deg": STEP_DEG, "n_best": N_BEST, "min_q": 0.0, "min_agreement": -1.0}
    indexer = TemplateIndexer(crystal, OPTICS, **settings)
    errors: dict[str, list[np.ndarray]] = {}
    inside: list[np.ndarray] = []
    for seed in arguments.seeds:
        recipe = Phantom(shape=SHAPE, grains=GRAINS, counts=arguments.counts, seed=seed)
        patterns, truth = make_phantom(crystal, OPTICS, recipe)
        lazy = da.from_array(patterns, chunks=(8, 8, -1, -1))
        scan = Scan(lazy, recipe.step_nm, recipe.inv_angstrom_per_pixel, Path("phantom"))
        inside.append(~at_boundary(truth.properties["grain"])[truth.indexed])
        for name, found in smoothed(indexer, scan).items():
            angle = misorientation_deg(found.matrices, truth.matrices, crystal.proper_operators)
            errors.setdefault(name, []).append(angle[truth.indexed])
    within = np.concatenate(inside)
    rows = [row(name, np.concatenate(parts), within) for name, parts in errors.items()]
    print(f"{within.sum()} points inside, {(~within).sum()} at boundaries")
    print(f"{'':32}{'inside':>8}{'boundary':>10}{'all':>7}  % within {RIGHT_DEG:g} degrees")
    for r in rows:
        shares = (100 * r[k] for k in ("inside", "boundary", "all"))
        print("{:32}{:8.1f}{:10.1f}{:7.1f}".format(r["method"], *shares))
    given = {"counts": arguments.counts, "seeds": arguments.seeds, "shape": SHAPE, "grains": GRAINS}
    write_results(arguments.json, {**given, **settings, "optics": OPTICS.to_dict()}, rows)


def smoothed(indexer: TemplateIndexer, scan: Scan) -> dict[str, OrientationMap]:
    """Return the map of a scan by each way of asking neighbors."""
    alike = correlate_neighbors(scan, OPTICS.disk_radius_inv_angstrom).coefficient
    weights = {w: similarity_weights(alike, w) for w in (VOTE, 1.0)}
    found = index_scan(indexer, scan)
    average = index_scan(indexer, averaged_scan(scan))
    similar = index_scan(indexer, averaged_scan(scan, weights[1.0]))
    return {
        "as it is": found,
        "patterns, all (S8 a)": average,
        "patterns, similar": similar,
        "scores, all, 1/8 (S8 b)": vote(found),
        "scores, similar, 1/8": vote(found, weights[VOTE]),
        "scores^8, all, 1": vote(found, equal_weights(scan.shape, 1.0), power=POWER),
        "scores^8, similar, 1": vote(found, weights[1.0], power=POWER),
        "patterns and scores^8, all": vote(average, power=POWER),
        "patterns and scores^8, similar": vote(similar, weights[VOTE], power=POWER),
    }


def at_boundary(grain: np.ndarray) -> np.ndarray:
    """Return which points have a neighbor of another grain; beyond the edge is no grain."""
    framed = np.pad(grain, 1, mode="edge")
    rows, cols = grain.shape
    return np.any(
        [framed[1 + d : 1 + d + rows, 1 + r : 1 + r + cols] != grain for d, r in NEIGHBORS], axis=0
    )


def row(method: str, angle: np.ndarray, inside: np.ndarray) -> dict[str, object]:
    right = angle < RIGHT_DEG
    shares = {
        "inside": right[inside].mean(),
        "boundary": right[~inside].mean(),
        "all": right.mean(),
    }
    return {"method": method, **{k: round(float(v), 4) for k, v in shares.items()}}


if __name__ == "__main__":
    main()
