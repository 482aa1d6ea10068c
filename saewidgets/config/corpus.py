"""Configurations of a corpus (demo, text, hub dataset, tokens, stored activations), and how text becomes one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from saewidgets.config.base import Config, require
from saewidgets.config.names import HALF_A_CHARACTER
from saewidgets.errors import ConfigError

STORE_ID = re.compile(r"acts_[0-9A-HJKMNP-TV-Z]{26}")
"""What `ws.activations` calls its stores."""


class ActivationCorpus(Config):
    """A store of activations, see `ws.activations`: no text is read, and no language model is loaded for batches.

    `ActivationCorpus("acts_01J…")`; without a workspace the path of its folder. Model, context length and number format
    are those that it was captured with. With `cross_entropy` the language model is loaded all the same, to measure
    `ce_loss_score` in evaluations; all other metrics are measured on held-out activations of the store.
    """

    kind: Literal["activations"] = "activations"
    store_id: str = Field(title="Store", description="Id of the store of activations.")
    cross_entropy: bool = Field(
        default=False, title="Measure the cross-entropy", description="Loads the language model for evaluations."
    )

    def __init__(self, store_id: Any = None, /, **data: Any) -> None:
        """`ActivationCorpus(store_id)`; a record or handle of a store counts as its id."""
        if store_id is not None:
            data["store_id"] = getattr(store_id, "id", store_id)
        super().__init__(**data)

    @field_validator("store_id")
    @classmethod
    def _is_named(cls, store_id: str) -> str:
        if not store_id.strip() or "\0" in store_id:
            raise ConfigError(
                "The store of activations is missing.", hint="Give its id, as ws.activations.list() shows it."
            )
        return store_id.strip()

    @property
    def label(self) -> str:
        return self.store_id


PREFIX, TOKENS = "hf://datasets/", "tokens:"
PATH_HINT = 'Enter "demo", the path of a file or folder, or a dataset of the hub (owner/name).'
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
REPOSITORY = re.compile(rf"{_PART}/{_PART}")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_TYPED = re.compile(rf"({_PART}/{_PART})(?:@([^:\s]+))?(?::([^:\s]*))?(?::([^:\s]+))?")
_FILES = (".txt", ".md", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".csv", ".gz", ".zst", ".npy", ".npz",
          ".safetensors")  # fmt: skip


# What a person types for a corpus, taken apart, and the other way round.
#
# ``demo``; a path; ``owner/name`` of a dataset on the hub, with ``@revision``, ``:configuration`` and ``:split``
# behind it where they are needed (``wikimedia/wikipedia:20231101.en``, ``owner/name@v1.0:default:test``);
# ``hf://datasets/owner/name`` for the same; ``tokens:`` before a path or dataset of token ids; the id of a store of
# activations (``acts_…``). ``owner/name`` means the hub where it has the form of a repository's name and nothing of
# that name lies on this machine; ``./owner/name`` is always a path.
def parsed(text: str) -> dict[str, Any]:
    """`text` as the data of a corpus. Raises `ConfigError` if it is empty, or an ``hf://`` address of something else
    than a whole dataset."""
    plain = text.strip()
    if not plain:
        raise ConfigError("The dataset is missing.", hint=PATH_HINT)
    if plain == "demo":
        return {"kind": "demo"}
    if STORE_ID.fullmatch(plain):
        return {"kind": "activations", "store_id": plain}
    if plain.startswith(TOKENS):
        named = parsed(source := plain.removeprefix(TOKENS))
        own: dict[str, Any] = {key: named[key] for key in ("name", "revision", "split") if key in named}
        return {"kind": "tokens", "source": named.get("path", source), **own}
    found = _TYPED.fullmatch(plain.removeprefix(PREFIX))
    if plain.startswith("hf://"):
        if found is None:  # "hf:" is not part of a repository's name
            raise ConfigError(
                f"{plain!r} is not the address of a dataset.",
                hint="Write hf://datasets/owner/name, followed by :configuration and :split where needed. "
                "A dataset's configurations choose its files.",
            )
    elif found is None or found[1].lower().endswith(_FILES) or os.path.lexists(Path(plain).expanduser()):
        return {"kind": "text", "files": (text,)}
    path, revision, name, split = found.groups()
    data = {"kind": "hub", "path": path, "revision": revision, "name": name or None}
    return {**data, "split": split} if split else data


def typed(corpus: Mapping[str, Any]) -> str | None:
    """The data of a corpus as the text that `parsed` understands; None if a text cannot express all of it."""
    kind = corpus.get("kind")
    if kind == "demo":
        return "demo"
    if kind == "activations" and not corpus.get("cross_entropy"):
        return str(corpus.get("store_id"))
    if corpus.get("chat") or corpus.get("column") or corpus.get("tokenizer"):
        return None
    if kind == "hub" and corpus.get("text_field") is None:
        return hub_text(corpus.get("path", ""), corpus.get("name"), corpus.get("split"), corpus.get("revision"))
    if kind == "tokens":
        named = hub_text(corpus.get("source", ""), corpus.get("name"), corpus.get("split"), corpus.get("revision"))
        return f"{TOKENS}{named}"
    files = list(corpus.get("files") or [])
    rest = corpus.get("strings") or corpus.get("text_field") or corpus.get("encoding", "utf-8") != "utf-8"
    return str(files[0]) if kind == "text" and len(files) == 1 and not rest else None


def hub_text(path: str, name: str | None, split: str | None, revision: str | None) -> str:
    """``owner/name@revision:configuration:split``; what is usual is left out."""
    text = path + (f"@{revision}" if revision else "")
    if split not in (None, "train"):
        return f"{text}:{name or ''}:{split}"
    return f"{text}:{name}" if name else text


_COMMIT = re.compile(r"[0-9a-f]{40}")


class DemoCorpus(Config):
    """The public-domain English that ships with the package."""

    kind: Literal["demo"] = "demo"

    @property
    def label(self) -> str:
        return "demo"


class TextCorpus(Config):
    """Text on this machine: files, folders, or strings held in memory.

    ``.txt`` and ``.md`` files (and files of any other name) are one document each; ``.jsonl`` (also ``.gz``, ``.zst``)
    and ``.parquet`` hold one document per row. Folders are searched for all of these.
    """

    kind: Literal["text"] = "text"
    files: tuple[str, ...] = Field(default=(), title="Files and folders")
    strings: tuple[str, ...] = Field(default=(), title="Strings", repr=False)
    encoding: str = "utf-8"
    text_field: str | None = Field(
        default=None, min_length=1, title="Text column",
        description="Column or key with the text in .jsonl and .parquet; empty: text, content, …",
    )
    chat: bool = Field(
        default=False, title="Conversations",
        description="Rows are conversations, which the chat template of the model's tokenizer writes out.",
    )

    def __init__(self, source: Any = None, /, **data: Any) -> None:
        """`TextCorpus("notes.txt")`, `TextCorpus(["a.txt", "folder"])` or `TextCorpus(strings=[...])`."""
        if source is not None:
            _refuse_dataset(source)
            data["files"] = source
        if isinstance(data.get("strings"), str):
            data["strings"] = (data["strings"],)
        super().__init__(**data)

    @field_validator("files", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        given = (value,) if isinstance(value, str | Path) else value
        if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
            raise ConfigError("Expected a list of file and folder names.", hint='Give ["a.txt", "folder"], or one.')
        return tuple(str(item) if isinstance(item, Path) else item for item in given)

    @model_validator(mode="after")
    def _has_text(self) -> TextCorpus:
        require(
            (self.files or self.strings, "", "The corpus is empty.", "Give at least one file, folder or string."),
            (all(name.strip() for name in self.files), "corpus.files", "A file name is empty.",
             'Use "." for the files of the current folder.'),
        )  # fmt: skip
        for i, text in enumerate(self.strings, 1):
            if half := HALF_A_CHARACTER.search(text):
                said = f"String {i:,} holds half a character (a lone surrogate) at position {half.start():,}."
                raise ConfigError(said, where="corpus.strings", hint="Decode the text with errors='replace'.")
        return self

    @property
    def label(self) -> str:
        parts = [Path(name).name for name in self.files[:2]]
        if len(self.files) > 2:
            parts.append(f"{len(self.files) - 2} more")
        if self.strings:
            parts.append(f"{len(self.strings)} string{'s' if len(self.strings) > 1 else ''}")
        return ", ".join(parts)


class HubCorpus(Config):
    """A dataset of the Hugging Face hub, streamed: no more of it is read than a run needs.

    `HubCorpus("wikimedia/wikipedia", name="20231101.en")`. No code of a repository is executed. A run notes the commit
    that `revision` stood for when it was started. Without `text_field`, the text is the column text, content, …, or the
    only one with text; conversations (`chat`) are in a column messages, conversation or conversations.
    """

    kind: Literal["hub"] = "hub"
    path: str = Field(title="Dataset", description="owner/name on the Hugging Face hub.")
    name: str | None = Field(
        default=None, min_length=1, max_length=200, title="Configuration", description="For example 20231101.en."
    )
    split: str = Field(default="train", pattern=r"^\w[\w.-]{0,99}$", title="Split")
    revision: str | None = Field(default=None, title="Revision", description="Branch, tag or commit.")
    text_field: str | None = Field(
        default=None, min_length=1, title="Text column", description="Empty: text, content, …"
    )
    chat: bool = Field(
        default=False, title="Conversations",
        description="Rows are conversations, which the chat template of the model's tokenizer writes out.",
    )

    def __init__(self, path: Any = None, /, **data: Any) -> None:
        """`HubCorpus("owner/name", name=…, split=…, revision=…, text_field=…, chat=…)`."""
        if path is not None:
            data["path"] = path
        super().__init__(**data)

    @classmethod
    def wikipedia(cls, language: str = "en", date: str = "20231101", **more: Any) -> HubCorpus:
        """Wikipedia's articles as plain text, from `wikimedia/wikipedia`.

        Args:
            language: code of the edition: ``"en"``, ``"de"``, ``"simple"``, …
            date: of the dump, year month day. The hub has 20231101.
            more: `split`, `revision`, `text_field`.

        Raises:
            ConfigError: not a language code, or not a date.
        """
        require(
            (re.fullmatch(r"[a-z][a-z0-9-]{1,30}", str(language)), "language",
             f"{language!r} is not a language code.", "Write en, de, simple, …"),
            (re.fullmatch(r"\d{8}", str(date)), "date", f"{date!r} is not a date.", "Write year month day: 20231101."),
        )  # fmt: skip
        return cls("wikimedia/wikipedia", name=f"{date}.{language}", **more)

    @field_validator("path")
    @classmethod
    def _is_a_repository(cls, path: str) -> str:
        plain = path.strip().removeprefix(PREFIX).strip("/")
        if not REPOSITORY.fullmatch(plain) or "--" in plain or ".." in plain:
            raise ConfigError(f"{path!r} is not the name of a dataset.", hint="Write owner/name, as on the hub.")
        return plain

    @field_validator("revision")
    @classmethod
    def _is_a_revision(cls, revision: str | None) -> str | None:
        if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
            raise ConfigError(f"{revision!r} is not a branch, tag or commit.", hint="Leave it out for the newest.")
        return revision

    @property
    def commit(self) -> str | None:
        """The exact revision, where `revision` names one."""
        return self.revision if self.revision is not None and _COMMIT.fullmatch(self.revision) else None

    @property
    def label(self) -> str:
        return hub_text(self.path, self.name, self.split, None)


class TokensCorpus(Config):
    """Text that was tokenised before: a ``.npy``, ``.npz``, ``.safetensors`` or ``.parquet`` file, a folder that
    `datasets` or SAELens' `PretokenizeRunner` saved, or a dataset of the hub (``owner/name``; `name`, `split` and
    `revision` are its own, as in `HubCorpus`). `tokenizer` is the one of these ids, if the files do not name it; a
    run with another one is refused.
    """

    kind: Literal["tokens"] = "tokens"
    source: str = Field(min_length=1, title="File, folder or dataset")
    column: str | None = Field(default=None, min_length=1, title="Column", description="Empty: input_ids, tokens, …")
    tokenizer: str | None = Field(default=None, min_length=1, title="Tokenizer")
    name: str | None = Field(default=None, min_length=1, max_length=200, title="Configuration")
    split: str = Field(default="train", pattern=r"^\w[\w.-]{0,99}$", title="Split")
    revision: str | None = Field(default=None, title="Revision")

    def __init__(self, source: Any = None, /, **data: Any) -> None:
        """`TokensCorpus("tokens.npy")`, `TokensCorpus("owner/name", column="input_ids")`."""
        if source is not None:
            _refuse_dataset(source)
            data["source"] = str(source) if isinstance(source, Path) else source
        super().__init__(**data)

    @model_validator(mode="after")
    def _is_named(self) -> TokensCorpus:
        require((self.source.strip(), "corpus.source", "The dataset is missing.", "Give a file, folder or dataset."))
        wrong = next((name for name in ("name", "revision") if getattr(self, name)), None)
        require((
            wrong is None or self.hub is not None, f"corpus.{wrong}",
            "A file on this machine has no configuration and no revision.", "Leave it out.",
        ))  # fmt: skip
        return self

    @property
    def hub(self) -> HubCorpus | None:
        """The dataset of the hub with this name; None if it is a file or folder."""
        data = parsed(self.source)
        if data["kind"] != "hub":
            return None
        own = {"name": self.name, "revision": self.revision, "text_field": self.column}
        merged = {**data, **{key: value for key, value in own.items() if value is not None}}
        return HubCorpus(**{"split": self.split, **merged})

    @property
    def commit(self) -> str | None:
        """The exact revision of a dataset of the hub, where `revision` names one."""
        return None if (hub := self.hub) is None else hub.commit

    @property
    def label(self) -> str:
        return hub.label if (hub := self.hub) is not None else Path(self.source).name


def _refuse_dataset(value: Any) -> None:
    if type(value).__module__.partition(".")[0] == "datasets":
        raise ConfigError(
            f"A {type(value).__name__} object is not a corpus: a run has to find its text again.", where="corpus",
            hint="Save it with dataset.save_to_disk(folder) and give that folder; or give its hub id.",
        )


def as_corpus(value: Any) -> Any:
    """What a person may write for a corpus: ``"demo"``, a path, a list of paths, a dataset of the hub
    (``"owner/name"``, see `parsed`), or one of the models above."""
    if isinstance(value, str):
        return parsed(value)
    _refuse_dataset(value)
    return {"kind": "text", "files": value} if isinstance(value, Path | list | tuple) else value


CorpusConfig = Annotated[
    DemoCorpus | TextCorpus | HubCorpus | TokensCorpus | ActivationCorpus, Field(discriminator="kind")
]
Corpus = Annotated[CorpusConfig, BeforeValidator(as_corpus)]
