"""Defines `CheckpointQueries`: which checkpoints exist, their sizes, and why each is kept."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.rows import checkpoint_record, find, new_checkpoint_id
from saewidgets.catalog.tables import CheckpointRow
from saewidgets.events import CheckpointSaved
from saewidgets.records import CheckpointRecord, Records

EXCLUSIVE = frozenset({"latest", "best"})
"""Kinds that one checkpoint of a training has at a time."""


class CheckpointQueries:
    """`catalog.checkpoints`."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files

    def add(self, training_id: str, saved: CheckpointSaved) -> CheckpointRecord:
        """Take in a checkpoint that is whole on disk; forget those it has replaced (`saved.removed`)."""

        def write(session: Session) -> CheckpointRecord:
            return checkpoint_record(save_checkpoint(session, self._files, training_id, saved), self._files)

        return self._database.write(write)

    def list(self, training_id: str) -> Records[CheckpointRecord]:
        query = select(CheckpointRow).where(CheckpointRow.training_id == training_id)
        with self._database.read() as session:
            rows = session.scalars(query.order_by(CheckpointRow.step, CheckpointRow.created_at))
            return Records([checkpoint_record(row, self._files) for row in rows], CheckpointRecord)

    def mark(self, checkpoint_id: str, kinds: Sequence[str]) -> None:
        """Replace why it is kept. "latest" and "best" are taken from the training's others."""

        def write(session: Session) -> None:
            row = find(session, CheckpointRow, checkpoint_id)
            _take_kinds(session, row.training_id, kinds, row.id)
            row.kinds = list(kinds)

        self._database.write(write)

    def delete(self, checkpoint_id: str) -> CheckpointRecord:
        """Forget it. The caller removes the files at the returned record's `path` afterwards."""

        def write(session: Session) -> CheckpointRecord:
            row = find(session, CheckpointRow, checkpoint_id)
            self._files.owned(row.path)  # refuses a path that is not the workspace's to delete
            session.delete(row)
            return checkpoint_record(row, self._files)

        return self._database.write(write)

    def keep_only(self, training_id: str, paths: Collection[str]) -> None:
        """Forget rows whose folder is not among `paths` (what is really on disk)."""
        kept = [self._files.stored(path) for path in paths]
        query = delete(CheckpointRow).where(CheckpointRow.training_id == training_id, CheckpointRow.path.not_in(kept))
        self._database.write(lambda session: session.execute(query))


def save_checkpoint(session: Session, files: Files, training_id: str, saved: CheckpointSaved) -> CheckpointRow:
    """Insert, or update the row of the same folder (a resumed run writes a step again)."""
    path = files.stored(saved.path)
    gone = [files.stored(p) for p in saved.removed if files.stored(p) != path]
    if gone:
        session.execute(
            delete(CheckpointRow).where(CheckpointRow.training_id == training_id, CheckpointRow.path.in_(gone))
        )
    query = select(CheckpointRow).where(CheckpointRow.training_id == training_id, CheckpointRow.path == path)
    row = session.scalars(query).one_or_none()
    if row is None:
        row = CheckpointRow(id=new_checkpoint_id(), training_id=training_id, path=path)
        session.add(row)
    _take_kinds(session, training_id, saved.kinds, row.id)
    row.step, row.tokens, row.size_bytes = saved.step, saved.tokens, saved.size_bytes
    row.kinds, row.metrics, row.created_at = list(saved.kinds), dict(saved.metrics), saved.time
    session.flush()
    return row


def _take_kinds(session: Session, training_id: str, kinds: Sequence[str], but: str) -> None:
    moving = EXCLUSIVE.intersection(kinds)
    if not moving:
        return
    with session.no_autoflush:
        others = session.scalars(select(CheckpointRow).where(CheckpointRow.training_id == training_id)).all()
    for other in others:
        if other.id != but and moving.intersection(other.kinds):
            other.kinds = [k for k in other.kinds if k not in moving]
