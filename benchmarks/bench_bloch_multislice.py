"""Disk intensities of the Bloch waves beside those of independent multislice patterns.

python benchmarks/bench_bloch_multislice.py
"""

import argparse
from pathlib import Path

import numpy as np
from common import RESULTS, SHARED_DATA, write_results

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import METHODS, StructureFactors, structure_factors
from zoneaxis.evaluation.disk_intensities import disk_intensities

K_MAX, LARGEST_Q = 2.0, 1.5  # 1/Angstrom; beams farther out only act on those compared
GOAL = 0.98
OUTLINE_PX = 0.6  # added to the radius, for disks that stand between pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "multislice")
    parser.add_argument("--json", type=Path, default=RESULTS / "bloch_multislice.json")
    arguments = parser.parse_args()
    crystal = load_crystal("LiNiO2")
    rows = []
    for name in ("plain", "precession"):
        with np.load(arguments.data / f"{name}.npz") as data:
            patterns = {key: data[key] for key in data}
        for method in METHODS:
            factors = structure_factors(crystal, 300.0, 2 * K_MAX, method)
            found = [compare(crystal, factors, patterns, i) for i in range(len(patterns["euler"]))]
            rows.append({"set": name, "method": method, **summary(found)})
            print({k: v for k, v in rows[-1].items() if k != "short"}, flush=True)
            for short in rows[-1]["short"]:
                print("   ", short)
    write_results(arguments.json, {"k_max": K_MAX, "largest_q": LARGEST_Q}, rows)


def compare(crystal: Crystal, factors: StructureFactors, patterns: dict, i: int) -> dict:
    """Return the correlation of one pattern's scattered disks with ours, and what explains it."""
    n = len(patterns["euler"])
    each = {name: np.broadcast_to(v, n) for name, v in patterns.items() if v.ndim < 2}
    convergence, precession = float(each["alpha_mrad"][i]), float(each["precession_deg"][i])
    optics = Optics(300.0, convergence, precession, K_MAX)
    pixel = float(each["inv_angstrom_per_pixel"][i])
    thickness = float(each["thickness_nm"][i])
    phi1, *direction = patterns["euler"][i].astype(float)
    measured = patterns["pattern"][i].astype(float)
    disks = bloch_disks(crystal, optics, [direction], [thickness], factors=factors)
    size = len(measured)
    ours = render(disks, size, pixel, phi1)[0, 0].double().numpy()
    turn = matrices_from_euler(np.array([phi1, 0.0, 0.0]))[:2, :2]
    q = disks.q_inv_angstrom[0].double().numpy() @ turn
    radius = optics.disk_radius_inv_angstrom / pixel + OUTLINE_PX
    expected, found = (
        disk_intensities(image, q / pixel + size // 2, radius) for image in (ours, measured)
    )
    used = np.isfinite(found) & (np.linalg.norm(q, axis=1) <= LARGEST_Q)
    direct = float(found[0] / expected[0])
    used[0] = False
    return {
        "pattern": i,
        "correlation": round(float(np.corrcoef(found[used], expected[used])[0, 1]), 4),
        "thickness_nm": round(thickness, 1),
        "disks": int(used.sum()),
        "scattered": round(float(found[used].sum()), 5),
        "brightest": round(float(found[used].max()), 5),
        "direct_multislice_over_ours": round(direct, 3),
        "scattered_multislice_over_ours": round(float(found[used].sum() / expected[used].sum()), 3),
    }


def summary(found: list[dict]) -> dict:
    def median(name: str) -> float:
        return round(float(np.median([row[name] for row in found])), 4)

    names = ("correlation", "direct_multislice_over_ours", "scattered_multislice_over_ours")
    short = [row for row in found if row["correlation"] < GOAL]
    return {
        "patterns": len(found),
        **{f"median_{name}": median(name) for name in names},
        "short": sorted(short, key=lambda row: row["correlation"]),
    }


if __name__ == "__main__":
    main()
