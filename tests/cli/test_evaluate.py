"""Evaluation from a terminal, on the embedded model and its SAE."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.cli.session import NOT_FOUND, USAGE
from saewidgets.workspace import Workspace
from tests.cli.conftest import PATIENCE, Invoke
from tests.conftest import link_tokens


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, demo_tokens: Path) -> tuple[str, str]:
    """A workspace with the SAE of the demo: its folder and the SAE's id."""
    folder = tmp_path_factory.mktemp("demo")
    link_tokens(demo_tokens, folder)
    with Workspace(folder) as ws:
        ws.extractions.demo()
        return str(folder), str(ws.saes.list()[0].id)


def test_a_table_and_json(invoke: Invoke, demo: tuple[str, str]) -> None:
    home, sae = demo
    done = invoke("--home", home, "evaluate", sae, "--tokens", "256", "--quiet")
    assert done.code == 0, done.err
    rows = {line.split("  ")[0]: line.split() for line in done.out.splitlines()}
    assert rows["L0"][1:] == ["16.0", "latents", "per", "token"]
    assert float(rows["FVU"][1]) < 0.3
    assert rows["CE delta"][-3:] == ["nats", "per", "token"]
    assert "CE recovered, mean ablation" not in rows
    assert "few: latents that fire rarely count as dead" in done.err
    data = invoke(
        "--home", home, "evaluate", sae, "--corpus", "demo", "--tokens", "256", "--no-cross-entropy", "--json",
        "--include-special-tokens",
    ).json()  # fmt: skip
    assert (data["sae_id"], data["corpus"], data["held_out"], data["special_tokens"]) == (sae, "demo", False, True)
    assert data["metrics"]["l0"] == pytest.approx(16, abs=1)
    assert "ce_loss_score" not in data["metrics"]
    assert sum(data["density"]["counts"]) + data["density"]["zeros"] == data["d_sae"]


def test_on_stored_activations(invoke: Invoke, demo: tuple[str, str]) -> None:
    home, sae = demo
    with Workspace(home) as ws:
        store = ws.activations.capture("demo", "demo", ws.saes.get(sae).hook_name or "", 2_000, name="rows")
        store.wait(PATIENCE)
        store_id = store.id
    done = invoke("--home", home, "evaluate", sae, "--corpus", store_id, "--quiet")
    assert done.code == 0, done.err
    rows = {line.split("  ")[0]: line.split() for line in done.out.splitlines()}
    assert rows["L0"][1] == "16.0"
    assert done.out.splitlines()[3].startswith("Rows    rows: ")
    assert "CE recovered" not in done.out
    assert "CE recovered and KL recovered are left out: stored activations are measured without text" in done.err
    data = invoke("--home", home, "evaluate", sae, "--corpus", store_id, "--tokens", "256", "--json").json()
    assert (data["store_id"], data["corpus"], data["held_out"]) == (store_id, "rows", False)
    asked = invoke("--home", home, "evaluate", sae, "--corpus", store_id, "--cross-entropy")
    assert (asked.code, "cross_entropy: " in asked.err) == (USAGE, True), asked.err
    store_first = invoke("--home", home, "evaluate", store_id)
    assert (store_first.code, "rows is a store of activations, not an SAE." in store_first.err) == (USAGE, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("none", NOT_FOUND, "There is no SAE 'none'."),
        ("SAE --corpus /nothing/here", NOT_FOUND, "/nothing/here"),
        ("SAE --hook-name blocks.99.hook_resid_post", NOT_FOUND, "no layer 99"),
        ("SAE --hook-name-out blocks.1.hook_mlp_out --tokens 64", USAGE, "reconstructs what it reads"),
        ("SAE --tokens 0", USAGE, "--tokens"),
        ("SAE --device cuda:77", USAGE, "device"),
    ],
)
def test_said_clearly(
    invoke: Invoke, demo: tuple[str, str], tmp_path: Path, arguments: str, code: int, said: str
) -> None:
    done = invoke("--home", demo[0], "evaluate", *arguments.replace("SAE", demo[1]).split())
    assert (done.code, said in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
