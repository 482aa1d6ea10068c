"""Whitening and normalised tokens: written out in numpy, and as SAELens has them; folding changes no latent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.sae import SAE, LossState, inference_sae
from saewidgets.sae.scaler import EPSILON, Scaler, Whitening, unfold_whitening
from tests.sae.cases import ALL, D_IN, D_SAE, aim, batch, gradients, make, plain
from tests.sae.test_losses import arrays

RUNS = Path(__file__).parents[1] / "golden" / "saelens_runs"
FOLDABLE = ("standard", "topk", "batchtopk", "matryoshka", "jumprelu", "gated")


def _rows(n: int = 400) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    mixed = torch.randn(n, D_IN, generator=generator, dtype=torch.float64) @ torch.randn(
        D_IN, D_IN, generator=generator, dtype=torch.float64
    )
    return mixed * torch.logspace(-2, 1, D_IN, dtype=torch.float64) + 3


def _whitening(rows: Tensor) -> Whitening:
    return Whitening.of_covariance(rows.mean(0), torch.from_numpy(np.cov(rows.numpy().T)))


def test_whitened_rows_have_mean_zero_and_no_covariance() -> None:
    rows = _rows()
    whitening = _whitening(rows)
    z = Scaler(whitening=whitening).apply(rows)
    values = np.linalg.eigvalsh(np.cov(rows.numpy().T))
    assert values.min() < EPSILON < values.max()  # the ε is seen
    torch.testing.assert_close(z.mean(0), torch.zeros(D_IN, dtype=torch.float64), atol=1e-9, rtol=0)
    expected = np.diag(values / (values + EPSILON))
    np.testing.assert_allclose(np.cov(z.numpy().T), expected, atol=1e-8)
    torch.testing.assert_close(Scaler(whitening=whitening).undo(z), rows)
    torch.testing.assert_close(whitening.matrix @ whitening.inverse, torch.eye(D_IN, dtype=torch.float64))
    constant = Whitening.of_covariance(rows[0], torch.zeros(D_IN, D_IN, dtype=torch.float64))
    assert torch.isfinite(constant.matrix).all()


@pytest.mark.parametrize("name", ["whitened", "whitened_gated"])
def test_it_is_that_of_saelens(name: str) -> None:
    golden = load_file(RUNS / f"{name}.safetensors")
    theirs = Whitening.of_tensors({
        key.removeprefix("whitening."): value for key, value in golden.items() if key.startswith("whitening.")
    })
    ours = _whitening(golden["batches"].flatten(0, 1).double())
    torch.testing.assert_close(ours.mean, theirs.mean)
    signs = torch.sign((ours.matrix * theirs.matrix).sum(0))  # an eigenvector may point either way
    torch.testing.assert_close(ours.matrix * signs, theirs.matrix)
    torch.testing.assert_close(ours.inverse * signs[:, None], theirs.inverse)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", FOLDABLE)
def test_folding_changes_neither_latents_nor_reconstructions(name: str, centred: bool) -> None:
    sae, rows = make(name, centred=centred).to_inference().double(), _rows()
    whitening = _whitening(rows)
    scaler = Scaler(whitening=whitening)
    trained = {key: value.clone() for key, value in sae.state_dict().items()}
    with torch.no_grad():
        z = scaler.apply(rows)
        latents = sae.encode(z)
        expected = scaler.undo(sae.decode(latents))
        sae.fold_whitening(whitening)
        torch.testing.assert_close(sae.encode(rows), latents, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(sae(rows), expected, rtol=1e-6, atol=1e-6)
        back = {key: value.clone() for key, value in sae.state_dict().items()}
        unfold_whitening(back, whitening, centred=centred)
    for key, value in trained.items():
        torch.testing.assert_close(back[key], value, rtol=1e-6, atol=1e-6)


def test_float32_weights_lose_no_more_than_rounding() -> None:
    sae, rows = make("standard", centred=False).to_inference(), _rows()
    whitening = _whitening(rows)
    exact = make("standard", centred=False).to_inference().double()
    sae.fold_whitening(whitening)
    exact.fold_whitening(whitening)
    for key, value in exact.state_dict().items():
        torch.testing.assert_close(sae.state_dict()[key], value.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [("skip", {}, "a skip"), ("transcoder", {}, "a transcoder"), ("skip_transcoder", {}, "a skip_transcoder"),
     ("topk", {"normalize_activations": "layer_norm"}, "normalises every token")],
)  # fmt: skip
def test_what_cannot_take_it_says_so(name: str, settings: dict[str, str], word: str) -> None:
    sae = make(name, **settings)
    before = sae.W_enc.clone()
    with pytest.raises(ConfigError, match=word):
        sae.fold_whitening(_whitening(_rows()))
    assert torch.equal(sae.W_enc, before)


Array = NDArray[Any]
KINDS = ("layer_norm", "constant_norm_rescale")
DEAD = torch.arange(D_SAE) % 4 == 0
both = pytest.mark.parametrize("kind", KINDS)


def normalised(x: Array, kind: str) -> tuple[Array, Callable[[Array], Array]]:
    """The input as the encoder sees it, and what makes activations of the decoder's output."""
    if kind == "layer_norm":
        mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        return (x - mean) / (std + 1e-5), lambda y: y * std + mean
    factor = np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)
    return x * factor, lambda y: y / factor


def error(y: Array, target: Array) -> float:
    return float(((y - target) ** 2).sum(1).mean())


def winners(pre: Array, k: int, whole: bool) -> Array:
    """Which pre-activations are kept: k of each row, or k · rows of the batch."""
    flat = pre.reshape(1, -1) if whole else pre
    order = np.argsort(-flat, axis=1)[:, : k * (len(pre) if whole else 1)]
    kept = np.zeros_like(flat, dtype=bool)
    np.put_along_axis(kept, order, True, axis=1)
    return kept.reshape(pre.shape) & (pre > 0)


def formula(sae: SAE, x: Array, target: Array) -> Callable[[dict[str, Array]], float]:
    """The loss as a function of the weights; what a loss holds constant is taken at the weights of `sae`."""
    cfg: Any = sae.cfg
    seen, undo = normalised(x, cfg.normalize_activations)
    if sae.is_transcoder:
        undo = lambda y: y  # noqa: E731 - what it puts out belongs to another place

    def pre(w: dict[str, Array]) -> Array:
        return (seen - w["b_dec"] if cfg.apply_b_dec_to_input else seen) @ w["W_enc"] + w.get("b_enc", 0.0)

    def decoded(w: dict[str, Array], f: Array, width: int | None = None) -> Array:
        return undo(f[:, :width] @ w["W_dec"][:width] + w["b_dec"])

    def norms(w: dict[str, Array]) -> Array:
        return np.linalg.norm(w["W_dec"], axis=1)

    w0 = arrays(sae)
    if cfg.architecture in ("topk", "batchtopk", "matryoshka"):
        kept = winners(pre(w0), cfg.k, cfg.architecture != "topk")
        residual = target - decoded(w0, np.where(kept, pre(w0), 0))
        dead = DEAD.numpy().nonzero()[0]
        chosen = winners(pre(w0)[:, dead] + 1e6, cfg.aux_k, whole=False)  # the largest, positive or not
        levels = getattr(cfg, "levels", (cfg.d_sae,))

        def sparse(w: dict[str, Array]) -> float:
            f = np.where(kept, pre(w), 0)
            of_dead = np.where(chosen, pre(w)[:, dead], 0) @ w["W_dec"][dead]
            explained = undo(of_dead) - undo(np.zeros_like(of_dead))  # without what undoing adds
            aux = cfg.aux_coefficient * min(len(dead) / cfg.aux_k, 1.0) * error(explained, residual)
            return sum(error(decoded(w, f, width), target) for width in levels) + aux

        return sparse
    if cfg.architecture == "gated":

        def gated(w: dict[str, Array]) -> float:
            z = pre(w)
            gate = np.maximum(z + w["b_gate"], 0)
            f = np.where(gate > 0, np.maximum(z * np.exp(w["r_mag"]) + w["b_mag"], 0), 0)
            l1 = cfg.l1_coefficient * float((gate @ norms(w)).mean())
            return error(decoded(w, f), target) + l1 + error(decoded(w, gate), target)

        return gated

    def dense(w: dict[str, Array]) -> float:
        p = pre(w)
        if cfg.architecture == "jumprelu":
            active = p > np.exp(w["log_threshold"])
            return error(decoded(w, np.where(active, p, 0)), target) + cfg.l0_coefficient * active.sum(1).mean()
        f = np.maximum(p, 0)
        y = decoded(w, f) + (x @ w["W_skip"].T if "W_skip" in w else 0)
        y = y + (w.get("skip", cfg.skip_scale) * x if cfg.architecture == "skip" else 0)
        return error(y, target) + cfg.l1_coefficient * float((f @ norms(w)).mean())

    return dense


def inputs() -> torch.Tensor:
    """Rows of very different sizes, far from zero."""
    x = batch()
    return x * torch.linspace(0.2, 4, len(x))[:, None] + 1.5


@both
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
@pytest.mark.parametrize("name", [*ALL, "skip_learned"])
def test_loss_and_gradients_are_those_of_the_formulas(name: str, kernels: bool, kind: str) -> None:
    settings: dict[str, Any] = {"learn_skip": True} if name == "skip_learned" else {}
    sae = make(name.removesuffix("_learned"), normalize_activations=kind, **settings)
    if not kernels:
        plain(sae)
    x = inputs()
    target = aim(sae, x)
    loss = sae.loss(x, target if sae.is_transcoder else None, step=LossState(1.0, DEAD))
    loss.total.backward()
    at, w = formula(sae, x.double().numpy(), target.double().numpy()), arrays(sae)
    assert loss.total.item() == pytest.approx(at(w), rel=1e-5)
    found_error = error(loss.reconstruction.double().numpy(), target.double().numpy())
    assert loss.mse.item() == pytest.approx(found_error, rel=1e-5)
    rng, h = np.random.default_rng(0), 1e-6
    for parameter, grad in gradients(sae).items():
        if parameter == "log_threshold" or (name == "jumprelu" and parameter != "W_dec"):
            continue  # straight-through: held to sae-lens in test_saelens_training
        direction = rng.standard_normal(w[parameter].shape)
        slope = (at(w | {parameter: w[parameter] + h * direction}) - at(w | {parameter: w[parameter] - h * direction}))
        found = float((grad.double().numpy() * direction).sum())
        assert found == pytest.approx(slope / (2 * h), rel=1e-4, abs=1e-3), parameter


@both
@pytest.mark.parametrize("name", ALL)
def test_the_reconstruction_of_a_loss_is_that_of_the_sae(name: str, kind: str) -> None:
    sae = make(name, normalize_activations=kind).train()
    x = inputs()
    with torch.no_grad():
        loss = sae.loss(x, aim(sae, x) if sae.is_transcoder else None)
        assert torch.allclose(loss.reconstruction, sae(x), rtol=1e-4, atol=1e-4)


@both
def test_tokens_of_zeros_and_of_one_value_are_no_nan(kind: str) -> None:
    x = torch.cat([torch.zeros(2, 12), torch.full((2, 12), 3.0), inputs()])
    for name in ("standard", "topk", "gated", "skip"):
        sae = make(name, normalize_activations=kind)
        loss = sae.loss(x, step=LossState(1.0, DEAD))
        loss.total.backward()
        assert loss.total.isfinite()
        assert all(grad.isfinite().all() for grad in gradients(sae).values())
        if name != "skip":  # whose path around the latents is lost where a token has one value everywhere
            assert bool(torch.isclose(loss.reconstruction, sae(x), rtol=1e-4, atol=1e-4).all())


@both
@pytest.mark.parametrize("name", ALL)
def test_inference_computes_the_same(name: str, kind: str) -> None:
    sae = make(name, normalize_activations=kind).eval()
    if name in ("batchtopk", "matryoshka"):
        sae.threshold.fill_(0.6)
    frozen, x = sae.to_inference(), inputs()
    assert frozen.cfg.normalize_activations == kind
    with torch.no_grad():
        assert torch.allclose(frozen.encode(x), sae.encode(x), atol=1e-5)
        assert torch.allclose(frozen(x), sae(x), rtol=1e-4, atol=1e-4)


def test_heads_are_not_laid_side_by_side_in_training() -> None:
    tensors = make("standard").inference_tensors()
    with pytest.raises(ConfigError, match="not trained"):
        inference_sae("standard", 12, tensors, reshape_activations="hook_z").loss(batch())
