"""Plain requests to a provider: bounded answers, time-outs, retries, no key on a foreign host or on open lines.

Redirects are followed only within the origin that was asked. Errors name the host, never the address with its query.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.labels.text import redacted, visible
from saewidgets.hub.errors import retry_after

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
LONGEST_WAIT = 120.0  # seconds a `Retry-After` is waited for
LONGEST_DOWNLOAD = 7200.0  # seconds
_ERROR_BYTES = 64_000

T = TypeVar("T")


class RequestError(SAEWidgetsError):
    """A server did not give what was asked for."""


class RequestTimeoutError(RequestError):
    """No answer in time."""


class ServerBusyError(RequestError):
    """The server asks to wait, for longer or more often than is waited."""


class ServerFailedError(RequestError):
    """The server cannot be reached, or failed."""


class BadAnswerError(RequestError):
    """An answer came, but it is too large or not of the kind that was expected."""


class Refused(Exception):  # noqa: N818 - turned into an error for people by whoever asked
    """An answer with a status that is not success.

    Attributes:
        status: of the answer.
        body: its JSON, or {}.
        text: its beginning.
        retry_after: seconds, if the server says so.
    """

    def __init__(self, status: int, body: Any, text: str, wait: float | None) -> None:
        self.status, self.text, self.retry_after = status, text, wait
        self.body = body if isinstance(body, dict) else {}
        super().__init__(f"status {status}")

    @property
    def message(self) -> str:
        """What the server says, without keys."""
        error = self.body.get("error", self.body.get("message", self.body.get("detail")))
        said = error.get("message") if isinstance(error, dict) else error
        return redacted(visible(" ".join(str(said if isinstance(said, str) else self.text).split())))[:300]


class _SameOrigin(urllib.request.HTTPRedirectHandler):
    """Python's own would send the key along to wherever a redirect leads."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.get_method() != "GET" or origin(newurl) != origin(req.full_url):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Client:
    """Requests to one server.

    Args:
        base_url: what every path is put behind.
        timeout: seconds to wait for a connection and for each piece of an answer.
        retries: how often a request is tried again.
        sleep: how to wait.

    Raises:
        ConfigError: the address is none, or has a password in it.
    """

    def __init__(
        self, base_url: str, *, timeout: float = 60.0, retries: int = 4, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.base_url = checked_url(base_url)
        if not 0 < timeout <= 3600:
            raise ConfigError(f"{timeout} is not a time-out.", where="timeout", hint="Give it in seconds.")
        self.timeout, self.retries, self._sleep = timeout, retries, sleep
        # What stays on this machine does not take the way over a proxy, which could read a key.
        here = urlsplit(self.base_url).scheme == "http" and is_private_line(self.base_url)
        direct = [urllib.request.ProxyHandler({})] if here else []
        self._opener = urllib.request.build_opener(_SameOrigin, *direct)
        self.first_wait = 0.5

    @property
    def host(self) -> str:
        """What errors call the server."""
        return urlsplit(self.base_url).netloc

    def json(
        self, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None, limit: int = 8_000_000
    ) -> Any:
        """The JSON answer to a GET, or to a POST of `body`. Raises as `request` does, and for what is not JSON."""

        def read() -> bytes:
            with closing(self._open(path, dict(headers or {}), body)) as response:
                return b"".join(bounded(_chunks(response, 5 * self.timeout), limit, self.host))

        raw = self._tried(read)
        for key in _keys(headers or {}):  # some servers send back what they were sent
            raw = raw.replace(key.encode(), "…".encode())
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadAnswerError("The answer is not JSON.", where=self.host, hint="Check the address.") from error

    @contextmanager
    def request(
        self, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Iterator[Iterator[bytes]]:
        """The body of a successful answer, as it comes.

        Busy servers and lost connections are tried again, as late as `Retry-After` asks.

        Raises:
            Refused: a status that is no success and is not tried again.
            ServerBusyError, ServerFailedError, RequestTimeoutError: tried again without success.
        """
        with closing(self._tried(lambda: self._open(path, dict(headers or {}), body))) as response:
            yield self._explained(response)

    def _explained(self, response: Any) -> Iterator[bytes]:
        try:
            yield from _chunks(response, max(LONGEST_DOWNLOAD, self.timeout))
        except (OSError, http.client.HTTPException) as error:
            raise self._connection_error(error) from None

    def _tried(self, work: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                return work()
            except Refused as refused:
                if refused.status not in RETRIED or _is_final(refused):
                    raise
                self._wait(attempt, refused)
            except SAEWidgetsError:  # one of them is an OSError
                raise
            except (OSError, http.client.HTTPException) as error:
                self._wait(attempt, error)
            attempt += 1

    def _open(self, path: str, headers: dict[str, str], body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", "User-Agent": "saewidgets", "Accept-Encoding": "identity", **headers}
        if data is not None:
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.base_url}{path}", data=data, headers=sent)  # noqa: S310 - checked
        try:
            return self._opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with closing(error):
                try:
                    raw = error.read(_ERROR_BYTES)
                except (OSError, http.client.HTTPException):
                    raw = b""  # the status says enough
            text = redacted(raw.decode("utf-8", "replace"), *_keys(headers))
            try:
                parsed = json.loads(text)
            except (ValueError, RecursionError):
                parsed = {}
            raise Refused(error.code, parsed, text[:300], _wait_of(error.headers)) from None

    def _wait(self, attempt: int, error: Exception) -> None:
        """Wait before the next attempt, or raise what the last one ended with."""
        asked = error.retry_after if isinstance(error, Refused) else None
        retries = min(self.retries, 1) if _is_timeout(error) else self.retries  # each has cost the whole time-out
        if attempt >= retries or (asked is not None and asked > LONGEST_WAIT):
            raise self._for_people(error, asked) from None
        pause = min(30.0, self.first_wait * 2**attempt) * random.uniform(0.8, 1.2)
        self._sleep(max(pause, asked) if asked is not None else pause)

    def _for_people(self, error: Exception, asked: float | None) -> Exception:
        if isinstance(error, Refused):
            if error.status == 429:
                hint = f"Try again in {asked:.0f} seconds." if asked else "Try again later, or lower the concurrency."
                return ServerBusyError(f"The server asks to wait: {error.message}", where=self.host, hint=hint)
            return ServerFailedError(
                f"The server failed (status {error.status}): {error.message}", where=self.host, hint="Try again later."
            )
        return self._connection_error(error)

    def _connection_error(self, error: Exception) -> ServerFailedError | RequestTimeoutError:
        reason = getattr(error, "reason", error)
        if _is_timeout(error):
            return RequestTimeoutError(
                f"No answer within {self.timeout:g} seconds.", where=self.host, hint="Try again, or raise the time-out."
            )
        return ServerFailedError(
            f"The server cannot be reached ({redacted(str(reason))[:200]}).", where=self.host,
            hint="Check the address and that the server runs.",
        )


def _chunks(response: Any, seconds: float) -> Iterator[bytes]:
    """The body as it comes, for at most so many seconds: a server that sends a byte now and then ends, too."""
    deadline = time.monotonic() + seconds
    while chunk := response.read1(1 << 16):
        yield chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:  # `read1` takes a connection that closed early for the end
        raise ConnectionError("the connection closed early")


def _keys(headers: Mapping[str, str]) -> list[str]:
    """The keys that a request carries."""
    secret = ("authorization", "x-api-key")
    return [value.rpartition(" ")[2] for name, value in headers.items() if name.lower() in secret and value]


def _wait_of(headers: Any) -> float | None:
    return retry_after({name.lower(): value for name, value in headers.items()}) if headers is not None else None


def _is_timeout(error: Exception) -> bool:
    return isinstance(getattr(error, "reason", error), TimeoutError)


def bounded(chunks: Iterator[bytes], limit: int, where: str) -> Iterator[bytes]:
    """The same, up to `limit` bytes. Raises `BadAnswerError` beyond them."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise BadAnswerError(f"The answer is larger than {limit:,} bytes.", where=where)
        yield chunk


def _is_final(refused: Refused) -> bool:
    """An account without money also says 429; waiting does not help it."""
    error = refused.body.get("error")
    code = error.get("code") or error.get("type") if isinstance(error, dict) else None
    return code in ("insufficient_quota", "billing_hard_limit_reached")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def checked_url(url: str) -> str:
    """`url` without a slash at its end.

    Raises:
        ConfigError: it is no http address, or carries a name and password, a query or a fragment.
    """
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() or not c.isprintable() for c in url.strip()):
        raise ConfigError("This is not an http address.", where="base_url", hint="It looks like https://host/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "The address has a password, a query or a fragment in it.", where="base_url",
            hint="Give the address alone; a key comes from an environment variable.",
        )
    return url.strip().rstrip("/")


def is_private_line(url: str) -> bool:
    """Whether nobody between here and the server can read along: https, or this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
