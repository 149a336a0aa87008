"""Networks by name: those of zoneaxis, and any of timm's behind `zoneaxis_backbone`."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from zoneaxis.errors import SettingsError
from zoneaxis.models.labels import OrientationLabels

if TYPE_CHECKING:
    from torch import nn

BACKBONE = "zoneaxis_backbone"

# What a network may be built with. A checkpoint's config may come from anybody, and timm has
# arguments that download, read pickles or name functions to call.
ARGUMENTS = {"backbone", "bins", "extras", "head", "img_size", "in_chans"}


def network_arguments(
    model: str, labels: OrientationLabels, head: str, extras: int
) -> tuple[str, dict[str, Any]]:
    """Return architecture and arguments of a network for these labels.

    Args:
        model: name of a network of zoneaxis, or any of timm's.
        labels: decide the bins.
        head: "flat" or "factored"; a polar network has one of its own.
        extras: number of further outputs.

    Raises:
        SettingsError: no such network or head.
    """
    _require_known(model)
    shared = {"bins": labels.bins, "extras": extras}
    if "zoneaxis_polar" in model:
        if head != "flat":
            raise SettingsError(f"head = {head!r}: a polar network has a head of its own.")
        return model, shared
    if "zoneaxis" in model:
        return model, {**shared, "head": head}
    return BACKBONE, {**shared, "backbone": model, "head": head}


def create_network(architecture: str, num_classes: int, arguments: dict[str, Any]) -> "nn.Module":
    """Return an untrained network of zoneaxis; nothing is downloaded.

    Raises:
        SettingsError: no network of zoneaxis, an argument that is not one of ARGUMENTS, or
            arguments that do not fit together.
    """
    import timm

    _require_known(architecture)
    if architecture not in timm.list_models("*zoneaxis*"):
        raise SettingsError(f"{architecture} is no network of zoneaxis.")
    if unknown := sorted(set(arguments) - ARGUMENTS):
        raise SettingsError(f"{architecture} takes no {', '.join(unknown)}.")
    if backbone := arguments.get("backbone"):
        _require_known(backbone)
    try:
        return timm.create_model(architecture, num_classes=num_classes, **arguments)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(f"{architecture} with {num_classes} classes: {error}.") from error


def input_kind(network: "nn.Module") -> str:
    """Return what a network looks at: "polar" or "cartesian" patterns."""
    return getattr(network, "input_kind", "cartesian")


def _require_known(model: str) -> None:
    import timm

    import zoneaxis.models.backbone
    import zoneaxis.models.cnn
    import zoneaxis.models.polar  # noqa: F401 - importing them registers their networks

    if not timm.is_model(model):
        near = get_close_matches(model, timm.list_models(), 3)
        known = ", ".join(near or timm.list_models("zoneaxis*"))
        raise SettingsError(f"No network {model!r}: choose {known}, or any other of timm's.")
