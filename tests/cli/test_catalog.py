"""``saewidgets catalog upgrade``, which the refusal of an old shared catalog names."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from saewidgets.catalog import Catalog, schema
from saewidgets.config import TrainingConfig
from saewidgets.errors import CatalogError
from saewidgets.workspace import Workspace
from tests.cli.conftest import Invoke


def test_the_workspaces_own(invoke: Invoke, home: Path) -> None:
    assert invoke("catalog", "upgrade").out == f"Made the catalog at schema version {schema.HEAD}.\n"
    assert invoke("catalog", "upgrade").out.endswith("there is nothing to do.\n")
    assert (home / "catalog.sqlite").is_file()


def test_the_folder_may_stand_before_or_behind(invoke: Invoke, home: Path, tmp_path: Path) -> None:
    made = {"before": None, "after": schema.HEAD}
    assert invoke("--home", str(tmp_path / "a"), "catalog", "upgrade", "--json").json() == made
    assert invoke("catalog", "upgrade", "--home", str(tmp_path / "b"), "--json").json() == made
    assert (tmp_path / "a" / "catalog.sqlite").is_file()
    assert (tmp_path / "b" / "catalog.sqlite").is_file()
    assert not home.exists()


def test_a_backup_opens_as_the_catalog_did(invoke: Invoke, home: Path) -> None:
    assert "There is no catalog here" in invoke("catalog", "backup").err
    with Workspace(home) as ws:
        ws.templates.save("mine", TrainingConfig(model="demo"))
        copy = Path(invoke("catalog", "backup", "--json").json()["backup"])
    assert copy.parent == home / "backups"
    (home / "catalog.sqlite").write_bytes(copy.read_bytes())
    with Workspace(home) as ws:
        assert [template.name for template in ws.templates.list()] == ["mine"]


def test_a_shared_catalog(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stands in for PostgreSQL: the command that the refusal names makes it usable."""
    monkeypatch.setattr("saewidgets.catalog.catalog.sqlite_path", lambda url: None)
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    with pytest.raises(CatalogError, match="saewidgets catalog upgrade"):
        Catalog(tmp_path, url)
    assert invoke("catalog", "upgrade", "--url", url, "--json").json() == {"before": None, "after": schema.HEAD}
    Catalog(tmp_path, url).close()


def test_what_cannot_be_upgraded_says_why(invoke: Invoke, home: Path) -> None:
    invoke("catalog", "upgrade")
    with sqlite3.connect(home / "catalog.sqlite") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    done = invoke("catalog", "upgrade")
    assert done.code == 1
    assert "9999" in done.err
    done = invoke("catalog", "upgrade", "--url", "nonsense://x")
    assert done.code == 1
    assert "does not name a database" in done.err
