"""Whitening and normalised tokens: written out in numpy, and as SAELens has them; folding changes no latent."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.sae import LossState, inference_sae
from saewidgets.sae.scaler import EPSILON, Scaler, Whitening, unfold_whitening
from tests.sae.cases import ALL, D_IN, D_SAE, aim, batch, gradients, make

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
def test_whitening_matches_saelens(name: str) -> None:
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


KINDS = ("layer_norm", "constant_norm_rescale")
DEAD = torch.arange(D_SAE) % 4 == 0
both = pytest.mark.parametrize("kind", KINDS)


def inputs() -> torch.Tensor:
    """Rows of very different sizes, far from zero."""
    x = batch()
    return x * torch.linspace(0.2, 4, len(x))[:, None] + 1.5


@both
@pytest.mark.parametrize("name", ALL)
def test_the_reconstruction_of_a_loss_is_that_of_the_sae(name: str, kind: str) -> None:
    sae = make(name, normalize_activations=kind).train()
    x = inputs()
    with torch.no_grad():
        loss = sae.loss(x, aim(sae, x) if sae.is_transcoder else None)
        assert torch.allclose(loss.reconstruction, sae(x), rtol=1e-4, atol=1e-4)


@both
def test_constant_tokens_give_no_nan(kind: str) -> None:
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
