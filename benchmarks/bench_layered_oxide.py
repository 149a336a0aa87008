"""A real scan of a layered oxide particle: template matching and a network against py4DSTEM's map.

    python benchmarks/bench_layered_oxide.py [--model DIR] [--reports DIR] [--json OUT]

The scan is ../shared/data/third_party/layered_oxide; figures go to
benchmarks/results/layered_oxide.json. The reference is itself a template matching on a grid of
2 degrees, not the truth: the figures say how far two methods agree, over all points and over each
tenth of them by reliability and by score, lowest first.
"""

import argparse
import re
import tempfile
import time
import warnings
from pathlib import Path

import torch
from common import RESULTS, SHARED_DATA, defaults, write_results
from rich.console import Console

from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.evaluation.breakdown import Breakdown, break_down
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.report.page import write_report
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.indexing import Indexer, index_scan
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

OXYGEN_Z = 0.26  # the CIF's own is doubtful
OPTICS = Optics(k_max_inv_angstrom=1.5)  # voltage and convergence are not known
REFERENCE = "acom.ang"
CONFIDENCES = ("reliability", "score")
IN_TENTHS = ("median_deg", "within_5", "within_5_beam_180", "within_5_c_60")


def main() -> None:
    arguments = parse()
    if not arguments.data.is_dir():
        print(f"{arguments.data} is absent: name the folder of scan.hspy and acom.ang by --data.")
        return
    crystal = corrected_crystal(arguments.data / "LCO.cif")
    scan = Scan.open(arguments.data / "scan.hspy", step_nm=1.0)  # the true step is not known
    reference = OrientationMap.load(arguments.data / REFERENCE, crystal)
    rows = []
    for method, indexer in indexers(crystal, arguments.model).items():
        start = time.perf_counter()
        found = index_scan(indexer, scan)
        seconds = time.perf_counter() - start
        comparison = compare(found, reference)
        Console(width=110).print(comparison.table((method, REFERENCE)))
        figures = {name: round(value, 4) for name, value in comparison.metrics.items()}
        speed = round(scan.shape[0] * scan.shape[1] / seconds, 1)
        tenths = {}
        for name in CONFIDENCES:
            breakdown = break_down(name, comparison, found, reference)
            Console(width=110).print(breakdown.table())
            tenths[f"by_{name}"] = by_row(breakdown)
        rows.append({"method": method, **comparison.counts, **figures})
        rows[-1] |= {"patterns_per_s": speed, **tenths}
        if arguments.reports:
            path = arguments.reports / f"layered_oxide_{method}.html"
            names = method, REFERENCE
            write_report(path, found, reference, comparison, scan=scan, optics=OPTICS, names=names)
            print(f"Report in {path}")
    write_results(arguments.json, settings(arguments), rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint of that crystal to index with, too")
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "third_party/layered_oxide")
    parser.add_argument("--reports", type=Path, help="folder for the reports")
    parser.add_argument("--json", type=Path, default=RESULTS / "layered_oxide.json")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.reports:
        arguments.reports.mkdir(parents=True, exist_ok=True)
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


def indexers(crystal: Crystal, model: Path | None) -> dict[str, Indexer]:
    found: dict[str, Indexer] = {"templates": TemplateIndexer(crystal, OPTICS)}
    if model is not None:
        from zoneaxis.models.indexer import NetworkIndexer

        found["network"] = NetworkIndexer.from_pretrained(model)
    return found


def by_row(breakdown: Breakdown) -> list[dict]:
    """Return label, points and the metrics of `IN_TENTHS` of each row."""
    return [
        {"range": label, "points": int(breakdown.points[i])}
        | {name: round(float(breakdown.metrics[name][i]), 3) for name in IN_TENTHS}
        for i, label in enumerate(breakdown.labels)
    ]


def settings(arguments: argparse.Namespace) -> dict:
    return {
        "crystal": f"LCO.cif with z(O) = {OXYGEN_Z}",
        "reference": REFERENCE,
        "optics": OPTICS.to_dict(),
        "templates": defaults(TemplateIndexer),
        "model": arguments.model.name if arguments.model else None,
    }


if __name__ == "__main__":
    main()
