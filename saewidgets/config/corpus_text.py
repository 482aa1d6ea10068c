"""What a person types for a corpus, taken apart, and the other way round.

``demo``; a path; ``owner/name`` of a dataset on the hub, with ``@revision``, ``:configuration`` and ``:split`` behind
it where they are needed (``wikimedia/wikipedia:20231101.en``, ``owner/name@v1.0:default:test``);
``hf://datasets/owner/name`` for the same; the id of a store of activations (``acts_…``). ``owner/name`` means the hub
where it has the form of a repository's name and nothing of that name lies on this machine; ``./owner/name`` is always a
path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.corpus_store import STORE_ID
from saewidgets.errors import ConfigError

PREFIX = "hf://datasets/"
PATH_HINT = 'Enter "demo", the path of a file or folder, or a dataset of the hub (owner/name).'
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
REPOSITORY = re.compile(rf"{_PART}/{_PART}")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_TYPED = re.compile(rf"({_PART}/{_PART})(?:@([^:\s]+))?(?::([^:\s]*))?(?::([^:\s]+))?")
_FILES = (".txt", ".md", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".csv", ".gz", ".zst", ".npy", ".npz",
          ".safetensors")  # fmt: skip


def parsed(text: str) -> dict[str, Any]:
    """`text` as the data of a corpus.

    Raises:
        ConfigError: it is empty, or an ``hf://`` address of something else than a whole dataset.
    """
    plain = text.strip()
    if not plain:
        raise ConfigError("The dataset is missing.", hint=PATH_HINT)
    if plain == "demo":
        return {"kind": "demo"}
    if STORE_ID.fullmatch(plain):
        return {"kind": "activations", "store_id": plain}
    if plain.startswith("hf://"):
        found = _TYPED.fullmatch(plain.removeprefix(PREFIX)) if plain.startswith(PREFIX) else None
        if found is None:
            raise ConfigError(
                f"{plain!r} is not the address of a dataset.",
                hint="Write hf://datasets/owner/name, with :configuration and :split behind it where they are needed. "
                "Files of a dataset are chosen by its configurations.",
            )
        return _hub(found)
    found = _TYPED.fullmatch(plain)
    if found is not None and not found[1].lower().endswith(_FILES) and not os.path.lexists(Path(plain).expanduser()):
        return _hub(found)
    return {"kind": "text", "files": (text,)}


def typed(corpus: Mapping[str, Any]) -> str | None:
    """The data of a corpus as the text that `parsed` understands; None where a text cannot say all of it."""
    kind = corpus.get("kind")
    if kind == "demo":
        return "demo"
    if kind == "activations" and not corpus.get("cross_entropy"):
        return str(corpus.get("store_id"))
    if corpus.get("chat"):
        return None
    if kind == "hub" and corpus.get("text_field") is None:
        return hub_text(corpus.get("path", ""), corpus.get("name"), corpus.get("split"), corpus.get("revision"))
    files = list(corpus.get("files") or [])
    rest = corpus.get("strings") or corpus.get("text_field") or corpus.get("encoding", "utf-8") != "utf-8"
    return str(files[0]) if kind == "text" and len(files) == 1 and not rest else None


def hub_text(path: str, name: str | None, split: str | None, revision: str | None) -> str:
    """``owner/name@revision:configuration:split``; what is usual is left out."""
    text = path + (f"@{revision}" if revision else "")
    if split not in (None, "train"):
        return f"{text}:{name or ''}:{split}"
    return f"{text}:{name}" if name else text


def _hub(found: re.Match[str]) -> dict[str, Any]:
    path, revision, name, split = found[1], found[2], found[3], found[4]
    data = {"kind": "hub", "path": path, "revision": revision, "name": name or None}
    return {**data, "split": split} if split else data
