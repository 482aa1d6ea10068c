"""What the doctor finds, says and keeps to itself; JupyterLab on the tutorial; upgrades and copies of the catalog."""

import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saewidgets.catalog import schema
from saewidgets.cli import doctor
from saewidgets.config import TrainingConfig
from saewidgets.workspace import Workspace
from tests.cli.conftest import Invoke
from tests.postgresql import Server


def _by_topic(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {finding["topic"]: finding for finding in findings}


def test_a_healthy_machine(invoke: Invoke, home: Path) -> None:
    done = invoke("doctor", "--json")
    report = done.json()
    topics = _by_topic(report["findings"])
    assert done.code == 0
    assert report["ok"] is True
    assert topics["device cpu"]["level"] == "ok"
    assert topics["torch"]["text"][0].isdigit()
    assert topics["home"]["text"].startswith(str(home))
    assert "none yet" in topics["catalog"]["text"]
    assert not home.exists(), "looking makes nothing"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not known")
@pytest.mark.parametrize(("policy", "level", "said"), [("PASSIVE", "ok", "sleep soon"), ("ACTIVE", "info", "spin")])
def test_how_threads_wait(
    policy: str, level: str, said: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    found = _by_topic(invoke("doctor", "--json").json()["findings"])["waiting threads"]
    assert (found["level"], "GOMP_SPINCOUNT=20000" in found["hint"]) == (level, True)
    assert found["text"].startswith(said)


def test_a_damaged_catalog_is_a_problem(invoke: Invoke, home: Path) -> None:
    Workspace().close()
    text = _by_topic(invoke("doctor", "--json").json()["findings"])["catalog"]["text"]
    assert text.startswith("sound, 0 runs")
    path = home / "catalog.sqlite"
    content = path.read_bytes()
    for extra in home.glob("catalog.sqlite-*"):
        extra.unlink()
    for damaged in (b"x" * 5_000, content[: len(content) // 2]):
        path.write_bytes(damaged)
        done = invoke("doctor", "--json")
        finding = _by_topic(done.json()["findings"])["catalog"]
        assert (done.code, finding["level"], "catalog.sqlite" in finding["text"]) == (1, "problem", True)
        assert finding["hint"]


def test_a_token_is_never_shown(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_averysecrettoken")
    done = invoke("doctor", "--json")
    assert _by_topic(done.json()["findings"])["access token"]["text"] == "found"
    assert "averysecret" not in done.out + done.err


def test_one_broken_part_does_not_hide_the_others(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor, "CHECKS", (broken, doctor.notebook))
    done = invoke("doctor", "--json")
    topics = _by_topic(done.json()["findings"])
    assert done.code == 1
    assert "libcudart" in topics["broken"]["text"]
    assert topics["jupyterlab"]["level"] == "ok"


@pytest.mark.parametrize(
    ("lab", "kernel", "level"), [("4.6.6", "7.4.0", "ok"), ("4.6.6", "6.31.0", "info"), ("4.2.7", "7.4.0", "info")]
)
def test_clicks_while_a_cell_runs(lab: str, kernel: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"jupyterlab": lab, "ipykernel": kernel}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, "1.0"))
    found = {finding.topic: finding for finding in doctor.notebook()}
    assert found["clicks while a cell runs"].level == level


def test_nothing_is_wrong_without_jupyterlab(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("jupyterlab", "ipykernel") else "1.0")
    done = invoke("doctor", "--json")
    finding = _by_topic(done.json()["findings"])["jupyterlab"]
    assert (done.code, finding["level"]) == (0, "info")
    assert finding["hint"] == 'pip install "saewidgets[lab]"'


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What would have been started: (arguments, environment)."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    monkeypatch.setattr(doctor, "_become", lambda arguments, environment: calls.append((arguments, environment)))
    return calls


def test_it_opens_a_copy_in_the_workspace(invoke: Invoke, started: list[Any], tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    done = invoke("--home", str(home), "lab", "--no-browser", "--port", "9999")
    ((arguments, environment),) = started
    assert done.code == 0, done
    assert f"--ServerApp.root_dir={home / 'notebooks'}" in arguments
    assert f"--LabApp.default_url=/lab/tree/{doctor.TUTORIAL}" in arguments
    assert {"--no-browser", "--port=9999"} <= set(arguments)
    assert environment["SAEWIDGETS_HOME"] == str(home)
    assert (home / "notebooks" / doctor.TUTORIAL).read_bytes() == (doctor.tutorials() / doctor.TUTORIAL).read_bytes()


def test_a_changed_copy_is_kept(invoke: Invoke, started: list[Any], home: Path) -> None:
    own = home / "notebooks" / doctor.TUTORIAL
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert invoke("lab").code == 0
    assert own.read_text() == "mine"


def test_a_notebook_of_ones_own(invoke: Invoke, started: list[Any], tmp_path: Path) -> None:
    (tmp_path / "my own.ipynb").write_text("{}")
    assert invoke("lab", str(tmp_path / "my own.ipynb")).code == 0
    assert {f"--ServerApp.root_dir={tmp_path}", "--LabApp.default_url=/lab/tree/my%20own.ipynb"} <= set(started[0][0])


def test_without_jupyterlab_the_error_names_the_package(
    invoke: Invoke, started: list[Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    done = invoke("lab")
    assert (done.code, started) == (1, [])
    assert 'not installed here. To install it: pip install "saewidgets[lab]"' in done.err
    assert not home.exists()


def _status(url: str, deadline: float) -> int:
    """The answer's status; the server prints its address just before it listens."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.long
def test_a_real_server_serves_the_notebook(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    process = start("lab", "--no-browser", "--port", "0")
    found, ended = threading.Event(), threading.Event()
    lines: list[str] = []

    def read() -> None:
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            if re.search(r"http://127\.0\.0\.1:\d+/lab/tree/\S+\?token=", line):
                found.set()
        ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        deadline = time.monotonic() + 60
        while not found.wait(0.1):
            assert not ended.is_set(), "".join(lines)
            assert time.monotonic() < deadline, "".join(lines)
        url = re.search(r"(http://127\.0\.0\.1:\d+)/lab/tree/(\S+)\?token=(\w+)", "".join(lines))
        assert url
        assert url[2] == doctor.TUTORIAL
        assert _status(f"{url[1]}/api/contents/{url[2]}?content=0&token={url[3]}", deadline) == 200
    finally:
        process.terminate()
        process.wait(30)
        assert ended.wait(30), "the server outlived the command"


def test_the_workspaces_own(invoke: Invoke, home: Path) -> None:
    assert invoke("catalog", "upgrade").out == f"Made the catalog at schema version {schema.HEAD}.\n"
    assert invoke("catalog", "upgrade").out.endswith("there is nothing to do.\n")
    assert (home / "catalog.sqlite").is_file()


def test_home_may_precede_or_follow_the_command(invoke: Invoke, home: Path, tmp_path: Path) -> None:
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


def test_a_shared_catalog(
    invoke: Invoke, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: Server
) -> None:
    url = postgresql.blank()
    refused = invoke("--catalog", url, "list")
    assert (refused.code, "saewidgets catalog upgrade --url postgresql+psycopg://" in refused.err) == (1, True)
    assert invoke("catalog", "upgrade", "--url", url, "--json").json() == {"before": None, "after": schema.HEAD}
    with Workspace(tmp_path / "one", catalog_url=url) as ws:
        ws.templates.save("ours", TrainingConfig(model="demo"))
    monkeypatch.setenv("SAEWIDGETS_CATALOG", url)
    with Workspace(tmp_path / "another") as ws:  # a folder of its own, the catalog of all
        assert [template.name for template in ws.templates.list()] == ["ours"]
        assert url not in repr(ws.settings)
    assert [each["name"] for each in invoke("templates", "list", "--json").json()] == ["ours"]
    assert _by_topic(invoke("doctor", "--json").json()["findings"])["catalog"]["text"].startswith("sound, 0 runs")
    assert invoke("catalog", "check").out == f"The catalog is sound, at schema version {schema.HEAD}.\n"
    assert set(invoke("catalog", "vacuum", "--json").json()) == {"bytes_before", "bytes_after"}
    assert Path(invoke("catalog", "backup", "--json").json()["backup"]).suffix == ".dump"
    assert not (home / "catalog.sqlite").exists()


def test_space_of_deleted_rows_and_a_row_without_its_other(invoke: Invoke, home: Path) -> None:
    with Workspace(home) as ws:
        for i in range(200):
            ws.templates.save(f"{i}", TrainingConfig(model="demo"), description="x" * 500)
        for template in ws.templates.list():
            ws.templates.delete(template.id)
    sizes = invoke("catalog", "vacuum", "--json").json()
    assert sizes["bytes_after"] < sizes["bytes_before"] - 100_000
    assert invoke("catalog", "check").code == 0
    with sqlite3.connect(home / "catalog.sqlite") as connection:
        columns = [row[1] for row in connection.execute("pragma table_info(training_metrics)")]
        values = {"training_id": "train_gone", "name": "loss"}
        connection.execute(
            f"insert into training_metrics ({', '.join(columns)}) values ({', '.join('?' * len(columns))})",
            [values.get(column, 1) for column in columns],
        )
    done = invoke("catalog", "check")
    assert (done.code, "training_metrics refers to one that does not exist" in done.err) == (1, True)


def test_what_cannot_be_upgraded_says_why(invoke: Invoke, home: Path) -> None:
    invoke("catalog", "upgrade")
    with sqlite3.connect(home / "catalog.sqlite") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    done = invoke("catalog", "upgrade")
    assert done.code == 1
    assert "9999" in done.err
