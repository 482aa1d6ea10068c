"""A hub on the loopback interface that speaks the endpoints huggingface_hub uses, with faults on demand."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from tests.hub.repos import Repo, git_sha, published

TOKENS = {"hf_readeraaaaaaaaaaaaaaaaaaaaaaaaaaaa": "reader", "hf_writerbbbbbbbbbbbbbbbbbbbbbbbbbbbb": "writer"}
BLOCK = 1 << 16


@dataclass
class Fault:
    """Something that goes wrong with requests whose path matches `pattern`, `times` times (-1: always).

    kind: ``status`` (value: code; `retry_after` seconds), ``hang`` (seconds of silence, then the connection closes),
    ``latency`` (seconds before the answer), ``cut`` (bytes after which the connection closes), ``short`` (bytes that
    are missing although the answer ends properly), ``corrupt`` (a flipped byte),
    ``redirect`` (to value), ``norange`` (ranges are ignored), ``drip`` (seconds
    after each byte of an answer in JSON).
    """

    pattern: str
    kind: str
    value: Any = None
    times: int = -1
    retry_after: float | str | None = None
    message: str = ""


@dataclass
class Seen:
    """One request: what was asked and how many bytes of body went out."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class State:
    """Everything the server knows; tests change it while it runs."""

    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    page: int = 1000
    latency: float = 0.0
    bandwidth: float = 0.0  # bytes per second of one connection; 0: unlimited
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, repos: Iterable[Repo]) -> None:
        self.repos.update({repo.repo_id: repo for repo in repos})

    def fault(self, path: str, *kinds: str) -> Fault | None:
        """The first fault of one of `kinds` that this request meets; it is used up."""
        with self.lock:
            for fault in self.faults:
                if re.search(fault.pattern, path) and fault.kind in kinds and fault.times != 0:
                    fault.times -= fault.times > 0
                    return fault
        return None


class Hub:
    """The server in a thread of this process. `endpoint` is its address."""

    def __init__(self, repos: Iterable[Repo] | None = None) -> None:
        self.state = State()
        self.state.add(published() if repos is None else repos)
        state = self.state

        class Bound(Handler):
            hub = state

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, pattern: str, kind: str, value: Any = None, times: int = -1, **more: Any) -> Fault:
        fault = Fault(pattern, kind, value, times, **more)
        self.state.faults.append(fault)
        return fault

    def heal(self) -> None:
        self.state.faults.clear()

    def requests(self, pattern: str = "") -> list[Seen]:
        return [seen for seen in self.state.seen if re.search(pattern, seen.path)]

    def forget(self) -> None:
        self.state.seen.clear()


class _HangUpError(Exception):
    """The connection is closed without another byte."""


class Handler(BaseHTTPRequestHandler):
    hub: State
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    seen: Seen

    def log_message(self, *_: Any) -> None:
        return None

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the base class's names

    def _serve(self) -> None:
        self.seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        self.hub.seen.append(self.seen)
        length = int(self.headers.get("content-length") or 0)
        self.body = self.rfile.read(length) if length else self._chunked()
        try:
            self._answer()
        except (_HangUpError, BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(2)

    def _chunked(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return b""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self) -> None:
        if self.hub.latency:
            time.sleep(self.hub.latency)
        path = urlsplit(self.path).path
        if fault := self.hub.fault(path, "latency"):
            time.sleep(fault.value)
        fault = self.hub.fault(path, "status", "hang", "redirect")
        if fault is not None and fault.kind == "hang":
            time.sleep(fault.value)
            raise _HangUpError
        if fault is not None and fault.kind == "redirect":
            return self._send(302, b"", {"location": fault.value})
        if fault is not None:
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            return self._error(fault.value, "", fault.message or "Something went wrong", headers)
        if path == "/api/whoami-v2":
            account = self._account()
            return self._json({"name": account, "type": "user"}) if account else self._unknown_token()
        if path.startswith("/storage/"):
            return self._storage(path)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/models":
            query = {name: values[0].lower() for name, values in parse_qs(urlsplit(self.path).query).items()}
            found = [name for name, repo in self.hub.repos.items() if repo.kind == "models" and not repo.private]
            wanted = query.get("search") or f"{query['author']}/"
            return self._json([{"id": name} for name in found if wanted in name.lower()])
        if path == "/api/repos/create":
            return self._create()
        return self._of_repo(path)

    # ------------------------------------------------------------------------------------------------ accounts

    def _account(self) -> str | None:
        return TOKENS.get((self.headers.get("authorization") or "").removeprefix("Bearer "))

    def _unknown_token(self) -> None:
        self._error(401, "", "Invalid credentials in Authorization header")

    def _allowed(self, repo: Repo | None) -> bool:
        if self.headers.get("authorization") and not self._account():
            self._unknown_token()
            return False
        if repo is None or (repo.private and not self._account()):
            signed_in = bool(self._account())
            self._error(404 if signed_in else 401, "RepoNotFound", "Repository not found")
            return False
        return True

    # ------------------------------------------------------------------------------------------------ repositories

    def _of_repo(self, path: str) -> None:
        patterns = (
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+?)(?:/revision/([^/]+))?", self._info),
            (r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?", self._tree),
            (r"/api/(models|datasets)/([^/]+/[^/]+)/paths-info/([^/]+)", self._paths_info),
            (r"/api/(models)/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload),
            (r"/api/(models)/([^/]+/[^/]+)/commit/([^/]+)", self._commit),
            (r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
            (r"/()([^/]+/[^/]+)\.git/info/lfs/objects/batch()", self._lfs_batch),
        )
        for pattern, answer in patterns:
            if found := re.fullmatch(pattern, path):
                kind, repo_id, *rest = (unquote(part or "") for part in found.groups())
                repo = self.hub.repos.get(repo_id)
                if repo is not None and repo.kind != (kind or "models"):
                    repo = None
                if self._allowed(repo):
                    answer(repo, *rest)
                return
        self._error(404, "", "Not found")

    def _info(self, repo: Repo, revision: str) -> None:
        commit = repo.resolve(revision or "main")
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = [{"rfilename": path} for path in repo.commits[commit]]
        self._json(
            {"id": repo.repo_id, "modelId": repo.repo_id, "sha": commit, "private": repo.private, "gated": repo.gated,
             "downloads": 1234, "likes": 5, "tags": ["saelens"], "lastModified": "2025-03-14T12:00:00.000Z",
             "library_name": repo.card.get("library_name"), "cardData": repo.card, "siblings": files}
        )  # fmt: skip

    def _paths_info(self, repo: Repo, revision: str) -> None:
        commit = repo.resolve(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        text = self.body.decode()
        asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
        found = [repo.entry(commit, path) for path in asked if path in repo.commits[commit]]
        for path in asked:
            if any(name.startswith(f"{path}/") for name in repo.commits[commit]):
                found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        self._json(found)

    def _tree(self, repo: Repo, revision: str, folder: str) -> None:
        commit = repo.resolve(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        recursive, start = query.get("recursive", "false").lower() == "true", f"{folder}/" if folder else ""
        names = [path for path in sorted(repo.commits[commit]) if path.startswith(start)]
        if folder and not names:
            return self._error(404, "EntryNotFound", f"{folder} does not exist on {commit}")
        above = {str(parent) for path in names for parent in PurePosixPath(path).parents} - {"."}
        folders = sorted(name for name in above if name.startswith(start))
        shown, folders = (
            [name for name in some if recursive or "/" not in name.removeprefix(start)] for some in (names, folders)
        )
        at = int(query.get("cursor", "0"))
        entries = [repo.entry(commit, path) for path in shown[at : at + self.hub.page]]
        if at == 0:
            entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in folders]
            entries += [{"type": "file", "oid": git_sha(b""), "size": 0, "path": path} for path in repo.raw_paths]
        headers = {}
        if at + self.hub.page < len(shown):
            query["cursor"] = str(at + self.hub.page)
            url = f"http://{self.headers['host']}{urlsplit(self.path).path}?{urlencode(query)}"
            headers["link"] = f'<{url}>; rel="next"'
        self._json(entries, headers)

    def _resolve(self, repo: Repo, revision: str, path: str) -> None:
        commit = repo.resolve(revision)
        if repo.gated and not self._account():
            return self._error(401, "GatedRepo", f"Access to model {repo.repo_id} is restricted.")
        if repo.gated and self._account() == "reader":
            return self._error(403, "GatedRepo", f"Access to model {repo.repo_id} is restricted.")
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path not in repo.commits[commit]:
            return self._error(404, "EntryNotFound", "Entry not found", {"x-repo-commit": commit})
        data = repo.commits[commit][path]
        etag = repo.sha256(commit, path) if repo.is_lfs(path) else git_sha(data)
        headers = {"x-repo-commit": commit, "accept-ranges": "bytes"}
        if repo.is_lfs(path):
            headers |= {"x-linked-etag": f'"{etag}"', "x-linked-size": str(len(data))}
            headers["location"] = f"/storage/{quote(repo.repo_id)}/{commit}/{quote(path)}?signature=secret"
            return self._send(302, b"", headers)
        self._content(data, {**headers, "etag": f'"{etag}"'})

    def _storage(self, path: str) -> None:
        found = re.fullmatch(r"/storage/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", unquote(path))
        if found is None:
            if self.command == "PUT":
                self.hub.uploads[path.rpartition("/")[2]] = self.body
                return self._send(200, b"", {})
            return self._error(404, "", "Not found")
        repo, commit, file = self.hub.repos[found[1]], found[2], found[3]
        # The commit is repeated since this storage lies on the hub's own host, where huggingface_hub looks for it.
        self._content(repo.commits[commit][file], {"etag": f'"{repo.sha256(commit, file)}"', "x-repo-commit": commit})

    def _content(self, data: bytes, headers: dict[str, str]) -> None:
        """A file or a range of it, at the pace and with the faults that were asked for."""
        path, status, start, end = urlsplit(self.path).path, 200, 0, len(data)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if span and not self.hub.fault(path, "norange"):
            start, end = int(span[1]), min(len(data), int(span[2] or len(data)) + 1) if span[2] else len(data)
            if start >= len(data):
                return self._send(416, b"", {"content-range": f"bytes */{len(data)}"})
            status = 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
        body = memoryview(data)[start:end]
        cut = self.hub.fault(path, "cut", "short", "corrupt")
        if cut and cut.kind == "corrupt":
            changed = bytearray(body)
            changed[len(changed) // 2] ^= 1
            body = memoryview(bytes(changed))
        if cut and cut.kind == "short":
            body = body[: max(0, len(body) - cut.value)]
        self._head(status, {**headers, "content-length": str(len(body))})
        if self.command == "HEAD":
            return
        limit = cut.value if cut and cut.kind == "cut" else len(body)
        due = time.monotonic()
        for place in range(0, min(limit, len(body)), BLOCK):
            block = body[place : min(place + BLOCK, limit)]
            self.wfile.write(block)
            self.seen.sent += len(block)
            if self.hub.bandwidth:
                due += len(block) / self.hub.bandwidth
                if (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
        if limit < len(body):
            raise _HangUpError

    # ------------------------------------------------------------------------------------------------ publishing

    def _create(self) -> None:
        if self._account() != "writer":
            return self._error(403, "", "You don't have the rights to create a model under this namespace")
        asked = json.loads(self.body)
        owner = asked.get("organization") or "writer"
        repo_id = asked["name"] if "/" in asked["name"] else f"{owner}/{asked['name']}"
        if repo_id in self.hub.repos:
            return self._error(409, "", "You already created this model repo", {}, {"url": f"/{repo_id}"})
        private = bool(asked.get("private") or asked.get("visibility") == "private")
        self.hub.repos[repo_id] = Repo(repo_id, {".gitattributes": b""}, private=private)
        # https, although this is not: older clients take the name only out of such an address
        self._json({"url": f"https://{self.headers['host']}/{repo_id}", "name": repo_id, "id": repo_id})

    def _preupload(self, repo: Repo, _: str) -> None:
        files = json.loads(self.body)["files"]
        modes = [
            {"path": file["path"], "uploadMode": "lfs" if repo.is_lfs(file["path"]) else "regular",
             "shouldIgnore": False, "oid": None}
            for file in files
        ]  # fmt: skip
        self._json({"files": modes})

    def _lfs_batch(self, _repo: Repo, _: str) -> None:
        objects = json.loads(self.body)["objects"]
        host = self.headers["host"]
        answers = [
            {"oid": item["oid"], "size": item["size"],
             "actions": {"upload": {"href": f"http://{host}/storage/upload/{item['oid']}", "header": {}}}}
            for item in objects
        ]  # fmt: skip
        self._json({"transfer": "basic", "objects": answers})

    def _commit(self, repo: Repo, branch: str) -> None:
        if self._account() != "writer":
            return self._error(403, "", "You don't have write access to this repository")
        files = dict(repo.files)
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        sha = repo.commit(files, branch)
        url = f"https://huggingface.co/{repo.repo_id}/commit/{sha}"  # what a mirror would pass on
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    # ------------------------------------------------------------------------------------------------ answers

    def _error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, body: Any = None
    ) -> None:
        named = {"x-error-code": code} if code else {}
        self._json({"error": message, **(body or {})}, {**named, "x-error-message": message, **(headers or {})}, status)

    def _json(self, data: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self._send(status, json.dumps(data).encode(), {"content-type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, {**headers, "content-length": str(len(body))})
        drip = self.hub.fault(urlsplit(self.path).path, "drip")
        if self.command != "HEAD" and body:
            for start in range(len(body)) if drip else ():
                self.wfile.write(body[start : start + 1])
                time.sleep(drip.value if drip else 0)
            self.wfile.write(b"" if drip else body)
            self.seen.sent += len(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.seen.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.end_headers()
