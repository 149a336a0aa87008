"""Any network of timm, with a head for orientations and one channel in."""

from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from zoneaxis.models.heads import create_head


def _cfg(size: int) -> dict[str, Any]:
    return {
        "input_size": (1, size, size),
        "fixed_input_size": True,  # so that a checkpoint's input_size reaches the backbone
        "num_classes": 10 * 72 + 2,
        "mean": (0.0,),
        "std": (1.0,),
        "crop_pct": 1.0,
        "classifier": "head",
        "license": "gpl-3.0",
    }


default_cfgs = generate_default_cfgs(
    {
        "zoneaxis_backbone.untrained": _cfg(128),
        "test_zoneaxis_backbone.untrained": _cfg(64),
    }
)


class PatternBackbone(nn.Module):
    """A network of timm's registry, untrained, and a head.

    Args:
        backbone: its name, as `timm.list_models()` has it.
        img_size: height and width of the input; fixed in some backbones, a hint in others.
        in_chans: channels of the input.
        num_classes: directions * bins + 2 + extras; 0 leaves the last layer out.
        global_pool: the backbone's own if None.
        head: "flat" or "factored".
        bins: in-plane classes of each direction.
        extras: outputs beyond the classes.
        **settings: whatever else the backbone takes, such as drop_path_rate.

    Raises:
        ValueError: no such backbone, or num_classes does not fit bins and extras.
    """

    def __init__(
        self,
        backbone: str = "convnext_femto",
        img_size: int | tuple[int, int] = 128,
        in_chans: int = 1,
        num_classes: int = 722,
        global_pool: str | None = None,
        head: str = "flat",
        bins: int = 1,
        extras: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        require_backbone(backbone)
        if getattr(timm.get_pretrained_cfg(backbone), "fixed_input_size", False):
            settings["img_size"] = img_size
        settings |= {"in_chans": in_chans, "num_classes": 0, "global_pool": global_pool}
        self.backbone = timm.create_model(backbone, pretrained=False, **settings)
        self.in_chans, self.global_pool = in_chans, global_pool
        self.num_features = self.backbone.num_features
        self.head_hidden_size = self.backbone.head_hidden_size
        self.feature_info = self.backbone.feature_info
        self._create_head = partial(
            create_head, head, self.head_hidden_size, bins=bins, extras=extras
        )
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a new one of `num_classes`, or by none for 0.

        Raises:
            ValueError: num_classes is not directions * bins + 2 + extras.
        """
        if global_pool is not None:
            self.backbone.reset_classifier(0, global_pool)
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head = self._create_head(num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the backbone's features of patterns (b, in_chans, height, width)."""
        return self.backbone.forward_features(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (b, num_classes), or pooled features (b, head_hidden_size)."""
        x = self.backbone.forward_head(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (b, num_classes) of patterns (b, in_chans, height, width)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(self, x: torch.Tensor, **settings: Any) -> Any:
        """Return what the backbone's own method does; timm's features_only calls it."""
        return self.backbone.forward_intermediates(x, **settings)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return the names of weights that timm's optimizers must not decay."""
        names = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in names}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in the backbone."""
        self.backbone.set_grad_checkpointing(enable)


def require_backbone(name: str) -> None:
    """Refuse what is no backbone of timm's; our own networks have their heads already.

    Raises:
        ValueError: with the nearest names.
    """
    if timm.is_model(name) and "zoneaxis" not in name:
        return
    near = get_close_matches(name, timm.list_models(exclude_filters="*zoneaxis*"))
    hint = f"the nearest are {', '.join(near)}" if near else "timm.list_models() names them all"
    raise ValueError(f"timm has no backbone {name!r}: {hint}")


def _create(variant: str, pretrained: bool, **kwargs: Any) -> PatternBackbone:
    if kwargs.get("features_only"):
        kwargs.setdefault("num_classes", 0)
    features = {"feature_cls": "getter", "out_indices": 3}  # the last three
    return build_model_with_cfg(
        PatternBackbone, variant, pretrained, feature_cfg=features, **kwargs
    )


@register_model
def zoneaxis_backbone(pretrained: bool = False, **kwargs: Any) -> PatternBackbone:
    """Any backbone, for input 1 x 128 x 128 unless `img_size` says otherwise."""
    return _create("zoneaxis_backbone", pretrained, **kwargs)


@register_model
def test_zoneaxis_backbone(pretrained: bool = False, **kwargs: Any) -> PatternBackbone:
    """A tiny transformer for tests, for input 1 x 64 x 64."""
    return _create("test_zoneaxis_backbone", pretrained, **{"backbone": "test_vit", **kwargs})
