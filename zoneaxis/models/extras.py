"""Values that a network may report beside the orientation: the last columns of its output."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from zoneaxis.dataset_builder.transforms import CRYSTAL
from zoneaxis.errors import SettingsError

# Name: middle and width of what is usual, so that a network's numbers are about 1. The camera's
# scale is the true size of a pixel relative to the stated one.
EXTRAS = {
    "thickness_nm": (50.0, 30.0),
    "camera_scale": (1.0, 0.05),
    "center_x_inv_angstrom": (0.0, 0.05),
    "center_y_inv_angstrom": (0.0, 0.05),
    "amorphous_share": (0.0, 0.1),
}
OF_CRYSTALS = ("thickness_nm", "camera_scale")  # other patterns do not show them


def require_extras(names: Sequence[str], input_kind: str) -> tuple[str, ...]:
    """Return the names, checked.

    Args:
        names: of EXTRAS.
        input_kind: "polar" or "cartesian".

    Raises:
        SettingsError: an unknown or repeated name, or a center asked of a network that never
            sees it.
    """
    if unknown := [name for name in names if name not in EXTRAS]:
        raise SettingsError(f"No further output {unknown[0]!r}: choose among {', '.join(EXTRAS)}.")
    if len(set(names)) < len(names):
        raise SettingsError(f"Further outputs {', '.join(names)}: name each once.")
    if input_kind == "polar" and any(name.startswith("center") for name in names):
        raise SettingsError(
            "A polar network sees patterns about their direct beam and cannot tell where it was: "
            "leave the center out."
        )
    return tuple(names)


def extras_loss(
    names: Sequence[str], outputs: torch.Tensor, batch: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Return the mean Huber loss over what is known of a batch, a scalar.

    Args:
        names: of the columns.
        outputs: shape (b, e).
        batch: what `Transform` returns.
    """
    columns = {**batch, **_centers(batch["center_inv_angstrom"])}
    crystal = batch["kind"] == CRYSTAL
    truth = torch.stack(
        [
            torch.where(crystal | (name not in OF_CRYSTALS), columns[name].float(), torch.nan)
            for name in names
        ],
        dim=1,
    )
    middle, width = _scales(names, outputs)
    known = truth.isfinite()
    wanted = ((truth - middle) / width).where(known, outputs.detach().float())
    losses = torch.nn.functional.huber_loss(outputs.float(), wanted, reduction="sum")
    return losses / known.sum().clamp(min=1)


def properties(names: Sequence[str], outputs: torch.Tensor) -> dict[str, np.ndarray]:
    """Return physical values, each float32 of shape (b,).

    Args:
        names: of the columns.
        outputs: shape (b, e).
    """
    middle, width = _scales(names, outputs)
    values = (outputs.float() * width + middle).cpu().numpy()
    return {name: values[:, i] for i, name in enumerate(names)}


def _centers(center: torch.Tensor) -> dict[str, torch.Tensor]:
    return {f"center_{axis}_inv_angstrom": center[:, i] for i, axis in enumerate("xy")}


def _scales(names: Sequence[str], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.tensor([EXTRAS[name] for name in names], device=like.device).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
