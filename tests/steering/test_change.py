"""Every mode against formulas written out by hand, and every architecture against its own decoder."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.config.steering import SteeringFeature
from saewidgets.errors import ConfigError
from saewidgets.sae import SAE, inference_architectures
from saewidgets.steering import LatentChange
from tests.sae.cases import AUTOENCODERS, D_IN, D_SAE, HEADS, LOADED, TRANSCODERS, inputs, loaded
from tests.steering.toys import feature, toy_sae

NORMALIZATIONS = ("none", "layer_norm", "constant_norm_rescale")


def by_hand(name: str, h: np.ndarray, **values: Any) -> np.ndarray:
    """h with one latent steered, by the formulas of the documentation, for a plain ReLU SAE in float64."""
    sae, i, s = values["sae"], values["index"], values["strength"]
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    W_enc, b_enc, W_dec, b_dec = (getattr(sae, name_).detach().double().numpy() for name_ in names)
    f = np.maximum((h - b_dec) @ W_enc + b_enc, 0)[..., i : i + 1]
    d = W_dec[i]
    return {
        "add_max": lambda: h + s * values.get("a_max", 0) * d,
        "add": lambda: h + s * d,
        "clamp": lambda: h + (s - f) * d,
        "conditional_clamp": lambda: np.where(f > 0, h + (s - f) * d, h),
        "scale": lambda: h + (s - 1) * f * d,
        "ablate": lambda: h - f * d,
    }[name]()


@pytest.mark.parametrize("mode", ["add_max", "add", "clamp", "conditional_clamp", "scale", "ablate"])
def test_each_mode_is_its_formula(mode: str) -> None:
    sae = toy_sae()
    h = torch.randn(2, 15, 32, generator=torch.Generator().manual_seed(3))
    more = {"a_max": 3.5} if mode == "add_max" else {}
    change = LatentChange(sae, [feature(5, -1.7, mode, **more)])
    expected = by_hand(mode, h.double().numpy(), sae=sae, index=5, strength=-1.7, **more)
    np.testing.assert_allclose((h + change(h)).numpy(), expected, rtol=0, atol=2e-5)
    f = sae.encode(h)[..., 5]
    assert (f > 0).any()  # else clamp and ablation would be told apart from nothing
    assert (f == 0).any()
    assert change.reads_latents == (mode not in ("add_max", "add"))


def test_a_conditional_clamp_leaves_silent_tokens_alone_bit_for_bit() -> None:
    sae = toy_sae()
    h = torch.randn(40, 32, generator=torch.Generator().manual_seed(3))
    change = LatentChange(sae, [feature(5, 4.0, "conditional_clamp")])(h)
    silent = sae.encode(h)[:, 5] == 0
    assert 0 < silent.sum() < 40
    assert (change[silent] == 0).all()
    assert (change[~silent] != 0).any(-1).all()


def several(additive: bool) -> list[SteeringFeature]:
    if additive:
        return [feature(1, 2.0), feature(4, -1.5), feature(4, 0.5), feature(9, 2.0, "add_max", a_max=1.25)]
    return [
        feature(0, 1.5, "clamp"), feature(3, 2.0, "conditional_clamp"), feature(7, 3.0, "scale"),
        feature(8, 0, "ablate"), feature(11, -2.0),
    ]


def wanted(sae: SAE, f: torch.Tensor, features: list[SteeringFeature]) -> torch.Tensor:
    """f′, latent by latent."""
    new = f.clone()
    for each in features:
        own = f[..., each.index]
        if each.mode == "clamp":
            new[..., each.index] = each.strength
        elif each.mode == "conditional_clamp":
            new[..., each.index] = torch.where(own > 0, torch.full_like(own, each.strength), own)
        elif each.mode == "scale":
            new[..., each.index] = own * each.strength
        elif each.mode == "ablate":
            new[..., each.index] = 0
        else:
            new[..., each.index] += each.strength * (each.a_max if each.mode == "add_max" else 1)
    return new


def test_every_architecture_is_covered() -> None:
    assert set(LOADED) == set(inference_architectures())


@pytest.mark.parametrize(
    ("name", "normalization", "additive"),
    zip([*LOADED, *LOADED], cycle(NORMALIZATIONS), [*[True] * len(LOADED), *[False] * len(LOADED)]),
)
def test_the_change_is_the_difference_of_two_reconstructions(name: str, normalization: str, additive: bool) -> None:
    sae = loaded(name, dtype=torch.float64, normalize_activations=normalization)
    features, x = several(additive), inputs(name).double()
    if name == "temporal" and not additive:
        with pytest.raises(ConfigError, match="temporal"):
            LatentChange(sae, features)
        return
    f = sae.encode(x)
    expected = sae.decode(wanted(sae, f, features), x) - sae.decode(f, x)
    found = LatentChange(sae, features)(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_temporal_sae_with_a_constant_scale() -> None:
    sae = loaded(
        "temporal", dtype=torch.float64, normalize_activations="constant_scalar_rescale",
        activation_normalization_factor=0.25,
    )
    x = inputs("temporal").double()
    f = sae.encode(x)
    expected = sae.decode(wanted(sae, f, several(True)), x) - sae.decode(f, x)
    torch.testing.assert_close(LatentChange(sae, several(True))(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in LOADED if n != "temporal"])
def test_ablating_everything_leaves_the_error_term_and_the_bias(name: str) -> None:
    sae = loaded(name, normalize_activations="none")
    x = inputs(name)
    f = sae.encode(x)
    change = LatentChange(sae, [feature(i, 0, "ablate") for i in range(D_SAE)])(x)
    expected = sae.decode(torch.zeros_like(f), x) - sae.decode(f, x)
    torch.testing.assert_close(change, expected, rtol=1e-5, atol=1e-5)
    assert name in (TRANSCODERS if sae.d_out != D_IN else AUTOENCODERS)


def test_heads_side_by_side_are_what_a_hook_gives() -> None:
    sae = loaded("standard", reshape_activations="hook_z")
    x = inputs("standard")
    flat = LatentChange(sae, several(False))(x)
    f = sae.encode(x.unflatten(-1, (HEADS, -1)))
    expected = sae.decode(wanted(sae, f, several(False))) - sae.decode(f)
    torch.testing.assert_close(flat, expected, rtol=1e-5, atol=1e-5)


def test_latents_compete_as_they_do_without_steering() -> None:
    """Clamps of several latents read the same f: none is encoded from what another one changed."""
    sae = loaded("topk", dtype=torch.float64)
    x = inputs("topk").double()
    one, other = feature(2, 3.0, "clamp"), feature(6, -1.0, "clamp")
    together = LatentChange(sae, [one, other])(x)
    torch.testing.assert_close(together, LatentChange(sae, [one])(x) + LatentChange(sae, [other])(x))


def test_the_sae_stays_as_it_was_and_a_training_mode_does_not_count() -> None:
    sae = toy_sae("topk", k=5)
    h = torch.randn(6, 32, generator=torch.Generator().manual_seed(3))
    expected = LatentChange(sae, [feature(2, 3.0, "clamp")])(h)
    sae.train()
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    assert torch.equal(LatentChange(sae, [feature(2, 3.0, "clamp")])(h), expected)
    assert sae.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())


def test_many_tokens_are_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sae = toy_sae()
    h = torch.randn(3, 11, 32, generator=torch.Generator().manual_seed(3))
    change = LatentChange(sae, several(False))
    expected = change(h)
    sizes: list[int] = []
    encode = sae.encode
    monkeypatch.setattr(sae, "encode", lambda x: sizes.append(len(x)) or encode(x))
    monkeypatch.setattr("saewidgets.steering.change.LATENT_BYTES", 4 * 24 * 5)
    torch.testing.assert_close(change(h), expected)
    assert sizes == [5] * 6 + [3]
