import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ForbiddenError,
    GatedRepositoryError,
    HubError,
    HubOfflineError,
    HubServerError,
    HubTimeoutError,
    InvalidTokenError,
    RateLimitError,
    RepositoryNotFoundError,
    UntrustedRedirectError,
    retry_after,
)
from saewidgets.hub.repository import repo_info
from tests.hub.server import TOKENS, Hub

READER, WRITER = TOKENS
REPO = "jbloom/GPT2-Small-SAEs-Reformatted"
Make = Callable[..., HubClient]


def ask(client: HubClient) -> Any:
    return client.get_json(f"{client.endpoint}/api/models/{REPO}")[0]


def test_errors_of_the_hub_that_pass_are_waited_out(hub: Hub, client: HubClient) -> None:
    for status in (500, 502, 503, 504, 408):
        hub.fail("/api/models", "status", status, times=2)
        assert ask(client)["id"] == REPO
        hub.heal()


# What the hub does, and the error that says it after how many requests (None: it does not matter).
FAULTS: list[tuple[str, Any, dict[str, Any], type[HubError], str, int | None]] = [
    ("status", 503, {}, HubServerError, "503.*Try again", 6),
    *(("status", status, {}, HubError, ".", 1) for status in (400, 404, 418)),
    ("status", 403, {"message": "no"}, ForbiddenError, "no", 1),
    ("status", 429, {"retry_after": 600}, RateLimitError, "10 minutes", 1),
    ("hang", 30, {}, HubTimeoutError, "in time", None), ("drip", 0.01, {}, HubTimeoutError, "did not end", None),
    ("redirect", f"/api/models/{REPO}", {}, UntrustedRedirectError, "circle", None),
    *(("redirect", to, {}, HubError, ".", None) for to in ("http://127.0.0.1:9/x", "file:///etc/passwd", "")),
]


@pytest.mark.parametrize(("kind", "value", "more", "error", "said", "asked"), FAULTS)
def test_lasting_failures_have_their_own_errors(
    hub: Hub, client_of: Make, kind: str, value: Any, more: dict[str, Any], error: type[HubError], said: str,
    asked: int | None,
) -> None:
    client = client_of(timeout=0.3 if kind == "hang" else 2.0, **({} if asked else {"retries": 1}))
    client.longest = 0.3 if kind == "drip" else client.longest
    hub.fail("/api/models", kind, value, **more)
    with pytest.raises(error, match=said) as caught:
        ask(client)
    assert asked in (None, len(hub.requests("/api/models")))
    assert getattr(caught.value, "retry_after", None) == more.get("retry_after")
    assert all(seen.path.startswith("/api/models") for seen in hub.requests())


def test_a_rate_limit_is_waited_for_as_long_as_asked(hub: Hub, client: HubClient) -> None:
    hub.fail("/api/models", "status", 429, times=1, retry_after=1)
    started = time.monotonic()
    assert ask(client)["id"] == REPO
    assert time.monotonic() - started >= 1.0


def test_how_long_to_wait_is_read_from_seconds_dates_and_rate_limit_headers() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 25 < (retry_after({"retry-after": soon}) or 0) < 32
    assert retry_after({"ratelimit": '"api";r=0;t=55'}) == 55
    assert retry_after({"ratelimit": '"api";r=12;t=55'}) is None
    assert retry_after({"retry-after": "soon"}) is None


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"\xff\xfe", b'{"a":', b""])
def test_bodies_that_are_broken(
    hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr("tests.hub.server.Handler._info", lambda self, *_: self._send(200, body, {}))
    with pytest.raises(HubError, match="not JSON"):
        ask(client)


def test_the_page_of_an_error_may_be_long(hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.hub.server.Handler._info", lambda self, *_: self._send(502, b"<p>" * 500_000, {}))
    with pytest.raises(HubServerError, match="502"):
        ask(client)


def test_a_password_in_the_endpoint_is_not_shown(hub: Hub) -> None:
    client = HubClient(endpoint=hub.endpoint.replace("://", "://name:pass@"), retries=0)
    hub.fail("/api/models", "status", 500)
    with pytest.raises(HubServerError) as error:
        ask(client)
    assert "pass" not in str(error.value)


def test_an_unreachable_hub_is_an_offline_error() -> None:
    client = HubClient(endpoint="http://127.0.0.1:9", timeout=1)
    with pytest.raises(HubOfflineError, match="cannot be reached") as error:
        ask(client)
    assert "HF_ENDPOINT" in str(error.value)


def test_redirects_within_the_hub_are_followed(hub: Hub, client: HubClient) -> None:
    hub.fail("/api/models/old/name", "redirect", f"/api/models/{REPO}")
    assert client.get_json(f"{client.endpoint}/api/models/old/name")[0]["id"] == REPO


def test_the_token_goes_to_the_endpoint_and_nowhere_else(hub: Hub, client_of: Make) -> None:
    with Hub([]) as storage:
        storage.fail("/elsewhere", "status", 500)
        hub.fail("/api/models", "redirect", f"{storage.endpoint}/elsewhere", times=1)
        with pytest.raises(HubServerError):
            ask(client_of(READER, retries=0))
        assert hub.requests()[0].headers["authorization"] == f"Bearer {READER}"
        assert "authorization" not in storage.requests()[0].headers


def test_requests_say_who_asks(hub: Hub, client: HubClient) -> None:
    ask(client)
    agent = hub.requests()[0].headers["user-agent"]
    assert agent.startswith("saewidgets/")
    assert "hf_hub/" in agent


def test_a_token_that_the_hub_does_not_know(client_of: Make) -> None:
    with pytest.raises(InvalidTokenError, match="does not know") as error:
        ask(client_of("hf_unknownunknownunknown"))
    assert "unknownunknown" not in str(error.value)


def test_tokens_never_reach_texts(hub: Hub, client_of: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A hub (or a proxy) that repeats the token in its errors does not get it into ours."""
    secret = "hf_secretsecretsecretsecret"
    client = client_of(secret, retries=0)
    assert secret not in repr(client)
    caplog.set_level(logging.DEBUG)
    ask(client_of(READER))
    assert READER not in caplog.text
    caplog.set_level(logging.INFO)  # below that, httpcore repeats whatever the hub answers
    for status in (400, 401, 403, 404, 418, 429, 500):
        hub.fail("/api/models", "status", status, message=f"bad token {secret}, Authorization: Bearer {secret}")
        with pytest.raises(HubError) as error:
            ask(client)
        shown = "".join(traceback.format_exception(error.value)) + repr(error.value)
        assert secret not in shown, status
        hub.heal()
    assert secret not in caplog.text


def test_private_missing_and_gated_repositories_have_their_own_errors(hub: Hub, client_of: Make) -> None:
    for repo in ("lab/private-saes", "lab/no-such-thing"):
        with pytest.raises(RepositoryNotFoundError, match=f"Repository not found: {repo}") as error:
            repo_info(repo, client=client_of())
        assert "private" in str(error.value)
    assert repo_info("lab/private-saes", client=client_of(READER)).private
    url = f"{hub.endpoint}/lab/gated-saes/resolve/main/sae/cfg.json"
    with pytest.raises(GatedRepositoryError, match="lab/gated-saes is gated") as gate:
        client_of().get_json(url)
    assert f"{hub.endpoint}/lab/gated-saes" in str(gate.value.hint)
