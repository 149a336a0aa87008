"""A network as an ONNX file, for programs without torch."""

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from zoneaxis.errors import SettingsError
from zoneaxis.files import atomic_path, require_writable
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import CartesianInput, PolarInput

if TYPE_CHECKING:
    from torch import nn

NEEDED = ("onnx", "onnxscript")


def export_onnx(
    path: str | Path,
    network: "nn.Module",
    labels: OrientationLabels,
    preprocess: PolarInput | CartesianInput,
    *,
    architecture: str,
    extras: tuple[str, ...],
    temperature: float,
    log_odds: tuple[float, float],
    **_others: Any,
) -> Path:
    """Write input "patterns" (b, channels, height, width) -> output "logits" (b, outputs).

    The input is what `preprocess` returns. The file's metadata "zoneaxis" tells, as JSON, what
    preprocessing that is and what the outputs are. Weights beyond 2 GB, the limit of the format,
    lie beside it, in a file of its name with ".data".

    Args:
        path: of the file.
        network: on any device.
        labels: of its classes.
        preprocess: of its input.
        architecture: its name in timm's registry.
        extras: names of the outputs that follow the classes.
        temperature: that the scores of classes are to be divided by before the softmax.
        log_odds: slope and offset that make a confidence of the probability of an orientation.
        **_others: the other fields of a NetworkIndexer.

    Raises:
        SettingsError: a library that it needs is missing.
        OutputError: the file cannot be written.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SettingsError(
            f"ONNX needs {' and '.join(missing)}: pip install 'zoneaxis[onnx]', and try again."
        )
    path = require_writable(path)
    about = {
        "architecture": architecture,
        "crystal": labels.crystal.to_dict(),
        "bins": labels.bins,
        "euler_deg": labels.euler_deg.tolist(),
        "others": ["vacuum", "amorphous"],
        "extras": extras,
        "preprocessing": asdict(preprocess),
        "temperature": temperature,
        "log_odds": log_odds,
    }
    device = next(network.parameters()).device
    # Two patterns: torch takes the number 1 for a constant.
    example = torch.zeros(2, *preprocess.input_size, device=device)
    program = torch.onnx.export(
        network.eval(),
        (example,),
        input_names=["patterns"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    program.model.metadata_props["zoneaxis"] = json.dumps(about)
    with TemporaryDirectory(dir=path.parent) as folder:
        program.save(Path(folder) / path.name)
        # The file itself last, which makes them whole.
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
            with atomic_path(path.with_name(file.name)) as temporary:
                file.replace(temporary)
    return path
