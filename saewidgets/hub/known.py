"""Public repositories with SAEs to start from, kept as data, and the models they belong to."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable
from importlib import resources

from saewidgets.hub.releases import model_of
from saewidgets.hub_records import KnownRepo

# What TransformerLens and SAELens call models → their repositories on the hub.
MODELS = {
    "gpt2-small": "openai-community/gpt2",
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "gemma-2b": "google/gemma-2b",
    "gemma-2b-it": "google/gemma-2b-it",
    "gemma-2-2b": "google/gemma-2-2b",
    "gemma-2-2b-it": "google/gemma-2-2b-it",
    "gemma-2-9b": "google/gemma-2-9b",
    "gemma-2-9b-it": "google/gemma-2-9b-it",
    "gemma-2-27b": "google/gemma-2-27b",
    "gemma-2-27b-it": "google/gemma-2-27b-it",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "pythia-70m": "EleutherAI/pythia-70m",
    "pythia-70m-deduped": "EleutherAI/pythia-70m-deduped",
    "pythia-160m": "EleutherAI/pythia-160m",
    "pythia-160m-deduped": "EleutherAI/pythia-160m-deduped",
    "pythia-410m": "EleutherAI/pythia-410m",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
}
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


def hub_model(name: str | None) -> str | None:
    """The repository of a model that a configuration names, as far as it can be told without asking."""
    if not name:
        return None
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name, re.ASCII) else MODELS.get(name.lower())


def gated_by_name(model: str) -> bool | None:
    """Whether a model's repository is known to be behind a licence; None where its owner decides case by case."""
    if _GATED.fullmatch(model):
        return True
    return False if _OPEN.fullmatch(model) else None


def similar(repo_id: str) -> tuple[str, ...]:
    """Known repositories whose names are nearest to one that does not exist."""
    names = {known.repo_id.lower(): known.repo_id for known in known_repos()}
    return tuple(names[name] for name in difflib.get_close_matches(repo_id.lower(), list(names), 3, 0.75))


def repos_for_model(model: str) -> tuple[str, ...]:
    """Known repositories with SAEs of a model."""
    return tuple(_matching(model.lower()))[:4]


def _matching(model: str) -> Iterable[str]:
    short = model.rpartition("/")[2]
    for known in known_repos():
        named = known.model.lower()
        if named == model or named.rpartition("/")[2] == short:
            yield known.repo_id


def trained_on(repo_id: str, base_models: Iterable[str] = ()) -> str | None:
    """The model of a repository's SAEs, from its card, the table of known ones, or SAELens' releases."""
    for known in known_repos():
        if known.repo_id == repo_id:
            return known.model
    return next(iter(base_models), None) or model_of(repo_id)
