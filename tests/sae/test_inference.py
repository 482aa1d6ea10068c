"""What every SAE that is loaded promises beside test_contract.py: `inference_sae` and the classes behind it. What
sae-lens computes is in tests/formats/test_goldens.py."""

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.sae import SAE, create_sae, inference_sae
from saewidgets.sae.architectures import lookup_inference
from tests.sae import reference
from tests.sae.cases import (
    ALL,
    AUTOENCODERS,
    D_IN,
    D_OUT,
    D_SAE,
    HEADS,
    LOADED,
    TRANSCODERS,
    batch,
    inputs,
    loaded,
    relative,
    shapes,
    stored,
)

NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
every = pytest.mark.parametrize("name", LOADED)
normalised = pytest.mark.parametrize(("name", "normalisation"), list(zip(LOADED, cycle(NORMALISATIONS))))


def settings_of(sae: SAE) -> dict[str, Any]:
    return sae.cfg.model_dump(exclude={"architecture"})


def expected(name: str, sae: SAE, x: Tensor) -> tuple[Tensor, Tensor]:
    arrays = {key: tensor.double().numpy() for key, tensor in sae.inference_tensors().items()}
    f, y = reference.loaded_sae(name, arrays, x.double().numpy(), settings_of(sae))
    return torch.from_numpy(np.ascontiguousarray(f)), torch.from_numpy(np.ascontiguousarray(y))


# --- what is computed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "normalisation", "centred"),
    [
        (name, NORMALISATIONS[(number + centred) % len(NORMALISATIONS)], bool(centred) and name not in TRANSCODERS)
        for centred in (0, 1) for number, name in enumerate(LOADED)
    ],
)
def test_latents_and_reconstruction_are_the_formulas(name: str, normalisation: str, centred: bool) -> None:
    sae = loaded(name, normalize_activations=normalisation, apply_b_dec_to_input=centred)
    x = inputs(name)
    f, y = expected(name, sae, x)
    assert torch.equal(sae.encode(x) != 0, f != 0)
    assert f.any()
    assert not f.all()
    assert relative(sae.encode(x), f) < 1e-5
    assert relative(sae(x), y) < 1e-5


@pytest.mark.parametrize("name", ["topk_skip_transcoder", "groupmax_skip_transcoder"])
def test_an_sae_of_sparsify_with_a_skip_path_centres_its_input_but_not_the_path(name: str) -> None:
    tensors = stored(name, d_out=D_IN)
    sae = inference_sae(name, D_IN, tensors, apply_b_dec_to_input=True, **LOADED[name])
    x = inputs(name)
    f, y = expected(name, sae, x)
    assert relative(sae.encode(x), f) < 1e-5
    assert relative(sae(x), y) < 1e-5
    assert not sae.is_transcoder
    with pytest.raises(ConfigError, match="9 entries and cannot be subtracted") as error:
        loaded(name, apply_b_dec_to_input=True)
    assert error.value.where == "apply_b_dec_to_input"


@pytest.mark.parametrize(
    "settings",
    [
        {"sae_diff_type": "relu", "kval_topk": None},
        {"normalize_activations": "constant_scalar_rescale", "activation_normalization_factor": 0.3},
        {"tied_weights": False, "apply_b_dec_to_input": False},
    ],
    ids=["relu", "scaled", "untied"],
)
def test_variants_of_temporal(settings: dict[str, Any]) -> None:
    tensors = stored("temporal")
    if not settings.get("tied_weights", True):
        tensors["W_enc"] = 0.4 * batch(D_IN, d_in=D_SAE)
    sae = inference_sae("temporal", D_IN, tensors, **(LOADED["temporal"] | settings))
    x = inputs("temporal")
    f, y = expected("temporal", sae, x)
    assert relative(sae.encode(x), f) < 1e-5
    assert relative(sae(x), y) < 1e-5
    assert sae.W_enc.shape == (D_IN, D_SAE)


@pytest.mark.parametrize("settings", [{"max_iterations": 2}, {"stop_on_duplicate_support": False}], ids=str)
def test_variants_of_matching_pursuit(settings: dict[str, Any]) -> None:
    sae, x = loaded("matching_pursuit", **settings), inputs("matching_pursuit")
    f, y = expected("matching_pursuit", sae, x)
    assert relative(sae.encode(x), f) < 1e-5
    assert relative(sae(x), y) < 1e-5
    if "max_iterations" in settings:
        assert ((sae.encode(x) != 0).sum(1) <= 2).all()
    assert torch.equal(sae.W_enc, sae.W_dec.T)
    assert sae.encode(x[:0]).shape == (0, D_SAE)


@pytest.mark.parametrize("name", ["topk", "abstopk"])
def test_rescaling_by_the_decoders_norms_is_folded(name: str) -> None:
    tensors, x = stored(name), inputs(name)
    sae = inference_sae(name, D_IN, tensors, rescale_acts_by_decoder_norm=True, **LOADED[name])
    norms = tensors["W_dec"].norm(dim=1)
    pre = ((x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]) * norms
    f = loaded(name).activate(pre)
    assert relative(sae.encode(x), f) < 1e-5
    assert relative(sae(x), (f / norms) @ tensors["W_dec"] + tensors["b_dec"]) < 1e-5
    assert torch.equal(tensors["W_dec"], stored(name)["W_dec"])  # the caller's are left alone
    unit = tensors | {"W_dec": tensors["W_dec"] / norms[:, None]}
    same = inference_sae(name, D_IN, unit, rescale_acts_by_decoder_norm=True, **LOADED[name])
    assert same.W_dec.data_ptr() == unit["W_dec"].data_ptr()


# --- shapes, heads, dtypes -------------------------------------------------------------------------------------------


@normalised
def test_decode_asks_for_the_input_where_it_needs_it(name: str, normalisation: str) -> None:
    sae, x = loaded(name, normalize_activations=normalisation), inputs(name)
    f = sae.encode(x)
    needed = "skip" in name or name == "temporal" or (normalisation != "none" and name in AUTOENCODERS)
    assert sae.needs_input is needed
    if not needed:
        assert torch.equal(sae.decode(f), sae(x))
        return
    with pytest.raises(ConfigError, match="depends on its input") as error:
        sae.decode(f)
    assert error.value.where == "x"
    with pytest.raises(ConfigError, match="that f was encoded"):
        sae.decode(f, x[:-1])


@pytest.mark.parametrize(
    ("name", "normalisation"), list(zip([name for name in AUTOENCODERS if name != "temporal"], cycle(NORMALISATIONS)))
)
def test_heads_are_laid_side_by_side_and_taken_apart(name: str, normalisation: str) -> None:
    sae = loaded(name, reshape_activations="hook_z", normalize_activations=normalisation)
    plain = loaded(name, normalize_activations=normalisation)
    x = inputs(name).view(2, 12, D_IN)
    heads = x.view(2, 12, HEADS, D_IN // HEADS)
    f = plain.encode(x)
    assert torch.equal(sae.encode(heads), f)
    assert torch.equal(sae.encode(x), f)
    assert sae(heads).shape == heads.shape
    assert torch.equal(sae(heads).flatten(-2), plain(x))
    assert torch.equal(sae(x), plain(x))
    assert torch.equal(sae.decode(f, heads), sae(heads))
    if not sae.needs_input:
        assert sae.decode(f).shape == x.shape
    with pytest.raises(ConfigError, match=rf"width {D_IN // HEADS}.*d_in is {D_IN}"):
        plain.encode(heads)
    with pytest.raises(ConfigError, match="width 5"):
        sae.encode(torch.zeros(2, 3, 5))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_dtype(name: str, dtype: torch.dtype) -> None:
    x, sae, other = inputs(name), loaded(name), loaded(name, dtype=dtype)
    assert other.encode(x).dtype == dtype
    assert other(x).dtype == torch.float32
    if name != "matching_pursuit" and dtype == torch.float16:  # later picks depend on earlier rounding
        assert relative(other(x), sae(x)) < 0.1


@pytest.mark.gpu
@normalised
def test_on_a_gpu(name: str, normalisation: str) -> None:
    sae, x = loaded(name, normalize_activations=normalisation), inputs(name)
    there = sae.to_inference().to("cuda")
    assert there(x.cuda()).device.type == "cuda"
    assert relative(there.encode(x.cuda()).cpu(), sae.encode(x)) < 1e-3
    assert relative(there(x.cuda()).cpu(), sae(x)) < 1e-3


# --- state -----------------------------------------------------------------------------------------------------------


@normalised
def test_inference_tensors_rebuild_the_same_sae(name: str, normalisation: str) -> None:
    sae, x = loaded(name, normalize_activations=normalisation), inputs(name)
    for source in (sae, sae.to_inference()):
        given = source.inference_tensors()
        assert set(given) == set(shapes(name))
        again = inference_sae(name, D_IN, given, **settings_of(source))
        assert again.cfg == sae.cfg
        assert all(torch.equal(again.state_dict()[key], value) for key, value in sae.state_dict().items())
        assert torch.equal(again(x), sae(x))


# --- scales ----------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("centred", [True, False], ids=["centred", "raw"])
def test_folding_a_scale_is_right_or_refused(name: str, centred: bool) -> None:
    if name in (*TRANSCODERS, "matching_pursuit", "temporal"):
        with pytest.raises(ConfigError, match="scale"):
            loaded(name).fold_scale(2.0)
        return
    sae, x, s = loaded(name, apply_b_dec_to_input=centred), inputs(name), 3.7
    latents, scaled = sae.encode(s * x), sae(s * x)
    sae.fold_scale(s)
    assert torch.equal(sae.encode(x) != 0, latents != 0)
    assert relative(sae.encode(x), latents) < 1e-5
    assert relative(sae(x), scaled / s) < 1e-5


@pytest.mark.parametrize(("name", "normalisation"), list(zip(LOADED, cycle(NORMALISATIONS[1:]))))
def test_an_sae_with_a_scale_of_its_own_takes_none(name: str, normalisation: str) -> None:
    with pytest.raises(ConfigError, match="scale of its own"):
        loaded(name, normalize_activations=normalisation).fold_scale(2.0)


# --- errors ----------------------------------------------------------------------------------------------------------


@every
def test_a_missing_a_strange_and_a_misshapen_tensor_are_named(name: str) -> None:
    tensors = stored(name)
    for key, tensor in tensors.items():
        with pytest.raises(ConfigError, match="missing") as error:
            inference_sae(name, D_IN, {k: v for k, v in tensors.items() if k != key}, d_sae=D_SAE, **_sized(name))
        assert error.value.where == key
        wrong = {**tensors, key: torch.zeros(*tensor.shape, 1)}
        with pytest.raises(ConfigError, match=r"shape is \[") as error:
            inference_sae(name, D_IN, wrong, d_sae=D_SAE, **_sized(name))
        assert error.value.where == key
        with pytest.raises(ConfigError, match="int64, expected a floating-point one") as error:
            inference_sae(name, D_IN, {**tensors, key: tensor.long()}, **LOADED[name])
        assert error.value.where == key
        with pytest.raises(ConfigError, match=r"float(16|32) on cpu"):
            inference_sae(name, D_IN, {**tensors, key: tensor.half()}, **LOADED[name])
    with pytest.raises(ConfigError, match="no such tensor") as error:
        inference_sae(name, D_IN, {**tensors, "scaling_factor": torch.ones(D_SAE)}, **LOADED[name])
    assert error.value.where == "scaling_factor"


def _sized(name: str) -> dict[str, Any]:
    return LOADED[name] | ({"d_out": D_OUT} if name in TRANSCODERS else {})


@pytest.mark.parametrize(
    ("name", "settings", "where", "what"),
    [
        ("topk", {"k": 41}, "k", "k is 41"),
        ("abstopk", {"k": 41}, "k", "k is 41 but d_sae is 40"),
        ("abstopk", {}, "k", "required"),
        ("groupmax", {"k": 7}, "k", "40 latents cannot be split into 7 equal groups"),
        ("transcoder", {"apply_b_dec_to_input": True}, "apply_b_dec_to_input", "belongs to its output"),
        ("transcoder", {"reshape_activations": "hook_z"}, "reshape_activations", "does not reshape heads"),
        ("temporal", {"n_heads": 3}, "d_sae", "cannot be split into 3 heads"),
        ("temporal", {"kval_topk": 41}, "kval_topk", "d_sae is 40"),
        ("standard", {"normalize_activations": "covariance_whitening"}, "normalize_activations", "Choose none"),
        ("standard", {"normalize_activations": "constant_scalar_rescale"}, "normalize_activations", "Choose none"),
        ("matching_pursuit", {"max_iterations": 0}, "max_iterations", "from 1 to"),
        ("gated", {"k": 3}, "k", "no such setting"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_named(name: str, settings: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        inference_sae(name, D_IN, stored(name), **({} if name == "abstopk" else LOADED[name]) | settings)
    assert error.value.where == where


@pytest.mark.parametrize("name", [name for name in LOADED if name not in ALL])
def test_loaded_architectures_cannot_be_trained(name: str) -> None:
    with pytest.raises(ConfigError, match="can be loaded and used, not trained"):
        loaded(name).loss(inputs(name))
    with pytest.raises(ConfigError, match="can be loaded and used, not trained"):
        create_sae(name, D_IN, d_sae=D_SAE)
    sae_class, config_class = lookup_inference(name)
    with pytest.raises(ConfigError, match="can be loaded and used, not trained"):
        sae_class(config_class(d_sae=D_SAE, **_sized(name)), D_IN)


@every
def test_tensors_are_used_as_they_are(name: str) -> None:
    tensors = stored(name)
    sae = inference_sae(name, D_IN, tensors, **LOADED[name])
    state = sae.state_dict()
    assert all(state[key].data_ptr() == tensor.data_ptr() for key, tensor in tensors.items())
    assert not sae.training
    assert not any(parameter.requires_grad for parameter in sae.parameters())
