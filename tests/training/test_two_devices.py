"""A device of the model's own, windows that are kept elsewhere or computed ahead, and a compiled model."""

from functools import partial
from pathlib import Path

import pytest
import torch

from saewidgets.events import JobStatus, LogLine, Request
from saewidgets.lm import load_model
from saewidgets.lm.compiling import compile_blocks
from saewidgets.training import Task, run_group, run_training
from tests.training.fakes import Recorder, Scripted, sae_tensors, same


@pytest.fixture(scope="module")
def config(twelve_steps):
    short = {"activations.shuffle_tokens": 128, "evaluation.every_steps": 4, "checkpoints.every_steps": 4}
    return twelve_steps.replace(hook_name="blocks.0.hook_resid_post", tokens=640, **short)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def plain(config, folders):
    return run_training(config, folders / "plain", tokens_folder=folders / "tokens")


def _weights(result):
    return sae_tensors(Path(result.sae_path).parent)


def _lines(recorder, level):
    return [each.message for each in recorder.of(LogLine) if each.level == level]


@pytest.fixture
def without_compiler(monkeypatch):
    """torch.compile as far as it goes without one."""

    def chosen(backend):
        monkeypatch.setattr("saewidgets.lm.compiling.compile_blocks", partial(compile_blocks, backend=backend))

    return chosen


def test_a_run_that_computes_ahead_ends_in_the_same_bits(config, folders, plain, tmp_path):
    ahead = config.replace(**{"activations.read_ahead": "on", "activations.buffer_device": "cpu"})
    recorder = Recorder()
    paused = run_training(
        config, tmp_path / "run", control=Scripted(Request.PAUSE, at=30), tokens_folder=folders / "tokens"
    )
    assert paused.status is JobStatus.PAUSED
    found = run_training(ahead, tmp_path / "run", emit=recorder, tokens_folder=folders / "tokens", resume=True)
    same(_weights(found), _weights(plain))
    assert found.metrics["ce_loss_score"] == plain.metrics["ce_loss_score"]
    assert _lines(recorder, "warning") == []


def test_a_compiled_model_trains_and_evaluates_alike_and_is_given_back(
    config, folders, plain, tmp_path, tiny_model_folder, without_compiler
):
    without_compiler("aot_eager")
    lm, recorder = load_model(str(tiny_model_folder)), Recorder()
    wanted = config.replace(model_compile="default", **{"activations.read_ahead": "on"})
    tasks = [
        Task(wanted, tmp_path / "one", recorder),
        Task(wanted.replace(hook_name="blocks.1.hook_mlp_out"), tmp_path / "two"),
    ]
    results = run_group(tasks, tokens_folder=folders / "tokens", model=lm).results
    for name, value in _weights(results[0]).items():
        torch.testing.assert_close(value, _weights(plain)[name], rtol=1e-2, atol=1e-3)
    assert results[0].metrics["val_fvu"] == pytest.approx(plain.metrics["val_fvu"], rel=1e-3)
    assert results[0].metrics["ce_loss_score"] == pytest.approx(plain.metrics["ce_loss_score"], abs=1e-3)
    assert any("modules compiled in" in line for line in _lines(recorder, "info"))
    assert not any("forward" in module.__dict__ for module in lm.model.modules())


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("model", "sae", "kept"), [("cpu", "cuda:0", None), ("cuda:0", "cpu", None), ("cuda:0", "cuda:0", "cpu")]
)
def test_model_sae_and_windows_on_a_gpu_and_beside_it(model, sae, kept, config, folders, plain, tmp_path):
    placed = config.replace(**{"device": sae, "model_device": model, "activations.buffer_device": kept})
    found = run_training(placed, tmp_path, tokens_folder=folders / "tokens")
    assert found.metrics["val_fvu"] == pytest.approx(plain.metrics["val_fvu"], rel=0.05)
    assert found.metrics["ce_loss_score"] == pytest.approx(plain.metrics["ce_loss_score"], abs=0.05)
