"""Labels made, judged, taken in and written out through a workspace."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError, FormatError, StateError
from saewidgets.events import JobStatus
from saewidgets.features.labels import held_out, read_labels, shown_examples
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.reading.store_examples import SURE, StoreExamples
from tests.workspace.features.conftest import live


def test_evidence_is_the_extractions(ws: Workspace, extracted: Extraction) -> None:
    store = extracted.store()
    examples = StoreExamples(store, negatives=10)
    for index in live(extracted)[:10]:
        evidence = examples.of(index)
        data = ws.features.data(extracted.id, index)
        assert [e.value for e in evidence.top] == [e.value for e in data.top]
        assert (evidence.firing_count, evidence.max_activation) == (data.fired, data.max)
        # All tokens are in the sample here, so windows without the latent can be checked against its firings.
        assert store.manifest.coactivation_rate == 1.0
        for window in evidence.negatives:
            assert window.value == 0
            assert 0 <= window.peak < len(window.tokens)
        shown = {e.document for e in shown_examples(evidence, 20)}
        others = {e.document for e in held_out(evidence, 20)}
        assert not shown & others or len(shown | others) == 1
    assert examples.of(live(extracted)[0]).negatives == StoreExamples(store, 10).of(live(extracted)[0]).negatives
    with pytest.raises(ConfigError):
        examples.of(64)


def test_negatives_are_silent(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    """Against the SAE itself, on whole contexts."""
    store = extracted.store()
    index = min(live(extracted), key=lambda i: int(store.fired[i]))
    windows = StoreExamples(store, negatives=5).of(index).negatives
    assert windows
    size = store.manifest.context_size
    contexts = [
        (ws.features.context(extracted.id, index, row * size + 1), row) for row in range(store.manifest.n_contexts)
    ]
    for window in windows:
        n = len(window.tokens)
        places = [
            found.activations[begin : begin + n] for found, _ in contexts for begin in range(len(found.pieces) - n + 1)
            if found.pieces[begin : begin + n] == window.tokens
        ]  # fmt: skip
        assert any((place == 0).all() for place in places)


def test_the_offline_labels(ws: Workspace, own: Extraction) -> None:
    sae_id, told = str(own.record.sae_id), []
    mine = f"feat_{sae_id}_{live(own)[0]}"
    ws.features.label(mine, "mine")
    run = ws.features.auto_label(sae_id, progress=told.append)
    assert len(run.labels) + len(run.failures) == len(live(own)) - 1
    assert told[-1].done == len(live(own)) - 1
    assert ws.features.get(mine).label == "mine"
    record = ws.features.feature(own.id, run.labels[0].index)
    assert (record.label_source, record.label_by) == ("auto", "offline heuristic")
    evidence = ws.features.evidence(record.labels[0])
    assert 0 < len(evidence) <= 3
    top = {round(e.value, 4) for e in ws.features.examples(record.id)}
    assert all(round(e.value, 4) in top for e in evidence)
    assert not ws.features.auto_label(sae_id).labels  # none is left without one
    again = ws.features.auto_label(sae_id, again=True)
    assert len(again.same) >= len(run.labels)  # the same question is not asked twice
    one = ws.features.suggest(own.id, live(own)[0])
    assert one.text
    assert ws.features.get(mine).labels[0].text == "mine"


def test_scores(ws: Workspace, own: Extraction) -> None:
    wanted = live(own)[:12]
    ws.features.auto_label(own.id, indices=wanted)
    run = ws.features.score(own.id, indices=wanted, n_pos=4, n_neg=4, scorer="fuzzing")
    assert len(run.labels) + len(run.errors) == ws.features.counts(own.id)[0]
    assert run.labels
    label = run.labels[0]
    assert label.score is None or 0 <= (label.score.value or 0) <= 1
    kept = ws.features.feature(own.id, label.index).labels[0]
    assert len(kept.scores) == 1
    assert kept.text == label.text
    assert len(ws.features.score(own.id, indices=wanted, n_pos=4, n_neg=4, scorer="fuzzing").same) == len(run.labels)
    scored = [one.score for one in ws.features.list(extraction_id=own.id, sort="score", descending=True)]
    known = [score for score in scored if score is not None]
    assert scored[: len(known)] == sorted(known, reverse=True)
    evidence = ws.features.evidence(kept)
    assert evidence  # a score takes nothing from its label


def test_out_and_in_again(ws: Workspace, own: Extraction, tmp_path: Path, make_sae: Callable[..., SAERecord]) -> None:
    sae_id = str(own.record.sae_id)
    ws.features.auto_label(own.id, indices=live(own)[:5])
    ws.features.label(f"feat_{sae_id}_2", "=HYPERLINK(1)", "mine")
    for name in ("labels.csv", "labels.jsonl"):
        path = ws.features.export_labels(sae_id, tmp_path / name)
        labels = ws.features.rows.labels(ws.features.view(sae_id).origin)
        assert len(read_labels(path).labels) == len(labels)
        other = make_sae(42)
        imported = ws.features.import_labels(other.id, path)
        assert len(imported.labels) == len(labels)
        copied = ws.features.rows.labels(ws.features.view(other.id).origin)
        assert [(c.index, c.text, c.source, c.identity) for c in copied] == [
            (c.index, c.text, c.source, c.identity) for c in labels
        ]
        assert ws.features.get(f"feat_{other.id}_2").label == "=HYPERLINK(1)"
        # What a person wrote here is not replaced by what another person wrote.
        ws.features.label(f"feat_{other.id}_2", "my own")
        ws.features.import_labels(other.id, path)
        record = ws.features.get(f"feat_{other.id}_2")
        said = [(one.text, one.source) for one in record.labels]
        assert said[:2] == [("my own", "user"), ("=HYPERLINK(1)", "imported")]
        ws.saes.delete(other.id)
    few = ws.features.export_labels(sae_id, tmp_path / "few.csv", indices=[2])
    assert {label.index for label in read_labels(few).labels} == {2}
    with pytest.raises(ConfigError):
        ws.features.export_labels(sae_id, tmp_path / "labels.xlsx")


def test_a_file_that_is_refused_leaves_nothing(ws: Workspace, own: Extraction, tmp_path: Path) -> None:
    sae_id, revision = str(own.record.sae_id), ws.features.revision(str(own.record.sae_id))
    (tmp_path / "wrong.csv").write_text("index,text\n3,ok\n64,outside\n")
    with pytest.raises(FormatError, match="another SAE"):
        ws.features.import_labels(sae_id, tmp_path / "wrong.csv")
    assert ws.features.revision(sae_id) == revision


def test_a_plan_sends_nothing_and_shows_the_prompts(ws: Workspace, own: Extraction) -> None:
    def never(messages: Any) -> str:
        raise AssertionError("it was asked")

    never.model = "<b>judge</b>"  # type: ignore[attr-defined]
    plan = ws.features.plan_labels(own.id, never, price=(3, 6), first=2, limit=3)
    assert (plan.n_questions, len(plan.first), plan.tokens_out) == (3, 2, 300)
    assert plan.tokens_in > 0
    assert plan.cost == pytest.approx((3 * plan.tokens_in + 6 * 300) / 1e6)
    html = plan._repr_html_()
    assert "&lt;b&gt;judge&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "&lt;&lt;" in html  # the marks of a prompt are text
    assert f"Feature {plan.first[0].index}: the exact prompt" in html
    assert f"{plan.tokens_in:,}" in html

    ws.features.auto_label(own.id, lambda messages: "[EXPLANATION]: kings", limit=3, model="<b>judge</b>")
    left = ws.features.plan_labels(own.id)  # those without a label; the heuristic
    assert (left.n_questions, left.sent) == (len(live(own)) - 3, False)
    assert "Nothing would be sent" in left._repr_html_()
    same = ws.features.plan_labels(own.id, never, again=True)
    assert len(same.same) == 3
    for wrong in ({"limit": 0}, {"price": 3}, {"price": (1, "2")}, {"concurrency": 4}, {"indices": [64]}):
        with pytest.raises(ConfigError):
            ws.features.plan_labels(own.id, never, **wrong)


def test_a_window_that_is_only_guessed_to_be_silent_does_not_count(
    ws: Workspace, own: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = own.store()
    monkeypatch.setattr(store, "manifest", replace(store.manifest, coactivation_rate=1 / 32))
    examples = StoreExamples(store, negatives=5)
    dense = next(i for i in live(own) if examples._chance_of_silence(i) < SURE and store.density[i] < 0.9)
    assert not examples.of(dense).negatives
    ws.features.label(f"feat_{own.record.sae_id}_{dense}", "king")
    ((_, why),) = ws.features.score(own.id, indices=[dense]).errors
    assert "one token in 32 was sampled" in why
    assert ws.features.score(own.id, indices=[dense], scorer="fuzzing").labels


def test_documents_are_distinguished(extracted: Extraction) -> None:
    """Labels are made and judged from different documents."""
    store = extracted.store()
    examples, facts = StoreExamples(store), store.packed.facts
    number, expected = 0, {}
    for context, row in enumerate(store.packed.contexts(range(store.packed.n_contexts)).tolist()):
        for offset, token in enumerate(row):
            if token == facts.separator and not (offset == 0 and facts.prepend_bos):
                number += 1
            expected[context, offset] = number
    names = {place: examples._document(*place) for place in expected if place[1]}
    assert len(set(names.values())) == len({expected[place] for place in names})
    assert len({(expected[place], name) for place, name in names.items()}) == len(set(names.values()))


def test_labels_of_the_heuristic_do_not_count_for_a_language_model(ws: Workspace, own: Extraction) -> None:
    def toy(messages: Any) -> str:
        stored.append(len(ws.features.rows.labels(ws.features.view(own.id).origin, after)))
        return "kings and queens"

    stored: list[int] = []
    mine, imported, *after = live(own)
    ws.features.auto_label(own.id)
    ws.features.label(f"feat_{own.record.sae_id}_{mine}", "mine")
    ws.features.label(f"feat_{own.record.sae_id}_{imported}", "theirs", source="imported")
    n_before = len(ws.features.rows.labels(ws.features.view(own.id).origin, after))
    assert ws.features.plan_labels(own.id).n_questions <= len(after)  # those in which it found no word
    assert ws.features.plan_labels(own.id, toy).n_questions == len(after)
    assert ws.features.unlabelled(own.id, toy) == after
    run = ws.features.auto_label(own.id, toy, concurrency=1)
    assert [label.index for label in run.labels] == after
    # Each is saved before the next question is asked: nothing that was paid for is lost if the process dies.
    assert stored == [n_before + n for n in range(len(after))]
    labels = [ws.features.get(f"feat_{own.record.sae_id}_{index}").label for index in live(own)]
    assert labels == ["mine", "theirs", *["kings and queens"] * len(after)]
    assert ws.features.unlabelled(own.id, toy) == ws.features.unlabelled(own.id) == []


def test_a_labelling_goes_on_only_where_its_model_is(ws: Workspace, own: Extraction) -> None:
    def offline(messages: Any) -> str:
        raise ConnectionError("no route")

    here = ws.features.start_labels(own.id, offline, limit=1)
    assert here.wait(60) is JobStatus.FAILED
    here.resume()  # in the process that has the model
    assert here.wait(60) is JobStatus.FAILED
    payload = {**here.record.payload}
    ws.catalog.jobs.add("job_lost", kind="labels", lane="box/labels", payload=payload, owner="gone")
    ws.catalog.jobs.interrupt("job_lost", "gone", note="")
    with pytest.raises(StateError, match=r"in memory only.*Start the labelling again"):
        ws.jobs.get("job_lost").resume()
    ws.jobs.get("job_lost").cancel()
