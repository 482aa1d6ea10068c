"""Defines `session`, the options around the verb and the workspace of the current command; `command` and
`CommandGroup`, which turn functions into commands; and `answer`, which writes a command's result."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from typer.core import TyperCommand

from saewidgets.cli.interrupts import INTERRUPTED, SAID, raised_between_imports
from saewidgets.cli.output import note, printable, results_alone, table, write, write_json
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.settings import Settings

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

P = ParamSpec("P")

OK, FAILED, USAGE, NOT_FOUND, PAUSED = 0, 1, 2, 3, INTERRUPTED
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
TokenStdin = Annotated[
    bool, typer.Option("--token-stdin", help="Read an access token from standard input, or ask for it at a terminal.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


@dataclass
class Session:
    """The options before the verb and at the end, and the workspace of a command; `settings` are those that were given
    as options, by their dotted names."""

    home: Path | str | None = field(default=None, repr=False)  # a URL may hold a password
    catalog: str | None = field(default=None, repr=False)
    executor: str | None = None
    debug: bool = False
    json: bool = False
    quiet: bool = False
    token: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    _workspace: Workspace | None = None

    @property
    def process(self) -> Settings:
        """The settings of this process, with what the options before the verb say instead."""
        found = Settings.from_environment()
        found = found.at(self.home) if self.home else found
        return replace(
            found, catalog_url=self.catalog or found.catalog_url, executor=self.executor or found.executor
        )

    @property
    def workspace(self) -> Workspace:
        """The workspace that ``--home`` names, or the default one: opened when first used, closed with the command."""
        if self._workspace is None:
            from saewidgets.workspace import Workspace  # SQLAlchemy and more: only for commands that need it

            self._workspace = Workspace(self.home, catalog_url=self.catalog, executor=self.executor)
        return self._workspace

    def close(self) -> None:
        """Close the workspace, and forget the options of the command that has ended."""
        self.json, self.quiet, self.token, self.settings = False, False, None, {}
        if self._workspace is not None:
            workspace, self._workspace = self._workspace, None
            workspace.close()


session = Session()
_LONGEST = 1_000  # characters of a token


def _asked_token(from_stdin: bool) -> str | None:
    """The access token that was typed or piped; None leaves it to huggingface_hub (``HF_TOKEN``, a saved login).

    Never an argument, where every process of the machine could read it. Raises `ConfigError` where there is none.
    """
    if not from_stdin:
        return None
    if sys.stdin.isatty():
        text = typer.prompt("Access token", hide_input=True, default="", show_default=False)
    else:
        text = sys.stdin.readline(_LONGEST + 1)
    token = str(text).strip()
    if not token or len(token) > _LONGEST:
        raise ConfigError(
            "There is no access token on standard input.", where="--token-stdin",
            hint="Pipe it, or leave the option out to use HF_TOKEN or a saved login.",
        )
    return token


def answer(data: Any, *lines: str, notes: Iterable[str] = ()) -> None:
    """`data` as JSON, or what a person reads instead: `lines`, and beside them `notes`."""
    if session.json:
        write_json(data)
        return
    for line in lines:
        write(line)
    for line in notes:
        note(line)


def listed(
    records: Sequence[Any], header: Sequence[str], row: Callable[[Any], Sequence[object]], right: Iterable[int],
    otherwise: str,
) -> None:  # fmt: skip
    """Records as JSON or as a table; `otherwise` is what a person reads where there are none."""
    answer(list(records), table(header, map(row, records), right) if records else otherwise)


def command_line(*words: str) -> str:
    """A command to type that acts on the same workspace."""
    home = ["--home", "URL" if isinstance(session.home, str) else str(session.home)] if session.home else []
    home += ["--catalog", "URL"] if session.catalog else []  # it may hold a password
    home += ["--executor", session.executor] if session.executor else []
    program = "saewidgets"
    if not shutil.which(program):  # as it was called: `make demo` leaves it in .venv/bin
        called = Path(sys.argv[0])
        program = str(called) if called.name.startswith(program) else "python -m saewidgets"
    return " ".join([program, *home, *words])


OptionsOfSettings = Mapping[str, inspect.Parameter]
"""Dotted name of a setting → its option."""


def command(
    *, settings: OptionsOfSettings | None = None, token: bool = False, json: bool = True, quiet: bool = False
) -> Callable[[Callable[P, object]], Callable[P, None]]:
    """A command with options for `settings`, ``--token-stdin`` if it reads private repositories, ``--json``, and
    ``--quiet`` if it shows progress, as the `session` has them.

    Its errors are one readable paragraph, with the traceback only after ``--debug``. What `write` and `write_json` do
    not write goes to standard error: other packages print what they do.
    """

    def decorate(function: Callable[P, object]) -> Callable[P, None]:
        own = inspect.signature(function, eval_str=True)
        ending = [("token_stdin", TokenStdin)] * token + [("json", Json)] * json + [("quiet", Quiet)] * quiet
        keyword = inspect.Parameter.KEYWORD_ONLY
        added = [inspect.Parameter(name, keyword, default=False, annotation=kind) for name, kind in ending]
        every = [*own.parameters.values(), *(settings or {}).values(), *added]

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
            session.json, session.quiet = bool(kwargs.pop("json", False)), bool(kwargs.pop("quiet", False))
            taken = {path: kwargs.pop(each.name, None) for path, each in (settings or {}).items()}
            session.settings = {path: value for path, value in taken.items() if value is not None}
            with _errors_in_words(), raised_between_imports(), results_alone():
                session.token = _asked_token(bool(kwargs.pop("token_stdin", False)))
                try:
                    function(*args, **kwargs)
                finally:
                    session.close()

        wrapped.__signature__ = own.replace(parameters=every)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in every}
        return wrapped

    return decorate


@contextmanager
def _errors_in_words() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()  # a reader that has gone is met here, not when the interpreter ends
    except (typer.Exit, typer.Abort):
        raise
    except SAEWidgetsError as error:
        if session.debug:
            raise
        sys.stderr.write(f"Error: {printable(str(error))}\n")
        status = USAGE if isinstance(error, ConfigError) else NOT_FOUND if isinstance(error, NotFoundError) else FAILED
        raise typer.Exit(status) from None
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


class SectionedCommand(TyperCommand):
    """A command that groups its options by their `rich_help_panel`; those without one come last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write every heading with its options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or plain, []).append(record)
        for name in sorted(sections, key=lambda name: name == "Options"):
            with formatter.section(name):
                formatter.write_dl(sections[name])


class CommandGroup(typer.Typer):
    """Commands below one word, such as ``saewidgets saes``."""

    def __init__(self, text: str) -> None:
        super().__init__(help=text, no_args_is_help=True, rich_markup_mode=None)

    def verb(self, name: str, **options: Any) -> Callable[[Callable[P, object]], None]:
        """Add a function as a `command` of this name, with its `options`."""

        def add(function: Callable[P, object]) -> None:
            self.command(name, cls=SectionedCommand)(command(**options)(function))

        return add
