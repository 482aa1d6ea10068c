"""``saewidgets hub downloads | pause | resume | cancel``: downloads, whichever process runs them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.control import Wait
from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure, standing
from saewidgets.cli.options import Json, Quiet, TokenStdin
from saewidgets.cli.output import count, moment, note, size, table, to_data, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace
from saewidgets.cli.tokens import ask_token
from saewidgets.cli.watch import wait_for, watch
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job, Workspace


def phase(record: JobRecord) -> str:
    """What it does now, in a few words."""
    progress = record.progress
    if progress is not None and record.status is JobStatus.RUNNING:
        if progress.phase != "retrying":
            return progress.phase
        when = f"in {math.ceil(progress.wait_seconds)} s" if progress.wait_seconds else "now"
        return f"retrying (attempt {progress.attempt or 1}, {when})"
    return standing(record)


def _retry(record: JobRecord) -> int | None:
    """Which repetition it waits for; None while all is well."""
    progress = record.progress
    return progress.attempt if progress is not None and progress.phase == "retrying" else None


def _counted(record: JobRecord) -> tuple[int, int | None] | None:
    return None if record.progress is None else (record.progress.done, record.progress.total)


_LOOK = Look(_counted, unit="bytes", phase=phase, news=_retry)


def follow_download(job: Job, *, quiet: bool = False) -> JobRecord:
    """Show a download until it ends or pauses. Ctrl-C pauses it, what arrived is kept; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    resume = ("hub", "resume", job.id)
    record = watch(
        job, _LOOK, quiet=quiet, pausing="Pausing …", left="Left without waiting; what arrived is kept.",
        resume=resume, paused=lambda record: f"Paused. {_LOOK.line(record)}.",
    )  # fmt: skip
    if record.status is JobStatus.COMPLETED:
        return record
    leave = failure(record, otherwise=f"The download is {record.status.value}.")
    if record.status is not JobStatus.CANCELLED:
        note(f"Resume it with: {command_line(*resume)}")
    raise leave


DownloadId = Annotated[
    str,
    typer.Argument(
        metavar="DOWNLOAD", help="Id of the download, a unique beginning of it (4 characters or more), or its name."
    ),
]
COLUMNS = ("id", "name", "status", "arrived", "size", "from", "created")


def _row(record: JobRecord) -> list[str]:
    payload, progress = record.payload, record.progress
    total = int(payload.get("total_bytes") or 0)
    done = record.status is JobStatus.COMPLETED
    share = 1.0 if done else min(1.0, progress.done / total) if progress is not None and total else 0.0
    place = f"{payload.get('repo_id', '–')} {payload.get('path') or ''}".strip()
    return [
        record.id, str(payload.get("name") or "–"), phase(record), f"{share:.0%}", size(total), place,
        moment(record.created_at),
    ]  # fmt: skip


@command
def list_downloads(
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Leave out those that have ended.")] = False,
    json: Json = False,
) -> None:
    """List the downloads of the workspace, newest first."""
    with open_workspace() as workspace:
        found = list(workspace.hub.downloads(unfinished=unfinished))
    if json:
        write_json(found)
    elif found:
        write(table(COLUMNS, map(_row, found), right=(3, 4)))
    else:
        write(f"No downloads. Start one with: {command_line('hub', 'download')}")


def _ask(job: Job, reached: set[JobStatus], wait: float, json: bool) -> None:
    name = str(job.record.payload.get("name") or job.id)
    again = command_line("hub", "downloads")
    record = wait_for(lambda: job.record, reached, wait, name=name, look_again=again)
    if json:
        write_json(record)
    else:
        write(f"{name} is {record.status.value} ({record.id})")


@command
def pause(download: DownloadId, wait: Wait = 60.0, json: Json = False) -> None:
    """Pause a download: what arrived is kept."""
    with open_workspace() as workspace:
        job = workspace.hub.find_download(download)
        job.pause()
        _ask(job, {JobStatus.PAUSED}, wait, json)


@command
def cancel(download: DownloadId, wait: Wait = 60.0, json: Json = False) -> None:
    """Cancel a download: what arrived of unfinished files is removed."""
    with open_workspace() as workspace:
        job = workspace.hub.find_download(download)
        job.cancel()
        _ask(job, set(), wait, json)


@command
def resume(
    download: DownloadId, token_stdin: TokenStdin = False, json: Json = False, quiet: Quiet = False
) -> None:
    """Go on with a paused, cancelled, failed or interrupted download, in this process. Ctrl-C pauses it again."""
    token = ask_token(token_stdin)
    with open_workspace() as workspace:
        job = workspace.hub.find_download(download)
        run_here(workspace, workspace.hub.resume(job.id, token), json=json, quiet=quiet)


def run_here(workspace: Workspace, job: Job, *, json: bool, quiet: bool) -> None:
    """Show a download until it ends, then what it brought into the library."""
    payload = job.record.payload
    note(f"Downloading {payload['repo_id']} {payload['path']}, {size(payload.get('total_bytes'))} ({job.id})")
    record = follow_download(job, quiet=quiet)
    sae = workspace.saes.get(str(record.result))
    if json:
        write_json({**to_data(sae), "job_id": record.id})
        return
    write(f"Added {sae.name} ({sae.id}): {sae.architecture}, {count(sae.d_in)} → {count(sae.d_sae)}")
    if kept := sae.metadata.get("origin", {}).get("kept"):
        note(f"Kept in its own format, {sae.format}: {kept}")
