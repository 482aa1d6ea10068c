"""Remake tests/golden/transformer_lens: activations by hook name, as TransformerLens computes them.

Run inside an environment with transformer-lens (`make peers` builds it):

    .venvs/transformer_lens/bin/python tools/golden_transformer_lens.py

Written are, per architecture, the configuration and weights of a tiny transformers model with gains far from 1, token
ids, and every activation whose name this package knows.
"""

import json
import re
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformer_lens.model_bridge import TransformerBridge

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "transformer_lens"
NAMES = re.compile(
    r"hook_embed|blocks\.\d+\.(hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)|attn\.hook_z|ln2\.hook_normalized"
    r"|mlp\.hook_in)"
)
SIZES = {"vocab_size": 48, "bos_token_id": 0, "eos_token_id": 1}
CONFIGS = {
    "gpt2": transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, **SIZES),
    "gemma2": transformers.Gemma2Config(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, query_pre_attn_scalar=8, max_position_embeddings=16, sliding_window=8, pad_token_id=1, **SIZES,
    ),
}


def _tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    words = {f"t{number}": number for number in range(48)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    special = {"bos_token": "t0", "eos_token": "t1", "pad_token": "t1"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.3)
                else:  # gains and biases
                    parameter.add_(torch.randn_like(parameter))
        folder = OUT / name
        model.save_pretrained(folder)
        ids = torch.randint(2, 48, (2, 7))
        with tempfile.TemporaryDirectory() as temporary:
            tokenizer = _tokenizer(Path(temporary))
            bridge = TransformerBridge.boot_transformers(
                str(folder), hf_model=model, tokenizer=tokenizer, device="cpu"
            )
        _, cache = bridge.run_with_cache(ids)
        found = {key: value for key, value in cache.items() if NAMES.fullmatch(key)}
        print(name, *found)
        tensors = {"ids": ids, **{key: value.contiguous().clone() for key, value in found.items()}}
        save_file(tensors, folder / "expected.safetensors")
    versions = {name: version(name) for name in ("transformer-lens", "torch", "transformers")}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
