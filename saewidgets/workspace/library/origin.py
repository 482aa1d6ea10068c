"""Where an SAE came from, and what it is called here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from saewidgets.config import arguments
from saewidgets.config.names import one_line
from saewidgets.errors import ConfigError

_LAYER = re.compile(r"(?:^|[._/-])(?:blocks|layers?|h)[._-](\d{1,4})(?:[./_-]|$)|\.(\d{1,4})(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an SAE came from.

    Attributes:
        source: as in `SAERecord`.
        where: a path or a link, for people.
        name: what to call it; a number is added if that is taken.
        model, hook_name: what it was trained on, where that is known better than from the files.
        apply_b_dec_to_input: whether b_dec is subtracted from the input, where the files leave it open.
        layer: where a path says so and the hook name does not.
        repo_id, revision, repo_path: of a download.
        license: of the repository of a download, where its card says.
        facts: what is known beyond the files: ``l0``, ``canonical``, ``site``, ``width``.
    """

    source: str
    where: str
    name: str
    model: str | None = None
    hook_name: str | None = None
    apply_b_dec_to_input: bool | None = None
    layer: int | None = None
    repo_id: str | None = None
    revision: str | None = None
    repo_path: str | None = None
    license: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def layer_of(name: str | None) -> int | None:
    """The layer in a hook name or a path: ``blocks.12.hook_resid_post``, ``layers.12``, ``layer_12/width_16k``."""
    found = _LAYER.search(name or "")
    return int(found[1] or found[2]) if found else None


def checked_tags(tags: Collection[str]) -> tuple[str, ...]:
    """Tags without blanks around them and without repetitions. Raises `ConfigError` for what cannot be one."""
    if isinstance(tags, str):
        raise ConfigError("Tags are a list of words.", where="tags", hint=f"Write tags=[{tags[:40]!r}].")
    if not isinstance(tags, Iterable) or isinstance(tags, bytes):
        arguments.refuse(tags, "tags", "a list of words", 'Write tags=["a word"].')
    found: dict[str, str] = {}
    for tag in tags:
        clean = one_line(arguments.text(tag, "tags", "a list of words"))
        if not clean or len(clean) > 40:
            raise ConfigError("A tag has 1 to 40 characters.", where="tags", hint="Shorten it, or leave it out.")
        found.setdefault(clean.casefold(), clean)
    if len(found) > 20:
        raise ConfigError(f"These are {len(found)} tags; at most 20 are kept.", where="tags", hint="Leave some out.")
    return tuple(found.values())
