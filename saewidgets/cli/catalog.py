"""``saewidgets catalog upgrade``: the one way a shared catalog is migrated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saewidgets.cli.options import Json
from saewidgets.cli.output import write, write_json
from saewidgets.cli.session import command, session
from saewidgets.settings import Settings

catalog = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@catalog.callback()
def group() -> None:
    """Look after the catalog of a workspace."""  # with a callback `upgrade` stays a command of a group


@catalog.command("upgrade")
@command
def upgrade(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="SQLAlchemy URL of a shared catalog, else the workspace's own.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="Workspace folder, as before the command.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring a catalog to the schema of this version. Back a shared one up first."""
    from saewidgets.workspace import upgrade_catalog  # SQLAlchemy and more: only for commands that need it

    folder = home.expanduser().absolute() if home else session.home or Settings.from_environment().home
    before, after = upgrade_catalog(folder, url)
    if json:
        write_json({"before": before, "after": after})
    elif before == after:
        write(f"The catalog is at schema version {after}; there is nothing to do.")
    elif before is None:
        write(f"Made the catalog at schema version {after}.")
    else:
        write(f"Upgraded the catalog from schema version {before} to {after}.")
