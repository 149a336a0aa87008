"""How much memory indexing a scan far larger than the memory takes, and how long reading it does.

python benchmarks/bench_memory.py [--gigabytes 20] [--formats npy blo hspy] [--folder DIR]

The files are sparse: of each pattern one pixel is written (in .hspy of one pattern a chunk), the
rest are holes that read as zeros. `index_scan` runs over them in a process of its own, with an
indexer that looks at every pattern and does nothing else; the memory is that process's peak.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
from common import RESULTS, write_results

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.scans.indexing import Indexed, index_scan
from zoneaxis.scans.integrity import FRAME_HEADER, FRAME_MARK
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.writing import write_scan

SIZE, PIXEL, STEP_NM = 256, 0.014, 5.0
BLO_START = 0x1000
CHUNK = 8


class Counter:
    """An indexer that looks at every pixel and finds the same orientation everywhere."""

    def __init__(self) -> None:
        self.crystals = (load_crystal("LiNiO2"),)
        self.seen = 0

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Return one solution for each pattern, its score the sum of the counts."""
        n = len(patterns)
        self.seen += n
        total = patterns.sum(axis=(1, 2))
        return Indexed(np.zeros((n, 1, 3)), total[:, None], total, total > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "memory.json")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--formats", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--folder", type=Path, help="where the sparse files go for a while")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    for name in arguments.formats:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            path = Path(folder) / f"scan.{name}"
            write_sparse(path, arguments.gigabytes)
            command = [sys.executable, __file__, "--measure", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"format": name, **json.loads(done.stdout.splitlines()[-1])})
            print(rows[-1], flush=True)
    write_results(arguments.json, {"size": SIZE}, rows)


def write_sparse(path: Path, gigabytes: float) -> None:
    """Write a scan of about so many GB (10^9 bytes of patterns) that takes little of the disk."""
    pixel_bytes = 1 if path.suffix == ".blo" else 2
    side = max(2, round((gigabytes * 1e9 / (pixel_bytes * SIZE**2)) ** 0.5))
    WRITERS[path.suffix[1:]](path, side)


def measure(path: Path) -> dict[str, float]:
    """Index the scan and return size, time and the most memory that this process ever had."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # chunks that are holes, patterns that are empty
        indexer, start = Counter(), time.perf_counter()
        scan = Scan.open(path, inv_angstrom_per_pixel=PIXEL, step_nm=STEP_NM)
        before = peak_gigabytes()
        found = index_scan(indexer, scan)
    seconds = time.perf_counter() - start
    return {
        "patterns": found.phase.size,
        "given_to_the_indexer": indexer.seen,
        "gigabytes": round(scan.patterns.nbytes / 1e9, 2),
        "seconds": round(seconds, 1),
        "patterns_per_s": round(found.phase.size / seconds),
        "peak_gigabytes": peak_gigabytes(),
        "peak_gigabytes_before": before,
    }


def peak_gigabytes() -> float:
    """Return the most memory that this process ever had, file pages that it maps included."""
    status = Path("/proc/self/status").read_text()
    return round(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e9, 3)


def _write_npy(path: Path, side: int) -> None:
    shape = (side, side, SIZE, SIZE)
    data = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=shape)
    data[:, :, SIZE // 2, SIZE // 2] = 1


def _write_blo(path: Path, side: int) -> None:
    from rsciio.blockfile._api import get_default_header

    header = get_default_header()
    header["NX"] = header["NY"] = side
    header["DP_SZ"] = SIZE
    header["SX"] = header["SY"] = STEP_NM
    start = BLO_START + side**2
    header["Data_offset_2"] = start
    frame = SIZE**2 + FRAME_HEADER
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.truncate(start + side**2 * frame)
        for i in range(side**2):
            file.seek(start + i * frame)
            file.write(FRAME_MARK + i.to_bytes(4, "little") + b"\1")


def _write_hspy(path: Path, side: int) -> None:
    small = np.ones((CHUNK, CHUNK, SIZE, SIZE), np.uint16)
    write_scan(path, small, step_nm=STEP_NM, inv_angstrom_per_pixel=PIXEL, title="sparse")
    with h5py.File(path, "r+") as file:
        (experiment,) = file["Experiments"].values()
        del experiment["data"]
        shape = (side, side, SIZE, SIZE)
        chunks = (CHUNK, CHUNK, SIZE, SIZE)
        data = experiment.create_dataset(
            "data", shape, np.uint16, chunks=chunks, compression="gzip"
        )
        data[::CHUNK, ::CHUNK, SIZE // 2, SIZE // 2] = 1
        for axis in ("axis-0", "axis-1"):
            experiment[axis].attrs["size"] = side


WRITERS = {"npy": _write_npy, "blo": _write_blo, "hspy": _write_hspy}


if __name__ == "__main__":
    main()
