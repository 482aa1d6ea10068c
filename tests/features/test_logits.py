from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.errors import ConfigError
from saewidgets.features import logit_effects as logits
from saewidgets.features.logit_effects import Effects, computed_effects, logit_tables, similar
from saewidgets.features.store.layout import LOGIT_ARRAYS
from saewidgets.lm import LoadedModel, TokenText, load_model
from saewidgets.lm.unembedding import Unembedding, unembedding
from saewidgets.sae import SAE, create_sae
from tests.ranking import assert_ranked


@pytest.fixture
def sae() -> SAE:
    torch.manual_seed(0)
    return create_sae("topk", d_in=32, d_sae=50, k=4)


@pytest.fixture(scope="module")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder))


def computed(sae: SAE, lm: LoadedModel, index: int, n: int = 10) -> Effects:
    return computed_effects(sae, unembedding(lm.model), TokenText(lm.tokenizer), n)(index)


@pytest.mark.parametrize("elements", [1, 300 * 7, 1 << 23])
def test_effects_equal_a_plain_computation(
    sae: SAE, lm: LoadedModel, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    W = sae.W_dec.detach().numpy().astype(np.float64)
    norm = lm.model.transformer.ln_f  # type: ignore[union-attr]
    directions = (W - W.mean(1, keepdims=True)) * norm.weight.detach().numpy()  # type: ignore[union-attr,operator]
    effects = directions @ lm.model.lm_head.weight.detach().numpy().T  # type: ignore[union-attr,operator]
    effects -= effects.mean(1, keepdims=True)
    one = computed(sae, lm, 7, n=5)
    assert len(one.raises) == len(one.lowers) == 5
    for side, sign in ((one.raises, 1), (one.lowers, -1)):
        assert_ranked([e.token for e in side], [sign * e.value for e in side], sign * effects[7])
        assert [e.text for e in side] == [lm.tokenizer.decode([e.token]) for e in side]
        assert one.on is not None
        assert one.on([e.token for e in side]) == [e.value for e in side]
    assert sum(one.counts) == 300
    assert len(one.edges) == len(one.counts) + 1

    monkeypatch.setattr(logits, "_ELEMENTS", elements)
    parts = list(logit_tables(sae, unembedding(lm.model)))
    rows = max(1, elements // 300)
    assert [(part.start, part.stop) for part, _ in parts] == [(i, min(i + rows, 50)) for i in range(0, 50, rows)]
    found = {name: np.concatenate([arrays[name] for _, arrays in parts]) for name in LOGIT_ARRAYS}
    assert {name: array.dtype.str for name, array in found.items()} == {n: a.dtype for n, a in LOGIT_ARRAYS.items()}
    for latent, row in enumerate(effects):
        assert_ranked(found["top_tokens"][latent], found["top_logits"][latent], row)
        assert_ranked(found["bottom_tokens"][latent], -found["bottom_logits"][latent], -row)


def test_what_cannot_be_computed(sae: SAE, lm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="residual stream has 32"):
        computed(create_sae("topk", d_in=16, d_sae=8, k=2), lm, 0)
    monkeypatch.setattr(logits, "_ELEMENTS", 4 * 20)
    with torch.no_grad():
        sae.W_dec[33, 2] = torch.inf
    parts = logit_tables(sae, Unembedding(torch.randn(4, 32), None, centred=True))
    assert next(parts)[0] == slice(0, 20)
    with pytest.raises(ConfigError, match="latent 33 are NaN or infinite"):
        next(parts)


def test_similar_latents_by_decoder_cosine(sae: SAE) -> None:
    W = sae.W_dec.detach().numpy()
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    cosines = unit @ unit[3]
    cosines[3] = -2
    found = similar(sae, 3)
    assert len(found) == 10
    assert_ranked([i for i, _ in found], [value for _, value in found], cosines, atol=1e-6)
    assert len(similar(sae, 3, n=1000)) == 49


@pytest.mark.parametrize(
    "place",
    [
        {"hook_name": "blocks.1.attn.hook_z"}, {"hook_name": "blocks.1.attn.hook_z.2"},
        {"hook_name": "blocks.1.mlp.hook_in"},
        {"hook_name": "blocks.1.hook_resid_post", "hook_name_out": "blocks.1.ln2.hook_normalized"},
    ],
)  # fmt: skip
def test_an_output_that_is_not_added_to_the_stream_has_none(place: dict[str, str], lm: LoadedModel) -> None:
    sae = create_sae("topk", d_in=32, d_sae=64, k=4)
    sae.metadata = place
    with pytest.raises(ConfigError, match="not in the residual stream") as caught:
        computed(sae, lm, 0)
    assert caught.value.where == "hook_name"
    sae.metadata = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}  # a transcoder
    assert len(computed(sae, lm, 0).raises) == 10
