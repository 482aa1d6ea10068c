"""SAELens' releases and ids as facts: which repository and folder they stand for.

`data/releases.json` is made by `tools/build_releases.py` from the table that sae-lens ships. The ids of a release
follow few patterns (``layer_#_width_#k`` is the same folder below ``resid_post``): those are kept, and beside them only
the ids that follow none. A pattern also fits ids that were never published; the listing of the repository then says so.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

_NUMBER = re.compile(r"\d+")


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
    text = resources.files("saewidgets.hub").joinpath("data/releases.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
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
