"""Folder of a model -> repository on the Hugging Face Hub."""

import hashlib
import json
from pathlib import Path

from zoneaxis.cards import ModelFacts
from zoneaxis.dataset_builder.manifest import file_entry
from zoneaxis.dataset_builder.schema import FIGURES
from zoneaxis.errors import CheckpointError
from zoneaxis.hub import CARD, Push, located_card, push, readable_by, require_name
from zoneaxis.models.checkpoint import CONFIG, LABELS, WEIGHTS, config_from_json, read_checkpoint

PICTURES = f"{FIGURES}/*.png"  # of the card


def publish(
    folder: str | Path,
    repository: str,
    *,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> Push:
    """Push a model; `NetworkIndexer.from_pretrained(repository)` then loads it anywhere.

    So does timm: `create_model("hf-hub:user/name", pretrained=True)`. Only what changed is sent;
    a repository of something else is refused; what somebody wrote into the card there stays.

    Args:
        folder: that `train` or `save_pretrained` wrote; it is loaded first, to see that it is
            whole.
        repository: "user/name"; made where absent.
        private: make it private; a public repository is then refused.
        tag: name of this version; by default a hash of the content.
        message: of the commits.
        token: of the Hub; by default that of HF_TOKEN or of `hf auth login`.
        endpoint: of the Hub; by default that of HF_ENDPOINT, or the public one.

    Raises:
        CheckpointError: the folder is no model, or a damaged one.
        HubError: the Hub refuses the token or the name, or cannot be reached.
    """
    require_name(repository)
    folder = Path(folder)
    read_checkpoint(folder)
    paths = [folder / CONFIG, folder / LABELS, folder / WEIGHTS, *sorted(folder.glob(PICTURES))]
    files = {path.relative_to(folder).as_posix(): file_entry(path).sha256 for path in paths}
    model_id = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]
    return push(
        folder,
        repository,
        files,
        _card(folder, repository),
        kind="model",
        tag=tag or model_id,
        marker=CONFIG,
        is_ours=readable_by(config_from_json),
        message=message or f"Model {model_id}",
        owned=(PICTURES,),
        private=private,
        token=token,
        endpoint=endpoint,
    )


def _card(folder: Path, repository: str) -> str:
    """Return the card, which tells how to load the repository instead of the folder."""
    try:
        return located_card(folder, ModelFacts.location, repository)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{folder / CARD} cannot be read ({error}): mend it, or remove it and save the model "
            "again, which writes it."
        ) from error
