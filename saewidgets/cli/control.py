"""``saewidgets pause | resume | stop | retry``: asking a run, whichever process trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.follow import finish, follow
from saewidgets.cli.options import Json, Quiet, RunId
from saewidgets.cli.output import note, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace
from saewidgets.cli.together import follow_group
from saewidgets.cli.watch import wait_for
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord
    from saewidgets.workspace import Run

Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for it; 0 does not wait.")]


def _await(run: Run, reached: set[JobStatus], seconds: float) -> TrainingRecord:
    """Wait until the run's owner has done what was asked; see `wait_for`."""
    record = run.record
    return wait_for(
        lambda: run.record, reached, seconds, name=record.name, look_again=command_line("show", record.id)
    )


def _report(record: TrainingRecord, json: bool) -> None:
    if json:
        write_json(record)
    else:
        write(f"{record.name} is {record.status.value} ({record.id})")


@command
def pause(run: RunId, wait: Wait = 60.0, json: Json = False) -> None:
    """Pause a run: it writes a checkpoint and frees its device."""
    with open_workspace() as workspace:
        handle = workspace.trainings.get(run)
        handle.pause()
        _report(_await(handle, {JobStatus.PAUSED}, wait), json)


@command
def stop(
    run: RunId,
    discard: Annotated[bool, typer.Option("--discard", help="Do not keep what was learned so far.")] = False,
    wait: Wait = 60.0,
    json: Json = False,
) -> None:
    """End a run early and keep what it learned."""
    with open_workspace() as workspace:
        handle = workspace.trainings.get(run)
        handle.stop(save=not discard)
        record = _await(handle, set(), wait)
        _report(record, json)
        if record.status.is_final and record.sae_path is None and not discard:
            kept = "its checkpoints are still there" if record.checkpoint_count else "it had no checkpoint yet"
            note(f"It has left no SAE; {kept}.")


@command
def resume(run: RunId, json: Json = False, quiet: Quiet = False) -> None:
    """Go on with a paused, stopped, failed or interrupted run, in this process. Ctrl-C pauses it again."""
    with open_workspace() as workspace:
        handle = workspace.trainings.get(run)
        handle.resume()
        if (group := handle.group) is not None:
            note(f"Resuming {group.name}: {len(group)} together ({group.id})")
            follow_group(group, as_json=json, quiet=quiet)
            return
        note(f"Resuming {handle.record.name} ({handle.id})")
        record = follow(handle, quiet=quiet)
        if json:
            write_json(handle.record)
        finish(record)


@command
def retry(run: RunId, json: Json = False, quiet: Quiet = False) -> None:
    """Start a new run with the settings of an earlier one."""
    with open_workspace() as workspace:
        handle = workspace.trainings.get(run).retry()
        note(f"Training {handle.record.name} ({handle.id}), a retry of {handle.record.retry_of}")
        record = follow(handle, quiet=quiet)
        if json:
            write_json(handle.record)
        finish(record)
