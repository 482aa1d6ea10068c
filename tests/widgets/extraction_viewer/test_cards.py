"""Records of extractions as cards, rows and headers."""

from __future__ import annotations

import dataclasses
import math

from saewidgets.events import JobStatus, Progress
from saewidgets.records import ErrorInfo
from saewidgets.widgets.extraction_viewer.cards import card_of, choice_of, choices_of, is_active, not_offered, open_of
from tests.widgets.fake_features import FakeStore, make_extraction
from tests.widgets.fake_library import make_sae


def test_a_running_extraction() -> None:
    progress = Progress(done=410, total=1000, rate=math.inf, eta_seconds=65.0, phase="reading")
    card = card_of(make_extraction("e", status=JobStatus.RUNNING, progress=progress, seen=11))
    assert (card.tokens_done, card.fraction, card.rate, card.eta_seconds) == (410, 0.41, None, 65.0)
    assert (card.phase, card.seen, card.dead, card.source_label) == ("reading", 11, None, "Trained")


def test_a_completed_one_has_read_everything() -> None:
    card = card_of(make_extraction("e"))
    assert (card.tokens_done, card.fraction, card.dead, card.dense, card.size_bytes) == (1000, 1.0, 2, 1, 318_000)


def test_a_failed_one_says_why() -> None:
    error = ErrorInfo("Out of memory on cuda:0.", hint="Lower Batch size.", kind="out_of_memory")
    progress = Progress(done=360, total=1000)
    card = card_of(make_extraction("e", status=JobStatus.FAILED, error=error, progress=progress))
    assert card.note is not None
    assert (card.note.what, card.note.hint, card.fraction) == ("Out of memory on cuda:0.", "Lower Batch size.", 0.36)


def test_which_ones_count_as_active() -> None:
    active = {status.value for status in JobStatus if is_active(make_extraction("e", status=status))}
    assert active == {"queued", "starting", "running", "pausing", "stopping"}


def test_what_is_open() -> None:
    old, new = make_extraction("old", created_at=1_780_000_000.0, n_tokens=200_000), make_extraction("new")
    found = open_of(new, FakeStore().manifest, [new, old], labelled=3, starred=1)
    assert [version.value for version in found.versions] == ["new", "old"]
    assert found.versions[1].label.endswith(", 200K tokens")
    older = open_of(new, FakeStore().manifest, [dataclasses.replace(old, other_weights=True)], labelled=3, starred=1)
    assert older.versions[0].label.endswith(", 200K tokens, other weights")
    assert (found.live, found.labelled, found.n_documents, found.context_size) == (True, 3, 7, 100)
    assert not open_of(new, FakeStore().manifest, [], labelled=0, starred=0, live_note="gone").live


def test_saes_to_choose_from() -> None:
    plain = make_sae("a", "plain")
    extracted = dataclasses.replace(plain, features_extracted=16_384)
    missing = dataclasses.replace(plain, state="missing")
    running = make_extraction("e", status=JobStatus.RUNNING, seen=13_434)
    rows = [choice_of(plain), choice_of(extracted), choice_of(missing), choice_of(plain, running)]
    assert [row.features_extracted for row in rows] == ["none", "16,384", "none", "13,434 so far"]
    assert not_offered(rows, 1) == "1 has no files, 1 is being downloaded"
    assert not_offered(rows[:2], 0) == ""
    assert choice_of(extracted, make_extraction("e")).features_extracted == "16,384"


def test_filters() -> None:
    found = choices_of({"source": {"gemma_scope": 2, None: 1}}, "source")
    assert [(choice.value, choice.label, choice.count) for choice in found] == [("gemma_scope", "Gemma Scope", 2)]
    assert choices_of({}, "model") == ()
