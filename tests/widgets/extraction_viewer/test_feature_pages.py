"""What an extraction knows of a feature as messages: numbers in one buffer, texts once, everything from others data."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from saewidgets.feature_records import FeatureRecord, LabelRecord
from saewidgets.widgets.commands import BUFFER_LIMIT
from saewidgets.widgets.extraction_viewer.feature_pages import (
    activation_histogram,
    edge,
    effect_histogram,
    example_context,
    feature_page,
    floats,
    notes_of,
    prompt_reading,
    row_of,
    text_reading,
    token_counts,
)
from tests.widgets.fake_features import HOSTILE, PIECES, FakeStore, make_extraction

RECORD = FeatureRecord(
    id="feat_s_7", index=7, sae_id="s", training_id=None, label="ships", label_source="auto", label_by="heuristic",
    density=0.007, max=3.5, top_tokens=(" ship",), score=math.nan,
    labels=(
        LabelRecord(7, "ships", source="auto", by="heuristic"), LabelRecord(7, "", source="auto", error="timeout"),
    ),
)  # fmt: skip


def test_a_page_has_all_activations_in_one_buffer() -> None:
    store = FakeStore()
    table = feature_page(make_extraction("e"), store.manifest, store.data(7), RECORD, "code")
    page = table.value
    values = np.frombuffer(table.buffers[0], "<f4")
    examples = [example for group in page.groups for example in group.examples]
    assert table.columns == ("activations",)
    assert len(values) == sum(len(example.tokens) for example in examples) == 4 * len(PIECES)
    assert values[1] == 3.5
    assert values[3] == 0.0  # what is no number
    assert page.texts == PIECES
    assert examples[0].tokens == (0, 1, 2, 3, 4)
    assert [group.title for group in page.groups] == [
        "Top activations", "Interval 1.75 – 3.5", "Interval 0 – 1.75"
    ]
    assert (page.groups[0].count, page.groups[0].share) == (7, None)
    assert (page.groups[1].share, page.groups[1].token_share, page.groups[2].examples) == (0.5, 0.001, ())
    assert (page.list_max, page.fired, page.n_tokens, page.documents) == (3.5, 7, 990, 7)
    assert page.notes.labels[0].text == "ships"
    assert len(page.notes.labels) == 1
    facts = {fact.label: fact.value for fact in page.facts}
    assert facts["Read"] == "990 tokens in 10 contexts of 100"
    assert facts["Left out"] == "10 special"
    json.dumps(page.model_dump(mode="json"), allow_nan=False)


def test_the_page_of_a_dead_feature() -> None:
    store = FakeStore()
    table = feature_page(make_extraction("e"), store.manifest, store.data(0), dataclasses.replace(RECORD, index=0), "")
    assert (table.value.groups, table.value.histogram, table.value.tokens, table.buffers) == ((), None, (), (b"",))


def test_where_the_examples_peak() -> None:
    counts = token_counts(FakeStore().data(7).groups)  # positions 40 (twice), 41 and 7
    assert [(one.token, one.count, one.share) for one in counts] == [(" ship", 3, 1.0)]
    assert counts[0].mean == pytest.approx((3.5 + 2.5 + 1.0) / 3)


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


def test_rows_and_notes() -> None:
    row = row_of(RECORD)
    assert (row.index, row.label, row.auto, row.score, row.top_tokens) == (7, "ships", True, None, (" ship",))
    own = row_of(dataclasses.replace(RECORD, label_source="user", density=None, max=None))
    assert (own.auto, own.density, own.max) == (False, 0.0, 0.0)
    long = dataclasses.replace(RECORD, notes="x" * 50_000, labels=(LabelRecord(7, "y" * 5000),) * 80)
    notes = notes_of(long)
    assert (len(notes.notes), len(notes.labels), len(notes.labels[0].text)) == (20_000, 50, 1000)


def test_hostile_words_stay_words() -> None:
    row = row_of(dataclasses.replace(RECORD, label=HOSTILE, top_tokens=(HOSTILE * 9,)))
    assert row.label == HOSTILE
    assert len(row.top_tokens[0]) == 60


def test_texts_with_activations() -> None:
    table = text_reading(7, ["a", "b", "a"], [0.0, 2.0, 1.0], seconds=0.5, note="")
    assert (table.value.texts, table.value.tokens) == (("a", "b"), (0, 1, 0))
    assert (table.value.max, table.value.fired) == (2.0, 2)
    context = example_context(40, 1, ["a", "b"], [math.nan, 2.0], complete=False, note="near")
    assert np.isnan(np.frombuffer(context.buffers[0], "<f4")[0])
    rows = [(RECORD, np.array([0.0, 2.0]))]
    reading = prompt_reading(["a", "b"], rows, firing=3, hidden=1, note="")
    assert (reading.value.rows[0].max, reading.value.rows[0].own_max) == (2.0, 3.5)
    assert np.frombuffer(reading.buffers[0], "<f4").tolist() == [0.0, 2.0]
    assert prompt_reading(["a"], [], firing=0, hidden=0, note="").buffers == (b"",)
    assert text_reading(7, [], [], seconds=0.0, note="").value.max == 0.0


def test_the_largest_page_fits_into_a_buffer() -> None:
    most = 1000 + 16 * 100  # what `ExtractionConfig` allows
    assert len(floats([np.zeros(33)] * most)) <= BUFFER_LIMIT


@pytest.mark.parametrize(
    ("value", "text"), [(12.5, "12.5"), (0.4, "0.4"), (1234.0, "1,234"), (0.0, "0"), (41.66, "41.7")]
)
def test_bounds_in_words(value: float, text: str) -> None:
    assert edge(value) == text
