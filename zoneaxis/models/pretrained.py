"""The folder of a model, found by name: a folder, one that comes with zoneaxis, or the Hub's."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import CheckpointError, HubError
from zoneaxis.hub import CARD, one_error
from zoneaxis.models.checkpoint import CONFIG, LABELS, WEIGHTS, read_config
from zoneaxis.models.shipped import DEFAULT_MODEL, SHIPPED

HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([^@\s]+))?")

# Two refinements of one structure differ by less than this, two structures by more.
SAME_LENGTH, SAME_ANGLE_DEG = 0.02, 1.0


def find_pretrained(
    name: str | Path, *, token: str | None = None, endpoint: str | None = None
) -> Path:
    """Return the folder of a model; one of the Hub is downloaded into the Hub's cache.

    Args:
        name: a folder; the name of a model that comes with zoneaxis; or "user/name" on the Hub,
            with "@revision" for a tag, branch or commit. They are tried in this order. A Path is
            always a folder.
        token: of the Hub; by default that of HF_TOKEN or of `hf auth login`.
        endpoint: of the Hub; by default that of HF_ENDPOINT, or the public one.

    Raises:
        CheckpointError: no such model, or the repository holds something else.
        HubError: the Hub refuses the name or token, or cannot be reached and the cache does not
            hold the model.
    """
    if isinstance(name, Path) or Path(name).exists():
        return Path(name)
    shipped = shipped_models()
    if name in shipped:
        return SHIPPED / name
    if match := HUB_NAME.fullmatch(name):
        return _download(*match.groups(), token, endpoint)
    if name == DEFAULT_MODEL:
        raise CheckpointError(
            f"This installation of zoneaxis comes without its default model {name}: install it "
            "again, or name a model (--model), a folder that `zoneaxis train` wrote or user/name "
            "of the Hugging Face Hub."
        )
    raise CheckpointError(
        f"No model {name!r}: name a folder that `train` wrote, user/name of the Hugging Face Hub, "
        f"or one that comes with zoneaxis ({', '.join(shipped) or 'there are none yet'})."
    )


def shipped_models() -> list[str]:
    """Return the names of the models that come with zoneaxis."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{CONFIG}"))


def _download(name: str, revision: str | None, token: str | None, endpoint: str | None) -> Path:
    """Return the snapshot of a repository's model; without a way to the Hub, that of the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RevisionNotFoundError

    from zoneaxis import __version__

    def snapshot(revision: str | None, *files: str) -> Path:
        # Nothing else is wanted, least of all pickles.
        found = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(files),
            token=token,
            endpoint=endpoint,
            library_name="zoneaxis",
            library_version=__version__,
        )
        return Path(found)

    with one_error(f"{name} is no folder here; on the Hub"):
        try:
            folder = snapshot(revision, CONFIG)
            read_config(folder)  # before gigabytes of something else come
        except RevisionNotFoundError as error:
            raise HubError(f"{name} on the Hub has no tag, branch or commit {revision}.") from error
        except CheckpointError as error:
            raise CheckpointError(f"{name} on the Hub: {error}") from error
        return snapshot(folder.name, CONFIG, WEIGHTS, LABELS, CARD)


def require_crystal(crystal: Crystal, wanted: Crystal, where: str | Path) -> None:
    """Check that a model is of the wanted crystal; another refinement of it will do.

    Raises:
        CheckpointError: another space group, cell or composition.
    """
    differs = None
    if crystal.space_group != wanted.space_group:
        differs = f"space group {crystal.space_group}, not {wanted.space_group}"
    elif not (
        np.allclose(crystal.cell[:3], wanted.cell[:3], rtol=SAME_LENGTH, atol=0)
        and np.allclose(crystal.cell[3:], wanted.cell[3:], rtol=0, atol=SAME_ANGLE_DEG)
    ):
        differs = f"cell {_cell(crystal)}, not {_cell(wanted)}"
    elif Counter(crystal.symbols) != Counter(wanted.symbols):
        differs = f"sites {_sites(crystal)}, not {_sites(wanted)}"
    if differs:
        raise CheckpointError(
            f"{where} is a model of {crystal.name} ({differs}): take one of {wanted.name}, or "
            "train it: `zoneaxis build --crystal CIF --out dataset` and `zoneaxis train --data "
            "dataset --out model`, then --model model."
        )


def _cell(crystal: Crystal) -> str:
    return ", ".join(f"{value:g}" for value in crystal.cell)


def _sites(crystal: Crystal) -> str:
    return " ".join(f"{symbol}{n}" for symbol, n in sorted(Counter(crystal.symbols).items()))
