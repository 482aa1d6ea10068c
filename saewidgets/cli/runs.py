"""``saewidgets list`` and ``saewidgets show``: which runs there are, and everything about one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.options import Json, RunId
from saewidgets.cli.output import count, duration, moment, number, size, table, to_data, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.render.runs import tile_values

if TYPE_CHECKING:
    from saewidgets.records import CheckpointRecord, TrainingRecord

COLUMNS = ("id", "name", "status", "progress", "loss", "l0", "fvu", "model", "created")


def _progress(record: TrainingRecord) -> str:
    share = record.tokens_done / record.tokens_total if record.tokens_total else 0.0
    return f"{share:.0%}"


def _row(record: TrainingRecord) -> list[str]:
    latest = tile_values(record)
    values = [number(latest[key]) for key in ("loss", "l0", "fvu")]
    state = record.status.value
    return [record.id, record.name, state, _progress(record), *values, record.model, moment(record.created_at)]


@command
def list_runs(
    status: Annotated[str | None, typer.Option(help="Only runs in this state, e.g. running or completed.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs on this model.")] = None,
    search: Annotated[str | None, typer.Option(help="Only runs whose name or id contains this.")] = None,
    json: Json = False,
) -> None:
    """List the runs of the workspace, newest first."""
    if status is not None and status not in {s.value for s in JobStatus}:
        known = ", ".join(s.value for s in JobStatus)
        raise ConfigError(f"{status!r} is not a state of a run.", where="--status", hint=f"Use one of: {known}.")
    wanted = JobStatus(status) if status else None
    with open_workspace() as workspace:
        records = list(workspace.trainings.list(status=wanted, model=model, search=search))
    if json:
        write_json(records)
    elif records:
        write(table(COLUMNS, map(_row, records), right=(3, 4, 5, 6)))
    else:
        write(f"No runs{' match' if status or model or search else ' yet'}. Start one with: {command_line('train')}")


@command
def show(run: RunId, json: Json = False) -> None:
    """Show one run: where it stands, its settings, its checkpoints."""
    with open_workspace() as workspace:
        handle = workspace.trainings.get(run)
        record, checkpoints = handle.record, list(handle.checkpoints())
    if json:
        write_json({**to_data(record), "checkpoints": to_data(checkpoints)})
        return
    for label, value in _facts(record):
        write(f"{label:<14}{value}")
    if record.error:
        write("\n" + " ".join(filter(None, [record.error.what, record.error.hint])))
    if checkpoints:
        header = ("checkpoint", "step", "tokens", "kept as", "size")
        write("\n" + table(header, map(_checkpoint, checkpoints), right=(1, 2, 4)))


def _facts(record: TrainingRecord) -> list[tuple[str, str]]:
    latest = ", ".join(f"{name} {number(value)}" for name, value in sorted(record.latest.items()))
    tokens = f"{count(record.tokens_done)} of {count(record.tokens_total)} tokens"
    facts = [
        ("id", record.id),
        ("name", record.name),
        ("status", record.status.value),
        ("progress", f"{tokens} ({_progress(record)}), step {count(record.step)}"),
        ("model", f"{record.model}, {record.hook_name}"),
        ("corpus", record.corpus),
        ("autoencoder", f"{record.architecture}, {count(record.d_in)} → {count(record.d_sae)}"),
        ("device", record.device),
        ("latest", latest or "–"),
        ("created", moment(record.created_at)),
        ("training time", duration(record.seconds_running)),
        ("folder", record.folder),
        ("SAE", record.sae_path or "–"),
    ]
    optional = (("started from", record.started_from), ("retry of", record.retry_of), ("note", record.note))
    return facts + [(label, value) for label, value in optional if value]


def _checkpoint(record: CheckpointRecord) -> list[str]:
    return [record.id, count(record.step), count(record.tokens), ", ".join(record.kinds), size(record.size_bytes)]
