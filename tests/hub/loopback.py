"""Makes this process's huggingface_hub and `datasets` ask a hub on the loopback interface."""

import functools

import datasets.config
import huggingface_hub.constants
import huggingface_hub.hf_file_system
import pytest

from tests.hub.conftest import switch_offline
from tests.hub.server import Hub


def ask_loopback(hub: Hub, monkeypatch: pytest.MonkeyPatch, offline: bool = False) -> None:
    """Tests run offline; here the hub is on this machine. Waits between tries are short."""
    switch_offline(monkeypatch, offline)
    constants = huggingface_hub.constants
    for module in (constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    backoff = huggingface_hub.hf_file_system.http_backoff
    quick = functools.partial(backoff, base_wait_time=0.01, max_wait_time=0.02, max_retries=1)
    monkeypatch.setattr(huggingface_hub.hf_file_system, "http_backoff", quick)
