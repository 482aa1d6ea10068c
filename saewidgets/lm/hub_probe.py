"""Defines `can_fetch`, one short question to the hub before a model is loaded, and `cached_config`.

A loading library asks the hub for every file and repeats each question several times. Here one short question is asked
first; a hub that does not answer it is not asked again.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import get_session, validate_repo_id  # type: ignore[attr-defined] # public, not declared

from saewidgets.errors import NotFoundError

LOOKING = "looking for the model on the hub"
"""The phase in which the hub is asked."""
TRIES = 3
TRY_SECONDS = 4.0
SECONDS = 6.0  # for all tries together: with imports, an answer within ten
_WAIT = 0.5  # before the second try; twice as long before the third
_FILE = "config.json"  # every model of transformers has it
_PATIENT = 10.0  # huggingface_hub's own HF_HUB_ETAG_TIMEOUT: who raises it has a slow network

_WAYS_OUT = (
    'Or give "demo", or the folder of a model that is here; HF_HOME says where downloads are. A gated or private model '
    "needs `hf auth login`, too."
)

Tell = Callable[[str], object]


def can_fetch(name: str, *, revision: str | None = None, tell: Tell | None = None) -> bool:
    """Whether the hub is to be asked for the files of a model; False where only this machine can be.

    A model that is in the cache is asked for once, so that a newer version is seen; another one up to three times,
    six seconds in all (longer where HF_HUB_ETAG_TIMEOUT is above ten). `tell` gets the phase for the reader, before
    every try.

    Raises:
        NotFoundError: the model is not on this machine, and the hub is switched off or cannot be reached.
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        return True  # the loading says what is wrong with the name
    url = f"{constants.ENDPOINT.rstrip('/')}/{name}/resolve/{quote(revision or 'main', safe='')}/{_FILE}"
    here = cached_config(name, revision) is not None
    if constants.HF_HUB_OFFLINE:
        problem: str | None = "HF_HUB_OFFLINE is set"
    else:
        problem = _problem(url, 1 if here else TRIES, tell)
    if problem is None:
        return True
    if here:
        return False
    raise NotFoundError(
        f"Hugging Face cannot be reached ({problem}), and the model is not on this machine.", where=name,
        hint=f"{'Unset it' if constants.HF_HUB_OFFLINE else 'Check the network'}. {_WAYS_OUT}",
    )


def cached_config(name: str, revision: str | None = None) -> Path | None:
    """The configuration of the model in the cache of this machine; None if it is not there."""
    try:
        found = try_to_load_from_cache(name, _FILE, revision=revision)
    except (HFValidationError, ValueError):
        return None
    return Path(found) if isinstance(found, str) else None


def _problem(url: str, tries: int, tell: Tell | None) -> str | None:
    """Why the hub does not answer; None as soon as it does, whatever it says."""
    more = max(0.0, constants.HF_HUB_ETAG_TIMEOUT - _PATIENT)
    end = time.monotonic() + SECONDS + more
    problem: str | None = None
    for number in range(1, tries + 1):
        left = end - time.monotonic()
        if number > 1:
            wait = _WAIT * 2 ** (number - 2)
            if left <= 2 * wait:
                break
            time.sleep(wait)
            left -= wait
        if tell is not None:
            tell(LOOKING if number == 1 else f"{LOOKING} (try {number} of {tries})")
        problem = _ask(url, min(TRY_SECONDS + more, left))
        if problem is None:
            return None
    return problem


def _ask(url: str, seconds: float) -> str | None:
    """One question; the problem with its answer. In a thread of its own: looking up a host has no time-out of its own.

    No token: whether the model may be read is found out when it is.
    """
    problems: list[str | None] = []

    def ask() -> None:
        session: Any = get_session()
        # httpx, or requests before huggingface_hub 1.0
        redirects = "follow_redirects" if callable(getattr(session, "stream", None)) else "allow_redirects"
        try:
            status = int(session.head(url, timeout=seconds, **{redirects: False}).status_code)
            problems.append(f"it answers with error {status}" if status >= 500 else None)
        except Exception as error:  # noqa: BLE001 - of two network libraries; what it says is passed on
            problems.append(_words(error))

    thread = threading.Thread(target=ask, name="saewidgets-hub-probe", daemon=True)
    thread.start()
    thread.join(seconds + 0.1)
    host = urlsplit(url).netloc.rpartition("@")[2]
    return problems[0] if problems else f"no answer from {host} within {seconds:.0f} s"


def _words(error: Exception) -> str:
    """The network's own words, on one line; an exception without any by its name."""
    text = re.sub(r"//[^\s/@]+@", "//…@", " ".join(str(error).split()))  # a proxy's address can have a password in it
    text = re.sub(r"\[Errno -?\d+\] ", "", text)  # its words follow
    return text[:200].rstrip(".") or type(error).__name__
