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
from scipy.ndimage import affine_transform

import zoneaxis
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import pseudo_symmetric_deg

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"
LIMITS_DEG = (1, 2, 5, 10)


def write_results(
    path: Path, settings: dict[str, Any], rows: list[dict[str, Any]], *, say: bool = True
) -> None:
    """Write rows with the settings and the machine behind them as JSON.

    Args:
        path: the file; its folder is made.
        settings: whatever changes the figures, indexer settings included.
        rows: the figures.
        say: print where they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {**provenance(), "settings": settings, "rows": rows}
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if say:
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


def multislice_conditions(patterns: np.ndarray, counts: float, seed: int) -> dict[str, np.ndarray]:
    """Return the multislice patterns (a) as calculated, (b) noisy, (c) noisy and displaced.

    (b) has Poisson noise at the given counts, (c) moreover a camera length off by up to 10 % and a
    center off by up to 3 of 256 pixels; both hold counts, float32.

    Args:
        patterns: fractions of the beam, shape (n, size, size).
        counts: electrons per pattern.
        seed: of noise and displacements.
    """
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(patterns * counts)
    displaced = rng.poisson(np.stack([_displace(p, rng) for p in patterns]) * counts)
    return {"a": patterns, "b": noisy.astype(np.float32), "c": displaced.astype(np.float32)}


def _displace(pattern: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Magnify by up to 10 % about the beam, then shift by up to 3 of 256 pixels."""
    scale = 1 + rng.uniform(-0.1, 0.1)
    middle = len(pattern) // 2
    shift = rng.uniform(-3, 3, 2) * len(pattern) / 256
    offset = middle - (middle + shift) / scale
    return affine_transform(pattern, np.eye(2) / scale, offset, order=1).clip(0) / scale**2


def accuracy(
    found: np.ndarray, truth: np.ndarray, indexed: np.ndarray, crystal: Crystal
) -> dict[str, float]:
    """Return the median error and the shares within limits; modulo a false friend within 5.

    Args:
        found: orientation matrices, shape (n, 3, 3).
        truth: orientation matrices, shape (n, 3, 3).
        indexed: where `found` holds an answer, shape (n,); elsewhere the error counts as 180.
        crystal: whose symmetry makes orientations equal.
    """
    errors = pseudo_symmetric_deg(found, truth, crystal)
    errors = {friend: np.where(indexed, e, 180.0) for friend, e in errors.items()}
    row = {"median_deg": round(float(np.median(errors["raw"])), 3)}
    row |= {f"within_{limit}": _share(errors["raw"], limit) for limit in LIMITS_DEG}
    return row | {f"{friend}_5": _share(errors[friend], 5) for friend in ("beam_180", "c_60")}


def _share(values: np.ndarray, limit: float) -> float:
    return round(float((values <= limit).mean()), 3)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return rows of equal keys as a Markdown table; None is an empty cell."""
    values = [["" if v is None else str(v) for v in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *values]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
