"""A real scan of a layered oxide particle: template matching and a network against py4DSTEM's map.

    python benchmarks/bench_layered_oxide.py [--model DIR] [--refine] [--maps DIR] [--reports DIR]

The scan is ../shared/data/third_party/layered_oxide; figures go to
benchmarks/results/layered_oxide.json. The reference is itself a template matching on a grid of
2 degrees, not the truth: the figures say how far two methods agree, over all points and over each
tenth of them by reliability and by score, lowest first; how they differ where they do, which false
friend it is; and which of two maps dynamical patterns support at some of these points, which takes
most of the time. `docs/layered_oxide.md` says how the model is made.
"""

import argparse
import re
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, SHARED_DATA, defaults, write_results
from dynamical_judge import KINDS, judge, kinds, tally, usual_difference
from rich.console import Console

from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.evaluation.boundaries import find_boundaries
from zoneaxis.evaluation.breakdown import Breakdown, break_down
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.grains import find_grains
from zoneaxis.evaluation.report.page import write_report
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.indexing import Indexer, index_scan
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

OXYGEN_Z = 0.26  # the CIF's own is doubtful
OPTICS = Optics(k_max_inv_angstrom=1.5)  # voltage and convergence are not known
DRAWN = replace(OPTICS, convergence_mrad=0.9)  # disks of the size that the scan was drawn with
REFERENCE = "acom.ang"
CONFIDENCES = ("reliability", "score")
IN_TENTHS = ("median_deg", "within_5", "within_5_beam_180", "within_5_c_60")
JUDGED = 60  # points where the maps differ; half as many where they agree
SEED = 0


def main() -> None:
    arguments = parse()
    if not arguments.data.is_dir():
        print(f"{arguments.data} is absent: name the folder of scan.hspy and acom.ang by --data.")
        return
    crystal = corrected_crystal(arguments.data / "LCO.cif")
    scan = Scan.open(arguments.data / "scan.hspy", step_nm=1.0)  # the true step is not known
    maps = {REFERENCE: OrientationMap.load(arguments.data / REFERENCE, crystal)}
    speed = {}
    methods = indexers(crystal, arguments)
    for method, indexer in methods.items():
        start = time.perf_counter()
        maps[method] = index_scan(indexer, scan)
        speed[method] = round(maps[method].phase.size / (time.perf_counter() - start), 1)
    if arguments.maps:
        for name, found in maps.items():
            found.save(arguments.maps / f"{Path(name).stem}.h5")
    rows = [row(pair, maps, scan, arguments) for pair in pairs(maps)]
    rows = [{**r, "patterns_per_s": speed[r["method"]]} for r in rows]
    grains = {name: grain_figures(found) for name, found in maps.items()}
    write_results(arguments.json, settings(methods) | {"grains": grains}, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint of that crystal to index with, too")
    parser.add_argument("--refine", action="store_true", help="let Bloch waves decide as well")
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "third_party/layered_oxide")
    parser.add_argument("--maps", type=Path, help="folder for the maps, as .h5")
    parser.add_argument("--reports", type=Path, help="folder for the reports")
    parser.add_argument("--judged", type=int, default=JUDGED, help="points of each comparison")
    parser.add_argument("--json", type=Path, default=RESULTS / "layered_oxide.json")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for folder in (arguments.maps, arguments.reports):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    return arguments


def corrected_crystal(cif: Path) -> Crystal:
    """Load a copy of the CIF with another z(O); its B factors of 0 become 0.5 Angstrom^2."""
    text, changed = re.subn(
        r"(?m)^(O1 O-2 0 0) [\d.]+", rf"\1 {OXYGEN_Z}", cif.read_text(encoding="utf-8")
    )
    if changed != 1:
        raise SystemExit(f"{cif}: expected one oxygen site at (0, 0, z).")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "LiCoO2.cif"
        copy.write_text(text, encoding="utf-8")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*site O1 has B = 0", UserWarning)
            return load_crystal(copy)


def indexers(crystal: Crystal, arguments: argparse.Namespace) -> dict[str, Indexer]:
    """Return the methods by name, the network's where there is a model."""
    found: dict[str, Indexer] = {"templates": TemplateIndexer(crystal, OPTICS)}
    if arguments.model is not None:
        from zoneaxis.models.indexer import NetworkIndexer

        found["network"] = NetworkIndexer.from_pretrained(arguments.model, crystal=crystal)
    if arguments.model is not None and arguments.refine:
        from zoneaxis.evaluation.refined_indexer import RefinedIndexer

        found["refined"] = RefinedIndexer(found["network"], crystal, DRAWN)
    return found


def pairs(maps: dict[str, OrientationMap]) -> list[tuple[str, str]]:
    """Return which map is compared with which: all with the reference, networks with templates."""
    methods = [name for name in maps if name != REFERENCE]
    return [(name, REFERENCE) for name in methods] + [(name, methods[0]) for name in methods[1:]]


def row(
    pair: tuple[str, str],
    maps: dict[str, OrientationMap],
    scan: Scan,
    arguments: argparse.Namespace,
) -> dict:
    """Return all figures of a map against another, and print them."""
    found, reference = (maps[name] for name in pair)
    comparison = compare(found, reference)
    Console(width=110).print(comparison.table(pair))
    figures = {name: round(value, 4) for name, value in comparison.metrics.items()}
    tenths = {}
    for name in CONFIDENCES:
        breakdown = break_down(name, comparison, found, reference)
        Console(width=110).print(breakdown.table())
        tenths[f"by_{name}"] = by_row(breakdown)
    if arguments.reports:
        path = (
            arguments.reports / f"layered_oxide_{'_'.join(Path(name).stem for name in pair)}.html"
        )
        write_report(path, found, reference, comparison, scan=scan, optics=OPTICS, names=pair)
        print(f"Report in {path}")
    named = dict(zip(("method", "reference"), pair, strict=True))
    judged = arguments.judged if pair[1] == REFERENCE else 0
    differences = how_they_differ(found, reference, scan, judged)
    return {**named, **comparison.counts, **figures, **differences, **tenths}


def by_row(breakdown: Breakdown) -> list[dict]:
    """Return label, points and the metrics of `IN_TENTHS` of each row."""
    return [
        {"range": label, "points": int(breakdown.points[i])}
        | {name: round(float(breakdown.metrics[name][i]), 3) for name in IN_TENTHS}
        for i, label in enumerate(breakdown.labels)
    ]


def how_they_differ(
    found: OrientationMap, reference: OrientationMap, scan: Scan, judged: int
) -> dict:
    """Return of each of `KINDS` how many points there are, and what dynamical patterns say."""
    points = np.argwhere(found.indexed & reference.indexed)
    at = tuple(points.T)
    kind = kinds(found.matrices[at], reference.matrices[at], found.crystal)
    rows = [
        {
            "kind": name,
            "points": int((kind == i).sum()),
            "share": round(float((kind == i).mean()), 4),
            "median_score": median(found.score[at][kind == i, 0]),
            "median_reliability": median(found.reliability[at][kind == i]),
            "median_reference_score": median(reference.score[at][kind == i, 0]),
        }
        for i, name in enumerate(KINDS)
    ]
    if not judged:
        return {"kinds": rows}
    chosen = np.random.default_rng(SEED).permutation(len(points))
    differing, agreeing = (
        chosen[kind[chosen] > 0][:judged],
        chosen[kind[chosen] == 0][: judged // 2],
    )
    control = judge(scan, found, reference, points[agreeing], DRAWN)
    verdicts = judge(scan, found, reference, points[differing], DRAWN)
    margin = usual_difference(control)
    verdict = {"margin": margin, "all": tally(verdicts, margin)}
    for i, name in enumerate(KINDS):
        those = [v for v, k in zip(verdicts, kind[differing], strict=True) if k == i]
        verdict |= {name: tally(those, margin)} if those else {}
    verdict["agree"] = tally(control, margin)
    print(verdict)
    return {"kinds": rows, "dynamical_patterns": verdict}


def median(values: np.ndarray) -> float | None:
    return round(float(np.median(values)), 3) if values.size else None


def grain_figures(found: OrientationMap) -> dict:
    """Return how many grains a map has, and how much of their boundaries are false friends."""
    grains = find_grains(found)
    summary, boundaries = grains.summary(), find_boundaries(grains).summary()
    return {
        "grains": summary["grains"],
        "largest_points": int(grains.points.max()),
        "share_of_points": round(summary["share_of_points"], 3),
        "boundary_length_px": round(boundaries["length_nm"] / found.step_nm),
        "false_friends_share_of_length": round(boundaries["suspicious_share_of_length"], 3),
    }


def settings(methods: dict[str, Indexer]) -> dict:
    trained = methods["network"].training if "network" in methods else {}
    return {
        "crystal": f"LCO.cif with z(O) = {OXYGEN_Z}",
        "reference": REFERENCE,
        "optics": OPTICS.to_dict(),
        "optics_of_dynamical_patterns": DRAWN.to_dict(),
        "templates": defaults(TemplateIndexer),
        "network": {k: v for k, v in trained.items() if not isinstance(v, list | dict)},
    }


if __name__ == "__main__":
    main()
