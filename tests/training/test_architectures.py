"""Every architecture in the loop: its loss falls, a run that was left half-way ends in the same bits, and decoder rows
that are normalised seldom are as good as those that always are."""

import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.events import Metrics
from saewidgets.training.checkpoint import list_checkpoints
from tests.training.fakes import BATCH, D_SAE, SAES, FakeStream, Recorder, make_trainer

VARIANTS = {
    "standard, p-anneal": {"architecture": "standard", "l1_coefficient": 0.1, "p_end": 0.3},
    "matryoshka": {"architecture": "matryoshka", "k": 4, "widths": "8, 16", "aux_per_width": True},
    "jumprelu, Anthropic's": {
        "architecture": "jumprelu", "sparsity_loss": "tanh", "l0_coefficient": 0.1, "ste_to_input": True,
        "pre_act_coefficient": 3e-6,
    },
    "jumprelu, quadratic": {
        "architecture": "jumprelu", "sparsity_loss": "quadratic", "target_l0": 6, "l0_coefficient": 0.1
    },
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
    for key, tensor in whole.sae.state_dict().items():
        assert torch.equal(again.sae.state_dict()[key], tensor), key


class PairStream(FakeStream):
    """Rows of the fake stream, and what a transcoder makes of them."""

    def batches(self, start, check=None):
        for x in super().batches(start, check):
            yield x, x.roll(1, dims=1)


@pytest.mark.parametrize("architecture", ["standard", "topk", "transcoder"])
def test_a_decoder_that_is_normalised_seldom_learns_as_one_that_always_is(architecture, tmp_path):
    sae = SAES.get(architecture) or VARIANTS.get(architecture) or {"architecture": architecture, "l1_coefficient": 0.1}
    pairs = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    transcoder = "transcoder" in architecture

    def fvu(every):
        recorder, stream = Recorder(), (PairStream if transcoder else FakeStream)(0)
        config = TrainingConfig(
            sae=sae | {"d_sae": D_SAE}, batch_size=BATCH, tokens=BATCH * 110, log_every_steps=10,
            optimizer={"lr": 3e-3, "normalize_decoder_every": every}, **(pairs if transcoder else {}),
        )
        make_trainer(config, tmp_path / f"{every}", stream=stream, emit=recorder).run()
        return [event.values["fvu"] for event in recorder.of(Metrics) if event.step >= 20]

    always = fvu(1)
    for every in (10, 50, 100):
        for seldom, usual in zip(fvu(every), always, strict=True):
            assert seldom < 1.2 * usual, every
