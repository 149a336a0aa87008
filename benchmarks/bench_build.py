"""A data set in full: built by processes, by a Dask cluster, verified and streamed.

python benchmarks/bench_build.py [--preset equispaced] [--keep FOLDER]
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from common import RESULTS, write_results
from torch.utils.data import DataLoader

from zoneaxis.dataset_builder.augmentation import Augmentation
from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.dataset_builder.transforms import Transform
from zoneaxis.dataset_builder.verify import verify

WORKERS, BATCH = 2, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="equispaced")
    parser.add_argument("--json", type=Path, default=RESULTS / "build.json")
    parser.add_argument("--keep", type=Path, help="where the first data set is to stay")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        one, two = Path(scratch) / "processes", Path(scratch) / "cluster"
        rows = [build("processes", one, "--preset", arguments.preset, "--workers", str(WORKERS))]
        rows.append(on_cluster(two, arguments.preset))
        assert read_manifest(one) == read_manifest(two), "the two builds differ"
        rows += [verified(one), streamed(one, None), streamed(one, Augmentation.paper())]
        if arguments.keep:
            shutil.move(one, arguments.keep)
    for row in rows:
        print(row)
    settings = {"preset": arguments.preset, "workers": WORKERS, "batch_size": BATCH}
    write_results(arguments.json, settings, rows)


def build(how: str, folder: Path, *options: str) -> dict[str, Any]:
    """Build in a process of its own, as a user would; return what it took and gave."""
    start = time.perf_counter()
    with PeakMemory() as memory:
        command = [sys.executable, "-m", "zoneaxis", "build", "--out", str(folder), *options]
        subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    files = read_manifest(folder).files
    row = {"what": f"build, {how}", "seconds": round(seconds, 1), "peak_gb": memory.gigabytes}
    for config in ("patterns", "disks", "classes"):
        of_config = [entry for name, entry in files.items() if name.startswith(config)]
        row[f"{config}_rows"] = sum(entry.rows for entry in of_config)
        row[f"{config}_mb"] = round(sum(entry.bytes for entry in of_config) / 1e6, 1)
    return {**row, "rows_per_second": round(row["patterns_rows"] / seconds), "files": len(files)}


def on_cluster(folder: Path, preset: str) -> dict[str, Any]:
    """Build on a Dask cluster of two worker processes on this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        return build("Dask", folder, "--preset", preset, "--scheduler", address)


def verified(folder: Path) -> dict[str, Any]:
    """Check every file."""
    start = time.perf_counter()
    found = verify(folder, rebuild=False)
    assert not found.bad
    seconds = round(time.perf_counter() - start, 1)
    gap = round(found.largest_gap_deg, 2)
    return {"what": "verify", "seconds": seconds, "files": found.files, "largest_gap_deg": gap}


def streamed(folder: Path, augmentation: Augmentation | None) -> dict[str, Any]:
    """Read one shuffled epoch through two workers, after a first batch that starts them."""
    transform = augmentation and Transform.of_recipe(read_recipe(folder), augmentation)
    stream = PatternStream(folder, "train", transform, BATCH)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=WORKERS))
    next(batches)
    start = time.perf_counter()
    name = "pattern" if augmentation else "image"
    count = sum(len(batch[name]) for batch in batches)
    rate = round(count / (time.perf_counter() - start))
    what = "stream, the paper's five augmentations" if augmentation else "stream, no augmentation"
    return {"what": what, "patterns": count, "patterns_per_second": rate}


class PeakMemory:
    """The largest sum, over this process's descendants, of the memory that each holds alone."""

    def __enter__(self) -> "PeakMemory":
        self.gigabytes = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.3):
            total = 0
            for process in psutil.Process(os.getpid()).children(recursive=True):
                try:
                    total += process.memory_full_info().uss
                except psutil.Error:  # it has just ended
                    continue
            self.gigabytes = max(self.gigabytes, round(total / 1e9, 2))


if __name__ == "__main__":
    main()
