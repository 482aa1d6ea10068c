"""Stores of activations from a terminal."""

from pathlib import Path

import torch

from saewidgets.cli.session import FAILED, NOT_FOUND
from tests.cli.conftest import Invoke

RESID, MLP = "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"


def _asked(model: Path, text: str, *more: str) -> list[str]:
    return [
        "activations", "capture", str(model), "--corpus", text, "--hook-name", RESID, "--hook-name", MLP, "--tokens",
        "300", "--context-size", "16", "--dtype", "bfloat16", "--name", "mine", *more,
    ]  # fmt: skip


def test_capture_list_show_delete(invoke: Invoke, tiny_model_folder: Path, text: str) -> None:
    guessed = invoke(*_asked(tiny_model_folder, text, "--estimate"))
    assert guessed.out.startswith("40 kB in bfloat16, 131 bytes per token; ")
    done = invoke(*_asked(tiny_model_folder, text, "-q"))
    assert done.code == 0, done.err
    assert done.out == f"mine: 304 tokens of {RESID}, {MLP}, 40 kB\n"
    assert "Train from it with: saewidgets train --corpus acts_" in done.err

    header, row = invoke("activations", "list").out.splitlines()
    assert header.split()[:4] == ["id", "name", "status", "model"]
    store_id = row.split()[0]
    assert row.split()[1:3] == ["mine", "completed"]
    assert invoke("activations", "list", "--hook-name", RESID, "--json").json()[0]["id"] == store_id
    assert invoke("activations", "list", "--search", "other").out.startswith("No stores of activations.")

    shown = invoke("activations", "show", store_id, "--verify").out
    assert "files         all as they were written" in shown
    assert f"hook          {RESID}  width 32, mean norm " in shown
    assert invoke("activations", "show", "mine", "--json").json()["n_tokens"] == 304

    gone = invoke("activations", "delete", "mine", "--yes", "--json").json()
    assert (gone["id"], gone["deleted"], gone["freed_bytes"] > 39_000) == (store_id, True, True)
    assert invoke("activations", "show", store_id).code == NOT_FOUND


def test_import(invoke: Invoke, tmp_path: Path) -> None:
    torch.save({"hidden_states": torch.ones(100, 8), "layer_idx": 3}, tmp_path / "layer_3_states.pt")
    done = invoke("activations", "import", str(tmp_path / "layer_3_states.pt"), "--model", "gpt2", "-q", "--json")
    record = done.json()
    assert (record["source"], record["n_tokens"], record["hook_names"]) == (
        "imported", 100, ["blocks.3.hook_resid_post"],
    )
    (tmp_path / "layer_4_states.pt").write_bytes(b"PK\x03\x04 nothing")
    broken = invoke("activations", "import", str(tmp_path / "layer_4_states.pt"))
    assert broken.code == FAILED
    assert broken.err.startswith("Error: ")
    assert len(broken.err.splitlines()) == 1
