"""Steering from a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.workspace.steering.saes import HOOK, demo_sae

PROMPT = "In the morning the old man walked down to the"
QUICK = ("--prompt", PROMPT, "--new-tokens", "4", "--seed", "3")


@pytest.fixture
def sae(invoke: Invoke, tmp_path: Path) -> str:
    where = ("--name", "toy", "--model", "demo", "--hook-name", HOOK)
    done = invoke("saes", "add", str(demo_sae(tmp_path / "sae")), *where, "--json")
    assert done.code == 0, done.err
    return str(done.json()["id"])


def test_both_texts_and_a_sweep(invoke: Invoke, sae: str) -> None:
    done = invoke("steer", "toy", "--feature", "7=60:add", *QUICK, "--sweep", "--strengths", "-1 0")
    assert done.code == 0, done.err
    assert done.out.startswith("Feature 7: add 60\n")
    for words in ("\nBaseline (perplexity ", "\nSteered (perplexity ", "sweep of feature 7", "\n-1 (", "\n0 ("):
        assert words in done.out
    assert done.out.count(PROMPT) == 4


def test_as_data(invoke: Invoke, sae: str) -> None:
    data = invoke("steer", sae[:9], "-f", "7=2", "-f", "9=:ablate", "-p", PROMPT, "--new-tokens", "3", "--json").json()
    one, two = data["config"]["features"]
    assert (one["sae"], one["mode"], one["strength"]) == (sae, "add_max", 2.0)
    assert one["a_max"] > 0
    assert (two["mode"], two["strength"]) == ("ablate", 0.0)
    assert len(data["baseline"]["tokens"]) == 3
    same = invoke("steer", sae, "-f", "7=0:add", *QUICK, "--positions", "1 2", "--temperature", "0", "--json").json()
    assert same["config"]["positions"] == [1, 2]
    assert same["first_difference"] is None
