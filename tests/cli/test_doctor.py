"""What the doctor finds, says and keeps to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saewidgets import Workspace
from saewidgets.cli import doctor
from tests.cli.conftest import Invoke


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
