"""Small things to train on: a stream of structured random activations, a control that can be scripted, a recorder."""

import numpy as np
import torch
from safetensors.torch import load_file

from saewidgets.config import TrainingConfig
from saewidgets.events import Interruption, Request
from saewidgets.sae import build_sae
from saewidgets.sae.scaler import Scaler
from saewidgets.training.loop import Trainer

D_IN, D_SAE, BATCH = 16, 64, 32

SAES = {
    "standard": {"architecture": "standard", "d_sae": D_SAE, "l1_coefficient": 0.1},
    "topk": {"architecture": "topk", "d_sae": D_SAE, "k": 4},
    "batchtopk": {"architecture": "batchtopk", "d_sae": D_SAE, "k": 4},
    "jumprelu": {"architecture": "jumprelu", "d_sae": D_SAE, "l0_coefficient": 0.1},
}


class FakeStream:
    """Sparse combinations of fixed directions plus a mean; batch b is a pure function of (seed, b)."""

    def __init__(self, seed=0, d_in=D_IN, batch=BATCH, poison=None):
        generator = np.random.default_rng(seed)
        self.directions = generator.standard_normal((40, d_in)).astype(np.float32)
        self.seed, self.batch, self.poison = seed, batch, poison

    def batch_number(self, number):
        generator = np.random.default_rng([self.seed, number])
        codes = generator.random((self.batch, 40)) * (generator.random((self.batch, 40)) < 0.1)
        x = torch.from_numpy((codes @ self.directions).astype(np.float32)) + 0.5
        return self.poison(number, x) if self.poison else x

    def batches(self, start, check=None):
        number = start
        while True:
            if check:
                check()
            yield self.batch_number(number)
            number += 1


class Scripted:
    """Asks for something at the n-th call of `check` (counted from 1), and from then on."""

    def __init__(self, request=Request.RUN, at=10**9, checkpoint_at=None):
        self._request, self._at, self.calls, self._checkpoint_at = request, at, 0, checkpoint_at

    def request(self):
        return self._request if self.calls >= self._at else Request.RUN

    def check(self):
        self.calls += 1
        if self.calls >= self._at:
            raise Interruption(self._request)

    def take_checkpoint_request(self):
        if self._checkpoint_at is not None and self.calls >= self._checkpoint_at:
            self._checkpoint_at = None
            return True
        return False


class Recorder:
    """An `Emit` that keeps everything."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def sae_tensors(folder):
    """What a run left in its folder."""
    return load_file(folder / "sae" / "sae_weights.safetensors")


def same(found, expected):
    """Bit for bit."""
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def make_config(architecture="topk", steps=30, **changes):
    """A run of `steps` small steps; `changes` by dotted name."""
    config = TrainingConfig(
        sae=SAES[architecture], batch_size=BATCH, tokens=BATCH * steps, dead_window_tokens=BATCH * 4, log_every_steps=5,
        optimizer={"lr": 3e-3}, checkpoints={"every_steps": 1000},
    )
    return config.replace(**changes) if changes else config


def make_trainer(config, folder, *, stream=None, control=None, emit=None, scale=0.5, evaluate=None, device="cpu"):
    """A trainer on the fake stream, with everything freshly made."""
    sae = build_sae(config.sae, D_IN, generator=torch.Generator().manual_seed(config.seed)).to(device)
    return Trainer(
        config, sae, stream or FakeStream(config.seed), folder, scaler=Scaler(scale), emit=emit or Recorder(),
        control=control or Scripted(), evaluate=evaluate,
    )
