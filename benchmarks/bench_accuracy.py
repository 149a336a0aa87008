"""The yardstick: how often every method finds known orientations, and how fast.

    python benchmarks/bench_accuracy.py [--model DIR] [--cnn DIR] [--methods network,acom,...]

Sets and conditions: accuracy_sets.py. Methods: accuracy_methods.py, with the network that comes
with zoneaxis unless --model names another. Each row is of a scan, .hspy, that `index_scan` maps
into an .ang; `patterns_per_s` is of that whole way, the file in the system's cache and libraries
loaded.

Shares are of crystal. What is not indexed counts as 180 degrees off, but in `within_5_all`, which
asks no threshold. `within_5_error` is the standard error over patterns, as the draws of one are not
independent. `rejected` is the share of vacuum and amorphous points without an orientation;
`thickness_error_nm` the median of those within 5 degrees. Slow methods get the first
patterns of a set (`MOST`): `n` counts the answers. Left out is what is not here: pyxem, models.

Rows go to benchmarks/results/accuracy.json one by one and replace only their like, so that methods
can be measured one at a time. Table: `python benchmarks/accuracy_table.py`; figure:
`python docs/make_accuracy_figure.py`.
"""

import argparse
import hashlib
import itertools
import json
import os
import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_methods import DYNAMICAL_NM, METHODS, MOST, makers
from accuracy_sets import (
    CONDITIONS,
    HELD_OUT,
    PHANTOM,
    SETS,
    Exposure,
    PatternSet,
    available_sets,
    load_set,
    part,
    write_scans,
)
from accuracy_table import tables
from bench_matching import version
from common import RESULTS, ROOT, SHARED_DATA, defaults, provenance, write_results
from other_matchers import DISKS, PLAN

import zoneaxis
from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.orientations import pseudo_symmetric_deg
from zoneaxis.evaluation.metrics import LIMITS_DEG, RIGHT_DEG, key
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.models.pretrained import shipped_models
from zoneaxis.scans.indexing import Indexer, index_scan
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

CACHE = ROOT / "build" / "accuracy"
SHOWN = ("n", "median_deg", "within_5", "patterns_per_s")  # while it runs
WARM = 4  # patterns, after which whatever compiles or starts threads has done so
# By whoever made the multislice patterns: ACOM, 2 degrees, 1,081 zones, shares within 5 degrees.
REFERENCE = {
    "plain": {"a": 0.72, "b": 0.56, "c": 0.25},
    "precession": {"a": 0.92, "b": 0.75, "c": 0.42},
}

Place = tuple[str, str, str]  # set, method, condition


def main() -> None:
    arguments = parse()
    crystal = load_crystal("LiNiO2")
    fixed = settings(arguments)
    rows = stored_rows(arguments.json, fixed)
    made_of = json.dumps([zoneaxis.__version__, fixed["patterns"]])
    token = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    exposure, indexers = Exposure(**fixed["patterns"]["exposure"]), {}
    for name in arguments.sets:
        patterns = load_set(name, crystal, CACHE, arguments.data, arguments.patterns)
        files = write_scans(patterns, exposure, CACHE, token)
        for method in arguments.methods:
            used = method, patterns.optics
            if used not in indexers:
                indexers[used] = arguments.makers[method](crystal, patterns.optics)
            for condition, file in files.items():
                row = {"set": name, "method": method, "condition": condition}
                row |= {"label": METHODS[method], "source": source(method, arguments)}
                row |= measure(indexers[used], file, MOST.get(method), patterns)
                rows[name, method, condition] = row
                write_results(arguments.json, fixed, in_order(rows), say=False)
                print(name, method, condition, {shown: row[shown] for shown in SHOWN}, flush=True)
    print(tables(json.loads(arguments.json.read_text())))
    print(f"Figures in {arguments.json}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = next(reversed(shipped_models()), None)
    parser.add_argument(
        "--model", default=shipped, help=f"folder or name of the network; default: {shipped}"
    )
    parser.add_argument("--cnn", type=Path, help="folder of the paper's CNN; default: left out")
    parser.add_argument("--methods", help=f"some of {','.join(METHODS)}; default: all there are")
    parser.add_argument("--sets", help=f"some of {','.join(SETS)}; default: all there are")
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "multislice")
    parser.add_argument("--patterns", type=int, help="first so many of each set, for a trial")
    parser.add_argument("--counts", type=float, default=Exposure.counts, help="a pattern")
    parser.add_argument("--draws", type=int, default=Exposure.draws, help="of (b) and (c)")
    parser.add_argument("--seed", type=int, default=Exposure.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/accuracy.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")  # the others' own
    arguments.makers = makers(arguments.model, arguments.cnn, arguments.threads)
    arguments.methods = chosen(parser, arguments.methods, METHODS, arguments.makers)
    arguments.sets = chosen(parser, arguments.sets, SETS, available_sets(arguments.data))
    # A trial's figures do not replace the others.
    folder = RESULTS if arguments.patterns is None else CACHE
    arguments.json = arguments.json or folder / "accuracy.json"
    return arguments


def chosen(
    parser: argparse.ArgumentParser, asked: str | None, known: Iterable[str], there: Iterable[str]
) -> list[str]:
    """Return the names asked for, or all that are there; say which are not."""
    names = asked.split(",") if asked else known
    if unknown := set(names) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}.")
    absent = [name for name in names if name not in there]
    if absent:
        say = parser.error if asked else print
        say(f"Not here: {', '.join(absent)}; {parser.prog} --help says what to name or install.")
    return [name for name in names if name in there]


def source(method: str, arguments: argparse.Namespace) -> str | None:
    """Return which checkpoint a method uses, without where it lies."""
    name = {"cnn": arguments.cnn}.get(method, arguments.model if "network" in method else None)
    return Path(name).name if name else None


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the patterns, and how methods are set."""
    return {
        "crystal": "LiNiO2",
        "patterns": {
            "first": arguments.patterns,
            "exposure": asdict(Exposure(arguments.counts, arguments.draws, arguments.seed)),
            "held_out": {name: asdict(recipe) for name, recipe in HELD_OUT.items()},
            "phantom": asdict(PHANTOM),
        },
        "templates": {**defaults(TemplateIndexer), "dynamical_nm": DYNAMICAL_NM},
        "py4DSTEM": {"disks": DISKS, "plan": PLAN},
        "versions": {name: version(name) for name in ("py4DSTEM", "pyxem", "diffsims")},
        "reference_within_5": REFERENCE,
    }


def stored_rows(path: Path, fixed: dict[str, Any]) -> dict[Place, dict[str, Any]]:
    """Return the rows measured before, with the same settings.

    Raises:
        SystemExit: the file is of other settings.
    """
    if not path.is_file():
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["settings"] != json.loads(json.dumps(fixed)):
        raise SystemExit(
            f"{path} holds figures of other settings: move it away, or write to another by --json."
        )
    return {(row["set"], row["method"], row["condition"]): row for row in values["rows"]}


def in_order(rows: dict[Place, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows set by set, method by method."""
    order = itertools.product(SETS, METHODS, CONDITIONS)
    return [rows[place] for place in order if place in rows]


def measure(indexer: Indexer, file: Path, most: int | None, patterns: PatternSet) -> dict[str, Any]:
    """Map a scan, at most so many of its patterns, and return the row's figures."""
    scan, out = opened(file, most), file.with_suffix(".ang")
    few = scan.patterns[0, :WARM].compute().astype(np.float32)
    indexer.index(few, scan.inv_angstrom_per_pixel)
    start = time.perf_counter()
    found = index_scan(indexer, opened(file, most))
    found.save(out)
    seconds = time.perf_counter() - start
    out.unlink()
    return {
        **figures(found, patterns),
        "patterns_per_s": round(found.phase.size / seconds, 1),
        "load_average": round(os.getloadavg()[0], 1),  # rates suffer above the threads
        "commit": provenance()["commit"],
    }


def opened(file: Path, most: int | None) -> Scan:
    scan = Scan.open(file)
    return scan.crop(*part(scan.shape, most))


def figures(found: OrientationMap, patterns: PatternSet) -> dict[str, Any]:
    """Return how right a map is, whose rows repeat those of the set as often as it was drawn."""
    rows, cols = found.shape
    number = np.arange(len(patterns.crystalline)).reshape(patterns.shape)
    number = np.tile(number, (-(-rows // len(number)), 1))[:rows, :cols]
    crystalline, indexed = patterns.crystalline[number], found.phase >= 0
    number, answered = number[crystalline], indexed[crystalline]
    errors = pseudo_symmetric_deg(
        found.matrices[crystalline], patterns.matrices[number], found.crystal
    )
    row = {"n": len(number), "patterns": len(np.unique(number))}
    for friend, angles in errors.items():
        counted = np.where(answered, angles, 180.0)
        row[key("median_deg", friend)] = round(float(np.median(counted)), 3)
        row |= {key(f"within_{limit}", friend): share(counted <= limit) for limit in LIMITS_DEG}
    right = errors["raw"] <= RIGHT_DEG
    row["within_5_all"] = share(right)
    right &= answered
    row["within_5_error"] = standard_error(right, number)
    row["indexed"] = share(answered)
    row["rejected"] = share(~indexed[~crystalline])
    if "thickness_nm" in found.properties:
        thickness = found.properties["thickness_nm"][crystalline][right]
        off = np.abs(thickness - patterns.thickness_nm[number[right]])
        row["thickness_error_nm"] = round(float(np.median(off)), 2) if right.any() else None
    return row


def share(true: np.ndarray) -> float | None:
    """Return the share of what is true, shape (n,); None of nothing."""
    return round(float(true.mean()), 4) if true.size else None


def standard_error(right: np.ndarray, number: np.ndarray) -> float | None:
    """Return the standard error of a share over patterns; None for fewer than two.

    Args:
        right: answers, shape (n,).
        number: of the pattern that each answer is for; draws of one are averaged first.
    """
    _, number, draws = np.unique(number, return_inverse=True, return_counts=True)
    mean = np.bincount(number, right) / draws
    if len(mean) < 2:
        return None
    return round(float(mean.std(ddof=1) / np.sqrt(len(mean))), 4)


if __name__ == "__main__":
    main()
