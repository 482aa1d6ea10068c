"""Whitening: written out in numpy, and as SAELens' own package has it; moving it into weights changes no latent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.sae.scaler import EPSILON, Scaler, Whitening, unfold_whitening
from tests.sae.cases import D_IN, make

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
