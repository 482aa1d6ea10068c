"""What every architecture promises, whoever wrote it, and the registry that lists them."""

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config.sae import StandardConfig, TopKConfig, TranscoderConfig
from saewidgets.errors import ConfigError
from saewidgets.sae import (
    SAE,
    LossState,
    StandardSAE,
    TopKSAE,
    architectures,
    build_sae,
    create_sae,
    inference_architectures,
)
from saewidgets.sae.architectures import lookup
from tests.sae.cases import (
    ALL,
    CENTRED,
    D_IN,
    D_OUT,
    D_SAE,
    LOADED,
    PATHS,
    SETTINGS,
    aim,
    batch,
    by,
    gradients,
    inputs,
    loaded,
    loss_of,
    make,
    plain,
    relative,
)

OWN_STATE = {
    "batchtopk": {"b_enc", "threshold"}, "matryoshka": {"b_enc", "threshold"}, "jumprelu": {"b_enc", "threshold"},
    "gated": {"b_gate", "r_mag", "b_mag"}, "skip_transcoder": {"b_enc", "W_skip"},
}  # fmt: skip
every_architecture = pytest.mark.parametrize("name", ALL)
# Also those that are loaded: `loaded` makes them, `trained` the others.
BOTH = [*(("trained", name) for name in ALL), *(("loaded", name) for name in LOADED)]
trained_or_loaded = pytest.mark.parametrize(("how", "name"), BOTH)


def trained(name: str, **settings: Any) -> SAE:
    """An SAE that took three steps, so that buffers and norms are as in a run."""
    sae = make(name, **settings)
    optimizer = torch.optim.Adam(sae.param_groups(1e-2))
    for seed in range(3):
        optimizer.zero_grad()
        loss_of(sae, batch(seed=seed)).total.backward()
        sae.before_step()
        optimizer.step()
        sae.after_step()
    return sae


def made(how: str, name: str) -> SAE:
    return trained(name).eval() if how == "trained" else loaded(name)


def test_all_registered_architectures_are_tested() -> None:
    assert architectures() == ALL
    assert inference_architectures() == list(LOADED)


@pytest.mark.parametrize(
    ("how", "name", "leading"),
    [*((*each, leading) for each, leading in zip(BOTH, cycle([(), (7,), (2, 3, 4)]))), ("loaded", "temporal", (2, 5))],
)
def test_any_leading_dimensions(how: str, name: str, leading: tuple[int, ...]) -> None:
    sae, x = made(how, name), torch.randn(*leading, D_IN)
    if name == "temporal" and len(leading) != 2:
        with pytest.raises(ConfigError, match="reads whole contexts"):
            sae(x)
        return
    f = sae.encode(x)
    assert f.shape == (*leading, D_SAE)
    assert sae.decode(f, x).shape == (*leading, sae.d_out)
    assert sae.d_out == (D_OUT if "transcoder" in name else D_IN)
    assert torch.equal(sae(x), sae.decode(f, x))
    if how == "trained":
        rows = torch.stack([sae.encode(row) for row in x.reshape(-1, D_IN)])
        assert torch.allclose(f.reshape(-1, D_SAE), rows, atol=1e-5)


@every_architecture
def test_only_the_total_carries_a_graph_and_it_is_the_sum_of_the_terms(name: str) -> None:
    loss = loss_of(make(name), batch(), LossState(0.5, torch.ones(D_SAE, dtype=torch.bool)))
    assert loss.total.requires_grad
    assert not any(t.requires_grad for t in (*loss.terms.values(), loss.mse, loss.reconstruction, loss.l0, loss.fired))
    assert loss.total.item() == pytest.approx(sum(term.item() for term in loss.terms.values()), rel=1e-6)
    assert torch.equal(loss.terms["mse"], loss.mse)


@every_architecture
@pytest.mark.parametrize("path", PATHS)
def test_l0_fired_mse_and_reconstruction_match_encode(name: str, path: str) -> None:
    sae = by(path, make(name))
    loss, x = loss_of(sae, batch(rows=3)), batch(rows=3)
    f = sae.encode(x)
    assert loss.l0.item() == pytest.approx((f > 0).sum().item() / 3)
    assert torch.equal(loss.fired, (f > 0).any(0))
    assert loss.fired.any()
    assert not loss.fired.all()
    assert torch.allclose(loss.reconstruction, sae.decode(f, x), atol=1e-5)
    assert loss.mse.item() == pytest.approx((sae.decode(f, x) - aim(sae, x)).pow(2).sum(1).mean().item(), rel=1e-5)


@every_architecture
def test_the_sparsity_scale_scales_only_the_penalty(name: str) -> None:
    sae = make(name)
    full, none = loss_of(sae, batch(), LossState(1.0)), loss_of(sae, batch(), LossState(0.0))
    assert torch.equal(full.mse, none.mse)
    for term in ("l1", "l0_penalty"):
        if term in full.terms:
            assert full.terms[term] > 0
            assert none.terms[term] == 0


@every_architecture
def test_decoder_rows_keep_norm_one_and_lose_the_parallel_gradient(name: str) -> None:
    sae = make(name)
    loss_of(sae, batch()).total.backward()
    raw = gradients(sae)["W_dec"].clone()
    sae.before_step()
    left, unit = gradients(sae)["W_dec"], sae.W_dec.detach() / sae.W_dec.detach().norm(dim=1, keepdim=True)
    assert (left * unit).sum(1).abs().max() < 1e-5 * raw.norm(dim=1).max()
    across = raw - (raw * unit).sum(1, keepdim=True) * unit
    assert relative(left, across) < 1e-5
    torch.optim.SGD(sae.parameters(), lr=0.1).step()
    sae.after_step()
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(D_SAE), atol=1e-6)


@every_architecture
def test_initialisation(name: str) -> None:
    sae = create_sae(name, D_IN, d_sae=D_SAE, decoder_init_norm=0.25, **SETTINGS[name])
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.full((D_SAE,), 0.25), atol=1e-6)
    if sae.is_transcoder:
        assert torch.allclose(sae.W_enc.norm(dim=0), torch.full((D_SAE,), 0.25), atol=1e-6)
        assert not torch.equal(sae.W_enc, sae.W_dec.T)
    else:
        assert torch.equal(sae.W_enc, sae.W_dec.T)
    assert not any(parameter.any() for key, parameter in sae.named_parameters() if key.startswith(("b_", "r_", "W_s")))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("standard", {}), ("jumprelu", {}), ("gated", {}), ("transcoder", {"d_out": D_OUT}),
     ("skip", {"normalize_activations": "constant_norm_rescale", "skip_scale": 0.3})],
)  # fmt: skip
def test_it_starts_from_the_data(name: str, settings: dict[str, Any]) -> None:
    """The decoder's bias at the mean, of standard at half of it; latents sparse, but less so than wanted, as those that
    never fire never learn."""
    x = batch(500, d_in=64) + 0.5
    sae, given = create_sae(name, 64, d_sae=1024, target_l0=20, **settings), make(name, d_in=64)
    target, before = aim(sae, x), {key: tensor.clone() for key, tensor in given.state_dict().items()}
    sae.start_from(x, target)
    wanted = 0.7 * 8 / x.norm(dim=1, keepdim=True) * target if name == "skip" else target
    assert torch.allclose(sae.b_dec, wanted.mean(0) * (0.5 if name == "standard" else 1.0), atol=1e-5)
    assert sae.encode(x).count_nonzero() / 500 == pytest.approx(20 * (2 if name == "jumprelu" else 8), rel=0.01)
    given.start_from(x, aim(given, x))  # a given coefficient leads where it leads
    assert [key for key, tensor in given.state_dict().items() if not torch.equal(tensor, before[key])] == ["b_dec"]


@every_architecture
def test_a_generator_fixes_the_weights_and_global_randomness_is_left_alone(name: str) -> None:
    config = create_sae(name, D_IN, d_sae=D_SAE, **SETTINGS[name]).cfg
    before = torch.get_rng_state()
    one, two, other = (build_sae(config, D_IN, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one.W_dec, two.W_dec)
    assert not torch.equal(one.W_dec, other.W_dec)
    assert not torch.equal(build_sae(config, D_IN).W_dec, build_sae(config, D_IN).W_dec)
    assert torch.equal(torch.get_rng_state(), before)


@every_architecture
def test_the_same_batch_gives_the_same_bits(name: str) -> None:
    results = []
    for _ in range(3):
        sae = make(name, d_in=64, d_sae=1024)
        x = batch(200, d_in=64)
        loss = loss_of(sae, x, LossState(1.0, torch.arange(1024) % 3 == 0))
        loss.total.backward()
        results.append([loss.total.detach(), loss.reconstruction, *gradients(sae).values(), *sae.buffers()])
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))


@every_architecture
def test_state_dict_round_trip_and_its_names(name: str) -> None:
    sae = trained(name)
    state = sae.state_dict()
    assert set(state) == {"W_enc", "W_dec", "b_dec"} | OWN_STATE.get(name, {"b_enc"})
    assert all(tensor.is_contiguous() for tensor in state.values())
    assert state["W_enc"].shape == (D_IN, D_SAE)
    assert state["W_dec"].shape == (D_SAE, sae.d_out)
    copy = make(name, seed=9)
    copy.load_state_dict(state)
    x = batch()
    assert torch.equal(copy.eval().encode(x), sae.eval().encode(x))


@trained_or_loaded
def test_the_inference_form_is_a_frozen_copy(how: str, name: str) -> None:
    sae, x = made(how, name), inputs(name)
    sae.metadata = {"hook_name": "blocks.2.mlp.hook_in"}
    frozen = sae.to_inference()
    before = frozen(x)
    for tensor in sae.state_dict().values():
        tensor.zero_()
    assert torch.equal(frozen(x), before)
    assert frozen.metadata == {"hook_name": "blocks.2.mlp.hook_in"}
    assert not frozen.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.grad is None for parameter in frozen.parameters())


@pytest.mark.parametrize(("name", "centred"), CENTRED)
def test_folding_the_scale_moves_it_into_the_weights(name: str, centred: bool) -> None:
    sae, s = trained(name, centred=centred).eval(), 3.7
    x = batch(50)
    out = 0.3 if sae.is_transcoder else s
    latents, scaled = sae.encode(s * x), sae(s * x)
    if sae.is_transcoder:
        with pytest.raises(ConfigError, match="scales of their own"):
            sae.fold_scale(s)
        sae.fold_scales(s, out)
    else:
        with pytest.raises(ConfigError, match="reconstructs its input"):
            sae.fold_scales(s, 0.3)
        sae.fold_scale(s)
    assert torch.equal(sae.encode(x) > 0, latents > 0)
    assert relative(sae.encode(x), latents) < 1e-5
    assert relative(sae(x), scaled / out) < 1e-5
    exported = sae.to_inference()
    assert relative(exported(x), scaled / out) < 1e-5


@pytest.mark.parametrize(("name", "s"), list(zip(ALL, cycle([0.0, -1.0, float("nan"), float("inf")]))))
def test_a_senseless_scale_is_refused(name: str, s: float) -> None:
    with pytest.raises(ConfigError, match="scale"):
        make(name).fold_scale(s)
    with pytest.raises(ConfigError, match="scale"):
        make(name).fold_scales(2.0, s)


@trained_or_loaded
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_input_dtypes(how: str, name: str, dtype: torch.dtype) -> None:
    sae, x = made(how, name), inputs(name).to(dtype)
    assert sae.encode(x).dtype == torch.float32
    assert sae(x).dtype == dtype
    assert torch.equal(sae.encode(x), sae.encode(x.float()))
    if how == "trained":
        assert loss_of(sae.train(), x).total.dtype == torch.float32


@every_architecture
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_dtype(name: str, dtype: torch.dtype) -> None:
    exact, other = make(name), make(name).to(dtype)
    expected, loss = loss_of(exact, batch()), loss_of(other, batch())
    expected.total.backward()
    loss.total.backward()
    near = 0.05 if dtype == torch.bfloat16 else 1e-5
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=near)
    for parameter, grad in gradients(other).items():
        assert grad.dtype == dtype
        assert relative(grad, gradients(exact)[parameter]) < (0.25 if dtype == torch.bfloat16 else 1e-4), parameter


@every_architecture
@pytest.mark.parametrize(("kernels", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_autocast(name: str, kernels: bool, dtype: torch.dtype) -> None:
    exact, mixed = make(name, d_in=32), make(name, d_in=32) if kernels else plain(make(name, d_in=32))
    x = batch(64, d_in=32)
    loss = loss_of(exact, x)
    loss.total.backward()
    with torch.autocast("cpu", dtype):
        low = loss_of(mixed, x)
    (low.total * 256).backward()
    assert low.total.dtype == torch.float32
    assert low.reconstruction.dtype == torch.float32
    assert low.total.item() == pytest.approx(loss.total.item(), rel=0.03)
    for parameter, grad in gradients(mixed).items():
        assert grad.dtype == torch.float32
        assert relative(grad / 256, gradients(exact)[parameter]) < 0.2, parameter


@pytest.mark.parametrize(("name", "scale"), list(zip(ALL, cycle([1.0, 65_536.0]))))
def test_float16_does_not_overflow_in_a_batch_of_thousands(name: str, scale: float) -> None:
    exact, mixed = make(name, d_in=32), make(name, d_in=32)
    x = batch(8192, d_in=32)
    loss_of(exact, x).total.backward()
    with torch.autocast("cpu", torch.float16):
        low = loss_of(mixed, x)
    (low.total * scale).backward()
    for parameter, grad in gradients(mixed).items():
        assert grad.isfinite().all(), parameter
        assert relative(grad / scale, gradients(exact)[parameter]) < 0.2, parameter


@trained_or_loaded
def test_gradients_flow_to_the_input_where_it_wants_them(how: str, name: str) -> None:
    sae = made(how, name)
    of_sae, of_loss = lambda x: sae(x).square().sum(), lambda x: loss_of(sae.train(), x).total
    for result in (of_sae, of_loss) if how == "trained" else (of_sae,):
        x = inputs(name).requires_grad_()
        result(x).backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert x.grad.any()


@pytest.mark.gpu
@every_architecture
def test_on_a_gpu(name: str) -> None:
    here, there = make(name), make(name).to("cuda")
    dead = torch.arange(D_SAE) % 5 == 0
    for sae, device in ((here, "cpu"), (there, "cuda")):
        loss = loss_of(sae, batch().to(device), LossState(0.7, dead.to(device)))
        loss.total.backward()
        assert loss.reconstruction.device.type == device
    for parameter, grad in gradients(here).items():
        assert relative(gradients(there)[parameter].cpu(), grad) < 1e-3, parameter


@trained_or_loaded
def test_a_wrong_width_is_named(how: str, name: str) -> None:
    sae = made(how, name)
    others = [(torch.zeros(D_IN - 1), D_IN - 1), (torch.zeros(()), "a scalar")] if name != "temporal" else []
    for x, found in [(torch.zeros(2, 3, D_IN + 1), D_IN + 1), *others]:
        for call in (sae.encode, sae, *([sae.loss] if how == "trained" else [])):
            with pytest.raises(ConfigError, match=rf"{found}.*d_in is {D_IN}"):
                call(x)
    for f in (torch.zeros(2, D_SAE + 1), torch.zeros(())):
        with pytest.raises(ConfigError, match=rf"d_sae is {D_SAE}"):
            sae.decode(f)


@every_architecture
def test_other_bad_arguments_are_named(name: str) -> None:
    sae = make(name)
    with pytest.raises(ConfigError, match="target"):
        sae.loss(batch(4), torch.zeros(5, sae.d_out))
    with pytest.raises(ConfigError, match="dead"):
        loss_of(sae, batch(), LossState(1.0, torch.zeros(D_SAE + 1, dtype=torch.bool)))
    with pytest.raises(ConfigError, match="empty"):
        loss_of(sae, torch.zeros(0, D_IN))
    with pytest.raises(ConfigError, match="d_in"):
        create_sae(name, 0, d_sae=D_SAE, **SETTINGS[name])


@pytest.mark.parametrize("value", [[1.0, 2.0], None, "x", 3])
def test_rejects_values_that_are_not_tensors(value: Any) -> None:
    sae = create_sae("topk", d_in=2, d_sae=4, k=1)
    for call, where in ((sae.encode, "x"), (sae, "x"), (sae.decode, "f"), (sae.loss, "x")):
        with pytest.raises(ConfigError, match="Expected a tensor") as caught:
            call(value)
        assert caught.value.where == where
    if value is not None:
        with pytest.raises(ConfigError, match="Expected a tensor") as caught:
            sae.loss(torch.zeros(3, 2), value)
        assert caught.value.where == "target"


def test_create_by_name_and_build_from_a_configuration() -> None:
    sae = create_sae("topk", d_in=16, d_sae=64, k=3)
    assert isinstance(sae, TopKSAE)
    assert (sae.cfg, sae.d_in, sae.d_sae) == (TopKConfig(d_sae=64, k=3), 16, 64)
    assert isinstance(build_sae(StandardConfig(d_sae=32), 8), StandardSAE)


def test_the_width_of_the_reconstruction() -> None:
    for sae in (
        build_sae(TranscoderConfig(d_sae=32), 8, d_out=5), build_sae(TranscoderConfig(d_sae=32, d_out=5), 8),
        create_sae("skip_transcoder", 8, d_sae=32, d_out=5),
    ):  # fmt: skip
        assert (sae.d_out, sae.cfg.d_out, sae.is_transcoder) == (5, 5, True)
        assert sae.W_dec.shape == (32, 5)
    assert create_sae("transcoder", 8, d_sae=32).d_out == 8
    assert build_sae(StandardConfig(d_sae=32), 8, d_out=8).d_out == 8
    with pytest.raises(ConfigError, match="standard SAE reconstructs its input") as error:
        build_sae(StandardConfig(d_sae=32), 8, d_out=5)
    assert error.value.where == "d_out"
    with pytest.raises(ConfigError, match="5 here and 6 in the configuration"):
        build_sae(TranscoderConfig(d_sae=32, d_out=6), 8, d_out=5)
    with pytest.raises(ConfigError, match="d_out is 0"):
        build_sae(TranscoderConfig(d_sae=32), 8, d_out=0)


@pytest.mark.parametrize(
    ("name", "settings", "where", "what"),
    [
        ("tokp", {}, None, r"'tokp'.*standard, topk, batchtopk, matryoshka, jumprelu"),
        ("topk", {"top_k": 3}, "top_k", "no such setting"),
        ("topk", {"k": 41}, "k", "k is 41 but d_sae is 40"),
        ("batchtopk", {"k": 41}, "k", "k is 41 but d_sae is 40"),
    ],
)
def test_what_cannot_be_made_is_named(name: str, settings: dict[str, Any], where: str | None, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        create_sae(name, D_IN, d_sae=40, **settings)
    assert where in (None, error.value.where)


DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", architectures())
def test_every_architecture_has_a_page_that_names_its_parameters(name: str) -> None:
    page = (DOCS / "architectures" / f"{name}.md").read_text()
    shared = {"architecture", "d_sae", "decoder_init_norm", "apply_b_dec_to_input", "normalize_activations",
              "reshape_activations", "start_from_data"}  # fmt: skip
    for setting in set(lookup(name)[1].model_fields) - shared:
        assert f"| `{setting}`" in page or f", `{setting}` |" in page, setting
    assert all(word in page for word in ("**When.**", "**Source.**", f"Code: `sae/{name}.py`"))
    for listing in (DOCS / "architectures" / "index.md", DOCS / "sae.md"):
        assert f"{name}.md)" in listing.read_text()


@every_architecture
def test_a_decoder_row_of_zeros_does_no_harm(name: str) -> None:
    sae = make(name)
    with torch.no_grad():
        sae.W_dec[3] = 0
    loss_of(sae, batch()).total.backward()
    sae.before_step()
    assert all(grad.isfinite().all() for grad in gradients(sae).values())
    sae.after_step()
    assert sae.W_dec.isfinite().all()


@every_architecture
def test_parameter_groups_hold_every_parameter_once(name: str) -> None:
    sae = make(name)
    held = [id(parameter) for group in sae.param_groups(1e-3) for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in sae.parameters())
