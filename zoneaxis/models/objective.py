"""What a network is trained for: its classes and further outputs on an augmented batch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.schema import DISKS
from zoneaxis.dataset_builder.transforms import DiskTransform, Transform
from zoneaxis.errors import SettingsError
from zoneaxis.models.extras import extras_loss
from zoneaxis.models.indexer import NetworkIndexer
from zoneaxis.models.labels import CRYSTAL, OrientationLabels
from zoneaxis.models.preprocessing import CartesianInput, PolarInput
from zoneaxis.models.settings import TrainingSettings


@dataclass(frozen=True, eq=False)
class Objective:
    """Rows of a data set -> augmented batches -> outputs -> losses.

    Attributes:
        labels: the classes.
        preprocess: patterns -> network input.
        extras: names of the last outputs.
        transform: augments rows; its seed is that of the run.
        label_sigma_deg: width of the soft labels.
        device: where patterns are drawn and augmented.
    """

    labels: OrientationLabels
    preprocess: PolarInput | CartesianInput
    extras: tuple[str, ...]
    transform: Transform
    label_sigma_deg: float
    device: torch.device

    @classmethod
    def of(
        cls, indexer: NetworkIndexer, settings: TrainingSettings, device: torch.device
    ) -> "Objective":
        """Return the objective of a run.

        Raises:
            SettingsError: disks are asked for of measured patterns, which have none.
        """
        recipe, augmentation = indexer.recipe, settings.augmentation
        if settings.config != DISKS:
            transform = Transform.of_recipe(recipe, augmentation, settings.seed)
        elif isinstance(recipe, Recipe):
            transform = DiskTransform.of_recipe(
                recipe, augmentation, settings.seed, device=str(device)
            )
        else:
            raise SettingsError("config = disks: measured patterns have none; take patterns.")
        return cls(
            indexer.labels,
            indexer.preprocess,
            indexer.extras,
            transform,
            settings.label_sigma_deg,
            device,
        )

    def augmented(self, rows: Mapping[str, Any], epoch: int) -> dict[str, torch.Tensor]:
        """Return rows of a `PatternStream` as `Transform` augments them in an epoch."""
        if "image" in rows:
            rows = {**rows, "image": torch.from_numpy(rows["image"]).to(self.device)}
        return replace(self.transform, epoch=epoch)(rows)

    @torch.no_grad()
    def inputs(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return an augmented batch as the network takes it."""
        return self.preprocess(batch["pattern"], float(batch["inv_angstrom_per_pixel"][0]))

    @torch.no_grad()
    def output(self, network: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return what a network in use makes of an augmented batch, shape (b, outputs)."""
        return network.eval()(self.inputs(batch))

    def loss(self, output: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return cross entropy with the soft labels plus the loss of further outputs, a scalar."""
        labels = self.labels
        classes, weights = labels.soft_targets(batch["matrix"], self.label_sigma_deg)
        kind = batch["kind"]
        other = (labels.n_orientations - 1 + kind)[:, None]
        classes = torch.where((kind == CRYSTAL)[:, None], classes, other)
        logits = output[:, : labels.n_classes]
        meant = (logits.gather(1, classes) * weights).sum(dim=1)
        loss = (logits.logsumexp(dim=1) - meant).mean()
        if self.extras:
            loss = loss + extras_loss(self.extras, output[:, labels.n_classes :], batch)
        return loss

    @torch.no_grad()
    def class_hits(self, output: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return which crystals are given exactly their class, bool, shape (crystals,)."""
        crystal = batch["kind"] == CRYSTAL
        nearest = self.labels.nearest_class(batch["matrix"][crystal])
        found = output[crystal, : self.labels.n_orientations].argmax(dim=1)
        # On the edge of the sector, two classes are one orientation, of which one is the nearest.
        return self.labels.nearest_class(self.labels.class_matrices(found)) == nearest
