"""Dead latents: the window against brute force, resampling against plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.config import ResamplingConfig
from saewidgets.events import LogLine
from saewidgets.sae import create_sae
from saewidgets.training.dead_latents import DeadLatents, Resampler
from saewidgets.training.optimizer import Adam
from tests.training.fakes import BATCH, make_config, make_trainer

D_IN, D_SAE, ROWS = 6, 10, 20
DEAD = [1, 4, 7]


def _setup(architecture="standard", **settings):
    generator = torch.Generator().manual_seed(0)
    sae = create_sae(architecture, d_in=D_IN, d_sae=D_SAE, **settings)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    adam = Adam(sae, make_config().optimizer)
    x = torch.randn(ROWS, D_IN, generator=generator)
    sae.loss(x).total.backward()
    adam.optimizer.step()
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[DEAD] = True
    return sae, adam, x, dead


def _errors(sae, x):
    with torch.no_grad():
        return (sae(x) - x).square().sum(1)


def test_new_weights_are_rows_of_the_batch_with_bricken_s_norms():
    sae, adam, x, dead = _setup()
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    resampler = Resampler(ResamplingConfig(every_steps=10, encoder_scale=0.2), sae, 100, seed=3)
    changed = resampler.resample(10, x, x, _errors(sae, x), dead, adam)
    assert changed.tolist() == DEAD

    centred = (x - before["b_dec"]).numpy()
    alive = ~dead.numpy()
    encoder_norm = 0.2 * np.linalg.norm(before["W_enc"].numpy()[:, alive], axis=0).mean()
    decoder_norm = np.linalg.norm(before["W_dec"].numpy()[alive], axis=1).mean()
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    taken = []
    for latent in DEAD:
        row = int(np.argmax(units @ sae.W_dec[latent].detach().numpy()))
        taken.append(row)
        np.testing.assert_allclose(sae.W_dec[latent].detach().numpy(), decoder_norm * units[row], rtol=1e-5)
        np.testing.assert_allclose(sae.W_enc[:, latent].detach().numpy(), encoder_norm * units[row], rtol=1e-5)
        assert sae.b_enc[latent] == before["b_enc"][~dead].mean()
    assert len(set(taken)) == len(DEAD)  # without replacement
    assert torch.equal(sae.W_dec[~dead], before["W_dec"][~dead])
    assert torch.equal(sae.W_enc[:, ~dead], before["W_enc"][:, ~dead])
    assert torch.equal(sae.b_enc[~dead], before["b_enc"][~dead])
    assert torch.equal(sae.b_dec, before["b_dec"])


def test_adam_forgets_exactly_the_changed_entries():
    sae, adam, x, dead = _setup()
    before = adam.tensors()
    before = {name: tensor.clone() for name, tensor in before.items()}
    Resampler(ResamplingConfig(every_steps=10), sae, 100, seed=3).resample(10, x, x, _errors(sae, x), dead, adam)
    after = adam.tensors()
    for key in ("exp_avg", "exp_avg_sq"):
        assert not after[f"W_dec.{key}"][dead].any()
        assert not after[f"W_enc.{key}"][:, dead].any()
        assert not after[f"b_enc.{key}"][dead].any()
        assert torch.equal(after[f"W_dec.{key}"][~dead], before[f"W_dec.{key}"][~dead])
        assert torch.equal(after[f"b_dec.{key}"], before[f"b_dec.{key}"])
    assert torch.equal(after["W_dec.step"], before["W_dec.step"])


@pytest.mark.parametrize(("from_data", "threshold"), [(False, 0.25), (True, 3.0)])
@pytest.mark.parametrize("kind", ["linear", "log"])
def test_a_threshold_starts_where_it_started_or_where_the_living_are(kind, from_data, threshold):
    settings = {"initial_threshold": 0.25, "threshold_parameter": kind, "start_from_data": from_data}
    sae = create_sae("jumprelu", d_in=D_IN, d_sae=D_SAE, **settings)
    resampler = Resampler(ResamplingConfig(every_steps=1), sae, 100, seed=0)
    adam = Adam(sae, make_config().optimizer)
    sae.set_threshold(torch.tensor(3.0))
    x = torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(1))
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[2] = True
    resampler.resample(1, x, x, _errors(sae, x), dead, adam)
    assert sae.threshold[[2, 3]].tolist() == pytest.approx([threshold, 3.0])


def test_badly_reconstructed_rows_are_drawn_by_the_square_of_their_error():
    """With one dead latent, how often each row is drawn over many steps is p ∝ error²."""
    resampler = Resampler(ResamplingConfig(every_steps=1), _setup()[0], 10_000, seed=0)
    errors = torch.tensor([1.0, 2.0, 0.0, 3.0])
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[0] = True
    drawn = [int(resampler._draw(step, errors, dead)[1]) for step in range(1, 3001)]
    share = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(share, np.array([1, 4, 0, 9]) / 14, atol=0.03)


def test_more_dead_latents_than_usable_rows():
    sae, adam, x, _ = _setup()
    resampler = Resampler(ResamplingConfig(every_steps=1), sae, 100, seed=0)
    errors = torch.zeros(ROWS)
    assert not len(resampler.resample(1, x, x, errors, torch.ones(D_SAE, dtype=torch.bool), adam))
    errors[3] = errors[5] = 1.0
    changed = resampler.resample(2, x, x, errors, torch.ones(D_SAE, dtype=torch.bool), adam)
    assert len(changed) == 2
    assert all(torch.isfinite(p).all() for p in sae.parameters())


def _half_dead(trainer):
    with torch.no_grad():
        trainer.sae.b_enc[16:] = -5.0
    return trainer


@pytest.mark.parametrize("architecture", ["standard", "batchtopk", "jumprelu"])
def test_a_run_that_is_resumed_around_a_resampling_is_bit_identical(tmp_path, architecture):
    config = make_config(
        architecture, **{"resampling.every_steps": 8, "resampling.until_share": 1.0, "dead_window_tokens": BATCH}
    )
    straight = _half_dead(make_trainer(config, tmp_path / "straight"))
    straight.run()
    lines = [event.message for event in straight.emit.of(LogLine) if "resampled" in event.message]
    assert [line.split(":")[0] for line in lines][:2] == ["Step 8", "Step 16"]
    resumed = _half_dead(make_trainer(config, tmp_path / "run"))
    for finished, _ in enumerate(resumed.each_step(), start=1):
        if finished == 12:
            break
    saved = resumed.save("latest")
    again = make_trainer(config, tmp_path / "run")
    again.load(saved)
    again.run()
    for name, tensor in straight.sae.state_dict().items():
        assert torch.equal(tensor, again.sae.state_dict()[name]), name
    for name, tensor in straight.adam.tensors().items():
        assert torch.equal(tensor, again.adam.tensors()[name]), name
    assert torch.equal(straight.dead.tokens_since_fired, again.dead.tokens_since_fired)


def test_resampling_brings_dead_latents_back(tmp_path):
    """A run in which most latents are dead from the start ends with fewer of them, and reconstructs better."""
    shares = {}
    for every in (None, 10):
        changes = {"resampling.every_steps": every, "resampling.until_share": 0.5, "dead_window_tokens": BATCH * 5}
        config = make_config("standard", steps=80, **changes)
        trainer = _half_dead(make_trainer(config, tmp_path / str(every)))
        trainer.run()
        shares[every] = (trainer.latest["dead"], trainer.latest["fvu"])
    assert shares[10][0] < shares[None][0]
    assert shares[10][1] < shares[None][1]


@pytest.mark.parametrize("architecture", ["gated", "matryoshka", "skip", "transcoder", "skip_transcoder"])
@pytest.mark.parametrize("from_data", [True, False])
def test_every_architecture_takes_new_latents(architecture, from_data):
    """Directions are those of rows; what has one number per latent is the mean of the living, or as it was at the
    start; the rest stays."""
    settings = {"k": 2} if architecture == "matryoshka" else {}
    settings["start_from_data"] = from_data
    if architecture.endswith("transcoder"):
        settings["d_out"] = D_IN + 2
    sae = create_sae(architecture, d_in=D_IN, d_sae=D_SAE, **settings)
    resampler = Resampler(ResamplingConfig(every_steps=1), sae, 100, seed=0)
    first = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    x = torch.randn(ROWS, D_IN, generator=generator)
    target = torch.randn(ROWS, sae.d_out, generator=generator) if sae.is_transcoder else x
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[DEAD] = True
    resampler.resample(1, x, target, torch.ones(ROWS), dead, Adam(sae, make_config().optimizer))
    rows = torch.nn.functional.normalize(target - before["b_dec"], dim=1)
    found = torch.nn.functional.normalize(sae.W_dec.detach()[dead], dim=1)
    assert torch.allclose((found @ rows.T).amax(1), torch.ones(len(DEAD)), atol=1e-5)
    for name, tensor in sae.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        if tensor.shape == (D_SAE,) and tensor.is_floating_point():
            expected = before[name][~dead].mean().expand(3) if from_data else first[name][dead]
            assert torch.equal(tensor[dead], expected), name
            assert torch.equal(tensor[~dead], before[name][~dead]), name
        elif name not in ("W_enc", "W_dec"):
            assert torch.equal(tensor, before[name]), name


@given(
    fired=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=30),
    tokens=st.integers(1, 7),
    window=st.integers(1, 60),
)
def test_dead_means_silent_in_the_last_window_tokens(fired, tokens, window):
    latents = DeadLatents(5, window)
    for row in fired:
        latents.update(torch.tensor(row), tokens)
    seen = tokens * len(fired)
    for index in range(5):
        last = max((step for step, row in enumerate(fired) if row[index]), default=-1)
        silent = tokens * (len(fired) - 1 - last)
        mask = latents.mask(seen)
        is_dead = bool(mask[index]) if mask is not None else False
        assert is_dead == (silent >= window)
    expected = sum(
        tokens * (len(fired) - 1 - max((s for s, row in enumerate(fired) if row[i]), default=-1)) >= window
        for i in range(5)
    )
    share = latents.share(seen)
    assert (share is None) == (seen < window)
    if share is not None:
        assert share.item() == torch.tensor(expected / 5, dtype=torch.float32).item()


def test_resampling_is_due_every_n_steps():
    sae = create_sae("topk", d_in=D_IN, d_sae=D_SAE, k=2)
    due = Resampler(ResamplingConfig(every_steps=10, until_share=0.5), sae, 60, seed=0)
    assert [step for step in range(61) if due.is_due(step)] == [10, 20, 30]
    never = Resampler(ResamplingConfig(), sae, 60, seed=0)
    assert not any(never.is_due(step) for step in range(61))
