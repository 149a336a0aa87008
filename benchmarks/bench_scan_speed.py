"""Patterns a second from file to map, by a network and by template matching (E10 of the paper).

    python benchmarks/bench_scan_speed.py [--model DIR] [--shape ROWS COLS] [--workers N]

A phantom is written as .hspy (8 x 8 points a chunk, gzip) and as .blo (8 bits, not compressed).
Timed is all from `Scan.open` to the .ang file, once warm: files lie in the system's cache. Beside
it stands each part by itself: reading, indexing patterns that are in memory, writing. The next
patterns are read while others are indexed, so that the whole may take less than its parts.
Without --model the network is untrained, which is as fast.
"""

import argparse
import os
import tempfile
import warnings
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import torch
from common import RESULTS, defaults, shortest_s, write_results
from rich.console import Console
from rich.table import Table

from zoneaxis.cluster import local_cluster
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.models.indexer import NetworkIndexer, create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.scans.indexing import Indexer, blocks, index_scan
from zoneaxis.scans.phantom import Phantom, write_phantom
from zoneaxis.scans.scan import Scan

PUBLISHED = {"networks, GPU (paper: more than)": 333.0, "ASTAR (paper)": 6.2}
CRYSTAL, OPTICS = "LiNiO2", Optics(k_max_inv_angstrom=1.55)
SIMULATED_TO_INV_ANGSTROM = 1.9
NETWORK, DIRECTIONS_DEG, BINS = "zoneaxis_polar_small", 2.0, 72
BATCH_SIZE = 256
LARGEST_COUNT = 255  # of a blockfile
PARTS = ("reading_s", "indexing_s", "writing_s", "file_to_map_s", "patterns_per_s")


def main() -> None:
    arguments = parse()
    phantom, rows = Phantom(shape=tuple(arguments.shape)), []
    cluster = local_cluster(arguments.workers) if arguments.workers else nullcontext()
    with tempfile.TemporaryDirectory() as scratch, cluster as address:
        files = scans(Path(scratch), phantom)
        for method, indexer in indexers(arguments.model).items():
            for file in files:
                figures = timed(indexer, file, address, arguments.repeats)
                rows.append({"method": method, "format": file.suffix, **figures})
                print(rows[-1], flush=True)
    Console(width=110).print(table(rows))
    settings = {
        "phantom": asdict(phantom),
        "workers": arguments.workers,
        "repeats": arguments.repeats,
        "network": arguments.model.name if arguments.model else f"{NETWORK}, untrained",
        "network_directions_deg": None if arguments.model else DIRECTIONS_DEG,
        "templates": {"optics": OPTICS.to_dict(), **defaults(TemplateIndexer)},
        "batch_size": BATCH_SIZE,
        "load_average": round(os.getloadavg()[0], 1),  # rates suffer above the threads
        "published_patterns_per_s": PUBLISHED,
    }
    write_results(arguments.json, settings, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint to index with")
    parser.add_argument("--shape", type=int, nargs=2, default=(96, 128), metavar=("ROWS", "COLS"))
    parser.add_argument("--threads", type=int, help="of torch; default: as many as cores")
    parser.add_argument("--workers", type=int, help="index in so many processes, by Dask")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULTS / "scan_speed.json")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return arguments


def scans(folder: Path, phantom: Phantom) -> list[Path]:
    """Write the phantom in both formats and return the files."""
    from rsciio.blockfile import file_writer

    optics = replace(OPTICS, k_max_inv_angstrom=SIMULATED_TO_INV_ANGSTROM)
    hspy, _ = write_phantom(folder / "scan.hspy", load_crystal(CRYSTAL), optics, phantom)
    counts = opened(hspy).patterns.compute()
    axes = [
        {"name": name, "size": size, "scale": 1.0, "offset": 0.0, "units": "nm"}
        | {"navigate": name in "yx"}
        for name, size in zip(("y", "x", "dy", "dx"), counts.shape, strict=True)
    ]
    signal = {
        "data": np.minimum(counts, LARGEST_COUNT).astype(np.uint8),
        "axes": axes,
        "metadata": {"General": {"title": ""}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
        "attributes": {"_lazy": False},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the pixel size, which is given on opening
        file_writer(str(folder / "scan.blo"), signal, show_progressbar=False)
    return [hspy, folder / "scan.blo"]


def opened(file: Path) -> Scan:
    """Open a scan; a blockfile knows the pixel size on the camera only."""
    pixel, step_nm = Phantom.inv_angstrom_per_pixel, Phantom.step_nm
    return Scan.open(file, inv_angstrom_per_pixel=pixel, step_nm=step_nm)


def indexers(model: Path | None) -> dict[str, Indexer]:
    """Return a network, read or untrained, and template matching."""
    crystal = load_crystal(CRYSTAL)
    if model is not None:
        network = NetworkIndexer.from_pretrained(model)
    else:
        labels = OrientationLabels.equispaced(crystal, DIRECTIONS_DEG, BINS)
        network = create_indexer(NETWORK, labels, preset("demo", crystal))
    return {"network": network, "templates": TemplateIndexer(crystal, OPTICS)}


def timed(indexer: Indexer, file: Path, address: str | None, repeats: int) -> dict[str, Any]:
    """Return seconds of each part and of the whole, and patterns a second."""
    scan, out = opened(file), file.with_suffix(".ang")
    in_memory = da.from_array(scan.patterns.compute(), chunks=scan.patterns.chunks, name=False)
    held = replace(scan, patterns=in_memory, history=())
    found = index_scan(indexer, held, batch_size=BATCH_SIZE)

    def whole() -> None:
        index_scan(indexer, opened(file), batch_size=BATCH_SIZE, scheduler=address).save(out)

    runs = (
        lambda: [scan.read(*at) for at in blocks(scan, BATCH_SIZE)],
        lambda: index_scan(indexer, held, batch_size=BATCH_SIZE),
        lambda: found.save(out),
        whole,
    )
    seconds = [round(shortest_s(run, repeats), 3) for run in runs]
    points = scan.shape[0] * scan.shape[1]
    rate = round(points / seconds[-1], 1)
    return {"points": points, **dict(zip(PARTS, [*seconds, rate], strict=True))}


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the figures beside the published ones."""
    drawn = Table("method", "file", *(name.replace("_", " ") for name in PARTS))
    for row in rows:
        drawn.add_row(row["method"], row["format"], *(f"{row[part]:g}" for part in PARTS))
    for name, rate in PUBLISHED.items():
        drawn.add_row(name, *[""] * len(PARTS), f"{rate:g}")
    return drawn


if __name__ == "__main__":
    main()
