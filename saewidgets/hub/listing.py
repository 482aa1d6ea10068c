"""All files of a repository at one commit, from one recursive listing."""

from __future__ import annotations

import bisect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeGuard
from urllib.parse import quote

from saewidgets.errors import NotFoundError
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import HubError, RepositoryNotFoundError
from saewidgets.hub.known import similar
from saewidgets.hub.reference import HubReference, is_plain_path, parse_reference, wrong_type
from saewidgets.hub_records import RepoInfo

MAX_FILES = 200_000
FRESH = 60.0  # seconds for which a branch is believed to stay at its commit


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository.

    Attributes:
        path: below the root, with ``/`` between parts.
        size: bytes of the file itself, not of a pointer to it.
        git: SHA-1 of its git object.
        sha256: of its content, for files that are kept outside git (LFS, Xet); else None.
    """

    path: str
    size: int
    git: str
    sha256: str | None = None

    @property
    def etag(self) -> str:
        """Its name in the hub cache, and what the hub sends as ETag."""
        return self.sha256 or self.git


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit.

    Attributes:
        asked: the branch or tag that was asked for (``"main"`` if none was); None for a commit.
        files: by path. Names that could lead out of a folder are left out.
        paths: theirs, sorted.
        complete: these are all files of the commit; else those that are known on this machine.
    """

    info: RepoInfo
    asked: str | None
    files: Mapping[str, RepoFile] = field(repr=False)
    paths: Sequence[str] = field(repr=False)
    complete: bool = True

    @property
    def repo_id(self) -> str:
        return self.info.repo_id

    @property
    def revision(self) -> str:
        return self.info.revision

    def below(self, path: str) -> dict[str, RepoFile]:
        """Files in a folder (names relative to it), or the one file that `path` names."""
        if not path:
            return dict(self.files)
        if path in self.files:
            return {path.rpartition("/")[2]: self.files[path]}
        start, found = path + "/", {}
        for place in range(bisect.bisect_left(self.paths, start), len(self.paths)):
            name = self.paths[place]
            if not name.startswith(start):
                break
            found[name[len(start) :]] = self.files[name]
        return found


def card(place: HubReference, client: HubClient) -> RepoInfo:
    """What a repository says of itself, without its files. Raises `HubError`."""
    return _info(_model(place, client), place, client, {})


def fresh_for() -> int:
    """A number that changes when what a branch stands for is not believed any longer."""
    return int(time.monotonic() / FRESH)


def list_repository(reference: str | HubReference, *, client: HubClient | None = None) -> Listing:
    """Every file of the repository at the commit that the revision stands for now.

    Kept by the client: a commit's files never change, a branch is asked for again after a minute.

    Raises:
        HubError: as one of its children.
    """
    client = client or HubClient()
    place = parse_reference(reference)
    # What a branch stands for is believed for a minute, what a commit is does not change.
    age = None if is_hash(place.revision, 40) else fresh_for()
    model = client.once(("model", place.repo_id, place.revision, age), lambda: _model(place, client))
    commit = _commit(model, place)
    client.once(("model", place.repo_id, commit, None), lambda: model)
    files, paths = client.once(("tree", place.repo_id, commit), lambda: _tree(place.repo_id, commit, client))
    asked = None if place.revision == commit else place.revision or "main"
    return Listing(_info(model, place, client, files), asked, files, paths)


def listing_of(
    repo_id: str, revision: str, files: Sequence[RepoFile], *, asked: str | None = None, complete: bool = False
) -> Listing:
    """The listing of files that are known without asking the hub; the rest of the repository is not known."""
    found = {file.path: file for file in files}
    size = sum(file.size for file in files)
    info = RepoInfo(repo_id, revision, files=len(found), size_bytes=size, from_cache=not complete)
    return Listing(info, asked, found, sorted(found), complete)


def _model(place: HubReference, client: HubClient) -> Mapping[str, Any]:
    url = f"{client.endpoint}/api/models/{quote(place.repo_id)}"
    if place.revision is not None:
        url += f"/revision/{quote(place.revision, safe='')}"
    try:
        data, _ = client.get_json(url)
    except RepositoryNotFoundError as error:
        raise _explained(error, place, client) from error
    if not isinstance(data, dict):
        raise HubError("The hub's answer does not describe a repository.", where=place.repo_id)
    return data


def _explained(error: RepositoryNotFoundError, place: HubReference, client: HubClient) -> HubError:
    """A missing model repository may be a dataset or a Space of that name, or a known one misspelt."""
    for plural, kind in (("datasets", "dataset"), ("spaces", "Space")):
        try:
            client.get_json(f"{client.endpoint}/api/{plural}/{quote(place.repo_id)}")
        except NotFoundError:
            continue
        except HubError:
            break  # the first error says more
        return wrong_type(place.repo_id, kind)
    near = similar(place.repo_id) or _near(place.repo_id, client)
    if not near:
        return error
    found = RepositoryNotFoundError(error.what, where=error.where, hint=f"{error.hint} Nearest name: {near[0]}.")
    found.suggestions = near
    return found


def _near(repo_id: str, client: HubClient) -> tuple[str, ...]:
    """What the same owner has of a similar name, else others of the same name."""
    owner, _, name = repo_id.partition("/")

    def found(**params: str) -> list[str]:
        rows, _ = client.get_json(f"{client.endpoint}/api/models", {**params, "limit": "200"}, tries=1)
        rows = rows if isinstance(rows, list) else []
        return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]

    try:
        return similar(repo_id, found(author=owner)) or tuple(
            one for one in found(search=name) if one.lower().endswith(f"/{name.lower()}")
        )[:3]
    except HubError:
        return ()  # the first error says more


def _commit(model: Mapping[str, Any], place: HubReference) -> str:
    sha = str(model.get("sha") or "")
    if len(sha) != 40 or set(sha) - set("0123456789abcdef"):
        raise HubError("The hub does not say which commit this is.", where=str(place), hint="Try again in a moment.")
    return sha


def _tree(repo_id: str, commit: str, client: HubClient) -> tuple[dict[str, RepoFile], list[str]]:
    files: dict[str, RepoFile] = {}
    url: str | None = f"{client.endpoint}/api/models/{quote(repo_id)}/tree/{commit}"
    params: dict[str, str] | None = {"recursive": "true", "expand": "false"}
    while url is not None:
        entries, url = client.get_json(url, params)
        params = None
        if not isinstance(entries, list):
            raise HubError("The hub's answer is not a listing of files.", where=repo_id, hint="Try again in a moment.")
        for entry in entries:
            if (file := _file(entry)) is not None:
                files[file.path] = file
        if len(files) > MAX_FILES:
            raise HubError(f"The repository has more than {MAX_FILES:,} files.", where=repo_id)
    return files, sorted(files)


def _file(entry: Any) -> RepoFile | None:
    """One entry of a listing; None for folders and for names that must not become paths here."""
    if not isinstance(entry, dict) or entry.get("type") != "file":
        return None
    path, size, git = entry.get("path"), entry.get("size"), entry.get("oid")
    if not (isinstance(path, str) and is_plain_path(path) and isinstance(size, int) and size >= 0 and is_hash(git, 40)):
        return None
    lfs = entry.get("lfs")
    if not isinstance(lfs, dict):
        return RepoFile(path, size, str(git))
    if not (is_hash(lfs.get("oid"), 64) and isinstance(lfs.get("size"), int) and lfs["size"] >= 0):
        return None
    return RepoFile(path, lfs["size"], str(git), lfs["oid"])


def is_hash(value: Any, length: int) -> TypeGuard[str]:
    """Whether it is so many lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == length and not set(value) - set("0123456789abcdef")


def _info(model: Mapping[str, Any], place: HubReference, client: HubClient, files: Mapping[str, RepoFile]) -> RepoInfo:
    card = model.get("cardData") if isinstance(model.get("cardData"), dict) else {}
    assert isinstance(card, dict)
    tags = tuple(tag for tag in model.get("tags") or () if isinstance(tag, str))
    gate = model.get("gated")
    return RepoInfo(
        repo_id=place.repo_id,
        revision=_commit(model, place),
        private=bool(model.get("private")),
        gated=gate if isinstance(gate, str) else bool(gate),
        library=_text(model.get("library_name")) or _text(card.get("library_name")),
        license=_text(card.get("license")),
        base_models=_base_models(card, tags),
        tags=tags,
        downloads=_number(model.get("downloads")),
        likes=_number(model.get("likes")),
        last_modified=_time(model.get("lastModified")),
        files=len(files),
        size_bytes=sum(file.size for file in files.values()),
        url=f"{client.endpoint}/{place.repo_id}",
    )


def _base_models(card: Mapping[str, Any], tags: tuple[str, ...]) -> tuple[str, ...]:
    named = card.get("base_model")
    listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    # a tag is base_model:owner/name or base_model:adapter:owner/name
    tagged = [tag.rsplit(":", 1)[1] for tag in tags if tag.startswith("base_model:")]
    return tuple(dict.fromkeys(name for name in (*listed, *tagged) if isinstance(name, str) and name))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None
