"""Defines `Server`: requests to one host with bounded answers, retries, and a key that goes nowhere else.

Used for language models and for Neuronpedia. It uses Python's urllib: huggingface_hub's client refuses a server on
this machine while ``HF_HUB_OFFLINE`` is set, and sends the user's Hugging Face token to hosts that need no key.
"""

import contextlib
import http.client
import ipaddress
import json
import random
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.labels.evidence import visible
from saewidgets.hub.errors import retry_after
from saewidgets.settings import secret

LONGEST_WAIT = 120.0  # seconds a `Retry-After` is waited for
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_FINAL = ("insufficient_quota", "billing_hard_limit_reached")  # an account without money also says 429
_ERROR_BYTES = 64_000
_ENVIRONMENT = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_KEY = re.compile(r"[\x21-\x7e]{1,1000}")
_SECRETS = re.compile(r"(?i:bearer\s+)\S+|\b(?:sk|pk|rk|hf|gsk|xai|api_org)[-_][\w-]{6,}|\bAIza[\w-]{20,}")


def redacted(text: str, secret: str | None = None) -> str:
    """`text` without `secret`, and without whatever else looks like a key."""
    return _SECRETS.sub("…", text.replace(secret, "…") if secret else text)


class RequestError(SAEWidgetsError):
    """A request to a server failed; `said` is its answer, without keys, `wait` for how many seconds to wait.

    `kind` is ``refused`` (with its `status`), ``busy``, ``failed``, ``timeout``, or ``answer``: not what was expected.
    """

    def __init__(
        self, what: str, *, where: str, hint: str | None = None, kind: str = "failed", status: int = 0, said: str = "",
        no_money: bool = False, wait: float | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind, self.status, self.said, self.no_money, self.wait = kind, status, said, no_money, wait


class _SameOrigin(urllib.request.HTTPRedirectHandler):
    """Python's own would send the key along to wherever a redirect leads."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        here, there = urlsplit(req.full_url), urlsplit(newurl)
        if req.get_method() != "GET" or (here.scheme, here.netloc) != (there.scheme, there.netloc):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Server:
    """Requests to one server. A key is read from the environment for every request; it is neither kept nor shown.

    The arguments are those of `openai_compatible`.
    """

    def __init__(
        self, base_url: str, *, key_env: str | SecretStr | None = None, timeout: float = 60.0, retries: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = _checked_url(base_url)
        self.host = urlsplit(self.base_url).netloc
        if not 0 < timeout <= 3600:
            raise ConfigError(f"{timeout} is not a timeout.", where="timeout", hint="Give it in seconds.")
        if isinstance(key_env, str) and not _ENVIRONMENT.fullmatch(key_env):
            raise ConfigError(  # without showing it: it may contain the key itself
                "This is not the name of an environment variable.", where="api_key_env",
                hint='Give the name in capitals ("OPENAI_API_KEY"), not the key; None where no key is needed.',
            )
        if key_env is not None and not is_private_line(self.base_url):
            raise ConfigError(
                "The key would be sent unencrypted.", where="base_url",
                hint="Use https, or api_key_env=None for a server that needs no key.",
            )
        self.key_env, self._timeout, self._retries, self._sleep = key_env, timeout, retries, sleep
        self._error = partial(RequestError, where=self.host)
        # What stays on this machine does not take the way over a proxy, which could read a key.
        here = urlsplit(self.base_url).scheme == "http" and is_private_line(self.base_url)
        direct = [urllib.request.ProxyHandler({})] if here else []
        self._opener = urllib.request.build_opener(_SameOrigin, *direct)

    def json(self, path: str, body: Any = None) -> Any:
        """The JSON answer to a GET, or to a POST of `body`; errors as of `read`."""
        raw = self.read(path, body, limit=8_000_000)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._error("The answer is not JSON.", kind="answer", hint="Check the address.") from error

    def read(self, path: str, body: Any = None, *, limit: int, seconds: float | None = None) -> bytes:
        """The answer, of at most `limit` bytes and within `seconds` (five time-outs if None).

        Busy servers and lost connections are tried again, as late as `Retry-After` asks.
        """
        key = self._key()
        attempt = 0
        while True:
            try:
                found = self._once(path, body, key, limit, seconds or 5 * self._timeout)
                return found.replace(key.encode(), "…".encode()) if key else found  # some send back what they were sent
            except RequestError as error:
                again = error.kind in ("busy", "failed", "timeout") and not error.no_money
                # A time-out has cost much already.
                retries = min(self._retries, 1) if error.kind == "timeout" else self._retries
                if not again or attempt >= retries or (error.wait or 0) > LONGEST_WAIT:
                    raise
                pause = min(30.0, 0.5 * 2**attempt) * random.uniform(0.8, 1.2)
                self._sleep(max(pause, error.wait or 0.0))
            attempt += 1

    def _key(self) -> str | None:
        if self.key_env is None:
            return None
        typed = self.key_env if isinstance(self.key_env, SecretStr) else None
        key = typed.get_secret_value().strip() if typed else secret(str(self.key_env))
        if key is not None and _KEY.fullmatch(key):
            return key
        found = "is not set" if key is None else "holds characters that no key can have"
        raise ConfigError(
            f"{'The typed key' if typed else f'The environment variable {self.key_env}'} {found}.", where="api_key_env",
            hint="Set it to your key before Python starts, or with os.environ, and try again.",
        )

    def _once(self, path: str, body: Any, key: str | None, limit: int, seconds: float) -> bytes:
        sent = {"Accept": "application/json", "User-Agent": "saewidgets", "Accept-Encoding": "identity"}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(f"{self.base_url}{path}", data=data, headers=sent)  # noqa: S310 - checked
        try:
            with closing(self._opener.open(request, timeout=self._timeout)) as response:
                return self._body(response, limit, seconds)
        except urllib.error.HTTPError as error:
            raise self._refused(error, key) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                said = f"No answer within {self._timeout:g} seconds."
                raise self._error(said, kind="timeout", hint="Try again, or raise the timeout.") from None
            said = f"The server cannot be reached ({redacted(str(reason))[:200]})."
            raise self._error(said, hint="Check the address and that the server runs.") from None

    def _body(self, response: Any, limit: int, seconds: float) -> bytes:
        """The body; a server that sends a byte now and then comes to an end, too."""
        deadline = time.monotonic() + seconds
        found = bytearray()
        while chunk := response.read1(1 << 16):
            found += chunk
            if len(found) > limit:
                raise self._error(f"The answer is larger than {limit:,} bytes.", kind="answer")
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:  # `read1` takes a connection that closed early for the end
            raise ConnectionError("the connection closed early")
        return bytes(found)

    def _refused(self, error: urllib.error.HTTPError, key: str | None) -> RequestError:
        raw = b""
        with closing(error), contextlib.suppress(OSError, http.client.HTTPException):  # the status says enough
            raw = error.read(_ERROR_BYTES)
        text = redacted(raw.decode("utf-8", "replace"), key)
        body: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(text)
        body = body if isinstance(body, dict) else {}
        told = body.get("error", body.get("message", body.get("detail")))
        code = (told.get("code") or told.get("type")) if isinstance(told, dict) else None
        told = told.get("message") if isinstance(told, dict) else told
        said = redacted(visible(" ".join(str(told if isinstance(told, str) else text[:300]).split())))[:300]
        asked = {"retry-after": error.headers.get("Retry-After", "")}  # not `RateLimit`, which is the hub's
        wait, no_money = retry_after(asked), code in _FINAL
        kind, what, hint = "refused", f"The server refuses the request (status {error.code}): {said}", None
        if error.code == 429 and not no_money:
            kind, what = "busy", f"The server asks to wait: {said}"
            hint = f"Try again in {wait:.0f} seconds." if wait else "Try again later, or lower the concurrency."
        elif error.code in _RETRIED and not no_money:
            kind, what, hint = "failed", f"The server failed (status {error.code}): {said}", "Try again later."
        return self._error(what, kind=kind, hint=hint, status=error.code, said=said, no_money=no_money, wait=wait)


def _checked_url(url: str) -> str:
    """`url` without a slash at its end. Raises `ConfigError` if it is not an http address, or carries more than one."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigError("This is not an http address.", where="base_url", hint="It looks like https://host/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "The address has a password, a query or a fragment in it.", where="base_url",
            hint="Give the address alone; a key comes from an environment variable.",
        )
    return url.rstrip("/")


def is_private_line(url: str) -> bool:
    """Whether the connection is private: https, or a server on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    return False
