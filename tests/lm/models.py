"""Tiny random models of common architectures, built from configurations."""

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

# Gemma 3 that also sees: the same language model inside another one.
_SEEING: dict[str, Any] = {
    "text_config": _GEMMA,
    "vision_config": {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    },
    "image_token_index": 63, "boi_token_index": 61, "eoi_token_index": 62, "mm_tokens_per_image": 4,
}  # fmt: skip
_BERT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
}
_SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "mask_token_id": 2}

ENCODERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (tf.BertConfig, _BERT),
    "roberta": (tf.RobertaConfig, _BERT),
    "distilbert": (
        tf.DistilBertConfig,
        {
            "vocab_size": VOCAB, "dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 48,
            "max_position_embeddings": 66, "pad_token_id": 1,
        },
    ),
    "modernbert": (
        tf.ModernBertConfig,
        _BERT | _SPECIAL | {
            "global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 0, "sep_token_id": 1,
        },
    ),
    "electra": (tf.ElectraConfig, _BERT | {"embedding_size": WIDTH}),
    "xlm-roberta": (tf.XLMRobertaConfig, _BERT),
    "camembert": (tf.CamembertConfig, _BERT),
    "deberta-v2": (tf.DebertaV2Config, _BERT),
    "mpnet": (tf.MPNetConfig, _BERT),
    "roberta-prelayernorm": (tf.RobertaPreLayerNormConfig, _BERT),
    "megatron-bert": (tf.MegatronBertConfig, _BERT),
    "esm": (tf.EsmConfig, _BERT | {"mask_token_id": 2}),
}  # fmt: skip
for _later in ("EuroBert", "NomicBert", "Gte"):  # not in the oldest transformers that is supported
    if hasattr(tf, f"{_later}Config"):
        _kind = getattr(tf, f"{_later}Config")
        ENCODERS[_kind.model_type] = (_kind, _BERT | _SPECIAL)

# Settings of an architecture that change how its blocks add up.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_neox (use_parallel_residual=False)": ("gpt_neox", {"use_parallel_residual": False}),
    "opt (do_layer_norm_before=False)": ("opt", {"do_layer_norm_before": False}),
    "falcon (new_decoder_architecture=True)": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon (parallel_attn=False)": ("falcon", {"parallel_attn": False}),
}
FAMILIES = (*CONFIGS, "gemma3", *VARIANTS, *ENCODERS)
"""Everything that `family` builds."""


def family(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model of `FAMILIES`: an architecture or a variant of one."""
    base, settings = VARIANTS.get(name, (name, {}))
    return build(base, seed, **settings, **changes)


def build(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model of architecture `name` with random weights, large enough that layers matter."""
    kind, settings = (tf.Gemma3Config, _SEEING) if name == "gemma3" else (CONFIGS | ENCODERS)[name]
    if name == "gemma3":
        changes = {"text_config": settings["text_config"] | changes}
    auto = tf.AutoModelForMaskedLM if name in ENCODERS else tf.AutoModelForCausalLM
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)  # transformers initialises from the global generator; it is put back below
        model = auto.from_config(kind(**{**settings, **changes}))
        with torch.no_grad():
            for name_, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.2)
                elif "norm" not in name_ and "ln" not in name_:
                    parameter.normal_(0, 0.1)
    finally:
        torch.random.set_rng_state(state)
    return model.eval()


def encoder_tokenizer(base: Any) -> Any:
    """A copy of a fast tokenizer that puts texts between [CLS] and [SEP], as those of encoders do.

    It has neither BOS nor EOS; [CLS] and [SEP] take their ids (0 and 1), [MASK] and [PAD] are added.
    """
    from tokenizers import Tokenizer, processors

    inner = Tokenizer.from_str(base.backend_tokenizer.to_str().replace("<|bos|>", "[CLS]").replace("<|eos|>", "[SEP]"))
    inner.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", pad_token="[PAD]",
        model_max_length=64,
    )  # fmt: skip


def token_ids(batch: int = 2, context: int = 9, seed: int = 1) -> torch.Tensor:
    """Random ids ``[batch, context]``."""
    return torch.randint(2, VOCAB, (batch, context), generator=torch.Generator().manual_seed(seed))


def hook_count(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
