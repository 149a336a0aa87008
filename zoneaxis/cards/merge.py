"""A card that goes to the Hub again: what others wrote into the one there is kept.

The header of a pushed card carries a mark: the hashes of header and text as they were pushed, and
the names of our configs.
Whatever does not fit its hash any more was edited since, and is from then on the editor's.
"""

import hashlib
import json
from typing import Any

import yaml
from huggingface_hub import CardData, RepoCard

from zoneaxis.errors import HubError

MARK = "zoneaxis_card"
OURS = ("configs", "dataset_info", "size_categories", "model-index")  # say what the files are


def merge_cards(new: str, old: str | None) -> str:
    """Return the card to push.

    An unedited card is replaced. An edited text is kept; an edited header keeps all that it has
    and gets what it lacks, tags and other lists joined, but `OURS` always describe the new
    files; configs of other names stay.

    Args:
        new: README.md as zoneaxis made it, or as its user changed it in the folder.
        old: the one on the Hub, if there is one.

    Raises:
        HubError: the header of one of them is no YAML.
    """
    card = _parse(new, "the folder")
    header, text = card.data.to_dict(), card.text
    header.pop(MARK, None)  # of a card that came from the Hub
    mark = _mark(header, text)
    if old is not None:
        theirs = _parse(old, "the Hub")
        old_header = theirs.data.to_dict()
        pushed = old_header.pop(MARK, None)
        pushed_header, pushed_text, *ours = pushed if isinstance(pushed, list) else (None, None)
        now_header, now_text = _mark(old_header, theirs.text)
        if pushed_header != now_header:
            header = _merge_headers(header, old_header, ours)
        if pushed_text != now_text and theirs.text.strip():
            text = theirs.text
    mark += _config_names(card.data.to_dict())
    return f"---\n{CardData(**header, **{MARK: mark}).to_yaml()}\n---\n{text}"


def _merge_headers(new: dict[str, Any], old: dict[str, Any], ours: list[str]) -> dict[str, Any]:
    merged = {key: value for key, value in old.items() if key not in OURS}
    known = {*ours, *_config_names(new)}
    added = [c for c in old.get("configs", ()) if c.get("config_name") not in known]
    if added:
        new = {**new, "configs": [*new.get("configs", ()), *added]}
    for key, value in new.items():
        if key in OURS or key not in merged:
            merged[key] = value
        elif isinstance(value, list) and isinstance(merged[key], list):
            merged[key] = merged[key] + [item for item in value if item not in merged[key]]
    return merged


def _config_names(header: dict[str, Any]) -> list[str]:
    return [config["config_name"] for config in header.get("configs", ())]


def _parse(content: str, where: str) -> RepoCard:
    try:
        return RepoCard(content)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise HubError(
            f"README.md of {where} has a header that is no YAML: mend it there ({error})."
        ) from error


def _mark(header: dict[str, Any], text: str) -> list[str]:
    """Return the hashes of header and text; kinds of line ends and outer blanks do not count."""
    parts = json.dumps(header, sort_keys=True, default=str), "\n".join(text.strip().splitlines())
    return [hashlib.sha256(part.encode()).hexdigest()[:12] for part in parts]
