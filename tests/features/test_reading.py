"""Readings of features: examples, statistics, snippets and names, against the dense computation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saewidgets.activations import open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.features import first_reading, read_features
from saewidgets.features.extraction import encoding
from saewidgets.features.first_reading import FeatureReading
from saewidgets.features.labels.heuristic import FiringSnippet, distinct, make_snippet, name_examples
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


def test_numbers_and_examples_are_those_of_the_dense_computation(
    lm: LoadedModel, contexts: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoding.CHUNK_TOKENS, "cpu", 7 * 32)  # several chunks
    sae = _sae()
    with torch.no_grad():
        sae.b_enc[3] = -1e6  # dead
    found = read_features(sae, lm, contexts, HOOK, examples=6, batch_size=5)
    with torch.no_grad():
        latents = sae.encode(capture(lm.model, [HOOK], contexts)[HOOK])
    latents[torch.isin(contexts, torch.tensor([0, 1]))] = 0
    fired = (latents > 0).sum((0, 1))
    assert (found.n_latents, found.n_tokens) == (48, int((contexts > 1).sum()))
    assert found.firing_counts.tolist() == fired.tolist()
    assert found.context_counts.tolist() == (latents > 0).any(1).sum(0).tolist()
    np.testing.assert_allclose(found.density, fired / found.n_tokens)
    np.testing.assert_allclose(found.max, latents.amax((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(found.mean, latents.sum((0, 1)) / fired.clamp_min(1), rtol=1e-4)
    assert found.firing_counts[3] == found.mean[3] == 0
    for feature in found:
        firing = int((latents[..., feature.index] > 0).any(1).sum())
        assert (firing > 0) <= len(feature.examples) <= min(6, firing)  # the same words are shown once
        assert len({snippet.context for snippet in feature.examples}) == len(feature.examples)
        if firing:
            assert feature.examples[0].value == pytest.approx(float(latents[..., feature.index].max()), rel=1e-4)
        for snippet in feature.examples:
            value = float(latents[snippet.context, snippet.position, feature.index])
            assert snippet.value == pytest.approx(value, rel=1e-4)
            assert snippet.token_id == int(contexts[snippet.context, snippet.position])


def _made_up(lm: LoadedModel, contexts: Tensor, latents: list[int] | None = None) -> FeatureReading:
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
    best, at = f.max(1)
    order = best.argsort(0, descending=True)[:20]
    values = best.gather(0, order).T
    positions = (order * contexts.shape[1] + at.gather(0, order)).T.masked_fill(values <= 0, -1)
    arrays = {
        "firing_counts": (f > 0).sum((0, 1)), "context_counts": (f > 0).any(1).sum(0), "sums": f.sum((0, 1)),
        "max": values[:, 0], "top_values": values, "top_positions": positions, "interval_values": values,
        "interval_positions": positions,
    }  # fmt: skip
    chosen = list(range(f.shape[-1])) if latents is None else latents
    return FeatureReading(
        {name: array.numpy()[chosen] for name, array in arrays.items()}, contexts.numel(), contexts, text, "tiny", HOOK
    )


def test_the_clearest_are_those_with_one_word(
    lm: LoadedModel, contexts: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_reading, "_DENSE", 0.05)  # the words are common in this text
    found = _made_up(lm, contexts).clearest(6, examples=3)
    assert found.note == ""
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
    found = _made_up(lm, contexts, [0, 0, 1, 7]).clearest(5)
    assert sorted(feature.index for feature in found) == [0, 2]


def test_the_next_best_follow_where_few_are_sparse(lm: LoadedModel, contexts: Tensor) -> None:
    reading = _made_up(lm, contexts)  # the words are common in this text
    found = reading.clearest(5, examples=3)
    assert len({feature.index for feature in found}) == 5
    assert "easy to describe: 1 of these 5 latents" in found.note
    assert "fire on at most 1 % of the tokens: 1 of 8." in found.note
    assert "use more latents or a smaller k" in found.note
    assert found.note in found._repr_html_()
    assert found.note in found.to_text()
    assert all(feature.examples for feature in found)


def _at(tokenizer: Any, text: str, needle: str, occurrence: int = 0, **window: int) -> FiringSnippet:
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


def test_line_ends_and_controls_are_shown_as_marks_and_special_tokens_by_name(tokenizer: Any) -> None:
    ids = [1, *tokenizer("a\nb\x1b\u202e", add_special_tokens=False)["input_ids"]]
    shown = str(make_snippet(ids, 1, 1, 0, TokenText(tokenizer)))
    assert shown == " <|eos|> «a» ↵ b��"
    mark = make_snippet([*ids[1:2], 1, *ids[1:2]], 1, 1, 0, TokenText(tokenizer))
    assert (str(mark), mark.previous, mark.word, mark.following) == ("a «<|eos|>» a", "a", "<|eos|>", "a")
    assert str(_at(tokenizer, "a\nb", "\n")) == "a« ↵ »b"
    ids = tokenizer("abcdefghijklmnop", add_special_tokens=False)["input_ids"]
    text = TokenText(tokenizer)
    snippet = make_snippet(ids, 5, 1, 0, text, before=2, after=3)
    assert [snippet.before, snippet.token, snippet.after] == [text.text(ids[i:j]) for i, j in ((3, 5), (5, 6), (6, 9))]


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


def _snippets(*triples: str) -> list[FiringSnippet]:
    found = []
    for triple in triples:
        previous, word, following = triple.split()
        found.append(
            FiringSnippet(
                f"{previous} ", word, f" {following}", 1.0, 0, 0, word.lower(), previous.lower(), following.lower(), 5
            )
        )
    return found


@pytest.mark.parametrize(
    ("triples", "kind", "label", "share"),
    [
        (("the government is", "to govern b", "a governor c", "our government d"), "stem",
         "‘government’, ‘govern’, ‘governor’", 1),
        (("a father x", "b mother y", "c father z", "d mother w", "e son v"), "words", "‘father’ or ‘mother’", 0.8),
        (("lord god x0", "lord said x1", "lord jesus x2"), "previous", "the word after ‘lord’", 1),
        (("x0 god lord", "x1 said lord", "x2 jesus lord"), "following", "the word before ‘lord’", 1),
    ],
)
def test_names(triples: tuple[str, ...], kind: str, label: str, share: float) -> None:
    found = name_examples(_snippets(*triples), [])
    assert found is not None
    assert (found.kind, found.label, found.share) == (kind, label, share)


def test_nothing_in_common() -> None:
    assert name_examples(_snippets("a b c", "d e f", "g h i", "j k l"), []) is None
    assert name_examples([], []) is None
