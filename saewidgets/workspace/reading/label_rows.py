"""Labels as the catalog keeps them, and as `features/labels` makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict

from saewidgets.feature_records import LabelRecord
from saewidgets.features.labels import Label, merge
from saewidgets.features.labels.label import score_from_data
from saewidgets.features.labels.merge import HEURISTIC, identity


def to_record(label: Label) -> LabelRecord:
    """For the catalog."""
    score = label.score
    return LabelRecord(
        index=label.index, text=label.text, description=label.description, source=label.source, method=label.method,
        model=label.model, prompt_hash=label.prompt_hash, scores=tuple(asdict(one) for one in label.scores),
        score=score.value if score is not None else None, n_judged=label.n_judged, n_asked=label.n_asked, by=label.by,
        error=label.error, created_at=label.created_at, standing=_standing(label),
        identity=hashlib.sha256(repr(identity(label)).encode()).hexdigest(),
    )  # fmt: skip


def from_record(record: LabelRecord) -> Label:
    """What `to_record` was given."""
    return Label(
        index=record.index, text=record.text, description=record.description, source=record.source,
        method=record.method, model=record.model, prompt_hash=record.prompt_hash, created_at=record.created_at,
        scores=tuple(score_from_data(score) for score in record.scores), error=record.error,
    )


def from_records(records: Iterable[LabelRecord]) -> list[Label]:
    """All of them."""
    return [from_record(record) for record in records]


def newer(there: LabelRecord, new: LabelRecord) -> LabelRecord:
    """The one that stays of two versions of a label, see `merge`."""
    (label,) = merge([from_record(there)], [from_record(new)])
    return to_record(label)


def _standing(label: Label) -> int:
    """As `ranked` orders labels."""
    if label.error:
        return 3
    if label.source == "user":
        return 0
    return 2 if label.source == "auto" and label.model == HEURISTIC else 1
