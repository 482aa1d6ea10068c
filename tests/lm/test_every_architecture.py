"""Every causal architecture of transformers that can be built small: each hook point is what its name promises."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

from saewidgets.lm import HookError, capture, forward, hook_points, spliced
from saewidgets.lm.sites import sites_of

WIDTH, LAYERS, VOCAB = 32, 3, 64
LARGEST = 30_000_000  # parameters
# Sizes under every name that a configuration has for them.
_NAMES = {
    WIDTH: "hidden_size n_embd d_model dim word_embed_proj_dim embedding_size lru_width attention_hidden_size",
    LAYERS: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers",
    48: "intermediate_size n_inner ffn_dim encoder_ffn_dim decoder_ffn_dim ffn_hidden_size dense_intermediate_size dff "
    "d_ff",
    64: "max_position_embeddings n_positions max_seq_len n_ctx vocab_size_per_layer_input mamba_d_ssm",
    8: "head_dim q_lora_rank kv_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim mamba_n_heads mamba_d_head "
    "mamba_d_state mamba_num_heads mamba_head_dim state_size ssm_state_size linear_key_head_dim linear_value_head_dim "
    "d_kv hidden_size_per_layer_input",
    16: "moe_intermediate_size shared_expert_intermediate_size sliding_window qk_head_dim attention_window_size",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_experts "
    "num_local_experts n_routed_experts moe_num_experts rotary_dim mamba_dt_rank altup_num_inputs laurel_rank",
    2: "num_key_value_heads num_experts_per_tok num_experts_per_token linear_num_value_heads linear_num_key_heads "
    "num_kv_heads moe_k moe_topk mamba_expand expert_layer_period attn_layer_period",
    24: "shared_intermediate_size",
    1: "n_group topk_group n_shared_experts first_k_dense_replace num_dense_layers attn_layer_offset",
    0: "num_kv_shared_layers",
}
SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
MUST_BUILD = (
    "gpt2 gpt_neox llama mistral mixtral qwen2 qwen3 qwen3_moe gemma gemma2 gemma3_text olmo2 phi3 opt bloom mpt gptj "
    "cohere granitemoeshared deepseek_v3 openai-gpt bart"
).split()


def small(model_type: str) -> Any:
    """A tiny model with random weights, gains far from one. Skips the test where these sizes do not make one."""
    try:
        default = transformers.CONFIG_MAPPING[model_type]()
        text = default.get_text_config()
        settings: dict[str, Any] = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
        settings |= {name: size for name, size in SIZES.items() if _value(text, name) is not None}
        if _value(text, "qk_rope_head_dim") is not None:  # latent attention: as many keys as queries
            settings |= {"num_key_value_heads": 4}
            settings.pop("head_dim", None)
        kinds = _value(text, "layer_types")
        if kinds:
            settings["layer_types"] = [kinds[0], kinds[min(1, len(kinds) - 1)], kinds[-1]]
        if model_type == "gpt_neo":
            settings["attention_types"] = [[["global"], LAYERS]]
        config = _configured(type(text), settings)
        with torch.device("meta"):
            size = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters())
        if size > LARGEST:
            pytest.skip(f"{size:,} parameters")
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    except Exception as error:  # whatever an architecture makes of these sizes
        if isinstance(error, pytest.skip.Exception):
            raise
        if model_type in MUST_BUILD:
            raise
        pytest.skip(f"not built: {type(error).__name__}: {error}"[:200])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.15 * noise if parameter.dim() > 1 else parameter + 0.2 * noise)
    return model


def _value(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except Exception:  # noqa: BLE001 - a size that differs between layers
        return None


def _configured(kind: Any, settings: dict[str, Any]) -> Any:
    """The configuration, without sizes that follow from others."""
    while True:
        try:
            return kind(**settings)
        except AttributeError as error:
            derived = re.search(r"property '(\w+)'", str(error))
            if derived is None or derived[1] not in settings:
                raise
            del settings[derived[1]]


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-4 * b.norm() + 1e-6)


@pytest.mark.long
@pytest.mark.parametrize("model_type", sorted(NAMES))
def test_every_hook_point_keeps_its_promise(model_type: str) -> None:
    model = small(model_type)
    ids = torch.randint(2, VOCAB, (2, 9), generator=torch.Generator().manual_seed(1))
    try:
        plain = forward(model, ids).logits
        table = sites_of(model)
    except HookError as error:
        pytest.skip(f"refused: {error}"[:200])
    except Exception as error:  # noqa: BLE001 - these sizes build a model that does not run
        pytest.skip(f"does not run: {type(error).__name__}: {error}"[:200])
    found = capture(model, hook_points(model, published=True), ids, stop_early=False)
    with torch.no_grad():
        hidden = getattr(model(input_ids=ids, output_hidden_states=True), "hidden_states", None) or ()
    for layer, block in enumerate(table):
        at = {name: found[f"blocks.{layer}.{name}"] for name in block.sites}
        pre, post = at.get("hook_resid_pre"), at.get("hook_resid_post")
        if pre is None or post is None:
            continue
        assert all(value.shape[:2] == ids.shape for value in at.values())
        if len(hidden) == LAYERS + 1 and hidden[layer].shape == pre.shape and model_type not in ("cpmant", "rwkv"):
            assert close(pre, hidden[layer])  # these two rescale what they report
        added = [at[name] for name in ("hook_attn_out", "hook_mlp_out") if name in at]
        if "hook_resid_mid" in at:
            assert close(at["hook_resid_mid"], pre + at["hook_attn_out"])
            if "hook_mlp_out" in at:
                assert close(post, at["hook_resid_mid"] + at["hook_mlp_out"])
        elif len(added) == 2 and block.missing["hook_resid_mid"].startswith("attention and MLP"):
            assert close(post, pre + added[0] + added[1])
        if "ln2.hook_normalized" in at and "mlp.hook_in" in at:  # gain and bias are the same for all tokens
            unit, entered = at["ln2.hook_normalized"].flatten(0, 1), at["mlp.hook_in"].flatten(0, 1)
            unit, entered = unit - unit.mean(0), entered - entered.mean(0)
            gain = (unit * entered).sum(0) / unit.pow(2).sum(0)
            assert close(gain * unit, entered)
    for name in [name for name in found if name.startswith("blocks.1.")]:
        with spliced(model, name, torch.clone):
            assert close(forward(model, ids).logits, plain), name
