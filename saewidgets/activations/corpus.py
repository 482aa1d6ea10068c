"""Defines `open_corpus`, which makes a `Corpus` from a configuration, and pins a dataset of the hub to a commit."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from saewidgets.activations.documents import Chunk, Corpus, Document, Position, Read, chunked, pieces
from saewidgets.activations.text_files import TextFiles
from saewidgets.config import CorpusConfig, DemoCorpus, HubCorpus, TextCorpus, TokensCorpus
from saewidgets.demo import corpus as demo
from saewidgets.errors import ConfigError
from saewidgets.hub.client import HubClient

__all__ = ["Corpus", "Document", "exact_again", "is_exact", "open_corpus", "with_exact_revision"]


def is_exact(corpus: Any) -> bool:
    """Whether the configuration of a corpus means the same text for ever: it is not of the hub, or names a commit."""
    hub = _hub(corpus)
    return hub is None or hub.commit is not None


def with_exact_revision(corpus: Any, client: HubClient | None = None) -> Any:
    """The configuration with the commit that its revision names now. Raises `HubError`."""
    hub = _hub(corpus)
    if hub is None or hub.commit is not None:
        return corpus
    from saewidgets.activations.hubcorpus import dataset_commit  # pyarrow: half a second to import

    return corpus.replace(revision=dataset_commit(client or HubClient(), hub.path, hub.revision))


def exact_again(corpus: Any, commit: str | None) -> Any:
    """The configuration with a commit that was found out before; None changes nothing."""
    return corpus if commit is None or is_exact(corpus) else corpus.replace(revision=commit)


def _hub(corpus: Any) -> HubCorpus | None:
    if isinstance(corpus, HubCorpus):
        return corpus
    return corpus.hub if isinstance(corpus, TokensCorpus) else None


def open_corpus(config: CorpusConfig) -> Corpus:
    """The corpus that `config` describes. Files are located and the hub is queried at once; they are read when it is
    iterated. Raises `NotFoundError`, `StorageError`, `ConfigError`, `FormatError` or `HubError`."""
    if isinstance(config, DemoCorpus):
        return _Demo()
    if isinstance(config, TextCorpus):
        return TextFiles(config)
    if (hub := _hub(config)) is not None:
        from saewidgets.activations.hubcorpus import open_hub_corpus  # datasets: seconds to import

        return open_hub_corpus(hub, tokens=config if isinstance(config, TokensCorpus) else None)
    if isinstance(config, TokensCorpus):
        from saewidgets.activations.tokenfiles import open_token_files  # pyarrow: a second to import

        return open_token_files(config)
    raise ConfigError(
        f"{type(config).__name__} is not a corpus of text.", where="corpus",
        hint='Use "demo", a path, TextCorpus, HubCorpus or TokensCorpus.',
    )


class _Demo(Corpus):
    label = "demo"
    facts = {"kind": "demo", "held_out": True}  # noqa: RUF012 - read only

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        return chunked(self._read(int(position["documents"]) if position else 0))

    def _read(self, start: int) -> Read:
        for number, document in enumerate(itertools.islice(demo.documents("all"), start, None), start + 1):
            out = document.split == "validation"
            found = [replace(piece, held_out=out) for piece in pieces(document.text, document.title)]
            yield found, partial(dict, documents=number)

    def fingerprint(self) -> str:
        # The text is part of the package and changes only with it: its counts and its beginning stand for it, since to
        # unpack it all would take seconds at every start.
        beginning: Any = (document.text for document in itertools.islice(demo.documents("all"), 20))
        digest = hashlib.sha256()
        for text in itertools.chain(["demo", repr(demo.corpus_info())], beginning):
            digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
