"""Where the models that come with zoneaxis lie, and which of them is taken where none is named."""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"
DEFAULT_MODEL = "zoneaxis_polar_small.linio2_v1"  # timm's way: architecture.tag
