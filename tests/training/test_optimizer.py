"""Adam: peaks per group, clipping, state by name; products in the chosen precision."""

import pytest
import torch
from torch import nn

from saewidgets.config import OptimizerConfig
from saewidgets.errors import ConfigError, FormatError
from saewidgets.sae.mesh import ALONE
from saewidgets.training.optimizer import Adam, Precision


class Small(nn.Module):
    """Two parameters, one of them stored transposed; the second learns ten times as fast."""

    mesh = ALONE

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a = nn.Parameter(torch.randn(4, 3, generator=generator).t())
        self.b = nn.Parameter(torch.randn(3, generator=generator))

    def param_groups(self, lr):
        return [{"params": [self.a], "lr": lr}, {"params": [self.b], "lr": 10 * lr, "weight_decay": 0.0}]

    def backward(self, step):
        for number, parameter in enumerate(self.parameters()):
            generator = torch.Generator().manual_seed(100 * step + number)
            parameter.grad = torch.randn(parameter.t().shape, generator=generator).t().contiguous()


def _steps(module, adam, steps):
    for step in steps:
        module.backward(step)
        adam.take_gradients()
        adam.clip()
        adam.optimizer.step()


def test_groups_keep_their_ratio_under_a_schedule():
    adam = Adam(Small(), OptimizerConfig(lr=1e-3))
    adam.set_lr(0.5)
    assert [group["lr"] for group in adam.optimizer.param_groups] == pytest.approx([5e-4, 5e-3])
    adam.set_lr(1.0)
    assert [group["lr"] for group in adam.optimizer.param_groups] == pytest.approx([1e-3, 1e-2])


@pytest.mark.parametrize(("weight_decay", "kind"), [(0.0, torch.optim.Adam), (0.1, torch.optim.AdamW)])
def test_settings_are_those_of_the_configuration_and_weight_decay_is_per_group(weight_decay, kind):
    adam = Adam(Small(), OptimizerConfig(lr=1e-3, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=weight_decay))
    assert type(adam.optimizer) is kind
    assert {(group["betas"], group["eps"]) for group in adam.optimizer.param_groups} == {((0.8, 0.95), 1e-6)}
    assert [group["weight_decay"] for group in adam.optimizer.param_groups] == [weight_decay, 0.0]


@pytest.mark.parametrize("limit", [0.5, None])
def test_clip_returns_the_norm_before_and_limits_the_norm_after(limit):
    module = Small()
    adam = Adam(module, OptimizerConfig(lr=1e-3, grad_clip=limit))
    module.backward(1)
    expected = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    torch.testing.assert_close(adam.clip(), expected)
    after = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    torch.testing.assert_close(after, torch.tensor(limit) if limit else expected, rtol=1e-4, atol=1e-5)


def test_state_by_name_continues_bit_by_bit():
    straight, first, second = Small(), Small(), Small()
    config = OptimizerConfig(lr=1e-2)
    _steps(straight, Adam(straight, config), range(10))
    before = Adam(first, config)
    _steps(first, before, range(4))
    saved = {name: tensor.contiguous().clone() for name, tensor in before.tensors().items()}
    assert sorted(saved) == [f"{p}.{key}" for p in "ab" for key in ("exp_avg", "exp_avg_sq", "step")]
    second.load_state_dict(first.state_dict())
    after = Adam(second, config)
    after.load(saved, "file")
    _steps(second, after, range(4, 10))
    assert torch.equal(second.a, straight.a)
    assert torch.equal(second.b, straight.b)


def test_a_state_that_does_not_fit_is_refused_and_one_without_a_step_is_empty():
    module = Small()
    adam = Adam(module, OptimizerConfig(lr=1e-3))
    adam.load({}, "file")
    assert adam.tensors() == {}
    _steps(module, adam, [1])
    state = adam.tensors()
    with pytest.raises(FormatError, match=r"optimizer\.safetensors.*a\.step"):
        adam.load({k: v for k, v in state.items() if k != "a.step"}, "optimizer.safetensors")
    with pytest.raises(FormatError, match=r"b\.exp_avg is \[4\], expected \[3\]"):
        adam.load({**state, "b.exp_avg": torch.zeros(4)}, "optimizer.safetensors")


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
