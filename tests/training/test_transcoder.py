"""Transcoders: pairs from one forward, two scales, evaluated where they write, exported for raw activations."""

import json

import pytest
import torch
from safetensors.torch import load_file

from saewidgets.config.group import expand
from saewidgets.errors import ConfigError
from saewidgets.events import Facts, JobStatus, Metrics, Request
from saewidgets.formats import load_sae
from saewidgets.lm import capture, load_model
from saewidgets.training import Task, run_group, run_training
from saewidgets.training.checkpoint import list_checkpoints, newest_whole
from tests.training.fakes import Recorder, Scripted, sae_tensors, same

HOOKS = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}


@pytest.fixture(scope="session")
def config(twelve_steps):
    """From the input of an MLP to its output."""
    sae = {"architecture": "skip_transcoder", "d_sae": 64, "l1_coefficient": 0.1}
    return twelve_steps.replace(**HOOKS, sae=sae, gradient_accumulation=2)


@pytest.fixture(scope="session")
def run(config, tokens_folder, tmp_path_factory):
    """A whole run: its folder, result and events."""
    folder, recorder = tmp_path_factory.mktemp("run"), Recorder()
    return folder, run_training(config, folder, emit=recorder, tokens_folder=tokens_folder), recorder


def _scales(folder):
    state = newest_whole(folder / "checkpoints")[0].state
    return state["scale"], state["scale_out"]


def test_it_trains_on_both_scales_and_reports(config, run):
    folder, result, recorder = run
    assert result.status is JobStatus.COMPLETED
    lm = load_model(config.model)
    facts = {}
    for event in recorder.of(Facts):
        facts.update(event.values)
    assert (facts["d_in"], facts["d_out"]) == (lm.d_model, lm.d_model)
    assert (facts["scale"], facts["scale_out"]) == _scales(folder)
    assert facts["scale"] != pytest.approx(facts["scale_out"], rel=0.1)  # a norm's output is large, a sublayer's small
    assert "targets by" in (folder / "log.txt").read_text()
    first, *_, last = [m.values["mse"] for m in recorder.of(Metrics) if "mse" in m.values]
    assert last < first
    assert {"val_fvu", "val_l0", "val_mse", "ce_loss_score"} <= set(result.metrics)
    metadata = json.loads((folder / "sae" / "cfg.json").read_text())["metadata"]
    assert metadata["hook_name_out"] == config.hook_name_out


def test_the_exported_one_leads_from_raw_to_raw(config, run):
    """W_enc·s_in, W_dec/s_out, written out: ŷ = (relu(s_in·x W + b) W_dec + b_dec) / s_out."""
    folder, result, _ = run
    sae = load_sae(result.sae_path)
    trained = load_file(next((folder / "checkpoints").glob("*12")) / "weights.safetensors")
    scale, scale_out = _scales(folder)
    lm = load_model(config.model)
    ids = torch.arange(2, 34)[None]
    found = capture(lm.model, [config.hook_name, config.hook_name_out], ids)
    x, y = found[config.hook_name][0], found[config.hook_name_out][0]
    latents = (scale * x @ trained["W_enc"] + trained["b_enc"]).relu()
    expected = latents @ trained["W_dec"] + trained["b_dec"]
    expected = expected + scale * x @ trained["W_skip"].T
    torch.testing.assert_close(sae(x), expected / scale_out, rtol=1e-4, atol=1e-5)
    # val_fvu is of what it writes, against the activations there
    assert sae(x).shape == y.shape
    assert result.metrics["val_fvu"] > 0


def test_pause_and_resume_is_exact(config, run, tokens_folder, tmp_path):
    control = Scripted()
    run_training(config, tmp_path / "counted", tokens_folder=tokens_folder, control=control)
    folder = tmp_path / "paused"
    result = run_training(
        config, folder, tokens_folder=tokens_folder, control=Scripted(Request.PAUSE, control.calls // 2)
    )
    assert (result.status, result.step) == (JobStatus.PAUSED, list_checkpoints(folder / "checkpoints")[0].step)
    run_training(config, folder, tokens_folder=tokens_folder, resume=True)
    same(sae_tensors(folder), sae_tensors(run[0]))


def test_in_a_group_with_others(config, run, tokens_folder, tmp_path):
    configs = [config, *expand(config, {"sae, hook_name_out": [[{"architecture": "topk", "d_sae": 64, "k": 4}, None]]})]
    result = run_group([Task(each, tmp_path / str(n)) for n, each in enumerate(configs)], tokens_folder=tokens_folder)
    assert [r.status for r in result.results] == [JobStatus.COMPLETED] * 2
    same(sae_tensors(tmp_path / "0"), sae_tensors(run[0]))


def test_the_two_hook_names_belong_together(config):
    with pytest.raises(ConfigError, match="which is missing") as caught:
        config.replace(hook_name_out=None)
    assert caught.value.where == "hook_name_out"
    with pytest.raises(ConfigError, match="only transcoders"):
        config.replace(sae={"architecture": "topk"})
    with pytest.raises(ConfigError, match="not a hook name"):
        config.replace(hook_name_out="mlp")
