"""A hub on the loopback interface, and a client with a cache of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import huggingface_hub.utils
import pytest

from saewidgets.hub.client import HubClient
from tests.hub.repos import Repo, published
from tests.hub.server import Hub


def switch_offline(monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    # Before 1.0 sessions are made for either state and kept.
    getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()


@pytest.fixture(scope="session")
def repositories() -> list[Repo]:
    """Made once; tests that change repositories add their own."""
    return published()


@pytest.fixture
def hub(repositories: list[Repo]) -> Iterator[Hub]:
    with Hub(repositories) as server:
        yield server


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run offline; here the hub is on this machine."""
    switch_offline(monkeypatch, False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True, raising=False)


@pytest.fixture
def client_of(hub: Hub, tmp_path: Path) -> Callable[..., HubClient]:
    """Clients of the loopback hub; their waits between tries are short."""

    def make(token: str | None = None, **settings: Any) -> HubClient:
        client = HubClient(token, hub.endpoint, **{"cache_dir": tmp_path / "cache", "timeout": 2.0, **settings})
        client.first_wait = 0.01
        return client

    return make


@pytest.fixture
def client(client_of: Callable[..., HubClient]) -> HubClient:
    return client_of()
