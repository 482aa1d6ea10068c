"""Parts of an SAE on several ranks compute what the whole one does. Ranks are threads here, their messages real."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.testing import assert_close

from saewidgets.config.training import ResamplingConfig
from saewidgets.sae import LossState, build_sae
from saewidgets.sae.mesh import Mesh, dist
from saewidgets.training.dead_latents import Resampler
from saewidgets.training.optimizer import Adam, OptimizerConfig
from tests.sae.cases import ALL, aim, batch, make

ROWS = 32
OTHERS = {
    "lp_norm": ("standard", {"lp_norm": 1.5}),
    "p_anneal": ("standard", {"p_end": 0.5}),
    "quadratic": ("jumprelu", {"sparsity_loss": "quadratic", "target_l0": 4.0, "pre_act_coefficient": 0.2}),
    "tanh": ("jumprelu", {"sparsity_loss": "tanh", "ste_to_input": True}),
    "per_width": ("matryoshka", {"aux_per_width": True}),
}


def on_ranks(data, latents, work):
    """What `work` returns for the mesh of every rank, in their order."""
    store = dist.HashStore()

    def one(rank):
        return work(Mesh.join(store, rank, data, latents, "cpu"))

    with ThreadPoolExecutor(data * latents) as threads:
        return list(threads.map(one, range(data * latents)))


def part_of(whole, mesh):
    sae = build_sae(whole.cfg, whole.d_in, d_out=whole.d_out, initialise=False, mesh=mesh)
    sae.load_state_dict(mesh.spread(whole.state_dict()))
    return sae


def measured(sae, x, y, dead):
    """Loss, gradients by name, and their norm, as a training step has them."""
    mesh, held = sae.mesh, sae.d_sae
    mine = dead[mesh.latents.rank * held : (mesh.latents.rank + 1) * held]
    loss = sae.loss(mesh.rows(x), mesh.rows(y), step=LossState(0.7, mine, progress=0.8, steps=100))
    loss.total.backward()
    adam = Adam(sae, OptimizerConfig(lr=1e-3, grad_clip=None))
    adam.take_gradients()
    grads = {name: each.grad for name, each in sae.named_parameters() if each.grad is not None}
    numbers = mesh.data.add(torch.stack([loss.total.detach(), loss.mse, loss.l0])) / mesh.data.size
    fired = mesh.data.add(loss.fired.int()) > 0
    return numbers, mesh.whole({**grads, "fired": fired, **dict(sae.named_buffers())}), adam.clip()


@pytest.mark.parametrize("name", [*ALL, *OTHERS])
@pytest.mark.parametrize(("data", "latents"), [(2, 1), (1, 2), (2, 2)])
def test_parts_have_the_loss_and_the_gradients_of_the_whole(name, data, latents):
    architecture, more = OTHERS.get(name, (name, {}))
    whole = make(architecture, **more).train()
    x = batch(ROWS)
    y, dead = aim(whole, x), torch.arange(whole.d_sae) % 3 == 0
    found = on_ranks(data, latents, lambda mesh: measured(part_of(whole, mesh), x, y, dead))
    numbers, tensors, norm = measured(whole, x, y, dead)
    for each in found:
        assert_close(each[0], numbers)
        assert_close(each[1], tensors, rtol=1e-4, atol=1e-5)
        assert_close(each[2], norm)


@pytest.mark.parametrize("name", ["standard", "jumprelu", "gated"])
def test_parts_start_from_the_data_as_the_whole_does(name):
    steered = {"jumprelu": {"l0_coefficient": None, "initial_threshold": None}}.get(name, {"l1_coefficient": None})
    whole, x = make(name, target_l0=5.0, **steered), batch(ROWS)

    def started(sae):
        sae.start_from(x)
        return sae.mesh.whole(sae.state_dict())

    found = on_ranks(1, 2, lambda mesh: started(part_of(whole, mesh)))
    expected = started(whole)
    for each in found:
        assert_close(each, expected)


def test_dead_latents_of_all_parts_are_resampled_as_those_of_the_whole():
    whole, x, dead = make("topk"), batch(ROWS), torch.arange(40) % 5 == 0
    errors = torch.rand(ROWS, generator=torch.Generator().manual_seed(3))

    def resampled(sae):
        mine = dead[sae.mesh.latents.rank * sae.d_sae : (sae.mesh.latents.rank + 1) * sae.d_sae]
        adam = Adam(sae, OptimizerConfig(lr=1e-3))
        Resampler(ResamplingConfig(every_steps=1), sae, 10, 0).resample(1, x, x, errors, mine, adam)
        return sae.mesh.whole(sae.state_dict())

    found = on_ranks(1, 2, lambda mesh: resampled(part_of(whole, mesh)))
    before, after = whole.W_dec.detach().clone(), resampled(whole)
    assert not torch.equal(before, after["W_dec"])
    for each in found:
        assert_close(each, after)
