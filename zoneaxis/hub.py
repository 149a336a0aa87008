"""Pushing a folder to the Hugging Face Hub: only what changed, and nothing that others wrote."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RemoteEntryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils.sha import git_hash

from zoneaxis import __version__
from zoneaxis.cards.merge import merge_cards, relocate
from zoneaxis.errors import HubError

CARD = "README.md"
REASONS = {
    401: "the token is missing or wrong: log in with `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there: take one that may, or a namespace of your own",
    404: "there is no such repository, or the token may not see it: check both",
    412: "somebody changed it in the meantime: run it again",
}


@dataclass(frozen=True)
class Push:
    """What a push did.

    Attributes:
        url: page of the newest commit.
        commit: its hash; the one from before where nothing was new.
        uploaded: files that were new or changed, the card apart.
        removed: files of an older version.
    """

    url: str
    commit: str
    uploaded: tuple[str, ...]
    removed: tuple[str, ...]


def push(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    card: str,
    *,
    kind: str,
    tag: str,
    marker: str,
    is_ours: Callable[[str], bool],
    message: str,
    owned: tuple[str, ...] = (),
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> Push:
    """Make the repository hold the files and the card, and tag its newest commit.

    Files go first and the card and tag last, so that an interrupted push is not taken for a whole
    one. Pushed again it sends what is missing. A tag that is there already moves: it stands for
    the content, of which the newest commit is the best version; commits stay under their hashes.

    Args:
        folder: what the paths of `files` are relative to.
        name: "user/name"; made where absent.
        files: path -> SHA-256 of its content, README.md apart.
        card: README.md; see `merge_cards` for what happens to one that others edited.
        kind: "dataset" or "model".
        tag: name of the content, such as the hash of its recipe.
        message: of the commits.
        marker: one of `files`, by which a repository is known as one that we pushed to; it goes
            first, so that an interrupted push is known, too.
        is_ours: tells from the text of the marker there.
        owned: patterns of paths that are removed where they are not in `files`.
        private: refuse a public repository and make a new one private; else a new one is public
            and the visibility of an old one stays as it is.
        token: of the Hub; by default that of HF_TOKEN or of `hf auth login`.
        endpoint: of the Hub; by default that of HF_ENDPOINT, or the public one.

    Raises:
        HubError: the Hub refuses the token, name or files, cannot be reached, the repository
            is public though `private` was asked for, or it holds files of something else.
    """
    require_name(name)
    place = {"repo_id": name, "repo_type": kind}
    with one_error(name):
        api = HfApi(endpoint, token, library_name="zoneaxis", library_version=__version__)
        api.create_repo(**place, private=private, exist_ok=True)
        if private and not api.repo_info(**place).private:
            raise HubError(f"{name} is public: change that in its settings, or push it as public.")
        first = _claim(api, place, folder, marker, is_ours)
        uploaded, removed = _push_files(api, place, folder, files, owned, message)
        commit = _push_card(api, place, card, message)
        _move_tag(api, place, tag, commit)
    prefix = "" if kind == "model" else f"{kind}s/"
    url = f"{api.endpoint}/{prefix}{name}/commit/{commit}"
    return Push(url, commit, tuple(sorted([*first, *uploaded])), tuple(removed))


def require_name(name: str) -> None:
    """Check the name of a repository.

    Raises:
        HubError: it is not "user/name", or not as the Hub allows it.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HubError(f"{name!r}: {_without_token(error)}.") from error
    if "/" not in name:
        raise HubError(f"{name!r} lacks the owner: write user/name.")


def readable_by(read: Callable[[str], object]) -> Callable[[str], bool]:
    """Return what tells whether a function reads a text, or raises ValueError."""

    def is_ours(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return is_ours


def located_card(folder: Path, location: str, repository: str) -> str:
    """Return the folder's card, which tells how to load the repository instead of the folder.

    Args:
        folder: with README.md.
        location: what a card calls its folder.
        repository: "user/name".

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text.
        HubError: its header is no YAML.
    """
    card = (folder / CARD).read_text(encoding="utf-8")
    return relocate(card, json.dumps(location), json.dumps(repository))


def _claim(
    api: HfApi, place: dict[str, str], folder: Path, marker: str, is_ours: Callable[[str], bool]
) -> list[str]:
    """Refuse a repository with files of something else; mark an empty one; return what it sent."""
    there = set(api.list_repo_files(**place)) - {CARD, ".gitattributes"}
    if marker in there:
        if is_ours(_downloaded(api, place, marker)):
            return []
    elif not there:
        api.upload_file(
            **place,
            path_or_fileobj=folder / marker,
            path_in_repo=marker,
            commit_message="The files to come",
        )
        return [marker]
    raise HubError(
        f"{place['repo_id']} holds other files, such as {min(there)}, which would be replaced: "
        "choose a new name, or remove them there"
    )


def _downloaded(api: HfApi, place: dict[str, str], path: str, revision: str | None = None) -> str:
    with TemporaryDirectory() as cache:
        found = api.hf_hub_download(**place, filename=path, revision=revision, local_dir=cache)
        return Path(found).read_bytes().decode()


def _push_files(
    api: HfApi,
    place: dict[str, str],
    folder: Path,
    files: Mapping[str, str],
    owned: tuple[str, ...],
    message: str,
) -> tuple[list[str], list[str]]:
    """Upload files that differ and remove stale ones; return both."""
    there = {
        item.path: item
        for item in api.list_repo_tree(**place, recursive=True)
        if isinstance(item, RepoFile)
    }
    changed = [
        path
        for path, sha256 in files.items()
        if path not in there or _differs(there[path], folder / path, sha256)
    ]
    stale = [path for path in there if path not in files and any(fnmatch(path, p) for p in owned)]
    if changed or stale:
        api.upload_folder(
            **place,
            folder_path=folder,
            allow_patterns=[escape(path) for path in changed],
            delete_patterns=[escape(path) for path in stale] or None,
            commit_message=message,
        )
    return changed, stale


def _differs(item: RepoFile, path: Path, sha256: str) -> bool:
    """Whether a file has another content on the Hub, which knows small ones by git's hash."""
    return item.lfs.sha256 != sha256 if item.lfs else item.blob_id != git_hash(path.read_bytes())


def _push_card(api: HfApi, place: dict[str, str], card: str, message: str) -> str:
    """Push the card, merged with the one that is there; return the newest commit."""
    head = api.repo_info(**place).sha
    try:
        old = _downloaded(api, place, CARD, head)
    except RemoteEntryNotFoundError:  # and no other: a hub away must not look like no card
        old = None
    merged = merge_cards(card, old)
    if merged == old:
        return head
    done = api.create_commit(
        **place,
        operations=[CommitOperationAdd(CARD, merged.encode())],
        commit_message=message,
        parent_commit=head,  # refused where somebody edits the card at this moment
    )
    return done.oid


def _move_tag(api: HfApi, place: dict[str, str], tag: str, commit: str) -> None:
    tags = api.list_repo_refs(**place).tags
    old = next((item.target_commit for item in tags if item.name == tag), None)
    if old == commit:
        return
    if old is not None:
        api.delete_tag(**place, tag=tag)
    api.create_tag(**place, tag=tag, revision=commit)


@contextmanager
def one_error(name: str) -> Iterator[None]:
    """Turn whatever the client raises into one HubError that says what to do."""
    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        cause = error
        while not isinstance(cause, HTTPError) and cause.__cause__:  # uploads run in threads
            cause = cause.__cause__
        raise HubError(f"{name}: {_reason(cause)}.") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = error.server_message or error.response.reason_phrase
        return REASONS.get(status) or f"the hub answers {status}, {_without_token(said)}"
    if isinstance(error, HTTPError):
        return (
            f"the hub cannot be reached ({_without_token(error)}): run it again when it can; "
            "what has arrived is not sent again"
        )
    return _without_token(error)


def _without_token(text: object) -> str:
    """Return the first line of a text with whatever looks like a token cut out."""
    line = (str(text).strip() or type(text).__name__).splitlines()[0].rstrip(".")
    return re.sub(r"(Bearer |hf_)[^\s'\"]+", r"\1...", line)
