"""A model in memory labels by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError
from saewidgets.features.labels import LLMAnswerError, Message, transformers_local
from saewidgets.lm import LoadedModel, load_model

ASK: list[Message] = [{"role": "system", "content": "the"}, {"role": "user", "content": "king"}]


@pytest.fixture(scope="module")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder))


def test_a_model_answers_the_same_every_time(lm: LoadedModel) -> None:
    llm = transformers_local(lm.model, lm.tokenizer, max_tokens=8)
    lm.model.train()
    try:
        first = llm(ASK)
        assert lm.model.training
    finally:
        lm.model.eval()
    assert first == llm(ASK) == transformers_local(lm, max_tokens=8)(ASK)
    assert first.tokens_in is not None
    assert first.tokens_in > 2
    assert first.tokens_out is not None
    assert 1 <= first.tokens_out <= 8
    ids = lm.tokenizer("the\n\nking\n\n", return_tensors="pt")
    out: Any = lm.model.generate(**ids, max_new_tokens=8, do_sample=False, pad_token_id=lm.tokenizer.eos_token_id)  # type: ignore[operator]
    assert first == lm.tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_chat_template_is_used(lm: LoadedModel) -> None:
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
    try:
        reply = transformers_local(lm.model, lm.tokenizer, max_tokens=1)(ASK)
        expected = len(lm.tokenizer("system:the\nuser:king\n", add_special_tokens=False)["input_ids"])
    finally:
        lm.tokenizer.chat_template = None
    assert reply.tokens_in == expected


def test_a_pipeline_is_taken_apart(lm: LoadedModel) -> None:
    from transformers import pipeline

    pipe = pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
    assert transformers_local(pipe, max_tokens=4)(ASK) == transformers_local(lm, max_tokens=4)(ASK)


def test_a_prompt_that_is_too_long_says_how_long(lm: LoadedModel) -> None:
    with pytest.raises(LLMAnswerError, match="context has 64"):
        transformers_local(lm, max_tokens=8)([{"role": "user", "content": "king " * 100}])


def test_a_name_shows_no_folder(lm: LoadedModel, tiny_model_folder: Path) -> None:
    assert transformers_local(lm).model == tiny_model_folder.name
    assert transformers_local(lm, name="mine").model == "mine"
    assert str(tiny_model_folder.parent) not in repr(transformers_local(lm))


def test_something_else_is_refused(lm: LoadedModel) -> None:
    for wrong in (lm.model, object(), "gpt2"):
        with pytest.raises(ConfigError, match="tokenizer"):
            transformers_local(wrong)
