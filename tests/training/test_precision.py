"""Mixed precision: what is cast, what is not, and what is refused."""

import pytest
import torch
from torch import nn

from saewidgets.errors import ConfigError
from saewidgets.training.optimizer import Precision


@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_products_run_in_the_chosen_format(name, dtype):
    with Precision(name, "cpu").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_gradients_come_back_at_their_true_size(name):
    layer = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.detach().clone()
    precision = Precision(name, "cpu")
    precision.backward(layer.weight.sum() * 2)
    precision.unscale(optimizer)
    assert layer.weight.grad.tolist() == [[2.0, 2.0, 2.0]]
    precision.step(optimizer)
    assert torch.equal(layer.weight, before - 2)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    layer = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.detach().clone()
    precision = Precision("float16", "cpu")
    scale = precision.state()["scale"]
    precision.backward(layer.weight.sum() * float("inf"))
    precision.unscale(optimizer)
    precision.step(optimizer)
    assert torch.equal(layer.weight, before)
    assert precision.state()["scale"] == scale / 2
    other = Precision("float16", "cpu")
    other.load(precision.state())
    assert other.state() == precision.state()


def test_a_device_that_cannot_names_the_setting(monkeypatch):
    def _refuse(*args, **kwargs):
        raise RuntimeError('"addmm_impl_cpu_" not implemented for \'Half\'\nlong tail')

    monkeypatch.setattr(torch, "autocast", _refuse)
    with pytest.raises(ConfigError) as caught:
        Precision("float16", "cpu")
    assert caught.value.where == "precision"
    assert "float16 cannot be computed on cpu" in caught.value.what
    assert "long tail" not in caught.value.what
    assert caught.value.hint == "Use float32."
