"""Defines `FeatureQueries`: labels, stars and notes of latents. They belong to an SAE or a training, not to an
extraction."""

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.origins import TICK, Origin, find_origin, show_best
from saewidgets.catalog.rows import now, shared, ulid
from saewidgets.catalog.tables import ExtractionRow, FeatureActivationRow, FeatureRow, LabelRow
from saewidgets.feature_records import ExampleRecord, FeatureRecord, LabelRecord, LabelSource
from saewidgets.records import Records

Merge = Callable[[LabelRecord, LabelRecord], LabelRecord]
"""The label that stays of two versions, the one that is there and a new one."""

T = TypeVar("T")
_CHUNK = 500  # latents per transaction: others write in between
_ATTEMPTS = 3
_KEPT = ("source", "standing", "text", "description", "method", "model", "prompt_hash", "score", "n_judged", "n_asked",
         "by", "error", "created_at")  # fmt: skip


class FeatureQueries:
    """`catalog.features`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def origin(self, wanted: str) -> Origin:
        with self._database.read() as session:
            return find_origin(session, wanted)

    def revision(self, origin: Origin) -> float:
        """Grows with every change of a label, star or note."""
        with self._database.read() as session:
            found = session.scalar(select(func.max(FeatureRow.updated_at)).where(origin.owns(FeatureRow)))
        return float(found or 0.0)

    def list(self, origin: Origin, indices: Iterable[int] | None = None) -> Records[FeatureRecord]:
        """The records of these latents (None: all), ascending, without their `labels` and without statistics;
        those without any are left out."""
        with self._database.read() as session:
            rows = [row for part in _parts(indices) for row in _rows(session, origin, part)]
            return Records([_feature(origin, row) for row in rows], FeatureRecord)

    def noted(self, origin: Origin, since: float = 0.0) -> builtins.list[tuple[int, str, float | None, bool, float]]:
        """(number, label that counts, its score, star, when it changed) of the latents that changed after `since`.
        Plain values: of a wide SAE there are a hundred thousand."""
        row = FeatureRow
        query = select(row.neuron_index, row.label, row.score, row.starred, row.updated_at).where(origin.owns(row))
        with self._database.read() as session:
            rows = session.execute(query.where(row.updated_at > since))
            return [(index, label, score, starred, when) for index, label, score, starred, when in rows]

    def count(self, origin: Origin) -> tuple[int, int]:
        query = select(
            func.count().filter(FeatureRow.label_source.is_not(None)), func.count().filter(FeatureRow.starred.is_(True))
        )
        with self._database.read() as session:
            labelled, starred = session.execute(query.where(origin.owns(FeatureRow))).one()
        return int(labelled), int(starred)

    def labelled(self, origin: Origin, standing: int) -> set[int]:
        """The latents that have a label of at most this `standing`. Failures do not count."""
        query = select(FeatureRow.neuron_index).join(LabelRow, LabelRow.feature_id == FeatureRow.id)
        query = query.where(origin.owns(FeatureRow), LabelRow.standing <= standing, LabelRow.error == "")
        with self._database.read() as session:
            return set(session.scalars(query.distinct()))

    def labels(self, origin: Origin, indices: Iterable[int] | None = None) -> Records[LabelRecord]:
        """All labels of these latents (None: of all): by latent, and of each the one that counts first. Failures come
        last."""
        query = select(FeatureRow.neuron_index, LabelRow).join(FeatureRow, LabelRow.feature_id == FeatureRow.id)
        query = query.where(origin.owns(FeatureRow)).order_by(
            FeatureRow.neuron_index, LabelRow.standing, LabelRow.created_at.desc(), LabelRow.identity
        )
        found: builtins.list[LabelRecord] = []
        with self._database.read() as session:
            for part in _parts(indices):
                own = query if part is None else query.where(FeatureRow.neuron_index.in_(part))
                found += [_label(index, row) for index, row in session.execute(own)]
        return Records(found, LabelRecord)

    def evidence(self, label_id: str) -> tuple[ExampleRecord, ...]:
        query = select(FeatureActivationRow).where(FeatureActivationRow.label_id == label_id)
        with self._database.read() as session:
            rows = session.scalars(query.order_by(FeatureActivationRow.id)).all()
        return tuple(
            ExampleRecord(tuple(row.tokens), tuple(row.activations), row.peak, row.value, kind="evidence")
            for row in rows
        )

    def put_labels(
        self,
        origin: Origin,
        labels: Iterable[LabelRecord],
        merge: Merge,
        *,
        evidence: Mapping[int, Sequence[ExampleRecord]] | None = None,
        extraction_id: str | None = None,
    ) -> None:
        """Take in labels; versions of one that is there become one by `merge`. `evidence` are the examples that the
        label of a latent was made from."""
        everything = builtins.list(labels)
        for start in range(0, len(everything), _CHUNK):
            part = everything[start : start + _CHUNK]
            self._write(lambda session, part=part: _put(session, origin, part, merge, evidence or {}, extraction_id))  # type: ignore[misc]

    def remove_label(self, origin: Origin, index: int, source: LabelSource) -> None:
        """Remove the labels of this source from a latent; the next best one counts then."""

        def write(session: Session) -> None:
            for row in _rows(session, origin, [index]):
                session.execute(delete(LabelRow).where(LabelRow.feature_id == row.id, LabelRow.source == source))
                row.updated_at = _moment(session, origin)
                show_best(session, [row])

        self._write(write)

    def mark(self, origin: Origin, index: int, *, starred: bool | None = None, notes: str | None = None) -> None:
        """Star a latent, or replace the notes on it. None leaves as it is."""

        def write(session: Session) -> None:
            moment = _moment(session, origin)
            (row,) = _made(session, origin, [index], moment).values()
            row.starred = row.starred if starred is None else starred
            row.notes = row.notes if notes is None else notes
            row.updated_at = moment

        self._write(write)

    def _write(self, fn: Callable[[Session], T]) -> T:
        """Again where another process has made the row of the same latent in between."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._database.write(fn)
            except IntegrityError:
                continue
        return self._database.write(fn)


def _put(
    session: Session,
    origin: Origin,
    labels: Sequence[LabelRecord],
    merge: Merge,
    evidence: Mapping[int, Sequence[ExampleRecord]],
    extraction_id: str | None,
) -> None:
    moment = _moment(session, origin)
    features = _made(session, origin, {label.index for label in labels}, moment)
    ids = {row.id: index for index, row in features.items()}
    there = {
        (row.feature_id, row.identity): row
        for row in session.scalars(select(LabelRow).where(LabelRow.feature_id.in_(ids)))
    }
    if extraction_id is not None and session.get(ExtractionRow, extraction_id) is None:
        extraction_id = None  # it was deleted meanwhile; what was read of it is still true
    examples: builtins.list[FeatureActivationRow] = []
    for new in labels:
        feature = features[new.index]
        row = there.get((feature.id, new.identity))
        label = new if row is None else merge(_label(new.index, row), new)
        if row is None:
            row = LabelRow(id=f"label_{ulid()}", feature_id=feature.id, identity=new.identity)
            there[feature.id, new.identity] = row
            session.add(row)
        elif label.created_at == new.created_at and label.text == new.text and new.index in evidence:
            session.execute(delete(FeatureActivationRow).where(FeatureActivationRow.label_id == row.id))
        for name in _KEPT:
            setattr(row, name, getattr(label, name))
        row.scores = [dict(score) for score in label.scores]
        feature.updated_at = moment
        feature.extraction_job_id = extraction_id or feature.extraction_job_id
        if label.created_at != new.created_at or label.text != new.text:
            continue  # the version that was there stays, and so does what it was made from
        for example in evidence.get(new.index, ()):
            examples.append(
                FeatureActivationRow(
                    feature_id=feature.id, label_id=row.id, extraction_job_id=extraction_id,
                    tokens=[*example.tokens], activations=[*example.activations], peak=example.peak,
                    value=example.value,
                )
            )  # fmt: skip
    session.flush()  # labels before what refers to them
    session.add_all(examples)
    show_best(session, builtins.list(features.values()))


def _moment(session: Session, origin: Origin) -> float:
    """Now, and later than every change there was."""
    last = session.scalar(select(func.max(FeatureRow.updated_at)).where(origin.owns(FeatureRow)))
    return max(now(session), float(last or 0.0) + TICK)


def _parts(indices: Iterable[int] | None) -> Sequence[Sequence[int] | None]:
    """These latents, as many at once as one query may name; None: all of them."""
    if indices is None:
        return [None]
    wanted = sorted(set(indices))
    return [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]


def _rows(session: Session, origin: Origin, indices: Sequence[int] | None) -> Sequence[FeatureRow]:
    query = select(FeatureRow).where(origin.owns(FeatureRow)).order_by(FeatureRow.neuron_index)
    if indices is not None:
        query = query.where(FeatureRow.neuron_index.in_(indices))
    return session.scalars(query).all()


def _made(session: Session, origin: Origin, indices: Iterable[int], moment: float) -> dict[int, FeatureRow]:
    """The rows of these latents; new ones belong to the SAE while there is one."""
    wanted = sorted(set(indices))
    found = {row.neuron_index: row for row in _rows(session, origin, wanted)}
    for index in wanted:
        if index not in found:
            found[index] = FeatureRow(
                id=origin.feature_id(index), external_sae_id=origin.sae_id,
                training_id=None if origin.sae_id is not None else origin.training_id, neuron_index=index, label="",
                label_by="", notes="", starred=False, created_at=moment, updated_at=moment,
            )  # fmt: skip
            session.add(found[index])
    session.flush()
    return found


def _feature(origin: Origin, row: FeatureRow) -> FeatureRecord:
    return FeatureRecord(**{
        **shared(FeatureRecord, row), "index": row.neuron_index, "sae_id": origin.sae_id,
        "training_id": origin.training_id, "label_source": row.label_source or "",
    })  # fmt: skip


def _label(index: int, row: LabelRow) -> LabelRecord:
    kept: dict[str, Any] = {name: getattr(row, name) for name in _KEPT}
    scores = cast("list[Mapping[str, Any]]", row.scores)
    return LabelRecord(index=index, id=row.id, identity=row.identity, scores=tuple(scores), **kept)
