"""One head of attention all the way: from a configuration of SAELens over the command line to the library and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.config import TextCorpus
from saewidgets.config.translate import from_saelens
from saewidgets.errors import ConfigError
from saewidgets.lm import capture, load_model
from saewidgets.workspace import Workspace
from tests.cli.conftest import Invoke, invoke  # noqa: F401 - a fixture
from tests.conftest import TINY_TEXT
from tests.workspace.conftest import PATIENCE, completed, same_weights, small_config

RUNNER = Path(__file__).parents[1] / "golden" / "saelens_runs" / "topk.json"  # written by SAELens itself
Z = "blocks.1.attn.hook_z"
TEXT = TextCorpus(strings=TINY_TEXT)


def test_a_runner_configuration_of_saelens_trains_one_head(
    invoke: Invoke, home: Path, tiny_model_folder: Path, tmp_path: Path  # noqa: F811
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(TINY_TEXT))
    runner = json.loads(RUNNER.read_text()) | {
        "model_name": str(tiny_model_folder), "dataset_path": str(text), "hook_name": Z, "hook_head_index": 1,
        "context_size": 16, "store_batch_size_prompts": 8, "n_batches_in_buffer": 2, "n_eval_batches": 1,
    }  # fmt: skip
    (tmp_path / "runner_cfg.json").write_text(json.dumps(runner))
    done = invoke("train", "--from-saelens", str(tmp_path / "runner_cfg.json"), "--json")
    assert done.code == 0, done.err
    assert "hook_head_index" not in done.err
    folder = Path(done.json()["sae_path"])
    written = json.loads((folder / "cfg.json").read_text())
    assert (written["d_in"], written["reshape_activations"]) == (16, "none")
    assert (written["metadata"]["hook_name"], written["metadata"]["hook_head_index"]) == (Z, 1)
    again = from_saelens(folder / "cfg.json", corpus="demo", batch_size=24)
    assert again.config.hook_name == f"{Z}.1"
    assert not any("head" in each.setting for each in again.remarks)

    with Workspace(home) as ws:
        run = ws.trainings.get(done.json()["id"])
        assert run.record.hook_name == f"{Z}.1"
        record = run.import_to_saes()
        assert (record.hook_name, record.layer, record.d_in) == (f"{Z}.1", 1, 16)
        copied = ws.saes.add_local(folder, name="elsewhere")
        assert (copied.hook_name, copied.layer) == (f"{Z}.1", 1)
        report = ws.evaluate(copied.id, TEXT, tokens=256, model=tiny_model_folder)
        assert report.hook_name == f"{Z}.1"
        assert report["ce_loss_sae"] != report["ce_loss_clean"]
        # What fires on a text is what the SAE makes of the slice that is its head.
        live = ws.features.run_on(record.id, TINY_TEXT[0][:40])
        lm = load_model(str(tiny_model_folder))
        ids = torch.cat([torch.tensor([lm.tokenizer.bos_token_id]), torch.from_numpy(live.ids)])[None]
        latents = ws.saes.load(copied.id).encode(capture(lm.model, [Z], ids)[Z][0, 1:, 16:])
        assert np.allclose(live.activations, latents[:, live.indices].T, atol=1e-5)
        assert live.activations.max() > 0
        steered = ws.steer(None, [(record.id, int(live.indices[0]), 50.0, "add")], "The king", new_tokens=2)
        assert steered.steered is not None
        assert (steered.steered.change_ratio or 0) > 0


def test_every_head_and_all_of_them_from_one_store(ws: Workspace, tiny_model_folder: Path) -> None:
    places = (f"{Z}.0", Z, f"{Z}.1")
    capturing = completed(ws.activations.capture(str(tiny_model_folder), TEXT, places, 1024, context_size=16))
    opened = capturing.open()
    assert {name: opened.width(name) for name in places} == {places[0]: 16, Z: 32, places[2]: 16}
    both = np.concatenate([opened.rows(f"{Z}.{head}") for head in (0, 1)], axis=1)
    assert np.array_equal(both, opened.rows(Z))
    group = ws.trainings.create_many(
        small_config(tiny_model_folder, corpus=capturing.corpus, hook_name=places[0]), over={"hook_name": list(places)}
    )
    group.wait(timeout=PATIENCE)
    assert [run.record.name.rsplit("-", 1)[-1] for run in group.runs] == ["z0", "z", "z1"]
    assert [run.sae().d_in for run in group.runs] == [16, 32, 16]

    # All of them captured together serve each alone: the same bits as of a store that holds it by name.
    together = completed(ws.activations.capture(str(tiny_model_folder), TEXT, Z, 1024, context_size=16))
    assert together.open().facts.hooks[Z].heads == 2
    assert [row.id for row in ws.activations.list(hook_name=f"{Z}.1")] == [together.id, capturing.id]
    config = small_config(tiny_model_folder, corpus=together.corpus, hook_name=f"{Z}.1")
    assert ws.trainings.validate(config)["fields"] == {}
    alone = ws.trainings.create(config)
    assert alone.wait(PATIENCE).value == "completed", alone.error
    assert same_weights(alone, group.runs[2])
    assert ws.evaluate(alone, together.corpus).hook_name == f"{Z}.1"
    with pytest.raises(ConfigError, match=r"Head 2 does not exist: the store .* has heads 0 to 1 of") as caught:
        ws.trainings.create(config.replace(hook_name=f"{Z}.2"))
    assert caught.value.where == "hook_name"
