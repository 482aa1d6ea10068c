"""The SAE browser over a real workspace: every button is one call of it, and what changed comes as state."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.formats import detect_format
from saewidgets.jobs import JobSettings
from saewidgets.records import SAERecord
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.commands import ViewerCommands
from saewidgets.widgets.extraction_viewer.state import ViewerModel
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser import state as state_module
from saewidgets.widgets.sae_browser.commands import BrowserCommands
from saewidgets.widgets.sae_browser.state import BrowserModel
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.steering.widget import Steering
from saewidgets.widgets.values import folder_name, path_from
from saewidgets.workspace import Workspace
from tests.hub.server import Hub
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, again, ask, run
from tests.workspace.conftest import finished  # noqa: F401 - a fixture
from tests.workspace.hub import READER, WRITER, cache, repositories, server  # noqa: F401 - fixtures
from tests.workspace.library.saes import contents, saelens

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def library(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811 - the fixture
    """A closed workspace with a trained SAE, one of another width, and one whose weights are gone."""
    folder, files = tmp_path_factory.mktemp("library") / "ws", tmp_path_factory.mktemp("files")
    shutil.copytree(finished, folder)
    with Workspace(folder, jobs=JobSettings(poll=0.05)) as workspace:
        workspace.trainings.get("first").import_to_saes()
        workspace.saes.add_local(saelens(files / "wide", 16, 64, architecture="standard"), name="wide", model="wide-lm")
        lost = workspace.saes.add_local(saelens(files / "lost"), name="lost")
        workspace.saes.update(lost.id, notes="from the cluster", tags=("lab", "mlp"))
        for file in Path(lost.path).glob("*.safetensors"):
            file.unlink()
    return folder


@pytest.fixture
def ws(library: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(library, tmp_path / "ws")
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        yield workspace


@pytest.fixture
def ids(ws: Workspace) -> dict[str, str]:
    """Name of an SAE → its id."""
    return {record.name: record.id for record in ws.saes.list()}


@pytest.fixture
def browser(ws: Workspace) -> Iterator[SAEBrowser]:
    widget = SAEBrowser(ws)
    yield widget
    widget.close()


@pytest.fixture
def press(browser: SAEBrowser, record_messages: Callable[[Any], Sent]) -> Ask:
    """Send a command as the page would; the answer."""
    sent = record_messages(browser._parts[0])
    return lambda **command: ask(browser._parts[0], sent, **command)


@pytest.fixture
def model(ws: Workspace) -> BrowserModel:
    found = BrowserModel(ws)
    found.read()
    return found


@pytest.fixture
def commands(model: BrowserModel) -> Iterator[BrowserCommands]:
    found = BrowserCommands(SimpleNamespace(_model=model, workspace=model.workspace, _wake=lambda: None))
    yield found
    found.uploads.close()


def names(browser: SAEBrowser) -> list[str]:
    return [card["name"] for card in browser._parts[0].state["cards"]]


# ------------------------------------------------------------------------------------------------ the list


def test_what_it_shows(browser: SAEBrowser) -> None:
    assert [child._view for child in browser.children] == ["sae_browser"]
    assert "sw-frame" in browser._dom_classes
    lost, wide, trained = browser._parts[0].state["cards"]
    assert (wide["name"], wide["d_sae"], wide["d_in"], wide["format_label"]) == ("wide", 64, 16, "SAELens")
    assert (wide["architecture"], wide["site"], wide["layer"]) == ("Standard, L0 4", "residual", 6)
    assert (trained["source_label"], trained["training_name"]) == ("Trained", "first")
    assert trained["fvu_label"] == "FVU (held out)"
    assert (lost["state"], lost["tags"]) == ("missing", ["lab", "mlp"])
    assert "no longer in its folder" in lost["state_note"]


def test_filters_change_only_the_fields_sent(commands: BrowserCommands, model: BrowserModel, ws: Workspace) -> None:
    run(commands, "browse_saes", model="wide-lm", offset=50)
    run(commands, "browse_saes", search="wide")
    model.read()
    state = model.state()
    assert (state.query.model, state.query.search, state.query.offset) == ("wide-lm", "wide", 0)
    assert [card.name for card in state.cards] == ["wide"]
    assert (state.matching, state.total) == (1, 3)
    run(commands, "browse_saes", model=None, search="", layer=0)
    model.read()
    assert [card.name for card in model.state().cards] == ["first"]
    revision = model.state().revision
    assert run(commands, "refresh", revision=revision) is None
    run(commands, "browse_saes", layer=None, source="local")
    assert run(commands, "refresh", revision=revision).matching == 2


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"kind": "browse_saes", "source": "bogus"}, "source"),
        ({"kind": "browse_saes", "layer": 2**70}, "layer"),
        ({"kind": "describe_sae", "sae_id": "nobody"}, "There is no SAE 'nobody'"),
        ({"kind": "show_below", "what": "steering", "shown": True, "sae_id": "lost"}, "Weights not found."),
        ({"kind": "export_saes", "sae_ids": ["wide"], "folder": " "}, "No folder was given."),
        ({"kind": "add_local", "path": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"kind": "edit_sae", "sae_id": "wide", "name": " "}, "An SAE needs a name."),
        ({"kind": "compare_saes", "first": "wide", "second": "first"}, "dimensions"),
    ],
)
def test_rejects_invalid_queries(
    browser: SAEBrowser, press: Ask, ids: dict[str, str], caplog: pytest.LogCaptureFixture, command: Any, words: str
) -> None:
    given = {k: ids.get(v, v) if isinstance(v, str) else v for k, v in command.items()}
    if "sae_ids" in given:
        given["sae_ids"] = [ids[name] for name in given["sae_ids"]]
    before = browser._parts[0].state["query"]
    answer = press(**given)
    assert answer["kind"] == "failure"
    assert words in str(answer)
    assert browser._parts[0].state["query"] == before
    assert len(browser.children) == 1
    assert "Traceback" not in caplog.text


def test_pages(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "PAGE", 2)
    model = BrowserModel(ws)
    model.browse({"sort": "oldest", "offset": 2})
    model.read()
    state = model.state()
    assert ([card.name for card in state.cards], state.matching, state.query.offset) == (["lost"], 3, 2)
    assert state.matching_bytes == sum(record.size_bytes for record in ws.saes.list()), "of all pages"
    ws.saes.delete(state.cards[0].id)
    again(model)
    assert (len(model.state().cards), model.state().query.offset) == (2, 0)  # that page was gone
    ws.saes.add_local(saelens(tmp_path / "new", seed=9))
    model.browse({"search": "new"})
    model.show(model.state().cards[0].id)
    model.read()
    state = model.state()
    assert (state.query.search, state.query.offset, state.revealed) == ("", 2, state.cards[0].id)
    assert model.selected == (state.revealed,)
    model.browse({"search": "x"})
    model.read()
    assert model.state().revealed is None


def test_it_follows_the_library(browser: SAEBrowser, ws: Workspace, tmp_path: Path) -> None:
    threads: set[str] = set()
    browser._parts[0].observe(lambda change: threads.add(threading.current_thread().name), names=["state"])
    record = ws.saes.add_local(saelens(tmp_path / "new", seed=9), name="new one")
    wait_until(lambda: names(browser)[0] == "new one")
    ws.saes.delete(record.id)
    wait_until(lambda: "new one" not in names(browser))
    assert threads == {"saewidgets-saes"}


def test_completed_trainings_are_offered(
    browser: SAEBrowser, press: Ask, ws: Workspace, ids: dict[str, str], model: BrowserModel
) -> None:
    assert browser._parts[0].state["not_imported"] == {"total": 0, "runs": []}
    training = ws.saes.get(ids["first"]).training_id
    ws.saes.delete(ids["first"])
    offered = {"total": 1, "runs": [[training, "first"]]}
    wait_until(lambda: browser._parts[0].state["not_imported"] == offered)
    viewer = ViewerCommands(SimpleNamespace(_model=ViewerModel(ws), workspace=ws, _wake=lambda: None))
    assert run(viewer, "list_saes").not_imported.model_dump(mode="json") == offered
    press(kind="browse_saes", source="local")
    made = press(kind="import_trainings", training_ids=[training])["value"]["done"]
    assert [ws.saes.get(each).training_id for each in made] == [training]
    wait_until(lambda: names(browser)[0] == "first")  # with the filter it could not be seen
    assert browser._parts[0].state["not_imported"]["total"] == 0
    ws.saes.delete(made[0])
    shutil.rmtree(ws.trainings.get(training).sae_path)
    failed = run(viewer, "import_trainings")
    assert (failed.done, [note.where for note in failed.problems]) == ((), ["first"])
    assert press(kind="import_trainings", training_ids=[training])["kind"] == "failure"


# ------------------------------------------------------------------------------------------------ one SAE


@pytest.mark.parametrize("fault", ["", "reader", "nobody"])
def test_publishing(
    browser: SAEBrowser, press: Ask, ids: dict[str, str], ws: Workspace, server: Hub,  # noqa: F811 - the fixture
    caplog: pytest.LogCaptureFixture, fault: str,
) -> None:  # fmt: skip
    caplog.set_level(0)
    token = {"": WRITER, "reader": READER, "nobody": None}[fault]
    about = {"sae_id": ids["wide"], "repo_id": "writer/wide", "token": token}
    shown = press(kind="preview_card", **about)["value"]
    assert (shown["account"], shown["exists"]) == ({"": "writer", "reader": "reader", "nobody": None}[fault], False)
    assert "# wide" in shown["card"]
    assert "owner/name" in press(kind="preview_card", **{**about, "repo_id": "wide"})["hint"]
    assert "writer/wide" not in server.state.repos, "nothing is sent before"
    answer = press(kind="publish_sae", **about)
    if fault:
        assert answer["what"] == "Nobody is signed in." if fault == "nobody" else "does not let this" in answer["what"]
        assert "write permission" in answer["hint"]
    else:
        assert answer["value"] == {"url": f"{server.endpoint}/writer/wide"}
        assert (repo := server.state.repos["writer/wide"]).private
        assert repo.files["README.md"].decode() == shown["card"]
        assert press(kind="preview_card", **about)["value"]["exists"]
    if token:
        assert token not in caplog.text + repr(browser._parts[0].state) + repr(answer)
        assert token not in ws.hub._clients
        assert token.encode() not in Path(str(ws.catalog.path)).read_bytes()


def test_from_a_folder_to_the_bin(browser: SAEBrowser, press: Ask, ws: Workspace, tmp_path: Path) -> None:
    made = []
    press(kind="browse_saes", source="trained")
    for seed, name in enumerate(("one", "two")):
        folder = saelens(tmp_path / name, seed=seed)
        about = {"model": "gpt2", "hook_name": f"blocks.{6 + seed}.hook_mlp_out", "name": f" {name} "}
        made.append(press(kind="add_local", path=f' "{folder}" ', **about)["value"]["sae_id"])
    wait_until(lambda: names(browser)[:2] == ["two", "one"])  # with the filter they could not be seen
    one = browser._parts[0].state["cards"][1]
    assert (one["site"], one["layer"], one["d_sae"], one["architecture"]) == ("MLP output", 6, 32, "TopK, k 4")

    details = press(kind="describe_sae", sae_id=made[0])["value"]
    assert {"name": "d_sae", "value": "32", "label": ""} in details["settings"]
    assert [snippet["label"] for snippet in details["snippets"]] == ["With saewidgets", "With SAELens"]
    assert '.saes.load("one")' in details["snippets"][0]["code"]
    measured = press(kind="measure_sae", sae_id=made[0])["value"]
    assert [one["title"] for one in measured["histograms"]] == ["Decoder norms", "Encoder norms"]
    assert sum(measured["histograms"][0]["counts"]) == 32
    found = press(kind="compare_saes", first=made[0], second=made[1])["value"]
    assert len(found["matches"]) == 32
    assert found["histogram"]["title"] == "Largest cosine"
    assert found["differences"] == [["Hook name", "blocks.6.hook_mlp_out", "blocks.7.hook_mlp_out"]]
    facts = {fact["label"]: fact["value"] for fact in found["facts"]}
    compared = ws.saes.compare(*made)
    assert facts == {
        "Mean max cosine": f"{compared.mean_max_cosine:.3f}",
        "The other way round": f"{compared.mean_max_cosine_back:.3f}",
        **{f"Latents with a match ≥ {share}": f"{count} of 32" for share, count in compared.above.items()},
    }

    done = press(kind="export_saes", sae_ids=made, folder=str(tmp_path / "out"), format="sparsify")["value"]
    assert done["problems"] == []
    assert [Path(path).name for path in done["paths"]] == ["one", "two"]
    assert [detect_format(path) for path in done["paths"]] == ["sparsify", "sparsify"]
    press(kind="edit_sae", sae_id=made[0], name="  better ", notes="seen", tags=[" a  b", "", "a b"])
    press(kind="edit_sae", sae_id=made[0])  # nothing is changed
    wait_until(lambda: "better" in names(browser))
    browser.selected = made[0]
    assert (browser.selected_record.notes, browser.selected_record.tags) == ("seen", ("a b",))
    press(kind="delete_saes", sae_ids=[made[0]])
    wait_until(lambda: browser.selected is None and "better" not in names(browser))
    assert browser._parts[0].state["deleted"] == [{"id": made[0], "name": "better"}]
    press(kind="undo_delete", ids=[made[0]])
    wait_until(lambda: "better" in names(browser))
    assert browser._parts[0].state["deleted"] == []


def test_several_at_once_go_on_where_one_fails(
    press: Ask, ws: Workspace, ids: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = press(kind="export_saes", sae_ids=[ids["wide"], ids["lost"]], folder=str(tmp_path / "out"))["value"]
    assert both["done"] == [ids["wide"]]
    assert [problem["where"] for problem in both["problems"]] == ["lost"]
    check = ws.saes.require_deletable

    def in_use(sae_id: str) -> SAERecord:
        if sae_id == ids["wide"]:
            raise StateError("wide is in use: a job of kind extraction (running) reads it.")
        return check(sae_id)

    monkeypatch.setattr(ws.saes, "require_deletable", in_use)
    done = press(kind="delete_saes", sae_ids=[ids["wide"], ids["lost"]])["value"]
    assert (done["done"], done["paths"]) == ([ids["lost"]], [])
    assert done["problems"][0]["what"] == "wide is in use: an extraction that is running reads it."


def test_a_hostile_configuration_is_cut(
    press: Ask, ws: Workspace, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(500):
        inner["x"] = {}
        inner = inner["x"]
    config = {"<img>": "<b>", "deep": deep, "long": "y" * 10_000, **{f"key {i}": i for i in range(3000)}}
    monkeypatch.setattr(ws.saes, "config", lambda sae_id: config)
    rows = press(kind="describe_sae", sae_id=ids["wide"])["value"]["settings"]
    assert (len(rows), rows[-1]["value"]) == (401, "The rest is not shown.")
    assert (rows[0]["name"], rows[0]["value"]) == ("<img>", "<b>")
    assert max(len(row["value"]) for row in rows) <= 200
    assert max(len(row["name"]) for row in rows) <= 600


def test_missing_files_are_shown_and_found_again(
    browser: SAEBrowser, press: Ask, ids: dict[str, str], tmp_path: Path
) -> None:
    details = press(kind="describe_sae", sae_id=ids["lost"])["value"]
    assert "no longer in its folder" in details["problem"]["what"]
    assert details["settings"], "cfg.json can be read without the weights"
    assert (details["notes"], details["tags"]) == ("from the cluster", ["lab", "mlp"])
    press(kind="locate_sae", sae_id=ids["lost"], path=str(saelens(tmp_path / "found")))
    wait_until(lambda: browser._parts[0].state["cards"][0]["state"] == "ok")


def test_the_training_of_an_sae(press: Ask, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = ws.trainings.get("first")
    facts = press(kind="show_training", training_id=trained.id)["value"]
    assert facts["name"] == "first"
    assert {row["name"] for row in facts["settings"]} >= {"model", "sae.k"}
    assert {fact["label"] for fact in facts["facts"]} >= {"Tokens", "Loss", "FVU (held out)"}
    monkeypatch.setattr(ws.trainings, "create", lambda config: trained)
    started = press(kind="train_demo")["value"]
    assert (started["training_id"], started["name"]) == (trained.id, "first")


def test_paths_and_folder_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    assert path_from(" out ") == tmp_path / "out"
    assert path_from('"~/out"') == tmp_path / "ada" / "out"
    with pytest.raises(ConfigError):
        path_from("a\0b")
    taken: set[str] = set()
    given = ["a/b: c", "A b c", "../..", "é"]
    assert [folder_name(name, taken) for name in given] == ["a-b-c", "A-b-c-2", "sae", "é"]


# ------------------------------------------------------------------------------------------------ uploads


def test_an_upload_becomes_an_sae(
    browser: SAEBrowser, press: Ask, ws: Workspace, tmp_path: Path, record_messages: Callable[[Any], Sent]
) -> None:
    part = browser._parts[0]
    files = contents(saelens(tmp_path / "made"))
    announced = [{"name": f"made/{name}", "size": len(data)} for name, data in files.items()]
    upload_id = press(kind="begin_upload", files=announced)["value"]["upload_id"]
    sent = record_messages(part)
    chunk = {"kind": "upload_chunk", "upload_id": upload_id, "file": 0, "offset": 0}
    for name, buffers in (("none", []), ("two", [b"ab", b"cd"]), ("large", [bytes(1_000_001)])):
        part._handle_custom_msg({"id": name, **chunk}, buffers)
    part._handle_custom_msg({"id": "plain", "kind": "refresh", "revision": 0}, [b"abc"])
    part.drain()
    assert [sent.of(name)[-1]["kind"] for name in ("none", "two", "large", "plain")] == ["failure"] * 4
    assert "larger than 1,000,000 bytes" in sent.of("large")[-1]["what"]
    assert "came with 1 buffers" in sent.of("plain")[-1]["what"]
    for index, data in enumerate(files.values()):
        for offset in range(0, len(data), 1000):
            message = {"id": f"{index}-{offset}", **chunk, "file": index, "offset": offset}
            part._handle_custom_msg(message, [memoryview(data[offset : offset + 1000])])
            part.drain()
    answer = ask(part, sent, kind="finish_upload", upload_id=upload_id, name="mine", hook_name="hook_embed")
    record = ws.saes.get(answer["value"]["sae_id"])
    assert (record.name, record.source, record.hook_name, record.d_sae) == ("mine", "local", "hook_embed", 32)
    assert ws.saes.load(record.id).cfg.k == 4
    wait_until(lambda: names(browser)[0] == "mine")
    assert list((ws.folder / "uploads").iterdir()) == []


def test_a_bad_upload_is_an_error_in_words_and_leaves_nothing(commands: BrowserCommands, ws: Workspace) -> None:
    data = b"PK\x03\x04 this is no zip"

    def begin() -> str:
        found = run(commands, "begin_upload", files=[{"name": "sae.zip", "size": len(data)}])
        return str(found["upload_id"])

    broken, cancelled = begin(), begin()
    run(commands, "upload_chunk", upload_id=broken, file=0, offset=0, buffer=memoryview(data))
    with pytest.raises(Exception, match="zip") as raised:
        run(commands, "finish_upload", upload_id=broken)
    assert "Error" not in str(raised.value).split(":")[0]
    run(commands, "cancel_upload", upload_id=cancelled)
    with pytest.raises(NotFoundError, match="over"):
        run(commands, "upload_chunk", upload_id=cancelled, file=0, offset=0, buffer=memoryview(b"abc"))
    assert list((ws.folder / "uploads").iterdir()) == []
    assert len(ws.saes.list()) == 3


# ------------------------------------------------------------------------------------------------ the selection


def test_selected_is_the_sae_checked_last(browser: SAEBrowser, press: Ask, ws: Workspace, ids: dict[str, str]) -> None:
    seen: list[Any] = []
    browser.observe(lambda change: seen.append(change["new"]), "selected")
    assert (browser.selected, browser.selected_record) == (None, None)
    press(kind="select_saes", sae_ids=[ids["lost"], "nobody", ids["wide"], ids["lost"]])
    wait_until(lambda: browser.selected == ids["wide"])
    assert browser.selected_ids == (ids["lost"], ids["wide"])
    assert repr(browser) == f"<SAEBrowser {ws.label}: 3 SAEs, 2 selected>"
    assert seen == [ids["wide"]]
    browser.selected = ids["first"]
    wait_until(lambda: [sae["id"] for sae in browser._parts[0].state["selected"]] == [ids["first"]])
    with pytest.raises(ConfigError, match="no SAE 'nobody'"):
        browser.selected = "nobody"
    assert browser.selected == ids["first"]
    browser.selected = ids["wide"]
    ws.saes.delete(ids["wide"])
    wait_until(lambda: browser.selected is None)
    browser.selected = ids["lost"]
    browser.selected = None
    wait_until(lambda: browser._parts[0].state["selected"] == [])
    browser.show(ids["first"])
    wait_until(lambda: browser._parts[0].state["revealed"] == ids["first"])
    assert browser.selected == ids["first"]
    with pytest.raises(NotFoundError):
        browser.show("nobody")


# ------------------------------------------------------------------------------------------------ below the list


def test_other_widgets_stand_below(
    browser: SAEBrowser, press: Ask, ids: dict[str, str], record_messages: Callable[[Any], Sent]
) -> None:
    part = browser._parts[0]

    def below(kind: type) -> Any:
        wait_until(lambda: len(browser.children) == 2 and isinstance(browser.children[1], kind))
        return browser.children[1]

    press(kind="show_below", what="download", shown=True)
    download = below(DownloadFromHF)
    assert (download.state["embedded"], download.height, download.theme) == (True, 640, "auto")
    ask(download, record_messages(download), kind="hub_open", sae_id=ids["wide"])  # "Open in SAE browser"
    wait_until(lambda: browser.children == (part,))
    wait_until(lambda: browser.selected == ids["wide"])

    press(kind="show_below", what="steering", shown=True, sae_id=ids["first"])
    steering = below(Steering)
    wait_until(lambda: (steering.state["sae_id"], part.state["below"]) == (ids["first"], "steering"))
    press(kind="show_below", what="steering", shown=True, sae_id=ids["wide"])
    wait_until(lambda: steering.state["sae_id"] == ids["wide"])
    ask(steering, record_messages(steering), kind="steering_browse")  # the features browser takes its place
    viewer = below(ExtractionViewer)
    wait_until(lambda: part.state["below"] == "extractions")
    assert "sw-frame" not in viewer._dom_classes  # the browser draws the frame
    press(kind="show_below", what="extractions", shown=True, sae_id=ids["wide"])
    wait_until(lambda: viewer.view["dialog_sae"] == ids["wide"])
    press(kind="show_below", what="download", shown=False)  # what is not open does not close
    press(kind="show_below", what="extractions", shown=False)
    wait_until(lambda: browser.children == (part,))
    press(kind="show_below", what="extractions", shown=True)
    assert below(ExtractionViewer) is viewer
    browser.close()
    assert all(widget._closed for widget in (download, steering, viewer))


# ------------------------------------------------------------------------------------------------ as Python sees it
