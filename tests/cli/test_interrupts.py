"""Ctrl-C while a command loads what it needs: one line and its status, wherever it comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import PATIENCE, child_environment

PRESS = """
import importlib.abc, os, signal, sys

module, times = sys.argv[1], int(sys.argv[2])

class Press(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            print("goes on")

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it would be ignored
sys.meta_path.insert(0, Press())
sys.argv = ["saewidgets", "list"]
from saewidgets.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "times", "out"),
    [
        ("typer", 1, ""),  # nothing has begun
        ("sqlalchemy", 1, "goes on\n"),  # within the command: once it is loaded
        ("sqlalchemy", 2, ""),  # unless somebody insists
    ],
)
def test_ctrl_c_while_modules_load(module: str, times: int, out: str, home: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-c", PRESS, module, str(times)], capture_output=True, text=True, check=False,
        cwd=tmp_path, env=child_environment(home), timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (130, "Interrupted.\n", out)
