"""A run's life from the terminal: trained, listed, read, paused and stopped from another process, deleted."""

import csv
import io
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from saewidgets.workspace import Workspace, trainings
from tests.cli.conftest import PATIENCE, Demo, Invoke
from tests.conftest import TINY_TEXT

pytestmark = pytest.mark.timeout(3 * PATIENCE)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def small(tiny_model_folder: Path, tmp_path: Path) -> list[str]:
    """Flags of a run that takes seconds."""
    text = tmp_path / "text.txt"
    text.write_text(
        "\n\n".join(f"{n}: The king went down to the river and the people followed him." for n in range(400))
    )
    flags = {
        "model": tiny_model_folder, "corpus": text, "hook-name": "blocks.0.hook_resid_post", "name": "small",
        "d-sae": 64, "k": 4, "batch-size": 128, "context-size": 32, "tokens": 4096,
    }  # fmt: skip
    settings = ("activations.shuffle_tokens=1024", "activations.norm_tokens=512", "evaluation.tokens=512")
    pairs = [(f"--{name}", str(value)) for name, value in flags.items()] + [("--set", text) for text in settings]
    return [word for pair in pairs for word in pair]


def _wait_for(
    invoke: Invoke, wanted: Callable[[dict[str, Any]], bool], process: subprocess.Popen[str]
) -> dict[str, Any]:
    """Poll the list until its newest run is as wanted; the process that trains it must stay alive."""
    deadline = time.monotonic() + PATIENCE
    record: dict[str, Any] = {}
    while time.monotonic() < deadline:
        records = invoke("list", "--json").json()
        record = records[0] if records else {}
        if record and wanted(record):
            return record
        if process.poll() is not None:
            out, err = process.communicate()
            pytest.fail(f"it ended early with {process.returncode}: {out}{err}")
        time.sleep(0.2)
    pytest.fail(f"not reached: {record}")


def _has_begun(record: dict[str, Any]) -> bool:
    return bool(record["status"] == "running" and record["tokens_done"] > 0)


def test_a_run_from_start_to_deletion(invoke: Invoke, small: list[str], home: Path) -> None:
    done = invoke("train", *small, "--json")
    assert done.code == 0, done.err
    record = done.json()
    assert record["status"] == "completed"
    assert record["tokens_done"] == 4096
    assert Path(record["sae_path"], "sae_weights.safetensors").is_file()
    assert "Traceback" not in done.err
    assert f"Training small ({record['id']})" in done.err

    listed = invoke("list")
    assert listed.out.splitlines()[0].split()[:3] == ["id", "name", "status"]
    assert [line.split()[:3] for line in listed.out.splitlines()[1:]] == [[record["id"], "small", "completed"]]
    assert invoke("list", "--status", "running").out.startswith("No runs match.")

    shown = invoke("show", record["id"][:-3])
    assert "status        completed" in shown.out
    assert "4,096 of 4,096 tokens (100%)" in shown.out
    as_data = invoke("show", "small", "--json").json()
    assert as_data["config"]["sae"]["k"] == 4
    assert as_data["checkpoints"][-1]["step"] == 32

    in_long_form = list(csv.DictReader(io.StringIO(invoke("metrics", "small", "--csv", "--names", "l0").out)))
    assert {row["name"] for row in in_long_form} == {"l0"}
    assert all(float(row["value"]) == pytest.approx(4, abs=0.5) for row in in_long_form)
    last = invoke("metrics", "small", "--json", "--names", "loss", "--last", "1").json()
    assert [(row["name"], row["step"]) for row in last] == [("loss", int(in_long_form[-1]["step"]))]
    header = invoke("metrics", "small", "--names", "loss,l0").out.splitlines()[0]
    assert header.split() == ["step", "loss", "l0"]
    *_, middle, end = (row["time"] for row in in_long_form)
    between = invoke("metrics", "small", "--csv", "--names", "l0", "--since", middle, "--until", end).out
    assert [row["time"] for row in csv.DictReader(io.StringIO(between))] == [middle]  # microseconds of both are cut
    assert "No metrics in this range" in invoke("metrics", "small", "--until", "2025-03-31").out
    assert invoke("metrics", "small", "--since", "noon").code == 2
    unknown, both = invoke("metrics", "small", "--names", "nope"), invoke("metrics", "small", "--csv", "--json")
    assert (unknown.code, both.code, both.out) == (3, 2, "")
    assert "no metric 'nope'. This run has " in unknown.err
    assert "--csv or --json" in both.err

    assert "--yes" in invoke("delete", "small").err
    assert invoke("delete", "small", "--yes").out.startswith("Deleted small")
    assert invoke("list").out.startswith("No runs yet. Start one with: saewidgets")
    assert not Path(record["folder"]).exists()


@pytest.mark.long
def test_ctrl_c_pauses_and_other_processes_steer(start: Start, invoke: Invoke, small: list[str]) -> None:
    long = [*small, "--tokens", "500000000"]
    process = start("train", *long)
    record = _wait_for(invoke, _has_begun, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert f"Resume it with: saewidgets resume {record['id']}" in err
    assert "Traceback" not in err
    paused = invoke("show", record["id"], "--json").json()
    assert paused["status"] == "paused"
    assert paused["checkpoints"][-1]["tokens"] == paused["tokens_done"] >= record["tokens_done"]

    process = start("resume", record["id"])
    _wait_for(invoke, lambda now: _has_begun(now) and now["tokens_done"] > paused["tokens_done"], process)
    done = invoke("pause", "small", "--json")
    assert done.code == 0, done.err
    assert done.json()["status"] == "paused"
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130

    process = start("resume", record["id"])
    _wait_for(invoke, _has_begun, process)
    done = invoke("stop", "small")
    assert done.out == f"small is stopped ({record['id']})\n"
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert Path(invoke("show", "small", "--json").json()["sae_path"]).is_dir()


def test_a_retry_is_a_new_run(invoke: Invoke, small: list[str]) -> None:
    first = invoke("train", *small, "--tokens", "512", "--json", "--quiet").json()
    second = invoke("retry", first["id"], "--json", "--quiet")
    assert second.code == 0, second.err
    record = second.json()
    assert record["retry_of"] == first["id"]
    assert record["id"] != first["id"]
    assert record["config"] == first["config"]


def test_a_reader_that_has_seen_enough(start: Start, demo: Demo) -> None:
    """`saewidgets features list … | head -1` ends without complaint."""
    process = start("--home", demo.home, "features", "list", demo.sae, "--limit", "500", "--json")
    assert process.stdout
    assert process.stdout.readline() == "[\n"
    process.stdout.close()
    assert process.stderr
    errors = process.stderr.read()
    assert process.wait(PATIENCE) in (0, 1)
    assert "Traceback" not in errors


def test_the_demo(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, but on less text: all of the embedded corpus takes a minute to read."""
    text = {"kind": "text", "strings": list(TINY_TEXT) * 30}
    config = trainings.demo_config().replace(corpus=text, evaluation={"tokens": 1024, "every_steps": 4})
    monkeypatch.setattr(trainings, "demo_config", lambda: config)
    for name in ("evaluate", "read_features"):
        monkeypatch.setattr(Workspace, name, partialmethod(getattr(Workspace, name), tokens=2048))
    done = invoke("demo", "--tokens", "4096", "--json", "--quiet")
    assert done.code == 0, done.err
    result = done.json()
    assert result["run"]["status"] == "completed"
    assert 0 < result["evaluation"]["fvu"] < 1.5  # two steps only: it runs, it does not learn
    assert result["evaluation"]["l0"] == pytest.approx(32, abs=1)
    assert {"ce_loss_score", "dead"} <= set(result["evaluation"])
    assert all(feature["examples"] for feature in result["features"])
    assert "saewidgets lab" in done.err


def test_commands_to_type_are_those_that_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    from saewidgets.cli import session

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", [".venv/bin/saewidgets", "demo"])
    assert session.command_line("lab") == ".venv/bin/saewidgets lab"
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py"])
    assert session.command_line("lab") == "python -m saewidgets lab"
