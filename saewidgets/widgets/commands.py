"""`command` marks a method that a page can call; `Commands` holds such methods; `Part` (shell.py) answers them.

A command is a message ``{"id", "kind", …}``: `kind` is the method's name, all else are its arguments, checked against
the signature. The method runs on a worker thread and returns plain JSON data, a `Wire` value, a `Table`, or None; or a
`Future` of one of these, where it has to wait for something (the network): the worker thread is free then. An argument
called `buffer` is the binary buffer that comes with the message. `tools/wire.py` writes the page's types from the same
signatures.
"""

import inspect
import re
import threading
import traceback
import typing
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.widgets.messages.wire import BulkResult, Wire
from saewidgets.widgets.model import error_note
from saewidgets.widgets.values import folder_name, path_from, shorten
from saewidgets.workspace import Workspace

MASK = "•••"  # in the place of an access token
MOST = 12  # questions of one widget that may be without an answer: more would only wait for the same dead hub
BUFFER_LIMIT = 1_000_000  # bytes of one binary buffer, in either direction

Method = TypeVar("Method", bound=Callable[..., Any])
Value = TypeVar("Value")


class MessageError(SAEWidgetsError, ValueError):
    """The page sent something that this version does not understand."""


class FieldsError(SAEWidgetsError):
    """Several fields of a form are wrong at once; `fields` maps dotted names to one sentence each."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        super().__init__(f"{len(fields)} field{'s need' if len(fields) != 1 else ' needs'} attention.")


@dataclass(frozen=True, slots=True)
class Table(Generic[Value]):
    """The return value of a command that sends columns of numbers: `value` as JSON and one binary buffer per column."""

    value: Value
    columns: tuple[str, ...]
    buffers: tuple[bytes | memoryview, ...]


class Command:
    """One method as a page calls it; its name is the command's kind, and `slow` which threads do it."""

    def __init__(self, method: Callable[..., Any], slow: bool) -> None:
        self.kind, self.slow, self._method = method.__name__, slow, method

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self._method, include_extras=True)

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """The arguments as a model. Those that are left out are left to the method's own defaults."""
        fields: dict[str, Any] = {}
        for name, parameter in list(inspect.signature(self._method).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:  # `**changes: Annotated[Any, SomeModel]`: fields of it
                (model,) = self._hints[name].__metadata__
                fields |= {key: (field.annotation, field) for key, field in model.model_fields.items()}
            elif name != "buffer":
                required = parameter.default is parameter.empty
                fields[name] = (self._hints[name], ... if required else parameter.default)
        return create_model(self.kind, __config__=ConfigDict(extra="forbid", frozen=True), **fields)

    @cached_property
    def answer(self) -> Any:
        found = self._hints["return"]
        while typing.get_origin(found) in (Future, Table):
            (found,) = typing.get_args(found)
        return found

    def read(self, content: dict[str, Any], buffers: Sequence[Any] | None) -> dict[str, Any]:
        """The arguments in a message. Raises `MessageError` naming the one that is wrong."""
        if not isinstance(content.get("id"), str):
            raise MessageError(f"The command {self.kind!r} has no id.", where="id")
        try:
            found = self.arguments.model_validate({k: v for k, v in content.items() if k not in ("id", "kind")})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            what = "it holds half a surrogate pair" if first["type"] == "string_unicode" else first["msg"]
            raise MessageError(f"The command {self.kind!r} is malformed: {what}.", where=place or None) from None
        given = {name: getattr(found, name) for name in found.model_fields_set}
        views = [memoryview(buffer).cast("B") for buffer in buffers or ()]
        wanted = int("buffer" in self._hints)
        if len(views) != wanted:
            raise MessageError(f"The command {self.kind!r} came with {len(views)} buffers, not {wanted}.")
        if any(view.nbytes > BUFFER_LIMIT for view in views):
            raise MessageError(f"A buffer of the command {self.kind!r} is larger than {BUFFER_LIMIT:,} bytes.")
        return {**given, "buffer": views[0]} if views else given


def command(method: Method) -> Method:
    """Make a method of `Commands` what a page can ask for."""
    method.command = Command(method, slow=False)  # type: ignore[attr-defined]
    return method


def slow_command(method: Method) -> Method:
    """The same for one that loads a model or reads and writes large files: no short command waits behind it."""
    method.command = Command(method, slow=True)  # type: ignore[attr-defined]
    return method


class Commands:
    """The commands of a widget's page: the methods marked `@command`.

    They run on worker threads and write no trait. Errors are in the words of the page, and what is gone leaves it.
    """

    def __init__(self, widget: Any) -> None:
        self._widget = widget
        self._model: Any = widget._model
        self._workspace: Workspace = widget.workspace
        self._wake: Callable[[], None] = widget._wake  # asks the publisher thread to show what changed

    @classmethod
    def known(cls) -> dict[str, Command]:
        found = (getattr(getattr(cls, name), "command", None) for name in dir(cls))
        return {each.kind: each for each in found if isinstance(each, Command)}

    def state(self) -> Wire:
        found: Wire = self._model.state()
        return found

    def run(self, kind: str, arguments: dict[str, Any]) -> Any:
        try:
            return getattr(self, kind)(**arguments)
        except SAEWidgetsError as error:
            if isinstance(error, NotFoundError):
                self._changed()
            in_page_words(error)
            raise

    def _changed(self) -> None:
        self._model.mark_changed()
        self._wake()

    def _name(self, each: str) -> str:
        """The name of the run or SAE with this id."""
        raise NotImplementedError

    def _each(self, ids: Sequence[str], do: Callable[[str], Any]) -> BulkResult:
        """One after another; failures are reported, and the others are done all the same."""
        done, paths, problems = [], [], []
        for each in dict.fromkeys(ids):
            try:
                made = do(each)
                done.append(each)
                paths += [str(made)] if isinstance(made, Path) else []
            except SAEWidgetsError as error:
                note, name = error_note(in_page_words(error)), each
                with suppress(SAEWidgetsError):  # it is gone: its id is all there is
                    name = shorten(self._name(each), 120)
                problems.append(note.model_copy(update={"where": name}))
        return BulkResult(done=tuple(done), paths=tuple(paths), problems=tuple(problems))

    def _export(self, ids: Sequence[str], folder: str, write: Callable[[str, Path], Path]) -> BulkResult:
        """Write one to a folder of the kernel's machine, several to folders in it."""
        target, taken = path_from(folder), set[str]()
        if len(ids) == 1:
            return BulkResult(done=tuple(ids), paths=(str(write(ids[0], target)),))
        return self._each(ids, lambda each: write(each, target / folder_name(self._name(each), taken)))

    @command
    def refresh(self, revision: int = 0) -> Any:
        """The page pulls: changes of other processes, and pages that miss updates, are covered by this."""
        try:
            self._model.look()
        finally:
            self._wake()  # publish what is new; a failure comes up there again, and is shown
        return self.state() if self._model.state().revision > revision else None


class UndoCommands(Commands):
    """Of widgets whose deletions can be undone."""

    @command
    def undo_delete(self, ids: tuple[str, ...]) -> None:
        try:
            for each in ids:
                self._workspace.deletions.undo(each)
        finally:
            self._changed()


class ImportCommands(Commands):
    """Of widgets that list completed trainings which are not in the library."""

    @slow_command
    def import_trainings(self, training_ids: tuple[str, ...] = ()) -> BulkResult:
        """Bring these into the library, or without any all that are not there. `done` has the ids of the SAEs."""
        saes = self._workspace.saes
        if len(training_ids) == 1:
            found = BulkResult(done=(saes.import_training(training_ids[0]).id,))
        else:
            found = self._each(training_ids or tuple(self._workspace.trainings.not_imported()), saes.import_training)
            found = found.model_copy(update={"done": tuple(saes.get(each).id for each in found.done)})
        self._changed()
        return found

    def _name(self, each: str) -> str:
        return self._workspace.trainings.get(each).record.name


class HubCommands(Commands):
    """Of widgets that ask the hub, which may take seconds, or hang. The threads that do the commands of all widgets are
    few, and the one that receives messages is one: neither may wait for it. Every question has a thread of its own."""

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
        self._asking = 0
        self._lock = threading.Lock()

    def _ask(self, do: Callable[[], Any]) -> Future[Any]:
        """Call `do`, which may take seconds or hang, on a thread of its own."""
        with self._lock:
            if self._asking >= MOST:
                raise StateError(
                    f"{self._asking} earlier questions to the hub have no answer yet.",
                    hint="The hub or the network hangs. Wait a little and try again.",
                )
            self._asking += 1
        future: Future[Any] = Future()

        def run() -> None:
            try:
                value = do()
            except BaseException as error:  # noqa: BLE001 - whatever it is, who asked must hear of it
                future.set_exception(error)
            else:
                future.set_result(value)
            finally:
                with self._lock:
                    self._asking -= 1

        threading.Thread(target=run, name="saewidgets-hub", daemon=True).start()
        return future


def with_token(token: str | None, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call something with an access token, which no error of it shows: one that did is raised without it and without
    its causes."""
    try:
        return call(*args, token=token, **kwargs)
    except Exception as error:
        if not token or token not in "".join(traceback.format_exception(error)):
            raise
        parts: list[str | None] = [f"{type(error).__name__}: {error}", None, None]
        if isinstance(error, SAEWidgetsError):
            parts = [error.what, error.where, error.hint]
        what, where, hint = (part and part.replace(token, MASK) for part in parts)
    raise SAEWidgetsError(what or "", where=where, hint=hint)  # outside of the handler: the other is no part of it


# what a hint holds → what to do on the page
_HINTS = (
    ("ws.saes.locate(", "If they were moved, press Locate files and say where to."),
    ("import_to_saes(", "Press Import on the card of the training, or in the SAE browser."),
    ("ws.saes.list(", "It was deleted, maybe by another notebook."),
    ("(locate)", "Locate whole files, or download or import it again."),
    ("tags=[", "Write them with commas between."),
    ("ExtractionConfig(model=", "Enter it under Model: a Hugging Face id or a folder."),
    ("with hook_name=", "Add it to the library again and fill in Hook name."),
    ("Start an extraction: ws.", "Press Start extraction."),
)
_IN_USE = re.compile(r" is in use: a job of kind (\w+) \((\w+)\) reads it\.")
# names of arguments: on a page the form they were typed into says where
_ARGUMENTS = frozenset({"a", "b", "files", "notes", "path", "sae_id", "tags"})


def in_page_words(error: SAEWidgetsError) -> SAEWidgetsError:
    """The same error with what to do on the page: the library's hints name Python's methods, a page has buttons."""
    if error.where in _ARGUMENTS:
        error.where = None
    if found := _IN_USE.search(error.what):
        noun, status = found[1].replace("_", " "), found[2]
        article = "an" if noun[:1] in "aeiou" else "a"
        error.what = error.what.replace(found[0], f" is in use: {article} {noun} that is {status} reads it.")
    for part, words in _HINTS:
        if error.hint and part in error.hint:
            error.hint = words
    return error
