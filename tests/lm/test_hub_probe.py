"""Whether a model can be fetched: asked once and shortly, with a clear end where nobody answers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from saewidgets.errors import NotFoundError
from saewidgets.lm import load_model, load_tokenizer, loading, model_config, model_facts

NAME = "someone/some-model"
LONGEST = 60.0  # seconds; the hub client's own repetitions take most of a minute per file, of which there are several


class Server(ThreadingHTTPServer):
    """A hub that knows nothing and answers everything with one status, or with nothing at all."""

    daemon_threads = True

    def __init__(self, status: int | None) -> None:
        self.status, self.asked = status, 0
        self.closing = threading.Event()
        self.tokens: set[str] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.asked += 1
        self.server.tokens.add(self.headers.get("authorization", ""))
        if self.server.status is None:
            self.server.closing.wait(LONGEST)
            return
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], Server]]:
    started: list[Server] = []

    def start(status: int | None) -> Server:
        server = Server(status)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        ask(monkeypatch, server.url)
        return server

    yield start
    for server in started:
        server.closing.set()
        server.shutdown()
        server.server_close()


def ask(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Take this address for the hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)


def cached(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put the configuration of the model into a cache."""
    at = folder / "models--someone--some-model"
    (at / "refs").mkdir(parents=True)
    (at / "refs" / "main").write_text("a" * 40)
    (at / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (at / "snapshots" / ("a" * 40) / "config.json").write_text("{}")
    real = model_config.try_to_load_from_cache
    monkeypatch.setattr(model_config, "try_to_load_from_cache", lambda *a, **k: real(*a, cache_dir=folder, **k))


@pytest.mark.parametrize("load", [load_model, load_tokenizer, model_facts])
def test_an_unreachable_address_is_an_error(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], object]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ask(monkeypatch, f"http://127.0.0.1:{free.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(NotFoundError, match=r"cannot be reached \(.+\), and the model is not on") as caught:
            load(NAME)
    assert time.monotonic() - begun < LONGEST
    assert caught.value.where == NAME
    assert "Errno" not in caught.value.what
    for way in ("folder", "HF_HOME", "network", "hf auth login"):
        assert way in (caught.value.hint or "")


def test_every_attempt_is_reported(monkeypatch: pytest.MonkeyPatch, serve: Callable[[int | None], Server]) -> None:
    monkeypatch.setattr(loading, "_WAIT", 0.01)
    monkeypatch.setattr(loading, "SECONDS", LONGEST)
    server, told = serve(503), list[str]()
    with pytest.raises(NotFoundError, match="it answers with error 503"):
        load_model(NAME, tell=told.append)
    assert server.asked == 3
    assert told == [loading.LOOKING, f"{loading.LOOKING} (try 2 of 3)", f"{loading.LOOKING} (try 3 of 3)"]


def test_a_hub_that_is_silent(monkeypatch: pytest.MonkeyPatch, serve: Callable[[int | None], Server]) -> None:
    monkeypatch.setattr(loading, "TRY_SECONDS", 0.3)
    serve(None)
    begun = time.monotonic()
    with pytest.raises(NotFoundError, match="cannot be reached"):
        load_model(NAME)
    assert time.monotonic() - begun < LONGEST


def test_a_name_whose_lookup_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, "http://hub.example.org")
    release = threading.Event()
    monkeypatch.setattr(loading, "get_session", lambda: release.wait(LONGEST))
    monkeypatch.setattr(loading, "TRY_SECONDS", 0.05)
    monkeypatch.setattr(loading, "_WAIT", 0.01)
    with pytest.raises(NotFoundError, match=r"no answer from hub\.example\.org within"):
        loading.can_fetch(NAME)
    release.set()


def test_all_tries_together_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def pass_by(seconds: float) -> None:
        clock[0] += seconds

    def ask_in_vain(_: str, seconds: float) -> str:
        pass_by(seconds)
        return "it takes as long as it may"

    ask(monkeypatch, "http://hub.example.org")
    monkeypatch.setattr(loading, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=pass_by))
    monkeypatch.setattr(loading, "_ask", ask_in_vain)
    with pytest.raises(NotFoundError):
        loading.can_fetch(NAME)
    assert 4 < clock[0] <= 6


def test_a_hub_that_says_no_is_reached(serve: Callable[[int | None], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    server = serve(404)
    assert loading.can_fetch(NAME)
    assert (server.asked, server.tokens) == (1, {""})


def test_a_model_in_the_cache_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Callable[[int | None], Server]
) -> None:
    cached(monkeypatch, tmp_path)
    server = serve(503)
    assert not loading.can_fetch(NAME)
    assert server.asked == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not loading.can_fetch(NAME)
    assert server.asked == 1


def test_offline_mode_asks_no_server(serve: Callable[[int | None], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(200)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match=r"HF_HUB_OFFLINE is set.*Unset it\."):
        loading.can_fetch(NAME)
    assert server.asked == 0


def test_the_password_of_a_proxy_is_not_repeated() -> None:
    said = loading._words(OSError("cannot connect to\n http://me:secret@proxy:8080."))
    assert said == "cannot connect to http://…@proxy:8080"
    assert loading._words(TimeoutError()) == "TimeoutError"
