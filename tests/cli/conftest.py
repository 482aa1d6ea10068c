"""Running the command line: in this process where that is enough, as a real process where it matters."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from saewidgets.workspace import Workspace
from tests.conftest import TINY_TEXT, link_tokens

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240  # seconds; a loaded machine takes its time to import torch


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Invoke = Callable[..., Outcome]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Call a command in this process."""
    from saewidgets.cli.app import app

    monkeypatch.setenv("PATH", _path())

    def call(*arguments: str, input: str | None = None) -> Outcome:
        done = CliRunner().invoke(app, list(arguments), input=input, prog_name="saewidgets")
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return call


@dataclass(frozen=True)
class Demo:
    """A workspace with the SAE of the demo and what was extracted with it."""

    home: str
    sae: str
    extraction: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, demo_tokens: Path) -> Demo:
    """Made once: what changes it takes `own_demo`."""
    folder = tmp_path_factory.mktemp("demo")
    link_tokens(demo_tokens, folder)
    with Workspace(folder) as ws:
        record = ws.extractions.demo().record
    return Demo(str(folder), str(record.sae_id), record.id)


@pytest.fixture
def own_demo(demo: Demo, home: Path) -> Demo:
    """A copy, as the default workspace."""
    shutil.copytree(demo.home, home)
    return Demo(str(home), demo.sae, demo.extraction)


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A file with some text."""
    path = tmp_path / "text.txt"
    path.write_text("\n".join(TINY_TEXT))
    return str(path)


@contextmanager
def pressing_ctrl_c(when: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C in this process, once `when` is true of what runs within."""

    def press() -> None:
        deadline = time.monotonic() + PATIENCE
        while not when() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    yield
    thread.join()


def child_environment(home: Path) -> dict[str, str]:
    """The environment of a command that runs as its own process."""
    jupyter = {f"JUPYTER_{kind}_DIR": str(home / "jupyter" / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    ours = {"SAEWIDGETS_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **jupyter, **ours, "PATH": _path()}


def _path() -> str:
    """With the installed command on it, as in an environment that a person has activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as its own process, outside the tree; what still runs when the test ends is killed."""
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "saewidgets", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=tmp_path,
            env=child_environment(home),
        )  # fmt: skip
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
