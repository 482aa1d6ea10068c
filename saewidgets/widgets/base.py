"""The base of every anywidget of this package: the shared bundle, and commands that are always answered.

A command is a message ``{"id", "kind", …}`` from the page (`messages.wire.Command`). All widgets of a kernel share one
handler thread, so the handler only checks the message, answers `Ack` and hands the work to a worker thread; the
worker answers `Result` or `Failure` under the same id. Whatever goes wrong becomes a `Failure`: nothing that a
message handler prints or raises would ever be seen. Where a page does not hear worker threads (Colab), it asks for the
answer by a `Nudge`, to which the handler thread says it again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import anywidget
import traitlets as t
from pydantic import ValidationError

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.widgets.messages.wire import Ack, Command, Failure, Nudge, Result, Wire
from saewidgets.widgets.publisher import publish_wanted
from saewidgets.widgets.subshells import unpin

STATIC = Path(__file__).parent / "static"
_BUNDLES = {  # by view
    "sae_browser": "library.js",
    "download": "library.js",
    "extraction_viewer": "features.js",
    "steering": "steering.js",
}


# The JavaScript bundles and the style sheet of the widgets, read once per process.
#
# The text of a bundle is part of every widget's state, so each family of widgets has its own.
@lru_cache(maxsize=16)
def load_bundle(view: str) -> tuple[str, str]:
    """`(javascript, css)` of the built frontend that draws `view`.

    Raises:
        NotFoundError: they were not built (a source checkout without `npm run build`).
    """
    texts = []
    for name in (_BUNDLES.get(view, "saewidgets.js"), "saewidgets.css"):
        try:
            texts.append((STATIC / name).read_text("utf-8"))
        except FileNotFoundError:
            raise NotFoundError(
                "The frontend of the widgets is not built.",
                where=str(STATIC / name),
                hint="In a source checkout run `npm ci && npm run build`; `pip install .` builds it by itself.",
            ) from None
    return texts[0], texts[1]


logger = logging.getLogger("saewidgets.widgets")

Theme = str  # "auto", "light", "dark"
Handler = Callable[..., Any]
HIDE = ".{0} {{ display: none }} .jp-OutputArea-child:has(> * > .{0}) {{ display: none }}"
BUFFER_LIMIT = 1_000_000  # bytes of one binary buffer, in either direction
_ANSWERS_KEPT = 16  # for pages that did not hear them; one has few questions open at once


@lru_cache(maxsize=1)
def workers() -> ThreadPoolExecutor:
    """The threads on which commands of all widgets of this process run."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="saewidgets-command")


@dataclass(frozen=True, slots=True)
class Table:
    """What a handler returns to send columns of numbers: `value` as JSON and one binary buffer per column."""

    value: Any
    columns: tuple[str, ...]
    buffers: tuple[bytes | memoryview, ...]


class FieldsError(SAEWidgetsError):
    """Several fields of a form are wrong at once; `fields` maps dotted names to one sentence each."""

    def __init__(self, what: str, fields: dict[str, str], **parts: Any) -> None:
        self.fields = fields
        super().__init__(what, **parts)


class BaseWidget(anywidget.AnyWidget):
    """One part of a widget: state goes out as the trait `state`, commands come in as messages.

    Args:
        view: which frontend of the shared bundle draws it (`"training_panel"`, …).
        commands: message class → the function that does it. It runs on a worker thread and returns plain JSON data,
            a `Wire` value, a `Table`, or None; or a `Future` of one of these, where it has to wait for something (the
            network): the worker thread is free then, and the answer follows when the future is done. The function of
            a message that comes with binary buffers (`Command.buffers`) gets them as its second argument.
        theme: ``"auto"`` follows the notebook.
        height: largest inner height in pixels of what scrolls.
    """

    _esm = t.Unicode().tag(sync=True)
    _css = t.Unicode().tag(sync=True)
    _view = t.Unicode().tag(sync=True)
    _hide = t.Unicode().tag(sync=True)  # style sheet that hides its static copies (`shown.StaticCopy`)
    state = t.Dict().tag(sync=True)
    theme = t.Enum(["auto", "light", "dark"], "auto").tag(sync=True)
    height = t.Int(640).tag(sync=True)

    def __init__(
        self,
        view: str,
        commands: dict[type[Command], Handler],
        *,
        state: Wire | None = None,
        theme: Theme = "auto",
        height: int = 640,
    ) -> None:
        javascript, css = load_bundle(view)
        self._commands = {
            cast(str, message.model_fields["kind"].default): (message, do) for message, do in commands.items()
        }
        self._answers: OrderedDict[str, tuple[dict[str, Any], Sequence[Any]]] = OrderedDict()
        self._pending: set[Future[None]] = set()
        self._pending_lock = threading.Lock()
        self.copy_name = f"sw-copy-{secrets.token_hex(8)}"  # class and display id of its static copies
        super().__init__(
            _esm=javascript,
            _css=css,
            _view=view,
            _hide=HIDE.format(self.copy_name),
            theme=theme,
            height=height,
            state=state.model_dump(mode="json") if state is not None else {},
        )
        unpin(self)
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._view}>"

    def drain(self, timeout: float | None = 10.0) -> None:
        """Wait until every command received so far is answered. For tests and for closing."""
        end = None if timeout is None else time.monotonic() + timeout
        while pending := self._still_pending():  # what a worker began may be pending after it
            for future in pending:
                future.result(None if end is None else max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """Remove the widget from the page and stop answering it."""
        if hasattr(self, "_pending"):  # ipywidgets also closes a widget whose construction failed
            for future in self._still_pending():
                future.cancel()
        super().close()

    # ------------------------------------------------------------------------------------------- commands

    def _receive(self, widget: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Runs on the kernel's handler thread: must return within milliseconds and must not raise."""
        raw_id = content.get("id") if isinstance(content, dict) else None
        message_id = raw_id[:200] if isinstance(raw_id, str) else ""
        try:
            if isinstance(content, dict) and content.get("kind") == "nudge":
                self._reply(Ack(id=message_id).model_dump(mode="json"))
                self._answer_again(Nudge.model_validate(content))
                publish_wanted()
                return
            command, do = self._parse(content)
            arguments = self._take_buffers(command, buffers)
            self._reply(Ack(id=command.id).model_dump(mode="json"))
            future = workers().submit(self._work, command, do, *arguments)
            publish_wanted()
        except Exception as error:  # noqa: BLE001 - whatever it is, the page must hear of it
            self._reply(failure(message_id, error).model_dump(mode="json"))
            return
        self._track(future)

    def _parse(self, content: Any) -> tuple[Command, Handler]:
        kind = content.get("kind") if isinstance(content, dict) else None
        if not isinstance(kind, str) or kind not in self._commands:
            known = ", ".join(sorted(self._commands)) or "none"
            raise MessageError(f"This widget has no command {str(kind)[:80]!r}.", hint=f"Known commands: {known}.")
        message, do = self._commands[kind]
        try:
            return message.model_validate(content), do
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            what = "it holds half a surrogate pair" if first["type"] == "string_unicode" else first["msg"]
            raise MessageError(f"The command {kind!r} is malformed: {what}.", where=place or None) from None

    def _take_buffers(self, command: Command, buffers: Sequence[Any] | None) -> tuple[list[memoryview], ...]:
        """The binary data of a command as its handler's further arguments: none, or one list of views."""
        views = [memoryview(buffer).cast("B") for buffer in buffers or ()]
        if len(views) != command.buffers:
            raise MessageError(f"The command {command.kind!r} came with {len(views)} buffers, not {command.buffers}.")
        if any(view.nbytes > BUFFER_LIMIT for view in views):
            raise MessageError(f"A buffer of the command {command.kind!r} is larger than {BUFFER_LIMIT:,} bytes.")
        return (views,) if command.buffers else ()

    def _work(self, command: Command, do: Handler, *arguments: Any) -> None:
        try:
            value = do(command, *arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the page must hear of it
            self._fail(command, error)
            return
        if not isinstance(value, Future):
            self._answer(command, value)
            return
        answered: Future[None] = Future()  # done when the page has the answer, which is a little after `value` is
        self._track(answered)
        value.add_done_callback(lambda done: self._answer_late(command, done, answered))

    def _answer_late(self, command: Command, done: Future[Any], answered: Future[None]) -> None:
        error = CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._answer(command, done.result())
        else:
            self._fail(command, error)
        if answered.set_running_or_notify_cancel():
            answered.set_result(None)

    def _answer(self, command: Command, value: Any) -> None:
        try:
            table = value if isinstance(value, Table) else Table(value, (), ())
            content = Result(id=command.id, value=plain(table.value), columns=table.columns).model_dump(mode="json")
            self._reply(content, table.buffers, keep=True)
        except Exception as error:  # noqa: BLE001 - what is no JSON data, or cannot be sent
            self._fail(command, error)

    def _fail(self, command: Command, error: BaseException) -> None:
        if not isinstance(error, SAEWidgetsError):
            logger.error("The command %s failed", command.kind, exc_info=error)
        else:
            logger.info("The command %s was refused: %s", command.kind, error)
        self._reply(failure(command.id, error).model_dump(mode="json"), keep=True)

    def _answer_again(self, nudge: Nudge) -> None:
        with self._pending_lock:
            found = [self._answers.pop(each) for each in nudge.waiting if each in self._answers]
        for content, buffers in found:
            self._reply(content, buffers)

    def _reply(self, content: dict[str, Any], buffers: Sequence[Any] = (), *, keep: bool = False) -> None:
        if keep:
            with self._pending_lock:
                self._answers[content["id"]] = content, buffers
                while len(self._answers) > _ANSWERS_KEPT:
                    self._answers.popitem(last=False)
        try:
            self.send(content, list(buffers))
        except Exception:  # no page to tell: the comm is closed or broken
            logger.exception("The answer to command %s could not be sent", content["id"])

    def _still_pending(self) -> list[Future[None]]:
        with self._pending_lock:
            return list(self._pending)

    def _track(self, future: Future[None]) -> None:
        with self._pending_lock:
            self._pending.add(future)
        future.add_done_callback(self._forget)

    def _forget(self, future: Future[None]) -> None:
        with self._pending_lock:
            self._pending.discard(future)


class MessageError(SAEWidgetsError, ValueError):
    """The page sent something that this version does not understand."""


def plain(value: Any) -> Any:
    """`value` as JSON data."""
    if isinstance(value, Wire):
        return value.model_dump(mode="json")
    return value


def failure(message_id: str, error: BaseException) -> Failure:
    """The error in the parts a page can show."""
    if isinstance(error, SAEWidgetsError):
        fields = dict(getattr(error, "fields", {}))
        return Failure(id=message_id, what=error.what, where=error.where, hint=error.hint, fields=fields)
    return Failure(
        id=message_id,
        what=f"{type(error).__name__}: {error}",
        hint="This is a fault in saewidgets; the traceback is in the log of the kernel.",
    )
