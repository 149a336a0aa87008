"""How long a map takes to write and to read in each format, beside orix on the same files.

python benchmarks/bench_map_files.py
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import RESULTS, shortest_s, write_results
from orix import io

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.scans.orientation_map import SUFFIXES, OrientationMap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--json", type=Path, default=RESULTS / "map_files.json")
    arguments = parser.parse_args()
    map = random_map(arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        rows = [timed(map, Path(folder) / f"map{suffix}") for suffix in SUFFIXES]
    for row in rows:
        print(row)
    write_results(arguments.json, {"rows and columns": arguments.size}, rows)


def random_map(size: int) -> OrientationMap:
    rng = np.random.default_rng(0)
    shape = size, size
    return OrientationMap.of_crystal(
        crystal=load_crystal("LiNiO2"),
        euler_deg=rng.uniform(0, 180, (*shape, 1, 3)),
        score=rng.uniform(size=(*shape, 1)).astype(np.float32),
        reliability=rng.uniform(size=shape).astype(np.float32),
        indexed=rng.uniform(size=shape) > 0.1,
        step_nm=1.0,
    )


def timed(map: OrientationMap, path: Path) -> dict:
    orix_options = {"autogen_names": False} if path.suffix == ".ang" else {}  # else it prints
    return {
        "format": path.suffix,
        "write_s": round(shortest_s(lambda: map.save(path), 2), 2),
        "read_s": round(shortest_s(lambda: OrientationMap.load(path), 2), 2),
        "orix_read_s": round(shortest_s(lambda: io.load(str(path), **orix_options), 2), 2),
        "size_mb": round(path.stat().st_size / 1e6, 1),
    }


if __name__ == "__main__":
    main()
