"""Which tokens are steered: prompt, generated, chosen; with a cache, in batches, with padding, without BOS."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from saewidgets.config.steering import as_positions
from saewidgets.errors import ConfigError
from saewidgets.lm import hooked, resolve_hook
from saewidgets.steering import SteeringError, steered
from tests.lm.models import build, token_ids
from tests.steering.toys import HOOK, feature, toy_sae

PUSH = [feature(5, 3.0)]
BOS = 0  # of the tiny models


@contextmanager
def watched(model: Any, positions: Any, **more: Any) -> Iterator[list[list[list[int]]]]:
    """Per forward and row: the offsets of the tokens that were steered, seen from behind the steering hook."""
    found: list[list[list[int]]] = []
    sae = toy_sae()
    plain: list[Tensor] = []
    point = resolve_hook(model, HOOK)
    with hooked(point, lambda h: plain.append(h.detach().clone())):
        with steered(model, PUSH, sae=sae, positions=positions, **more):

            def look(h: Tensor) -> None:
                delta = h - plain[-1]
                changed = (delta.abs() > 1e-6).any(-1)
                expected = (3.0 * sae.W_dec[5]).expand_as(delta)
                torch.testing.assert_close(delta[changed], expected[changed], rtol=1e-3, atol=1e-4)
                found.append([row.nonzero().flatten().tolist() for row in changed])

            with hooked(point, look):
                yield found


PROMPT = token_ids(1, 5)


@pytest.mark.parametrize(
    ("name", "positions", "prompt", "later"),
    [
        ("gpt2", "all", [0, 1, 2, 3, 4], [0]), ("llama", "prompt", [0, 1, 2, 3, 4], []),
        ("gpt_neox", "generated", [], [0]),
        ("falcon", [1, 3], [1, 3], []), ("bloom", "generated", [], [0]), ("opt", "all", [0, 1, 2, 3, 4], [0]),
        ("gemma2", [1, 3], [1, 3], []),
    ],
)
def test_generate_with_a_cache(name: str, positions: Any, prompt: list[int], later: list[int]) -> None:
    model = build(name)
    with watched(model, positions, steer_bos=True) as found:  # a random model may write BOS
        model.generate(PROMPT, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert found == [[prompt], [later], [later], [later]]


@pytest.mark.parametrize(
    ("positions", "expected"),
    [("all", [5, 6, 7]), ("prompt", [5, 5, 5]), ("generated", [0, 1, 2]), ([4], [1, 1, 1])],
)
def test_generate_without_a_cache(positions: Any, expected: list[int]) -> None:
    model = build("llama")
    with watched(model, positions) as found:
        model.generate(PROMPT, max_new_tokens=3, min_new_tokens=3, do_sample=False, use_cache=False)
    assert [len(rows[0]) for rows in found] == expected
    if positions == "generated":
        assert found[-1] == [[5, 6]]


PADDED = torch.tensor([[1, 1, 1, 7, 8], [9, 10, 11, 12, 13]])  # the padding token is EOS
MASK = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize(
    ("positions", "prompt", "later"),
    [
        ("all", [[3, 4], [0, 1, 2, 3, 4]], [[0], [0]]),
        ("prompt", [[3, 4], [0, 1, 2, 3, 4]], [[], []]),
        ("generated", [[], []], [[0], [0]]),
        ([0, 1], [[3, 4], [0, 1]], [[], []]),
    ],
)
def test_batches_with_padding_on_the_left(positions: Any, prompt: Any, later: Any) -> None:
    model = build("llama")
    with watched(model, positions) as found:
        model.generate(PADDED, attention_mask=MASK, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert found == [prompt, later, later]


WITH_BOS = torch.tensor([[BOS, 7, 8, BOS, 9]])


@pytest.mark.parametrize(
    ("positions", "steer_bos", "expected"),
    [
        ("all", False, [1, 2, 4]), ("prompt", False, [1, 2, 4]), ("all", True, [0, 1, 2, 3, 4]),
        ([0, 1], False, [0, 1]), ([0, 1], True, [0, 1]),
    ],
)
def test_bos_is_left_alone_unless_asked(positions: Any, steer_bos: bool, expected: list[int]) -> None:
    model = build("llama")
    with watched(model, positions, steer_bos=steer_bos) as found:
        model(input_ids=WITH_BOS)
    assert found == [[expected]]


def test_a_tokenizer_says_which_token_is_bos(tiny_tokenizer_folder: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer_folder)
    model = build("llama", bos_token_id=None)
    with watched(model, "all") as found:
        model(input_ids=WITH_BOS)
    with watched(model, "all", tokenizer=tokenizer) as told:
        model(input_ids=WITH_BOS)
    assert found == [[[0, 1, 2, 3, 4]]]
    assert told == [[[1, 2, 4]]]


def test_embeddings_do_not_say_where_bos_is() -> None:
    model = build("llama")
    x = model.get_input_embeddings()(WITH_BOS)
    with pytest.raises(SteeringError, match="the position of BOS is not known"), watched(model, "all"):
        model(inputs_embeds=x)
    with watched(model, "all", steer_bos=True) as found:
        model(inputs_embeds=x)
    assert found == [[[0, 1, 2, 3, 4]]]


def test_several_tokens_on_top_of_a_cache_need_the_length_of_the_prompt() -> None:
    model = build("llama")

    def run() -> None:
        cache = model(input_ids=PROMPT[:, :2], use_cache=True).past_key_values
        model(input_ids=PROMPT[:, 2:], past_key_values=cache, use_cache=True)

    for positions in ("prompt", "generated", [1]):
        with pytest.raises(SteeringError, match="prompt_tokens"), watched(model, positions):
            run()
    with watched(model, "all") as found:
        run()
    assert found == [[[0, 1]], [[0, 1, 2]]]
    for positions, expected in (
        ("prompt", [[[0, 1]], [[0, 1]]]), ("generated", [[[]], [[2]]]), ([0, 3], [[[0]], [[1]]]),
    ):
        with watched(model, positions, prompt_tokens=4) as found:
            run()
        assert found == expected


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", [1, 3]])
def test_other_ways_to_generate_write_the_same_text(positions: Any) -> None:
    model, sae = build("llama"), toy_sae()
    texts = []
    for more in ({}, {"prefill_chunk_size": 2}, {"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 2},
                 {"use_cache": False}):
        with steered(model, [feature(5, 6.0, "clamp")], sae=sae, positions=positions, prompt_tokens=5):
            texts.append(model.generate(PROMPT, max_new_tokens=6, min_new_tokens=6, do_sample=False, **more).tolist())
    assert texts[1:] == [texts[0]] * 4


def test_rejects_a_chosen_token_beyond_the_prompt() -> None:
    model = build("llama")
    with pytest.raises(SteeringError, match="Token 5 is to be steered, but the prompt has 5 tokens"):
        with watched(model, [0, 5]):
            model.generate(PROMPT, max_new_tokens=3, do_sample=False)
    with pytest.raises(SteeringError, match="Token 2 is to be steered, but the prompt has 2 tokens"):
        with watched(model, [2]):
            model(input_ids=PADDED, attention_mask=MASK)


def test_virtual_tokens_are_an_error() -> None:
    model = build("llama")
    forward = model.model.forward

    def longer(**kwargs: Any) -> Any:
        embeds = model.get_input_embeddings()(kwargs["input_ids"])
        return forward(inputs_embeds=torch.cat([embeds[:, :1], embeds], 1))

    longer.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    model.model.forward = longer
    with pytest.raises(SteeringError, match="1 × 6 tokens, but the model was called with 1 × 5"):
        with watched(model, "all"):
            model(input_ids=PROMPT)


@pytest.mark.parametrize("wrong", ["everything", [], 3, [1, -1], [1.5], [True], None])
def test_rejects_invalid_positions(wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        as_positions(wrong)
    assert caught.value.where == "positions"
    assert "'generated'" in str(caught.value)


def test_a_plain_forward_is_all_prompt_and_every_generation_begins_anew() -> None:
    model = build("llama")
    with watched(model, "prompt") as found:
        model(input_ids=PROMPT)
        model(PROMPT)  # by position
        for size in (3, 4):  # each prompt extends the one before by one token
            model.generate(PROMPT[:, :size], max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert found == [[[0, 1, 2, 3, 4]], [[0, 1, 2, 3, 4]], [[0, 1, 2]], [[]], [[0, 1, 2, 3]], [[]]]


def test_beams() -> None:
    model = build("llama")
    with watched(model, "generated", steer_bos=True) as found:
        model.generate(PROMPT, max_new_tokens=3, min_new_tokens=3, do_sample=False, num_beams=3)
    assert found[0] in ([[]], [[]] * 3)
    assert found[1:] == [[[0]] * 3] * 2
