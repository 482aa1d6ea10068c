"""The exact revision of a dataset of the hub."""

from __future__ import annotations

from typing import Any

from saewidgets.config import HubCorpus, TokensCorpus
from saewidgets.hub import HubClient
from saewidgets.hub.dataset import dataset_commit


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
    return corpus.replace(revision=dataset_commit(client or HubClient(), hub.path, hub.revision))


def exact_again(corpus: Any, commit: str | None) -> Any:
    """The configuration with a commit that was found out before; None and what is exact already change nothing."""
    return corpus if commit is None or is_exact(corpus) else corpus.replace(revision=commit)


def _hub(corpus: Any) -> HubCorpus | None:
    if isinstance(corpus, HubCorpus):
        return corpus
    return corpus.hub if isinstance(corpus, TokensCorpus) else None
