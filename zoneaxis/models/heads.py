"""The last layer of a network: scores of orientations, of vacuum and amorphous, and extra outputs.

Every head returns (b, num_classes), num_classes = directions * bins + 2 + extras, in the order
[direction 0 bin 0, direction 0 bin 1, ... | vacuum, amorphous | extras].
"""

import torch
from torch import nn

HEADS = ("flat", "factored")


class FactoredHead(nn.Linear):
    """Scores directions and in-plane bins apart, and adds them up to those of orientations.

    The probability of an orientation is then that of its direction times that of its bin. With 72
    bins this takes about 1/70 of the weights of a flat head, but it cannot say "this direction at
    30 degrees or that one at 50".

    Args:
        in_features: width of the layer before.
        directions: number of direction classes.
        bins: in-plane classes over 360 degrees.
        others: further outputs, which stay as they are.
    """

    def __init__(self, in_features: int, directions: int, bins: int, others: int) -> None:
        super().__init__(in_features, directions + bins + others)
        self.split = (directions, bins, others)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, directions * bins + others) of (b, in_features)."""
        direction, bin_, others = super().forward(x).split(self.split, dim=1)
        joint = direction[:, :, None] + bin_[:, None, :]
        return torch.cat([joint.flatten(1), others], dim=1)


def create_head(
    kind: str, in_features: int, num_classes: int, bins: int = 1, extras: int = 0
) -> nn.Module:
    """Return a last layer; nn.Identity for no classes, as timm has it.

    Args:
        kind: "flat", the paper's: one node a class; or "factored".
        in_features: width of the layer before.
        num_classes: directions * bins + 2 + extras, or 0.
        bins: in-plane classes of each direction.
        extras: outputs beyond the classes.

    Raises:
        ValueError: another kind, or numbers that do not fit together.
    """
    if kind not in HEADS:
        raise ValueError(f"head = {kind!r}: choose one of {', '.join(HEADS)}")
    if not num_classes:
        return nn.Identity()
    orientations = num_classes - 2 - extras
    if bins < 1 or extras < 0 or orientations < bins or orientations % bins:
        raise ValueError(
            f"num_classes = {num_classes}: expected directions * {bins} + 2 + {extras}, "
            "for orientations, vacuum and amorphous, and extras"
        )
    if kind == "flat":
        return nn.Linear(in_features, num_classes)
    return FactoredHead(in_features, orientations // bins, bins, 2 + extras)
