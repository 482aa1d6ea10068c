"""Reading an SAE over text: the right places, the plain latents first, nothing trusted as HTML."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saewidgets.activations import open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.events import Interruption, Request
from saewidgets.features import FeatureReading, TopExamples, read_features, reading
from saewidgets.lm import LoadedModel, TokenText, capture, load_model
from saewidgets.sae import SAE, create_sae

HOOK = "blocks.0.hook_resid_post"
WORDS = ("king", "queen", "whale", "river", "ship", "<b>evil</b>")


@pytest.fixture(scope="module")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder))


@pytest.fixture(scope="module")
def contexts(lm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    rng = np.random.default_rng(0)
    fill = ["the", "a", "and", "went", "down", "to", "people", "sea"]
    text = " ".join(str(rng.choice(WORDS if rng.random() < 0.25 else fill)) for _ in range(1500))
    corpus = open_corpus(TextCorpus(strings=(text,)))
    packed = pack(corpus, lm.tokenizer, folder=tmp_path_factory.mktemp("t"), context_size=32, validation_share=0)
    return torch.from_numpy(packed.contexts(packed.train))


def _sae() -> SAE:
    return create_sae("topk", d_in=32, d_sae=48, k=4).eval()


@pytest.mark.parametrize("small_parts", [True, False])
def test_examples_are_where_the_latents_are_largest(
    lm: LoadedModel, contexts: Tensor, small_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small_parts:
        monkeypatch.setattr(reading, "LATENT_BYTES", 4 * 48 * 32 * 2)  # two contexts
    sae = _sae()
    found = read_features(sae, lm, contexts, HOOK, examples=6, batch_size=5)
    with torch.no_grad():
        latents = sae.encode(capture(lm.model, [HOOK], contexts)[HOOK])
    latents[torch.isin(contexts, torch.tensor([0, 1]))] = 0
    assert found.n_latents == 48
    assert found.stats.n_tokens == int((contexts > 1).sum())
    assert torch.equal(found.stats.firing_counts, (latents > 0).sum((0, 1)))
    best = latents.amax(1).T.sort(dim=1, descending=True).values[:, :6]
    torch.testing.assert_close(found.stats.values, best, rtol=1e-4, atol=1e-5)
    for feature in found:
        kept = min(6, int((latents[..., feature.index] > 0).any(1).sum()))
        assert (kept > 0) <= len(feature.examples) <= kept  # the same words are shown once
        if kept:
            assert feature.examples[0].value == pytest.approx(float(best[feature.index, 0]), rel=1e-4)
        for snippet in feature.examples:
            value = float(latents[snippet.context, snippet.position, feature.index])
            assert snippet.value == pytest.approx(value, rel=1e-4)
            assert snippet.token_id == int(contexts[snippet.context, snippet.position])


def _made_up(lm: LoadedModel, contexts: Tensor) -> FeatureReading:
    """Latent i fires where the word `WORDS[i]` ends; the last but one at random, the last nowhere."""
    text = TokenText(lm.tokenizer)
    f = torch.zeros(*contexts.shape, len(WORDS) + 2)
    generator = torch.Generator().manual_seed(0)
    for c, ids in enumerate(contexts.tolist()):
        pieces = text.pieces(ids)
        for p in range(1, len(ids)):
            so_far = "".join(pieces[: p + 1])
            for i, word in enumerate(WORDS):
                if so_far.endswith(" " + word):
                    f[c, p, i] = 1 + torch.rand((), generator=generator)
    f[..., -2] = torch.rand(contexts.shape, generator=generator) * (
        torch.rand(contexts.shape, generator=generator) < 0.02
    )
    stats = TopExamples(f.shape[-1], 20, n_random=20)
    stats.update(f, torch.arange(len(contexts)))
    return FeatureReading(stats, contexts, text, "tiny", HOOK)


def test_the_clearest_are_those_with_one_word(
    lm: LoadedModel, contexts: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_DENSE", 0.05)  # the words are common in this text
    found = _made_up(lm, contexts).clearest(10, examples=3)
    assert {feature.label for feature in found} >= {f"‘{word}’" for word in WORDS[:5]}
    assert not {feature.index for feature in found} & {len(WORDS), len(WORDS) + 1}
    for feature in found:
        assert feature.naming is not None
        assert feature.naming.share == feature.naming.random_share == 1
        assert len(feature.examples) == 3
    text = found.to_text()
    assert text == str(found) == repr(found)
    data = json.loads(json.dumps(found.to_data()))
    assert [row["label"] for row in data] == [feature.label for feature in found]
    assert data[0]["examples"][0]["token_id"] == found[0].examples[0].token_id
    assert "latent 0  ‘king’" in text
    assert "«" in text
    assert len(found[:2]) == 2


def test_hostile_text_stays_text(lm: LoadedModel, contexts: Tensor) -> None:
    feature = _made_up(lm, contexts).feature(5)
    assert feature.naming is not None
    assert "evil" in feature.naming.words[0]
    shown = feature._repr_html_()
    assert "<b>evil" not in shown
    assert "evil&lt;/b" in shown
    assert shown.count("<b>") == 1  # ours, around the number


def test_no_two_share_their_words(lm: LoadedModel, contexts: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_DENSE", 0.05)
    made = _made_up(lm, contexts)
    twice = TopExamples(4, 20, n_random=20)
    for name in ("firing_counts", "context_counts", "sums"):
        setattr(twice, name, getattr(made.stats, name)[[0, 0, 1, 7]])
    twice.n_tokens = made.stats.n_tokens
    for table, old in ((twice._top, made.stats._top), (twice._random, made.stats._random)):
        assert table is not None
        for name in ("keys", "values", "contexts", "positions"):
            setattr(table, name, getattr(old, name)[[0, 0, 1, 7]])
    found = FeatureReading(twice, contexts, TokenText(lm.tokenizer), "tiny", HOOK).clearest(5)
    assert sorted(feature.index for feature in found) == [0, 2]


def test_progress_and_interruption(lm: LoadedModel, contexts: Tensor) -> None:
    seen: list[int] = []
    read_features(_sae(), lm, contexts[:7], HOOK, batch_size=3, on_progress=seen.append)
    assert seen == [3, 6, 7]

    def check() -> None:
        raise Interruption(Request.CANCEL)

    with pytest.raises(Interruption):
        read_features(_sae(), lm, contexts, HOOK, check=check)
