"""Corpora: where documents come from.

A corpus yields `Document`s. A long file arrives in several pieces, so that memory does not grow with it; `continues`
marks a piece that carries on the one before. What is too much to be read whole is a `LongCorpus`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from saewidgets import demo
from saewidgets.activations.documents import CHUNK_CHARACTERS, Chunk, Corpus, Document, Position, Split, pieces
from saewidgets.activations.text_files import open_files
from saewidgets.config import CorpusConfig, DemoCorpus, HubCorpus, TextCorpus, TokensCorpus
from saewidgets.errors import ConfigError
from saewidgets.hub import HubClient


# The exact revision of a dataset of the hub.
def is_exact(corpus: Any) -> bool:
    """Whether the configuration of a corpus means the same text for ever: it is not of the hub, or names a commit."""
    hub = _hub(corpus)
    return hub is None or hub.commit is not None


def with_exact_revision(corpus: Any, client: HubClient | None = None) -> Any:
    """The configuration with the commit that its revision stands for now; what is exact already as it is.

    Raises:
        HubError: there is no such dataset or revision, or the hub cannot be reached.
    """
    hub = _hub(corpus)
    if hub is None or hub.commit is not None:
        return corpus
    from saewidgets.activations.hubcorpus import dataset_commit  # pyarrow: half a second to import

    return corpus.replace(revision=dataset_commit(client or HubClient(), hub.path, hub.revision))


def exact_again(corpus: Any, commit: str | None) -> Any:
    """The configuration with a commit that was found out before; None and what is exact already change nothing."""
    return corpus if commit is None or is_exact(corpus) else corpus.replace(revision=commit)


def _hub(corpus: Any) -> HubCorpus | None:
    if isinstance(corpus, HubCorpus):
        return corpus
    return corpus.hub if isinstance(corpus, TokensCorpus) else None


__all__ = ["Corpus", "Document", "Split", "open_corpus"]


def open_corpus(config: CorpusConfig) -> Corpus:
    """The corpus that `config` describes. Files are looked for at once, and the hub is asked; they are read when
    iterated.

    Raises:
        NotFoundError: a file, folder, dataset, configuration or split does not exist, or a folder holds no text.
        StorageError: a file in a folder is a link that leads out of it.
        ConfigError: no such encoding or column; or it is a store of activations, which holds no text to read.
        FormatError: a file is damaged.
        HubError: the hub refuses, or cannot be reached.
    """
    if isinstance(config, DemoCorpus):
        return _Demo()
    if isinstance(config, TextCorpus):
        return open_files(config)
    if isinstance(config, HubCorpus):
        from saewidgets.activations.hubcorpus import open_hub_corpus  # datasets: seconds to import

        return open_hub_corpus(config)
    if isinstance(config, TokensCorpus):
        if (hub := config.hub) is not None:
            from saewidgets.activations.hubcorpus import open_hub_corpus  # datasets: seconds to import

            return open_hub_corpus(hub, tokens=config)
        from saewidgets.activations.tokenfiles import open_token_files  # pyarrow: a second to import

        return open_token_files(config)
    raise ConfigError(
        f"{type(config).__name__} is not a corpus of text.", where="corpus",
        hint='Use "demo", a path, TextCorpus, HubCorpus or TokensCorpus.',
    )


class _Demo:
    """The text that ships with the package, a `LongCorpus`."""

    label, held_out, whole_rows = "demo", True, False
    facts: Mapping[str, Any] = {"kind": "demo", "held_out": True}

    def documents(self, split: Split = "train") -> Iterator[Document]:
        for document in demo.documents(split):
            yield from pieces(document.text, document.title)

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        done, size = int(position["documents"]) if position else 0, 0
        waiting: list[Document] = []
        for document in itertools.islice(demo.documents("all"), done, None):
            done += 1
            out = document.split == "validation"
            waiting += [replace(piece, held_out=out) for piece in pieces(document.text, document.title)]
            size += len(document.text)
            if size >= CHUNK_CHARACTERS:
                yield Chunk(waiting, {"documents": done})
                waiting, size = [], 0
        if waiting:
            yield Chunk(waiting, {"documents": done})

    def fingerprint(self) -> str:
        # The text is part of the package and changes only with it: its counts and its beginning stand for it, since to
        # unpack it all would take seconds at every start.
        beginning: Any = (document.text for document in itertools.islice(demo.documents("all"), 20))
        digest = hashlib.sha256()
        for text in itertools.chain(["demo", repr(demo.corpus_info())], beginning):
            digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
