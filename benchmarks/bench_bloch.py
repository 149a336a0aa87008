"""Speed of the Bloch-wave engine and the renderer: beside py4DSTEM, and against its own size.

Run it on a quiet machine; ratios come from times taken in turns within the run.
    python benchmarks/bench_bloch.py [--threads 2] [--device cuda]
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, py4dstem_crystal, write_results

from zoneaxis.diffraction.beams import BeamSelection, select_beams
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.disks import Disks, disk_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.structure_factors import structure_factors

VOLTAGE_KV = 300.0
ZONE_DEG = np.array([12.0, 33.0])
SERIES_NM = np.linspace(5, 100, 20)
APERTURE_PX = 4  # radius of the direct disk in py4DSTEM's pixels: 45 tilts
LITTLE, LARGE = 2.6, 3.6  # k_max in 1/Angstrom: about 80 and 150 beams
REPEATS = 5


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    crystal = load_crystal("LiNiO2")
    device = arguments.device
    # First: the largest memory of the process is still its own.
    rows = [whole_set(crystal, device)]
    rows += rendering(crystal, device)
    rows += costs(crystal, device)
    for k_max in (LITTLE, LARGE):
        for method in ("WK-CP", "WK"):
            rows += beside_py4dstem(crystal, k_max, method, device)
    settings = {"device": device, "repeats": REPEATS, "selection": vars(BeamSelection())}
    write_results(arguments.json, settings, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "bloch.json")
    return parser.parse_args()


def timed(work: Callable[[], Any], device: str = "cpu") -> float:
    """Return seconds, all kernels finished."""
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def median_time(work: Callable[[], Any], device: str) -> float:
    work()
    return statistics.median(timed(work, device) for _ in range(REPEATS))


def report(**values: Any) -> dict[str, Any]:
    row = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}
    print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    return row


def whole_set(crystal: Crystal, device: str) -> dict[str, Any]:
    """The directions of the paper's third data set, disks and all in memory at once."""
    directions = sample_directions(crystal, 2.0)
    optics = Optics(VOLTAGE_KV, 1.5, 0.0, 1.5)
    thicknesses = np.arange(20.0, 101.0, 20.0)
    disks = None

    def work() -> None:
        nonlocal disks
        disks = bloch_disks(crystal, optics, directions, thicknesses, device=device)

    seconds = timed(work, device)
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1024 if sys.platform != "darwin" else 1
    )
    return report(
        what="paper's third set",
        directions=len(directions),
        thicknesses=len(thicknesses),
        tilts=len(disks.tilts),
        most_beams=disks.hkl.shape[1],
        seconds=seconds,
        patterns_per_s=len(directions) * len(thicknesses) / seconds,
        peak_gigabytes=peak / 1e9,
    )


def rendering(crystal: Crystal, device: str) -> list[dict[str, Any]]:
    """Patterns of 256 x 256 from stored disks of random directions."""
    rows = []
    rng = np.random.default_rng(0)
    directions = np.stack([np.rad2deg(np.arccos(rng.random(128))), 120 * rng.random(128)], 1)
    phi1 = torch.as_tensor(360 * rng.random(128))
    for n_thicknesses in (1, 5):
        thicknesses = np.linspace(20, 100, n_thicknesses)
        disks = bloch_disks(crystal, Optics(), directions, thicknesses, device=device)
        seconds = median_time(lambda d=disks: render(d, 256, 0.0125, phi1), device)
        rows.append(
            report(
                what="rendering, 256 x 256",
                thicknesses=n_thicknesses,
                radius_px=disks.radius_inv_angstrom / 0.0125,
                patterns_per_s=len(directions) * n_thicknesses / seconds,
            )
        )
    return rows


def costs(crystal: Crystal, device: str) -> list[dict[str, Any]]:
    """Time per direction, one setting changed at a time."""
    base = {"k_max": LITTLE, "rings": 2, "thicknesses": 20, "thickest_nm": 100.0, "directions": 16}
    ladders = {
        "k_max": (1.5, 2.1, 2.6, 3.6, 4.5),
        "rings": (0, 1, 2, 3, 4),
        "thicknesses": (1, 5, 20, 80),
        "thickest_nm": (12.5, 25.0, 50.0, 100.0, 200.0),
        "directions": (1, 4, 16, 64, 256),
    }
    rows = []
    for varied, values in ladders.items():
        for value in values:
            s = base | {varied: value}
            optics = Optics(VOLTAGE_KV, 1.5, 0.0, s["k_max"])
            factors = structure_factors(crystal, VOLTAGE_KV, 2 * s["k_max"])
            directions = np.repeat(ZONE_DEG[None], s["directions"], axis=0)
            thicknesses = np.linspace(0, s["thickest_nm"], s["thicknesses"] + 1)[1:]
            tilts = disk_tilts(s["rings"])

            def work(o=optics, d=directions, t=thicknesses, w=tilts, f=factors) -> Disks:
                return bloch_disks(crystal, o, d, t, tilts=w, factors=f, device=device)

            rows.append(
                report(
                    what=f"cost against {varied}",
                    **s,
                    tilts=len(tilts),
                    beams=work().hkl.shape[1],
                    ms_per_direction=1e3 * median_time(work, device) / s["directions"],
                )
            )
    return rows


def beside_py4dstem(crystal: Crystal, k_max: float, method: str, device: str) -> list[dict]:
    """The same beams, 45 tilts and 20 thicknesses by `generate_CBED` and by ours."""
    from emdfile import PointList
    from threadpoolctl import threadpool_limits

    optics = Optics(VOLTAGE_KV, 1.5, 0.0, k_max)
    factors = structure_factors(crystal, VOLTAGE_KV, 2 * k_max, method)
    theirs = py4dstem_crystal(crystal, method, VOLTAGE_KV, 2 * k_max)
    beams = select_beams(factors, optics, ZONE_DEG[None], BeamSelection())
    hkl, g = beams.hkl[0].numpy(), beams.g_inv_angstrom[0].numpy()
    columns = {"qx": g[:, 0], "qy": -g[:, 1], "intensity": 0, "h": hkl[:, 0], "k": hkl[:, 1]}
    columns |= {"l": hkl[:, 2]}
    points = np.zeros(len(hkl), dtype=[(name, float) for name in columns])
    for name, values in columns.items():
        points[name] = values
    turn = matrices_from_euler(np.array([0.0, *ZONE_DEG]))
    zone = (turn @ np.diag([1.0, -1.0, -1.0]))[:, 2]  # its beam runs along -z
    span = np.arange(-APERTURE_PX, APERTURE_PX + 1)
    pixels = np.stack(np.meshgrid(span, span), -1).reshape(-1, 2)
    tilts = torch.as_tensor(pixels[np.hypot(*pixels.T) < APERTURE_PX] / APERTURE_PX)

    def by_py4dstem() -> None:
        theirs.generate_CBED(
            PointList(points),
            list(10 * SERIES_NM),
            optics.convergence_mrad,
            optics.disk_radius_inv_angstrom / APERTURE_PX,
            zone_axis_cartesian=zone,
            progress_bar=False,
        )

    def by_us(directions: int) -> None:
        zones = np.repeat(ZONE_DEG[None], directions, axis=0)
        bloch_disks(
            crystal, optics, zones, SERIES_NM, tilts=tilts, factors=factors, device=device
        )  # fmt: skip

    def by_us_on_one_thread() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        by_us(16)
        torch.set_num_threads(threads)

    def by_py4dstem_on_one_thread() -> None:
        with threadpool_limits(1):
            by_py4dstem()

    runs = {
        "theirs": (by_py4dstem, 1),
        "theirs, one thread": (by_py4dstem_on_one_thread, 1),
        "ours, one direction": (lambda: by_us(1), 1),
        "ours, 16 directions": (lambda: by_us(16), 16),
        "ours, 16 directions, one thread": (by_us_on_one_thread, 16),
    }
    times = {name: [] for name in runs}
    for _ in range(1 + REPEATS):
        for name, (work, directions) in runs.items():
            times[name].append(timed(work, device) / directions)
    seconds = {name: statistics.median(values[1:]) for name, values in times.items()}
    return [
        report(
            what="beside py4DSTEM",
            method=method,
            beams=len(hkl),
            tilts=len(tilts),
            thicknesses=len(SERIES_NM),
            run=name,
            ms_per_direction=1e3 * value,
            faster_than_theirs=seconds["theirs"] / value,
            faster_than_theirs_on_one_thread=seconds["theirs, one thread"] / value,
        )
        for name, value in seconds.items()
    ]


if __name__ == "__main__":
    main()
