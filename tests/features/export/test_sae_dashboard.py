"""Our numbers against those of the real sae-dashboard, recorded by tools/golden_sae_dashboard.py.

What it does otherwise, and is taken into account here:

- It folds the norms of decoder rows into the encoder: its activations are ours times the norm of the row.
- Its density counts ignored tokens (BOS, EOS) in the denominator; ours is the share of the counted ones.
- Its histogram goes from the least to the largest activation and its five intervals from 0 to it, the lowest with all
  silent tokens; our bins are powers of two.
- Logit effects are the decoder row, made unit, times the unembedding as TransformerLens has processed it: with the
  final norm folded and centred (its default) they are ours, without processing they lack the final norm.
"""

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
from saewidgets.features.export import export_dashboard
from saewidgets.features.export.sae_dashboard import aligned
from saewidgets.features.export.table_and_vectors import decoder_rows
from saewidgets.features.extraction import extract
from saewidgets.features.logit_effects import computed_effects
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.read import FeatureStore
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


Bins = list[tuple[float, float, float]]  # least, largest, how many


def bars(found: dict[str, Any], scale: float = 1) -> Bins:
    values, heights = found["values"], found["heights"]
    half = (values[1] - values[0]) / 2 if values else 0
    return [((v - half) * scale, (v + half) * scale, n) for v, n in zip(values, heights, strict=True)]


def intervals(titles: list[str], scale: float = 1, share: float = 1) -> Bins:
    numbers = [list(map(float, re.findall(r"\d+\.\d+", title))) for title in titles if title.startswith("INTERVAL")]
    return [(low * scale, high * scale, n * share) for low, high, n in numbers]


def assert_agree(ours: Bins, theirs: Bins, slack: float) -> None:
    """As many above each of our edges, as far as their edges tell."""
    for edge, _, _ in ours:
        above = sum(n for low, _, n in ours if low >= edge)
        least, most = sum(n for low, _, n in theirs if low >= edge), sum(n for _, high, n in theirs if high > edge)
        assert least - slack <= above <= most + slack


def test_the_extraction_finds_the_same(case: Case, tmp_path: Path) -> None:
    """No text occurs twice, and `per_document` is out of the way: what remains are the largest activations."""
    config = ExtractionConfig(examples=TOP, per_document=1000, max_norm_ratio=None, min_activation=0)
    contexts = np.arange(case.packed.n_contexts)
    extract(case.sae, case.lm, case.packed, contexts, HOOK, config, tmp_path / "extraction")
    store = FeatureStore(tmp_path / "extraction", case.packed.folder.parent)
    assert store.manifest.n_tokens == case.kept.sum()
    written = json.loads(export_dashboard(store, None, tmp_path / "saedashboard.json").read_text())
    for feature in case.expected["whole"]:
        index = feature["index"]
        own, data = case.dense[..., index], feature_data(store, index)
        assert data.fired == (own > 0).sum()
        shown = written["feature_data_dict"][str(index)]
        histogram = {name: shown["acts_histogram_data"][f"bar_{name}"] for name in ("values", "heights")}
        if not data.fired:
            assert (feature["title"], feature["heights"], histogram["heights"]) == (None, [], [])
            continue
        density = float(feature["title"].split(" = ")[1].rstrip("%")) / 100
        assert data.density * case.kept.mean() == pytest.approx(density, abs=6e-6)
        assert_agree(bars(histogram, case.norms[index]), bars(feature), slack=1)
        *upper, (low, high, share) = intervals(feature["intervals"])
        titles = [group["title"] for group in shown["sequence_data"]["seq_group_data"]]
        ours = intervals(titles, case.norms[index], case.kept.mean())
        assert_agree(ours, [*upper, (low, high, share + 100 * density - 100)], slack=0.05)
        assert data.max * case.norms[index] == pytest.approx(own.max(), rel=1e-5)
        theirs = [tuple(place[:2]) for place in feature["top"][: len(data.top)]]
        values = [own[place] for place in theirs]
        np.testing.assert_allclose([e.value * case.norms[index] for e in data.top], values, rtol=1e-5)
        for example, place, value in zip(data.top, theirs, values, strict=True):
            tied = np.isclose(values, value, rtol=1e-5).sum() > 1 or value == values[-1]
            assert (example.context, example.offset) == place or tied
