"""Creating, migrating, refusing."""

import hashlib
import re
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, select

from saewidgets.catalog import Catalog, schema
from saewidgets.catalog.database import file_lock, open_engine
from saewidgets.catalog.tables import Base
from saewidgets.errors import CatalogError


def _execute(path: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _set_version(path: Path, version: str) -> None:
    _execute(path, "UPDATE alembic_version SET version_num = ?", version)


@pytest.fixture(autouse=True)
def _migrate_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests open a copy of a catalog that was migrated once (tests/conftest.py)."""
    monkeypatch.setattr("saewidgets.catalog.catalog.prepare_file", schema.prepare_file)


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD
    assert schema.known_versions()[-1] == schema.HEAD


def test_the_migrated_schema_matches_the_tables(catalog: Catalog) -> None:
    engine = create_engine(f"sqlite:///{catalog.path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_constraint_by_constraint(catalog: Catalog, tmp_path: Path) -> None:
    """autogenerate does not see CHECKs: compare the statements themselves."""

    def statements(path: str | Path) -> set[str]:
        connection = sqlite3.connect(path)
        found = {
            row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
            if "alembic_version" not in row[0]
        }
        connection.close()
        return {normal(" ".join(sql.split())) for sql in found}

    def normal(sql: str) -> str:
        """The order of columns and constraints does not matter, nor do quotes that alembic writes."""
        sql = sql.replace("('')", "''")
        table = re.fullmatch(r'CREATE TABLE "?(\w+)"? ?\((.*)\)( WITHOUT ROWID)?', sql)
        if table is None:
            return sql
        parts = re.split(r",\s*(?![^()]*\))", table[2])
        return f"{table[1]}{table[3]}: {', '.join(sorted(p.strip() for p in parts))}"

    assert catalog.path is not None
    straight = tmp_path / "straight.sqlite"
    engine = create_engine(f"sqlite:///{straight}")
    Base.metadata.create_all(engine)
    engine.dispose()
    assert statements(catalog.path) == statements(straight)


def test_a_blank_catalog_gets_its_tables_and_no_backup(folder: Path) -> None:
    with Catalog(folder) as catalog:
        engine = catalog._database.engine
        names = set(inspect(engine).get_table_names())
    assert names == {*Base.metadata.tables, "alembic_version"}
    assert not (folder / "backups").exists()


def test_opening_again_changes_nothing_and_needs_no_alembic(catalog: Catalog) -> None:
    catalog.models.upsert("gpt2")
    code = (
        "import sys\nfrom saewidgets.catalog import Catalog\n"
        f"with Catalog({str(catalog.files.folder)!r}) as c: print(c.models.names(), 'alembic' in sys.modules, "
        "'torch' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "['gpt2'] False False False\n", done.stderr


def test_a_newer_catalog_is_refused_and_not_touched(folder: Path) -> None:
    with Catalog(folder) as catalog:
        catalog.models.upsert("gpt2")
    path = folder / "catalog.sqlite"
    _set_version(path, "9041")
    before, others = _digest(path), sorted(p.name for p in folder.iterdir())
    with pytest.raises(CatalogError) as caught:
        Catalog(folder)
    text = str(caught.value)
    assert "9041" in text
    assert schema.HEAD in text
    assert "pip install -U saewidgets" in text
    assert _digest(path) == before
    assert sorted(p.name for p in folder.iterdir()) == others


@pytest.mark.parametrize(
    "content", [b"this is not a database, but long enough for one" * 20, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_catalog_is_an_error_and_not_touched(folder: Path, content: bytes) -> None:
    folder.mkdir()
    path = folder / "catalog.sqlite"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"damaged|gave an error"):
        Catalog(folder)
    assert path.read_bytes() == content


@pytest.mark.parametrize("copied", [True, False])
def test_an_empty_catalog_beside_runs_is_damaged(folder: Path, copied: bool) -> None:
    with Catalog(folder) as catalog:
        catalog.models.upsert("gpt2")
    path = folder / "catalog.sqlite"
    (folder / "trainings" / "train_1").mkdir(parents=True)
    copies = [schema.back_up(path, version) for version in ("0004", "0005")] if copied else []
    path.write_bytes(b"")
    with pytest.raises(CatalogError, match="The catalog is empty, although") as caught:
        Catalog(folder)
    assert path.read_bytes() == b""
    if copied:
        assert f"copy {copies[1]} to its place" in str(caught.value.hint)
        path.write_bytes(copies[1].read_bytes())
    else:
        path.unlink()
    with Catalog(folder) as catalog:
        assert catalog.models.names() == (["gpt2"] if copied else [])


@pytest.mark.parametrize(
    ("statement", "says"),
    [("DELETE FROM alembic_version", "does not say which version"), ("DROP TABLE checkpoints", "table checkpoints")],
)
def test_a_catalog_that_lost_a_part_is_damaged(folder: Path, statement: str, says: str) -> None:
    with Catalog(folder) as catalog:
        catalog.models.upsert("gpt2")
    _execute(folder / "catalog.sqlite", statement)
    with pytest.raises(CatalogError, match=f"damaged: .*{says}") as caught:
        Catalog(folder)
    assert "Update saewidgets" not in str(caught.value)


def test_a_foreign_database_is_not_migrated(folder: Path) -> None:
    folder.mkdir()
    path = folder / "catalog.sqlite"
    _execute(path, "CREATE TABLE bookmarks (url TEXT)")
    before = _digest(path)
    with pytest.raises(CatalogError, match="not a catalog of saewidgets"):
        Catalog(folder)
    assert _digest(path) == before


def test_a_failed_migration_leaves_the_old_catalog(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    path = folder / "catalog.sqlite"
    engine = open_engine(create_engine(f"sqlite:///{path}").url)

    def fail() -> None:
        with schema._migrating(engine) as connection:
            Base.metadata.tables["models"].create(connection)
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    with Catalog(folder) as catalog:
        assert catalog.models.names() == []


def test_old_backups_are_thinned_out(folder: Path) -> None:
    with Catalog(folder) as catalog:
        assert catalog.path is not None
        (folder / "backups").mkdir()
        for i in range(9):
            (folder / "backups" / f"catalog-0000-2020010{i}T000000Z.sqlite").write_bytes(b"")
        newest = schema.back_up(catalog.path, "0001")
    kept = list((folder / "backups").iterdir())
    assert len(kept) == schema.KEPT_BACKUPS
    assert newest in kept


def test_two_who_open_a_blank_catalog_at_once(folder: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with Catalog(folder) as catalog:
                catalog.models.upsert("gpt2")
        except BaseException as error:  # noqa: BLE001 - reported by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with Catalog(folder) as catalog, catalog._database.read() as session:
        uses = session.scalar(select(Base.metadata.tables["models"].c.uses))
        assert uses == 4


def test_the_lock_says_who_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"

    def wait(seconds: float) -> None:
        with file_lock(path, seconds):
            pass

    with ThreadPoolExecutor(1) as other:
        with file_lock(path, 1.0), pytest.raises(CatalogError, match="Another process"):
            other.submit(wait, 0.1).result()
        other.submit(wait, 1.0).result()


@pytest.mark.parametrize("url", ["nonsense", "nodialect://x", "sqlite://", "://"])
def test_urls_that_name_no_database(folder: Path, url: str) -> None:
    with pytest.raises(CatalogError):
        Catalog(folder, url)
