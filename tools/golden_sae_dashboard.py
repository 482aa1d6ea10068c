"""Remake tests/golden/sae_dashboard: what the real `sae-dashboard` package finds, for tests that run without it.

Run inside an environment with sae-dashboard (`tools/make_peers.py sae_dashboard` builds it):

    .venvs/sae_dashboard/bin/python tools/golden_sae_dashboard.py

Written are a small random language model with its tokenizer, some text and its tokens, two SAEs as sae-lens saves them
and, per SAE, what `SaeVisRunner` finds and the batch file that Neuronpedia's converter makes of it.
"""

import importlib.metadata
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_MODE="disabled")

import sae_lens.saes as lens
import torch
from sae_dashboard.components_config import (
    ActsHistogramConfig,
    Column,
    FeatureTablesConfig,
    LogitsHistogramConfig,
    LogitsTableConfig,
    SequencesConfig,
)
from sae_dashboard.layout import SaeVisLayoutConfig
from sae_dashboard.neuronpedia.neuronpedia_converter import NeuronpediaConverter
from sae_dashboard.neuronpedia.neuronpedia_runner_config import NeuronpediaRunnerConfig
from sae_dashboard.sae_vis_data import SaeVisConfig, SaeVisData
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import HookedSAETransformer
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "sae_dashboard"
HOOK = "blocks.1.hook_resid_post"
D_IN, D_SAE, CONTEXT, VOCAB = 16, 24, 32, 260
TOP = 12
WORDS = (
    "king river ship whale sea night letter garden stone window music winter road horse bread letter storm paper "
    "gold candle forest bridge market island doctor teacher sailor morning silver shadow fire mirror"
).split()


def sentences() -> list[str]:
    """Text in which no stretch occurs twice."""
    chance = random.Random(0)
    return [" ".join(chance.choice(WORDS) for _ in range(chance.randint(6, 14))) + "." for _ in range(60)]


def tokenizer_of(texts: list[str]) -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=VOCAB + 40, special_tokens=["<|bos|>", "<|eos|>"], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|eos|>"
    )


def packed(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Contexts as `saewidgets.activations.pack` makes them: an EOS before each document, a BOS before each context."""
    stream: list[int] = []
    for text in texts:
        stream += [tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    rows = [stream[i : i + CONTEXT - 1] for i in range(0, len(stream), CONTEXT - 1)]
    return torch.tensor([[tokenizer.bos_token_id, *row] for row in rows if len(row) == CONTEXT - 1])


def gpt2(vocabulary: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=CONTEXT, n_embd=D_IN, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1,
        initializer_range=0.3,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # gains that matter
        model.transformer.ln_f.weight.add_(0.3 * torch.randn(D_IN))
        model.transformer.ln_f.bias.add_(0.3 * torch.randn(D_IN))
    return model


def hooked(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, processed: bool) -> HookedSAETransformer:
    """The same model as TransformerLens runs it; `processed`: norms folded and the unembedding centred, its default."""
    c = model.config
    config = HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, d_head=c.n_embd // c.n_head, n_heads=c.n_head,
        d_mlp=4 * c.n_embd, d_vocab=c.vocab_size, act_fn="gelu_new", normalization_type="LN", eps=c.layer_norm_epsilon,
        device="cpu", model_name="tiny", original_architecture="GPT2LMHeadModel",
    )
    found = HookedSAETransformer(config)
    found.load_and_process_state_dict(
        convert_gpt2_weights(model, config), fold_ln=processed, center_unembed=processed,
        center_writing_weights=False, fold_value_biases=processed,
    )
    found.tokenizer = tokenizer
    return found


def saes(x: torch.Tensor) -> dict[str, lens.SAE]:
    """A JumpReLU whose decoder rows are not unit (sae-dashboard folds their norms), and a standard SAE; one latent of
    each is dead."""
    found: dict[str, lens.SAE] = {
        "jumprelu": lens.JumpReLUSAE(
            lens.JumpReLUSAEConfig(d_in=D_IN, d_sae=D_SAE, device="cpu", dtype="float32", apply_b_dec_to_input=False)
        ),
        "standard": lens.StandardSAE(
            lens.StandardSAEConfig(d_in=D_IN, d_sae=D_SAE, device="cpu", dtype="float32", apply_b_dec_to_input=True)
        ),
    }
    for seed, (name, sae) in enumerate(found.items()):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.nn.functional.normalize(torch.randn(D_SAE, D_IN, generator=generator), dim=1)
        norms = 0.5 + torch.rand(D_SAE, 1, generator=generator) if name == "jumprelu" else torch.ones(D_SAE, 1)
        with torch.no_grad():
            sae.W_enc.copy_(rows.T)
            sae.W_dec.copy_(rows * norms)
            sae.b_dec.copy_(x.mean(0))
            pre = x @ sae.W_enc - (sae.b_dec @ sae.W_enc if name == "standard" else 0)
            # Not an activation that occurs: whether it counts would be a matter of rounding.
            level = pre.quantile(torch.linspace(0.75, 0.995, D_SAE), dim=0).diagonal() + 1e-3
            if name == "jumprelu":
                sae.threshold.copy_(level.clamp(min=1e-3))
                sae.threshold[3] = 1e6
            else:
                sae.b_enc.copy_(-level)
                sae.b_enc[3] = -1e6
        sae.cfg.metadata.hook_name = HOOK
        sae.cfg.metadata.model_name = "tiny"
    return found


def layout(buffer: tuple[int, int] | None) -> SaeVisLayoutConfig:
    sequences = SequencesConfig(buffer=buffer, n_quantiles=5, top_acts_group_size=TOP, quantile_group_size=3)
    rest = (ActsHistogramConfig(), LogitsHistogramConfig(), LogitsTableConfig(), FeatureTablesConfig(n_rows=3))
    return SaeVisLayoutConfig(columns=[Column(sequences, *rest)])


def run(folder: Path, model: HookedSAETransformer, tokens: torch.Tensor, buffer: tuple[int, int] | None) -> SaeVisData:
    """sae-dashboard's data; the SAE is loaded anew, since the runner changes it."""
    sae = lens.SAE.load_from_disk(folder, device="cpu")
    config = SaeVisConfig(
        hook_point=HOOK, features=list(range(D_SAE)), minibatch_size_features=D_SAE, minibatch_size_tokens=16,
        device="cpu", dtype="float32", feature_centric_layout=layout(buffer),
        ignore_tokens={model.tokenizer.bos_token_id, model.tokenizer.eos_token_id},
    )
    return SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)


def recorded(data: SaeVisData) -> list[dict[str, Any]]:
    """What is compared, per latent."""
    found = []
    for index, feature in data.feature_data_dict.items():
        logits, acts, effects = feature.logits_table_data, feature.acts_histogram_data, feature.logits_histogram_data
        top, *intervals = feature.sequence_data.seq_group_data
        found.append({
            "index": index, "title": acts.title, "heights": acts.bar_heights, "values": acts.bar_values,
            "top_tokens": logits.top_token_ids, "top_logits": logits.top_logits,
            "bottom_tokens": logits.bottom_token_ids, "bottom_logits": logits.bottom_logits,
            "logit_heights": effects.bar_heights, "logit_values": effects.bar_values,
            "alignment": [
                feature.feature_tables_data.neuron_alignment_indices,
                feature.feature_tables_data.neuron_alignment_values,
                feature.feature_tables_data.neuron_alignment_l1,
            ],
            "top": [[s.original_index, s.qualifying_token_index, max(s.feat_acts)] for s in top.seq_data],
            "intervals": [group.title for group in intervals],
        })  # fmt: skip
    return found


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    texts = sentences()
    tokenizer = tokenizer_of(texts)
    model = gpt2(len(tokenizer))
    model.save_pretrained(OUT / "model")
    tokenizer.save_pretrained(OUT / "model")
    tokens = packed(texts, tokenizer)
    save_file({"tokens": tokens.contiguous()}, OUT / "tokens.safetensors")
    (OUT / "texts.json").write_text(json.dumps(texts, indent=0) + "\n")

    lensed = hooked(model, tokenizer, processed=True)
    with torch.no_grad():
        x = lensed.run_with_cache(tokens, names_filter=HOOK)[1][HOOK].flatten(0, 1)
    vocabulary = {i: tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))}
    for name, sae in saes(x).items():
        folder = OUT / name
        sae.save_model(folder)
        whole = run(folder, lensed, tokens, None)
        short = run(folder, lensed, tokens, (5, 5))
        plain = run(folder, hooked(model, tokenizer, processed=False), tokens, None)
        wanted = {"whole": recorded(whole), "short": recorded(short), "unprocessed": recorded(plain)}
        for kind in ("short", "unprocessed"):  # of these, what differs from `whole`
            keys = ("index", "top") if kind == "short" else ("index", "top_tokens", "top_logits")
            wanted[kind] = [{key: feature[key] for key in keys} for feature in wanted[kind]]
        (folder / "expected.json").write_text(json.dumps(wanted) + "\n")
        config = NeuronpediaRunnerConfig(
            sae_set="tiny-set", sae_path="", outputs_dir="", sparsity_threshold=0, n_prompts_total=len(tokens),
            n_tokens_in_prompt=CONTEXT, huggingface_dataset_path="tiny",
        )
        config.model_id, config.layer = "tiny", 1
        whole.feature_data_dict = {i: whole.feature_data_dict[i] for i in (0, 3, 20)}
        (folder / "batch-0.json").write_text(
            NeuronpediaConverter.convert_to_np_json(lensed, whole, config, vocabulary) + "\n"
        )
    versions = {name: importlib.metadata.version(name) for name in ("sae-dashboard", "sae-lens", "transformer-lens")}
    versions["torch"] = torch.__version__
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {size:,} bytes with {versions}, {tuple(tokens.shape)} tokens")


if __name__ == "__main__":
    main()
