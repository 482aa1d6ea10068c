"""Firings against `SAE.encode`: every architecture, and TopK's winners against sorting."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.features.extraction import encoding
from saewidgets.features.extraction.chunk import Chunk, make_chunk
from saewidgets.features.extraction.encoding import Encoder, winners
from saewidgets.sae import SAE, create_sae, inference_sae

D_IN, D_SAE, CONTEXTS, LENGTH = 16, 96, 5, 7


def _weights(d_sae: int = D_SAE) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(D_IN, d_sae, generator=generator)
    return {
        "W_enc": W, "b_enc": torch.randn(d_sae, generator=generator), "W_dec": W.T.contiguous() / 4,
        "b_dec": torch.randn(D_IN, generator=generator),
    }


def _saes() -> dict[str, SAE]:
    weights = _weights()
    threshold = {"threshold": torch.linspace(-1, 4, D_SAE)}
    gated = {"b_gate": weights["b_enc"], "r_mag": weights["b_enc"] / 4, "b_mag": weights["b_enc"]}
    batch = create_sae("batchtopk", D_IN, d_sae=D_SAE, k=4)
    batch.load_state_dict({**weights, "threshold": torch.tensor(2.5)})
    trained = create_sae("jumprelu", D_IN, d_sae=D_SAE)
    trained.load_state_dict({**weights, "log_threshold": torch.linspace(-3, 1, D_SAE)})
    return {
        "standard": inference_sae("standard", D_IN, weights),
        "normalised": inference_sae("standard", D_IN, weights, normalize_activations="layer_norm"),
        "topk": inference_sae("topk", D_IN, weights, k=3),
        "topk of nearly all": inference_sae("topk", D_IN, weights, k=90),
        "jumprelu": inference_sae("jumprelu", D_IN, {**weights, **threshold}),
        "jumprelu in training": trained.eval(),
        "batchtopk": batch.eval(),
        "transcoder": inference_sae("transcoder", D_IN, weights),
        "topk_transcoder": inference_sae("topk_transcoder", D_IN, weights, k=3),
        "gated": inference_sae("gated", D_IN, {k: v for k, v in {**weights, **gated}.items() if k != "b_enc"}),
        "abstopk": inference_sae("abstopk", D_IN, weights, k=6),
        "groupmax": inference_sae("groupmax", D_IN, weights, k=6),
        "bfloat16": inference_sae("topk", D_IN, {k: v.bfloat16() for k, v in weights.items()}, k=3),
    }


def _chunk() -> Chunk:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(CONTEXTS, LENGTH, D_IN, generator=generator)
    ids = torch.randint(0, 9, (CONTEXTS, LENGTH), generator=generator)
    counted = torch.rand(CONTEXTS, LENGTH, generator=generator) < 0.8
    return make_chunk(x, ids, torch.arange(CONTEXTS), counted, torch.zeros_like(ids), 0, 0)


@pytest.mark.parametrize("name", list(_saes()))
@pytest.mark.parametrize("small", [False, True])
@torch.no_grad()
def test_firings_are_what_encode_gives(name: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        for limit in ("BLOCK_ELEMENTS", "ROW_ELEMENTS", "FIRINGS"):
            monkeypatch.setattr(encoding, limit, {"cpu": 100})
    sae, chunk = _saes()[name], _chunk()
    expected = sae.encode(chunk.x).reshape(-1, D_SAE)[chunk.kept].float()
    found = torch.zeros_like(expected)
    last = 0
    for part in Encoder(sae, LENGTH).firings(chunk):
        assert part.first == last
        last = part.last
        order = part.latents * chunk.rows + part.rows
        assert (order[1:] > order[:-1]).all()
        assert ((part.latents >= part.first) & (part.latents < part.last)).all()
        found[part.rows, part.latents] = part.values
    assert last == D_SAE
    expected = expected.clamp_min(0)  # abstopk's negative ones are no firings
    assert torch.equal(found > 0, expected > 0)
    assert 0 < int((expected > 0).sum()) < expected.numel()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_chunks_are_bounded() -> None:
    def contexts(architecture: str, d_sae: int, length: int, **settings: Any) -> int:
        with torch.device("meta"):
            sae = inference_sae(architecture, D_IN, _weights(d_sae), **settings)
        return Encoder(sae, length).contexts

    assert contexts("standard", 4096, 128) == 64
    assert contexts("standard", 4096, 10**6) == 1  # a context is never split
    assert contexts("topk", 131_072, 128, k=32) == 16
    assert contexts("topk", 131_072, 128, k=65_536) == 1
    assert contexts("abstopk", 131_072, 128, k=32) == 2  # the dense matrix of a chunk fits


@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 9), groups=st.integers(1, 12), extra=st.sampled_from([0, 5]),
    k=st.integers(1, 20), grid=st.sampled_from([2, 5, 1000]), shift=st.sampled_from([-1.5, -0.5, 0.5]),
)
def test_winners(seed: int, rows: int, groups: int, extra: int, k: int, grid: int, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    pre = (torch.randint(0, grid, (rows, groups * 32 + extra), generator=generator) / grid + shift) * 3
    row, latent, values = winners(pre, k)
    assert torch.equal(pre[row, latent], values)
    keys = row * pre.shape[1] + latent
    assert (keys[1:] > keys[:-1]).all()
    for number in range(rows):
        best = sorted((v for v in pre[number].tolist() if v > 0), reverse=True)[:k]
        assert sorted(values[row == number].tolist(), reverse=True) == best


@pytest.mark.parametrize("width", [64, 70])
def test_winners_show_what_is_no_number(width: int) -> None:
    pre = torch.rand(3, width)
    pre[1, 40] = float("nan")
    assert winners(pre, 2)[2].isnan().sum() == 1
