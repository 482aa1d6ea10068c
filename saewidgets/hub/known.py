"""Facts that ship with the package: public repositories with SAEs to start from, the models they belong to, gated or
not, and SAELens' releases and ids: which repository and folder they stand for.

`data/releases.json` is made by `tools/build_releases.py` from the table that sae-lens ships. The ids of a release
follow few patterns (``layer_#_width_#k`` is the same folder below ``resid_post``): those are kept, and beside them only
the ids that follow none. A pattern also fits ids that were never published; the listing of the repository then says so.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from saewidgets.config.names import hub_model
from saewidgets.errors import NotFoundError
from saewidgets.hub.errors import HubError
from saewidgets.hub_records import KnownRepo

if TYPE_CHECKING:
    from saewidgets.hub.client import HubClient

_NUMBER = re.compile(r"\d+")
_GATED = re.compile(r"google/gemma-\w.*|meta-llama/.*", re.IGNORECASE)
_OPEN = re.compile(
    r"openai-community/.*|EleutherAI/(pythia|gpt-neo).*|Qwen/.*|deepseek-ai/.*|openai/gpt-oss.*", re.IGNORECASE
)


def _data(name: str) -> Any:
    return json.loads(resources.files("saewidgets.hub").joinpath(f"data/{name}").read_text(encoding="utf-8"))


@functools.cache
def known_repos() -> tuple[KnownRepo, ...]:
    """The table that ships with the package, in the order in which it is shown."""
    rows = []
    for row in _data("known.json"):
        row["sites"], row["widths"] = tuple(row.get("sites", ())), tuple(row.get("widths", ()))
        rows.append(KnownRepo(**row))
    return tuple(rows)


def gated_by_name(model: str) -> bool | None:
    """Whether a model's repository is known to be behind a licence; None where its owner decides case by case."""
    if _GATED.fullmatch(model):
        return True
    return False if _OPEN.fullmatch(model) else None


def similar(repo_id: str, others: Iterable[str] = ()) -> tuple[str, ...]:
    """Repositories, known ones or `others`, whose names are nearest to one that does not exist."""
    names = {name.lower(): name for name in (*others, *(known.repo_id for known in known_repos()))}
    return tuple(names[name] for name in difflib.get_close_matches(repo_id.lower(), list(names), 3, 0.75))


def repos_for_model(model: str) -> tuple[str, ...]:
    """Known repositories with SAEs of a model, by the end of its name."""
    short = model.lower().rpartition("/")[2]
    return tuple(known.repo_id for known in known_repos() if known.model.lower().rpartition("/")[2] == short)[:4]


def trained_on(repo_id: str, base_models: Iterable[str] = ()) -> str | None:
    """The model of a repository's SAEs, from its card, the table of known ones, or SAELens' releases."""
    known = (row.model for row in known_repos() if row.repo_id == repo_id)
    return next(known, None) or next(iter(base_models), None) or model_of(repo_id)


def gated(model: str | None, client: HubClient) -> bool | None:
    """Whether a base model asks for a licence: by its name, else by asking the hub once; None where it is not known.

    Args:
        model: as a card or a configuration names it.
        client: keeps the answer. It tries once: only a warning depends on it.
    """
    repo = hub_model(model)
    if repo is None:
        return None
    if (known := gated_by_name(repo)) is not None:
        return known

    def look() -> bool | None:
        try:
            data, _ = client.get_json(f"{client.endpoint}/api/models/{quote(repo)}", tries=1)
        except NotFoundError:
            return None
        return bool(data.get("gated")) if isinstance(data, dict) else None

    try:
        return client.once(("gated", repo), look)
    except HubError:
        return None


# --- SAELens' releases -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release:
    """A SAELens release.

    Attributes:
        name: as `SAE.from_pretrained` takes it.
        patterns: ids with ``#`` for every number → folder with ``{n}`` for the n-th number of the id.
        ids: ids that follow no pattern → folder.
    """

    name: str
    repo_id: str
    patterns: Mapping[str, str]
    ids: Mapping[str, str]


@functools.cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = _data("releases.json")
    return table


def release_names() -> list[str]:
    """Names of all releases."""
    return list(_table()["releases"])


def find_release(name: str) -> Release | None:
    """The release of that name, None if there is none."""
    row = _table()["releases"].get(name)
    if row is None:
        return None
    return Release(name, row["repo"], row.get("patterns", {}), row.get("ids", {}))


def release_path(release: Release, sae_id: str) -> str:
    """The folder of one SAE of `release`; an id that is already a folder stays as it is."""
    if sae_id in release.ids:
        return release.ids[sae_id]
    pattern = release.patterns.get(_NUMBER.sub("#", sae_id))
    return pattern.format(*_NUMBER.findall(sae_id)) if pattern is not None else sae_id


def is_canonical(release: Release) -> bool:
    """Whether it has one SAE of each layer and width of its repository, and no more."""
    return bool(release.ids) and all(sae_id.endswith("/canonical") for sae_id in release.ids)


@functools.cache
def canonical_paths(repo_id: str) -> frozenset[str]:
    """Folders of a Gemma Scope repository that SAELens gives as the ones to take for their layer and width."""
    return frozenset(
        path
        for row in _table()["releases"].values()
        if row["repo"] == repo_id
        for sae_id, path in row.get("ids", {}).items()
        if sae_id.endswith("/canonical")
    )


def published_l0(repo_id: str, path: str) -> float | None:
    """Mean active latents of a Gemma Scope 2 folder, whose name says only ``small``, ``medium`` or ``big``."""
    found = re.fullmatch(r"(.+)/layer_(\d+)_width_[^_]+_l0_(small|medium|big)(?:_.*)?", path)
    if found is None:
        return None
    value = _table()["l0"].get(repo_id, {}).get(found[1], {}).get(found[3], {}).get(found[2])
    return None if value is None else float(value)


@functools.cache
def model_of(repo_id: str) -> str | None:
    """The model that SAELens names for the SAEs of a repository, if all its releases agree."""
    models = {row["model"] for row in _table()["releases"].values() if row["repo"] == repo_id}
    return models.pop() if len(models) == 1 else None
