"""Encoders: which models are, how they are loaded, what they are not asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel, GPT2Model

from saewidgets.errors import ConfigError
from saewidgets.evaluation import CrossEntropy
from saewidgets.lm import capture, forward, hook_points, load_model, model_facts, special_tokens, wrap_model
from saewidgets.lm.model_config import context_of
from tests.lm.models import CONFIGS, ENCODERS, build, encoder_tokenizer, token_ids


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    return encoder_tokenizer(AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def saved(model: Any, tokenizer: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", [*CONFIGS, *ENCODERS])
def test_which_models_predict_the_next_token(name: str) -> None:
    assert wrap_model(build(name), object()).is_causal == (name in CONFIGS)


def test_bert_as_a_decoder_is_causal_and_a_bare_model_is_not() -> None:
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, is_decoder=True
    )
    assert wrap_model(BertLMHeadModel(config), object()).is_causal
    bare = wrap_model(GPT2Model(build("gpt2").config), object())
    assert not bare.is_causal
    assert len(hook_points(bare.model)) == 12
    with pytest.raises(ConfigError, match=r"needs a model that predicts the next token; .* no output layer"):
        CrossEntropy(bare)


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert"])
def test_loading_takes_the_masked_head_where_there_is_one(name: str, tokenizer: Any, tmp_path: Path) -> None:
    model = build(name)
    lm = load_model(saved(model, tokenizer, tmp_path / "masked"))
    assert type(lm.model) is type(model)
    torch.testing.assert_close(forward(lm.model, token_ids()).logits, forward(model, token_ids()).logits)
    bare = load_model(saved(model.base_model, tokenizer, tmp_path / "bare"))
    assert type(bare.model) is type(model.base_model)
    hook = "blocks.1.attn.hook_z"
    assert torch.equal(capture(bare.model, [hook], token_ids())[hook], capture(model, [hook], token_ids())[hook])
    assert not lm.is_causal
    assert not bare.is_causal
    facts = model_facts(str(tmp_path / "masked"))
    assert (facts.is_encoder, facts.d_in("blocks.0.attn.hook_z")) == (True, 32)
    assert not load_model(str(tmp_path / "masked"), dtype="bfloat16").is_causal


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert"])
def test_the_longest_context_is_the_longest_the_model_reads(name: str) -> None:
    model = build(name)
    longest = context_of(model.config)
    assert longest == (64 if name in ("roberta", "xlm-roberta", "camembert", "mpnet") else 66)
    forward(model, token_ids(1, longest))
    with pytest.raises((IndexError, RuntimeError)):
        forward(model, token_ids(1, longest + 1))


def test_special_tokens_of_an_encoder(tokenizer: Any) -> None:
    found = special_tokens(tokenizer)
    assert (found.bos, found.separator, found.closing) == (0, 1, 1)
    assert set(found.all) == {0, 1, 300, 301}  # [CLS] [SEP] [MASK] [PAD]
    tokenizer("a long text that is cut", truncation=True, max_length=3, padding="max_length")
    assert special_tokens(tokenizer) == found  # what the last call was asked for says nothing
