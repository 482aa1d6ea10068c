"""Rows of checkpoints and what is on the disk: brought to agree before a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.events import CheckpointSaved

if TYPE_CHECKING:
    from saewidgets.catalog import Catalog
    from saewidgets.records import CheckpointRecord, TrainingRecord
    from saewidgets.training import Checkpoint


def reconcile(catalog: Catalog, training_id: str, folder: Path) -> int | None:
    """Let the rows say what is on the disk, in both directions: a process that was killed may have written a
    checkpoint and not its row, or removed one whose row is still there.

    Returns:
        The step that a resumed run starts from: that of the newest checkpoint that passes every check, 0 if there is
        no checkpoint at all, None if all are damaged (then the rows stay as they are: nothing can be resumed).
    """
    from saewidgets.training import list_checkpoints, newest_whole  # torch: seconds to import

    newest, problems = newest_whole(folder / "checkpoints")
    if newest is None and problems:
        return None
    step = 0 if newest is None else newest.step
    kept = [found for found in list_checkpoints(folder / "checkpoints") if found.step <= step]
    catalog.checkpoints.keep_only(training_id, [str(found.path) for found in kept])
    known = {record.path for record in catalog.checkpoints.list(training_id)}
    for found in reversed(kept):  # oldest first: the newest ends up as "latest"
        if str(found.path.absolute()) not in known:
            catalog.checkpoints.add(training_id, _saved(found))
    return step


def hand_on(catalog: Catalog, record: TrainingRecord, gone: CheckpointRecord) -> None:
    """Let others be what a deleted checkpoint was: the newest that is left "latest", the best that is left "best".

    The files of a run that works are its own to write: there only the rows change.
    """
    from saewidgets.training import list_checkpoints  # torch: seconds to import
    from saewidgets.training.checkpoint import best_left, update_state

    rows = {row.path: row for row in catalog.checkpoints.list(record.id)}
    found = [c for c in list_checkpoints(Path(record.folder) / "checkpoints") if str(c.path.absolute()) in rows]
    if not found:
        return
    own = {c.step: rows[str(c.path.absolute())] for c in found}
    kinds = {step: list(row.kinds) for step, row in own.items()}
    newest, beats = found[0].step, {}
    if "latest" in gone.kinds:
        kinds[newest].insert(0, "latest")
    if "best" in gone.kinds:
        best = best_left(found, record.config.get("checkpoints", {}).get("best_metric", "fvu"))
        beats = {newest: {"best": best and best[1]}}  # what a run that goes on from there has to beat
        if best is not None:
            kinds[best[0].step].append("best")
    for checkpoint in found:
        step = checkpoint.step
        if kinds[step] != list(own[step].kinds):
            catalog.checkpoints.mark(own[step].id, kinds[step])
        changes = {"kinds": kinds[step], **beats.get(step, {})}
        if not record.status.is_active and any(checkpoint.state.get(name) != changes[name] for name in changes):
            update_state(checkpoint, **changes)


def _saved(found: Checkpoint) -> CheckpointSaved:
    """The event that was lost."""
    return CheckpointSaved(
        step=found.step,
        tokens=int(found.state["tokens"]),
        path=str(found.path.absolute()),
        kinds=found.kinds,  # type: ignore[arg-type]  # the literals, once they went through JSON
        size_bytes=found.size_bytes,
        metrics=dict(found.state.get("metrics", {})),
        time=found.path.stat().st_mtime,
    )
