"""Streaming augmentation: rows of a data set in, what a camera would have recorded out."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from zoneaxis.dataset_builder.augmentation import (
    AMORPHOUS,
    CRYSTAL,
    VACUUM,
    Augmentation,
    Batch,
)
from zoneaxis.dataset_builder.disk_rows import disks_of_rows, recipe_tilts
from zoneaxis.dataset_builder.recipe import PatternRecipe, Recipe
from zoneaxis.dataset_builder.schema import EULER
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import euler_from_matrices
from zoneaxis.diffraction.render import render
from zoneaxis.errors import DatasetError

__all__ = ["AMORPHOUS", "CRYSTAL", "VACUUM", "Augmentation", "Batch", "DiskTransform", "Transform"]


@dataclass(frozen=True)
class Transform:
    """Rows of a data set in, augmented rows out; one object for every way to read.

    It serves `Dataset.with_transform(t)`, `IterableDataset.map(t, batched=True, batch_size=64,
    remove_columns=[...])`, a DataLoader's workers and batches on a GPU. Seed, epoch and the rows
    decide every draw: the same rows in the same order give the same batch in any process. Where
    rows are read one by one, let all patterns have one size: `Augmentation(pixel=(1, 1))`.

    Attributes:
        augmentation: what specimen and camera add.
        crystal: of the data set.
        inv_angstrom_per_pixel: size of the data set's pixels.
        direct_beam_inv_angstrom: radius that holds the direct beam and no reflection.
        seed: of every draw.
        epoch: another one gives other draws; `dataclasses.replace(t, epoch=1)`.
    """

    augmentation: Augmentation
    crystal: Crystal
    inv_angstrom_per_pixel: float
    direct_beam_inv_angstrom: float
    seed: int = 0
    epoch: int = 0

    @classmethod
    def of_recipe(
        cls,
        recipe: PatternRecipe,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> "Transform":
        """Return the transform for a data set; `Augmentation()` by default."""
        optics = recipe.optics(max(recipe.convergence_mrad), 0.0)
        return cls(
            augmentation or Augmentation(),
            Crystal.from_dict(recipe.crystal),
            recipe.inv_angstrom_per_pixel,
            1.2 * optics.disk_radius_inv_angstrom,
            seed,
            epoch,
        )

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Decode and augment a batch of rows.

        Args:
            rows: columns of config `patterns`; "image" as PIL images, or 16-bit levels in an
                array or a tensor (b, n, n), which may be on a GPU.

        Returns:
            Tensors, on the images' device: "pattern" float32 (b, n, n), "euler_deg" (b, 3), Bunge,
            turned with the pattern, "matrix" (b, 3, 3), "kind" int64 (b,), "grain_share" (b,), 1
            where one grain is alone, "camera_scale" (b,), "center_inv_angstrom" (b, 2),
            "amorphous_share" (b,), as in `Batch`, "thickness_nm" (b,), NaN where unknown,
            "direction_id" int64 (b,), "inv_angstrom_per_pixel" (b,).

        Raises:
            DatasetError: a column is missing, or images are of different sizes.
        """
        try:
            levels = _levels(rows["image"])
            euler = np.stack([np.asarray(rows[name], np.float64) for name in EULER], axis=1)
            # float32 as in the files, whether a column comes as a list, an array or a tensor.
            thickness = np.asarray(rows["thickness_nm"], np.float32)
            direction = np.asarray(rows["direction_id"], np.int64)
        except KeyError as error:
            raise DatasetError(
                f"The rows have no column {error}: read config 'patterns' with all its columns."
            ) from error
        batch = self.augmentation(
            levels,
            euler,
            self.inv_angstrom_per_pixel,
            self.crystal,
            self._generator(direction, thickness, levels),
            self.direct_beam_inv_angstrom,
        )
        device = levels.device
        turned = euler_from_matrices(batch.matrices.cpu().numpy())
        return {
            "pattern": batch.patterns,
            "euler_deg": torch.from_numpy(turned).float().to(device),
            "matrix": batch.matrices,
            "kind": batch.kind,
            "grain_share": batch.grain_share,
            "camera_scale": batch.camera_scale,
            "center_inv_angstrom": batch.center_inv_angstrom,
            "amorphous_share": batch.amorphous_share,
            "thickness_nm": torch.from_numpy(thickness).to(device),
            "direction_id": torch.from_numpy(direction).to(device),
            "inv_angstrom_per_pixel": torch.full(
                (len(levels),), batch.inv_angstrom_per_pixel, device=device
            ),
        }

    def _generator(
        self, direction: np.ndarray, thickness: np.ndarray, levels: torch.Tensor | None = None
    ) -> torch.Generator:
        """Return the random state that belongs to seed, epoch and rows.

        Rows of a scan are told by their images: those of a grain have the same direction_id.
        """
        state = hashlib.sha256(f"{self.seed} {self.epoch}".encode())
        state.update(direction.tobytes() + thickness.tobytes())
        if levels is not None and np.isnan(thickness).any():
            state.update(levels.cpu().numpy().tobytes())
        return torch.Generator().manual_seed(int.from_bytes(state.digest()[:8]) >> 1)


def _levels(images: Any) -> torch.Tensor:
    """Return 16-bit levels, shape (b, n, n), on the device where they are."""
    if isinstance(images, torch.Tensor):
        return images
    try:
        return torch.from_numpy(np.stack([np.asarray(image, np.uint16) for image in images]))
    except ValueError as error:
        raise DatasetError(f"The images of a batch differ in size: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class DiskTransform(Transform):
    """Rows of config `disks` in, patterns drawn and augmented out, on any device.

    Each batch draws its own semi-angle of convergence, so that no network can use the disks' edge
    as a ruler. Rows, seed and epoch decide every draw, as for `Transform`.

    Attributes:
        recipe: of the data set.
        convergence_mrad: smallest and largest semi-angle; what a batch draws is at most what its
            rows were simulated with.
        device: "cpu" or "cuda", where to draw and augment.
    """

    recipe: Recipe
    convergence_mrad: tuple[float, float] = (0.7, math.inf)
    device: str = "cpu"

    @classmethod
    def of_recipe(
        cls,
        recipe: Recipe,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        epoch: int = 0,
        **settings: Any,
    ) -> "DiskTransform":
        """Return the transform for a data set; settings are convergence_mrad and device."""
        plain = Transform.of_recipe(recipe, augmentation, seed, epoch)
        return cls(**vars(plain), recipe=recipe, **settings)

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Draw and augment a batch of rows; returns what `Transform` does.

        Raises:
            DatasetError: a column is missing.
        """
        try:
            simulated = float(np.min(rows["convergence_mrad"]))
            generator = self._generator(
                np.asarray(rows["direction_id"], np.int64),
                np.asarray(rows["thickness_nm"], np.float32),
            )
            low, high = (min(end, simulated) for end in self.convergence_mrad)
            share = float(torch.rand(1, generator=generator))
            optics = self.recipe.optics(low + (high - low) * share, 0.0)
            disks = disks_of_rows(rows, recipe_tilts(self.recipe), optics).to(self.device)
        except KeyError as error:
            raise DatasetError(
                f"The rows have no column {error}: read config 'disks' with all its columns."
            ) from error
        patterns = render(disks, self.recipe.size, self.recipe.inv_angstrom_per_pixel)[:, 0]
        return super().__call__({**rows, "image": patterns})
