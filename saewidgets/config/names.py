"""Names of models (on the hub, local, with a revision), and text from people and files as one printable line."""

import os
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from saewidgets.errors import ConfigError

_OWNERS = {
    "openai-community": "gpt2 gpt2-medium gpt2-large gpt2-xl",
    "google": "gemma-2b gemma-2b-it gemma-2-2b gemma-2-2b-it gemma-2-9b gemma-2-9b-it gemma-2-27b gemma-2-27b-it",
    "EleutherAI": "pythia-70m pythia-70m-deduped pythia-160m pythia-160m-deduped pythia-410m",
    "Qwen": "Qwen3-0.6B Qwen3-1.7B Qwen3-4B Qwen3-8B Qwen3-14B",
}
MODELS = {
    "gpt2-small": "openai-community/gpt2",
    **{name.lower(): f"{owner}/{name}" for owner, names in _OWNERS.items() for name in names.split()},
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
}
"""What TransformerLens and SAELens call models → their repositories on the hub."""


def hub_model(name: str | None) -> str | None:
    """The repository of a model that a configuration names, if the name alone tells it."""
    if not name:
        return None
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name, re.ASCII) else MODELS.get(name.lower())


def one_name(name: str) -> str:
    """The one name under which the library lists a model: its repository's where that is known, else unchanged."""
    return hub_model(name) or name


def names_of(name: str) -> tuple[str, ...]:
    """All names of a model: `name`, that of its repository, and the short ones that stand for it."""
    repo = one_name(name)
    return tuple(dict.fromkeys((name, repo, *(short for short, full in MODELS.items() if full == repo))))


def is_local(name: str) -> bool:
    """Whether `name` means files on this machine rather than a hub id: it is "demo", a path or a folder that exists."""
    looks_like_path = name.startswith((".", "~", "/", os.sep)) or name.count("/") > 1 or "\\" in name
    return name == "demo" or looks_like_path or os.path.isdir(name)  # False where no folder can have such a name


_PATH = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\n]*")


def shown_model(name: str) -> str:
    """The name of a model as lists and published files have it: of a folder its own name, not where it is."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if _PATH.fullmatch(name) else name


def without_paths(data: Any, names: Mapping[str, str] | None = None) -> Any:
    """JSON data with `names` (a text → what replaces it), and every other path as the name of its file or folder."""
    if isinstance(data, Mapping):
        return {key: without_paths(value, names) for key, value in data.items()}
    if isinstance(data, list):
        return [without_paths(each, names) for each in data]
    return ((names or {}).get(data) or shown_model(data)) if isinstance(data, str) else data


def as_recorded(name: str) -> str:
    """The name of a model as records have it: the absolute path of a folder that exists; any other as it is."""
    if name != "demo" and os.path.isdir(os.path.expanduser(name)):
        return str(Path(name).expanduser().absolute())
    return name


def check_revision(model: str, revision: str | None) -> None:
    """Raise `ConfigError` where a revision is named of what has none: it would be ignored."""
    if revision is None:
        return
    if is_local(model):
        what = "The embedded model" if model == "demo" else f"{model} is a folder, which"
        raise ConfigError(
            f"{what} has no revisions.", where="model_revision",
            hint="Leave Model revision empty, or name the model of the hub.",
        )


HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: JSON may contain it, UTF-8 cannot."""
MAX_NAME = 120
"""Characters of the name of a run, a template, a store or an SAE."""

_WORDS, _LETTERS = 50, 1_000  # of a search

# They change the direction of what follows them, also of our own words behind a name.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(text: str) -> str:
    """`text` without line breaks, control characters, marks of direction, and blanks around it."""
    kept = "".join(" " if unicodedata.category(c) == "Cc" else c for c in storable(text) if c not in _DIRECTIONS)
    return " ".join(kept.split())


def storable(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of surrogate pairs become question marks."""
    return HALF_A_CHARACTER.sub("?", text)


def text_or_none(value: object) -> str | None:
    """`value`, if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def search_words(search: str | None) -> list[str]:
    """The words of a search. Raises `ConfigError`: there are more than a query can hold."""
    words = storable(search or "").split()
    if len(words) > _WORDS or len(search or "") > _LETTERS:
        raise ConfigError(
            f"A search has at most {_WORDS} words and {_LETTERS} characters.", where="search", hint="Shorten it."
        )
    return words


def free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, shortened if need be, with a number behind it if it is taken."""
    wanted = one_line(wanted)[:MAX_NAME]
    name, number = wanted, 2
    while name in taken:
        end = f"-{number}"
        name, number = wanted[: MAX_NAME - len(end)] + end, number + 1
    return name
