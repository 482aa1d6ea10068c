"""Commands are always answered: at once with an Ack, later with a Result or a Failure."""

import gc
import re
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from inspect import getsource
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import ipywidgets
import pytest
from ipykernel import kernelbase
from ipykernel.comm import Comm
from IPython.core.formatters import DisplayFormatter
from pydantic import Field

import saewidgets
import saewidgets as sw
from saewidgets.errors import CatalogError, ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.widgets.commands import Commands, FieldsError, Table, command, in_page_words
from saewidgets.widgets.messages.training import PanelState
from saewidgets.widgets.model import name_of_workspace
from saewidgets.widgets.shell import _REROUTING as HOOK
from saewidgets.widgets.shell import Part, unpin
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, ask

Serve = Callable[[Callable[[Any], Any]], tuple[Part, Sent]]


class Asked(Commands):
    """One command, done by a function."""

    def __init__(self, do: Callable[[int], Any]) -> None:
        self._do = do

    def state(self) -> PanelState:
        return PanelState()

    @command
    def refresh(self, revision: int = 0) -> Any:
        return self._do(revision)

    @command
    def rename(self, name: Annotated[str, Field(max_length=100)]) -> str:
        return name


@pytest.fixture
def serve(record_messages: Callable[[Any], Sent]) -> Serve:
    """A widget whose command is done by this function, and what it sends."""

    def serve(do: Callable[[Any], Any]) -> tuple[Part, Sent]:
        part = Part("training_panel", Asked(do))
        return part, record_messages(part)

    return serve


def raising(error: Exception) -> Callable[[Any], Any]:
    def do(revision: int) -> None:
        raise error

    return do


REFUSED = ConfigError("k is 20,000.", where="sae.k", hint="Enter 1 to 16,384.")
SEVERAL = FieldsError({"sae.k": "Too large.", "tokens": "Too few."})


@pytest.mark.parametrize(
    ("do", "answer", "logged"),
    [
        (lambda revision: {"revision": revision + 1}, {"kind": "result", "value": {"revision": 5}}, False),
        (raising(REFUSED), {"what": REFUSED.what, "where": REFUSED.where, "hint": REFUSED.hint, "fields": {}}, False),
        (raising(SEVERAL), {"what": SEVERAL.what, "hint": SEVERAL.hint, "fields": SEVERAL.fields}, False),
        (raising(ZeroDivisionError("by zero")), {"what": "ZeroDivisionError: by zero"}, True),
        (lambda revision: object(), {"kind": "failure"}, True),  # not JSON: no silence
    ],
)
def test_a_command_is_acknowledged_then_answered(
    do: Callable[[int], Any], answer: dict[str, Any], logged: bool, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    part, sent = serve(do)
    found = ask(part, sent, id="a", kind="refresh", revision=4)
    assert [content["kind"] for content in sent.of("a")] == ["ack", answer.get("kind", "failure")]
    assert {name: found[name] for name in answer} == answer
    assert ("Traceback" in caplog.text) == logged


def test_the_handler_thread_is_free_while_work_goes_on(serve: Serve) -> None:
    release = threading.Event()
    threads: list[str] = []

    def slow(command: Any) -> None:
        threads.append(threading.current_thread().name)
        release.wait(5)

    part, sent = serve(slow)
    started = time.perf_counter()
    part._handle_custom_msg({"id": "a", "kind": "refresh"}, [])
    elapsed = time.perf_counter() - started
    assert [content["kind"] for content, _ in sent] == ["ack"]
    assert elapsed < 3  # the work takes 5
    release.set()
    part.drain()
    assert sent.of("a")[-1]["kind"] == "result"
    assert threads[0].startswith("saewidgets-command")


def test_an_answer_that_was_not_heard_is_given_again_on_the_thread_that_asks(serve: Serve) -> None:
    part, sent = serve(lambda command: Table({"rows": 1}, ("x",), (b"12345678",)))
    ask(part, sent, id="a", kind="refresh")
    part._handle_custom_msg({"id": "n", "kind": "nudge", "waiting": ["a", "unknown"]}, [])
    assert [(content["id"], content["kind"]) for content, _ in sent] == [
        ("a", "ack"), ("a", "result"), ("n", "ack"), ("a", "result"),
    ]  # fmt: skip
    assert sent[-1] == sent[1]


@pytest.mark.parametrize(
    "content",
    [
        {"id": "x", "kind": "drop", "training_id": "t"},  # a kind this widget does not have
        {"id": "x", "kind": 7},
        {"id": "x"},
        {"id": "x", "kind": "refresh", "revision": "soon"},
        {"id": "x", "kind": "refresh", "surprise": 1},
        {"id": "x", "kind": "rename", "name": "x" * 101},
        {"id": "x", "kind": "rename", "name": "\ud800"},  # half a surrogate pair
        None,  # from here on without an id that is one
        "stop",
        {"id": ["x"], "kind": "refresh"},
    ],
)
def test_invalid_messages_fail_under_their_id(content: Any, serve: Serve) -> None:
    part, sent = serve(lambda command: None)
    part._handle_custom_msg(content, [])
    part.drain()
    has_id = isinstance(content, dict) and content["id"] == "x"
    assert [reply["kind"] for reply in sent.of("x" if has_id else "")] == ["failure"]


def test_a_send_that_fails_is_logged(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part, _ = serve(lambda command: None)

    def broken(content: Any, buffers: Any = None) -> None:
        raise OSError("the page is gone")

    monkeypatch.setattr(part, "send", broken)
    part._handle_custom_msg({"id": "a", "kind": "refresh"}, [])
    part.drain()
    assert "the page is gone" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_a_future_is_answered_when_it_is_done(fails: bool, serve: Serve) -> None:
    waiting: Future[PanelState] = Future()
    part, sent = serve(lambda command: waiting)
    part._handle_custom_msg({"id": "a", "kind": "refresh"}, [])
    time.sleep(0.05)
    assert [reply["kind"] for reply in sent.of("a")] == ["ack"]
    if fails:
        waiting.set_exception(ConfigError("No such repository."))
    else:
        waiting.set_result(PanelState(revision=7))
    part.drain()
    answer = sent.of("a")[-1]
    assert (answer["what"] if fails else answer["value"]["revision"]) == ("No such repository." if fails else 7)


def test_code_names_every_workspace_but_the_default(tmp_path: Path) -> None:
    with sw.Workspace() as default, sw.Workspace(tmp_path) as other:
        assert [name_of_workspace(ws) for ws in (default, other)] == ["", "ws"]


every_widget = pytest.mark.parametrize(
    "name", ["TrainingPanel", "SAEBrowser", "ExtractionViewer", "Steering", "DownloadFromHF"]
)


@every_widget
def test_nothing_holds_a_widget_that_is_closed(name: str) -> None:
    def is_gone() -> bool:
        gc.collect()
        return reference() is None

    with sw.Workspace() as ws:
        shown = getattr(sw, name)(ws)
        reference = weakref.ref(shown)
        shown.close()
        del shown
        wait_until(is_gone)


@every_widget
def test_arguments_are_checked(name: str) -> None:
    given: dict[str, Any]
    for given, error in (
        ({"theme": "blue"}, ConfigError), ({"height": 3}, ConfigError), ({"colour": "red"}, TypeError),
        ({"ws": 7}, ConfigError),
    ):  # fmt: skip
        with pytest.raises(error, match="workspace" if "ws" in given else next(iter(given))):
            getattr(sw, name)(**given)


READS = {
    "TrainingPanel": ("trainings", "list"), "SAEBrowser": ("saes", "facets"), "Steering": ("saes", "list"),
    "ExtractionViewer": ("extractions", "list"), "DownloadFromHF": ("hub", "downloads"),
}  # fmt: skip


@every_widget
def test_what_cannot_be_read_is_shown_and_heals(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise CatalogError("The catalog is locked.", hint="Close the other program.")

    def notice() -> str | None:
        return (shown._parts[0].state["notice"] or {}).get("what")

    part, method = READS[name]
    with sw.Workspace() as ws:
        with monkeypatch.context() as patch:
            patch.setattr(getattr(ws, part), method, broken)
            shown = getattr(sw, name)(ws)
            assert notice() == "The catalog is locked."
        shown._changed()
        wait_until(lambda: notice() is None, 20)
        with monkeypatch.context() as patch:
            patch.setattr(getattr(ws, part), method, broken)
            shown._changed()
            wait_until(lambda: notice() == "The catalog is locked.")
        shown.close()


@every_widget
def test_closing_ends_everything_and_leaves_a_copy(name: str, tmp_path: Path) -> None:
    with sw.Workspace() as ws:
        shown = getattr(sw, name)(ws, theme="dark", height=300)
        assert (shown._parts[0].theme, shown._parts[0].height) == ("dark", 300)
        document = shown.export_html(tmp_path / "copy.html").read_text("utf-8")
        assert document.startswith("<!doctype html>")
        assert "<script" not in document
        assert "tatic copy" in document
        threads = [threading.Thread(target=shown.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert not shown._publisher.alive
        assert shown._parts[0].comm is None
        assert not ws.manager._pump.has_subscribers


@every_widget
def test_a_widget_shows_view_html_and_text_with_ipywidgets_7(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a box has no mime bundle, and a method that IPython prefers to one and that gives the view alone."""
    monkeypatch.delattr(ipywidgets.Widget, "_repr_mimebundle_", raising=False)
    monkeypatch.setattr(ipywidgets.DOMWidget, "_ipython_display_", lambda self: None, raising=False)
    with sw.Workspace() as ws:
        shown = getattr(sw, name)(ws)
        data, _ = DisplayFormatter().format(shown)
        assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.model_id
        assert data["text/plain"] == repr(shown)
        assert "tatic copy" in data["text/html"]
        shown.close()


def test_hints_name_buttons() -> None:
    hint = "They were on a. If they were moved, say where to: ws.saes.locate(id, path)."
    error = in_page_words(NotFoundError("It is not there.", where="sae_1", hint=hint))
    assert error.hint == "If they were moved, press Locate files and say where to."
    assert (error.what, error.where) == ("It is not there.", "sae_1")


def test_errors_on_a_page_do_not_name_arguments() -> None:
    assert in_page_words(SAEWidgetsError("They differ.", where="b")).where is None
    assert in_page_words(SAEWidgetsError("Damaged.", where="cfg.json")).where == "cfg.json"


def test_no_hint_of_the_library_names_a_method_that_has_no_words_here() -> None:
    folder = Path(saewidgets.__file__).parent / "workspace"
    files = [folder / "saes.py", *(folder / "library").glob("*.py")]
    hints = [hint for file in files for hint in re.findall(r'hint=f?"([^"]*)"', file.read_text("utf-8"))]
    assert len(hints) > 15
    for hint in hints:
        said = in_page_words(SAEWidgetsError("x", hint=hint)).hint or ""
        assert not re.search(r"\bws\.|\bsw\.|`saewidgets|tags=", said), hint


def test_the_hook_is_silenced_on_a_real_comm() -> None:
    comm = Comm.__new__(Comm)
    if not hasattr(comm, HOOK):
        pytest.skip(f"ipykernel {version('ipykernel')} does not re-route widget messages")
    assert unpin(SimpleNamespace(comm=comm)) is True
    assert getattr(comm, HOOK) is None  # what the kernel's router asks for
    assert unpin(SimpleNamespace(comm=comm)) is False


def test_the_kernel_still_reads_the_hook_as_we_expect() -> None:
    """When this fails, ipykernel changed: see whether clicks during a running cell still arrive (tests/browser)."""
    source = getsource(kernelbase)
    if HOOK not in source:
        pytest.skip(f"ipykernel {version('ipykernel')} does not re-route widget messages")
    assert f'getattr(comm, "{HOOK}", None)' in source
    assert "if route is not None" in source


@pytest.mark.parametrize("widget", [SimpleNamespace(), SimpleNamespace(comm=None), SimpleNamespace(comm=object())])
def test_nothing_happens_without_the_hook(widget: object) -> None:
    assert unpin(widget) is False
