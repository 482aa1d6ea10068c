"""A whole run on a tiny random model: real text, real activations, real files."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from saewidgets.activations import Windows
from saewidgets.errors import ConfigError, NotFoundError, StateError, TrainingError
from saewidgets.events import CheckpointSaved, Facts, Interruption, JobStatus, LogLine, Metrics, Progress, Request
from saewidgets.formats import load_sae
from saewidgets.sae import SAE
from saewidgets.training import run_training
from saewidgets.training.checkpoint import list_checkpoints, update_state
from saewidgets.training.environment import recorded
from tests.training.fakes import SAES, Recorder, Scripted, sae_tensors, same

STEPS, BATCH = 12, 64


@pytest.fixture(scope="session")
def config(twelve_steps):
    return twelve_steps


@dataclass
class Straight:
    """A run that nothing interrupted: what it left, and how often it asked its control."""

    tensors: dict
    calls: int


@pytest.fixture(scope="session")
def straight(config, tokens_folder, tmp_path_factory):
    """The uninterrupted run of an architecture (made once)."""
    made = {}

    def _straight(architecture="topk"):
        if architecture not in made:
            folder, control = tmp_path_factory.mktemp(architecture), Scripted()
            run_training(config.replace(sae=SAES[architecture]), folder, control=control, tokens_folder=tokens_folder)
            made[architecture] = Straight(sae_tensors(folder), control.calls)
        return made[architecture]

    return _straight


def test_a_run_from_start_to_exported_sae(config, tmp_path, tokens_folder, recorder):
    result = run_training(config, tmp_path / "run", emit=recorder, tokens_folder=tokens_folder)
    assert (result.status, result.step, result.tokens) == (JobStatus.COMPLETED, STEPS, STEPS * BATCH)

    sae = load_sae(result.sae_path)
    assert (sae.d_in, sae.d_sae, sae.cfg.architecture) == (32, 64, "topk")
    metadata = json.loads((tmp_path / "run" / "sae" / "cfg.json").read_text())["metadata"]
    assert metadata["hook_name"] == config.hook_name
    assert metadata["model_name"] == Path(config.model).name  # where it lies here is nobody's business
    assert metadata["context_size"] == 32
    assert metadata["training_tokens"] == STEPS * BATCH
    assert metadata["dataset_path"] == "128 strings"
    for ours, name in {"l0": "val_l0", "fvu": "val_fvu", "ce_loss_score": "ce_loss_score"}.items():
        assert metadata[ours] == pytest.approx(result.metrics[name])

    facts = {}
    for event in recorder.of(Facts):
        facts.update(event.values)
    assert facts["d_in"] == 32
    assert facts["parameters"] == 2 * 32 * 64 + 64 + 32
    assert facts["steps"] == STEPS
    assert facts["device"] == "cpu"
    assert facts["model_facts"]["n_layers"] == 2
    assert facts["packed_tokens"] == facts["n_contexts"] * 32
    phases = list(dict.fromkeys(p.phase.split(",")[0] for p in recorder.of(Progress)))
    assert phases[:4] == ["loading model", "packing text", "measuring scale", "training"]
    assert {"evaluating", "saving"} <= set(phases)
    evaluated = [m.step for m in recorder.of(Metrics) if "val_fvu" in m.values]
    assert evaluated == [6, STEPS]
    names = {name for m in recorder.of(Metrics) for name in m.values}
    assert names >= {
        "loss", "mse", "aux", "l0", "fvu", "lr", "grad_norm", "tokens_per_second",
        "val_fvu", "val_l0", "val_mse", "val_dead", "ce_loss_score", "dead",
    }
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "completed"
    assert record["config"] == recorded(config)  # text held in memory stands there as its hash
    assert "Completed at step 12" in (tmp_path / "run" / "log.txt").read_text()


def test_a_resumed_run_keeps_its_evaluations(config, tmp_path, tokens_folder):
    """Those that were decided on at its start; of an earlier version, which left them open, those of then."""
    config = config.replace(**{"evaluation.every_steps": None, "evaluation.tokens": None})
    for before, expected in ((None, []), ({"every_steps": 5, "tokens": 300}, [5, 10]), ({"tokens": 256}, [4, 8])):
        folder, recorder = tmp_path / str(expected), Recorder()
        run_training(config, folder, control=Scripted(Request.PAUSE, 11), tokens_folder=tokens_folder)
        (paused,) = list_checkpoints(folder / "checkpoints")
        assert 0 < paused.step < 8
        assert paused.state["config"]["evaluation"] == {"every_steps": STEPS, "tokens": 8192, "ce_tokens": 256}
        if before is not None:
            settings = paused.state["config"] | {"evaluation": {"every_steps": None, "ce_tokens": None, **before}}
            update_state(paused, config=settings)
        run_training(config, folder, emit=recorder, tokens_folder=tokens_folder, resume=True)
        evaluated = [m.step for m in recorder.of(Metrics) if "val_fvu" in m.values]
        assert evaluated == [step for step in (*expected, STEPS) if step >= paused.step]


@pytest.mark.parametrize("read_ahead", ["off", "on"])
def test_filling_a_window_is_a_phase_of_the_run(config, tmp_path, tokens_folder, recorder, read_ahead):
    changes = {"activations.normalize": "none", "activations.shuffle_tokens": 4 * BATCH}
    config = config.replace(**changes, **{"activations.read_ahead": read_ahead, "activations.model_batch_size": 1})
    run_training(config, tmp_path, tokens_folder=tokens_folder, emit=recorder)
    events = recorder.of(Progress)
    shown = [event for event in events if event.phase.startswith("computing activations, ")]
    assert shown
    assert {event.step for event in shown} <= {0, 4, 8}
    assert shown[0].done < 4 * BATCH
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == STEPS * BATCH


def test_a_short_run_measures_its_reconstruction_on_all_held_out_tokens(config, tmp_path, tokens_folder):
    """Cross-entropy alone takes fewer: its logits are most of the time. Dead latents are counted in training."""
    changes = {"evaluation.every_steps": None, "evaluation.tokens": None, "activations.validation_share": 0.4}
    config = config.replace(dead_window_tokens=10**6, **changes)
    result = run_training(config, tmp_path, tokens_folder=tokens_folder)
    held_out = json.loads((tmp_path / "run.json").read_text())["facts"]["validation_contexts"] * 32
    found = result.metrics
    assert min(8192, held_out) * 0.9 < found["val_tokens"] <= held_out
    assert found["ce_tokens"] <= 256 < found["val_tokens"]
    assert f"({found['val_tokens']:,.0f} tokens): FVU" in (tmp_path / "log.txt").read_text()
    final = list_checkpoints(tmp_path / "checkpoints")[0]
    unfired = final.optimizer()["dead.tokens_since_fired"] >= STEPS * BATCH
    assert found["val_dead"] == pytest.approx(float(unfired.float().mean()))


def test_the_exported_sae_reads_raw_activations(config, tmp_path, tokens_folder):
    """Folding: the exported SAE on x equals the trained one on s·x, divided by s."""
    from saewidgets.lm import capture, load_model
    from saewidgets.sae import build_sae

    config = config.replace(sae=SAES["standard"])
    result = run_training(config, tmp_path / "run", tokens_folder=tokens_folder)
    final = list_checkpoints(tmp_path / "run" / "checkpoints")[0]
    scale = final.state["scale"]
    assert scale != 1.0
    trained = build_sae(config.sae, 32)
    trained.load_state_dict(final.weights())
    lm = load_model(config.model)
    x = capture(lm.model, [config.hook_name], torch.arange(32).view(1, 32))[config.hook_name].view(-1, 32)
    with torch.no_grad():
        expected = trained(x * scale) / scale
        torch.testing.assert_close(load_sae(result.sae_path)(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["standard", "batchtopk"])
def test_pause_and_resume_equals_a_straight_run(config, tmp_path, tokens_folder, straight, architecture):
    config = config.replace(sae=SAES[architecture])
    control = Scripted(Request.PAUSE, at=straight(architecture).calls // 2)
    paused = run_training(config, tmp_path / "run", control=control, tokens_folder=tokens_folder)
    assert paused.status is JobStatus.PAUSED
    assert paused.sae_path is None
    assert 0 < paused.step < STEPS
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[0].step == paused.step

    recorder = Recorder()
    result = run_training(config, tmp_path / "run", emit=recorder, tokens_folder=tokens_folder, resume=True)
    assert result.status is JobStatus.COMPLETED
    same(sae_tensors(tmp_path / "run"), straight(architecture).tensors)
    notes = [f.values["resume_note"] for f in recorder.of(Facts) if "resume_note" in f.values]
    assert notes == [None]
    assert not [line for line in recorder.of(LogLine) if line.level != "info"]


def test_resume_reports_a_changed_environment(config, tmp_path, tokens_folder, recorder):
    run_training(config, tmp_path, control=Scripted(Request.PAUSE, at=40), tokens_folder=tokens_folder)
    slower = config.replace(**{"optimizer.lr": 1e-4, "activations.model_batch_size": 8})
    run_training(slower, tmp_path, emit=recorder, tokens_folder=tokens_folder, resume=True)
    (note,) = [fact.values["resume_note"] for fact in recorder.of(Facts) if "resume_note" in fact.values]
    assert "not be bit-identical" in note
    assert "optimizer.lr was 0.003 and is 0.0001" in note
    assert "model_batch_size was 4 and is 8" in note
    assert note in [line.message for line in recorder.of(LogLine) if line.level == "warning"]


def test_a_crash_resumes_to_the_same_bits(config, tmp_path, tokens_folder, straight):
    class Killed(BaseException):
        pass

    class Killer(Scripted):
        def check(self):
            self.calls += 1
            if self.calls >= self._at:
                raise Killed

    at = int(straight().calls * 0.6)
    with pytest.raises(Killed):
        run_training(config, tmp_path / "run", control=Killer(at=at), tokens_folder=tokens_folder)
    (tmp_path / "run" / "checkpoints").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoints" / ".tmp-leftover").mkdir()
    run_training(config, tmp_path / "run", tokens_folder=tokens_folder, resume=True)
    same(sae_tensors(tmp_path / "run"), straight().tensors)
    assert not list((tmp_path / "run" / "checkpoints").glob(".tmp-*"))


def test_stop_keeps_the_weights_and_can_be_resumed(config, tmp_path, tokens_folder, straight, recorder):
    control = Scripted(Request.STOP, at=straight().calls // 2)
    stopped = run_training(config, tmp_path / "run", emit=recorder, control=control, tokens_folder=tokens_folder)
    assert stopped.status is JobStatus.STOPPED
    assert 0 < stopped.step < STEPS
    metadata = load_sae(stopped.sae_path).metadata
    assert metadata["training_tokens"] == stopped.tokens == stopped.step * BATCH
    assert "val_fvu" in stopped.metrics
    # what is measured at the stop counts too: the last checkpoint is the best one if it is
    saved = recorder.of(CheckpointSaved)
    best = min(saved, key=lambda event: event.metrics.get("val_fvu", float("inf")))
    assert ("best" in saved[-1].kinds) == (best.step == stopped.step)
    run_training(config, tmp_path / "run", tokens_folder=tokens_folder, resume=True)
    same(sae_tensors(tmp_path / "run"), straight().tensors)


def test_cancel_writes_nothing_new(config, tmp_path, tokens_folder, straight):
    control = Scripted(Request.CANCEL, at=straight().calls // 2)
    recorder = Recorder()
    result = run_training(config, tmp_path / "run", emit=recorder, control=control, tokens_folder=tokens_folder)
    assert result.status is JobStatus.CANCELLED
    assert result.sae_path is None
    assert not (tmp_path / "run" / "sae").exists()
    assert all("every" in event.kinds or "best" in event.kinds for event in recorder.of(CheckpointSaved))


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(config, tmp_path, tokens_folder, straight, recorder):
    config = config.replace(**{"checkpoints.keep_every": True, "checkpoints.every_steps": 3})
    control = Scripted(Request.PAUSE, at=int(straight().calls * 0.9))
    run_training(config, tmp_path / "run", control=control, tokens_folder=tokens_folder)
    checkpoints = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert len(checkpoints) > 1
    weights = checkpoints[0].path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 255
    weights.write_bytes(bytes(data))
    run_training(config, tmp_path / "run", emit=recorder, tokens_folder=tokens_folder, resume=True)
    warnings = [line.message for line in recorder.of(LogLine) if line.level == "warning"]
    assert len(warnings) == 1
    assert str(weights) in warnings[0]
    assert str(checkpoints[1].path) in warnings[0]
    same(sae_tensors(tmp_path / "run"), straight().tensors)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"model": "/nowhere/at-all"}, NotFoundError, "no such folder"),
        ({"context_size": 128}, ConfigError, "at most 64"),
        ({"batch_size": 100_000, "tokens": 100_000}, ConfigError, "fewer than one batch"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_no_checkpoint(config, tmp_path, changes, error, says):
    with pytest.raises(error, match=says) as caught:
        run_training(config.replace(**changes), tmp_path / "run")
    assert caught.value.where
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "sae").exists()
    assert says in (tmp_path / "run" / "log.txt").read_text()


def test_a_folder_in_use_is_not_overwritten_and_resuming_a_completed_run_exports_again(config, tmp_path, tokens_folder):
    run_training(config, tmp_path / "run", tokens_folder=tokens_folder)
    before = sae_tensors(tmp_path / "run")
    with pytest.raises(StateError, match="step 12"):
        run_training(config, tmp_path / "run", tokens_folder=tokens_folder)
    same(sae_tensors(tmp_path / "run"), before)
    shutil.rmtree(tmp_path / "run" / "sae")
    result = run_training(config, tmp_path / "run", tokens_folder=tokens_folder, resume=True)
    assert (result.status, result.step) == (JobStatus.COMPLETED, STEPS)
    same(sae_tensors(tmp_path / "run"), before)


def test_out_of_memory_names_the_settings(config, tmp_path, tokens_folder, monkeypatch):
    real, calls = SAE.loss, iter(range(100))

    def _full(self, *args, **kwargs):
        if next(calls) == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 0.40 GiB.")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(SAE, "loss", _full)
    with pytest.raises(TrainingError) as caught:
        run_training(config, tmp_path / "run", tokens_folder=tokens_folder)
    assert caught.value.what == f"Out of memory on cpu at {7 * BATCH:,} tokens."
    for part in ("Batch size (now 64", "Contexts per forward (now 4)", "Tried to allocate 0.40 GiB"):
        assert part in caught.value.hint
    assert caught.value.kind == "out_of_memory"
    monkeypatch.undo()
    resumed = run_training(config, tmp_path / "run", tokens_folder=tokens_folder, resume=True)
    assert resumed.status is JobStatus.COMPLETED


def test_rejects_an_sae_larger_than_the_memory_before_allocating_it(config, tmp_path, tokens_folder, monkeypatch):
    monkeypatch.setattr("saewidgets.training.member.machine_memory", lambda: 50_000)
    with pytest.raises(ConfigError, match=r"latents of width 32 take .* GB with .*; cpu has") as caught:
        run_training(config, tmp_path / "run", tokens_folder=tokens_folder)
    assert caught.value.where == "sae.d_sae"
    assert [path.name for path in (tmp_path / "run").rglob("*.safetensors")] == ["measured.safetensors"]


def test_token_ids_of_another_tokenizer_are_named(config, tmp_path, tokens_folder, recorder):
    config = config.replace(**{"activations.exclude_token_ids": [3, 50_256, 99_999]})
    run_training(config, tmp_path / "run", emit=recorder, tokens_folder=tokens_folder)
    warnings = [line.message for line in recorder.of(LogLine) if line.level == "warning"]
    assert any("has no token 50256, 99999; its ids end at" in line for line in warnings)


def test_what_was_measured_before_a_pause_is_not_measured_again(config, tmp_path, tokens_folder, monkeypatch):
    config = config.replace(**{"activations.norm_tokens": 512})
    run_training(config, tmp_path / "straight", tokens_folder=tokens_folder)
    read, forward = [], Windows.forward
    monkeypatch.setattr(Windows, "forward", lambda self, batch: read.append(batch) or forward(self, batch))

    class After(Scripted):
        """Asks for a pause once so many batches of text were read."""

        def __init__(self, batches):
            super().__init__()
            self.batches = batches

        def check(self):
            if len(read) >= self.batches:
                raise Interruption(Request.PAUSE)

    folder = tmp_path / "run"
    for batches, expected in ((2, [0, 1]), (1, [2]), (1, [3])):
        read.clear()
        result = run_training(
            config, folder, control=After(batches), tokens_folder=tokens_folder, resume=expected != [0, 1]
        )
        assert (result.status, result.step, read) == (JobStatus.PAUSED, 0, expected)
    read.clear()
    run_training(config, folder, tokens_folder=tokens_folder, resume=True)
    assert read[0] == 4
    same(sae_tensors(tmp_path / "straight"), sae_tensors(folder))
    assert not (folder / "measured.safetensors").exists()


@pytest.mark.parametrize("asked", [Request.PAUSE, Request.CANCEL])
def test_pause_and_cancel_before_the_first_step(config, tmp_path, tokens_folder, asked):
    result = run_training(config, tmp_path / "run", control=Scripted(asked, at=1), tokens_folder=tokens_folder)
    assert (result.step, result.tokens, result.sae_path) == (0, 0, None)
    assert result.status is (JobStatus.PAUSED if asked is Request.PAUSE else JobStatus.CANCELLED)
    if asked is Request.PAUSE:
        resumed = run_training(config, tmp_path / "run", tokens_folder=tokens_folder, resume=True)
        assert resumed.status is JobStatus.COMPLETED


def test_stop_while_a_resumed_run_loads_still_exports(config, tmp_path, tokens_folder, straight):
    control = Scripted(Request.PAUSE, at=straight().calls // 2)
    paused = run_training(config, tmp_path / "run", control=control, tokens_folder=tokens_folder)
    stopped = run_training(
        config, tmp_path / "run", control=Scripted(Request.STOP, at=1), tokens_folder=tokens_folder, resume=True
    )
    assert (stopped.status, stopped.step) == (JobStatus.STOPPED, paused.step)
    assert load_sae(stopped.sae_path).d_sae == 64
