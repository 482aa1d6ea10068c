"""Datasets of the hub: the exact revision of one, and what went wrong in words.

`datasets` and huggingface_hub's file system read them; this asks the hub the one question that comes first (is it
there, may it be read, which commit is it), so that a wrong name is told in seconds.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from huggingface_hub import constants

from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError
from saewidgets.hub.cache import record_reference, reference_of
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    HubError,
    HubOfflineError,
    HubTimeoutError,
    RepositoryNotFoundError,
    causes,
    explained,
    gated,
    switched_off,
)
from saewidgets.hub.repository import is_hash

_CHARACTERS = 300  # of a library's own words


def dataset_commit(client: HubClient, path: str, revision: str | None = None) -> str:
    """The commit that `revision` (None: the default branch) stands for.

    Where the hub is not asked (offline mode) or cannot be reached, it is the commit that the branch stood for when
    somebody on this machine last asked.

    Raises:
        RepositoryNotFoundError: no such dataset, or it is private.
        RevisionNotFoundError: no such branch, tag or commit.
        HubError: the hub refuses, or cannot be reached and is needed.
    """
    if is_hash(revision, 40):
        return str(revision)
    asked = revision or "main"
    try:
        if constants.HF_HUB_OFFLINE:
            raise switched_off()
        url = f"{client.endpoint}/api/datasets/{quote(path)}/revision/{quote(asked, safe='')}"
        data, _ = client.get_json(url)
    except (HubOfflineError, HubTimeoutError) as error:
        if (known := reference_of(client.cache_dir, "datasets", path, asked)) is not None:
            return known
        error.hint = f"{error.hint} What was packed before is used without the hub if the revision is a commit."
        raise
    except RepositoryNotFoundError as error:
        raise missing(path) from error
    commit = data.get("sha") if isinstance(data, dict) else None
    if not is_hash(commit, 40):
        raise HubError("The hub does not say which commit this is.", where=path, hint="Try again in a moment.")
    record_reference(client.cache_dir, "datasets", path, asked, str(commit))
    return str(commit)


def missing(path: str) -> RepositoryNotFoundError:
    """The error for a dataset that is not there."""
    return RepositoryNotFoundError(
        f"The hub has no dataset {path}.", where="corpus",
        hint="It does not exist, or is private and your token does not reach it. A file or folder of this machine is "
        f"written with its whole path, or as ./{path}.",
    )


def dataset_error(error: BaseException, client: HubClient, path: str, name: str | None) -> BaseException:
    """An exception of `datasets`, huggingface_hub or a network library as ours; anything else as it is.

    Args:
        error: what was raised.
        client: whose endpoint it is about, and whose token is kept out of messages.
        path, name: the dataset and the configuration that was asked for.
    """
    chain = list(causes(error))
    ours = next((cause for cause in chain if isinstance(cause, SAEWidgetsError)), None)
    if ours is not None:
        return ours
    names = {cls.__name__ for cause in chain for cls in type(cause).__mro__}
    text = client.redact(" ".join(str(cause) for cause in chain))
    if "GatedRepoError" in names or ("DatasetNotFoundError" in names and "gated" in text.lower()):
        return gated(f"datasets/{path}", client.endpoint)
    if "data files don't belong to" in text.lower():
        return leads_out(path)
    if "scripts are no longer supported" in text:
        return FormatError(
            "This dataset needs a program of its repository, which is never executed.", where=path,
            hint='Many of them have a copy as Parquet: try revision="refs/convert/parquet".',
        )
    if (found := re.search(r"Available: \[([^\]]*)\]|available configs: \[([^\]]*)\]", text)) is not None:
        listed = (found[1] or found[2] or "").replace("'", "")[:_CHARACTERS]
        problem = "has several configurations" if name is None else f"has no configuration {name!r}"
        return NotFoundError(f"The dataset {path} {problem}.", where="corpus.name", hint=f"Choose one of: {listed}.")
    if names & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return NotFoundError(
            f"The dataset {path} has no files that can be read as text.", where="corpus",
            hint="Parquet, JSON, CSV and text are.",
        )
    of_the_hub = explained(error, f"{client.endpoint}/datasets/{path}", client.redact)
    if isinstance(of_the_hub, HubError):
        return of_the_hub
    if "DatasetNotFoundError" in names:
        return missing(path)
    if isinstance(error, ValueError | FileNotFoundError | RuntimeError | TypeError | KeyError):
        first = (client.redact(str(error)).strip().splitlines() or [type(error).__name__])[0][:_CHARACTERS]
        return FormatError(
            f"The dataset {path} cannot be read ({first.rstrip('.')}).", where="corpus",
            hint="Look at its page on the hub, or choose another one.",
        )
    return error


def leads_out(path: str, file: str = "") -> FormatError:
    """The error for a card that names a file outside of its repository."""
    return FormatError(
        f"The card of the dataset {path} names a file that is not in it{f': {file[:200]}' if file else ''}.",
        where="corpus", hint="Such a file is not read. Choose another dataset.",
    )


def no_split(path: str, split: str, splits: list[str]) -> ConfigError:
    """The error for a split that is not there."""
    return ConfigError(
        f"The dataset {path} has no split {split!r}.", where="corpus.split",
        hint=f"It has {', '.join(splits)[:_CHARACTERS] or 'none'}.",
    )
