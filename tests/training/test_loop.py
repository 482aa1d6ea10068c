"""The loop with every architecture: exact resume, metrics, what stops a run."""

import numpy as np
import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.errors import FormatError, TrainingError
from saewidgets.events import UNIT_ROWS, CheckpointSaved, Facts, Interruption, LogLine, Metrics, Progress, Request
from saewidgets.sae import create_sae
from saewidgets.training.checkpoint import list_checkpoints, newest_whole
from saewidgets.training.loop import DEAD
from saewidgets.training.steered_l0 import SteeredL0
from tests.training.fakes import BATCH, D_SAE, SAES, FakeStream, Recorder, Scripted, make_config, make_trainer, same


def _everything(trainer):
    """All tensors that a later step depends on."""
    return {**trainer.sae.state_dict(), **trainer.adam.tensors(), DEAD: trainer.dead.tokens_since_fired}


def _resumed(config, folder, **kwargs):
    trainer = make_trainer(config, folder, **kwargs)
    checkpoint, problems = newest_whole(folder / "checkpoints")
    assert not problems
    trainer.load(checkpoint)
    return trainer


def test_interruption_between_microbatches_takes_the_half_step_back(tmp_path):
    config = make_config("batchtopk", gradient_accumulation=4)
    config = config.replace(**{"sae.threshold_momentum": 0.9})  # of its own, it goes by the steps of the run
    whole, interrupted = make_trainer(config, tmp_path / "a"), make_trainer(config, tmp_path / "b")
    interrupted.control = Scripted(Request.STOP, at=5 * 5 + 4)
    whole.config, whole.steps = config, 5  # stop after five whole steps
    whole.run()
    with pytest.raises(Interruption):
        interrupted.run()
    assert interrupted.step == 5
    same(_everything(whole), _everything(interrupted))
    assert all(p.grad is None for p in interrupted.sae.parameters())


def test_gradient_accumulation_equals_one_large_batch(tmp_path):
    one = make_trainer(make_config("standard", steps=3), tmp_path / "a")
    four = make_trainer(make_config("standard", steps=3, gradient_accumulation=4), tmp_path / "b")
    one.run()
    four.run()
    for name, value in one.sae.state_dict().items():
        torch.testing.assert_close(value, four.sae.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_metrics_equal_an_independent_computation(tmp_path, recorder):
    """With no decay of anything and one step per window, the first window is recomputed with numpy."""
    config = make_config("topk", steps=2, log_every_steps=1)
    trainer = make_trainer(config, tmp_path, emit=recorder, scale=0.25)
    sae = trainer.sae
    x = FakeStream(config.seed).batch_number(0).numpy() * 0.25
    sae.b_dec.data.copy_(torch.from_numpy(x.mean(0)))  # where it starts
    with torch.no_grad():
        f = sae.encode(torch.from_numpy(x)).numpy()
        x_hat = sae.decode(torch.from_numpy(f)).numpy()
    trainer.run()
    values = recorder.of(Metrics)[0].values
    error = ((x - x_hat) ** 2).sum()
    assert values["fvu"] == pytest.approx(error / ((x - x.mean(0)) ** 2).sum(), rel=1e-4)
    assert values["mse"] == pytest.approx(error / len(x), rel=1e-4)
    assert values["l0"] == pytest.approx((f > 0).sum(1).mean())
    assert values["loss"] == pytest.approx(values["mse"] + values["aux"], rel=1e-5)
    assert "dead" not in values  # nobody can know before a window has passed
    assert values["lr"] == pytest.approx(3e-3)
    assert values["grad_norm"] > 0
    assert values["tokens_per_second"] > 0


@pytest.mark.parametrize(("architecture", "name"), [("standard", "l1"), ("jumprelu", "l0_penalty"), ("topk", "aux")])
def test_the_sparsity_term_has_its_name(tmp_path, recorder, architecture, name):
    config = make_config(architecture, steps=4, **{"optimizer.sparsity_warm_up_steps": 4, "log_every_steps": 1})
    make_trainer(config, tmp_path, emit=recorder).run()
    metrics = [m.values for m in recorder.of(Metrics)]
    assert all(name in values for values in metrics)
    if name != "aux":
        assert [v["sparsity_coefficient"] for v in metrics] == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_dead_latents_are_counted_in_tokens(tmp_path, recorder):
    config = make_config("topk", steps=20, **{"sae.k": 1, "log_every_steps": 1})
    trainer = make_trainer(config, tmp_path, emit=recorder)
    trainer.run()
    share = [m.values.get("dead") for m in recorder.of(Metrics)]
    assert share[:3] == [None, None, None]
    assert None not in share[3:]
    assert share[-1] == pytest.approx((trainer.dead.tokens_since_fired >= 4 * BATCH).float().mean().item())
    assert share[-1] > 0


@pytest.mark.parametrize("where", ["x", "weights"])
def test_nan_stops_before_anything_is_written(tmp_path, recorder, where):
    config = make_config(steps=40, **{"checkpoints.every_steps": 10, "log_every_steps": 7})

    def _poison(number, x):
        if number == 24 and where == "x":
            x[3, 2] = float("nan")
        if number == 29 and where == "weights":  # seen by no logged loss before the checkpoint at step 30
            trainer.sae.register_forward_pre_hook(lambda *a: None)
            trainer.adam.clip = _nan_clip
        return x

    def _nan_clip():
        trainer.sae.b_enc.grad.fill_(float("nan"))
        return torch.tensor(1.0)

    trainer = make_trainer(config, tmp_path, stream=FakeStream(config.seed, poison=_poison), emit=recorder)
    with pytest.raises(TrainingError) as caught:
        trainer.run()
    step = 25 if where == "x" else 30
    assert caught.value.what == f"Loss became NaN at step {step} ({step * BATCH:,} tokens)."
    assert (caught.value.kind, caught.value.step) == ("nan", step)
    told = recorder.of(Progress)[-1]
    assert (told.step, told.done, told.total) == (step, step * BATCH, 40 * BATCH)  # nobody sees an earlier one
    assert "step 20, FVU " in caught.value.hint
    assert "Learning rate (now 0.003)" in caught.value.hint
    assert "Gradient clip (now 1)" in caught.value.hint
    newest, problems = newest_whole(tmp_path / "checkpoints")
    assert newest.step == 20
    assert not problems
    assert all(torch.isfinite(t).all() for t in newest.weights().values())


def test_divergence_stops_the_run(tmp_path):
    def _grow(number, x):
        return x * 1.2 ** max(0, number - 20)

    config = make_config(steps=200, **{"optimizer.lr": 1e-6})
    trainer = make_trainer(config, tmp_path, stream=FakeStream(0, poison=_grow))
    with pytest.raises(TrainingError, match=r"Loss diverged at step .* still rising"):
        trainer.run()
    assert 20 < trainer.step < 60


def test_a_blow_up_stops_the_run_even_in_its_warm_up(tmp_path):
    settings = {"lr": 1e-3, "lr_warm_up_steps": 2, "sparsity_warm_up_steps": 2000, "project_decoder_grad": True}
    changes = {"optimizer": settings, "log_every_steps": 1, "checkpoints.every_steps": 2}
    trainer = make_trainer(make_config("standard", steps=4000, **changes), tmp_path)
    trainer.sae.before_step = lambda: trainer.sae.b_dec.data.add_(1.0)  # a large rate is chaos
    with pytest.raises(TrainingError, match=r"Loss diverged by step .* times worse than a constant one") as caught:
        trainer.run()
    assert trainer.step < 1000
    assert "Learning rate (now 0.001)" in caught.value.hint
    assert caught.value.hint.startswith("No checkpoint is good; the newest is step ")
    assert not caught.value.resumes


def test_float16_that_overflows_in_every_step_is_an_error_not_an_idle_run(tmp_path):
    trainer = make_trainer(make_config(steps=200, precision="float16"), tmp_path)
    trainer.adam.clip = lambda: torch.tensor(1.0)
    trainer.sae.before_step = lambda: None
    backward = trainer.precision.backward
    trainer.precision.backward = lambda loss: backward(loss * float("inf"))
    with pytest.raises(TrainingError, match="float16 gradients overflow in every step") as caught:
        trainer.run()
    assert caught.value.where == "precision"
    assert trainer.step < 60


def test_a_stream_that_ends_early_is_an_error(tmp_path):
    class Short(FakeStream):
        def batches(self, start, check=None):
            yield from (self.batch_number(n) for n in range(start, 7))

    with pytest.raises(TrainingError, match="ended after 7 of 30 steps"):
        make_trainer(make_config(), tmp_path, stream=Short()).run()


def test_best_is_decided_after_warm_up_by_the_chosen_metric(tmp_path, recorder):
    values = iter([0.1, 0.9, 0.5, 0.7, 0.4, 0.6])  # at steps 3, 6, …; the first falls into the warm-up
    config = make_config(steps=20, **{"evaluation.every_steps": 3, "optimizer.lr_warm_up_steps": 4})
    make_trainer(config, tmp_path, emit=recorder, evaluate=lambda: {"val_fvu": next(values)}).run()
    assert [(e.step, e.kinds) for e in recorder.of(CheckpointSaved)] == [
        (6, ("latest", "best")), (9, ("latest", "best")), (15, ("latest", "best"))
    ]
    measured = [m.values["val_fvu"] for m in recorder.of(Metrics) if "val_fvu" in m.values]
    assert measured == [0.1, 0.9, 0.5, 0.7, 0.4, 0.6]


def test_checkpoint_events_name_the_replaced_checkpoints(tmp_path, recorder):
    every = {"checkpoints.every_steps": 5, "evaluation.every_steps": 2}
    config = make_config(steps=20, **every, **{"checkpoints.best_metric": "ce_loss_score"})
    scores = iter([0.5, 0.9, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    make_trainer(config, tmp_path, emit=recorder, evaluate=lambda: {"ce_loss_score": next(scores)}).run()
    saved = recorder.of(CheckpointSaved)
    left = {e.path for e in saved}
    for event in saved:
        left -= set(event.removed)
        assert event.size_bytes > 10_000
    on_disk = {str(p) for p in (tmp_path / "checkpoints").iterdir()}
    assert left == on_disk
    assert sorted(p[-2:] for p in on_disk) == ["04", "15"]


def test_a_checkpoint_that_was_asked_for_is_written_once_and_kept(tmp_path, recorder):
    config = make_config(steps=12, **{"checkpoints.every_steps": 4})
    make_trainer(config, tmp_path, emit=recorder, control=Scripted(checkpoint_at=6)).run()
    saved = recorder.of(CheckpointSaved)
    assert sum("manual" in event.kinds for event in saved) == 1
    manual = next(event for event in saved if "manual" in event.kinds)
    assert not any(manual.path in event.removed for event in saved)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    trainer = make_trainer(make_config(steps=4), tmp_path)
    trainer.run()
    checkpoint = trainer.save("latest")
    other = make_trainer(make_config(steps=4, **{"sae.d_sae": 32}), tmp_path / "other")
    with pytest.raises(FormatError, match="do not fit"):
        other.load(checkpoint)


@pytest.mark.parametrize(("architecture", "precision"), [("standard", "float16"), ("topk", "bfloat16")])
def test_mixed_precision_learns_with_float32_parameters(tmp_path, architecture, precision):
    config = make_config(architecture, steps=20, precision=precision)
    record, reference = Recorder(), Recorder()
    trainer = make_trainer(config, tmp_path / "a", emit=record)
    trainer.run()
    make_trainer(config.replace(precision="float32"), tmp_path / "b", emit=reference).run()
    assert all(p.dtype == torch.float32 for p in trainer.sae.parameters())
    low, full = (r.of(Metrics)[-1].values["fvu"] for r in (record, reference))
    assert np.isfinite(low)
    assert low == pytest.approx(full, rel=0.1)


def test_float16_resumes_with_its_loss_scale(tmp_path):
    config = make_config("standard", precision="float16", **{"checkpoints.every_steps": 10})
    straight = make_trainer(config, tmp_path / "a")
    straight.run()
    first = make_trainer(config, tmp_path / "b", control=Scripted(Request.PAUSE, at=2 * 15 + 1))
    with pytest.raises(Interruption):
        first.run()
    first.save("latest")
    resumed = _resumed(config, tmp_path / "b")
    assert resumed.precision.state() == first.precision.state()
    resumed.run()
    same(_everything(straight), _everything(resumed))
    assert resumed.precision.state() == straight.precision.state()


def _steps_with_unit_rows(trainer):
    found = []
    for step, _ in enumerate(trainer.each_step(), start=1):
        norms = trainer.sae.W_dec.detach().norm(dim=1)
        if bool((norms - 1).abs().max() < 1e-6):
            found.append(step)
    return found


@pytest.mark.parametrize(("every", "project"), [(None, True), (None, False), (3, False)])
def test_decoder_norms_are_kept_as_often_as_asked(tmp_path, every, project):
    changes = {"optimizer.normalize_decoder_every": every, "optimizer.project_decoder_grad": project}
    trainer = make_trainer(make_config("standard", steps=10, **changes), tmp_path)
    assert _steps_with_unit_rows(trainer) == ([] if every is None else [1, 3, 6, 9])


def test_decoder_norms_of_topk_are_one_from_half_of_the_run_on(tmp_path):
    def unit(share, steps=300, **changes):
        config = make_config("topk", steps=steps, **{"sae.unit_norm_from": share, **changes})
        return _steps_with_unit_rows(make_trainer(config, tmp_path / f"{share} {steps}"))

    assert TrainingConfig().sae.unit_norm_from == 0.5
    assert unit(0.5) == list(range(151, 301))
    assert unit(1.0) == unit(None) == unit(0.5, steps=20) == []
    assert unit(0.99, **{"optimizer.normalize_decoder_every": 200}) == [1, 200, 298, 299, 300]


def test_the_step_at_which_decoder_rows_get_norm_one_is_logged_and_recorded(tmp_path, recorder):
    make_trainer(make_config("topk", steps=300), tmp_path / "long", emit=recorder).run()
    assert [event.values for event in recorder.of(Facts)] == [{UNIT_ROWS: 151}]
    assert any(line.message.startswith("Step 151: decoder rows have norm one") for line in recorder.of(LogLine))
    short = Recorder()
    make_trainer(make_config("topk", steps=30), tmp_path / "short", emit=short).run()
    assert not short.of(Facts)


def test_an_unconstrained_decoder_step_is_adam_on_the_whole_gradient(tmp_path):
    config = make_config("standard", **{
        "optimizer.normalize_decoder_every": None, "optimizer.project_decoder_grad": False,
        "optimizer.grad_clip": None, "optimizer.lr_warm_up_steps": 0, "optimizer.sparsity_warm_up_steps": 0,
        "sae.decoder_init_norm": 0.1, "sae.start_from_data": False,
    })  # fmt: skip
    trainer, reference = make_trainer(config, tmp_path), make_trainer(config, tmp_path / "reference")
    next(trainer.each_step())
    sae = reference.sae
    reference.sae.loss(FakeStream(config.seed).batch_number(0) * 0.5).total.backward()
    torch.optim.Adam(sae.parameters(), lr=config.optimizer.lr).step()
    for name, tensor in sae.state_dict().items():
        assert torch.allclose(tensor, trainer.sae.state_dict()[name], atol=1e-7), name


VARIANTS = {
    **SAES,
    "standard, p-anneal": {"architecture": "standard", "l1_coefficient": 0.1, "p_end": 0.3},
    "matryoshka": {"architecture": "matryoshka", "k": 4, "widths": "8, 16", "aux_per_width": True},
    "jumprelu, Anthropic's": {
        "architecture": "jumprelu", "sparsity_loss": "tanh", "l0_coefficient": 0.1, "ste_to_input": True,
        "pre_act_coefficient": 3e-6,
    },
    "jumprelu, quadratic": {
        "architecture": "jumprelu", "sparsity_loss": "quadratic", "target_l0": 6, "l0_coefficient": 0.1,
        "threshold_parameter": "log",
    },
    **{f"{name}, steered": {"architecture": name} for name in ("standard", "jumprelu", "gated")},
    "gated": {"architecture": "gated", "l1_coefficient": 0.1},
    "skip": {"architecture": "skip", "l1_coefficient": 0.1, "learn_skip": True},
}  # fmt: skip


def config_of(name, steps=40):
    return TrainingConfig(
        sae=VARIANTS[name] | {"d_sae": D_SAE}, batch_size=BATCH, tokens=BATCH * steps, gradient_accumulation=2,
        dead_window_tokens=BATCH * 4, log_every_steps=5, optimizer={"lr": 3e-3}, checkpoints={"every_steps": 20},
    )


def test_the_p_of_the_penalty_is_a_metric(tmp_path, recorder):
    config = config_of("standard, p-anneal")
    make_trainer(config, tmp_path, emit=recorder).run()
    found = {event.step: event.values["penalty_p"] for event in recorder.of(Metrics) if "penalty_p" in event.values}
    hold, end = config.sae.p_hold, 0.3
    for step, p in found.items():
        assert p == pytest.approx(1 - (1 - end) * max(0, (step - 1) / 40 - hold) / (1 - hold))
    assert found[5] == 1
    assert found[40] < 0.4


@torch.no_grad()
def mse(trainer, batch):
    return float(trainer.sae.loss(FakeStream(0).batch_number(batch) * trainer.scaler.factor).mse)


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_falls_and_resuming_is_exact(name, tmp_path):
    config = config_of(name)
    whole = make_trainer(config, tmp_path)
    first = mse(whole, 0)
    whole.run()
    assert mse(whole, 99) < 0.8 * first
    half = next(checkpoint for checkpoint in list_checkpoints(tmp_path / "checkpoints") if checkpoint.step == 20)
    again = make_trainer(config, tmp_path / "again")
    again.load(half)
    again.run()
    assert again.step == whole.step == 40
    same(_everything(again), _everything(whole))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("standard", {}), ("jumprelu", {}), ("jumprelu", {"threshold_parameter": "log"}), ("gated", {}), ("skip", {})],
)
def test_steering_ends_at_the_target(name, settings, tmp_path):
    sae = {"architecture": name, "d_sae": D_SAE, "target_l0": 4, **settings}
    changes = {"optimizer.lr": None, "gradient_accumulation": 2, "log_every_steps": 20}
    trainer = make_trainer(make_config(steps=400, sae=sae, **changes), tmp_path)
    trainer.run()
    assert trainer.latest["l0"] == pytest.approx(4, rel=0.15)
    assert trainer.latest["fvu"] < 0.5
    assert trainer.latest["sparsity_coefficient"] == trainer.sparsity.state()["scale"] > 0


def test_a_long_standard_run_keeps_its_coefficient_at_first_unless_l0_falls_too_low():
    def scales(steps, l0):
        steering = SteeredL0(create_sae("standard", 16, d_sae=D_SAE, target_l0=4), steps)
        first = steering.scale
        for step in range(steps // 5):
            steering.after_step(step, torch.tensor(l0))
        return first, steering.scale

    first, later = scales(1_000, 12.0)
    assert first == later
    first, later = scales(1_000, 3.0)
    assert later < first
    first, later = scales(200, 12.0)
    assert later > first


@pytest.mark.parametrize("name", ["standard", "jumprelu"])
def test_steering_does_not_swing_in_a_short_run(name, tmp_path):
    config = make_config(steps=12, sae={"architecture": name, "d_sae": D_SAE}, **{"optimizer.lr": None})
    trainer = make_trainer(config, tmp_path)
    scales = [trainer.sparsity.state()["scale"] for _ in trainer.each_step()]
    assert max(scales) < 100 * min(scales)


class PairStream(FakeStream):
    """Rows of the fake stream, and what a transcoder makes of them."""

    def batches(self, start, check=None):
        for x in super().batches(start, check):
            yield x, x.roll(1, dims=1)


class ScaledStream(FakeStream):
    """The rows of the fake stream (for a transcoder also its targets) times `factor`."""

    factor, is_pairs = 1.0, False

    def batches(self, start, check=None):
        for x in super().batches(start, check):
            x = x * self.factor
            yield (x, x.roll(1, dims=1)) if self.is_pairs else x


def _run_scaled(folder, architecture, normalize, factor, steps=120):
    """A steered run on activations that are `factor` times longer: the weights, and the last metrics."""
    pairs = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    stream = ScaledStream(0)
    stream.factor, stream.is_pairs = factor, "transcoder" in architecture
    config = TrainingConfig(
        sae={"architecture": architecture, "d_sae": D_SAE, "target_l0": 4}, batch_size=BATCH, tokens=BATCH * steps,
        dead_window_tokens=BATCH * 4, activations={"normalize": normalize}, log_every_steps=20,
        **(pairs if stream.is_pairs else {}),
    )  # fmt: skip
    config = config.replace(sae=config.autoencoder)
    trainer = make_trainer(config, folder, stream=stream, scale=1.0)
    trainer.run()
    return trainer.sae.state_dict(), trainer.latest


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_steering_does_not_depend_on_the_scale_of_activations_that_are_normalised(architecture, tmp_path):
    usual, _ = _run_scaled(tmp_path / "usual", architecture, "constant_norm_rescale", 1.0)
    short, _ = _run_scaled(tmp_path / "short", architecture, "constant_norm_rescale", 2.0**-7)
    same(short, usual)


@pytest.mark.parametrize(
    ("architecture", "normalize"),
    [("gated", "none"), ("skip", "none"), ("transcoder", "layer_norm"), ("skip_transcoder", "layer_norm")],
)
def test_steering_finds_its_target_at_every_scale_of_the_activations(architecture, normalize, tmp_path):
    _, usual = _run_scaled(tmp_path / "usual", architecture, normalize, 1.0)
    _, short = _run_scaled(tmp_path / "short", architecture, normalize, 1 / 80)
    assert short["fvu"] < max(0.6, 1.5 * usual["fvu"])
    assert 2 < short["l0"] < 8


@pytest.mark.parametrize("architecture", ["standard", "transcoder"])
def test_a_decoder_that_is_normalised_seldom_learns_as_one_that_always_is(architecture, tmp_path):
    sae = {"architecture": architecture, "l1_coefficient": 0.1, "d_sae": D_SAE}
    pairs = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    transcoder = "transcoder" in architecture

    def fvu(every):
        recorder, stream = Recorder(), (PairStream if transcoder else FakeStream)(0)
        config = TrainingConfig(
            sae=sae, batch_size=BATCH, tokens=BATCH * 110, log_every_steps=10, **(pairs if transcoder else {}),
            optimizer={"lr": 3e-3, "normalize_decoder_every": every, "project_decoder_grad": True},
        )
        make_trainer(config, tmp_path / f"{every}", stream=stream, emit=recorder).run()
        return [event.values["fvu"] for event in recorder.of(Metrics) if event.step >= 20]

    always = fvu(1)
    for seldom, usual in zip(fvu(50), always, strict=True):
        assert seldom < 1.2 * usual
