"""All files of a repository at one commit, from one recursive listing; offline those that the cache has."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from saewidgets.errors import NotFoundError
from saewidgets.hub.cache import MAX_FILES, cached_listing
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import SWITCH, GatedRepositoryError, HubError, HubOfflineError, RepositoryNotFoundError
from saewidgets.hub.known import similar
from saewidgets.hub.reference import HubReference, parse_reference, wrong_type
from saewidgets.hub.repository import Listing, RepoFile, checked_file, is_hash
from saewidgets.hub_records import RepoInfo

FRESH = 60.0  # seconds for which a branch is believed to stay at its commit
NOT_HERE = "It is not in the cache of this machine either."


def repo_info(reference: str | HubReference, *, client: HubClient | None = None) -> RepoInfo:
    """What a repository is: commit, licence, gate, base models, number and size of its files.

    In offline mode what the cache on this machine has of it: `from_cache`.

    Raises:
        HubError: as one of its children (missing, private, gated, another type, unreachable, …).
        ConfigError: `reference` cannot be read.
    """
    client = client or HubClient()
    place = parse_reference(reference)
    try:
        return look(place, client).info
    except GatedRepositoryError:  # the files are behind the gate, the card is not
        return _info(_model(place, client), place, client, {})


def look(place: HubReference, client: HubClient) -> Listing:
    """Every file of the repository; in offline mode (``HF_HUB_OFFLINE=1``) those that are cached, if any are.

    `Listing.complete` and `RepoInfo.from_cache` tell them apart. A connection that fails is not taken for offline mode:
    whoever wants the repository's own list should hear of it.

    Raises:
        HubError: as `list_repository`; `HubOfflineError` in offline mode if nothing of it is cached.
    """
    try:
        return list_repository(place, client=client)
    except HubOfflineError as error:
        if error.where != SWITCH:
            raise
        key = ("cached", place.repo_id, place.revision, _fresh_for())
        # A cache without links has to be read to know what its files are.
        listing: Listing | None = client.once(key, lambda: cached_listing(client.cache_dir, place))
        if listing is None:
            error.hint = f"{error.hint or ''} {NOT_HERE}".strip()
            raise
        return listing


def _fresh_for() -> int:
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
    sha = model.get("sha")
    if not is_hash(sha, 40):
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
    path, size, git, lfs = (entry.get(key) for key in ("path", "size", "oid", "lfs"))
    if not isinstance(lfs, dict):
        return checked_file(path, size, git, None)
    return checked_file(path, lfs.get("size"), git, lfs.get("oid") or "")


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
