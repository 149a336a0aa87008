"""A card that is written again, in its folder or on the Hub: what others wrote into it is kept.

The header of a written card carries a mark: the hashes of its header and of each section of its
text as they were written, which of these were somebody's already, and the names of our configs.
Whatever does not fit its hash any more was edited since, and is from then on the editor's.
"""

import hashlib
import json
import re
from typing import Any

import yaml
from huggingface_hub import CardData, RepoCard

from zoneaxis.errors import HubError

MARK = "zoneaxis_card"
OURS = ("configs", "dataset_info", "size_categories", "model-index")  # say what the files are
HEADER, TOP = "(header)", "(top)"  # names of what is above the first heading
FENCE = re.compile(r" {0,3}(```+|~~~+)")


def merge_cards(new: str, old: str | None, *, place: str = "the Hub") -> str:
    """Return the card to write.

    An unedited card is replaced. Of an edited text each section, which a line `## Heading`
    begins, is taken on its own: one that is as we wrote it is renewed, or goes where the new card
    has none; one that was edited or added is kept; one that was removed stays away. A text without
    our mark is kept whole. An edited header keeps all that it has, apart from YAML's comments, and
    gets what it lacks, tags and other lists joined, but `OURS` always describe the new files;
    configs of other names stay.

    What a user edited in a folder and pushed is replaced by what is edited in a later one, but
    not by what we wrote.

    Args:
        new: README.md as zoneaxis made it, or as its user changed it in the folder.
        old: the one that is there, if there is one.
        place: where that is, for the error's message.

    Raises:
        HubError: the header of one of them is no YAML.
    """
    card = _parse(new, "the folder")
    header, text = card.data.to_dict(), card.text
    given = _read_mark(header.pop(MARK, None))
    mark = _mark(header, text, given)
    if old is not None:
        theirs = _parse(old, place)
        old_header = theirs.data.to_dict()
        written = _read_mark(old_header.pop(MARK, None))
        pushed = HEADER in written["edited"] and HEADER not in mark["edited"]
        if pushed or written["header"] != _header_hash(old_header):
            header = _merge_headers(header, old_header, written["configs"])
        if pushed:
            mark["edited"].append(HEADER)
            mark["header"] = _header_hash(header)
        if theirs.text.strip():
            text = _merge_texts(text, theirs.text, written, mark)
    return f"---\n{CardData(**header, **{MARK: mark}).to_yaml()}\n---\n{text}"


def relocate(card: str, old: str, new: str) -> str:
    """Return a card of ours with a place replaced in its text; what was not edited still is not.

    Args:
        card: README.md with our mark, or without, which is then none of ours.
        old: the place, as the text has it.
        new: what stands there instead.

    Raises:
        HubError: its header is no YAML.
    """
    parsed = _parse(card, "the folder")
    header = parsed.data.to_dict()
    text = parsed.text.replace(old, new)
    if MARK in header:
        mark = _read_mark(header[MARK])
        moved = _sections(text)
        for heading, section in _sections(parsed.text).items():
            if heading in moved and mark["sections"].get(heading) == _hash(section):
                mark["sections"][heading] = _hash(moved[heading])
        header[MARK] = mark
    return f"---\n{CardData(**header).to_yaml()}\n---\n{text}"


def _mark(header: dict[str, Any], text: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the mark of a card that had one itself, where it was written by us before."""
    hashes = {heading: _hash(section) for heading, section in _sections(text).items()}
    edited = {heading for heading in hashes if given["sections"].get(heading) != hashes[heading]}
    if given["header"] != _header_hash(header):
        edited.add(HEADER)
    return {
        "header": _header_hash(header),
        "sections": {**given["sections"], **hashes},  # those that were removed stay away
        "configs": _config_names(header),
        "edited": sorted(edited.union(given["edited"])) if given["header"] else [],
    }


def _merge_texts(new: str, old: str, written: dict[str, Any], mark: dict[str, Any]) -> str:
    """Return the merged text; sections that were pushed as somebody's are so in the mark again."""
    ours, theirs, hashes = _sections(new), _sections(old), written["sections"]
    if not hashes:
        return old
    kept = {heading for heading, section in theirs.items() if hashes.get(heading) != _hash(section)}
    pushed = (theirs.keys() & written["edited"]) - kept - set(mark["edited"])
    mark["edited"] += sorted(pushed)
    mark["sections"].update({heading: hashes[heading] for heading in pushed})
    kept |= pushed
    if not kept and theirs.keys() == hashes.keys():
        return new
    merged = {
        heading: section if heading in kept else ours[heading]
        for heading, section in theirs.items()
        if heading in kept or heading in ours
    }
    order = [*merged]
    for heading in ours:
        if heading not in theirs and heading not in hashes:  # after those that it follows in ours
            before = [*ours][: [*ours].index(heading)]
            order.insert(
                max((order.index(b) + 1 for b in before if b in order), default=0), heading
            )
    return "\n".join(merged[one] if one in merged else ours[one] for one in order)


def _sections(text: str) -> dict[str, str]:
    """Return the parts of a Markdown text by heading; what stands before the first is TOP."""
    heading, fence, parts = TOP, "", {TOP: []}
    for line in re.split(r"\r\n|\r|\n", text):
        if found := FENCE.match(line):
            if not fence:
                fence = found[1]
            elif found[1].startswith(fence):
                fence = ""
        if line.startswith("## ") and not fence:
            heading = line.removeprefix("## ")
            while heading in parts:  # the same again
                heading += "+"
            parts[heading] = []
        parts[heading].append(line)
    return {heading: "\n".join(lines) for heading, lines in parts.items() if lines}


def _merge_headers(new: dict[str, Any], old: dict[str, Any], ours: list[str]) -> dict[str, Any]:
    merged = {key: value for key, value in old.items() if key not in OURS}
    known = {*ours, *_config_names(new)}
    added = [c for c in _configs(old) if c.get("config_name") not in known]
    if added:
        new = {**new, "configs": [*_configs(new), *added]}
    for key, value in new.items():
        if key in OURS or key not in merged:
            merged[key] = value
        elif isinstance(value, list) and isinstance(merged[key], list):
            merged[key] = merged[key] + [item for item in value if item not in merged[key]]
    return merged


def _configs(header: dict[str, Any]) -> list[dict[str, Any]]:
    configs = header.get("configs")
    return [c for c in configs if isinstance(c, dict)] if isinstance(configs, list) else []


def _config_names(header: dict[str, Any]) -> list[str]:
    return [config["config_name"] for config in _configs(header) if "config_name" in config]


def _parse(content: str, where: str) -> RepoCard:
    try:
        return RepoCard(content.removeprefix("\ufeff"))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise HubError(
            f"README.md of {where} has a header that is no YAML: mend it there ({error})."
        ) from error


def _read_mark(mark: Any) -> dict[str, Any]:
    """Return a mark, or that of a card which is not ours, where nothing fits."""
    kinds = {"header": str, "sections": dict, "configs": list, "edited": list}
    whole = isinstance(mark, dict) and all(isinstance(mark.get(k), kinds[k]) for k in kinds)
    if not whole:
        return {name: kind() for name, kind in kinds.items()}
    return mark | {name: [*map(str, mark[name])] for name in ("configs", "edited")}


def _header_hash(header: dict[str, Any]) -> str:
    return _hash(json.dumps(header, sort_keys=True, default=str))


def _hash(text: str) -> str:
    """Return a hash for which outer blanks do not count."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]
