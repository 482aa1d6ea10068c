"""Our numbers against those of the real sae-dashboard, recorded by tools/golden_sae_dashboard.py.

What it does otherwise, and is taken into account here:

- It folds the norms of decoder rows into the encoder: its activations are ours times the norm of the row.
- Its density counts ignored tokens (BOS, EOS) in the denominator; ours is the share of the counted ones.
- With a buffer, examples whose surroundings leave the context are left out: the first 6 and last 5 positions.
- Its histogram goes from the least to the largest activation; logit effects are the decoder row, made unit, times the
  unembedding as TransformerLens has processed it: with the final norm folded and centred (its default) they are ours,
  without processing they lack the final norm.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.packed import PackedTokens
from saewidgets.config import ExtractionConfig, TextCorpus
from saewidgets.features.export.sae_dashboard import aligned
from saewidgets.features.export.table_and_vectors import decoder_rows
from saewidgets.features.extraction import extract
from saewidgets.features.logit_effects import computed_effects
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.read import Store
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel, TokenText, capture, load_model
from saewidgets.lm.unembedding import unembedding
from saewidgets.sae import SAE

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "sae_dashboard"
HOOK = "blocks.1.hook_resid_post"
TOP = 12
SAES = ("jumprelu", "standard")


@dataclass
class Case:
    """One SAE with the activations of all its latents, in the units of sae-dashboard."""

    sae: SAE
    lm: LoadedModel
    packed: PackedTokens
    dense: npt.NDArray[np.float32]  # [contexts, length, d_sae], 0 on ignored tokens
    norms: npt.NDArray[np.float32]
    kept: npt.NDArray[np.bool_]
    expected: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def lm() -> LoadedModel:
    return load_model(str(GOLDEN / "model"))


@pytest.fixture(scope="module")
def packed(lm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> PackedTokens:
    texts = json.loads((GOLDEN / "texts.json").read_text())
    folder = tmp_path_factory.mktemp("tokens")
    return pack(open_corpus(TextCorpus(strings=texts)), lm.tokenizer, folder=folder, context_size=32)


@pytest.fixture(scope="module", params=SAES)
def case(request: pytest.FixtureRequest, lm: LoadedModel, packed: PackedTokens) -> Case:
    sae = load_sae(GOLDEN / request.param)
    ids = packed.contexts(range(packed.n_contexts))
    kept = packed.kept(ids)
    with torch.no_grad():
        x = capture(lm.model, [HOOK], torch.from_numpy(ids))[HOOK]
        dense = sae.encode(x).numpy() * kept[..., None]
    norms = sae.W_dec.detach().norm(dim=1).numpy()
    expected = json.loads((GOLDEN / request.param / "expected.json").read_text())
    return Case(sae, lm, packed, dense * norms, norms, kept, expected)


def test_the_tokens_are_the_same(packed: PackedTokens) -> None:
    assert packed.contexts(range(packed.n_contexts)).tolist() == load_file(GOLDEN / "tokens.safetensors")[
        "tokens"
    ].tolist()


def test_density_and_histogram(case: Case) -> None:
    dead = 0
    for feature in case.expected["whole"]:
        own = case.dense[..., feature["index"]]
        fired = own[own > 0]
        if not len(fired):
            dead += 1
            assert (feature["title"], feature["heights"]) == (None, [])
            continue
        said = re.fullmatch(r"ACTIVATIONS<br>DENSITY = ([\d.]+)%", feature["title"])
        assert said
        assert float(said[1]) == pytest.approx(100 * len(fired) / own.size, abs=6e-4)  # it has three decimals
        # A value on the edge of a bin may fall to the other side: their sums are in another order.
        counts = np.histogram(fired, 50, (fired.min(), fired.max()))[0]
        assert np.abs(np.cumsum(counts) - np.cumsum(feature["heights"])).max() <= 1
        width = (fired.max() - fired.min()) / 50
        np.testing.assert_allclose(
            feature["values"], fired.min() + width * (np.arange(50) + 0.5), atol=2e-5
        )
    assert dead == 1


@pytest.mark.parametrize("kind", ["whole", "short"])
def test_top_activations_and_their_positions(case: Case, kind: str) -> None:
    for feature in case.expected[kind]:
        own = case.dense[..., feature["index"]].copy()
        if kind == "short":
            own[:, :6] = own[:, -5:] = 0
        if not own.any():
            continue  # it fills the list with zeros
        values = np.sort(own[own > 0])[::-1][:TOP]
        theirs = [tuple(place[:2]) for place in feature["top"]][: len(values)]
        assert len(set(theirs)) == len(values)
        np.testing.assert_allclose([own[place] for place in theirs], values, rtol=1e-5)
        if kind == "whole":  # in the other one it is the largest of the window
            rows = [own[row].max() for row, _ in theirs]
            np.testing.assert_allclose([p[2] for p in feature["top"]][: len(rows)], rows, atol=1e-4)  # four decimals


def test_intervals_count_the_same_tokens(case: Case) -> None:
    """Its five intervals are closed on both sides, and the lowest has all silent tokens."""
    for feature in case.expected["whole"]:
        own = case.dense[..., feature["index"]]
        for title in feature["intervals"] if own.any() else []:
            low, high, share = map(float, re.findall(r"-?\d+\.\d+", title))
            edges = np.linspace(0, own.max(), 6)
            low, high = (edges[np.abs(edges - edge).argmin()] for edge in (low, high))
            assert share == pytest.approx(100 * ((own >= low) & (own <= high)).mean(), abs=0.05)


def test_logit_tables(case: Case) -> None:
    effects = computed_effects(case.sae, unembedding(case.lm.model), TokenText(case.lm.tokenizer))
    for feature in case.expected["whole"]:
        index = feature["index"]
        found = effects(index)
        for ours, tokens, values in (
            (found.raises, feature["top_tokens"], feature["top_logits"]),
            (found.lowers, feature["bottom_tokens"], feature["bottom_logits"]),
        ):
            assert [e.token for e in ours] == tokens
            np.testing.assert_allclose([e.value / case.norms[index] for e in ours], values, atol=2e-5)
        assert np.abs(np.cumsum(found.counts) - np.cumsum(feature["logit_heights"])).max() <= 1
        middles = np.convolve(found.edges, [0.5, 0.5], "valid") / case.norms[index]
        np.testing.assert_allclose(middles, feature["logit_values"], atol=2e-5)


def test_neurons_that_a_row_is_aligned_with(case: Case) -> None:
    for feature in case.expected["whole"]:
        row = decoder_rows(case.sae, [feature["index"]])[0] / case.norms[feature["index"]]
        indices, values, shares = aligned(row).values()
        assert indices == feature["alignment"][0]
        np.testing.assert_allclose(values, feature["alignment"][1], atol=1e-5)
        np.testing.assert_allclose(shares, feature["alignment"][2], atol=1e-5)


def test_the_extraction_finds_the_same(case: Case, tmp_path: Path) -> None:
    """No text occurs twice, and `per_document` is out of the way: what remains are the largest activations."""
    config = ExtractionConfig(examples=TOP, per_document=1000, max_norm_ratio=None, min_activation=0)
    contexts = np.arange(case.packed.n_contexts)
    extract(case.sae, case.lm, case.packed, contexts, HOOK, config, tmp_path / "extraction")
    store = Store(tmp_path / "extraction", case.packed.folder.parent)
    assert store.manifest.n_tokens == case.kept.sum()
    for feature in case.expected["whole"]:
        index = feature["index"]
        own, data = case.dense[..., index], feature_data(store, index)
        assert data.fired == (own > 0).sum()
        if not data.fired:
            assert feature["title"] is None
            continue
        density = float(feature["title"].split(" = ")[1].rstrip("%")) / 100
        assert data.density * case.kept.mean() == pytest.approx(density, abs=6e-6)
        assert data.max * case.norms[index] == pytest.approx(own.max(), rel=1e-5)
        theirs = [tuple(place[:2]) for place in feature["top"][: len(data.top)]]
        values = [own[place] for place in theirs]
        np.testing.assert_allclose([e.value * case.norms[index] for e in data.top], values, rtol=1e-5)
        for example, place, value in zip(data.top, theirs, values, strict=True):
            tied = np.isclose(values, value, rtol=1e-5).sum() > 1 or value == values[-1]
            assert (example.context, example.offset) == place or tied
