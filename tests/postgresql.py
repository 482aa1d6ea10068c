"""A PostgreSQL server of this machine's package for tests: started once per process, on a Unix socket, with databases
for whoever asks. Skips with a word where the package is not installed.

A module with ``DATABASES = BOTH`` runs on both kinds of catalog what uses the fixture `database_url`.
"""

import glob
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from saewidgets.catalog.database import open_engine
from saewidgets.catalog.tables import Base
from saewidgets.catalog.upkeep import CatalogUpkeep

_PLACES = [os.environ.get("PATH", ""), *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]


BOTH = ("sqlite", "postgresql")


class Server:
    """`blank` makes a database and gives its URL, `catalog` that of the one with the tables, which it empties."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self._folder, self._user = folder, user
        self._numbers = itertools.count()
        self._catalog: str | None = None

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://tester@/{database}?host={self._folder}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs; a server refuses to be root's."""
        path = next(filter(None, (shutil.which(program, path=place) for place in _PLACES)))
        who = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        with open(self._folder / "output", "ab") as output:
            subprocess.run([path, *arguments], check=True, stdout=output, stderr=output, cwd=self._folder, **who)  # type: ignore[call-overload]

    def blank(self) -> str:
        name = f"test{next(self._numbers)}"
        self.run("createdb", f"--host={self._folder}", "--username=tester", name)
        return self.url(name)

    def catalog(self) -> str:
        if self._catalog is None:
            self._catalog = self.blank()
            CatalogUpkeep(self._folder, self._catalog).upgrade()
        engine = open_engine(make_url(self._catalog))
        with engine.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(Base.metadata.tables)} CASCADE")
        engine.dispose()
        return self._catalog


@contextmanager
def started() -> Iterator[Server]:
    """The server, until the block ends."""
    if not any(shutil.which("initdb", path=place) for place in _PLACES):
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = "postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="saewidgets-pg-"))  # short: the path of a socket is
    server = Server(folder, user)
    try:
        if user:
            shutil.chown(folder, user, user)
        server.run("initdb", f"--pgdata={folder}/data", "--auth=trust", "--username=tester", "--encoding=UTF8",
                   "--locale=C", "--no-sync")  # fmt: skip
        data = f"--pgdata={folder}/data"
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=300"
        server.run("pg_ctl", data, f"--options={options}", f"--log={folder}/log", "--wait", "start")
        try:
            yield server
        finally:
            server.run("pg_ctl", data, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with started() as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_url" in metafunc.fixturenames and (kinds := getattr(metafunc.module, "DATABASES", None)):
        metafunc.parametrize("database_url", kinds, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of a catalog on PostgreSQL; None for the file in the workspace."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server: Server = request.getfixturevalue("postgresql")
    return server.catalog()
