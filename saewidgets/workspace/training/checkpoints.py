"""Uses checkpoints of a run: a new run that goes on from one (`checkpoint_copier`), an SAE made of one
(`sae_of_checkpoint`, `export_newest`), one deleted; and `reconcile`: rows and files agree after a kill. Used by
`ws.trainings` and `Run`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.durable import require_space, storage_errors
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import CheckpointSaved, JobStatus, Metrics
from saewidgets.jobs.states import OWNED, RESUMABLE
from saewidgets.records import CheckpointRecord, SAERecord, TrainingRecord
from saewidgets.workspace.folders import draft_folder, remove_tree

if TYPE_CHECKING:
    from saewidgets.catalog import Catalog
    from saewidgets.training.checkpoint import Checkpoint
    from saewidgets.workspace.training.run import Run
    from saewidgets.workspace.workspace import Workspace


_ENDED = {
    JobStatus.FAILED: "failed", JobStatus.STOPPED: "was stopped", JobStatus.CANCELLED: "was cancelled",
    JobStatus.COMPLETED: "has completed",
}  # fmt: skip


def no_sae(record: TrainingRecord) -> StateError:
    """The error of a run without an SAE."""
    so_far = _ENDED.get(record.status, f"is {record.status}, so far")
    made = "Make one of its newest checkpoint with run.export_checkpoint(). " if record.checkpoint_count else ""
    hint = _way_on(record, made)
    return StateError(f"{record.name} {so_far} without an SAE.", where=record.id, hint=hint)


def no_checkpoint(record: TrainingRecord) -> NotFoundError:
    """The error of a run without any checkpoint."""
    return NotFoundError(f"{record.name} has no checkpoint to go on from.", where=record.id, hint=_way_on(record))


def _way_on(record: TrainingRecord, made: str = "") -> str:
    if record.status in OWNED:
        return "Wait until it has ended, or stop it: that keeps what was learned."
    # Of a group that is resumed, what has ended by itself stays as it is.
    resumes = record.status in RESUMABLE and not record.ended_alone
    why = "Its error says why. " if record.status is JobStatus.FAILED else ""
    return made + why + ("Resume it, or start it again with retry." if resumes else "Start it again with retry.")


Prepare = Callable[[str, Path], None]
"""Called with the new run's id and folder, before it can start."""


def checkpoint_of(workspace: Workspace, record: TrainingRecord, checkpoint_id: str | None) -> CheckpointRecord:
    """The checkpoint of this id, or the run's newest."""
    rows = workspace.catalog.checkpoints.list(record.id)
    if checkpoint_id is None and rows:
        return rows[-1]
    found = next((row for row in rows if row.id == checkpoint_id), None)
    if found is None:
        if not rows:
            raise no_checkpoint(record)
        raise NotFoundError(
            f"{record.name} has no checkpoint {checkpoint_id!r}.", where=record.id,
            hint="run.checkpoints() lists them; it may have been replaced.",
        )
    return found


def longer(config: TrainingConfig, tokens: int | None, done: int, name: str) -> TrainingConfig:
    """The configuration of a run that goes on until `tokens` in all; None keeps its length."""
    if tokens is None and config.epochs is not None:  # what they are in tokens is known once the text is packed
        return config.replace(name=name)
    wanted = config.tokens if tokens is None else tokens
    if wanted // config.batch_size * config.batch_size <= done:
        raise ConfigError(
            f"The checkpoint has seen {done:,} tokens, and the run ends at {wanted:,}.", where="tokens",
            hint=f"Enter at least {done + config.batch_size:,}: the number counts from the beginning.",
        )  # fmt: skip
    if tokens is None:
        return config.replace(name=name)
    # A run with a given length should not end at targets that may be reached already.
    return config.replace(**{"tokens": wanted, "epochs": None, "name": name, "targets.action": "warn"})


def checkpoint_copier(workspace: Workspace, source: CheckpointRecord) -> Prepare:
    """What puts a copy of a checkpoint into the folder of a new run, and says so in its row."""

    def take(training_id: str, folder: Path) -> None:
        from saewidgets.training.checkpoint import read_checkpoint, update_state  # torch: seconds to import

        whole = read_checkpoint(workspace.storage.fetch(source.path))
        target = folder / "checkpoints"
        require_space(folder, whole.size_bytes, "a checkpoint", "Free some space, then try again.")
        hint = "Free some space, then try again."
        with storage_errors("The checkpoint could not be copied", target, hint), draft_folder(target) as draft:
            copy = draft / whole.path.name
            shutil.copytree(whole.path, copy)
            copy.rename(target / whole.path.name)
        kinds = ("latest", *(("best",) if "best" in whole.kinds else ()))
        taken = update_state(read_checkpoint(target / whole.path.name, verify=False), kinds=list(kinds))
        tokens, metrics = int(taken.state["tokens"]), dict(taken.state["metrics"])
        origin = {"training_id": source.training_id, "step": taken.step, "tokens": tokens}
        facts = {"continued_from": origin}
        workspace.catalog.trainings.update(training_id, step=taken.step, tokens_done=tokens, facts=facts)
        workspace.catalog.metrics.append(training_id, [Metrics(taken.step, tokens, metrics)])
        workspace.catalog.checkpoints.add(training_id, _saved(taken))

    return take


def sae_of_checkpoint(workspace: Workspace, run: Run, checkpoint_id: str | None) -> SAERecord:
    """Put the SAE of one checkpoint into the library."""
    record = run.record
    source = checkpoint_of(workspace, record, checkpoint_id)
    with draft_folder(run.folder) as draft:
        workspace.storage.fetch(source.path)
        path, name = write_sae(run, source, draft), f"{record.name}-step-{source.step}"
        return workspace.saes.add_local(path, name=name, model=record.model, hook_name=record.hook_name)


def write_sae(run: Run, source: CheckpointRecord, folder: Path) -> Path:
    """Write the SAE of one checkpoint below `folder`, in the form that `stop` would have left; returns where."""
    from saewidgets.training.checkpoint import read_checkpoint  # torch: seconds to import
    from saewidgets.training.export import sae_of, save_final

    return save_final(sae_of(run.config, read_checkpoint(Path(source.path))), folder)


def export_newest(workspace: Workspace, run: Run) -> bool:
    """Make the SAE of a run of its newest checkpoint, without loading the language model; False where it has none."""
    from saewidgets.training.export import export_checkpoint  # torch: seconds to import

    workspace.storage.fetch(run.folder, fresh=True)
    reconcile(workspace.catalog, run.id, run.folder)  # it may have been killed
    found = export_checkpoint(run.config, run.folder)
    if found is None:
        return False
    workspace.catalog.trainings.update(run.id, sae_path=str(found[0]))
    workspace.storage.offer(run.folder)
    return True


def delete_checkpoint(workspace: Workspace, record: TrainingRecord, checkpoint_id: str) -> int:
    """Delete one checkpoint and its files; returns the bytes freed. Of those that are left the newest is "latest" and
    the best is "best" then."""
    source = checkpoint_of(workspace, record, checkpoint_id)
    if record.status.is_active and "latest" in source.kinds:
        raise StateError(
            f"{record.name} is {record.status} and would go on from this checkpoint.", where=checkpoint_id,
            hint="Pause or stop the run first, or delete an older checkpoint.",
        )
    workspace.storage.fetch(record.folder)
    gone = workspace.catalog.checkpoints.delete(source.id)
    freed = remove_tree(workspace.folder, Path(gone.path))
    hand_on(workspace.catalog, record, gone)
    workspace.storage.offer(Path(record.folder))
    return freed


def reconcile(catalog: Catalog, training_id: str, folder: Path) -> int | None:
    """Make rows and files agree, in both directions: a process may have been killed between the two. Returns
    the step that a resumed run starts from, 0 without any checkpoint, None if all are damaged (the rows stay then)."""
    from saewidgets.training.checkpoint import list_checkpoints, newest_whole  # torch: seconds to import

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
    """Let others be what a deleted checkpoint was. The files of a run that works are its own to write: there only the
    rows change."""
    from saewidgets.training.checkpoint import best_left, list_checkpoints, update_state  # torch: seconds to import

    rows = {row.path: row for row in catalog.checkpoints.list(record.id)}
    found = [c for c in list_checkpoints(Path(record.folder) / "checkpoints") if str(c.path.absolute()) in rows]
    metric = record.config.get("checkpoints", {}).get("best_metric", "fvu")
    best = best_left(found, metric) if "best" in gone.kinds else None
    for checkpoint in found:
        row = rows[str(checkpoint.path.absolute())]
        changes: dict[str, Any] = {"kinds": [*row.kinds]}
        if checkpoint is found[0]:  # the newest
            if "latest" in gone.kinds:
                changes["kinds"].insert(0, "latest")
            if "best" in gone.kinds:
                changes["best"] = best and best[1]  # what a run that goes on from there has to beat
        if best is not None and checkpoint.step == best[0].step:
            changes["kinds"].append("best")
        if changes["kinds"] != [*row.kinds]:
            catalog.checkpoints.mark(row.id, changes["kinds"])
        if not record.status.is_active and any(checkpoint.state.get(name) != changes[name] for name in changes):
            update_state(checkpoint, **changes)


def _saved(found: Checkpoint) -> CheckpointSaved:
    return CheckpointSaved(
        step=found.step, tokens=int(found.state["tokens"]), path=str(found.path.absolute()),
        kinds=found.kinds,  # type: ignore[arg-type]  # the literals, once they went through JSON
        size_bytes=found.size_bytes, metrics=dict(found.state.get("metrics", {})), time=found.path.stat().st_mtime,
    )  # fmt: skip


def take_back(workspace: Workspace, training_id: str, folder: Path) -> None:
    """Forget what was measured after the checkpoint that a resumed run starts from: it is measured again."""
    step = reconcile(workspace.catalog, training_id, folder)
    if step is not None:
        workspace.catalog.metrics.truncate(training_id, step)
