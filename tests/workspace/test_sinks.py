"""`on_event=`: functions and the two trackers, on real runs of the demo model and against fakes of the libraries."""

import sys
import textwrap
import threading

import pytest

import saewidgets as sw
from saewidgets.errors import ConfigError
from saewidgets.events import Facts, LogLine, Metrics, Progress
from saewidgets.workspace.sinks import CAPACITY, Feed, RunInfo

WAIT = 120.0
INFO = RunInfo("train_01J8ABCDEF", "my run", {"seed": 3}, "group_1")

FAKE = {
    "wandb": """
        calls = []
        class Settings:
            def __init__(self, **settings): self.settings = settings
        class Run:
            def __init__(self): self.summary, self.config = {}, self
            def define_metric(self, *a, **k): calls.append(("define_metric", a, k))
            def log(self, values, **k): calls.append(("log", values, k))
            def update(self, values, **k): calls.append(("config", values, k))
            def finish(self, exit_code=None): calls.append(("finish", dict(self.summary), exit_code))
        def init(**settings):
            calls.append(("init", settings))
            return Run()
        """,
    "trackio": """
        calls = []
        class Run:
            def log(self, values, step=None): calls.append(("log", values, step))
            def finish(self): calls.append(("finish",))
        def init(**settings):
            calls.append(("init", settings))
            return Run()
        """,
}


@pytest.fixture
def library(request, tmp_path, monkeypatch):
    """A module with the part of the library's API that is used; what was called is in `calls`."""
    name = request.param
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(FAKE[name]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield __import__(name)
    sys.modules.pop(name, None)


@pytest.mark.parametrize("library", ["wandb"], indirect=True)
def test_weights_and_biases_gets_metrics_against_tokens(library):
    begun = sw.WandbSink("saes", tags=("demo",), mode="offline").open(INFO)
    begun(Metrics(5, 160, {"loss": 0.5, "fvu": 0.2}))
    begun(Facts({"d_in": 64, "model_facts": {"name": "demo"}}))
    begun.close("paused")
    (_, settings), *rest = library.calls
    kept = {name: settings[name] for name in ("project", "id", "name", "group", "tags", "mode", "resume", "config")}
    assert kept == {
        "project": "saes", "id": INFO.id, "name": "my run", "group": "group_1", "tags": ["demo"], "mode": "offline",
        "resume": "allow", "config": {"seed": 3},
    }
    assert settings["reinit"] == "create_new"
    assert rest[2:] == [
        ("log", {"loss": 0.5, "fvu": 0.2, "tokens": 160, "step": 5}, {}),
        ("config", {"d_in": 64}, {"allow_val_change": True}),
        ("finish", {"status": "paused"}, 0),
    ]


@pytest.mark.parametrize("library", ["trackio"], indirect=True)
def test_trackio_gets_metrics_by_step(library):
    begun = sw.TrackioSink("saes", space_id="me/saes").open(INFO)
    begun(Metrics(5, 160, {"loss": 0.5}))
    begun.close("completed")
    (_, settings), *rest = library.calls
    assert settings == {
        "project": "saes", "name": "my run ABCDEF", "group": "group_1", "space_id": "me/saes", "config": {"seed": 3},
        "resume": "allow", "embed": False,
    }
    assert rest == [("log", {"loss": 0.5, "tokens": 160}, 5), ("finish",)]


@pytest.mark.parametrize(("sink", "extra"), [(sw.WandbSink, "wandb"), (sw.TrackioSink, "trackio")])
def test_a_library_that_is_missing_is_named_at_once(sink, extra, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        sink()
    assert f"saewidgets[{extra}]" in caught.value.hint


def test_on_event_hears_everything_and_a_broken_sink_only_costs_a_line(ws, config):
    heard, closed = [], threading.Event()

    class Opened:
        def open(self, run):
            heard.append(run)
            return self

        def __call__(self, event):
            heard.append(event)

        def close(self, status):
            heard.append(status)
            closed.set()

    def broken(event):
        raise ConnectionError("offline")

    run = ws.trainings.create(config, on_event=[Opened(), broken])
    run.wait(WAIT)
    assert closed.wait(WAIT)
    assert (heard[0].id, heard[0].name, heard[-1]) == (run.id, run.name, "completed")
    assert heard[0].config["seed"] == run.config.seed
    steps = [event.step for event in heard if isinstance(event, Metrics) and "loss" in event.values]
    assert steps == sorted(steps)
    assert steps[-1] == run.config.steps
    assert run.status == "completed"
    said = "broken failed (ConnectionError: offline)"
    assert sum(said in line for line in run.log()) == 1
    assert (run.folder / "log.txt").read_text().count(f"WARNING {said}") == 1


def test_what_a_short_run_leaves_behind_is_named_when_the_workspace_closes(config, tmp_path, monkeypatch):
    monkeypatch.setattr("saewidgets.workspace.sinks.CLOSING", 0.1)
    release, entered = threading.Event(), threading.Event()

    def hanging(event):
        entered.set()
        release.wait(WAIT)

    def leaving(event):
        raise SystemExit("no key")

    with sw.Workspace(tmp_path / "home") as ws:
        run = ws.trainings.create(config, on_event=[hanging, leaving])
        assert run.wait(WAIT) == "completed"
        assert entered.wait(WAIT)
        folder = run.folder
    written = (folder / "log.txt").read_text()
    assert written.count("WARNING hanging was not done after 0.1 s: ") == 1
    assert written.count("WARNING leaving failed (SystemExit: no key). The run goes on.") == 1
    release.set()
    with sw.Workspace(tmp_path / "home") as ws:
        log = ws.trainings.get(run.id).log()
    assert any("Warning: hanging was not done after 0.1 s: " in line for line in log)
    assert any("Warning: leaving failed (SystemExit: no key)" in line for line in log)


def test_what_cannot_take_events_is_refused_before_anything_is_made(ws, config):
    with pytest.raises(ConfigError) as caught:
        ws.trainings.create(config, on_event=[print, 3])
    assert caught.value.where == "on_event"
    assert not len(ws.trainings.list())


def _metrics(step):
    return Metrics(step, step * 10, {"loss": 1.0})


def test_a_sink_that_cannot_be_opened_costs_nothing():
    def broken():
        raise OSError("bad key 0123456789abcdef0123456789abcdef01234567 for you")

    warned = []
    feed = Feed(broken, "mine", warned.append)
    feed.end("completed")
    assert feed.join(WAIT)
    feed.put(_metrics(1))
    assert warned == ["mine could not be opened (OSError: bad key … for you). The run goes on."]  # no key in a log


@pytest.mark.parametrize("raised", [ValueError("no route"), KeyboardInterrupt("stop"), GeneratorExit("end")])
def test_a_sink_that_raises_is_named_once_and_still_gets_events_in_order(raised):
    seen, warned = [], []

    class Raising:
        close = staticmethod(seen.append)

        def __call__(self, event):
            seen.append(event.step)
            raise raised

    feed = Feed(Raising, "mine", warned.append)
    for step in range(5):
        feed.put(_metrics(step))
    feed.end("failed")
    assert feed.join(WAIT)
    assert seen == [0, 1, 2, 3, 4, "failed"]
    assert warned == [f"mine failed ({type(raised).__name__}: {raised}). The run goes on."]


def test_a_sink_that_hangs_loses_progress_first_and_never_blocks_the_run():
    entered, release = threading.Event(), threading.Event()
    seen, warned = [], []

    class Hanging:
        def __call__(self, event):
            entered.set()
            release.wait(WAIT)
            seen.append(event)

        def close(self, status):
            pass

    feed = Feed(Hanging, "mine", warned.append)
    feed.put(LogLine("first"))
    assert entered.wait(WAIT)
    feed.put(Progress(1, 10))
    for step in range(CAPACITY + 2):  # one makes room by the progress, two by the oldest metrics
        feed.put(_metrics(step))
    feed.put(Progress(2, 10))  # no room for it
    assert not feed.join(0)
    feed.end("completed")
    release.set()
    assert feed.join(WAIT)
    assert [event.step for event in seen[1:]] == list(range(2, CAPACITY + 2))
    assert warned == ["mine is slower than the run: 2 of its events were left out."]


class Stuck:
    """Waits to be released where it is told to."""

    def __init__(self, where):
        self.where, self.entered, self.release = where, threading.Event(), threading.Event()

    def open(self):
        self._wait("open")
        return self

    def __call__(self, event):
        self._wait("event")

    def close(self, status):
        self._wait("close")

    def _wait(self, where):
        if where == self.where:
            self.entered.set()
            self.release.wait(WAIT)


@pytest.mark.parametrize("where", ["open", "event", "close"])
def test_a_sink_that_hangs_is_named_at_the_end(where):
    sink, warned = Stuck(where), []
    feed = Feed(sink.open, "mine", warned.append)
    feed.put(_metrics(1))
    feed.end("completed")  # a short run: no event comes that would show it
    assert sink.entered.wait(WAIT)
    feed.give_up(5)
    sink.release.set()
    assert feed.join(WAIT)
    waiting = 1 if where == "open" else 0
    assert warned == [f"mine was not done after 5 s: {waiting} events were not handed over."]
    feed.give_up(5)
    assert len(warned) == 1  # at rest
