"""Defines the options before the verb, how a workspace is opened, and how errors end the process."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import typer

from saewidgets.cli.interrupts import INTERRUPTED, SAID, raised_between_imports
from saewidgets.cli.output import printable
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

P = ParamSpec("P")
T = TypeVar("T")

OK, FAILED, USAGE, NOT_FOUND, PAUSED = 0, 1, 2, 3, INTERRUPTED


@dataclass
class Session:
    """The options given before the verb."""

    home: Path | None = None
    debug: bool = False


session = Session()


@contextmanager
def open_workspace() -> Iterator[Workspace]:
    """The workspace that ``--home`` names, or the default one; closed at the end."""
    from saewidgets.workspace import Workspace  # SQLAlchemy and more: only for commands that need it

    workspace = Workspace(session.home)
    try:
        yield workspace
    finally:
        workspace.close()


def command_line(*words: str) -> str:
    """A command to type that acts on the same workspace."""
    home = ["--home", str(session.home)] if session.home else []
    # As it was called where it is not on the path: `make demo` leaves it in .venv/bin.
    program = "saewidgets" if shutil.which("saewidgets") else _called_as()
    return " ".join([program, *home, *words])


def _called_as() -> str:
    name = Path(sys.argv[0])
    return str(name) if name.name.startswith("saewidgets") else "python -m saewidgets"


def fail(error: SAEWidgetsError) -> NoReturn:
    """Print `error` as one paragraph and leave with its status."""
    sys.stderr.write(f"Error: {printable(str(error))}\n")
    if isinstance(error, ConfigError):
        raise typer.Exit(USAGE)
    raise typer.Exit(NOT_FOUND if isinstance(error, NotFoundError) else FAILED)


def command(function: Callable[P, T]) -> Callable[P, T]:
    """A command whose errors are one readable paragraph; the traceback only with ``--debug``."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with raised_between_imports():
                result = function(*args, **kwargs)
            sys.stdout.flush()  # a reader that has gone is met here, not when the interpreter ends
            return result
        except (typer.Exit, typer.Abort):
            raise
        except SAEWidgetsError as error:
            if session.debug:
                raise
            fail(error)
        except KeyboardInterrupt:
            sys.stderr.write(SAID)
            raise typer.Exit(PAUSED) from None
        except BrokenPipeError:
            # The reader (`| head`) has seen enough; the interpreter must not fail again when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OK) from None
        except Exception as error:  # the outermost place: reported, with how to see more
            if session.debug:
                raise
            sys.stderr.write(
                f"Error: {type(error).__name__}: {printable(str(error))}\n"
                "This was not expected. Run it again with `saewidgets --debug …` to see where it came from.\n"
            )
            raise typer.Exit(FAILED) from None

    return wrapped


class Group(typer.Typer):
    """Commands below one word, such as ``saewidgets saes``."""

    def __init__(self, text: str) -> None:
        super().__init__(help=text, no_args_is_help=True, rich_markup_mode=None)

    def verb(self, name: str, **options: Any) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Add a function as a `command` of this name."""
        return lambda function: self.command(name, **options)(command(function))
