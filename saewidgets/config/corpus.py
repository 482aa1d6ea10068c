"""Where the text comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from saewidgets.config.base import Config
from saewidgets.errors import ConfigError


class DemoCorpus(Config):
    """The public-domain English that ships with the package."""

    kind: Literal["demo"] = "demo"

    @property
    def label(self) -> str:
        return "demo"


class TextCorpus(Config):
    """Plain text: files, folders (searched for `*.txt` and `*.md`), or strings held in memory. One document each."""

    kind: Literal["text"] = "text"
    files: tuple[str, ...] = Field(default=(), title="Files and folders")
    strings: tuple[str, ...] = Field(default=(), title="Strings", repr=False)
    encoding: str = "utf-8"

    def __init__(self, source: Any = None, /, **data: Any) -> None:
        """`TextCorpus("notes.txt")`, `TextCorpus(["a.txt", "folder"])` or `TextCorpus(strings=[...])`."""
        if source is not None:
            data["files"] = (source,) if isinstance(source, str | Path) else tuple(source)
        if "files" in data:
            data["files"] = tuple(str(item) for item in data["files"])
        if isinstance(data.get("strings"), str):
            data["strings"] = (data["strings"],)
        super().__init__(**data)

    @model_validator(mode="after")
    def _has_text(self) -> TextCorpus:
        if not self.files and not self.strings:
            raise ConfigError("The corpus is empty.", hint="Give at least one file, folder or string.")
        if any(not name.strip() for name in self.files):
            raise ConfigError(
                "A file name is empty.", where="corpus.files", hint='Use "." for the files of the current folder.'
            )
        for i, text in enumerate(self.strings):
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ConfigError(
                    f"String {i + 1:,} holds half a character (a lone surrogate) at position {error.start:,}.",
                    where="corpus.strings", hint="Decode the text with errors='replace'.",
                ) from error
        return self

    @property
    def label(self) -> str:
        parts = [Path(name).name for name in self.files[:2]]
        if len(self.files) > 2:
            parts.append(f"{len(self.files) - 2} more")
        if self.strings:
            parts.append(f"{len(self.strings)} string{'s' if len(self.strings) > 1 else ''}")
        return ", ".join(parts)


CorpusConfig = Annotated[DemoCorpus | TextCorpus, Field(discriminator="kind")]


def as_corpus(value: Any) -> Any:
    """What a person may write for a corpus: ``"demo"``, a path, a list of paths, or one of the models above."""
    if value == "demo":
        return {"kind": "demo"}
    if isinstance(value, str | Path):
        text = str(value)
        if text.strip() == "":
            raise ConfigError("The dataset is missing.", hint='Enter "demo", or the path of a text file or folder.')
        return {"kind": "text", "files": (text,)}
    if isinstance(value, list | tuple):
        return {"kind": "text", "files": tuple(str(item) for item in value)}
    return value
