"""The pictures in a data set's card: which directions, which patterns, which augmentations."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from orix.quaternion import Symmetry

from zoneaxis.cards import FigureFacts
from zoneaxis.dataset_builder.augmentation import Augmentation
from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.png import decode_png
from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.recipe_base import PatternRecipe
from zoneaxis.dataset_builder.sampling import sector_group
from zoneaxis.dataset_builder.sampling_figure import sampling_figure
from zoneaxis.dataset_builder.schema import EULER, FIGURES, PATTERNS, decode
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.8, "savefig.dpi": 150}
DECADES = (-7.0, -2.5)  # of the gray scale, in pixels of the size below
DECADES_INV_ANGSTROM = 0.028
GRAY = "fraction of the beam in a pixel (log$_{10}$)"
SEED = 0
SAMPLING = (
    "Sampling: every beam direction in the stereographic projection of the crystal's sector, and "
    "how densely directions lie at each Phi, relative to an even spread over solid angle."
)
EXAMPLES = "Example patterns, from small to large Phi, in logarithmic gray."
AUGMENTED = (
    "Augmentations that `zoneaxis.dataset_builder.transforms` draws while streaming, each at a "
    "strength at which it shows; the last two as they are drawn for training."
)

AUGMENTATIONS = {
    "point spread": {"point_spread_px": (1.5, 1.5)},
    "diffuse bell": {"bell_fraction": (0.1, 0.1), "bell_sigma_inv_angstrom": (1.0, 1.0)},
    "amorphous rings": {"rings_probability": 1.0, "rings_fraction": (0.2, 0.2)},
    "camera length, centering": {"scale": (0.8, 0.8), "random_crop": True},
    "sensitivity, 1,000 levels": {"sensitivity": (1e3, 1e3)},
    "10,000 electrons": {"counts": (1e4, 1e4)},
    "in-plane rotation": {"rotate": True},
    "elliptical distortion": {"ellipse": (1.15, 1.15)},
    "two grains": {"second_grain_probability": 1.0, "second_grain_share": (0.4, 0.4)},
    "beam stop": {"beam_stop_probability": 1.0},
    "hot pixels, dead rows": {"hot_pixels": (8, 8), "dead_rows": (1, 1)},
    "amorphous alone": {"amorphous_probability": 1.0, "rings_fraction": (0.2, 0.2)},
}


@dataclass(frozen=True, eq=False)
class Rows:
    """Labels of all patterns in a folder, n rows.

    Attributes:
        files: of config `patterns`.
        file: number of each row's file, shape (n,).
        place: number of each row in its file, shape (n,).
        held_out: whether it is for validation, bool, shape (n,).
        euler_deg: (phi1, Phi, phi2), shape (n, 3).
        thickness_nm: NaN where unknown, shape (n,).
        precession_deg: shape (n,).
    """

    files: tuple[Path, ...]
    file: np.ndarray
    place: np.ndarray
    held_out: np.ndarray
    euler_deg: np.ndarray
    thickness_nm: np.ndarray
    precession_deg: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> "Rows":
        """Read the labels of a data set that has a manifest."""
        import pyarrow.parquet as pq

        names = [name for name in sorted(read_manifest(folder).files) if name.startswith(PATTERNS)]
        labels = [*EULER, "thickness_nm", "precession_deg"]
        tables = [pq.read_table(folder / name, columns=labels) for name in names]
        values = [
            np.concatenate([t[label].to_numpy() for t in tables]).astype(float) for label in labels
        ]
        counts = [len(table) for table in tables]
        return cls(
            tuple(folder / name for name in names),
            np.repeat(np.arange(len(names)), counts),
            np.concatenate([np.arange(count) for count in counts]),
            np.repeat(["/validation-" in name for name in names], counts),
            np.stack(values[:3], axis=1),
            *values[3:],
        )

    def pattern(self, row: int) -> np.ndarray:
        """Return the pattern of a row in fractions of the beam, float32."""
        import pyarrow.parquet as pq

        file, place = pq.ParquetFile(self.files[self.file[row]]), int(self.place[row])
        group = 0
        while place >= (rows := file.metadata.row_group(group).num_rows):
            group, place = group + 1, place - rows
        stored = file.read_row_group(group, columns=["image"])["image"][place].as_py()
        return decode(decode_png(stored["bytes"]))

    def typical(self, count: int) -> list[int]:
        """Return rows from small to large Phi, their thickness and precession changing."""
        tilt, thickness = (_from_0_to_1(v) for v in (self.euler_deg[:, 1], self.thickness_nm))
        precessed = self.precession_deg > 0
        mixed = precessed.any() and not precessed.all()
        away = [
            abs(tilt - i / (count - 1)) + abs(thickness - i % 4 / 3) + mixed * (precessed != i % 2)
            for i in range(count)
        ]
        return [int(row) for row in np.argmin(away, axis=1)]


def _from_0_to_1(values: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(values)
    values = values - values.min()
    return values / (values.max() or 1.0)


def write_figures(folder: Path, recipe: PatternRecipe) -> tuple[FigureFacts, ...]:
    """Draw the figures of a data set into folder/figures, each where there is none.

    Returns:
        What the card says of them.

    Raises:
        OutputError: a figure cannot be written.
    """
    import matplotlib as mpl

    crystal, rows = Crystal.from_dict(recipe.crystal), Rows.read(folder)
    group, pixel = sampled_group(recipe, crystal), recipe.inv_angstrom_per_pixel
    figures = [
        ("examples", EXAMPLES, partial(examples_figure, rows, pixel)),
        (
            "sampling",
            SAMPLING,
            partial(sampling_figure, crystal, group, rows.euler_deg, rows.held_out),
        ),
    ]
    if isinstance(recipe, Recipe):
        draw = partial(augmentations_figure, rows, pixel, crystal)
        figures.append(("augmentations", AUGMENTED, draw))
    for name, _, draw in figures:
        path = folder / FIGURES / f"{name}.png"
        if not path.exists():
            with atomic_path(path) as temporary, mpl.rc_context(STYLE):
                draw().savefig(temporary, metadata={"Software": None})
    return tuple(FigureFacts(name, caption) for name, caption, _ in figures)


def sampled_group(recipe: PatternRecipe, crystal: Crystal) -> Symmetry:
    """Return the point group whose sector a data set covers."""
    # The other schemes, and measured scans, know no mirror.
    aware = isinstance(recipe, Recipe) and recipe.scheme in ("random", "equispaced")
    return sector_group(crystal, recipe.sector if aware else "proper")


def examples_figure(rows: Rows, pixel: float) -> "Figure":
    """Draw eight patterns of a data set, in logarithmic gray.

    Args:
        rows: of the data set.
        pixel: size of a pixel in 1/Å.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    for ax, row in zip(figure.subplots(2, 4).flat, rows.typical(8), strict=True):
        _, tilt, azimuth = rows.euler_deg[row]
        title = f"Φ {tilt:.1f}°, φ$_2$ {azimuth:.1f}°"
        if np.isfinite(rows.thickness_nm[row]):
            title += f", {rows.thickness_nm[row]:.0f} nm"
        if rows.precession_deg.any():
            title += f"\nprecession {rows.precession_deg[row]:.2g}°"
        image = draw_pattern(ax, rows.pattern(row), pixel, title)
    figure.colorbar(image, ax=figure.axes, shrink=0.6, label=GRAY, extend="both")
    return figure


def augmentations_figure(rows: Rows, pixel: float, crystal: Crystal) -> "Figure":
    """Draw a pattern and what each augmentation makes of it.

    Args:
        rows: of a simulated data set.
        pixel: size of a pixel in 1/Å.
        crystal: of the patterns.
    """
    from matplotlib.figure import Figure

    chosen = rows.typical(8)[2:4]
    patterns = torch.from_numpy(np.stack([rows.pattern(row) for row in chosen]))
    augmentations = {
        "simulated": Augmentation.off(),
        **{name: replace(Augmentation.off(), **on) for name, on in AUGMENTATIONS.items()},
        "default, all together": Augmentation(vacuum_probability=0.0, amorphous_probability=0.0),
        "the paper's five": replace(Augmentation.paper(), log_image=False),
    }
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots(3, 5).flat
    for ax, (name, augmentation) in zip(axes, augmentations.items(), strict=True):
        generator = torch.Generator().manual_seed(SEED)
        batch = augmentation(patterns, rows.euler_deg[chosen], pixel, crystal, generator)
        image = batch.patterns[0].double().numpy()
        draw_pattern(ax, image / image.sum(), pixel, name)
    return figure


def draw_pattern(ax: "Axes", pattern: np.ndarray, pixel: float, title: str) -> "AxesImage":
    """Draw a pattern, in fractions of the beam, shape (n, n), with pixels of a size in 1/Å."""
    low, high = np.array(DECADES) + 2 * np.log10(pixel / DECADES_INV_ANGSTROM)
    image = ax.imshow(
        np.log10(pattern.clip(10.0 ** (low - 1))),
        cmap="gray",
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    ax.set_title(title)
    ax.set_axis_off()
    return image
