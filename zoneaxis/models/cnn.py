"""The paper's networks: blocks of convolution, normalization and pooling, then dense layers.

Source: Scheunert et al., npj Comput. Mater. (2026), Fig. 4.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from zoneaxis.models.heads import create_head

WIDTHS = (8, 16, 32, 64, 128, 256)


def _cfg(size: int, directions: int) -> dict[str, Any]:
    return {
        "input_size": (1, size, size),
        "fixed_input_size": True,  # by the first dense layer
        "num_classes": directions * 72 + 2,
        "mean": (0.0,),
        "std": (1.0,),
        "crop_pct": 1.0,
        "first_conv": "blocks.0.0",
        "classifier": "head",
        "license": "gpl-3.0",
    }


default_cfgs = generate_default_cfgs(
    {
        # The paper's classes of networks 1 and 3, with vacuum and amorphous.
        "zoneaxis_cnn_6400.untrained": _cfg(256, 972),
        "zoneaxis_cnn_3200.untrained": _cfg(256, 2162),
        "zoneaxis_cnn_small.untrained": _cfg(128, 10),
        "test_zoneaxis_cnn.untrained": _cfg(32, 10),
    }
)


def _block(in_chans: int, out_chans: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_chans, out_chans, 3, padding=1),
        nn.BatchNorm2d(out_chans),
        nn.MaxPool2d(2),
        nn.ReLU(),  # the paper pools after it: the same maps, at more work
    )


def _dense(in_features: int, width: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(in_features, width), nn.ReLU(), nn.Dropout(dropout)


class PatternCNN(nn.Module):
    """Cartesian network.

    Args:
        widths: feature maps of each block; every block halves height and width.
        hidden: width of the two dense layers.
        dropout: after each of them.
        img_size: height and width of the input.
        in_chans: channels of the input.
        num_classes: directions * bins + 2 + extras; 0 leaves the last layer out.
        global_pool: nothing but "", as the dense layers see every position.
        head: "flat" (the paper's) or "factored".
        bins: in-plane classes of each direction.
        extras: outputs beyond the classes.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        hidden: int = 128,
        dropout: float = 0.2,
        img_size: int | tuple[int, int] = 128,
        in_chans: int = 1,
        num_classes: int = 722,
        global_pool: str = "",
        head: str = "flat",
        bins: int = 1,
        extras: int = 0,
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        reduction = 2 ** len(widths)
        if min(height, width) < reduction:
            raise ValueError(f"img_size = {img_size}: {len(widths)} blocks need {reduction} pixels")
        self.in_chans = in_chans
        self.num_features, self.head_hidden_size = widths[-1], hidden
        channels = (in_chans, *widths)
        self.blocks = nn.Sequential(*(_block(*pair) for pair in pairwise(channels)))
        self.feature_info = [
            {"num_chs": chans, "reduction": 2 ** (i + 1), "module": f"blocks.{i}"}
            for i, chans in enumerate(widths)
        ]
        positions = (height // reduction) * (width // reduction)
        self.dense = nn.Sequential(
            *_dense(widths[-1] * positions, hidden, dropout), *_dense(hidden, hidden, dropout)
        )
        self._create_head = partial(create_head, head, hidden, bins=bins, extras=extras)
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a new one of `num_classes`, or by none for 0.

        Raises:
            ValueError: any pooling, or num_classes is not directions * bins + 2 + extras.
        """
        if global_pool:
            raise ValueError(f"global_pool = {global_pool!r}: this network has none, pass ''")
        self.num_classes = num_classes
        self.head = self._create_head(num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return feature maps (b, num_features, h, w) of patterns (b, in_chans, height, width)."""
        # A CPU then takes half the time; `contiguous` would leave a single channel as it is.
        return self.blocks(x.to(memory_format=torch.channels_last))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (b, num_classes), or the last hidden layer (b, head_hidden_size)."""
        x = self.dense(x.flatten(1))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (b, num_classes) of patterns (b, in_chans, height, width)."""
        return self.forward_head(self.forward_features(x))


def _create(
    variant: str, pretrained: bool, widths: tuple[int, ...] = WIDTHS, **kwargs: Any
) -> PatternCNN:
    if kwargs.get("features_only"):
        kwargs.setdefault("num_classes", 0)  # half a billion weights for nothing otherwise
    features = {"out_indices": tuple(range(len(widths))), "flatten_sequential": True}
    return build_model_with_cfg(
        PatternCNN, variant, pretrained, feature_cfg=features, widths=widths, **kwargs
    )


@register_model
def zoneaxis_cnn_6400(pretrained: bool = False, **kwargs: Any) -> PatternCNN:
    """The paper's network 1, for input 1 x 256 x 256."""
    return _create("zoneaxis_cnn_6400", pretrained, **{"hidden": 6400, **kwargs})


@register_model
def zoneaxis_cnn_3200(pretrained: bool = False, **kwargs: Any) -> PatternCNN:
    """The paper's networks 2 and 3, for input 1 x 256 x 256."""
    return _create("zoneaxis_cnn_3200", pretrained, **{"hidden": 3200, **kwargs})


@register_model
def zoneaxis_cnn_small(pretrained: bool = False, **kwargs: Any) -> PatternCNN:
    """The paper's six blocks with narrow dense layers, for input 1 x 128 x 128."""
    return _create("zoneaxis_cnn_small", pretrained, **kwargs)


@register_model
def test_zoneaxis_cnn(pretrained: bool = False, **kwargs: Any) -> PatternCNN:
    """A tiny variant for tests, for input 1 x 32 x 32."""
    settings = {"widths": (4, 8, 16), "hidden": 16}
    return _create("test_zoneaxis_cnn", pretrained, **{**settings, **kwargs})
