"""Extractions, features and SAEs as cards, pages and rows: numbers in one buffer, everything from others data."""

from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saewidgets.events import JobStatus, Progress
from saewidgets.feature_records import ExtractionRecord, FeatureRecord, LabelRecord
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample
from saewidgets.records import SAERecord
from saewidgets.widgets.commands import BUFFER_LIMIT
from saewidgets.widgets.extraction_viewer.feature_pages import (
    activation_histogram,
    edge,
    effect_histogram,
    feature_page,
    floats,
    notes_of,
    row_of,
)
from saewidgets.widgets.extraction_viewer.state import card_of, choice_of, not_offered, open_of

HOSTILE = "<script>alert(1)</script>\x1b[31m"
MANIFEST = SimpleNamespace(
    d_sae=40, n_tokens=990, n_contexts=10, n_documents=7, context_size=100, n_excluded_special=10, n_excluded_norm=0
)
PIECES = (" the", " ship", " sailed", " <b>on</b>", "\n")
RECORD = FeatureRecord(
    id="feat_s_7", index=7, sae_id="s", training_id=None, label="ships", label_source="auto", label_by="heuristic",
    density=0.007, max=3.5, top_tokens=(" ship",), score=math.nan,
    labels=(
        LabelRecord(7, "ships", source="auto", by="heuristic"), LabelRecord(7, "", source="auto", error="timeout"),
    ),
)  # fmt: skip


def extraction(**changes: Any) -> ExtractionRecord:
    values: dict[str, Any] = {
        "id": "e", "source_type": "sae", "training_id": None, "sae_id": "s", "name": "gpt2-l6", "source": "trained",
        "model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "layer": 6, "d_sae": 40, "config": {},
        "status": JobStatus.COMPLETED, "progress": None, "error": None, "note": None, "queue_position": None,
        "tokens_total": 1000, "n_tokens": 990, "seen": 38, "dead": 2, "dense": 1, "size_bytes": 318_000, "host": "test",
        "folder": "/e", "job_id": "job_e", "created_at": 1_790_000_000.0, "started_at": None, "finished_at": None,
        "seconds_running": 3.0,
    }  # fmt: skip
    return ExtractionRecord(**{**values, **changes})


def test_cards_of_extractions() -> None:
    done = card_of(extraction())
    assert (done.tokens_done, done.fraction, done.dead, done.dense, done.size_bytes) == (1000, 1.0, 2, 1, 318_000)
    progress = Progress(done=410, total=1000, phase="reading")
    runs = card_of(extraction(status=JobStatus.RUNNING, progress=progress, seen=11, dead=None))
    assert (runs.tokens_done, runs.fraction, runs.seen, runs.dead) == (410, 0.41, 11, None)


def test_versions_of_an_extraction_say_how_they_differ() -> None:
    new, old = extraction(id="new"), extraction(id="old", n_tokens=200_000, other_weights=True)
    found = open_of(new, MANIFEST, [new, old], labelled=3, starred=1)
    assert [version.value for version in found.versions] == ["new", "old"]
    assert found.versions[1].label.endswith(", 200K tokens, other weights")


def test_saes_to_choose_from() -> None:
    plain = SAERecord(
        id="a", name="plain", source="local", model="gpt2", hook_name=None, layer=None, architecture="topk", d_in=8,
        d_sae=16_384, format="saelens", path="/a", training_id=None, size_bytes=1, host="test", created_at=0.0,
    )  # fmt: skip
    extracted = dataclasses.replace(plain, features_extracted=16_384)
    missing = dataclasses.replace(plain, state="missing")
    running = extraction(status=JobStatus.RUNNING, seen=13_434)
    rows = [choice_of(plain), choice_of(extracted), choice_of(missing), choice_of(plain, running)]
    assert [row.features_extracted for row in rows] == ["none", "16,384", "none", "13,434 so far"]
    assert not_offered(rows, 1) == "1 has no files, 1 is being downloaded"
    assert not_offered(rows[:2], 0) == ""
    assert choice_of(extracted, extraction()).features_extracted == "16,384"


def example(position: int, value: float) -> StoredExample:
    return StoredExample(
        position=position, value=value, row=0, offset=position, context=5, tokens=np.arange(len(PIECES)),
        pieces=list(PIECES), activations=np.array([0, value, 0.5, np.nan, 0], np.float32), peak=1, before=True,
        after=False,
    )  # fmt: skip


def data(groups: list[Group], counts: list[int], edges: list[float]) -> FeatureData:
    return FeatureData(
        index=7, fired=sum(counts), density=0.007, max=3.5, mean=1.75, n_documents=3, n_contexts=4,
        counts=np.array(counts), edges=np.array(edges), groups=groups,
    )  # fmt: skip


def test_a_page_has_all_activations_in_one_buffer() -> None:
    groups = [
        Group("top", 0.0, 3.5, 7, 1.0, 0.007, [example(40, 3.5), example(41, 2.5)]),
        Group("interval", 1.75, 3.5, 1, 0.5, 0.001, [example(40, 3.5), example(7, 1.0)]),
        Group("interval", 0.0, 1.75, 1, 0.5, 0.001, []),
    ]
    table = feature_page(extraction(), MANIFEST, data(groups, [3, 4], [0.0, 1.0, 2.0]), RECORD, "code")
    page = table.value
    values = np.frombuffer(table.buffers[0], "<f4")
    examples = [example for group in page.groups for example in group.examples]
    assert table.columns == ("activations",)
    assert len(values) == sum(len(example.tokens) for example in examples) == 4 * len(PIECES)
    assert (values[1], values[3]) == (3.5, 0.0)  # what is no number is 0
    assert page.texts == PIECES
    assert examples[0].tokens == (0, 1, 2, 3, 4)
    assert [group.title for group in page.groups] == ["Top activations", "Interval 1.75 – 3.5", "Interval 0 – 1.75"]
    assert (page.groups[0].count, page.groups[0].share) == (7, None)
    assert (page.groups[1].share, page.groups[1].token_share, page.groups[2].examples) == (0.5, 0.001, ())
    assert (page.list_max, page.fired, page.n_tokens, page.documents) == (3.5, 7, 990, 7)
    assert [label.text for label in page.notes.labels] == ["ships"]
    facts = {fact.label: fact.value for fact in page.facts}
    assert facts["Read"] == "990 tokens in 10 contexts of 100"
    assert facts["Left out"] == "10 special"
    json.dumps(page.model_dump(mode="json"), allow_nan=False)
    # where the examples peak: positions 40 (twice), 41 and 7
    assert [(one.token, one.count, one.share) for one in page.tokens] == [(" ship", 3, 1.0)]
    assert page.tokens[0].mean == pytest.approx((3.5 + 2.5 + 1.0) / 3)


def test_the_page_of_a_dead_feature() -> None:
    table = feature_page(extraction(), MANIFEST, data([], [], [0.0]), RECORD, "")
    assert (table.value.groups, table.value.histogram, table.value.tokens, table.buffers) == ((), None, (), (b"",))


def test_histograms() -> None:
    found = activation_histogram([3, 1], [0.0, 0.5, 1.0])
    assert found is not None
    assert found.summary == "Non-zero activations: 4 from 0 to 1. Most are between 0 and 0.5."
    effects = effect_histogram([1, 3], [-1.0, 0.0, 1.0])
    assert effects is not None
    assert effects.note == "4 tokens"
    assert activation_histogram([], [0.0]) is None
    assert activation_histogram([1], [0.0]) is None
    assert effect_histogram([], []) is None
    assert [edge(value) for value in (12.5, 0.4, 1234.0, 0.0, 41.66)] == ["12.5", "0.4", "1,234", "0", "41.7"]


def test_rows_and_notes() -> None:
    row = row_of(RECORD)
    assert (row.index, row.label, row.auto, row.score, row.top_tokens) == (7, "ships", True, None, (" ship",))
    own = row_of(dataclasses.replace(RECORD, label_source="user", density=None, max=None))
    assert (own.auto, own.density, own.max) == (False, 0.0, 0.0)
    long = dataclasses.replace(RECORD, notes="x" * 50_000, labels=(LabelRecord(7, "y" * 5000),) * 80)
    notes = notes_of(long)
    assert (len(notes.notes), len(notes.labels), len(notes.labels[0].text)) == (20_000, 50, 1000)
    hostile = row_of(dataclasses.replace(RECORD, label=HOSTILE, top_tokens=(HOSTILE * 9,)))
    assert (hostile.label, len(hostile.top_tokens[0])) == (HOSTILE, 60)  # words stay words


def test_the_largest_page_fits_into_a_buffer() -> None:
    most = 1000 + 16 * 100  # what `ExtractionConfig` allows
    assert len(floats([np.zeros(33)] * most)) <= BUFFER_LIMIT
