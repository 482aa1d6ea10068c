"""`Publisher`, the thread that sends state to the page; `Part`, one view on the page; `Shell`, the base of the five
widgets; `Box`, a widget with others below it.

All widgets of a kernel share one handler thread, so `Part` only checks a message there, answers `Ack` and hands the
work to a worker thread, which answers `Result` or `Failure` under the same id. Whatever goes wrong becomes a
`Failure`: nothing that a message handler prints or raises would ever be seen. Where a page does not hear worker
threads (Colab), it asks for the answer by a nudge, to which the handler thread sends it again.
"""

from __future__ import annotations

import logging
import secrets
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, cast
from weakref import WeakSet

import anywidget
import ipywidgets
import traitlets as t
from IPython import get_ipython

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.render.html import Html, html_document, tag
from saewidgets.widgets.commands import Commands, MessageError, Table
from saewidgets.widgets.messages.wire import Ack, Failure, Note, Nudge, Result
from saewidgets.widgets.model import Devices, Model, error_note
from saewidgets.workspace import Workspace, default_workspace

logger = logging.getLogger("saewidgets.widgets")

STATIC = Path(__file__).parent / "static"
_BUNDLES = {  # by view
    "sae_browser": "library.js",
    "download": "library.js",
    "extraction_viewer": "features.js",
    "steering": "steering.js",
}
Theme = Literal["auto", "light", "dark"]
HIDE = ".{0} {{ display: none }} .jp-OutputArea-child:has(> * > .{0}) {{ display: none }}"
# JupyterLab writes "Error displaying widget: model not found" into the output of a view whose kernel has ended. That
# output follows the static copy, which shows the same.
HIDE_ERROR = (
    ".jp-OutputArea-child:has(> * > .{0}) + .jp-OutputArea-child:has(> .jp-OutputArea-output.jupyter-widgets)"
    ":not(:has(.sw)) {{ display: none }}"
)
LEAST_HEIGHT = 80  # pixels
COPY_EVERY = 5.0  # least seconds between two static copies of a widget in a notebook
_ANSWERS_KEPT = 16  # for pages that did not hear them; one has few questions open at once
_CLOSING = threading.Lock()  # held for a moment: one for all widgets is enough
_REST = 60  # a call of `publish` is followed by a rest this many times as long as it took …
_LONGEST = 3.0  # … but not of more seconds than this
_BEGINS = 0.25  # seconds in which the cell that makes a widget has the interpreter for itself, and its view is drawn
_REROUTING = "_reply_subshell_for"  # private to ipykernel 7.4; tests/widgets/test_shell.py says when it changes


@lru_cache(maxsize=16)
def load_bundle(view: str) -> tuple[str, str]:
    """`(javascript, css)` of the frontend that draws `view`; every family has one: each widget holds it as text."""
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


@lru_cache(maxsize=1)
def workers() -> ThreadPoolExecutor:
    """The threads on which commands of all widgets of this process run."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="saewidgets-command")


@lru_cache(maxsize=1)
def slow_workers() -> ThreadPoolExecutor:
    """The threads that load models and read and write weights, so that the threads of short commands stay free."""
    return ThreadPoolExecutor(max_workers=6, thread_name_prefix="saewidgets-slow")


def unpin(widget: Any) -> bool:
    """Let messages of `widget` stay on the shell the page chose. True if there was something to undo.

    JupyterLab sends widget messages over a subshell, beside the running cell. ipykernel 7.4 re-routes them to
    whichever shell published last on the same comm, which is the main shell as soon as a cell touched the widget:
    every click then waits for the cell to end. The hook that does so may be absent (older and newer kernels) or None
    (no re-routing). Safe to call at any time, also without a kernel and on a closed widget.
    """
    comm = getattr(widget, "comm", None)
    if getattr(comm, _REROUTING, None) is None:
        return False
    setattr(comm, _REROUTING, None)
    return True


_PULLED: WeakSet[Publisher] = WeakSet()


def publish_wanted() -> None:
    """A page asks something and waits: publish now what could not be pushed to it."""
    for publisher in list(_PULLED):
        publisher.publish_wanted()


class Publisher:
    """Calls `publish()` soon after every `wake()`, never more often than `interval` allows, never twice at once: the
    newest state only, and never enough to slow a run down.

    ipywidgets guards a widget's traits with plain flags and no lock, so all writes to them go through one thread. That
    thread shares the interpreter with the runs it shows: between two calls it rests in proportion to what a call cost,
    so that being watched takes a run no more than about one part in sixty. What the user just asked for does not wait.
    A `publish` that raises is logged with its traceback and given to `on_error`; the thread goes on.

    Colab shows only what is sent while it waits for an answer. There a publisher has no thread: every request of a page
    publishes what is wanted (`publish_wanted`).

    Args:
        publish: writes the newest state.
        name: for the thread's name.
        interval: least seconds between two calls.
        begins: seconds before the first call, unless that is urgent.
        on_error: is given what `publish` raised.
    """

    def __init__(
        self,
        publish: Callable[[], None],
        *,
        name: str,
        interval: float = 0.1,
        begins: float = 0.0,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._publish = publish
        self._begins = begins
        self._on_error = on_error
        self._interval = interval
        self._changed = threading.Condition()
        self._wanted = self._urgent = self._closed = False
        self._rests_until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"saewidgets-{name}", daemon=True)
        if "google.colab.output" in sys.modules:
            _PULLED.add(self)
        else:
            self._thread.start()

    def wake(self, *, urgent: bool = False) -> None:
        """Something changed. Returns at once; any number of calls during a rest lead to one `publish`.

        `urgent`: the user waits for it; only `interval` is kept.
        """
        with self._changed:
            self._wanted = True
            self._urgent = self._urgent or urgent
            self._changed.notify_all()

    def close(self, timeout: float = 2.0) -> None:
        """Stop the thread; a `publish` under way is finished first. Safe to call twice and from `publish` itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def publish_wanted(self) -> None:
        """Publish on the calling thread, if something changed and the rest is over."""
        with self._changed:
            rests = time.monotonic() < self._rests_until and not self._urgent
            if not self._wanted or self._closed or rests:
                return
            self._wanted = self._urgent = False
        self._rests_until = time.monotonic() + max(self._interval, self._call())

    def _run(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._urgent, self._begins)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                self._wanted = self._urgent = False
            started = time.monotonic()
            rest = self._call()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, max(0.0, started + self._interval - time.monotonic()))
                left = max(0.0, started + rest - time.monotonic())
                self._changed.wait_for(lambda: self._closed or self._urgent, left)

    def _call(self) -> float:
        """Publish; the seconds of rest that this asks for."""
        started = time.monotonic()
        try:
            self._publish()
        except Exception as error:  # the thread must outlive any one failure; it is logged and shown
            if getattr(threading, "_SHUTTING_DOWN", False):  # the interpreter ends, and thread pools before this
                self._closed = True
                return 0.0
            logger.exception("Publishing the state of a widget failed")
            if self._on_error is not None:
                self._on_error(error)
        return min(_LONGEST, _REST * (time.monotonic() - started)) if self._interval else 0.0


class Part(anywidget.AnyWidget):
    """One view on the page: state goes out as the trait `state`, commands come in as messages."""

    _esm = t.Unicode().tag(sync=True)
    _css = t.Unicode().tag(sync=True)
    _view = t.Unicode().tag(sync=True)
    _hide = t.Unicode().tag(sync=True)  # style sheet that hides its static copies
    state = t.Dict().tag(sync=True)
    theme = t.Enum(["auto", "light", "dark"], "auto").tag(sync=True)
    height = t.Int(640).tag(sync=True)

    def __init__(self, view: str, commands: Commands, *, theme: Theme = "auto", height: int = 640) -> None:
        javascript, css = load_bundle(view)
        self._commands = commands
        self._known = commands.known()
        self._answers: OrderedDict[str, tuple[dict[str, Any], Sequence[Any]]] = OrderedDict()
        self._answers_lock = threading.Lock()
        self._pending: set[Future[None]] = set()
        self.copy_name = f"sw-copy-{secrets.token_hex(8)}"  # class and display id of its static copies
        super().__init__(
            _esm=javascript,
            _css=css,
            _view=view,
            _hide=HIDE.format(self.copy_name),
            theme=theme,
            height=height,
            state=commands.state().model_dump(mode="json"),
        )
        unpin(self)
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._view}>"

    def publish(self) -> None:
        state = self._commands.state().model_dump(mode="json")
        if self.state.get("revision") != state["revision"]:
            self.state = state

    def drain(self, timeout: float = 10.0) -> None:
        """Wait until every command received so far is answered. For tests."""
        end = time.monotonic() + timeout
        while pending := list(self._pending):  # what a worker began may be pending after it
            for future in pending:
                future.result(max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """Remove the widget from the page and stop answering it."""
        if hasattr(self, "_pending"):  # ipywidgets also closes a widget whose construction failed
            for future in list(self._pending):
                future.cancel()
        super().close()

    # ------------------------------------------------------------------------------------------- commands

    def _receive(self, widget: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Runs on the kernel's handler thread: must return within milliseconds and must not raise."""
        raw_id = content.get("id") if isinstance(content, dict) else None
        message_id = raw_id[:200] if isinstance(raw_id, str) else ""
        try:
            kind = content.get("kind") if isinstance(content, dict) else None
            if kind == "nudge":
                self._reply(Ack(id=message_id).model_dump(mode="json"))
                for answer in self._not_heard(Nudge.model_validate(content)):
                    self._reply(*answer)
                publish_wanted()
                return
            if not isinstance(kind, str) or kind not in self._known:
                known = ", ".join(sorted(self._known)) or "none"
                raise MessageError(f"This widget has no command {str(kind)[:80]!r}.", hint=f"Known commands: {known}.")
            command = self._known[kind]
            arguments = command.read(content, buffers)
            self._reply(Ack(id=message_id).model_dump(mode="json"))
            pool = slow_workers() if command.slow else workers()
            future = pool.submit(self._answer, message_id, kind, partial(self._commands.run, kind, arguments))
            publish_wanted()
        except Exception as error:  # noqa: BLE001 - whatever it is, the page must hear of it
            self._reply(failure(message_id, error).model_dump(mode="json"))
            return
        self._track(future)

    def _answer(self, message_id: str, kind: str, do: Callable[[], Any]) -> None:
        """Answer with what `do` returns or raises; with a future it returns, when that is done."""
        try:
            value = do()
            if isinstance(value, Future):
                answered: Future[None] = Future()  # done when the page has the answer, a little after `value` is
                self._track(answered)

                def later(done: Future[Any]) -> None:
                    self._answer(message_id, kind, done.result)
                    if answered.set_running_or_notify_cancel():
                        answered.set_result(None)

                value.add_done_callback(later)
                return
            table = value if isinstance(value, Table) else Table(value, (), ())
            content = Result(id=message_id, value=table.value, columns=table.columns)
            self._reply(content.model_dump(mode="json"), table.buffers, keep=True)
        except Exception as error:
            if not isinstance(error, SAEWidgetsError):
                logger.error("The command %s failed", kind, exc_info=error)
            else:
                logger.info("The command %s was refused: %s", kind, error)
            self._reply(failure(message_id, error).model_dump(mode="json"), keep=True)

    def _not_heard(self, nudge: Nudge) -> list[tuple[dict[str, Any], Sequence[Any]]]:
        with self._answers_lock:
            return [self._answers.pop(each) for each in nudge.waiting if each in self._answers]

    def _reply(self, content: dict[str, Any], buffers: Sequence[Any] = (), *, keep: bool = False) -> None:
        if keep:
            with self._answers_lock:
                self._answers[content["id"]] = content, buffers
                while len(self._answers) > _ANSWERS_KEPT:
                    self._answers.popitem(last=False)
        try:
            self.send(content, list(buffers))
        except Exception:  # no page to tell: the comm is closed or broken
            logger.exception("The answer to command %s could not be sent", content["id"])

    def _track(self, future: Future[None]) -> None:
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)


def failure(message_id: str, error: BaseException) -> Failure:
    """The error in the parts a page can show."""
    if isinstance(error, SAEWidgetsError):
        return Failure.of(error, id=message_id, kind="failure")
    hint = "This is a fault in saewidgets; the traceback is in the log of the kernel."
    return Failure(id=message_id, what=f"{type(error).__name__}: {error}", hint=hint)


def checked_workspace(ws: Workspace | None, theme: Any, height: Any) -> Workspace:
    """`ws`, or the default workspace for None.

    Raises:
        ConfigError: `theme` is not auto, light or dark, `height` not a number of pixels ≥ 80, or `ws` not a workspace.
    """
    if theme not in ("auto", "light", "dark"):
        raise ConfigError(f"There is no theme {theme!r}.", where="theme", hint='Use "auto", "light" or "dark".')
    if not isinstance(height, int) or isinstance(height, bool) or height < LEAST_HEIGHT:
        raise ConfigError(
            f"Expected a height in pixels, at least {LEAST_HEIGHT}, got {height!r}.", where="height",
            hint="Use a whole number.",
        )
    if ws is not None and not isinstance(ws, Workspace):
        raise ConfigError(f"Not a workspace: {type(ws).__name__}.", where="ws", hint="Give a `Workspace`.")
    return ws or default_workspace()


class Shell:
    """Mixin of the five widgets: a model, drawn by one or several parts, published by one thread, with a static copy.

    In a notebook the static copy is beside the live view and follows it. It is an output of its own, which the
    page hides while the view is there (`js/src/lib/host.tsx`): an update of the view's own output would draw the
    widget a second time.
    """

    _title: ClassVar[str]  # of the exported page
    _model: Model[Any]
    _parts: tuple[Part, ...]
    _closed = True  # until it is built: ipywidgets closes a widget whose constructor raised
    _publisher: Publisher | None = None
    _reading_devices: Future[None] | None = None
    _ends: tuple[Callable[[], object], ...] = ()
    _ipython_display_ = None  # that of ipywidgets 7 goes before the mime bundle and leaves nothing but the view
    _outputs: Any = None  # what publishes the notebook's outputs, once the widget was displayed
    _copying: Publisher | None = None

    def _first_read(self, read: Callable[[], object] | None = None) -> None:
        """Read what is shown first; where that fails the widget is drawn all the same and says so."""
        try:
            (read or self._model.read)()
        except SAEWidgetsError as error:
            self._model.set_notice(error_note(error))

    def _start(self, parts: tuple[Part, ...], *ends: Callable[[], object]) -> None:
        """The widget is built: publish from now on. `ends` end its subscriptions to what it follows."""
        self._parts = parts
        self._closed = False
        self._publisher = Publisher(
            self._publish, name=self._title.lower(), begins=_BEGINS, on_error=self._show_error
        )
        self._ends = ends
        self._changed()

    # --------------------------------------------------------------------------------------------- for Python

    @property
    def workspace(self) -> Any:
        """The workspace it shows."""
        return self._model.workspace

    def export_html(self, path: str | Path | None = None) -> Path | str:
        """What it shows, as one self-contained page without script.

        Args:
            path: where to write it; None returns the text instead.
        """
        document = html_document(self._title, self._static())
        if path is None:
            return document
        target = Path(path)
        target.write_text(document, "utf-8")
        return target

    def close(self) -> None:
        """Remove the widget from the page and stop following the workspace. Jobs go on; its static copy stays."""
        with _CLOSING:  # the page and a script may close it at once
            if self._closed:
                return
            self._closed = True
        for end in self._ends:
            end()
        if self._publisher is not None:
            self._publisher.close()
        for each in self._owned():
            each.close()
        super().close()  # type: ignore[misc]
        if self._copying is not None:
            self._copying.close()
            self._leave_copy()

    # --------------------------------------------------------------------------------------------- what differs

    def _static(self) -> Html:
        raise NotImplementedError

    def _copy(self) -> Html:
        """The static copy beside the live view."""
        return self._static()

    def _owned(self) -> tuple[Any, ...]:
        return tuple(part for part in self._parts if part is not self)

    # --------------------------------------------------------------------------------------------- publishing

    def _changed(self, *what: Any) -> None:
        self._model.mark_changed()
        self._wake(urgent=False)

    def _wake(self, urgent: bool = True) -> None:
        """Publish what changed; `urgent`: a person waits for it."""
        if self._publisher is not None:
            self._publisher.wake(urgent=urgent)

    def _publish(self) -> None:
        """Runs on the publisher thread, which alone writes traits."""
        self._read()
        text = self._model.workspace.notice
        self._model.set_notice(Note(what=text, kind="info") if text else None)
        self._arrange()
        self._send_state()

    def _arrange(self) -> None:
        """Show and hide what is beside the parts."""

    def _read(self) -> None:
        self._model.read()

    def _send_state(self) -> None:
        for part in self._parts:
            part.publish()

    def _show_error(self, error: BaseException) -> None:
        self._model.set_notice(error_note(error))
        self._send_state()

    def _follow(self, devices: Devices) -> None:
        """Have the devices read where they are old: on a worker, for torch may have to be imported."""

        def read() -> None:
            devices.read()
            self._wake()

        if devices.are_old and (self._reading_devices is None or self._reading_devices.done()):
            self._reading_devices = workers().submit(read)

    # --------------------------------------------------------------------------------------------- in a notebook

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        # Not that of `super()`: the boxes of ipywidgets 7 have none, and anywidget's adds what Colab needs.
        data, metadata = cast(Any, anywidget.AnyWidget._repr_mimebundle_)(self)
        outputs = getattr(get_ipython(), "display_pub", None)
        if not hasattr(outputs, "pub_socket"):  # a script, or a cell whose outputs are captured
            return {**data, "text/html": str(self._static())}, metadata
        self._outputs = outputs
        self._leave_copy(update=False)
        if self._copying is None:
            copying = self._copying = Publisher(self._leave_copy, name="copy", interval=COPY_EVERY)
            self._parts[0].observe(lambda _: copying.wake(), "state")
        return {**data, "text/html": ""}, metadata

    def _leave_copy(self, update: bool = True) -> None:
        name = self._parts[0].copy_name
        html = tag("div", tag("style", Html(HIDE_ERROR.format(name))), self._copy(), class_=name)
        self._outputs.publish({"text/html": html}, {}, transient={"display_id": name}, update=update)


class Box(Shell, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets carries no types
    """A widget below which others open, one at a time; each is made when it is first shown."""

    children: Any

    def _build(self, children: tuple[Any, ...], *, embedded: bool, **look: Any) -> None:
        self._look: dict[str, Any] = {"embedded": True, **look}
        self._below: dict[str, Any] = {}  # what was opened so far
        self._making = threading.Lock()
        self._following = threading.local()
        ipywidgets.VBox.__init__(self, children, layout=ipywidgets.Layout(margin="0", overflow="visible"))
        if not embedded:
            self.add_class("sw-frame")

    def _make(self, what: str) -> Any:
        raise NotImplementedError

    def _opening(self, what: str, widget: Any) -> None:
        """It is about to be shown."""

    def _above(self, alone: bool) -> tuple[Any, ...]:
        """What is above the open widget; `alone`: none is open."""
        return self._parts

    def _take_over(self) -> None:
        raise NotImplementedError

    def _follow_model(self) -> None:
        self._following.model = True  # of this thread
        try:
            self._take_over()
        finally:
            self._following.model = False

    @property
    def _follows(self) -> bool:
        """Traits are being set to what the model has; what Python code assigns meanwhile is still a choice."""
        return getattr(self._following, "model", False)

    def _owned(self) -> tuple[Any, ...]:
        with self._making:
            return (*self._parts, *self._below.values())

    def _send_state(self) -> None:
        super()._send_state()
        self._follow_model()

    def _arrange(self) -> None:
        wanted = self._model.below
        with self._making:
            if wanted and wanted not in self._below and not self._closed:
                self._below[wanted] = self._make(wanted)
        below = self._below.get(wanted)
        if below is not None:
            self._opening(wanted, below)
        children = (*self._above(alone=below is None), *(() if below is None else (below,)))
        if self.children != children:
            self.children = children
