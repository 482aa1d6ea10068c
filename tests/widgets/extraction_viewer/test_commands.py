"""Every button of the extraction viewer is one call of the workspace, with good and with bad input."""

import dataclasses
import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import ConfigError, NotFoundError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord, FeatureRecord, LabelRecord
from saewidgets.widgets.commands import BUFFER_LIMIT, FieldsError
from saewidgets.widgets.extraction_viewer.feature_pages import activation_histogram, edge, floats, notes_of, row_of
from saewidgets.widgets.extraction_viewer.state import form_fields
from saewidgets.widgets.messages.features import FeatureQuery, LabelRequest
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace
from tests.conftest import TINY_TEXT
from tests.widgets.conftest import run
from tests.widgets.extraction_viewer.conftest import HOSTILE, D, numbers

# ------------------------------------------------------------------------------------------------ starting one


def test_choosing_an_sae(
    call: Callable[..., Any], ws: Workspace, sae: str, running: ExtractionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [SimpleNamespace(status=status) for status in (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.FAILED)]
    monkeypatch.setattr(ws.hub, "downloads", lambda: jobs)
    found = call("list_saes")
    rows = {row.name: row for row in found.rows}
    assert (found.total, found.note) == (2, "1 is being downloaded")
    assert rows["other"].features_extracted == "13 so far"
    assert rows["tiny"].features_extracted == str(ws.extractions.list()[0].seen)
    assert {choice.value for choice in found.sources} == {"local"}
    only = call("list_saes", source="local", search=" other ")
    assert ([row.id for row in only.rows], only.total) == ([rows["other"].id], 2)
    for file in Path(ws.saes.get(sae).path).glob("*.safetensors"):
        file.unlink()
    assert call("list_saes").note == "1 has no files, 1 is being downloaded"
    monkeypatch.undo()  # nothing runs and nothing is downloaded
    plain = {row.name: row for row in call("list_saes").rows}["other"]
    assert (plain.features_extracted, call("list_saes").note) == ("none", "1 has no files")


def test_the_dialog(call: Callable[..., Any], ws: Workspace, sae: str, ext: str, typed: dict[str, Any]) -> None:
    form = call("extraction_form", sae_id=sae, extraction_id=None)
    assert (form.name, form.d_sae) == ("tiny", D)
    assert {field.label: field.value for field in form.fields} == {
        "Corpus": "", "Tokens": "1,000,000", "Context length": "", "Examples per feature": "20", "Per interval": "5",
        "Minimum activation": "1 % of max", "Skip special tokens": True,
        "Skip tokens with norm above 10 × median": True,
    }  # fmt: skip
    assert all(field.help for field in form.fields)
    again = {field.name: field for field in call("extraction_form", sae_id=sae).fields}
    assert {"batch_size", "device"} <= set(again)
    assert (again["corpus"].value, again["tokens"].value) == (typed["corpus"], "100,000")
    assert (again["max_norm_ratio"].value, again["max_norm_ratio"].ticked) == (False, 10.0)
    unknown = form_fields(ExtractionConfig().to_data(), again=False, needs_model=True)
    assert [field.value for field in unknown if field.name == "model"] == [""]
    found = call("check_extraction", sae_id=sae, values=typed)
    assert (found.errors, found.estimate.device) == ({}, "cpu")
    assert found.estimate.disk_bytes > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tokens": 0}, "Tokens is 0. Enter a whole number of at least 1; 1,000,000 is usual."),
        ({"tokens": None}, "Tokens is empty."),
        ({"tokens": "many"}, 'Tokens is "many".'),
        ({"min_activation": 1}, "Enter a number of at least 0, below 1; 0.01 is usual."),
        ({"corpus": None}, "is not here"),  # it is not known what it was trained on
        ({"corpus": "/nowhere/text.txt"}, "There is no file or folder '/nowhere/text.txt'."),
        ({"corpus": "/nowhere/\x1b[31m"}, "There is no file or folder '/nowhere/\\x1b[31m'."),
        ({"corpus": "a\0b"}, "'a\\x00b'"),
        ({"context_size": 4096}, "at once, not 4,096"),
        ({"made_up": 1}, "There is no such setting."),
    ],
)
def test_errors_stand_at_their_field(
    call: Callable[..., Any], sae: str, typed: dict[str, Any], wrong: dict[str, Any], words: str
) -> None:
    (field,) = wrong
    found = call("check_extraction", sae_id=sae, values={**typed, **wrong})
    assert set(found.errors) == {field}
    assert words in found.errors[field]


def test_errors_of_an_estimate_appear_at_their_field(
    call: Callable[..., Any], ws: Workspace, sae: str, typed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(error: Exception) -> Any:
        def estimate(**_: Any) -> Any:
            raise error

        monkeypatch.setattr(ws.extractions, "estimate", estimate)
        return call("check_extraction", sae_id=sae, values={**typed, "model": None})

    hint = 'Name it: ExtractionConfig(model="gpt2"), a Hugging Face id or a folder.'
    found = raising(ConfigError("Its model is not known.", where="model", hint=hint))
    assert found.errors == {"model": "Its model is not known. Enter it under Model: a Hugging Face id or a folder."}
    found = raising(StorageError("Not enough disk space.", hint="Free some."))
    assert (found.errors, found.problem.what, found.problem.kind) == ({}, "Not enough disk space.", "error")
    with pytest.raises(FieldsError, match="2 fields need attention") as raised:
        call("start_extraction", sae_id=sae, values={"tokens": None, "examples": 0})
    assert set(raised.value.fields) == {"tokens", "examples"}


# ------------------------------------------------------------------------------------------------ the list of features


def test_the_list_in_pieces(call: Callable[..., Any], ws: Workspace, ext: str, live: list[int]) -> None:
    store = ws.extractions.open(ext)

    def indices(**query: Any) -> list[int]:
        return [row.index for row in call("query_features", query=FeatureQuery(**query), limit=200).rows]

    query = FeatureQuery(sort="density", descending=True)
    first = call("query_features", query=query, limit=3)
    assert (first.matching, first.max_density) == (D, pytest.approx(float(store.density.max())))
    assert len(first.rows) == 3
    assert first.rows[0].density == pytest.approx(first.max_density)
    assert first.rows[0].top_tokens
    assert len(call("query_features", query=query, offset=D - 1, limit=3).rows) == 1
    assert call("query_features", query=query, offset=D + 35).rows == ()
    assert indices(show="live") == live
    assert indices(show="dead") == sorted(set(range(D)) - set(live))
    call("edit_feature", index=live[0], label=HOSTILE, starred=True)
    assert indices(show="labelled") == indices(show="starred") == indices(search="ALERT") == [live[0]]
    assert call("query_features", query=FeatureQuery(show="labelled")).rows[0].label == HOSTILE  # data, as it was typed


def test_steps(call: Callable[..., Any], live: list[int]) -> None:
    dead = sorted(set(range(D)) - set(live))

    def step(index: int, how: str, **query: Any) -> tuple[int | None, int | None]:
        place = call("step_feature", query=FeatureQuery(**query), index=index, step=how)
        return place.index, place.row

    assert (step(7, "next"), step(7, "previous"), step(7, "here")) == ((8, 8), (6, 6), (7, 7))
    assert step(0, "previous") == step(D - 1, "next") == step(live[-1], "next_live") == (None, None)
    assert step(live[0], "next_live") == (live[1], live[1])
    assert step(5, "next", descending=True) == (4, D - 5)
    # from a feature that is not in the list
    at = dead[1] + 1 if dead[1] + 1 in live else next(i for i in live if dead[0] < i)
    after, before = [i for i in dead if i > at], [i for i in dead if i < at]
    assert step(at, "here", show="dead") == (at, None)
    assert step(at, "next", show="dead") == ((after[0], len(before)) if after else (None, None))
    assert step(at, "previous", show="dead") == (before[-1], len(before) - 1)
    assert step(at, "next", show="dead", descending=True) == (before[-1], len(after))
    assert step(at, "next", show="dead", sort="max")[1] == 0
    assert step(at, "next", search="nothing has this") == (None, None)
    found = {step(live[0], "random")[0] for _ in range(60)}
    assert found == set(live[1:])


# ------------------------------------------------------------------------------------------------ one feature


def test_a_page(call: Callable[..., Any], ws: Workspace, ext: str, live: list[int]) -> None:
    table = call("open_feature", index=live[0])
    page, values = table.value, numbers(table)
    assert table.columns == ("activations",)
    assert len(values) == sum(len(example.tokens) for group in page.groups for example in group.examples)
    example = page.groups[0].examples[0]
    assert values[example.peak] == pytest.approx(page.max)
    assert sum(page.histogram.counts) == page.fired
    assert page.histogram.summary.startswith(f"Non-zero activations: {page.fired:,} from 0 to ")
    top, *intervals = page.groups
    assert (top.title, top.count, top.share) == ("Top activations", page.fired, None)
    assert all(each.title == f"Interval {edge(each.low)} – {edge(each.high)}" for each in intervals)
    assert sum(each.share for each in intervals) == pytest.approx(1)
    places = {one.position for group in page.groups for one in group.examples}
    assert sum(one.count for one in page.tokens) == len(places)
    manifest = ws.extractions.open(ext).manifest
    facts = {fact.label: fact.value for fact in page.facts}
    assert facts["Read"] == f"{manifest.n_tokens:,} tokens in {manifest.n_contexts} contexts of 16"
    assert facts["Left out"] == f"{manifest.n_excluded_special} special"
    view = {"extraction_id": ext, "feature": live[0]}
    assert page.link.endswith(f"sw.ExtractionViewer(sw.Workspace({str(ws.folder)!r}), view={view!r})")
    compile(page.link, "link", "exec")
    whole = call("expand_example", index=live[0], position=example.position)
    assert whole.value.complete
    assert numbers(whole)[whole.value.peak] == pytest.approx(page.max, rel=1e-3)
    relations = call("feature_relations", index=live[0])
    assert relations.similar
    assert relations.problem is None
    assert "sampled firing" in relations.note
    dead = call("open_feature", index=next(index for index in range(D) if index not in live))
    page = dead.value
    assert (page.groups, page.histogram, page.tokens, dead.buffers) == ((), None, (), (b"",))


def test_steering_previews_the_page_of_a_feature(
    call: Callable[..., Any], ws: Workspace, sae: str, live: list[int]
) -> None:
    with closing(Steering(ws, features=[(sae, live[0], 1.0, "add"), ("other", 7, 1.0, "add")])) as steering:
        first, other = steering.state["rows"]
        found = run(steering._commands, "steering_preview", key=first["key"])
        assert (found.value.groups, found.buffers) == (lambda page: (page.value.groups, page.buffers))(
            call("open_feature", index=live[0])
        )
        with pytest.raises(StateError, match="not extracted yet"):
            run(steering._commands, "steering_preview", key=other["key"])


def test_rows_and_notes_are_cut() -> None:
    failed = LabelRecord(7, "", source="auto", error="timeout")
    record = FeatureRecord(
        id="feat_s_7", index=7, sae_id="s", training_id=None, label=HOSTILE, label_source="auto", density=None,
        top_tokens=(HOSTILE * 9,), score=math.nan, notes="x" * 50_000,
        labels=(failed, *[LabelRecord(7, "y" * 5000)] * 80),
    )  # fmt: skip
    row = row_of(record)
    assert (row.label, row.auto, row.score, row.density, row.max) == (HOSTILE, True, None, 0.0, 0.0)
    assert len(row.top_tokens[0]) == 60
    assert not row_of(dataclasses.replace(record, label_source="user")).auto
    tokens = row_of(dataclasses.replace(record, label="‘ cat’s’, ‘a’ or ‘↵’"))
    assert (tokens.label, tokens.auto, tokens.top_tokens) == ("", True, (" cat’s", "a", "↵"))  # drawn as chips
    assert row_of(dataclasses.replace(record, label="the word after ‘of’")).label == "the word after ‘of’"
    notes = notes_of(record)
    assert (len(notes.notes), len(notes.labels), len(notes.labels[0].text)) == (20_000, 50, 1000)


def test_numbers_of_a_page() -> None:
    found = activation_histogram([3, 1], [0.0, 0.5, 1.0])
    assert found.summary == "Non-zero activations: 4 from 0 to 1. Most are between 0 and 0.5."
    assert [edge(value) for value in (12.5, 0.4, 1234.0, 0.0, 41.66)] == ["12.5", "0.4", "1,234", "0", "41.7"]
    assert np.frombuffer(floats([[1.5], [np.nan, -np.inf]]), "<f4").tolist() == [1.5, 0.0, 0.0]
    most = 1000 + 16 * 100  # examples of a page that `ExtractionConfig` allows
    assert len(floats([np.zeros(33)] * most)) <= BUFFER_LIMIT


def test_text_around_an_example_is_known_near_it(
    call: Callable[..., Any], ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations = np.zeros(60, np.float32)
    activations[[1, 50]] = 19.5, 2.0
    found = SimpleNamespace(peak=1, activations=activations, complete=False, pieces=["a"] * 60, note="")
    monkeypatch.setattr(ws.features, "context", lambda *_: found)
    values = numbers(call("expand_example", index=7, position=40))
    assert (len(values), values[1], values[17], values[50]) == (60, 19.5, 0.0, 2.0)
    assert np.isnan(values[18])  # too far from the example to be known


def test_text_is_read_with_the_model(call: Callable[..., Any], live: list[int]) -> None:
    text = TINY_TEXT[0][:60]
    table = call("read_prompt", text=text, hide_dense=False, limit=5)
    reading, values = table.value, numbers(table)
    assert 0 < len(reading.rows) <= 5
    assert len(values) == len(reading.rows) * len(reading.tokens)
    assert "".join(reading.texts[i] for i in reading.tokens) == text
    row = reading.rows[0]
    tested = call("test_text", index=row.index, text=text)
    assert (tested.value.max, tested.value.fired > 0) == (pytest.approx(row.max, rel=1e-4), True)
    own = numbers(tested)
    assert own == pytest.approx(values[: len(own)], rel=1e-4)
    logits = call("feature_logits", index=row.index)
    assert logits.problem is None
    assert logits.raises[0][1] >= logits.raises[-1][1] > logits.lowers[0][1]
    assert logits.histogram.note == "300 tokens"
    effect = call("read_loss_effect", index=row.index, text=text, token=int(own.argmax()))
    assert (effect.problem, effect.loss > 0) == (None, True)
    last = call("read_loss_effect", index=row.index, text=text, token=len(own) - 1)
    assert (last.effect, last.problem is None) == (None, False)


def test_a_prompt_is_ranked_and_fits_into_a_buffer(
    call: Callable[..., Any], ws: Workspace, ext: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ws.extractions.open(ext)), "density", np.where(np.arange(D) == 39, 1 / 3, 0.001))
    pieces = ["a", "ship", "sailed"]
    values = np.array([[1, 1, 1], [2, 0, 0], [0, 0, 3]], np.float32)
    found = SimpleNamespace(
        pieces=pieces, indices=np.array([5, 7, 39]), activations=values, note="BOS is left out.",
        ranked=lambda by, token: [2, 1, 0],
    )  # fmt: skip
    monkeypatch.setattr(ws.features, "run_on", lambda *_: found)
    table = call("read_prompt", text="a ship sailed")
    assert (table.value.texts, table.value.firing, table.value.hidden) == (tuple(pieces), 3, 1)
    assert [(row.index, row.max) for row in table.value.rows] == [(7, 2.0), (5, 1.0)]
    assert numbers(table).tolist() == [2, 0, 0, 1, 1, 1]
    found.pieces, found.activations = ["a"] * 200_000, np.zeros((3, 200_000), np.float32)
    table = call("read_prompt", text="a ship", hide_dense=False)
    assert len(table.buffers[0]) == 4 * 200_000 * len(table.value.rows) <= BUFFER_LIMIT


@pytest.mark.parametrize(
    ("kind", "method", "error", "said"),
    [
        ("feature_logits", "logits", ConfigError("It reads attention heads."), True),
        ("feature_logits", "logits", StateError("Its model was in memory and is not any more."), True),
        ("feature_logits", "logits", StorageError("Out of memory."), False),
        ("feature_relations", "similar", NotFoundError("The files of the SAE are not here."), True),
        ("read_loss_effect", "loss_effect", ConfigError("No token follows this one."), True),
        ("test_text", "on_feature", NotFoundError("The model is not here."), False),
    ],
)
def test_missing_data_is_reported_on_the_card(
    call: Callable[..., Any], ws: Workspace, monkeypatch: pytest.MonkeyPatch, kind: str, method: str, error: Any,
    said: bool,
) -> None:  # fmt: skip
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(ws.features, method, raising)
    given: dict[str, Any] = {"position": 40} if kind == "read_loss_effect" else {}
    given |= {"text": "a ship"} if kind == "test_text" else {}
    if not said:
        with pytest.raises(type(error)):
            call(kind, index=7, **given)
        return
    assert call(kind, index=7, **given).problem.what == error.what


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *(
        (kind, {"index": D, **more}, f"no feature {D}: tiny has {D}")
        for kind, more in (
            ("open_feature", {}), ("step_feature", {"query": FeatureQuery(), "step": "next"}), ("feature_logits", {}),
            ("feature_relations", {}), ("test_text", {"text": "a"}), ("edit_feature", {"starred": True}),
            ("suggest_label", {}), ("steer_feature", {}), ("expand_example", {"position": 1}),
        )
    ),
    ("export_features", {"what": "json", "path": "/tmp/x", "indices": (D,)}, f"no feature {D}"),
    ("export_features", {"what": "json", "path": "/tmp/x", "query": FeatureQuery(search="none")}, "No feature matches"),
    ("expand_example", {"index": 7, "position": 10**9}, "position"),
    ("test_text", {"index": 7, "text": " \n"}, "There is no text"),
    ("read_prompt", {"text": " \n"}, "There is no text"),
    ("edit_feature", {"index": 7, "description": "of nothing"}, "label of your own"),
    ("import_labels", {"path": "/nowhere/none.csv"}, "none.csv"),
    ("import_labels", {"path": " "}, "No folder"),
    ("query_features", {"extraction_id": "ext_run_1700000000000000", "query": FeatureQuery()}, "nothing to read yet"),
    ("start_labels", {"extraction_id": "ext_run_1700000000000000", "asked": LabelRequest(model="a")},
     "nothing to read yet"),
    ("query_features", {"extraction_id": "ext_nobody", "query": FeatureQuery()}, "ext_nobody"),
    ("extraction_form", {"sae_id": "sae_nobody"}, "sae_nobody"),
    ("check_extraction", {"sae_id": "sae_nobody", "values": {}}, "sae_nobody"),
]  # fmt: skip


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("kind", "given", "words"), REFUSED)
def test_rejects_invalid_commands(call: Callable[..., Any], kind: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, NotFoundError, StateError)) as raised:
        call(kind, **given)
    assert words in str(raised.value)


# ------------------------------------------------------------------------------------------------ what people say


def test_labels_stars_and_notes(call: Callable[..., Any], ws: Workspace, live: list[int], tmp_path: Path) -> None:
    def edit(**what: Any) -> Any:
        return call("edit_feature", index=live[0], **what)

    notes = edit(label="  the \n sea ", notes="see 7", starred=True)
    label = notes.labels[0]
    assert (label.text, label.source, notes.notes, notes.starred) == ("the sea", "user", "see 7", True)
    assert edit(description="waves").labels[0].description == "waves"
    assert edit(label="ocean").labels[0].description == "waves"  # None leaves it
    assert edit(starred=False).notes == "see 7"
    suggestion = call("suggest_label", index=live[1])
    assert (bool(suggestion.text), bool(suggestion.by)) == (True, True)
    labelled = FeatureQuery(show="labelled")
    assert call("query_features", query=labelled).matching == 1, "a suggestion is not saved"
    call("start_labels", asked=LabelRequest(llm="heuristic", limit=1000))
    (job,) = ws.manager.list(kind="labels")
    assert ws.jobs.get(job.id).wait(60) is JobStatus.COMPLETED
    rows = call("query_features", query=labelled)
    assert rows.matching == len(live)
    assert {row.auto for row in rows.rows} == {True, False}
    for what, name, given in (
        ("labels_csv", "a.csv", "a"), ("labels_jsonl", "b.jsonl", "b.jsonl"), ("interpretations", "c.json", "c.json"),
        ("json", "d", "d"), ("neuronpedia", "e", "e"),
    ):  # fmt: skip
        indices = (live[0],) if what != "neuronpedia" else None
        written = call("export_features", what=what, path=str(tmp_path / given), indices=indices, query=labelled)
        assert written.path.startswith(str(tmp_path / name))  # the ending may be left out
        assert written.size_bytes > 0
    assert call("import_labels", path=f' "{tmp_path / "a.csv"}" ')["skipped"] == 0
    assert all(label.source != "user" for label in edit(label="").labels)
