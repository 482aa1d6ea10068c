"""Opening JupyterLab on the tutorial."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saewidgets.cli import doctor as lab
from tests.cli.conftest import Invoke


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What would have been started: (arguments, environment)."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    monkeypatch.setattr(lab, "_become", lambda arguments, environment: calls.append((arguments, environment)))
    return calls


def test_it_opens_a_copy_in_the_workspace(invoke: Invoke, started: list[Any], tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    done = invoke("--home", str(home), "lab", "--no-browser", "--port", "9999")
    ((arguments, environment),) = started
    assert done.code == 0, done
    assert f"--ServerApp.root_dir={home / 'notebooks'}" in arguments
    assert f"--LabApp.default_url=/lab/tree/{lab.TUTORIAL}" in arguments
    assert {"--no-browser", "--port=9999"} <= set(arguments)
    assert environment["SAEWIDGETS_HOME"] == str(home)
    assert (home / "notebooks" / lab.TUTORIAL).read_bytes() == (lab.tutorials() / lab.TUTORIAL).read_bytes()


def test_a_changed_copy_is_kept(invoke: Invoke, started: list[Any], home: Path) -> None:
    own = home / "notebooks" / lab.TUTORIAL
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert invoke("lab").code == 0
    assert own.read_text() == "mine"


def test_a_notebook_of_ones_own(invoke: Invoke, started: list[Any], tmp_path: Path) -> None:
    (tmp_path / "my own.ipynb").write_text("{}")
    assert invoke("lab", str(tmp_path / "my own.ipynb")).code == 0
    assert {f"--ServerApp.root_dir={tmp_path}", "--LabApp.default_url=/lab/tree/my%20own.ipynb"} <= set(started[0][0])


def test_a_notebook_that_does_not_exist(invoke: Invoke, started: list[Any], tmp_path: Path) -> None:
    done = invoke("lab", str(tmp_path / "none.ipynb"))
    assert (done.code, started) == (3, [])


def test_without_jupyterlab_it_says_what_to_install(
    invoke: Invoke, started: list[Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    done = invoke("lab")
    assert (done.code, started) == (1, [])
    assert 'not installed here. To install it: pip install "saewidgets[lab]"' in done.err
    assert not home.exists()


def _status(url: str, deadline: float) -> int:
    """The answer's status; the server prints its address just before it listens."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.long
def test_a_real_server_serves_the_notebook(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    process = start("lab", "--no-browser", "--port", "0")
    found, ended = threading.Event(), threading.Event()
    lines: list[str] = []

    def read() -> None:
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            if re.search(r"http://127\.0\.0\.1:\d+/lab/tree/\S+\?token=", line):
                found.set()
        ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        deadline = time.monotonic() + 60
        while not found.wait(0.1):
            assert not ended.is_set(), "".join(lines)
            assert time.monotonic() < deadline, "".join(lines)
        url = re.search(r"(http://127\.0\.0\.1:\d+)/lab/tree/(\S+)\?token=(\w+)", "".join(lines))
        assert url
        assert url[2] == lab.TUTORIAL
        assert _status(f"{url[1]}/api/contents/{url[2]}?content=0&token={url[3]}", deadline) == 200
    finally:
        process.terminate()
        process.wait(30)
        assert ended.wait(30), "the server outlived the command"
