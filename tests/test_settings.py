"""How OpenMP's threads wait: what a process is started with, and what is said of one that others started."""

from pathlib import Path

import pytest

from saewidgets.settings import Settings, spins, waiting


@pytest.mark.parametrize(
    ("said", "started_with", "do_spin"),
    [
        ({}, {"GOMP_SPINCOUNT": "20000"}, True),
        ({"GOMP_SPINCOUNT": "20000"}, {}, False),
        ({"GOMP_SPINCOUNT": "infinity"}, {}, True),
        ({"OMP_WAIT_POLICY": "passive"}, {}, False),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {}, True),
        ({"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "0"}, {}, False),
    ],
)
def test_threads_that_wait(
    said: dict[str, str], started_with: dict[str, str], do_spin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert waiting() == started_with, "what somebody has said stays"
    assert spins() == do_spin


def test_a_process_that_is_started_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert Settings(home=tmp_path).child_environment()["GOMP_SPINCOUNT"] == "20000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "GOMP_SPINCOUNT" not in Settings(home=tmp_path).child_environment()
