"""How far default beams and tilts are from more of them: what the README's limits come from.

python benchmarks/bench_convergence.py
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
from common import RESULTS, write_results

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.convergence import beam_convergence
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.disks import disk_tilts, fit_degree, fit_matrix, monomials
from zoneaxis.diffraction.optics import Optics

K_MAX_INV_ANGSTROM, ERRORS_INV_ANGSTROM = (1.5, 2.0, 2.5, 3.0), (0.05, 0.1, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "convergence.json")
    arguments = parser.parse_args()
    crystal = load_crystal("LiNiO2")
    rng = np.random.default_rng(1)
    random = np.stack([np.rad2deg(np.arccos(rng.random(30))), 60 * rng.random(30)], axis=1)
    directions = np.concatenate([random, [[0, 0], [90, 60], [90, 0]]])
    rows = beams(crystal, directions) + tilts(crystal, directions)
    for row in rows:
        print(row)
    write_results(arguments.json, {"directions": len(directions), **Optics().to_dict()}, rows)


def beams(crystal: Crystal, directions: np.ndarray) -> list[dict]:
    found = beam_convergence(
        crystal, Optics(), directions, [20.0, 50.0, 80.0],
        k_max_inv_angstrom=K_MAX_INV_ANGSTROM,
        max_excitation_errors_inv_angstrom=ERRORS_INV_ANGSTROM,
    )  # fmt: skip
    return [
        {k: float(f"{v:.3g}") for k, v in asdict(row).items()} | {"what": "beams"} for row in found
    ]


def tilts(crystal: Crystal, directions: np.ndarray) -> list[dict]:
    """Root mean square of what the fitted polynomials miss, as a share of the disks'."""
    fine, rows = disk_tilts(8), []
    for thickness in (20.0, 50.0, 75.0, 100.0):
        exact = bloch_disks(crystal, Optics(), directions, [thickness], tilts=fine).intensity
        disks = bloch_disks(crystal, Optics(), directions, [thickness])
        terms = monomials(fine, fit_degree(disks.tilts))
        fitted = (disks.intensity @ fit_matrix(disks.tilts).T @ terms.T).clamp(min=0)
        missed = (fitted - exact).square().mean(dim=(1, 2, 3)) / exact.square().mean(dim=(1, 2, 3))
        median, worst = missed.sqrt().median(), missed.sqrt().max()
        row = {"thickness_nm": thickness, "tilts": len(disks.tilts)}
        row |= {"median": float(f"{median:.2g}"), "worst": float(f"{worst:.2g}")}
        rows.append(row | {"what": "tilts"})
    return rows


if __name__ == "__main__":
    main()
