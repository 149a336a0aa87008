"""The paper's network: blocks of convolution, normalization and pooling, then dense layers.

Source: Scheunert et al., npj Comput. Mater. (2026), Fig. 4.
"""

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

default_cfgs = generate_default_cfgs(
    {
        "zoneaxis_cnn_small.untrained": {"input_size": (1, 128, 128), "license": "gpl-3.0"},
        "test_zoneaxis_cnn.untrained": {"input_size": (1, 32, 32), "license": "gpl-3.0"},
    }
)


class PatternCNN(nn.Module):
    """Cartesian network with one class per orientation.

    Args:
        widths: feature maps of each block; every block halves height and width.
        hidden: width of the two dense layers.
        dropout: after each of them.
        img_size: height and width of the input.
        in_chans: channels of the input.
        num_classes: 0 leaves the last layer out.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (8, 16, 32, 64, 128, 256),
        hidden: int = 128,
        dropout: float = 0.2,
        img_size: int = 128,
        in_chans: int = 1,
        num_classes: int = 1000,
        global_pool: str = "",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.num_features, self.head_hidden_size = widths[-1], hidden
        channels = (in_chans, *widths)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(channels[i], channels[i + 1], 3, padding=1),
                    nn.BatchNorm2d(channels[i + 1]),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for i in range(len(widths))
            )
        )
        edge = img_size // 2 ** len(widths)
        self.dense = nn.Sequential(
            nn.Linear(widths[-1] * edge**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a new one of `num_classes`."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return feature maps (b, widths[-1], h, w) of patterns (b, in_chans, size, size)."""
        return self.blocks(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (b, num_classes), or the last hidden layer (b, hidden)."""
        x = self.dense(x.flatten(1))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (b, num_classes) of patterns (b, in_chans, size, size)."""
        return self.forward_head(self.forward_features(x))


def _create(variant: str, pretrained: bool, **kwargs: Any) -> PatternCNN:
    return build_model_with_cfg(PatternCNN, variant, pretrained, **kwargs)


@register_model
def zoneaxis_cnn_small(pretrained: bool = False, **kwargs: Any) -> PatternCNN:
    """The paper's six blocks with narrow dense layers, for input 1 x 128 x 128."""
    return _create("zoneaxis_cnn_small", pretrained, **kwargs)


@register_model
def test_zoneaxis_cnn(pretrained: bool = False, **kwargs: Any) -> PatternCNN:
    """A tiny variant for tests, for input 1 x 32 x 32."""
    settings = {"widths": (4, 8, 16), "hidden": 16, "img_size": 32}
    return _create("test_zoneaxis_cnn", pretrained, **{**settings, **kwargs})
