"""Labels, stars and notes: how versions become one, what evidence stays, and what goes with the SAE."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from saewidgets.catalog import Catalog, Origin
from saewidgets.catalog.tables import FeatureActivationRow, FeatureRow, LabelRow
from saewidgets.errors import NotFoundError
from saewidgets.feature_records import ExampleRecord, LabelRecord
from saewidgets.records import TrainingRecord
from tests.catalog.conftest import Make
from tests.postgresql import BOTH

DATABASES = BOTH

EXAMPLE = ExampleRecord((" a", "\x1b[31m", "<b>"), (0.0, 2.5, 0.25), 1, 2.5)


def newer(old: LabelRecord, new: LabelRecord) -> LabelRecord:
    return old if new.error or new.created_at < old.created_at else new


def label(index: int, text: str = "cats", **changes: Any) -> LabelRecord:
    source = changes.get("source", "user")
    known = {"user": 0, "imported": 1, "auto": 2}
    values = {"identity": source, "standing": known[source], "created_at": 1000.0, **changes}
    return LabelRecord(index, text, **values)


@pytest.fixture
def sae(catalog: Catalog) -> Origin:
    record = catalog.saes.add(
        name="sae", source="local", architecture="topk", d_in=8, d_sae=64, format="saelens", path="saes/one"
    )
    return catalog.features.origin(record.id)


def rows(catalog: Catalog, table: Any) -> int:
    with catalog._database.read() as session:
        return int(session.scalar(select(func.count()).select_from(table)) or 0)


def test_a_failure_is_kept_and_never_shown(catalog: Catalog, sae: Origin) -> None:
    features = catalog.features
    failure = label(7, "", source="auto", standing=3, error="The server does not answer.", created_at=9000.0)
    features.put_labels(sae, [failure], newer)
    (found,) = features.list(sae)
    assert (found.label, found.label_source) == ("", "")
    assert features.labels(sae)[0].error == "The server does not answer."
    assert features.count(sae) == (0, 0)
    good = label(7, "cats", source="auto", created_at=9500.0)
    features.put_labels(sae, [good], newer)
    features.put_labels(sae, [replace(failure, created_at=9900.0)], newer)
    assert [one.text for one in features.labels(sae)] == ["cats"]
    assert features.list(sae)[0].label == "cats"


def test_versions_of_one_label_become_one(catalog: Catalog, sae: Origin) -> None:
    features = catalog.features
    for number in range(3):
        features.put_labels(sae, [label(7, f"cats {number}", created_at=1000.0 + number)], newer)
    assert [one.text for one in features.labels(sae)] == ["cats 2"]
    features.put_labels(sae, [label(7, "older", created_at=1.0)], newer)
    assert [one.text for one in features.labels(sae)] == ["cats 2"]
    scores = ({"scorer": "detection", "value": 0.5},)
    features.put_labels(sae, [label(7, "a", scores=scores, score=0.5, n_judged=9, n_asked=10, created_at=2e9)], newer)
    (found,) = features.labels(sae)
    assert (found.scores, found.score, found.n_judged, found.n_asked) == (scores, 0.5, 9, 10)


def test_the_revision_grows_with_every_change(catalog: Catalog, sae: Origin) -> None:
    features, seen = catalog.features, [0.0]
    changes: list[Callable[[], object]] = [
        lambda: features.put_labels(sae, [label(1)], newer), lambda: features.mark(sae, 2, starred=True),
        lambda: features.mark(sae, 2, notes="x"), lambda: features.mark(sae, 1, starred=True),
        lambda: features.remove_label(sae, 1, "user"),
    ]  # fmt: skip
    for change in changes * 3:
        change()
        seen.append(features.revision(sae))
    assert seen == sorted(set(seen))


def test_evidence_stays_with_its_label(catalog: Catalog, sae: Origin) -> None:
    features = catalog.features
    record = catalog.extractions.create(
        id="ext_1", sae_id=sae.sae_id, config={}, model="gpt2", hook_name="h", d_sae=64, tokens_total=1,
        folder="extractions/ext_1",
    )  # fmt: skip
    auto = label(7, source="auto")
    features.put_labels(sae, [auto], newer, evidence={7: [EXAMPLE, EXAMPLE]}, extraction_id=record.id)
    (kept,) = features.labels(sae)
    examples = features.evidence(kept.id)
    assert [(e.tokens, e.activations, e.peak, e.value, e.kind) for e in examples] == [
        (EXAMPLE.tokens, EXAMPLE.activations, 1, 2.5, "evidence")
    ] * 2
    read_from = select(FeatureRow.extraction_job_id)
    with catalog.features._database.read() as session:
        assert session.scalar(read_from) == "ext_1"
    catalog.extractions.delete(record.id)
    with catalog.features._database.read() as session:
        assert session.scalar(read_from) is None
    assert len(features.evidence(kept.id)) == 2
    again = replace(auto, created_at=2000.0)
    features.put_labels(sae, [again], newer, evidence={7: [EXAMPLE]}, extraction_id="ext_gone")
    assert len(features.evidence(kept.id)) == 1
    features.put_labels(sae, [auto], newer, evidence={7: [EXAMPLE] * 5})  # an older version changes nothing
    assert len(features.evidence(kept.id)) == 1
    features.remove_label(sae, 7, "auto")
    assert rows(catalog, FeatureActivationRow) == 0


def test_deleting_the_sae_deletes_all_of_it(catalog: Catalog, sae: Origin) -> None:
    catalog.features.put_labels(sae, [label(7)], newer, evidence={7: [EXAMPLE]})
    assert sae.sae_id is not None
    catalog.saes.delete(sae.sae_id)
    assert [rows(catalog, table) for table in (FeatureRow, LabelRow, FeatureActivationRow)] == [0, 0, 0]
    with pytest.raises(NotFoundError):
        catalog.features.origin(sae.sae_id)


def _imported(catalog: Catalog, run: TrainingRecord) -> str:
    return catalog.saes.add(
        name="imported", source="trained", training_id=run.id, architecture="topk", d_in=8, d_sae=64,
        format="saelens", path="saes/imported",
    ).id  # fmt: skip


def test_rows_of_both_for_one_latent_become_one(catalog: Catalog, make_training: Make) -> None:
    """Two processes: one labels the training's latent while the other imports and labels the SAE's."""
    features, run = catalog.features, make_training("run")
    of_training = features.origin(run.id)
    auto = label(1, "auto's", source="auto")
    features.put_labels(of_training, [label(1, "training's"), auto], newer, evidence={1: [EXAMPLE]})
    features.mark(of_training, 1, starred=True, notes="one")
    sae_id = _imported(catalog, run)
    only_sae = Origin(sae_id, None)
    features.put_labels(only_sae, [label(1, "SAE's")], newer)
    features.mark(only_sae, 1, notes="two")
    catalog.trainings.delete(run.id)
    (found,) = features.list(only_sae)
    assert (found.label, found.starred, found.notes) == ("SAE's", True, "two\none")
    kept = features.labels(only_sae)
    assert [one.text for one in kept] == ["SAE's", "auto's"]
    assert len(features.evidence(kept[1].id)) == 1


def test_thousands_at_once(catalog: Catalog, sae: Origin) -> None:
    made = [label(index, f"label {index}", source="auto") for index in range(2000)]
    catalog.features.put_labels(sae, made, newer)
    assert [f.label for f in catalog.features.list(sae, range(1990, 2010))] == [f"label {i}" for i in range(1990, 2000)]
    assert len(catalog.features.labels(sae, range(600))) == 600
