"""Defines ``saewidgets catalog``: ``upgrade``, the one way a shared catalog is migrated, and ``backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saewidgets.cli.options import Json
from saewidgets.cli.output import answer
from saewidgets.cli.session import Group, session
from saewidgets.settings import Settings

catalog = Group("Look after the catalog of a workspace.")
Home = Annotated[
    Path | None, typer.Option(metavar="DIR", file_okay=False, help="Workspace folder, as before the command.")
]


def _folder(home: Path | None) -> Path:
    return home.expanduser().absolute() if home else session.home or Settings.from_environment().home


@catalog.verb("backup")
def backup(home: Home = None, json: Json = False) -> None:
    """Copy the catalog into the folder backups of the workspace; runs may go on meanwhile."""
    from saewidgets.workspace import backup_catalog  # SQLAlchemy and more: only for commands that need it

    copy = backup_catalog(_folder(home))
    answer(json, {"backup": str(copy)}, f"Copied the catalog to {copy}.")


@catalog.verb("upgrade")
def upgrade(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="SQLAlchemy URL of a shared catalog, else the workspace's own.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Bring a catalog to the schema of this version. Back a shared one up first."""
    from saewidgets.workspace import upgrade_catalog  # SQLAlchemy and more: only for commands that need it

    before, after = upgrade_catalog(_folder(home), url)
    said = f"Upgraded the catalog from schema version {before} to {after}."
    if before is None:
        said = f"Made the catalog at schema version {after}."
    elif before == after:
        said = f"The catalog is at schema version {after}; there is nothing to do."
    answer(json, {"before": before, "after": after}, said)
