"""SAEs that other projects wrote, made here as they write them: what is read computes their own formulas, and says what
their files and paths say. Each row of `READ` is one file or folder; what a format refuses beside test_refusals.py is in
`REFUSED`. Goldens of the real packages are in test_saelens_loaders.py and test_dictionary_learning.py."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import saewidgets.formats
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats import Description, describe, detect_format, load_sae, save_sae
from saewidgets.formats.registry import find_all, match
from saewidgets.formats.source import FolderSource, ListedSource
from saewidgets.sae import create_sae, inference_sae
from tests.formats.weights import (
    Array,
    assert_close,
    assert_computes,
    draw,
    inputs,
    jump,
    largest,
    relu,
    torched,
    write_json,
)
from tests.sae.cases import LOADED, batch, loaded

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dictionary_learning"
Files = dict[str, Any]
Act = Callable[[Array], Array]


def put(root: Path, files: Files) -> Path:
    """Write `files`, name → what is in it, the way that the name's ending says; returns the first."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
        if path.suffix == ".npz":
            np.savez(path, **arrays)
        elif path.suffix == ".safetensors":
            save_file(torched(arrays), path, content.get("__metadata__"))
        elif path.suffix in (".pt", ".pth"):
            torch.save({**content, **torched(arrays)}, path)
        else:
            path.write_text(yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content))
    return root / next(iter(files))


def computed(
    w: dict[str, Array], x: Array, act: Act = relu, *, centre: Any = 0.0, bias: Any = None, scale: Any = 1.0,
    scale_out: Any = None, more: Any = 0.0,
) -> tuple[Array, Array]:
    """The SAE sees scale · x less its centre; what it reconstructs is scale_out · y."""
    x = x.astype(np.float64)
    f = act((x * scale - centre) @ w["W_enc"] + w["b_enc"])
    y = (f @ w["W_dec"] + (w["b_dec"] if bias is None else bias)) / (scale if scale_out is None else scale_out)
    return f, y + more


def above(w: dict[str, Array], threshold: Any = None) -> Act:
    return lambda p: jump(p, w["threshold"] if threshold is None else threshold)


def best(k: int) -> Act:
    return lambda p: largest(relu(p), k)


def linear(w: dict[str, Array], end: str = "", **names: str) -> dict[str, Array]:
    """The same as two torch linear layers."""
    found = {f"encoder{end}.weight": w["W_enc"].T, f"encoder{end}.bias": w["b_enc"],
             f"decoder{end}.weight": w["W_dec"].T, f"decoder{end}.bias": w["b_dec"]}
    return {names.get(name.replace(".", "_"), name): array for name, array in found.items()}


X, W = inputs(), draw()
READ: list[tuple[str, Files, Array, tuple[Array, Array], dict[str, Any]]] = []  # name, files, x, (f, y), facts


def row(name: str, files: Files, expected: tuple[Array, Array], x: Array = X, **facts: Any) -> None:
    READ.append((name, files, x, expected, facts))


# --- Gemma Scope: DeepMind's own JumpReLU, nothing subtracted, nothing normalised ------------------------------------

RES = "models--google--gemma-scope-2b-pt-res/snapshots/0123/layer_12/width_16k/average_l0_82"
KEPT = "google/gemma-scope-2b-pt-res/layer_12/width_4k/average_l0_82"
WIDE, X4, W4 = draw(d_in=4, d_sae=16_384), inputs(d_in=4), draw(d_in=4, d_sae=4096)
HOOK_12, GEMMA = "blocks.12.hook_resid_post", "google/gemma-2-2b"

row("gemma_scope", {f"{RES}/params.npz": WIDE}, computed(WIDE, X4, above(WIDE)), X4, architecture="jumprelu",
    model=GEMMA, hook_name=HOOK_12, average_l0=82, d_sae=16_384, dtype="float32", notes=())
for repo, layer, hook, kind, out in (
    ("gemma-scope-9b-it-mlp", 3, "blocks.3.hook_mlp_out", "jumprelu", None),
    ("gemma-scope-27b-pt-att", 0, "blocks.0.attn.hook_z", "jumprelu", None),
    ("gemma-scope-2b-pt-transcoders", 7, "blocks.7.ln2.hook_normalized", "jumprelu_transcoder",
     "blocks.7.hook_mlp_out"),
):
    row("gemma_scope", {f"{repo}/layer_{layer}/width_4k/average_l0_9/params.npz": W4}, computed(W4, X4, above(W4)), X4,
        hook_name=hook, architecture=kind, hook_name_out=out)
LOWER = {name.lower(): array for name, array in W.items()}
row("gemma_scope", {"x/params.npz": LOWER}, computed(W, X, above(W)), model=None, hook_name=None,
    note="neither model nor layer")
ONES = W | {"scaling_factor": np.ones(40, np.float32)}
row("gemma_scope", {"x/params.npz": ONES}, computed(W, X, above(W)))
W9 = draw(d_in=9, d_sae=4096)
RAW9 = W9 | {"W_enc": W9["W_enc"] / 3, "W_dec": W9["W_dec"] * 3}  # trained on embeddings times √d
row("gemma_scope", {"gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6/params.npz": W9},
    computed(RAW9, inputs(d_in=9), above(W9)), inputs(d_in=9), hook_name="hook_embed", note="√d_in")
# SAELens would subtract b_dec, since cfg.json does not say.
KEPT_FILES = {f"{KEPT}/cfg.json": {"d_in": 4, "d_sae": 4096, "dtype": "float32"}, f"{KEPT}/sae_weights.safetensors": W4}
row("gemma_scope", KEPT_FILES, computed(W4, X4, above(W4)), X4, hook_name=HOOK_12)

SECOND = {
    "architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "hf_hook_point_in": "model.layers.12.output",
    "width": 40, "l0": 20, "affine_connection": False, "type": "sae",
}
TRANSCODER = SECOND | {
    "hf_hook_point_in": "model.layers.12.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.12.post_feedforward_layernorm.output", "affine_connection": True,
}
W7 = draw(d_out=7)


def gemma_2(w: dict[str, Array], config: dict[str, Any] | None, folder: str = "sae", **more: Array) -> Files:
    files = {f"{folder}/params.safetensors": {name.lower(): array for name, array in w.items()} | more}
    return files | ({} if config is None else {f"{folder}/config.json": config})


row("gemma_scope_2", gemma_2(W, SECOND), computed(W, X, above(W)), model="google/gemma-3-1b-pt", hook_name=HOOK_12,
    hf_hook_name="model.layers.12.output", architecture="jumprelu", d_sae=40)
row("gemma_scope_2", gemma_2(W, None, "gemma-scope-2-270m-pt/attn_out_all/layer_5_width_16k_l0_small"),
    computed(W, X, above(W)), hook_name="blocks.5.attn.hook_z", model="google/gemma-3-270m")
row("gemma_scope_2", gemma_2(W7, None, "transcoder/layer_3_width_16k_l0_big"), computed(W7, X, above(W7)),
    architecture="jumprelu_transcoder")
for w, d_out in ((W7, 7), (W, 12)):  # the file has [d_in, d_out]; where both are the same, a shape cannot tell
    path = draw(5, d_sae=d_out)["W_enc"]
    row("gemma_scope_2", gemma_2(w, TRANSCODER, affine_skip_connection=path), computed(w, X, above(w), more=X @ path),
        architecture="jumprelu_skip_transcoder", d_out=d_out, hook_name="blocks.12.mlp.hook_in",
        hook_name_out="blocks.12.hook_mlp_out")

# --- Llama Scope, R1 and llamascopium: a scale of activations folded in ----------------------------------------------

HOOK, OUT = "blocks.15.hook_resid_post", "blocks.15.hook_mlp_out"
NORM = "dataset_average_activation_norm"
ROOT, W48 = np.sqrt(12), draw(d_sae=48)
LLAMA = {"d_model": 12, "d_sae": 40, "hook_point_in": HOOK, "hook_point_out": HOOK, "jump_relu_threshold": 0.3,
         NORM: {"in": 1.7, "out": 1.7}, "act_fn": "jumprelu"}
R1 = {"d_model": 12, "expansion_factor": 4, "hook_point_in": HOOK, "hook_point_out": HOOK}
R1_PATH = "800M-Slimpajama-0-OpenR1-Math-220k/L0R"
R1_SCALE = 53.52995401997436  # what SAELens' registry says of that folder
NORMS_48 = np.linalg.norm(W48["W_dec"].astype(np.float64), axis=1)
FINAL = "sae/checkpoints/final.safetensors"


def r1(config: dict[str, Any], folder: str = "sae", **change: Array) -> Files:
    tensors = linear(W48) | {"log_jumprelu_threshold": np.log(W48["threshold"])} | change
    return {f"{folder}/config.json": R1 | config, f"{folder}/sae_weights.safetensors": tensors}


row("llama_scope", {"sae/hyperparams.json": LLAMA, FINAL: linear(W)},
    computed(W, X, above(W, 0.3 * ROOT / 1.7), scale=ROOT / 1.7), model="meta-llama/Llama-3.1-8B", hook_name=HOOK,
    note="scale", architecture="jumprelu")
row("llama_scope", {"sae/hyperparams.json": LLAMA | {"hook_point_out": OUT, NORM: {"in": 1.7, "out": 0.4}},
                    FINAL: linear(W)},
    computed(W, X, above(W, 0.3 * ROOT / 1.7), scale=ROOT / 1.7, scale_out=ROOT / 0.4), hook_name_out=OUT,
    architecture="jumprelu_transcoder")
row("llama_scope_r1", r1({}, R1_PATH), computed(W48, X, above(W48), scale=R1_SCALE),
    model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
row("llama_scope_r1", r1({NORM: {"in": 2.0, "out": 2.0}}), computed(W48, X, above(W48), scale=ROOT / 2))
row("llama_scope_r1", r1({"norm_activation": "inference", "sparsity_include_decoder_norm": True}),
    computed(W48, X, above(W48, W48["threshold"] / NORMS_48)))

SCOPIUM = {
    "sae_type": "sae", "d_model": 12, "expansion_factor": 4.0, "use_decoder_bias": True, "act_fn": "jumprelu",
    "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, "top_k": 6, "use_glu_encoder": False,
    "hook_point_in": HOOK, "hook_point_out": HOOK,
}
AVERAGES = {HOOK: 1.7, OUT: 0.4}
UNIT = W48 | {"W_dec": (W48["W_dec"] / NORMS_48[:, None]).astype(np.float32)}


def scopium(change: dict[str, Any], w: dict[str, Array] = W48, norm: float | None = None) -> Files:
    config = SCOPIUM | change
    tensors = {"W_E": w["W_enc"], "b_E": w["b_enc"], "W_D": w["W_dec"], "__metadata__": {"version": "1.0"}}
    tensors |= {"b_D": w["b_dec"]} if config["use_decoder_bias"] else {}
    if config["act_fn"] == "jumprelu":
        tensors["activation_function.log_jumprelu_threshold"] = np.log(w["threshold"])
    for hook in {config["hook_point_in"], config["hook_point_out"]}:
        tensors[f"{NORM}.{hook}"] = np.array(AVERAGES[hook] if norm is None else norm, np.float32)
    return {"sae/config.json": config, "sae/sae_weights.safetensors": tensors}


def of_scopium(change: dict[str, Any], w: dict[str, Array] = W48) -> tuple[Array, Array]:
    """SparseAutoEncoder.encode and decode on normalised activations, denormalised as the package does."""
    config, scale, scale_out = SCOPIUM | change, 1.0, 1.0
    if config["norm_activation"] == "dataset-wise":
        scale, scale_out = (ROOT / AVERAGES[str(config[f"hook_point_{end}"])] for end in ("in", "out"))
    elif config["norm_activation"] == "token-wise":
        scale = scale_out = ROOT / np.linalg.norm(X, axis=1, keepdims=True)
    norms = np.linalg.norm(w["W_dec"].astype(np.float64), axis=1) if config["sparsity_include_decoder_norm"] else 1.0
    act = {"relu": relu, "jumprelu": above(w), "topk": best(6)}[str(config["act_fn"])]
    bias = w["b_dec"] if config["use_decoder_bias"] else 0.0
    return computed(w, X, lambda p: act(p * norms) / norms, bias=bias, scale=scale, scale_out=scale_out)


for act_fn in ("relu", "jumprelu"):
    for by in ("dataset-wise", "token-wise", "inference"):
        for include in (True, False):
            given = {"act_fn": act_fn, "norm_activation": by, "sparsity_include_decoder_norm": include}
            row("llamascopium", scopium(given), of_scopium(given), hook_name=HOOK)
for act_fn, kind in (("relu", "transcoder"), ("jumprelu", "jumprelu_transcoder"), ("topk", "topk_transcoder")):
    given = {"act_fn": act_fn, "hook_point_out": OUT}
    row("llamascopium", scopium(given, UNIT), of_scopium(given, UNIT), architecture=kind, hook_name_out=OUT)
given = {"act_fn": "topk", "sparsity_include_decoder_norm": False, "use_decoder_bias": False}
row("llamascopium", scopium(given), of_scopium(given))
of_topk = of_scopium({"act_fn": "topk"})  # latents are reported as what they are selected by
row("llamascopium", scopium({"act_fn": "topk"}), (of_topk[0] * NORMS_48, of_topk[1]), note="times the norm")
garbage = {"norm_activation": "inference"}  # a norm that is not needed
row("llamascopium", scopium(garbage, norm=float("nan")), of_scopium(garbage))

# --- One file, one SAE -----------------------------------------------------------------------------------------------

for name, end, format, model, layer in (
    ("Llama-3.3-70B-Instruct-SAE-l50.pt", "_linear", "goodfire", "meta-llama/Llama-3.3-70B-Instruct", 50),
    ("Llama-3.1-8B-Instruct-SAE-l19.pth", "_linear", "goodfire", "meta-llama/Llama-3.1-8B-Instruct", 19),
    ("DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", "", "deepseek_r1", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 19),
):
    row(format, {name: linear(W, end)}, computed(W, X), model=model, hook_name=f"blocks.{layer}.hook_resid_post",
        listed=True)
row("goodfire", {"mine.pt": linear(W, "_linear")}, computed(W, X), model=None, hook_name=None,
    note="only in the file's name")

TRACED = {"model_name": "meta-llama/Llama-3.2-1B", "feature_input_hook": "hook_resid_mid",
          "feature_output_hook": "mlp.hook_out", "transcoders": [{"id": "a", "layer": 0, "filepath": "hf://x/y"}]}


def tracer(w: dict[str, Array], config: dict[str, Any] | None = None, folder: str = "mine", **more: Array) -> Files:
    tensors = {name: w[name] for name in ("b_enc", "W_dec", "b_dec")} | {"W_enc": w["W_enc"].T} | more
    return {f"{folder}/layer_4.safetensors": tensors} | ({f"{folder}/config.yaml": config} if config else {})


for w, change in ((W7, {}), (W, {"W_dec": W["W_dec"].T})):  # as files have it today, and the first ones had it
    for skip in (False, True):
        straight = np.random.default_rng(5).standard_normal((len(w["b_dec"]), 12)).astype(np.float32)
        more = {"W_skip": straight} if skip else {}
        row("circuit_tracer", tracer(w, TRACED, **change, **more),
            computed(w, X, more=X @ straight.T if skip else 0.0), model="meta-llama/Llama-3.2-1B",
            hook_name="blocks.4.hook_resid_mid", hook_name_out="blocks.4.mlp.hook_out",
            architecture="skip_transcoder" if skip else "transcoder")
row("circuit_tracer", tracer(W, folder="mwhanna/qwen3-1.7b-transcoders-lowl0"), computed(W, X),
    model="Qwen/Qwen3-1.7B", hook_name="blocks.4.mlp.hook_in")
row("circuit_tracer", tracer(W), computed(W, X), model=None, hook_name=None, note="config.yaml")
TRACED_K = np.array(4, np.int64)
STRAIGHT = np.random.default_rng(5).standard_normal((12, 12)).astype(np.float32)
LIMITS = {"activation_function.threshold": W["threshold"]}
for config, more in ((TRACED, {"k": TRACED_K}), (TRACED | {"activation": "topk", "k": 4}, {}), (None, {"k": TRACED_K})):
    row("circuit_tracer", tracer(W, config, **more), computed(W, X, best(4)), k=4, architecture="topk_transcoder")
row("circuit_tracer", tracer(W, TRACED, k=TRACED_K, W_skip=STRAIGHT), computed(W, X, best(4), more=X @ STRAIGHT.T),
    architecture="topk_skip_transcoder")
row("circuit_tracer", tracer(W, TRACED, **LIMITS), computed(W, X, above(W)), architecture="jumprelu_transcoder")
row("circuit_tracer", tracer(W, TRACED, W_skip=STRAIGHT, **LIMITS), computed(W, X, above(W), more=X @ STRAIGHT.T),
    architecture="jumprelu_skip_transcoder")

GHOST = torched({"threshold": np.array(0.1, np.float32), "W_enc.weight": W["W_enc"].T, "W_enc.bias": W["b_enc"],
                 "W_dec.weight": W["W_dec"].T, "W_dec.bias": W["b_dec"]})  # fmt: skip
OPTIMIZER = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
OPTIMIZER.param_groups[0]["params"][0].grad = torch.ones(3)
OPTIMIZER.step()
CHECKPOINT = {
    "layer_idx": 4, "epoch": 2, "model_state_dict": GHOST, "optimizer_state_dict": OPTIMIZER.state_dict(),
    "scheduler_state_dict": torch.optim.lr_scheduler.CosineAnnealingLR(OPTIMIZER, 10).state_dict(), "best_loss": 0.25,
    "history": {"train_loss": [0.5, 0.25], "lr": [1e-3, 9e-4]}, "config": {"d_model": 12, "lambda_sparse": 0.01},
}
for name in ("sae_layer_4_best.pt", "sae_layer_4_final.pt", "renamed.pt"):
    row("ghosttrack", {name: CHECKPOINT}, computed(W, X, above(W, np.float32(0.1))), model=None,
        architecture="jumprelu", hook_name="blocks.4.hook_resid_post",
        config={key: CHECKPOINT[key] for key in ("layer_idx", "epoch", "best_loss", "config")})

TOPK = {"activation": "TopK", "activation_state_dict": {"k": 5, "postact_fn": "ReLU"}}
RELU: dict[str, Any] = {"activation": "ReLU", "activation_state_dict": {}}
OPENAI = {"pre_bias": W["b_dec"], "encoder.weight": W["W_enc"].T, "latent_bias": W["b_enc"],
          "decoder.weight": W["W_dec"].T, "latents_activation_frequency": W["threshold"],
          "stats_last_nonzero": np.zeros(40, np.int64)}  # fmt: skip
MEAN, STD = X.mean(1, keepdims=True, dtype=np.float64), X.astype(np.float64).std(1, ddof=1, keepdims=True)
INNER = computed(W, (X - MEAN) / (STD + 1e-5), best(5), centre=W["b_dec"])  # top-k ones normalise, with unbiased std
NORMALISED = INNER[0], INNER[1] * STD + MEAN
row("openai", {"gpt2-small/resid_post_mlp_v5_32k/autoencoders/6.pt": OPENAI | TOPK}, NORMALISED, model="gpt2",
    hook_name="blocks.6.hook_resid_post", architecture="topk", k=5)
row("openai", {"mine.pt": OPENAI | TOPK}, NORMALISED, hook_name=None)
row("openai", {"gpt2-small/mlp_post_act/autoencoders/0.pt": OPENAI | RELU}, computed(W, X, centre=W["b_dec"]),
    hook_name="blocks.0.mlp.hook_post", architecture="standard")

QWEN = "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W1K-L0_50/snapshots/0123"
W1K = draw(d_sae=1024)


def qwen(w: dict[str, Array], folder: str = QWEN, layer: int = 7) -> Files:
    tensors = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    return {f"{folder}/layer{layer}.sae.pt": tensors}


row("qwen_scope", qwen(W1K), computed(W1K, X, best(50)), model="Qwen/Qwen3-1.7B-Base", k=50,
    hook_name="blocks.7.hook_resid_post", architecture="topk", d_sae=1024)

# --- miStudio: checkpoints of two generations, and what it exports ---------------------------------------------------

CLASSES = {"standard": "SparseAutoencoder", "skip": "SkipAutoencoder", "transcoder": "Transcoder", "topk": "TopKSAE",
           "jumprelu": "JumpReLUSAE"}  # fmt: skip
NONE = {"normalize_activations": "none"}
OTHER, CENTRE = draw(9)["b_dec"], draw(8)["b_dec"]
SCALE = ROOT / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-6)  # to norm √d


def state(kind: str, second: bool, w: dict[str, Array] = W) -> dict[str, Array]:
    """The state dict of miStudio's class, with matrices as torch's linear layers have them."""
    if kind == "jumprelu":
        return {"W_enc": w["W_enc"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"], "W_dec": w["W_dec"].T,
                "activation.log_threshold": np.log(w["threshold"])}
    found = linear(w)
    bias = found.pop("decoder.bias")
    if kind == "topk":
        return found | {"b_pre": bias}
    if kind == "transcoder":
        return found | {"decoder.bias": bias} | ({"b_enc_center": CENTRE} if second else {})
    return found | {"decoder_bias": bias} | ({} if second else {"decoder.bias": OTHER})


def checkpoint(
    kind: str, tensors: dict[str, Array], beside: dict[str, Any] | None = None, **metadata: str
) -> Files:
    header = {"step": "1000", "architecture": CLASSES[kind], "layer_idx": "3", "hook_type": "mlp"} | metadata
    named = {f"model.{name}": array for name, array in tensors.items()}
    content = named | {"__metadata__": {key: value for key, value in header.items() if value}}
    return {"sae/checkpoint.safetensors": content} | ({} if beside is None else {"sae/config.json": beside})


for second in (False, True):  # generation 1 adds two biases and subtracts none; 2 has one and subtracts it
    bias, centre = (W["b_dec"], W["b_dec"]) if second else (W["b_dec"] + OTHER, 0.0)
    for beside in (None, NONE):
        scale = SCALE if beside is None else 1.0
        found = computed(W, X, centre=centre, bias=bias, scale=scale)
        row("mistudio", checkpoint("standard", state("standard", second), beside), found,
            hook_name="blocks.3.hook_mlp_out", mistudio_step=1000,
            **({"note": "database"} if beside is None or not second else {"notes": ()}))
        row("mistudio", checkpoint("skip", state("skip", second), beside), (found[0], found[1] + X),
            architecture="skip" if beside is None else "skip_transcoder")
    row("mistudio", checkpoint("transcoder", state("transcoder", second)),
        computed(W, X, centre=CENTRE if second else 0.0))
row("mistudio", checkpoint("standard", state("standard", False), NONE | {"top_k_sparsity": 10.0}),
    computed(W, X, best(4), bias=W["b_dec"] + OTHER))
row("mistudio", checkpoint("topk", state("topk", True), {"top_k": 5}),
    computed(W, X, best(5), centre=W["b_dec"], scale=SCALE))
TIED = W | {"W_dec": W["W_enc"].T}
for w in (W, TIED):
    for centred in (False, True):
        tensors = {key: array for key, array in state("jumprelu", True, w).items() if w is W or key != "W_dec"}
        row("mistudio", checkpoint("jumprelu", tensors, {"apply_b_dec_to_input": centred}),
            computed(w, X, above(w), centre=w["b_dec"] if centred else 0.0, scale=SCALE))
FLAT = W | {"b_dec": np.zeros(12, np.float32)}  # then both generations are the same
row("mistudio", checkpoint("jumprelu", state("jumprelu", True, FLAT)), computed(FLAT, X, above(W), scale=SCALE))
W12 = draw(d_sae=12)
# A state dict beside SAELens' names for settings. The tensors of all but a jumprelu tell what is subtracted.
TRIO = {"d_in": 12, "d_sae": 40, "dtype": "float32", "model_name": "gpt2", "hook_name": "blocks.3.hook_mlp_out",
        "normalize_activations": "none"}  # fmt: skip


def trio(architecture: str, tensors: dict[str, Array], **more: Any) -> Files:
    return {"sae/config.json": TRIO | {"architecture": architecture} | more, "sae/model.safetensors": tensors}


for architecture, second, latents, more in (
    ("standard", False, relu, {}), ("standard", True, relu, {}), ("standard_saelens", True, relu, {}),
    ("standard_anthropic", True, relu, {}), ("skip", True, relu, {}), ("skip", False, relu, {}),
    ("topk", True, best(5), {"k": 5}), ("transcoder", True, relu, {}), ("transcoder", False, relu, {}),
    ("standard", True, relu, {"normalize_activations": "anthropic_rescale"}),
    ("standard", False, best(4), {"top_k_sparsity": 10.0}),
    ("jumprelu", True, above(W), {"apply_b_dec_to_input": True}),
    ("jumprelu", False, above(W), {"apply_b_dec_to_input": False}),
):
    kind = architecture.split("_")[0]
    both = kind in ("standard", "skip")  # the second generation subtracts its one bias, the first adds two
    centre = CENTRE if kind == "transcoder" and second else W["b_dec"] if second else 0.0
    found = computed(W, X, latents, centre=centre, bias=W["b_dec"] + OTHER if both and not second else W["b_dec"],
                     scale=SCALE if "anthropic" in str((architecture, more)) else 1.0)
    row("mistudio", trio(architecture, state(kind, second), **more),
        (found[0], found[1] + X) if kind == "skip" else found, model="gpt2", hook_name="blocks.3.hook_mlp_out")
row("mistudio", trio("standard", state("standard", True), apply_b_dec_to_input=False),
    computed(W, X, centre=W["b_dec"]), note="does the other")

FIRST, LATER = {"top_k_sparsity": None}, {"top_k": None}


def export(
    architecture: str, extra: dict[str, Any], w: dict[str, Array] = W, folder: str = "sae", **more: Any
) -> Files:
    """The keys its writer writes, with what it always says."""
    config = {
        "model_name": "gpt2-small", "hook_point": "blocks.3.hook_resid_post", "hook_point_layer": 3, "d_in": 12,
        "d_sae": 40, "hook_name": "blocks.3.hook_resid_post", "architecture": architecture, "activation_fn_str": "relu",
        "normalize_activations": "constant_norm_rescale", "hook_point_head_index": None, "context_size": 128,
        "apply_b_dec_to_input": False, "finetuning_scaling_factor": False, "dtype": "torch.float32", "device": "cpu",
        "mistudio_training_id": "train_1", "mistudio_checkpoint_step": 100,
        "extra_metadata": {"hf_model_name": "openai-community/gpt2", "warmup_steps": 0} | extra,
    } | more
    names = ["W_enc", "b_enc", "W_dec", "b_dec", *(["threshold"] if architecture == "jumprelu" else [])]
    return {f"{folder}/cfg.json": config, f"{folder}/sae_weights.safetensors": {name: w[name] for name in names}}


for kind in ("constant_norm_rescale", "none"):
    scale = SCALE if kind != "none" else 1.0
    for architecture, extra, centred, doubled in (
        ("standard", FIRST, False, 2), ("jumprelu", FIRST, False, 1),  # two equal output biases, one exported
        ("standard", LATER, True, 1), ("standard_saelens", LATER, True, 1), ("jumprelu", LATER, True, 1),
        ("skip", FIRST, False, 2), ("skip", LATER, True, 1),
    ):
        found = computed(W, X, above(W) if architecture == "jumprelu" else relu, centre=W["b_dec"] if centred else 0.0,
                         bias=doubled * W["b_dec"], scale=scale)
        if architecture == "skip":
            found = found[0], found[1] + X
        row("mistudio_community", export(architecture, extra, normalize_activations=kind), found,
            model="openai-community/gpt2", hook_name="blocks.3.hook_resid_post",
            note=f"generation {1 if extra is FIRST else 2}")
row("mistudio_community", export("standard_anthropic", LATER, **NONE),  # always normalises
    computed(W, X, centre=W["b_dec"], scale=SCALE))
row("mistudio_community", export("standard", {"top_k_sparsity": 13.0}, activation_fn_str="topk"),
    computed(W, X, best(5), bias=2 * W["b_dec"], scale=SCALE), architecture="topk", k=5)  # int(0.13 · 40)
row("mistudio_community", export("transcoder", FIRST, W7), computed(W7, X), d_out=7)
row("mistudio_community", export("standard", LATER, folder="layer_3_mlp"),
    computed(W, X, centre=W["b_dec"], scale=SCALE), hook_name="blocks.3.hook_mlp_out")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (trio("topk", state("topk", True)), "k: The value is missing"),
        (trio("jumprelu", state("jumprelu", True)), "apply_b_dec_to_input: .* does not record"),
        (trio("jumprelu", state("standard", True)), "architecture: .*those of a standard SAE"),
        (trio("standard", state("standard", True), k=5), "k: A standard SAE has no k"),
        (trio("skip", state("skip", True), skip_scale=0.5), "skip_scale"),
    ],
)
def test_state_dicts_of_mistudio_must_fit_their_configuration(files: Files, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        load_sae(put(tmp_path, files).parent)


@pytest.mark.parametrize(
    ("format", "files", "x", "expected", "facts"), READ, ids=[f"{i}-{each[0]}" for i, each in enumerate(READ)]
)
def test_what_others_wrote_computes_the_same(
    format: str, files: Files, x: Array, expected: tuple[Array, Array], facts: dict[str, Any], tmp_path: Path
) -> None:
    first = put(tmp_path, files)
    path = first if len(files) == 1 or format == "circuit_tracer" else first.parent
    assert detect_format(path) == detect_format(first) == format
    sae, found = load_sae(path), describe(path)
    assert_computes(sae, x, *expected)
    settings = dict(found.settings)
    for key, value in facts.items():
        if key == "note":
            assert any(value in note for note in found.notes + tuple(sae.metadata["notes"])), found.notes
        elif key == "listed":  # as the hub shows it: names and sizes, and no word about what is inside
            about = seen_on_the_hub(path)
            assert (about.model, about.hook_name, about.d_in) == (facts["model"], facts["hook_name"], None)
        elif hasattr(found, key):
            assert getattr(found, key) == value, key
        else:
            assert settings.get(key, sae.metadata.get(key)) == value, key
    assert sae.cfg.architecture == found.architecture
    for ours, key in (("model", "model_name"), ("hook_name", "hook_name")):
        assert sae.metadata[key] == getattr(found, ours)


def seen_on_the_hub(path: Path) -> Description:
    def read(name: str, start: int, length: int | None) -> bytes:
        raise AssertionError(f"{name} was read")

    source = ListedSource(str(path.parent), {path.name: path.stat().st_size}, read)
    format = match(source)
    assert format is not None
    return format.describe(source)


# --- Refused, beside the contradictions of samples in test_refusals.py -----------------------------------------------

FIVE = {"apply_b_dec_to_input": True} | NONE
STATE = state("standard", True)
REFUSED: list[tuple[Files, str]] = [
    ({f"{RES}/params.npz": WIDE | {"other": np.zeros(2, np.float32)}}, "unexpected tensors: other"),
    ({f"{RES}/params.npz": WIDE | {"scaling_factor": np.full(16_384, 2, np.float32)}}, "scaling factor"),
    ({f"{RES}/params.npz": WIDE | {"w_enc": np.zeros((4, 16_384), np.float32)}}, "unexpected tensors: "),
    ({f"{RES}/params.npz": draw(d_in=4, d_sae=64)}, "the folder's name, width 16k"),
    (KEPT_FILES | {f"{KEPT}/cfg.json": {"d_in": 5, "d_sae": 4096}}, r"W_enc.*expected \[5, 4096\]"),
    (KEPT_FILES | {f"{KEPT}/cfg.json": {"d_in": 4, "d_sae": 8192}}, "d_sae: .*8,192 latents.*width 4k"),
    (gemma_2(W, TRANSCODER, w_dec=np.zeros((40, 3, 12), np.float32)), "cross-layer"),
    (gemma_2(W7, SECOND), "only transcoders"),
    (r1({}), "scale of activations"),
    (r1({}, R1_PATH, log_jumprelu_threshold=np.full(48, 1000, np.float32)), r"log_jumprelu_threshold.*infinity"),
    # The package writes uninitialised memory where it has no norm.
    *((scopium({}, norm=norm), NORM) for norm in (0.0, 1e-40, -3.0, 1e30, float("nan"))),
    ({"other.pt": linear(W)}, "single file"),
    (tracer(W12), "W_dec is 12 by 12: versions of this format differ"),
    (tracer(W, log_thresholds=np.zeros(40, np.float32)), "unexpected tensors: log_thresholds"),
    *(({f"{name}.safetensors": {name: W["W_enc"]} for name in names}, r"cross-layer transcoder.*layer_….safetensors")
      for names in (["W_enc_0"], ["W_enc_0", "W_dec_0"])),
    (qwen(W1K, "sae"), "How many latents are active"), (qwen(W), "from the name of the repository"),
    (checkpoint("standard", STATE | {"extra": np.zeros(3, np.float32)}, FIVE), "unexpected tensors: extra"),
    (checkpoint("standard", STATE | {"encoder.bias": np.zeros(3, np.float32)}, FIVE), r"encoder\.bias"),
    (checkpoint("standard", STATE, FIVE, architecture="TopKSAE"), "the tensors are those of a standard"),
    (checkpoint("standard", STATE, FIVE, architecture=""), "does not say whether"),
    (checkpoint("jumprelu", state("jumprelu", True) | {"W_dec": W["W_dec"]}, FIVE), "W_dec"),
    (checkpoint("jumprelu", state("jumprelu", True) | {"activation.log_threshold": np.full(40, np.nan, np.float32)},
                FIVE), "NaN"),
    (checkpoint("topk", state("topk", True)), "only in miStudio's database"),
    (checkpoint("jumprelu", state("jumprelu", True)), "whether b_dec is subtracted"),
    (export("skip", FIRST | {"top_k_sparsity": 10.0}), "top-k skip autoencoder with normalised"),
    ({"sae/config.json": {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"},
      "sae/model.safetensors": {"wte.weight": np.zeros((2, 2), np.float32)}}, "known format"),
]


@pytest.mark.parametrize(("files", "said"), REFUSED)
def test_what_disagrees_is_refused(files: Files, said: str, tmp_path: Path) -> None:
    path = put(tmp_path, files)
    with pytest.raises(FormatError, match=said):
        load_sae(path if len(files) == 1 else path.parent)


@pytest.mark.parametrize(
    ("files", "said"),
    [(r1({}), "cannot be loaded from here"), (qwen(W1K, "sae"), "repository's name"),
     (checkpoint("topk", state("topk", True)), "cannot be loaded"),
     (checkpoint("jumprelu", state("jumprelu", True)), "generations differ")],
)  # fmt: skip
def test_what_cannot_be_loaded_is_described(files: Files, said: str, tmp_path: Path) -> None:
    assert any(said in note for note in describe(put(tmp_path, files).parent).notes)


# --- What no row can say ---------------------------------------------------------------------------------------------

HEADS = "gpt2-small_L5_Hcat_z_lr1.20e-03_v9"
HEADS_CONFIG = {"act_size": 12, "dict_size": 40, "act_name": "blocks.5.attn.hook_z"}
PLAIN = {name: array for name, array in W.items() if name != "threshold"}
ATT = draw(d_sae=4096)


@pytest.mark.parametrize(
    ("files", "expected", "hook", "model"),
    [
        ({"gemma-scope-2b-pt-att/layer_1/width_4k/average_l0_9/params.npz": ATT}, computed(ATT, X, above(ATT)),
         "blocks.1.attn.hook_z", GEMMA),
        *(({f"{HEADS}.pt": PLAIN, **beside}, computed(W, X, centre=W["b_dec"]), "blocks.5.attn.hook_z", "gpt2")
          for beside in ({}, {f"{HEADS}_cfg.json": HEADS_CONFIG})),
    ],
)  # fmt: skip
def test_heads_side_by_side(
    files: Files, expected: tuple[Array, Array], hook: str, model: str, tmp_path: Path
) -> None:
    path = put(tmp_path, files)
    sae, heads = load_sae(path), torch.from_numpy(X).reshape(-1, 3, 4)
    assert_close(sae.encode(heads).numpy(), expected[0], 1e-5)
    assert_close(sae(heads).numpy(), expected[1].reshape(-1, 3, 4), 1e-5)
    assert (sae.metadata["model_name"], sae.metadata["hook_name"]) == (model, hook)
    if path.suffix == ".pt":
        assert seen_on_the_hub(path).hook_name == hook


@pytest.mark.parametrize("path", ["any", "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"])
def test_gemma_scope_is_written_as_it_is_read(tmp_path: Path, path: str) -> None:
    x = torch.from_numpy(inputs(d_in=9))
    sae = inference_sae("jumprelu", 9, torched(W9), apply_b_dec_to_input=False)
    again = load_sae(save_sae(sae, tmp_path / path, "gemma_scope"))
    assert torch.allclose(again(x), sae(x), atol=1e-5)
    if path == "any":
        assert torch.equal(again.W_enc, sae.W_enc)
        with np.load(tmp_path / path / "params.npz", allow_pickle=False) as file:
            assert {name: file[name].shape for name in file} == {name: array.shape for name, array in W9.items()}


def test_files_of_gemma_scope_elsewhere_are_saelens(tmp_path: Path) -> None:
    kept = put(tmp_path, KEPT_FILES).parent
    shutil.copytree(kept, tmp_path / "plain")
    assert detect_format(tmp_path / "plain") == "saelens_legacy"
    metadata = {"sae_lens_version": "6.54.12"}
    write_json(kept / "cfg.json", {"architecture": "jumprelu", "d_in": 4, "d_sae": 4096, "metadata": metadata})
    assert detect_format(kept) == "saelens"


def test_the_table_of_llama_scope_r1_has_every_published_sae() -> None:
    path = Path(saewidgets.formats.__file__).parent / "llama_scope_r1_scales.json"
    scales = json.loads(path.read_text())["scales"]
    assert len(scales) == 3 * 32
    assert scales[R1_PATH] == R1_SCALE
    assert all(0.1 < scale < 100 for scale in scales.values())


def trainer(folder: Path, *steps: int) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copyfile(GOLDEN / "topk" / "config.json", folder / "config.json")
    for step in steps:
        state = torch.load(GOLDEN / "topk" / "ae.pt", weights_only=True)
        torch.save(state | {"b_dec": state["b_dec"] + step}, folder / "checkpoints" / f"ae_{step}.pt")
    return folder


def test_a_checkpoint_is_not_the_end_of_its_training(tmp_path: Path) -> None:
    folder = trainer(tmp_path / "trainer_0", 0, 100)
    with pytest.raises(FormatError, match=r"holds 2 SAEs: checkpoints/ae_0\.pt, checkpoints/ae_100\.pt"):
        load_sae(folder)
    shutil.copyfile(GOLDEN / "topk" / "ae.pt", folder / "ae.pt")
    assert detect_format(folder) == detect_format(folder / "ae.pt") == "dictionary_learning"
    assert [path for path, _ in find_all(FolderSource(tmp_path))] == ["trainer_0"]
    end, sae = load_sae(folder), load_sae(folder / "checkpoints" / "ae_100.pt")
    assert torch.equal(sae.b_dec, end.b_dec + 100)
    assert (sae.metadata["training_step"], sae.metadata["source_format"]) == (100, "dictionary_learning_checkpoint")
    assert sae.metadata["hook_name"] == end.metadata["hook_name"]


def test_a_checkpoint_needs_the_configuration_of_its_training(tmp_path: Path) -> None:
    folder = trainer(tmp_path / "trainer_0", 7)
    path = folder / "checkpoints" / "ae_7.pt"
    with pytest.raises(FormatError, match=r"not fetched with it.*ae\.pt"):
        seen_on_the_hub(path)
    (folder / "config.json").rename(folder / "checkpoints" / "config.json")
    assert load_sae(path).d_in == 16
    (folder / "checkpoints" / "config.json").unlink()
    with pytest.raises(FormatError, match=r"config\.json in the trainer's folder, which is missing"):
        load_sae(path)


# --- miStudio's trio, which is written too ---------------------------------------------------------------------------


def test_a_training_says_more_in_the_trio(tmp_path: Path) -> None:
    sae = create_sae("batchtopk", 8, d_sae=24, k=3)
    sae.metadata = {"model_name": "gpt2", "hook_name": "blocks.1.hook_mlp_out", "l0": float("nan")}
    folder = save_sae(sae, tmp_path / "sae", "mistudio")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.safetensors", "training_metadata.json",
    ]
    again = load_sae(folder)
    assert (again.metadata["model_name"], again.metadata["l0"]) == ("gpt2", None)
    assert json.loads((folder / "training_metadata.json").read_text())["training_architecture"] == "batchtopk"
    assert set(load_file(folder / "model.safetensors")) == set(sae.to_inference().inference_tensors())


@pytest.mark.parametrize("name", [name for name in LOADED if name != "temporal"])
def test_loaded_saes_go_through_the_trio(tmp_path: Path, name: str) -> None:
    sae = loaded(name, **({} if "transcoder" in name else {"normalize_activations": "constant_norm_rescale"}))
    again, x = load_sae(save_sae(sae, tmp_path / "sae", "mistudio")), batch()
    assert again.cfg == sae.cfg
    assert torch.equal(again.encode(x), sae.encode(x))
    assert torch.equal(again(x), sae(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apply_b_dec_to_input": None}, "apply_b_dec_to_input=True or False where you load it"),
        ({"architecture": "other"}, "architecture"), ({"architecture": "gated"}, "b_gate"),
        ({"d_sae": 25}, r"expected \[8, 25\] from config\.json"),
        ({"k": None}, r"config\.json: k: .*how many latents"), ({"k": ...}, r"config\.json: k: .*how many latents"),
    ],
)
def test_a_trio_that_disagrees_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    settings = {"k": 3} if "k" in change else {}
    sae = create_sae("topk" if settings else "standard", 8, d_sae=24, **settings)
    folder = save_sae(sae, tmp_path / "sae", "mistudio")
    data = json.loads((folder / "config.json").read_text()) | change
    write_json(folder / "config.json", {key: value for key, value in data.items() if value is not ...})
    with pytest.raises(FormatError, match=message):
        load_sae(folder)


def test_what_files_leave_open_a_person_says(tmp_path: Path) -> None:
    tensors = state("jumprelu", True)
    alone = put(tmp_path / "alone", checkpoint("jumprelu", tensors))
    for centred in (False, True):
        expected = computed(W, X, above(W), centre=W["b_dec"] if centred else 0.0, scale=SCALE)
        assert_computes(load_sae(alone, apply_b_dec_to_input=centred), X, *expected)
        assert describe(alone, apply_b_dec_to_input=centred).settings["apply_b_dec_to_input"] is centred
        said = put(tmp_path / str(centred), checkpoint("jumprelu", tensors, {"apply_b_dec_to_input": centred}))
        with pytest.raises(ConfigError, match=f"The file says {str(centred).lower()}"):
            load_sae(said, apply_b_dec_to_input=not centred)
    with pytest.raises(ConfigError, match="apply_b_dec_to_input"):
        load_sae(alone, apply_b_dec_to_input="yes")  # type: ignore[arg-type]
    saelens = save_sae(create_sae("standard", 8, d_sae=24), tmp_path / "other")
    with pytest.raises(ConfigError, match="'saelens' files record it themselves"):
        load_sae(saelens, apply_b_dec_to_input=True)
