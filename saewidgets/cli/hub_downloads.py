"""``saewidgets hub downloads | pause | resume | cancel``: downloads, whichever process runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.control import Wait
from saewidgets.cli.follow_download import follow_download, phase
from saewidgets.cli.options import Json, Quiet, TokenStdin
from saewidgets.cli.output import count, moment, note, size, table, to_data, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace
from saewidgets.cli.tokens import ask_token
from saewidgets.cli.watch import wait_for
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job, Workspace

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
