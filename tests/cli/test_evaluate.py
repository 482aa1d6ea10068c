"""Evaluation from a terminal, on the embedded model and its SAE."""

from __future__ import annotations

import pytest

from saewidgets.cli.session import USAGE
from saewidgets.workspace import Workspace
from tests.cli.conftest import PATIENCE, Demo, Invoke


def test_a_table_and_json(invoke: Invoke, demo: Demo) -> None:
    home, sae = demo.home, demo.sae
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


def test_on_stored_activations(invoke: Invoke, own_demo: Demo) -> None:
    home, sae = own_demo.home, own_demo.sae
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
