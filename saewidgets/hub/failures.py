"""From an answer of the hub or an exception of its client to the error that a person reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from saewidgets.hub.errors import (
    ConnectionLostError,
    EntryNotFoundError,
    ForbiddenError,
    GatedRepositoryError,
    HubError,
    HubOfflineError,
    HubServerError,
    HubTimeoutError,
    InvalidTokenError,
    RateLimitError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from saewidgets.hub.retry_after import retry_after

Redact = Callable[[str], str]
# Names of exceptions of httpx and requests: both, and neither has to be imported for it.
_TIMEOUTS = {"TimeoutException", "Timeout", "ReadTimeoutError", "TimeoutError"}
_LOST = {"NetworkError", "ProtocolError", "RemoteProtocolError", "ChunkedEncodingError", "ConnectionError"}
SWITCH = "HF_HUB_OFFLINE"
_UNREACHABLE = {"ConnectError", "NewConnectionError", "ProxyError", "SSLError", "UnsupportedProtocol"}


def from_reply(status: int, headers: Mapping[str, str], body: bytes, url: str, redact: Redact) -> HubError:
    """The error for an answer that is not a success."""
    code, words = headers.get("x-error-code") or "", said(headers, body, redact)
    repo, rest = _place(url)
    if code == "GatedRepo" or (status in (401, 403) and "gated" in words.lower()):
        return gated(repo, f"{urlsplit(url).scheme}://{_host(url)}")
    if status == 401 and "credentials" in words.lower():
        return InvalidTokenError(
            "The hub does not know this access token.",
            where=_host(url),
            hint="Create a new one with read access on the token page of your account, or go on without one.",
        )
    if code == "RevisionNotFound":
        return RevisionNotFoundError(
            "The repository has no such revision.",
            where=repo,
            hint="Leave the part after @ out for the newest one, or name a branch, tag or commit.",
        )
    if code == "EntryNotFound" or (status == 404 and rest and code != "RepoNotFound"):
        return EntryNotFoundError(
            "The repository has no such file.", where=f"{repo}/{rest}", hint="List the SAEs of the repository first."
        )
    if code == "RepoNotFound" or status in (401, 404):
        return RepositoryNotFoundError(
            f"Repository not found: {repo}.",
            hint="It does not exist, or is private and your token does not reach it.",
        )
    if status == 403:
        return ForbiddenError(
            "The hub refuses this." if not words else f"The hub refuses this: {words}",
            where=repo,
            hint="Check that your token has the permission for it.",
        )
    if status == 429:
        seconds = retry_after(headers)
        error = RateLimitError(
            "The hub received too many requests from here.",
            where=_host(url),
            hint=f"Try again in {_wait(seconds)}, or sign in: accounts have a higher limit.",
        )
        error.retry_after = seconds
        return error
    if status >= 500 or status == 408:
        server = HubServerError(
            f"The hub has trouble answering (HTTP {status}).",
            where=_host(url),
            hint="Try again in a few minutes.",
        )
        server.retry_after = retry_after(headers)
        return server
    return HubError(
        f"The hub answered with HTTP {status}{': ' + words if words else '.'}",
        where=repo or _host(url),
        hint="Check the name of the repository and try again.",
    )


def switched_off() -> HubOfflineError:
    """The error for what needs the hub in offline mode."""
    return HubOfflineError(
        "Offline mode is switched on.",
        where=SWITCH,
        hint=f"Unset {SWITCH} and restart the kernel: huggingface_hub reads it when it is imported.",
    )


def from_exception(error: BaseException, url: str, redact: Redact) -> BaseException:
    """The error for an exception of the client's network library; anything else is returned as it is."""
    if isinstance(error, HubError) or not isinstance(error, Exception):
        return error
    names, host = {cls.__name__ for cls in type(error).__mro__}, _host(url)
    if "OfflineModeIsEnabled" in names:
        found: HubError = switched_off()
    elif names & _UNREACHABLE or any(name in str(error) for name in _UNREACHABLE):  # requests wraps them in texts
        found = HubOfflineError(
            f"The hub cannot be reached at {host}.",
            hint="Check the connection, a proxy, and HF_ENDPOINT if it is set.",
        )
    elif names & _TIMEOUTS:
        found = HubTimeoutError(
            "The hub did not answer in time.", where=host, hint="Try again; HF_HUB_DOWNLOAD_TIMEOUT sets the seconds."
        )
    elif names & _LOST or "TransportError" in names or "RequestException" in names or "HTTPError" in names:
        found = ConnectionLostError("The connection to the hub broke off.", where=host, hint="Try again.")
    else:
        return error
    # The library's own text is kept as the cause unless it repeats the token (an illegal header does).
    if redact(text := str(error)) == text:
        found.__cause__ = error
    return found


def may_pass(error: BaseException) -> bool:
    """Whether trying again soon can help."""
    return isinstance(error, HubServerError | HubTimeoutError | RateLimitError | ConnectionLostError)


def gated(repo_id: str, endpoint: str = "https://huggingface.co") -> GatedRepositoryError:
    """The error for a repository behind a licence."""
    return GatedRepositoryError(
        f"{repo_id} is gated.",
        hint=f"Sign in, accept the licence on {endpoint}/{repo_id} with that account, then check again.",
    )


def said(headers: Mapping[str, str], body: bytes, redact: Redact) -> str:
    """The hub's own words as a sentence, short and without tokens; empty if it said nothing."""
    text = headers.get("x-error-message") or ""
    if not text:
        try:
            data = json.loads(body)
        except ValueError:
            return ""
        text = str(data.get("error") or "") if isinstance(data, dict) else ""
    words = re.sub(r"\s+", " ", redact(text)).strip()[:300]
    return f"{words}." if words and words[-1] not in ".!?" else words


def _place(url: str) -> tuple[str, str]:
    """Repository and file of an address of the hub; empty where it has none."""
    path = unquote(urlsplit(url).path).strip("/")
    if found := re.match(r"api/(?:models|datasets|spaces)/([^/]+/[^/]+)", path):
        return found[1], ""
    if found := re.match(r"([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
        return found[1], found[2]
    return "", ""


def _host(url: str) -> str:
    """Without a name and password that an endpoint may hold."""
    return urlsplit(url).netloc.rpartition("@")[2][:200]


def _wait(seconds: float | None) -> str:
    if seconds is None:
        return "a few minutes"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
