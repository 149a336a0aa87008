"""What the benchmarks share: where data and results lie, and what a result must say of itself."""

import contextlib
import inspect
import io
import json
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoneaxis
from zoneaxis.diffraction.crystal import Crystal

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"


def write_results(path: Path, settings: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write rows with the settings and the machine behind them as JSON.

    Args:
        path: the file; its folder is made.
        settings: whatever changes the figures, indexer settings included.
        rows: the figures.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {**provenance(), "settings": settings, "rows": rows}
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Figures in {path}")


def provenance() -> dict[str, Any]:
    """Return version, commit, threads and processor; the commit ends in -dirty after edits."""
    return {
        "zoneaxis": zoneaxis.__version__,
        "commit": _commit(),
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def defaults(function: Callable) -> dict[str, Any]:
    """Return the default arguments of a function or class, the settings a benchmark runs with."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def shortest_s(run: Callable[[], object], repeats: int) -> float:
    """Return the shortest time of several calls in s; one more, for warming up, is left out."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _commit() -> str:
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def py4dstem_crystal(crystal: Crystal, method: str, voltage_kv: float, k_max: float) -> Any:
    """Return the crystal in py4DSTEM, with its own structure factors up to k_max in 1/Angstrom."""
    from py4DSTEM.process.diffraction import Crystal as TheirCrystal

    b = dict(zip(crystal.numbers.tolist(), crystal.b_iso_angstrom2.tolist(), strict=True))
    theirs = TheirCrystal(crystal.positions, crystal.numbers, crystal.cell)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.calculate_dynamical_structure_factors(
            voltage_kv * 1e3,
            method,
            k_max=k_max,
            thermal_sigma={z: np.sqrt(value / (8 * np.pi**2)) for z, value in b.items()},
            g_vec_precision=9,
        )
    return theirs
