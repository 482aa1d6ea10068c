"""Readings of features: top examples, statistics, snippets and names, against sorting everything at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saewidgets.activations import open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.events import Interruption, Request
from saewidgets.features import (
    FeatureReading,
    Naming,
    Snippet,
    TopExamples,
    first_reading,
    make_snippet,
    name_examples,
    read_features,
)
from saewidgets.features.snippets import distinct
from saewidgets.lm import LoadedModel, TokenText, capture, load_model
from saewidgets.sae import SAE, create_sae

CONTEXTS, LENGTH, LATENTS = 23, 7, 11


def _latents(seed: int = 0) -> torch.Tensor:
    """Distinct positive values where something fires; latent 3 is dead, latent 5 fires twice only."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.rand(CONTEXTS, LENGTH, LATENTS, generator=generator)
    f = f.masked_fill(torch.rand(f.shape, generator=generator) > 0.4, 0)
    f[..., 3] = 0
    f[..., 5] = 0
    f[2, 1, 5], f[9, 6, 5] = 0.5, 0.25
    return f


def _mask() -> torch.Tensor:
    return torch.rand(CONTEXTS, LENGTH, generator=torch.Generator().manual_seed(9)) > 0.2


def _dense(f: np.ndarray, latent: int, n: int, per_context: int) -> list[tuple[float, int, int]]:
    rows = []
    for context in range(len(f)):
        best = sorted(((f[context, p, latent], context, p) for p in range(LENGTH)), reverse=True)[:per_context]
        rows += [row for row in best if row[0] > 0]
    return sorted(rows, reverse=True)[:n]


@pytest.mark.parametrize(
    ("chunk", "per_context", "n"), [(1, 1, 5), (4, 2, 5), (100, 50, 200), (1, 50, 1), (4, 1, 200), (100, 2, 1)]
)
def test_the_top_examples_are_exact(n: int, per_context: int, chunk: int) -> None:
    f, mask = _latents(), _mask()
    stats = TopExamples(LATENTS, n, per_context)
    numbers = torch.arange(CONTEXTS)
    for at in range(0, CONTEXTS, chunk):
        stats.update(f[at : at + chunk], numbers[at : at + chunk], mask[at : at + chunk])
    masked = (f * mask[..., None]).numpy()
    for latent in range(LATENTS):
        assert stats.top(latent) == _dense(masked, latent, n, per_context)
    assert stats.top(3) == []


@pytest.mark.parametrize("chunk", [3, 100])
def test_statistics(chunk: int) -> None:
    f, mask = _latents(), _mask()
    stats = TopExamples(LATENTS, 5)
    for at in range(0, CONTEXTS, chunk):
        stats.update(f[at : at + chunk], torch.arange(at, min(at + chunk, CONTEXTS)), mask[at : at + chunk])
    dense = (f * mask[..., None]).double().numpy()
    rows = dense.reshape(-1, LATENTS)
    assert stats.n_tokens == int(mask.sum())
    assert stats.firing_counts.tolist() == (rows > 0).sum(0).tolist()
    assert stats.context_counts.tolist() == (dense > 0).any(1).sum(0).tolist()
    np.testing.assert_allclose(stats.density, (rows > 0).sum(0) / int(mask.sum()))
    np.testing.assert_allclose(stats.max, rows.max(0), rtol=1e-6)
    np.testing.assert_allclose(stats.mean, rows.sum(0) / np.maximum(1, (rows > 0).sum(0)), rtol=1e-6)
    assert stats.mean[3] == stats.max[3] == 0


def test_the_random_sample_is_of_real_firings_and_uniform() -> None:
    f = torch.zeros(200, 4, 2)
    f[:, 1, 0] = torch.arange(1, 201).float()  # much stronger in later contexts
    f[:, 2, 0] = 1e-3
    counts = np.zeros(200)
    places = np.zeros(4)
    for seed in range(30):
        stats = TopExamples(2, 3, n_random=10, seed=seed)
        for at in range(0, 200, 50):
            stats.update(f[at : at + 50], torch.arange(at, at + 50))
        sample = stats.random(0)
        assert len(sample) == len({context for _, context, _ in sample}) == 10
        for value, context, position in sample:
            assert value == f[context, position, 0] > 0
            counts[context] += 1
            places[position] += 1
        assert stats.random(1) == []
    assert counts.sum() == 300
    halves = counts[:100].sum(), counts[100:].sum()
    assert abs(halves[0] - halves[1]) < 80  # standard deviation about 17
    assert places[0] == places[3] == 0
    assert abs(places[1] - places[2]) < 80


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
        monkeypatch.setattr(first_reading, "LATENT_BYTES", 4 * 48 * 32 * 2)  # two contexts
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
    monkeypatch.setattr(first_reading, "_DENSE", 0.05)  # the words are common in this text
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
    monkeypatch.setattr(first_reading, "_DENSE", 0.05)
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


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_tokenizer_folder))


def _at(tokenizer: Any, text: str, needle: str, occurrence: int = 0, **window: int) -> Snippet:
    """The snippet at the token in which `needle` begins."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = TokenText(tokenizer).pieces(ids)
    start = -1
    for _ in range(occurrence + 1):
        start = text.index(needle, start + 1)
    end = 0
    for position, piece in enumerate(pieces):
        end += len(piece)
        if end > start:
            return make_snippet(ids, position, 1.5, 7, TokenText(tokenizer), **window)
    raise AssertionError


def test_the_firing_token_is_marked(tokenizer: Any) -> None:
    snippet = _at(tokenizer, "Then the king went down to the river.", "the river", before=40, after=40)
    assert snippet.token == " the"
    assert snippet.before + snippet.token + snippet.after == "Then the king went down to the river."
    assert str(snippet) == "Then the king went down to «the» river."
    assert (snippet.previous, snippet.word, snippet.following) == ("to", "the", "river")
    assert (snippet.value, snippet.context) == (1.5, 7)


def test_a_word_of_several_tokens_is_read_whole_from_any_of_them(tokenizer: Any) -> None:
    text = "we saw Zarathustra, sleeping"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = TokenText(tokenizer).pieces(ids)
    starts = [sum(map(len, pieces[:i])) for i in range(len(pieces))]
    inside = [i for i, start in enumerate(starts) if 7 <= start < 18]
    assert len(inside) > 2
    for position in inside:
        snippet = make_snippet(ids, position, 1, 0, TokenText(tokenizer), before=30, after=30)
        assert (snippet.previous, snippet.word, snippet.following) == ("saw", "zarathustra", "sleeping")


def test_the_window_is_as_wide_as_asked(tokenizer: Any) -> None:
    ids = tokenizer("abcdefghijklmnop", add_special_tokens=False)["input_ids"]
    snippet = make_snippet(ids, 5, 1, 0, TokenText(tokenizer), before=2, after=3)
    text = TokenText(tokenizer)
    assert snippet.before == text.text(ids[3:5])
    assert snippet.token == text.text(ids[5:6])
    assert snippet.after == text.text(ids[6:9])


def test_line_ends_special_tokens_and_controls_are_shown_as_marks(tokenizer: Any) -> None:
    ids = [1, *tokenizer("a\nb\x1b\u202e", add_special_tokens=False)["input_ids"]]
    shown = str(make_snippet(ids, 1, 1, 0, TokenText(tokenizer)))
    assert shown == " ↵ «a» ↵ b��"
    assert str(_at(tokenizer, "a\nb", "\n")) == "a« ↵ »b"


def test_a_character_over_several_tokens_is_marked_whole(tokenizer: Any) -> None:
    ids = tokenizer("a🐳b", add_special_tokens=False)["input_ids"]
    for position in (1, 2, 3, 4):
        snippet = make_snippet(ids, position, 1, 0, TokenText(tokenizer))
        assert snippet.token == "🐳"
        assert str(snippet) == "a«🐳»b"
        assert snippet.position == position


def test_hostile_text_is_escaped(tokenizer: Any) -> None:
    text = '<script>alert("x")</script> <img src=x onerror=y> & <b>'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for position in range(len(ids)):
        shown = make_snippet(ids, position, 1, 0, TokenText(tokenizer), before=99, after=99).to_html()
        assert shown.count("<") == shown.count(">") == 2
        assert shown.count("<mark>") == shown.count("</mark>") == 1


def test_a_form_that_was_filled_in_many_times_is_shown_once(tokenizer: Any) -> None:
    form = "note: figures may not total 100 for the year"
    first, again = _at(tokenizer, f"a king; {form}", "total"), _at(tokenizer, f"the river; {form}", "total")
    other = _at(tokenizer, "the total number of vessels", "total")
    assert distinct([first, again, other, again]) == [first, other]


def _snippets(*triples: str) -> list[Snippet]:
    found = []
    for triple in triples:
        previous, word, following = triple.split()
        found.append(
            Snippet(
                f"{previous} ", word, f" {following}", 1.0, 0, 0, word.lower(), previous.lower(), following.lower(), 5
            )
        )
    return found


def _named(*triples: str, random: tuple[str, ...] = ()) -> Naming | None:
    return name_examples(_snippets(*triples), _snippets(*random))


def test_one_family_of_words() -> None:
    found = _named("the government is", "to govern b", "a governor c", "our government d")
    assert found is not None
    assert found.kind == "stem"
    assert found.label == "‘government’, ‘govern’, ‘governor’"
    assert found.share == 1


def test_a_few_words() -> None:
    found = _named("a father x", "b mother y", "c father z", "d mother w", "e son v")
    assert found is not None
    assert (found.kind, set(found.words), found.share) == ("words", {"father", "mother"}, 0.8)


@pytest.mark.parametrize(
    ("order", "kind", "label"),
    [
        ("lord {} x{}", "previous", "the word after ‘lord’"),
        ("x{} {} lord", "following", "the word before ‘lord’"),
    ],
)
def test_neighbours(order: str, kind: str, label: str) -> None:
    words = ["god", "said", "jesus", "hath"]
    triples = [order.format(*((w, i) if kind == "previous" else (i, w))) for i, w in enumerate(words)]
    found = _named(*triples)
    assert found is not None
    assert (found.kind, found.label) == (kind, label)


def test_nothing_in_common() -> None:
    assert _named("a b c", "d e f", "g h i", "j k l") is None
    assert name_examples([], []) is None
