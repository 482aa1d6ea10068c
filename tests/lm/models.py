"""Tiny random models of common architectures, built from configurations."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf

WIDTH, LAYERS, VOCAB = 32, 3, 64

_COMMON: dict[str, Any] = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
_LLAMA: dict[str, Any] = _COMMON | {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_GEMMA = _LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
_GPT = _COMMON | {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}

CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gpt2": (tf.GPT2Config, _GPT),
    "gpt_neo": (
        tf.GPTNeoConfig,
        _COMMON
        | {
            "hidden_size": WIDTH,
            "num_layers": LAYERS,
            "num_heads": 4,
            "max_position_embeddings": 64,
            "attention_types": [[["global"], LAYERS]],
        },
    ),
    "gptj": (tf.GPTJConfig, _GPT | {"rotary_dim": 4}),
    "gpt_neox": (tf.GPTNeoXConfig, {k: v for k, v in _LLAMA.items() if k != "num_key_value_heads"}),
    "llama": (tf.LlamaConfig, _LLAMA),
    "mistral": (tf.MistralConfig, _LLAMA),
    "mixtral": (tf.MixtralConfig, _LLAMA | {"num_local_experts": LAYERS, "num_experts_per_tok": 2}),
    "qwen2": (tf.Qwen2Config, _LLAMA),
    "qwen3": (tf.Qwen3Config, _LLAMA | {"head_dim": 8}),
    "gemma": (tf.GemmaConfig, _LLAMA | {"head_dim": 8}),
    "gemma2": (tf.Gemma2Config, _GEMMA),
    "gemma3_text": (tf.Gemma3TextConfig, _GEMMA),
    "olmo2": (tf.Olmo2Config, _LLAMA),
    "glm4": (tf.Glm4Config, _LLAMA | {"head_dim": 8}),
    "phi": (tf.PhiConfig, _LLAMA),
    "phi3": (tf.Phi3Config, _LLAMA),
    "falcon": (
        tf.FalconConfig,
        _COMMON | {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "alibi": False},
    ),
    "bloom": (tf.BloomConfig, _COMMON | {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": 4}),
    "opt": (
        tf.OPTConfig,
        _COMMON
        | {
            "hidden_size": WIDTH,
            "ffn_dim": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": WIDTH,
        },
    ),
}


def build(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model of architecture `name` with random weights, large enough that layers matter."""
    kind, settings = CONFIGS[name]
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)  # transformers initialises from the global generator; it is put back below
        model = tf.AutoModelForCausalLM.from_config(kind(**{**settings, **changes}))
        with torch.no_grad():
            for name_, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.2)
                elif "norm" not in name_ and "ln" not in name_:
                    parameter.normal_(0, 0.1)
    finally:
        torch.random.set_rng_state(state)
    return model.eval()


def token_ids(batch: int = 2, context: int = 9, seed: int = 1) -> torch.Tensor:
    """Random ids ``[batch, context]``."""
    return torch.randint(2, VOCAB, (batch, context), generator=torch.Generator().manual_seed(seed))
