"""The paper's five augmentations beside plain SciPy, where the time goes, and a whole stream.

OMP_NUM_THREADS=1 python benchmarks/bench_stream.py
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import RESULTS, write_results
from scipy import ndimage

from zoneaxis.dataset_builder.augmentation import CACHED_PIXELS, Augmentation
from zoneaxis.dataset_builder.build import build
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.dataset_builder.schema import FAINTEST, LEVELS
from zoneaxis.dataset_builder.stream import PatternStream
from zoneaxis.dataset_builder.transforms import Transform
from zoneaxis.diffraction import camera
from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.render import render

SIZE, PIXEL, BATCH, WORKERS = 256, 2 / 128, 64, 2
PAPER = Augmentation.paper()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "stream.json")
    parser.add_argument("--data", type=Path, help="a data set of 256 x 256; one is built if absent")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a DataLoader's worker has one, too
    crystal = load_crystal("LiNiO2")
    patterns, euler = simulated(crystal)
    rows = beside_scipy(crystal, patterns, euler, arguments.repeats)
    rows += steps(patterns, arguments.repeats)
    if arguments.data:
        rows += from_folder(arguments.data)
    else:
        with TemporaryDirectory() as folder:
            build(preset("random", crystal, resolution=64), Path(folder) / "data")
            rows += from_folder(Path(folder) / "data")
    for row in rows:
        print(row)
    write_results(arguments.json, {"size": SIZE, "batch": BATCH, "workers": WORKERS}, rows)


def simulated(crystal: Crystal) -> tuple[torch.Tensor, np.ndarray]:
    """Return patterns of random directions, and their Bunge angles."""
    rng = np.random.default_rng(0)
    directions = np.stack(
        [np.rad2deg(np.arccos(rng.random(BATCH))), 120 * rng.random(BATCH)], axis=1
    )
    disks = bloch_disks(crystal, Optics(k_max_inv_angstrom=2.0), directions, np.array([40.0]))
    return render(disks, SIZE, PIXEL)[:, 0].contiguous(), np.insert(directions, 0, 0.0, axis=1)


def beside_scipy(
    crystal: Crystal, patterns: torch.Tensor, euler: np.ndarray, repeats: int
) -> list[dict]:
    """Time plain SciPy, our augmentation, and our transform, which decodes the images as well."""
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    levels = (patterns.double() / FAINTEST).log1p() * (LEVELS / np.log1p(1 / FAINTEST))
    columns = {
        "image": levels.round().clamp(0, LEVELS).to(torch.uint16),
        **dict(zip(("phi1_deg", "Phi_deg", "phi2_deg"), euler.T, strict=True)),
        "thickness_nm": np.full(BATCH, 40.0),
        "direction_id": np.arange(BATCH),
    }
    transform, images = Transform(PAPER, crystal, PIXEL, 0.1), patterns.numpy()
    seconds = timed(
        {
            "SciPy": lambda: np.stack([plain(image, rng) for image in images]),
            "zoneaxis": lambda: PAPER(patterns, euler, PIXEL, crystal, generator),
            "zoneaxis, with decoding": lambda: transform(columns),
        },
        repeats,
    )
    return [
        {
            "what": "augmentation",
            "code": name,
            "patterns_per_s": round(BATCH / value),
            "ratio": round(seconds["SciPy"] / value, 1),
        }
        for name, value in seconds.items()
    ]


def plain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The paper's five on one pattern, as one would write them down; ranges as `PAPER`."""
    y, x = np.indices(image.shape) - SIZE // 2
    r = np.hypot(x, y)
    sigma = rng.uniform(*PAPER.bell_sigma_inv_angstrom) / PIXEL
    height = rng.uniform(*PAPER.bell_fraction) / (2 * np.pi * sigma**2)
    image = image + height * np.exp(-0.5 * (r / sigma) ** 2)
    if rng.random() < PAPER.rings_probability:
        share = rng.uniform(*PAPER.rings_fraction) / 2
        inner = rng.uniform(*PAPER.rings_inv_angstrom) / PIXEL
        for ring in (inner, 1.75 * inner):
            width = 0.15 * ring
            profile = np.exp(-0.5 * ((r - ring) / width) ** 2)
            image = image + share * profile / ((2 * np.pi) ** 1.5 * ring * width)
    scale = rng.uniform(*PAPER.scale)
    corner = rng.uniform(0, (SIZE - 1) * (1 - scale), 2)
    image = scale**2 * ndimage.affine_transform(image, [scale, scale], corner, order=1)
    image = ndimage.gaussian_filter(image, rng.uniform(*PAPER.point_spread_px), truncate=3)
    m = np.exp(rng.uniform(*np.log(PAPER.sensitivity)))
    return np.log(1 + (m - 1) * image / image.max()) / np.log(m)


def steps(patterns: torch.Tensor, repeats: int) -> list[dict]:
    """Time each step alone, on as many patterns as are augmented together."""
    part = patterns[: CACHED_PIXELS // SIZE**2]
    n = len(part)
    scale, spread = torch.linspace(0.8, 1, n), torch.linspace(0, 1.5, n)
    shift = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    radii = torch.tensor([25.0, 44.0])
    share = PAPER.rings_probability
    calls: dict[str, tuple[float, Callable]] = {
        "bell": (1.0, lambda: camera.diffuse_bell(part, 0.1, 60.0)),
        "rings, on 10 %": (share, lambda: camera.amorphous_rings(part, 0.1, radii, 0.15 * radii)),
        "crop and point spread": (
            1.0,
            lambda: camera.zoom_and_blur(part, SIZE, scale, shift, spread, 5),
        ),
        "logarithm": (1.0, lambda: camera.log_range(part, 1e5)),
    }
    seconds = timed({name: call for name, (_, call) in calls.items()}, repeats)
    return [
        {"what": "step", "step": name, "us_per_pattern": round(1e6 * seconds[name] * used / n, 1)}
        for name, (used, _) in calls.items()
    ]


def timed(calls: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Return the median time of each call in s, all of them in turn, so that load hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values[1:]) for name, values in seconds.items()}


def from_folder(folder: Path) -> list[dict]:
    """Time a stream from Parquet files to augmented batches through two workers."""
    from zoneaxis.dataset_builder.recipe import read_recipe

    transform = Transform.of_recipe(read_recipe(folder), PAPER)
    rows = []
    for name, augment in {"decoded only": None, "the paper's five": transform}.items():
        stream = PatternStream(folder, "train", augment, BATCH, epochs=4, drop_last=True)
        loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=WORKERS)
        batches: Iterator = iter(loader)
        for _ in range(2 * WORKERS):  # until the workers have started and their buffers are full
            next(batches)
        start = time.perf_counter()
        seen = sum(BATCH for _ in batches)
        rate = seen / (time.perf_counter() - start)
        rows.append({"what": "stream", "augmentation": name, "patterns": seen})
        rows[-1]["patterns_per_s"] = round(rate)
    return rows


if __name__ == "__main__":
    main()
