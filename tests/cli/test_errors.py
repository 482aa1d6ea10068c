"""How a command ends when something is wrong or Ctrl-C is pressed: one paragraph, the right status, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from saewidgets.cli import session as cli_session
from saewidgets.errors import CatalogError, ConfigError, NotFoundError, SAEWidgetsError, StateError
from tests.cli.conftest import PATIENCE, child_environment


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("k is too large.", where="sae.k", hint="Enter 1 to 10."), 2),
        (NotFoundError("no \x1b[2J here"), 3),
        (StateError("It has finished."), 1),
        (CatalogError("The catalog is damaged."), 1),
        (RuntimeError("out of cheese"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_statuses(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    @cli_session.command()
    def failing() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        failing()
    assert caught.value.exit_code == code
    shown = capsys.readouterr().err
    assert str(error) in shown
    assert "Traceback" not in shown


def test_debug_lets_the_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_session.session, "debug", True)

    @cli_session.command()
    def failing() -> None:
        raise SAEWidgetsError("It broke.")

    with pytest.raises(SAEWidgetsError, match="It broke"):
        failing()


PRESS = """
import importlib.abc, os, signal, sys

module = sys.argv[1]

class Press(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
            print("goes on")

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it would be ignored
sys.meta_path.insert(0, Press())
sys.argv = ["saewidgets", "list"]
from saewidgets.cli import main
main()
"""


@pytest.mark.parametrize("module", [
    "sqlalchemy",  # within the command
    pytest.param("typer", marks=pytest.mark.long),  # nothing has begun
])  # fmt: skip
def test_ctrl_c_while_modules_load(module: str, home: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-c", PRESS, module], capture_output=True, text=True, check=False,
        cwd=tmp_path, env=child_environment(home), timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (130, "Interrupted.\n", "")
