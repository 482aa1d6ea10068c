"""``saewidgets delete``: a run with its files."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from saewidgets.cli.options import Json, RunId
from saewidgets.cli.output import plural, printable, size, write, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.errors import ConfigError


@command
def delete(
    run: RunId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a run: its record, metrics, checkpoints and files."""
    with open_workspace() as workspace:
        record = workspace.trainings.get(run).record
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError("Nobody is there to confirm.", where=record.id, hint="Say --yes to delete it.")
            typer.confirm(
                f"Delete {printable(record.name)} ({record.id}) with {plural(record.checkpoint_count, 'checkpoint')}, "
                f"{size(record.checkpoint_bytes)}?", abort=True,
            )  # fmt: skip
        workspace.trainings.delete(record.id)
        if json:
            write_json({"id": record.id, "name": record.name, "deleted": True})
            return
        write(f"Deleted {record.name} ({record.id})")
