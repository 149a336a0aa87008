"""A Hugging Face Hub in memory, on loopback: as much of it as a push and a pull of a folder need.

It speaks the Hub's HTTP interface to the real clients, with uploads by git LFS's "basic" transfer
(the clients need HF_HUB_DISABLE_XET=1).
"""

import base64
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN, USER = "hf_test", "tester"
Files = dict[str, bytes]


class RefusedError(Exception):
    """An answer that is an error: status, message and the Hub's code for it."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.message, self.code = status, message, code


@dataclass
class Repository:
    """Files of each commit by its hash, and the names of commits: "main" and tags."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files) -> str:
        listing = [len(self.commits), *((p, hashlib.sha1(d).hexdigest()) for p, d in files.items())]
        oid = hashlib.sha1(json.dumps(listing).encode()).hexdigest()
        self.commits[oid] = files
        self.names["main"] = oid
        return oid

    def find(self, revision: str) -> str:
        oid = self.names.get(revision, revision)
        if oid not in self.commits:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid


class Hub(ThreadingHTTPServer):
    """The server; a context manager that serves while it is open.

    Attributes:
        repositories: by kind and name, "datasets/user/name".
        blobs: LFS content by SHA-256; it stays when a push is interrupted, as on the Hub.
        uploads: SHA-256 of each LFS upload that arrived.
        calls: "METHOD path" of each request.
        before: called with that of a request before it is answered; may raise RefusedError.
    """

    daemon_threads = True
    block_on_close = False  # held requests never end

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.blobs: Files = {}
        self.uploads: list[str] = []
        self.calls: list[str] = []
        self.before: Callable[[str], object] = lambda call: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def hold_second_upload(self) -> threading.Event:
        """Never answer the upload after the first that arrives; return what tells that it came."""
        started, held = itertools.count(), threading.Event()

        def hold(call: str) -> None:
            if call.startswith("PUT") and next(started):
                while not self.uploads:
                    time.sleep(0.01)
                held.set()
                threading.Event().wait()

        self.before = hold
        return held

    def client(self, home: object, code: str, *arguments: object, **options: Any) -> Any:
        """Start a process that knows the hub by environment variables, and nothing else."""
        environment = {
            **os.environ,
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "https_proxy": "http://127.0.0.1:9",  # there is no way out
            "http_proxy": "http://127.0.0.1:9",
            "no_proxy": "127.0.0.1",
        }
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, env=environment, text=True, **options)

    def files(self, name: str, revision: str = "main") -> Files:
        """Return the files of a repository such as "datasets/user/name"."""
        repository = self.repositories[name]
        return repository.commits[repository.find(revision)]

    def edit(self, name: str, path: str, content: str) -> None:
        """Commit a file as somebody does in the browser."""
        self.repositories[name].commit({**self.files(name), path: content.encode()})


def is_lfs(path: str) -> bool:
    return PurePosixPath(path).suffix in {".parquet", ".png", ".safetensors"}


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def describe(path: str, data: bytes | None) -> dict[str, Any]:
    """Return what a listing says about a file, or about a folder, which has no data."""
    if data is None:
        return {"type": "directory", "path": path, "oid": "0" * 40}
    node = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
    if is_lfs(path):
        oid = hashlib.sha256(data).hexdigest()
        node["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 130}
    return node


class Handler(BaseHTTPRequestHandler):
    """One request: `ROUTES` says which method answers it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        call = f"{self.command} {url.path}"
        self.server.calls.append(call)
        try:
            self.server.before(call)
            for pattern, method in ROUTES:
                if match := re.fullmatch(pattern, call):
                    found = method(self, *map(unquote, match.groups("")))
                    return self.send(found) if found is not None else None
            raise RefusedError(404, f"Nothing at {self.path}")
        except RefusedError as refusal:
            headers = {"X-Error-Message": refusal.message, "X-Error-Code": refusal.code}
            self.send({"error": refusal.message}, refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def send(self, found: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def may_write(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def repository(self, name: str, write: bool = False) -> Repository:
        if write and not self.may_write:
            raise RefusedError(401, "Invalid username or password.")
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self.may_write):
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return repository

    # Repositories

    def create(self) -> None:
        if not self.may_write:
            raise RefusedError(401, "Invalid username or password.")
        asked = json.loads(self.body)
        if asked["organization"] != USER:
            raise RefusedError(403, "You don't have the rights to create one under this namespace")
        name = f"{asked.get('type', 'model')}s/{USER}/{asked['name']}"
        exists = name in self.server.repositories
        if not exists:
            new = self.server.repositories[name] = Repository(asked["visibility"] == "private")
            new.commit({".gitattributes": b"*.parquet filter=lfs\n"})
        self.send({"url": f"{self.server.url}/{name}"}, 409 if exists else 200)

    def info(self, name: str, revision: str = "") -> object:
        repository = self.repository(name)
        oid = repository.find(revision or "main")
        siblings = [{"rfilename": path} for path in repository.commits[oid]]
        user_name = name.partition("/")[2]
        values = {"id": user_name, "sha": oid, "private": repository.private, "siblings": siblings}
        return {**values, "tags": [], "downloads": 0, "likes": 0}

    def refs(self, name: str) -> object:
        found = {"branches": [], "tags": [], "converts": []}
        for key, oid in self.repository(name).names.items():
            kind, folder = ("branches", "heads") if key == "main" else ("tags", "tags")
            found[kind].append({"name": key, "ref": f"refs/{folder}/{key}", "targetCommit": oid})
        return found

    def tag(self, name: str, revision: str) -> object:
        repository, tag = self.repository(name, write=True), json.loads(self.body)["tag"]
        if tag in repository.names:
            raise RefusedError(409, "Tag reference exists already")
        repository.names[tag] = repository.find(revision)
        return {}

    def untag(self, name: str, tag: str) -> object:
        del self.repository(name, write=True).names[tag]
        return {}

    # Reading

    def tree(self, name: str, revision: str, path: str) -> object:
        repository, folder = self.repository(name), PurePosixPath(path.strip("/"))
        files = {
            PurePosixPath(p): d for p, d in repository.commits[repository.find(revision)].items()
        }
        folders = {parent: None for path in files for parent in path.parents}
        recursive = self.query.get("recursive", "").lower() == "true"
        return [
            describe(str(path), data)
            for path, data in (folders | files).items()
            if folder in path.parents and (recursive or path.parent == folder)
        ]

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self.repository(name if name.startswith("datasets/") else f"models/{name}")
        oid = repository.find(revision)
        data = repository.commits[oid].get(path)
        if data is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        node = describe(path, data)
        headers = {"X-Repo-Commit": oid, "ETag": f'"{node.get("lfs", node)["oid"]}"'}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or ""):
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.send(data[first : last + 1], 206, headers)
        return self.send(data, headers=headers)

    # Writing

    def validate(self) -> object:
        return {"errors": [], "warnings": []}

    def preupload(self, name: str, _revision: str) -> object:
        files = self.server.files(name) if self.repository(name, write=True) else {}
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if is_lfs(path) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False})
            if path in files:
                node = describe(path, files[path])
                answers[-1]["oid"] = node.get("lfs", node)["oid"]
        return {"files": answers}

    def batch(self, name: str) -> object:
        self.repository(name if name.startswith("datasets/") else f"models/{name}", write=True)
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.blobs:
                item["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def upload(self, oid: str) -> object:
        self.server.uploads.append(oid)
        self.server.blobs[oid] = self.body
        return b""

    def commit(self, name: str, revision: str) -> object:
        repository = self.repository(name, write=True)
        head = repository.find(revision)
        files = dict(repository.commits[head])
        for line in self.body.splitlines():
            key, value = json.loads(line).values()
            if key == "header" and value.get("parentCommit", head) != head:
                raise RefusedError(412, "A commit has happened since.")
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files)
        return {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid}


KIND, NAME = "(?:models|datasets)", "[^/]+/[^/]+"
API = f"/api/({KIND}/{NAME})"
ROUTES = [
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate),
    (f"GET {API}", Handler.info),
    (f"GET {API}/revision/([^/]+)", Handler.info),
    (f"GET {API}/refs", Handler.refs),
    (f"POST {API}/tag/([^/]+)", Handler.tag),
    (f"DELETE {API}/tag/([^/]+)", Handler.untag),
    (f"GET {API}/tree/([^/]+)(/.*)?", Handler.tree),
    (f"POST {API}/preupload/([^/]+)", Handler.preupload),
    (f"POST {API}/commit/([^/]+)", Handler.commit),
    (rf"POST /((?:datasets/)?{NAME})\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT /lfs/([0-9a-f]{64})", Handler.upload),
    (f"(?:GET|HEAD) /((?:datasets/)?{NAME})/resolve/([^/]+)/(.+)", Handler.resolve),
]
