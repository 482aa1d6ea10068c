"""The catalog on a real PostgreSQL server: what only a server can do wrong."""

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select

from saewidgets.catalog import Catalog, database
from saewidgets.catalog.schema import HEAD
from saewidgets.catalog.tables import Base, JobRow
from saewidgets.catalog.upkeep import CatalogUpkeep
from saewidgets.errors import CatalogError
from saewidgets.events import JobStatus as S
from saewidgets.events import Progress
from tests.postgresql import Server

DATABASES = ("postgresql",)


@pytest.fixture
def url(database_url: str | None) -> str:
    assert database_url is not None
    return database_url


def test_the_migrated_schema_matches_the_tables(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def _together(number: int, work: Any) -> None:
    gate = threading.Barrier(number)

    def run(i: int) -> None:
        gate.wait()
        work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_many_at_once_one_wins_and_no_queue_number_is_given_twice(folder: Path, url: str) -> None:
    catalogs = [Catalog(folder, url, host=f"box{i}") for i in range(4)]
    won: list[list[int]] = [[] for _ in range(10)]
    acquired = []

    def work(i: int) -> None:
        jobs = catalogs[i % 4].jobs
        jobs.add(f"mine {i}", kind="x", lane="lane", payload={}, owner=f"{i}")
        for turn, winners in enumerate(won):
            if jobs.change(f"shared {turn}", {"status": S.PAUSED}, when={S.QUEUED}) is not None:
                winners.append(i)
            jobs.beat(f"{i}")
            jobs.record(f"{i}", [(f"mine {i}", None, Progress(turn, 10))])
        if jobs.acquire(f"mine {i}", f"{i}", width=2, timeout=60.0):
            acquired.append(i)

    for turn in range(len(won)):
        catalogs[0].jobs.add(f"shared {turn}", kind="x", lane="other", payload={}, owner="me")
    _together(20, work)
    assert [len(winners) for winners in won] == [1] * len(won)
    assert len(acquired) <= 2
    waiting = [job for job in catalogs[0].jobs.list(status={S.QUEUED}) if job.lane == "lane"]
    positions = sorted(job.queue_position for job in waiting)
    assert positions == list(range(1, len(positions) + 1))
    with catalogs[0]._database.read() as session:
        numbers = list(session.scalars(select(JobRow.queue_number)))
    assert len(numbers) == len(set(numbers)) == 20 + len(won)
    for each in catalogs:
        each.close()


def test_who_upgrades_at_once_finds_the_work_done(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.blank()
    with pytest.raises(CatalogError, match="has no tables yet") as caught:
        Catalog(tmp_path, url)
    assert "saewidgets catalog upgrade --url postgresql+psycopg://tester@/test" in str(caught.value.hint)
    found: list[Any] = []
    _together(3, lambda i: found.append(CatalogUpkeep(tmp_path, url).upgrade()[1]))
    assert found == [HEAD] * 3
    Catalog(tmp_path, url).close()


def test_check_backup_and_vacuum(catalog: Catalog, url: str, tmp_path: Path, postgresql: Server) -> None:
    catalog.models.upsert("gpt2")
    upkeep = CatalogUpkeep(tmp_path, url)
    assert upkeep.check() == HEAD
    copy = upkeep.backup()
    assert copy.parent == tmp_path / "backups"
    other = postgresql.blank()
    subprocess.run(["pg_restore", "--no-owner", f"--dbname={other.replace('+psycopg', '')}", copy], check=True)
    with Catalog(tmp_path, other) as restored:
        assert restored.models.names() == ["gpt2"]
    before, after = upkeep.vacuum()
    assert 0 < after <= before + 100_000


def test_one_who_stalls_within_its_turn_holds_nobody_up_for_long(
    folder: Path, url: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(database.Database.write, "__defaults__", (0.3, True))
    with Catalog(folder, url) as other, other._database._alone.begin() as stalled:
        stalled.connection()
        with pytest.raises(CatalogError, match="The catalog is busy"):
            catalog.models.upsert("gpt2")
    catalog.models.upsert("gpt2")


def test_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://me:secret@/none?host={tmp_path}"
    with pytest.raises(CatalogError, match="connection") as caught:
        Catalog(tmp_path, url)
    assert "secret" not in str(caught.value)
