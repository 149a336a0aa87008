"""Reading the files of a checkpoint folder; nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

import torch

from zoneaxis.errors import CheckpointError

FORMAT = 1  # of a checkpoint folder; a newer one is refused
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json, or say what is wrong with the folder.

    Raises:
        CheckpointError: no such file, not the config of a zoneaxis model, or of a newer format.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json: name a folder that `train` wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = int(config["zoneaxis"]["format"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path} is not the config of a zoneaxis model ({error!r}): name a folder that "
            "`train` wrote."
        ) from error
    if version > FORMAT:
        raise CheckpointError(
            f"{folder} has format {version}, newer than {FORMAT}: update zoneaxis."
        )
    return config


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        CheckpointError: missing, damaged, another kind of file, or a number that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        pickles = sorted(p.name for p in path.parent.iterdir() if p.suffix in PICKLES)
        hint = f" Pickled weights ({', '.join(pickles)}) are not opened." if pickles else ""
        raise CheckpointError(f"{path} is missing.{hint} Save the model again as safetensors.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or is damaged ({error}): get or save the model again."
        ) from error
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} is not finite. Train the model again.")
    return tensors
