"""Defines `Origin`, the owner of extractions and features: a training and the SAE imported from it, as one.

A row names the one of the two that it was begun with. A query for either finds the rows of both.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from saewidgets.catalog.rows import find
from saewidgets.catalog.tables import ExtractionRow, FeatureActivationRow, FeatureRow, LabelRow, SAERow, TrainingRow
from saewidgets.errors import NotFoundError

_FEATURE_ID = re.compile(r"feat_(.+)_(\d{1,10})")
TICK = 1e-3
"""Seconds by which `updated_at` of features grows at least; float64 holds Unix seconds to a fraction of that."""
Owned = type[ExtractionRow] | type[FeatureRow]


@dataclass(frozen=True, slots=True)
class Origin:
    """An SAE of the library, a training, or both where the one was imported from the other."""

    sae_id: str | None
    training_id: str | None

    @property
    def id(self) -> str:
        """The SAE's while there is one."""
        return self.sae_id or self.training_id or ""

    def feature_id(self, index: int) -> str:
        return f"feat_{self.id}_{index}"

    def owns(self, table: Owned) -> ColumnElement[bool]:
        columns = (table.external_sae_id, self.sae_id), (table.training_id, self.training_id)
        return or_(*(column == own for column, own in columns if own is not None))


def split_feature_id(feature_id: str) -> tuple[str, int]:
    """The SAE or training, and the number of the latent."""
    found = _FEATURE_ID.fullmatch(feature_id)
    if found is None:
        raise NotFoundError(
            f"{feature_id!r} is not a feature id.", hint="Write feat_{id of the SAE or training}_{number}."
        )
    return found[1], int(found[2])


def find_origin(session: Session, wanted: str) -> Origin:
    """The origin of this id, of an SAE or a training. Raises `NotFoundError`."""
    if wanted.startswith("train_"):
        find(session, TrainingRow, wanted)
        return Origin(session.scalar(select(SAERow.id).where(SAERow.training_id == wanted)), wanted)
    row = find(session, SAERow, wanted)
    return Origin(row.id, row.training_id)


def hand_over(session: Session, training_id: str) -> None:
    """A training is about to be deleted: what belongs to it goes to the SAE that was imported from it, if there is one.
    Where both have a row for the same latent, the SAE's stays, with the other's labels, star and notes."""
    sae_id = session.scalar(select(SAERow.id).where(SAERow.training_id == training_id))
    if sae_id is None:
        return
    for feature in session.scalars(select(FeatureRow).where(FeatureRow.training_id == training_id)).all():
        twin = session.scalar(
            select(FeatureRow).where(
                FeatureRow.external_sae_id == sae_id, FeatureRow.neuron_index == feature.neuron_index
            )
        )
        if twin is None:
            feature.training_id, feature.external_sae_id = None, sae_id
        else:
            _join(session, feature, twin)
    session.execute(
        update(ExtractionRow)
        .where(ExtractionRow.training_id == training_id)
        .values(training_id=None, external_sae_id=sae_id)
    )
    session.flush()


def _join(session: Session, feature: FeatureRow, twin: FeatureRow) -> None:
    there = set(session.scalars(select(LabelRow.identity).where(LabelRow.feature_id == twin.id)))
    for label in session.scalars(select(LabelRow).where(LabelRow.feature_id == feature.id)).all():
        if label.identity not in there:
            label.feature_id = twin.id
            examples = update(FeatureActivationRow).where(FeatureActivationRow.label_id == label.id)
            session.execute(examples.values(feature_id=twin.id))
    twin.updated_at = max(twin.updated_at, feature.updated_at) + TICK
    twin.starred = twin.starred or feature.starred
    twin.notes = "\n".join(part for part in (twin.notes, feature.notes) if part)
    session.flush()
    session.execute(delete(FeatureRow).where(FeatureRow.id == feature.id))
    session.flush()
    show_best(session, [twin])


def show_best(session: Session, features: Sequence[FeatureRow]) -> None:
    """Repeat in each row the label that counts: least `standing` first, then the newest; failures never."""
    labels: dict[str, LabelRow] = {}
    query = select(LabelRow).where(LabelRow.feature_id.in_([f.id for f in features]), LabelRow.error == "")
    for label in session.scalars(query):
        best = labels.get(label.feature_id)
        if best is None or _place(label) < _place(best):
            labels[label.feature_id] = label
    for feature in features:
        best = labels.get(feature.id)
        feature.label = best.text if best is not None else ""
        feature.label_source = best.source if best is not None else None
        feature.label_by = best.by if best is not None else ""
        feature.score = best.score if best is not None else None


def _place(label: LabelRow) -> tuple[int, float, str]:
    return label.standing, -label.created_at, label.identity
