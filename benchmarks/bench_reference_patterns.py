"""Patterns that nobody here simulated: what template matching says of them, and what others say.

    python benchmarks/bench_reference_patterns.py [--data DIR] [--json OUT]

- Silver, five precession patterns: the misorientations between the grains against pyxem 0.19's,
  which no choice of frames changes. The file does not name its voltage: 200 kV is taken, and the
  same at 300 kV says how little it matters.
- Austenite, 2 x 2 patterns: the angle to ASTAR's answer. ASTAR's frame is not known: the best of
  the eight operations of a square (`zoneaxis.evaluation.frames.SQUARE`) is given by name, with the
  next best beside it. By chance one of eight comes within 6 degrees once in eighty times.

Figures go to benchmarks/results/reference_patterns.json; the layered oxide has a file of its own,
bench_layered_oxide.py.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, SHARED_DATA, defaults, markdown, write_results

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler, misorientation_deg
from zoneaxis.evaluation.frames import SQUARE
from zoneaxis.evaluation.template_matching import TemplateIndexer

FACE_CENTERED = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
B_ISO_ANGSTROM2 = 0.6
SILVER, AUSTENITE = ("Ag", 47, 4.08), ("austenite", 26, 3.59)
# Disks of 2 pixels of 0.0267 1/Angstrom, and of 3 of 0.0126, in radius.
SILVER_OPTICS = Optics(
    voltage_kv=200, convergence_mrad=1.25, precession_deg=1.0, k_max_inv_angstrom=1.4
)
AUSTENITE_OPTICS = Optics(voltage_kv=200, convergence_mrad=0.9, k_max_inv_angstrom=1.3)
PYXEM_SILVER_EULER_DEG = [
    (201, 45, 90),
    (272, 45, 90),
    (330, 19.4228, 135),
    (240, 45, 90),
    (311, 45, 90),
]
ASTAR_AUSTENITE_EULER_DEG = (83.32, 137.41, 252.76)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "third_party")
    parser.add_argument("--json", type=Path, default=RESULTS / "reference_patterns.json")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.data.is_dir():
        print(f"{arguments.data} is absent: name the folder of silver and austenite by --data.")
        return
    grains, silver = silver_misorientations(arguments.data)
    *_, other_voltage = silver_misorientations(arguments.data, voltage_kv=300)
    silver = [
        row | {"found_at_300_kv_deg": other["found_deg"]}
        for row, other in zip(silver, other_voltage, strict=True)
    ]
    astar = austenite_frames(arguments.data)
    for rows in (grains, silver, astar):
        print(markdown(rows), end="\n\n")
    settings = {
        "silver": SILVER_OPTICS.to_dict(),
        "austenite": AUSTENITE_OPTICS.to_dict(),
        "templates": defaults(TemplateIndexer),
    }
    named = (("silver", grains), ("silver pair", silver), ("austenite", astar))
    rows = [{"data": name} | row for name, rows in named for row in rows]
    write_results(arguments.json, settings, rows)


def silver_misorientations(
    data: Path, voltage_kv: float = SILVER_OPTICS.voltage_kv
) -> tuple[list[dict], list[dict]]:
    """Return a row for each silver pattern, and for each two of them their misorientation."""
    patterns, pixel = read(data / "silver/SPED_Ag_labels_sum_signal.hspy")
    crystal = face_centered(*SILVER)
    optics = Optics(**{**SILVER_OPTICS.to_dict(), "voltage_kv": voltage_kv})
    found = TemplateIndexer(crystal, optics).index(patterns, pixel)
    ours, theirs = (
        matrices_from_euler(euler) for euler in (found.euler_deg[:, 0], PYXEM_SILVER_EULER_DEG)
    )
    pairs = []
    for i, j in combinations(range(len(patterns)), 2):
        between = [
            float(misorientation_deg(g[i], g[j], crystal.proper_operators)) for g in (ours, theirs)
        ]
        row = {"pair": f"{i}{j}", "found_deg": between[0], "published_deg": between[1]}
        row["difference_deg"] = between[0] - between[1]
        pairs.append({k: v if k == "pair" else round(v, 2) for k, v in row.items()})
    return described(found), pairs


def austenite_frames(data: Path) -> list[dict]:
    """Return a row for each austenite pattern: the angle to ASTAR's answer, in which frame."""
    patterns, pixel = read(data / "austenite/subset_data.hspy")
    crystal = face_centered(*AUSTENITE)
    found = TemplateIndexer(crystal, AUSTENITE_OPTICS).index(patterns, pixel)
    ours, astar = (
        matrices_from_euler(euler) for euler in (found.euler_deg[:, 0], ASTAR_AUSTENITE_EULER_DEG)
    )
    rows = []
    for row, matrix in zip(described(found), ours, strict=True):
        angle = {
            name: float(misorientation_deg(matrix @ turn.T, astar, crystal.proper_operators))
            for name, turn in SQUARE.items()
        }
        best, second, *_ = sorted(angle, key=angle.get)
        row |= {"to_astar_deg": round(angle[best], 2), "frame": best}
        rows.append(row | {"next_deg": round(angle[second], 2), "next_frame": second})
    return rows


def described(found) -> list[dict]:
    """Return what an indexer says of each pattern."""
    return [
        {
            "pattern": i,
            "euler_deg": found.euler_deg[i, 0].round(2).tolist(),
            "q": round(float(found.score[i, 0]), 3),
            "reliability": round(float(found.reliability[i]), 3),
            "indexed": bool(found.indexed[i]),
        }
        for i in range(len(found.indexed))
    ]


def read(path: Path) -> tuple[np.ndarray, float]:
    """Return the patterns of a .hspy file, float32, shape (n, height, width), and their pixel."""
    from rsciio.hspy import file_reader

    signal = file_reader(path)[0]
    patterns = signal["data"].astype(np.float32)
    return patterns.reshape(-1, *patterns.shape[-2:]), float(signal["axes"][-1]["scale"])


def face_centered(name: str, number: int, a_angstrom: float) -> Crystal:
    """Return an element with the structure of copper."""
    n = len(FACE_CENTERED)
    return Crystal.from_dict(
        {
            "name": name,
            "cell": (a_angstrom, a_angstrom, a_angstrom, 90, 90, 90),
            "space_group": 225,
            "numbers": [number] * n,
            "positions": FACE_CENTERED,
            "occupancies": [1.0] * n,
            "b_iso_angstrom2": [B_ISO_ANGSTROM2] * n,
        }
    )


if __name__ == "__main__":
    main()
