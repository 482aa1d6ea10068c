"""Public repositories with SAEs to start from, kept as data, and the models they belong to, gated or not."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable
from importlib import resources
from urllib.parse import quote

from saewidgets.config.names import hub_model
from saewidgets.errors import NotFoundError
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import HubError
from saewidgets.hub.releases import model_of
from saewidgets.hub_records import KnownRepo

_GATED = re.compile(r"google/gemma-\w.*|meta-llama/.*", re.IGNORECASE)
_OPEN = re.compile(
    r"openai-community/.*|EleutherAI/(pythia|gpt-neo).*|Qwen/.*|deepseek-ai/.*|openai/gpt-oss.*", re.IGNORECASE
)


@functools.cache
def known_repos() -> tuple[KnownRepo, ...]:
    """The table that ships with the package, in the order in which it is shown."""
    text = resources.files("saewidgets.hub").joinpath("data/known.json").read_text(encoding="utf-8")
    rows = []
    for row in json.loads(text):
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
