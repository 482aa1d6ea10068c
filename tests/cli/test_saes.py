"""The library from a terminal, and evaluations."""

from pathlib import Path

import pytest

from saewidgets.workspace import Workspace
from tests.cli.conftest import PATIENCE, Demo, Invoke
from tests.workspace.library.saes import contents, gemma_scope, saelens


@pytest.fixture
def sae(invoke: Invoke, tmp_path: Path) -> str:
    done = invoke("saes", "add", str(saelens(tmp_path / "one")), "--json")
    assert done.code == 0, done.err
    return str(done.json()["id"])


def test_add_list_show(invoke: Invoke, sae: str, tmp_path: Path) -> None:
    done = invoke("saes", "add", str(gemma_scope(tmp_path / "repo")), "--name", "scope", "--model", "google/gemma-2-2b",
                  "--hook-name", "blocks.6.hook_mlp_out")  # fmt: skip
    assert done.out.startswith("Added scope (sae_")
    assert "jumprelu, 8 → 16,384" in done.out
    header, *rows = invoke("saes", "list").out.splitlines()
    assert header.split()[:4] == ["id", "name", "source", "model"]
    assert [row.split()[1] for row in rows] == ["scope", "one"]
    assert [r["name"] for r in invoke("saes", "list", "--json", "--sort", "oldest").json()] == ["one", "scope"]
    assert [r["name"] for r in invoke("saes", "list", "--json", "--architecture", "topk").json()] == ["one"]
    found = invoke("saes", "list", "--json", "--search", "gemma", "--layer", "6").json()
    assert [record["name"] for record in found] == ["scope"]
    assert invoke("saes", "list", "--tag", "none").out == "No SAEs match.\n"
    shown = invoke("saes", "show", "scope", "--statistics").out
    assert "came as       gemma_scope" in shown
    assert "decoder_norms" in shown
    assert '.saes.load("scope")' in shown
    data = invoke("saes", "show", sae[:9], "--json", "--statistics").json()
    assert (data["d_sae"], data["state"]) == (32, "ok")
    assert sum(data["statistics"]["decoder_norms"]["counts"]) == 32
    assert "load_from_disk" in data["load"]["sae_lens"]


def test_convert(invoke: Invoke, sae: str, tmp_path: Path) -> None:
    done = invoke("saes", "convert", "one", str(tmp_path / "out"))
    assert done.out == f"Wrote one to {tmp_path / 'out'} (saelens)\n"
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    data = invoke("saes", "convert", sae, str(tmp_path / "y"), "--json").json()
    assert data == {"id": sae, "format": "saelens", "path": str(tmp_path / "y")}


def test_delete(invoke: Invoke, sae: str) -> None:
    done = invoke("saes", "delete", "one", "--yes", "--json")
    assert done.json()["id"] == sae
    assert done.json()["freed_bytes"] > 0
    assert invoke("saes", "delete", sae, "--yes").code == 3


def test_hostile_names_are_shown_not_obeyed(invoke: Invoke, sae: str) -> None:
    with Workspace() as ws:
        ws.catalog.saes.update(sae, name="red\x1b[31m", notes="x\x1b[2J")
    assert "\x1b" not in invoke("saes", "list").out + invoke("saes", "show", sae).out


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
