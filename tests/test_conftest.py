"""The guards of the test-suite itself."""

import os
import socket
from pathlib import Path

import pytest


def test_the_network_is_blocked_beyond_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    with pytest.raises(OSError, match="do not use the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="do not use the network"):
        socket.getaddrinfo("example.org", 443)


def test_homes_are_temporary(home: Path, tmp_path: Path) -> None:
    from huggingface_hub.constants import HF_HOME

    assert os.environ["SAEWIDGETS_HOME"] == str(home)
    assert tmp_path in home.parents
    assert "saewidgets-hf-" in HF_HOME
