"""Defines `repo_info`, and `look` and `list_repository`: all files of a repository at one commit, from one recursive
listing, offline those that the cache has; and `HubSource`, of which formats read parts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, Field, Strict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from saewidgets.errors import FormatError, NotFoundError, StorageError
from saewidgets.hub import errors
from saewidgets.hub.cache import MAX_FILES, Listing, RepoFile, cached_file, cached_listing, is_hash
from saewidgets.hub.client import HubClient
from saewidgets.hub.reference import HubReference, parse_reference, similar, wrong_type
from saewidgets.hub_records import RepoInfo

FRESH = 60.0  # seconds for which a branch is believed to stay at its commit
NOT_HERE = "It is not in the cache of this machine either."


def repo_info(reference: str | HubReference, *, client: HubClient | None = None) -> RepoInfo:
    """What a repository is (see `Workspace.hub.repo_info`); in offline mode what the cache here has of it."""
    client = client or HubClient()
    place = parse_reference(reference)
    try:
        return look(place, client).info
    except errors.GatedRepositoryError:  # the files are behind the gate, the card is not
        return _info(_model(place, client), place, client, {})


def look(place: HubReference, client: HubClient) -> Listing:
    """Every file of the repository; in offline mode (``HF_HUB_OFFLINE=1``) those that are cached, if any are. A
    connection that fails is not treated as that: a caller who wants the repository's own list should hear of it."""
    try:
        return list_repository(place, client)
    except errors.HubOfflineError as error:
        if error.where != errors.SWITCH:
            raise
        key = ("cached", place.repo_id, place.revision, _fresh_for())
        # A cache without links has to be read to know what its files are.
        listing: Listing | None = client.once(key, lambda: cached_listing(client.cache_dir, place))
        if listing is None:
            error.hint = f"{error.hint or ''} {NOT_HERE}".strip()
            raise
        return listing


def _fresh_for() -> int:
    """A number that changes when the commits of branches have to be looked up again."""
    return int(time.monotonic() / FRESH)


def list_repository(place: HubReference, client: HubClient) -> Listing:
    """Every file of the repository at the commit that the revision names now. Kept by the client: a commit's files
    never change, a branch is asked for again after a minute."""
    age = None if is_hash(place.revision, 40) else _fresh_for()
    model = client.once(("model", place.repo_id, place.revision, age), lambda: _model(place, client))
    commit = _commit(model, place)
    client.once(("model", place.repo_id, commit, None), lambda: model)
    files, paths = client.once(("tree", place.repo_id, commit), lambda: _tree(place.repo_id, commit, client))
    branch = None if place.revision == commit else place.revision or "main"
    return Listing(_info(model, place, client, files), branch, files, paths)


def _model(place: HubReference, client: HubClient) -> Mapping[str, Any]:
    url = f"{client.endpoint}/api/models/{quote(place.repo_id)}"
    if place.revision is not None:
        url += f"/revision/{quote(place.revision, safe='')}"
    try:
        data, _ = client.get_json(url)
    except errors.RepositoryNotFoundError as error:
        raise _explained(error, place, client) from error
    if not isinstance(data, dict):
        raise errors.HubError("The hub's answer does not describe a repository.", where=place.repo_id)
    return data


def _explained(error: errors.RepositoryNotFoundError, place: HubReference, client: HubClient) -> errors.HubError:
    """A missing model repository may be a dataset or a Space of that name, or a known one misspelt."""
    for plural, kind in (("datasets", "dataset"), ("spaces", "Space")):
        try:
            client.get_json(f"{client.endpoint}/api/{plural}/{quote(place.repo_id)}")
        except NotFoundError:
            continue
        except errors.HubError:
            break  # the first error says more
        return wrong_type(place.repo_id, kind)
    near = similar(place.repo_id) or _near(place.repo_id, client)
    if not near:
        return error
    found = errors.RepositoryNotFoundError(error.what, where=error.where, hint=f"{error.hint} Nearest name: {near[0]}.")
    found.suggestions = near
    return found


def _near(repo_id: str, client: HubClient) -> tuple[str, ...]:
    """Repositories of the same owner with a similar name, else those of others with the same name."""
    owner, _, name = repo_id.partition("/")

    def found(**params: str) -> list[str]:
        rows, _ = client.get_json(f"{client.endpoint}/api/models", {**params, "limit": "200"}, tries=1)
        rows = rows if isinstance(rows, list) else []
        return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]

    try:
        return similar(repo_id, found(author=owner)) or tuple(
            one for one in found(search=name) if one.lower().endswith(f"/{name.lower()}")
        )[:3]
    except errors.HubError:
        return ()  # the first error says more


def _commit(model: Mapping[str, Any], place: HubReference) -> str:
    sha = model.get("sha")
    if not is_hash(sha, 40):
        what = "The hub does not say which commit this is."
        raise errors.HubError(what, where=str(place), hint="Try again in a moment.")
    return sha


def _tree(repo_id: str, commit: str, client: HubClient) -> tuple[dict[str, RepoFile], list[str]]:
    files: dict[str, RepoFile] = {}
    url: str | None = f"{client.endpoint}/api/models/{quote(repo_id)}/tree/{commit}"
    params: dict[str, str] | None = {"recursive": "true", "expand": "false"}
    while url is not None:
        entries, url = client.get_json(url, params)
        params = None
        if not isinstance(entries, list):
            what = "The hub's answer is not a listing of files."
            raise errors.HubError(what, where=repo_id, hint="Try again in a moment.")
        for entry in entries:
            if (file := _file(entry)) is not None:
                files[file.path] = file
        if len(files) > MAX_FILES:
            raise errors.HubError(f"The repository has more than {MAX_FILES:,} files.", where=repo_id)
    return files, sorted(files)


def _file(entry: Any) -> RepoFile | None:
    """One entry of a listing; None for folders and for names that must not become paths here."""
    if not isinstance(entry, dict) or entry.get("type") != "file":
        return None
    lfs = entry.get("lfs")
    of_content = lfs if isinstance(lfs, dict) else {"size": entry.get("size"), "oid": None}
    with contextlib.suppress(ValidationError):
        return RepoFile(entry.get("path"), of_content.get("size"), entry.get("oid"), of_content.get("oid"))  # type: ignore[arg-type]
    return None


def _or_none(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """The data of a card, or None if it has another form: anybody may write one."""
    with contextlib.suppress(ValidationError):
        return check(value)
    return None


_Text = Annotated[str | None, WrapValidator(_or_none)]
_Number = Annotated[int | None, Strict(), WrapValidator(_or_none)]


class _Card(BaseModel):
    library_name: _Text = None
    license: _Text = None
    base_model: Annotated[str | list[Any] | None, WrapValidator(_or_none)] = None


class _Model(BaseModel):
    """The hub's data on a model repository."""

    private: Any = False
    gated: Any = False
    library_name: _Text = None
    tags: Annotated[list[Any] | None, WrapValidator(_or_none)] = None
    downloads: _Number = None
    likes: _Number = None
    last_modified: Annotated[datetime | None, WrapValidator(_or_none), Field(alias="lastModified")] = None
    card: Annotated[_Card | None, WrapValidator(_or_none), Field(alias="cardData")] = None


def _info(model: Mapping[str, Any], place: HubReference, client: HubClient, files: Mapping[str, RepoFile]) -> RepoInfo:
    said = _Model.model_validate(model)
    card, tags = said.card or _Card(), tuple(tag for tag in said.tags or () if isinstance(tag, str))
    named = card.base_model if isinstance(card.base_model, list) else [card.base_model]
    # a tag is base_model:owner/name or base_model:adapter:owner/name
    named += [tag.rsplit(":", 1)[1] for tag in tags if tag.startswith("base_model:")]
    return RepoInfo(
        repo_id=place.repo_id, revision=_commit(model, place), private=bool(said.private),
        gated=said.gated if isinstance(said.gated, str) else bool(said.gated),
        library=said.library_name or card.library_name or None, license=card.license or None,
        base_models=tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name)), tags=tags,
        downloads=said.downloads, likes=said.likes,
        last_modified=said.last_modified.timestamp() if said.last_modified else None, files=len(files),
        size_bytes=sum(file.size for file in files.values()), url=f"{client.endpoint}/{place.repo_id}",
    )  # fmt: skip


# --- Reading parts of files ------------------------------------------------------------------------------------------

MAX_BYTES = 4_000_000  # of one folder: a caller who needs more needs the weights


class HubSource:
    """The files of one SAE in a repository, in a folder or one file: a `saewidgets.formats.source.Source`.

    A range is asked for once and kept by the client; what the hub's cache on this machine has is read there.
    Requests go to the pinned commit, so that all ranges are of the same files. Not for several threads.
    """

    def __init__(self, listing: Listing, path: str, client: HubClient) -> None:
        found = listing.below(path)
        if not found:
            what, hint = "The repository has no such folder or file.", "List the SAEs of the repository first."
            raise errors.EntryNotFoundError(what, where=f"{listing.repo_id}/{path}", hint=hint)
        self.only = path.rpartition("/")[2] if path in listing.files else None
        self.folder = path.rpartition("/")[0] if self.only else path
        self.label = f"{listing.repo_id}@{listing.revision}" + (f"/{self.folder}" if self.folder else "")
        self._fetched = 0
        self._listing = listing
        self._client = client
        self._files: Mapping[str, RepoFile] = found

    def around(self) -> HubSource | None:
        return HubSource(self._listing, self.folder, self._client) if self.only else None

    def files(self) -> Mapping[str, int]:
        return {name: file.size for name, file in self._files.items()}

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        where, file = f"{self.label}/{name}", self._files.get(name)
        if file is None:
            raise FormatError("The file is missing.", where=where)
        end = file.size if length is None else min(file.size, start + length)
        if start < 0 or end <= start:
            return b""
        if (path := cached_file(self._client.cache_dir, self._listing, file)) is not None:
            try:
                with path.open("rb") as cached:
                    cached.seek(start)
                    return cached.read(end - start)
            except OSError as error:
                raise StorageError("A file of the hub cache cannot be read.", where=str(path)) from error
        key = ("range", self._listing.repo_id, self._listing.revision, file.path, start, end)
        return self._client.once(key, lambda: self._fetch(file, where, start, end))

    def _fetch(self, file: RepoFile, where: str, start: int, end: int) -> bytes:
        if self._fetched + end - start > MAX_BYTES:
            raise FormatError(
                "More of this file would have to be read than a preview should fetch.", where=where,
                hint="Download the SAE to see what it is.",
            )
        url = self._client.file_url(self._listing.repo_id, self._listing.revision, file.path)
        data = self._client.get_range(url, start, end)
        if len(data) != end - start:
            what = "The hub sent less of the file than it said."
            raise errors.TruncatedFileError(what, where=where, hint="Try again.")
        self._fetched += len(data)
        return data
