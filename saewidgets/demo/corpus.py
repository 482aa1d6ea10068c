"""The demo corpus: 8.3 million tokens of public-domain English, packed inside the package."""

import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from saewidgets.errors import ConfigError, NotFoundError

Split = Literal["train", "validation", "all"]

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Document:
    """One chapter, speech or article, or a stretch of a long one. Paragraphs of `text` are parted by blank lines;
    quotes and dashes are ASCII."""

    title: str
    source: str
    text: str
    split: str = "train"


@dataclass(frozen=True)
class SourceInfo:
    """One body of text of the corpus: `package` names the registry package it was taken from."""

    key: str
    what: str
    licence: str
    package: str
    documents: int
    tokens_train: int
    tokens_validation: int


@dataclass(frozen=True)
class CorpusInfo:
    """Counts and sources; tokens are those of the demo model's tokenizer, without BOS."""

    sources: tuple[SourceInfo, ...]

    @property
    def documents(self) -> int:
        return sum(s.documents for s in self.sources)

    @property
    def tokens(self) -> dict[str, int]:
        train = sum(s.tokens_train for s in self.sources)
        validation = sum(s.tokens_validation for s in self.sources)
        return {"train": train, "validation": validation, "all": train + validation}


def documents(split: Split = "train") -> Iterator[Document]:
    """Stream the documents in a fixed order that mixes the sources; text is unpacked as it is read.

    Args:
        split: `"train"`, what the demo model was trained on; `"validation"`, documents held out from it whole;
            `"all"`, both.

    Raises:
        ConfigError: no such split.
        NotFoundError: the installation lacks the corpus.
    """
    if split not in get_args(Split):
        raise ConfigError(
            f"The demo corpus has no split {split!r}.", where="split", hint="Use 'train', 'validation' or 'all'."
        )
    path = _file("corpus.jsonl.xz")

    # An inner generator, so that the errors above come at the call and not at the first `next`.
    def read() -> Iterator[Document]:
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            for line in lines:
                row = json.loads(line)
                if split in ("all", row["split"]):
                    yield Document(title=row["title"], source=row["source"], text=row["text"], split=row["split"])

    return read()


def corpus_info() -> CorpusInfo:
    """Sources with their licences, documents and token counts; reads a small file, not the text."""
    rows = json.loads(_file("sources.json").read_text(encoding="utf-8"))
    return CorpusInfo(
        tuple(
            SourceInfo(
                **{name: row[name] for name in ("key", "what", "licence", "package", "documents")},
                tokens_train=row["tokens"]["train"],
                tokens_validation=row["tokens"]["validation"],
            )
            for row in rows
        )
    )


def _file(name: str) -> Path:
    path = _DATA / name
    if not path.is_file():
        raise NotFoundError(
            f"{name} is missing from this installation.",
            where=str(path),
            hint="Install saewidgets from its wheel, or build the corpus with tools/build_corpus.py.",
        )
    return path
