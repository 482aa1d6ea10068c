"""Defines ``saewidgets catalog``, which looks after a catalog: its ``upgrade`` alone migrates a shared one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.output import size
from saewidgets.cli.session import CommandGroup, answer, session

if TYPE_CHECKING:
    from saewidgets.workspace import CatalogUpkeep

catalog = CommandGroup("Look after the catalog of a workspace, or a shared one.")
Home = Annotated[
    Path | None, typer.Option(metavar="DIR", file_okay=False, help="Workspace folder, as before the command.")
]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="SQLAlchemy URL of a shared catalog, as --catalog before the command.")
]


def _upkeep(home: Path | None, url: str | None) -> CatalogUpkeep:
    from saewidgets.workspace import CatalogUpkeep  # SQLAlchemy and more: only for commands that need it

    folder = home.expanduser().absolute() if home else session.process.home
    return CatalogUpkeep(folder, url or session.process.catalog_url)


@catalog.verb("backup")
def backup(url: Url = None, home: Home = None) -> None:
    """Copy the catalog into the folder backups of the workspace; runs may go on meanwhile."""
    copy = _upkeep(home, url).backup()
    answer({"backup": str(copy)}, f"Copied the catalog to {copy}.")


@catalog.verb("check")
def check(url: Url = None, home: Home = None) -> None:
    """Say whether the catalog can be used and its pages can be read."""
    upkeep = _upkeep(home, url)
    version = upkeep.check()
    answer({"version": version, "catalog": upkeep.name}, f"The catalog is sound, at schema version {version}.")


@catalog.verb("upgrade")
def upgrade(url: Url = None, home: Home = None) -> None:
    """Bring a catalog to the schema of this version. Back a shared one up first."""
    before, after = _upkeep(home, url).upgrade()
    said = f"Upgraded the catalog from schema version {before} to {after}."
    if before is None:
        said = f"Made the catalog at schema version {after}."
    elif before == after:
        said = f"The catalog is at schema version {after}; there is nothing to do."
    answer({"before": before, "after": after}, said)


@catalog.verb("vacuum")
def vacuum(url: Url = None, home: Home = None) -> None:
    """Give the space of deleted rows back to the disk; others wait meanwhile."""
    before, after = _upkeep(home, url).vacuum()
    answer({"bytes_before": before, "bytes_after": after}, f"The catalog had {size(before)}, now {size(after)}.")
