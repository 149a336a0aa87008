"""What the commands read and write that judge maps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoneaxis.cli.terminal import say
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    from zoneaxis.scans.orientation_map import OrientationMap


def load_map(path: Path, crystals: list[str]) -> "OrientationMap":
    """Read a map with the crystals that were named, or those that it carries."""
    from zoneaxis.diffraction.crystal import load_crystal
    from zoneaxis.scans.orientation_map import OrientationMap

    return OrientationMap.load(path, crystals=[load_crystal(name) for name in crystals])


def require_map_path(path: Path) -> Path:
    """Return a path that a map can be written to; call it before a long computation.

    Raises:
        SettingsError: another suffix.
        OutputError: no writable place.
    """
    from zoneaxis.files import require_writable
    from zoneaxis.scans.orientation_map import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--out {path}: the name of a map ends in {' or '.join(SUFFIXES)}.")
    return require_writable(path)


def require_outputs(suffixes: dict[Path | None, str]) -> None:
    """Refuse files that could not be written, before the work rather than after it."""
    from zoneaxis.files import require_writable

    for path, suffix in suffixes.items():
        if path and path.suffix != suffix:
            raise SettingsError(f"{path}: expected a name that ends in {suffix}.")
        if path:
            require_writable(path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write values as a JSON file, and say where."""
    from zoneaxis.files import atomic_path

    text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    say(f"Figures in {path}")
