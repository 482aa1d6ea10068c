"""What can go wrong between this machine and the hub: one class per cause, each with the next step as its hint.

`explained` and `from_reply` make one of them of what a network library, huggingface_hub or `datasets` raised, and of an
answer that is not a success: the two tables below are the only places that know those.
"""

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from saewidgets.errors import NotFoundError, SAEWidgetsError, StorageError


class HubError(SAEWidgetsError):
    """Base of everything that goes wrong with the hub; raised itself only for an answer nobody expects."""


class RepositoryNotFoundError(HubError, NotFoundError):
    """There is no such repository, or it is private and the token does not reach it. `suggestions`: known repositories
    with a similar name, nearest first."""

    suggestions: tuple[str, ...] = ()


class RevisionNotFoundError(HubError, NotFoundError):
    """The repository has no such branch, tag or commit."""


class EntryNotFoundError(HubError, NotFoundError):
    """The repository has no such file or folder."""


class NoSAEError(HubError, NotFoundError):
    """Nothing in the repository (or the folder) is an SAE in a format that is known here. `suggestions`: repositories
    with SAEs of the model that was found instead."""

    suggestions: tuple[str, ...] = ()


class WrongRepositoryTypeError(HubError):
    """It is a dataset or a Space; SAEs are looked for in model repositories."""


class GatedRepositoryError(HubError):
    """The account has not accepted the repository's licence, or nobody is signed in."""


class InvalidTokenError(HubError):
    """The hub does not know the access token, or it cannot be one."""


class ForbiddenError(HubError):
    """The account is known, but its token may not do this."""


class ConflictError(HubError):
    """The upload conflicts with a change that somebody else made in the repository meanwhile (HTTP 409, 412)."""


class RateLimitError(HubError):
    """Too many requests, and the hub asks for a longer wait (`retry_after` seconds) than a person would sit through."""

    retry_after: float | None = None


class HubTimeoutError(HubError):
    """The hub did not answer in time, several times in a row."""


class HubOfflineError(HubError):
    """No connection to the hub, or offline mode is switched on."""


class HubServerError(HubError):
    """The hub has trouble itself (HTTP 5xx), several times in a row."""

    retry_after: float | None = None


class ConnectionLostError(HubError):
    """A download broke off again and again; what arrived is kept for the next try."""


class TruncatedFileError(HubError):
    """The hub sent fewer or more bytes than the file has."""


class WrongHashError(HubError):
    """A file arrived in full but is not the one the repository lists; it was thrown away."""


class FileChangedError(HubError):
    """The hub serves another version of the file than the one that was listed."""


class UntrustedRedirectError(HubError):
    """The hub redirects in a circle, or continues a listing on another host."""


class DiskFullError(HubError, StorageError):
    """The download does not fit on the disk of the hub cache."""


# --- The two tables ---------------------------------------------------------------------------------------------------

SWITCH = "HF_HUB_OFFLINE"
Redact = Callable[[str], str]

# The hub's code; statuses, and what its words hold → class, where, what, hint: the first row of which the one or the
# other fits.
_REPLIES: tuple[tuple[str, Container[int], str, type[HubError], str, str, str], ...] = (
    ("GatedRepo", (401, 403), "gated", GatedRepositoryError, "", "{repo} is gated.",
     "Sign in, accept the licence on {site}/{repo} with that account, then check again."),
    ("-", (401,), "credentials", InvalidTokenError, "{host}", "The hub does not know this access token.",
     "Create a new one on the token page of your account (to publish: with write permission), or go on without one."),
    ("RevisionNotFound", (), "", RevisionNotFoundError, "{repo}", "The repository has no such revision.",
     "Leave the part after @ out for the newest one, or name a branch, tag or commit."),
    ("EntryNotFound", (), "", EntryNotFoundError, "{repo}/{file}", "The repository has no such file.",
     "List the SAEs of the repository first."),
    ("RepoNotFound", (401, 404), "", RepositoryNotFoundError, "", "Repository not found: {repo}.",
     "It does not exist, or is private and your token has no access to it."),
    ("-", (403,), "", ForbiddenError, "{repo}", "The hub refuses this{words}",
     "Check that your token has the permission for it."),
    ("-", (409, 412), "", ConflictError, "{repo}", "Somebody else has changed it in the meantime{words}",
     "Look at the repository's page."),
    ("-", (429,), "", RateLimitError, "{host}", "The hub received too many requests from here.",
     "Try again in {wait}, or sign in: accounts have a higher limit."),
    ("-", (408, *range(500, 1000)), "", HubServerError, "{host}", "The hub has trouble answering (HTTP {status}).",
     "Try again in a few minutes."),
    ("-", range(1000), "", HubError, "{place}", "The hub answered with HTTP {status}{words}",
     "Check the name of the repository and try again."),
)

# Names of exceptions, of httpx and requests alike, so that neither has to be imported for it → class, what, hint; the
# first row that has a name of the exception's classes, or (requests wraps them) one that its text mentions.
_EXCEPTIONS: tuple[tuple[frozenset[str], type[HubError], str, str], ...] = (
    (frozenset({"ConnectError", "NewConnectionError", "ProxyError", "SSLError", "UnsupportedProtocol"}),
     HubOfflineError, "The hub cannot be reached at {host}.",
     "Check the connection, a proxy, and HF_ENDPOINT if it is set."),
    (frozenset({"TimeoutException", "Timeout", "ReadTimeoutError", "TimeoutError"}),
     HubTimeoutError, "The hub did not answer in time.", "Try again; HF_HUB_DOWNLOAD_TIMEOUT sets the seconds."),
    (frozenset({"TooManyRedirects"}),
     UntrustedRedirectError, "The hub redirects in a circle.", "Try again in a moment."),
    (frozenset({"TransportError", "RequestException", "HTTPError", "ConnectionError"}),
     ConnectionLostError, "The connection to the hub broke off.", "Try again."),
)  # fmt: skip


def from_reply(status: int, headers: Mapping[str, str], body: bytes, url: str, redact: Redact) -> HubError:
    """The error for an answer that is not a success."""
    words, host, seconds = _words(headers, body, redact), host_of(url), retry_after(headers)
    repo, file = _place(url)
    code = headers.get("x-error-code") or ("EntryNotFound" if status == 404 and file else "")
    values = {
        "status": status, "repo": repo, "file": file, "host": host, "place": repo or host,
        "site": f"{urlsplit(url).scheme}://{host}", "words": f": {words}" if words else ".", "wait": "a few minutes",
    }  # fmt: skip
    if seconds is not None:
        values["wait"] = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    fits = (row for row in _REPLIES if code == row[0] or (status in row[1] and row[2] in words.lower()))
    row = next(fits)
    where, what, hint = (text.format_map(values) for text in row[4:])
    error = row[3](what, where=where or None, hint=hint)
    if isinstance(error, RateLimitError | HubServerError):
        error.retry_after = seconds
    return error


def explained(error: BaseException, url: str, redact: Redact) -> BaseException:
    """The error for an exception of a network library, of huggingface_hub or `datasets`; anything else as it is.

    A status decides wherever there is one: the exceptions that carry it also count as broken connections.
    """
    if isinstance(error, SAEWidgetsError) or not isinstance(error, Exception):
        return error
    chain = list(causes(error))
    for cause in chain:
        response = getattr(cause, "response", None)
        if response is not None and int(getattr(response, "status_code", 0)) >= 400:
            return from_reply(response.status_code, response.headers, _body(response), str(response.url), redact)
    found = next((found for cause in chain if (found := _of_network(cause, url)) is not None), None)
    if found is None:
        return error
    # The library's own text is kept as the cause unless it repeats the token (an illegal header does).
    if redact(text := str(error)) == text:
        found.__cause__ = error
    return found


def _of_network(error: BaseException, url: str) -> HubError | None:
    names, text, host = {cls.__name__ for cls in type(error).__mro__}, str(error), host_of(url)
    if "OfflineModeIsEnabled" in names or "(OfflineModeIsEnabled)" in text:  # `datasets` drops the cause
        return switched_off()
    for known, kind, what, hint in _EXCEPTIONS:
        if names & known or (kind is HubOfflineError and any(name in text for name in known)):
            return kind(what.format(host=host), where=None if kind is HubOfflineError else host, hint=hint)
    return None


def switched_off() -> HubOfflineError:
    """The error for what needs the hub in offline mode."""
    return HubOfflineError(
        "Offline mode is switched on.",
        where=SWITCH,
        hint=f"Unset {SWITCH} and restart the kernel: huggingface_hub reads it when it is imported.",
    )


def gated(repo_id: str, endpoint: str) -> GatedRepositoryError:
    """The error for a repository behind a licence."""
    error = from_reply(403, {"x-error-code": "GatedRepo"}, b"", f"{endpoint}/{repo_id}/resolve/main/x", str)
    assert isinstance(error, GatedRepositoryError)
    return error


def may_pass(error: BaseException) -> bool:
    """Whether trying again soon can help."""
    return isinstance(error, HubServerError | HubTimeoutError | RateLimitError | ConnectionLostError)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it, the last one first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the hub asks to wait, from `Retry-After` (seconds or a date) or its `RateLimit` header."""
    value = (headers.get("retry-after") or "").strip()
    if value.isdigit():
        return float(value)
    if value:
        with contextlib.suppress(ValueError, TypeError):
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    found = re.search(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit") or "")
    return float(found[1]) if found else None


def host_of(url: str) -> str:
    """What errors call an address: without the name and password of an endpoint, and the secrets of a signed link."""
    return urlsplit(url).netloc.rpartition("@")[2][:200]


def _words(headers: Mapping[str, str], body: bytes, redact: Redact) -> str:
    """The hub's own words as a sentence, short and without tokens; empty if there are none."""
    text = headers.get("x-error-message") or ""
    if not text:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return ""
        text = str(data.get("error") or "") if isinstance(data, dict) else ""
    words = re.sub(r"\s+", " ", redact(text)).strip()[:300]
    return f"{words}." if words and words[-1] not in ".!?" else words


def _body(response: Any) -> bytes:
    try:
        return bytes(response.content[:100_000])
    except Exception:  # noqa: BLE001 - of two network libraries: the answer was streamed and has been closed
        return b""


def _place(url: str) -> tuple[str, str]:
    """Repository and file of an address of the hub; empty where it has none."""
    path = unquote(urlsplit(url).path).strip("/")
    if found := re.match(r"api/(?:models|datasets|spaces)/([^/]+/[^/]+)", path):
        return found[1], ""
    if found := re.match(r"((?:datasets/)?[^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
        return found[1], found[2]
    return "", ""
