"""`HubClient`: one endpoint, one token kept in memory, the cache on this machine, and the one way to ask the hub.

The session, the headers (user agent, token) and the offline switch are huggingface_hub's, of either generation: before
1.0 the session is one of requests, afterwards one of httpx. What it leaves open is decided here: every request has a
time-out, every answer a limit, and what may pass is tried again (as long as `Retry-After` asks for, up to a limit).
"""

import contextlib
import json
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined] # public, not declared

from saewidgets.hub import errors
from saewidgets.version import __version__

T = TypeVar("T")
LONGEST_TOKEN = 500  # characters
LONGEST_WAIT = 60.0  # seconds that a request waits for a rate limit to pass before it says so instead
LARGEST_ANSWER = 32_000_000  # bytes of JSON: one page of a listing has 1,000 files
MOST_KEPT = 128  # answers, and parts of files of at most some 64 kB
LARGEST_ERROR = 100_000  # bytes of an error's page that are looked at


class HubClient:
    """The hub as this package sees it. Safe to use from several threads.

    Args:
        token: access token, kept in memory only; None: huggingface_hub's own rules (``HF_TOKEN``, a saved login).
        endpoint: None: huggingface_hub's (``HF_ENDPOINT``).
        cache_dir: the hub cache that other tools share; None: huggingface_hub's (``HF_HUB_CACHE``).
        timeout: seconds to wait for a connection and for each piece of an answer; None: ``HF_HUB_DOWNLOAD_TIMEOUT``.
        retries: how often a request is tried again after a failure that may pass.

    Raises:
        InvalidTokenError: `token` cannot be one; the message does not show it.
    """

    def __init__(
        self, token: str | None = None, endpoint: str | None = None, *, cache_dir: str | Path | None = None,
        timeout: float | None = None, retries: int = 5,
    ) -> None:
        self._token = checked_token(token)
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache_dir = Path(cache_dir or constants.HF_HUB_CACHE)
        self.timeout = float(timeout or constants.HF_HUB_DOWNLOAD_TIMEOUT)
        self.longest = 6 * self.timeout  # for a whole answer, however steadily it comes in; not for downloads
        self.retries = retries
        self.first_wait = 0.5
        self._mine = threading.local()
        self._known: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint={self.endpoint!r})"

    # --- The token

    def signed_in(self) -> bool:
        """Whether requests carry a token, typed or found by huggingface_hub's rules."""
        return "authorization" in self._headers(self.endpoint)

    def secret(self) -> str | None:
        """The token that was given, for handing it to huggingface_hub. Not for showing, keeping or logging."""
        return self._token

    def account(self) -> str | None:
        """The name that the token belongs to; None without a token or if the hub does not say."""
        if not self.signed_in():
            return None
        try:
            data, _ = self.get_json(f"{self.endpoint}/api/whoami-v2")
        except errors.HubError:
            return None
        return str(data["name"]) if isinstance(data, dict) and data.get("name") else None

    def redact(self, text: str) -> str:
        """`text` without tokens: this one, and whatever else looks like one."""
        if self._token:
            text = text.replace(self._token, "hf_…")
        return re.sub(r"\b(hf_|api_org_)[A-Za-z0-9]{6,}|(?i:bearer\s+)\S+", "hf_…", text)

    def _headers(self, url: str) -> dict[str, str]:
        """User agent everywhere; the token only where the endpoint itself is asked."""
        token = self._token if _origin(url) == _origin(self.endpoint) else False
        return dict(build_hf_headers(token=token, library_name="saewidgets", library_version=__version__))

    # --- Requests

    def file_url(self, repo_id: str, revision: str, path: str) -> str:
        return f"{self.endpoint}/{quote(repo_id)}/resolve/{revision}/{quote(path)}"

    def sent(self) -> int:
        """How many requests the calling thread has sent; one with its redirects counts once."""
        return int(getattr(self._mine, "sent", 0))

    @contextlib.contextmanager
    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
        """The answer to one GET, whose body the caller reads with `chunks`; `HubError` where it is not a success.
        Nothing is tried again. Redirects are followed by the network library, which takes the token to no other host.
        """
        self._mine.sent = self.sent() + 1
        session: Any = get_session()
        settings = {
            "headers": {**self._headers(url), "accept-encoding": "identity", **(headers or {})},
            "timeout": self.timeout,
        }
        if callable(getattr(session, "stream", None)):  # httpx
            opened = session.stream("GET", url, follow_redirects=True, **settings)
        else:  # requests, before huggingface_hub 1.0
            opened = session.get(url, stream=True, **settings)
        with opened as response:
            if response.status_code not in (200, 206):
                body = b"".join(self._limited(response, LARGEST_ERROR))
                raise errors.from_reply(response.status_code, response.headers, body, url, self.redact)
            yield response

    def get_json(
        self, url: str, params: Mapping[str, str] | None = None, *, tries: int | None = None
    ) -> tuple[Any, str | None]:
        """The answer to a GET, tried at most so often, and the address of the next page, if there is one."""
        if params:
            url += "?" + "&".join(f"{key}={value}" for key, value in params.items())

        def get() -> tuple[Any, str | None]:
            with self.open(url, {"accept": "application/json"}) as response:
                body = b"".join(self._limited(response, LARGEST_ANSWER, whole=True))
                try:
                    answer = json.loads(body)
                except (ValueError, RecursionError):
                    what = "The hub's answer is not JSON."
                    raise errors.HubServerError(what, where=errors.host_of(url), hint="Try again.") from None
                found = response.links.get("next", {}).get("url")
            if found is not None:
                found = urljoin(url, found)
                if found.startswith("https://huggingface.co/"):  # a mirror passes on what the hub itself wrote
                    found = self.endpoint + found.removeprefix("https://huggingface.co")
                if _origin(found) != _origin(self.endpoint):
                    what = "The next page of a listing is on another host."
                    raise errors.UntrustedRedirectError(what, where=errors.host_of(found))
            return answer, found

        return self.repeat(get, url, tries=tries)

    def get_range(self, url: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`, which may be fewer than there should be."""

        def get() -> bytes:
            with self.open(url, {"range": f"bytes={start}-{end - 1}"}) as response:
                skip = start if response.status_code == 200 else 0
                if skip > LARGEST_ANSWER:
                    raise errors.HubError("The hub does not send parts of files.", where=errors.host_of(url))
                return b"".join(self._limited(response, skip + end - start))[skip:]

        return self.repeat(get, url)

    def repeat(self, work: Callable[[], T], url: str, *, tries: int | None = None) -> T:
        """What `work` returns, after as many tries as it may take. Raises the last failure as `HubError`."""
        attempts = Attempts(self, tries=tries)
        while True:
            try:
                return work()
            except Exception as error:  # noqa: BLE001 - of two network libraries; sorted out in `explained`
                attempts.failed(errors.explained(error, url, self.redact))

    def _limited(self, response: Any, limit: int, *, whole: bool = False) -> Iterator[bytes]:
        """The first `limit` bytes of a body; `whole`: it may not have more. Ends after `longest` seconds."""
        until, left, where = time.monotonic() + self.longest, limit, errors.host_of(str(response.url))
        for chunk in chunks(response, 1 << 10):
            if time.monotonic() > until:
                raise errors.HubTimeoutError("The hub did not end its answer.", where=where, hint="Try again.")
            yield chunk[:left]
            left -= len(chunk)
            if left < 0 and whole:
                raise errors.HubError("The hub's answer is larger than expected.", where=where)
            if left <= 0 and not whole:
                return

    # --- What is known

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` returned for `key` the last time; those used last are kept. Errors are not."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                found: T = self._known[key]
                return found
        made = make()
        with self._lock:
            self._known[key] = made
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return made

    def refresh(self) -> None:
        """Forgets every listing, so that the next look asks the hub again."""
        with self._lock:
            self._known.clear()


class Attempts:
    """Counts the failures of one piece of work: `failed` returns, after a wait, when it may be tried again, and raises
    otherwise. A download that moved on sets `count` to 0 and has its full number of attempts again."""

    def __init__(
        self, client: HubClient, sleep: Callable[[float], None] = time.sleep, *, tries: int | None = None
    ) -> None:
        self._first_wait, self._sleep = client.first_wait, sleep
        self._limit = client.retries if tries is None else tries - 1
        self.count = 0

    def failed(self, error: BaseException, *, again: bool = False) -> None:
        self.count += 1
        # A time-out has already cost all of its seconds.
        limit = min(self._limit, 2) if isinstance(error, errors.HubTimeoutError) and not again else self._limit
        asked = getattr(error, "retry_after", None)
        if not (again or errors.may_pass(error)) or self.count > limit or (asked or 0) > LONGEST_WAIT:
            raise error
        if asked is None:
            asked = min(8.0, self._first_wait * 2 ** (self.count - 1)) * random.uniform(0.8, 1.2)
            asked = max(asked, 1.0) if isinstance(error, errors.RateLimitError) else asked
        self._sleep(asked + 0.05)


def chunks(response: Any, size: int) -> Iterator[bytes]:
    """The body of an answer as it comes in, not decoded, in pieces of about `size` bytes where that can be chosen."""
    if hasattr(response, "iter_raw"):
        yield from response.iter_raw()
    else:
        yield from response.raw.stream(size, decode_content=False)


def checked_token(token: str | None) -> str | None:
    """`token` without surrounding blanks, or None. Raises `InvalidTokenError`, which does not show it."""
    token = (token or "").strip()
    long = len(token) > LONGEST_TOKEN
    if long or not re.fullmatch(r"[\x21-\x7e]*", token):
        wrong = "is longer than any token" if long else "has characters that no token has"
        hint = "Copy it again from the token page of your account; it starts with hf_."
        raise errors.InvalidTokenError(f"The access token {wrong}.", where="token", hint=hint)
    return token or None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
