"""Requests through huggingface_hub's own session: time-outs, retries, redirects, and a token that is never shown.

The session, the headers (user agent, token) and the offline switch are huggingface_hub's, of either generation:
before 1.0 the session is one of requests, afterwards one of httpx. What it leaves open is decided here: every request
has a time-out, 5xx and 429 are tried again (as long as `Retry-After` asks for, up to a limit), redirects go only to the
endpoint itself or to hosts that store its files, and the token only to the endpoint.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined] # public, not declared

import saewidgets
from saewidgets.hub import failures
from saewidgets.hub.errors import HubError, HubTimeoutError, InvalidTokenError, RateLimitError, UntrustedRedirectError

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Where the public hub keeps large files; an address of S3's is only believed for the hub's own buckets.
STORAGE = re.compile(r"(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)|hf-hub-lfs-[\w-]+\.s3(?:[.-][\w-]+)*\.amazonaws\.com")
LONGEST_TOKEN = 500  # characters
LONGEST_WAIT = 60.0  # seconds that a request waits for a rate limit to pass before it says so instead
LARGEST_ANSWER = 32_000_000  # bytes of JSON: one page of a listing has 1,000 files

Sleep = Callable[[float], None]


class Reply:
    """An answer whose body has not been read yet, until the time `until`. `url` is where it came from in the end."""

    def __init__(self, response: Any, url: str, until: float) -> None:
        self._response = response
        self._until = until
        self.url = url
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers  # both libraries ignore case

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes in, not decoded."""
        limited = self._until < math.inf
        if hasattr(self._response, "iter_raw"):
            chunks = self._response.iter_raw()
        else:
            chunks = self._response.raw.stream(1 << (10 if limited else 18), decode_content=False)
        for chunk in chunks:
            if time.monotonic() > self._until:
                raise HubTimeoutError("The hub did not end its answer.", where=_host(self.url), hint="Try again.")
            yield chunk

    def start(self, limit: int = 100_000) -> bytes:
        """The first bytes of the body, at least `limit` if there are so many: enough of an error's page."""
        parts, size = [], 0
        for chunk in self.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
        return b"".join(parts)

    def read(self, limit: int) -> bytes:
        """The whole body. Raises `HubError` if it is longer than `limit` bytes."""
        parts, size = [], 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise HubError("The hub's answer is larger than expected.", where=_host(self.url))
            parts.append(chunk)
        return b"".join(parts)


class Transport:
    """Requests to one endpoint.

    Args:
        token: access token; None: whatever huggingface_hub finds (``HF_TOKEN``, a saved login).
        endpoint: None: huggingface_hub's (``HF_ENDPOINT``).
        timeout: seconds to wait for a connection, and for each piece of an answer.
        retries: how often a request is tried again.
        storage_hosts: further hosts that may serve files (a company's own hub).

    Attributes:
        requests: how many requests were sent, redirects and retries included.
        longest: seconds for a whole answer, however steadily it comes in; not for downloads.
    """

    def __init__(
        self,
        token: str | None = None,
        endpoint: str | None = None,
        *,
        timeout: float | None = None,
        retries: int = 5,
        storage_hosts: tuple[str, ...] = (),
    ) -> None:
        self._token = checked_token(token)
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.timeout = float(timeout or constants.HF_HUB_DOWNLOAD_TIMEOUT)
        self.longest = 6 * self.timeout
        self.retries = retries
        self.first_wait = 0.5
        self.requests = 0
        self._mine = threading.local()
        self._storage_hosts = frozenset(storage_hosts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint={self.endpoint!r})"

    def sent(self) -> int:
        """How many requests the calling thread has sent."""
        return int(getattr(self._mine, "sent", 0))

    def signed_in(self) -> bool:
        """Whether requests carry a token, typed or found by huggingface_hub's rules."""
        return "authorization" in self._headers(self.endpoint)

    def secret(self) -> str | None:
        """The token that was given, for handing it to huggingface_hub. Not for showing, keeping or logging."""
        return self._token

    def get_json(
        self, url: str, params: Mapping[str, str] | None = None, *, tries: int | None = None
    ) -> tuple[Any, str | None]:
        """The answer to a GET and the address of the next page, if there is one.

        Args:
            url, params: what to ask.
            tries: how often at most; None: the client's own number.

        Raises:
            HubError: whatever went wrong, as one of its children.
        """
        attempts = Attempts(self, tries=tries)
        while True:
            try:
                with self.open(url, params=params, headers={"accept": "application/json"}) as reply:
                    if reply.status != 200:
                        raise failures.from_reply(reply.status, reply.headers, reply.start(), url, self.redact)
                    body = reply.read(LARGEST_ANSWER)
                    if reply.headers.get("content-encoding", "identity") != "identity":
                        raise HubError("The hub's answer is packed in a way that was not asked for.", where=_host(url))
                    return json.loads(body), self._next_page(reply)
            except (ValueError, RecursionError):
                broken = HubError("The hub's answer is not JSON.", where=_host(url), hint="Try again in a moment.")
                attempts.failed(broken, again=True)
            except Exception as error:  # noqa: BLE001 - of two network libraries; sorted out in `failures`
                attempts.failed(failures.from_exception(error, url, self.redact))

    @contextlib.contextmanager
    def open(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        on_redirect: Callable[[Reply], None] | None = None,
        endless: bool = False,
    ) -> Iterator[Reply]:
        """One GET, redirects followed, nothing retried, no status refused; the body is read by the caller.

        `endless` allows it to take as long as it comes in.
        """
        until = math.inf if endless else time.monotonic() + self.longest
        if params:
            url += "?" + "&".join(f"{key}={value}" for key, value in params.items())
        for _ in range(8):
            with self._send(url, dict(headers or {}), until) as reply:
                if reply.status not in REDIRECTS:
                    yield reply
                    return
                if on_redirect is not None:
                    on_redirect(reply)
                url = self._redirected(url, reply)
        raise UntrustedRedirectError("The hub redirects in a circle.", where=_host(url), hint="Try again in a moment.")

    @contextlib.contextmanager
    def _send(self, url: str, headers: dict[str, str], until: float) -> Iterator[Reply]:
        session = get_session()
        self.requests += 1
        self._mine.sent = self.sent() + 1
        headers = {**self._headers(url), "accept-encoding": "identity", **headers}
        if callable(getattr(session, "stream", None)):  # httpx
            with session.stream("GET", url, headers=headers, timeout=self.timeout, follow_redirects=False) as response:
                yield Reply(response, url, until)
            return
        old: Any = session  # requests, before huggingface_hub 1.0
        with old.get(url, headers=headers, timeout=self.timeout, allow_redirects=False, stream=True) as response:
            yield Reply(response, url, until)

    def _headers(self, url: str) -> dict[str, str]:
        """User agent everywhere; the token only where the endpoint itself is asked."""
        token = self._token if _origin(url) == _origin(self.endpoint) else False
        return dict(build_hf_headers(token=token, library_name="saewidgets", library_version=saewidgets.__version__))

    def _redirected(self, url: str, reply: Reply) -> str:
        """Where a redirect leads. Raises `UntrustedRedirectError` unless it is the endpoint or a known storage host."""
        target = urljoin(url, reply.headers.get("location", ""))
        to, hub = urlsplit(target), urlsplit(self.endpoint)
        trusted = _origin(target) == _origin(self.endpoint) or (
            to.scheme in ("https", hub.scheme)
            and to.hostname is not None
            and (STORAGE.fullmatch(to.hostname) is not None or to.hostname in self._storage_hosts)
        )
        if not trusted:
            raise UntrustedRedirectError(
                f"The hub redirects to {_host(target) or 'nowhere'}, which is not known to store its files.",
                where=_host(url),
                hint="If that host belongs to your hub, name it in HubClient(storage_hosts=…).",
            )
        return target

    def _next_page(self, reply: Reply) -> str | None:
        found = re.search(r'<([^>]+)>\s*;[^,]*rel="?next"?', reply.headers.get("link", ""))
        if found is None:
            return None
        url: str = urljoin(reply.url, found[1])
        if url.startswith("https://huggingface.co/"):  # a mirror passes on what the hub itself wrote
            url = self.endpoint + url.removeprefix("https://huggingface.co")
        if _origin(url) != _origin(self.endpoint):
            raise UntrustedRedirectError("The next page of a listing lies on another host.", where=_host(url))
        return url

    def redact(self, text: str) -> str:
        """`text` without tokens: this one, and whatever else looks like one."""
        if self._token:
            text = text.replace(self._token, "hf_…")
        return re.sub(r"\b(hf_|api_org_)[A-Za-z0-9]{6,}|(?i:bearer\s+)\S+", "hf_…", text)


class Attempts:
    """Counts the failures of one piece of work and waits between them.

    `failed` returns when the work may be tried again, and raises otherwise. `succeeded` forgets earlier failures: a
    download that moved on has its full number of attempts again.
    """

    def __init__(self, transport: Transport, sleep: Sleep = time.sleep, *, tries: int | None = None) -> None:
        self._transport = transport
        self._sleep = sleep
        self._limit = transport.retries if tries is None else tries - 1
        self.count = 0

    def succeeded(self) -> None:
        self.count = 0

    def failed(self, error: BaseException, *, again: bool = False) -> None:
        self.count += 1
        limit = self._limit
        if isinstance(error, HubTimeoutError) and not again:
            limit = min(limit, 2)  # each has already cost the whole time-out
        if not (again or failures.may_pass(error)) or self.count > limit:
            raise error
        wait = min(8.0, self._transport.first_wait * 2 ** (self.count - 1)) * random.uniform(0.8, 1.2)
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            if asked > LONGEST_WAIT:
                raise error
            wait = asked + 0.05
        elif isinstance(error, RateLimitError):
            wait = max(wait, 1.0)
        self._sleep(wait)


def checked_token(token: str | None) -> str | None:
    """`token` without surrounding blanks, or None. Raises `InvalidTokenError`, which does not show it."""
    token = (token or "").strip()
    if not token:
        return None
    long = len(token) > LONGEST_TOKEN
    if long or not re.fullmatch(r"[\x21-\x7e]+", token):
        wrong = "is longer than any token" if long else "has characters that no token has"
        raise InvalidTokenError(
            f"The access token {wrong}.",
            where="token",
            hint="Copy it again from the token page of your account; it starts with hf_.",
        )
    return token


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host(url: str) -> str:
    """What errors call an address: signed links carry secrets in their query."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2][:200]
