"""Repositories for the loopback hub, shaped like published ones but a few megabytes small."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

LFS = (".safetensors", ".npz", ".pt", ".pth", ".bin", ".parquet")
HOSTILE = "<img src=x onerror=alert(1)>"


def git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class Repo:
    """A repository: contents of every commit, and where its branches stand."""

    repo_id: str
    files: dict[str, bytes] = field(default_factory=dict)
    gated: str | bool = False
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    kind: str = "models"
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    shas: dict[tuple[str, str], str] = field(default_factory=dict)
    raw_paths: list[str] = field(default_factory=list)  # listed as they are, content empty: hostile names

    def __post_init__(self) -> None:
        self.commit(self.files)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A new commit with exactly `files`."""
        self.files = dict(files)
        listed = "\n".join(f"{path} {git_sha(data)}" for path, data in sorted(self.files.items()))
        sha = hashlib.sha1((self.repo_id + branch + listed).encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = self.files
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def is_lfs(self, path: str) -> bool:
        return path.endswith(LFS)

    def sha256(self, commit: str, path: str) -> str:
        key = (commit, path)
        if key not in self.shas:
            self.shas[key] = hashlib.sha256(self.commits[commit][path]).hexdigest()
        return self.shas[key]

    def entry(self, commit: str, path: str) -> dict[str, Any]:
        data = self.commits[commit][path]
        if not self.is_lfs(path):
            return {"type": "file", "oid": git_sha(data), "size": len(data), "path": path}
        sha = self.sha256(commit, path)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()
        lfs = {"oid": sha, "size": len(data), "pointerSize": len(pointer)}
        return {"type": "file", "oid": git_sha(pointer), "size": len(data), "path": path, "lfs": lfs}


def safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()})


def npz(tensors: Mapping[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **tensors)  # type: ignore[arg-type]
    return out.getvalue()


def pickled(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def weights(d_in: int, d_sae: int, seed: int = 0, threshold: bool = False) -> dict[str, np.ndarray]:
    """W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec and, asked for, threshold."""
    random = np.random.default_rng(seed)
    tensors = {
        "W_enc": random.standard_normal((d_in, d_sae), np.float32),
        "b_enc": random.standard_normal(d_sae, np.float32),
        "W_dec": random.standard_normal((d_sae, d_in), np.float32),
        "b_dec": random.standard_normal(d_in, np.float32),
    }
    if threshold:
        tensors["threshold"] = np.abs(random.standard_normal(d_sae, np.float32))
    return tensors


def as_json(data: Any) -> bytes:
    return json.dumps(data).encode()


def saelens_files(layer: int, d_in: int = 32, d_sae: int = 256, **metadata: Any) -> dict[str, bytes]:
    config = {
        "architecture": "standard", "d_in": d_in, "d_sae": d_sae, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.5.0", "sae_lens_training_version": "6.5.0", "model_name": "gpt2-small",
            "hook_name": f"blocks.{layer}.hook_resid_pre", **metadata,
        },
    }  # fmt: skip
    density = np.full(d_sae, -3.0, np.float32)
    return {
        "cfg.json": as_json(config),
        "sae_weights.safetensors": safetensors(weights(d_in, d_sae, layer)),
        "sparsity.safetensors": safetensors({"sparsity": density}),
    }


def below(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files.items()}


def gemma_scope(d_in: int = 8) -> Repo:
    files = {"README.md": b"---\nlicense: cc-by-4.0\n---\n# Gemma Scope\n"}
    shapes = [(0, "16k", (22, 105)), (5, "16k", (68,)), (12, "16k", (22, 41, 82, 176, 445)), (12, "65k", (72,))]
    for layer, width, l0s in shapes:
        d_sae = {"16k": 16384, "65k": 65536}[width]
        for l0 in l0s:
            data = npz(weights(d_in, d_sae, layer * 1000 + l0, threshold=True))
            files[f"layer_{layer}/width_{width}/average_l0_{l0}/params.npz"] = data
    return Repo("google/gemma-scope-2b-pt-res", files, card={"license": "cc-by-4.0", "library_name": "saelens"})


def gemma_scope_2(d_in: int = 8) -> Repo:
    files = {}
    for folder, layers in (("resid_post", (5, 9)), ("resid_post_all", (0, 1, 2)), ("transcoder", (9,))):
        for layer in layers:
            for word in ("small", "big"):
                tensors = weights(d_in, 16384, layer, threshold=True)
                named = {name.replace("W_", "w_"): value for name, value in tensors.items()}
                site = "pre_feedforward_layernorm.output" if folder == "transcoder" else "output"
                config = {
                    "architecture": "jump_relu", "model_name": "google/gemma-3-270m", "width": "16k", "l0": 10,
                    "hf_hook_point_in": f"model.layers.{layer}.{site}", "affine_connection": False,
                }  # fmt: skip
                place = f"{folder}/layer_{layer}_width_16k_l0_{word}"
                files[f"{place}/config.json"] = as_json(config)
                files[f"{place}/params.safetensors"] = safetensors(named)
    files["resid_post/layer_5_width_16k_l0_small/examples.safetensors"] = b"\0" * 20_000
    return Repo("google/gemma-scope-2-270m-pt", files)


def sparsify(d_in: int = 16, latents: int = 128) -> Repo:
    files = {"config.json": as_json({"model": "EleutherAI/pythia-70m", "sae": {"k": 8}})}
    for hook in ("layers.0", "layers.2", "layers.2.mlp"):
        tensors = weights(d_in, latents)
        files[f"{hook}/cfg.json"] = as_json(
            {"activation": "topk", "expansion_factor": 8, "normalize_decoder": True, "num_latents": latents, "k": 8,
             "multi_topk": False, "skip_connection": False, "d_in": d_in}
        )  # fmt: skip
        files[f"{hook}/sae.safetensors"] = safetensors(
            {"encoder.weight": tensors["W_enc"].T, "encoder.bias": tensors["b_enc"], "W_dec": tensors["W_dec"],
             "b_dec": tensors["b_dec"]}
        )  # fmt: skip
    return Repo("EleutherAI/sae-pythia-70m-32k", files, card={"base_model": "EleutherAI/pythia-70m"})


def qwen_scope(d_in: int = 8) -> Repo:
    files = {"README.md": b"# Qwen Scope\n"}
    for layer in (0, 14):
        tensors = {name: torch.from_numpy(value) for name, value in weights(d_in, 32 * 1024, layer).items()}
        state = {**tensors, "W_enc": tensors["W_enc"].T.contiguous(), "W_dec": tensors["W_dec"].T.contiguous()}
        files[f"layer{layer}.sae.pt"] = pickled(state)
    return Repo("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", files)


TRACER = "mntss/transcoder-Llama-3.2-1B"
TRACER_CONFIG = {"model_name": "meta-llama/Llama-3.2-1B", "feature_input_hook": "mlp.hook_in",
                 "feature_output_hook": "hook_mlp_out"}  # fmt: skip


def circuit_tracer(folder: str = "", config: bytes | None = None) -> Repo:
    """A file per layer, and what they all have in common beside them."""
    files = {f"{folder}config.yaml": as_json(TRACER_CONFIG) if config is None else config}  # JSON is YAML
    for layer in (0, 3):
        tensors = weights(16, 64, layer)
        tensors["W_enc"] = np.ascontiguousarray(tensors["W_enc"].T)
        files[f"{folder}layer_{layer}.safetensors"] = safetensors(tensors)
    return Repo(TRACER, files | {"README.md": b"# Transcoders\n", "other/notes.json": b"{}"})


def hostile() -> Repo:
    """Names that would be markup, and paths that would leave the folder."""
    metadata = {"model_name": HOSTILE, "hook_name": "blocks.1.hook_resid_pre"}
    files = {**below(HOSTILE, saelens_files(1, **metadata)), **below("a b#c?d%2e", saelens_files(2))}
    repo = Repo("lab/hostile", files, card={"license": HOSTILE, "base_model": HOSTILE})
    repo.raw_paths = [
        "../../escape/cfg.json", "/etc/cfg.json", "x/../../y.safetensors", "C:/cfg.json", "a\\b.json", "x\0y",
    ]  # fmt: skip
    return repo


def large(megabytes: int, repo_id: str = "lab/large") -> Repo:
    """One SAE of this size, for what takes a while."""
    return Repo(repo_id, below("sae", saelens_files(0, d_in=64, d_sae=megabytes * 2_000)))


def published() -> list[Repo]:
    """All of them."""
    layers = {name: data for layer in range(3) for name, data in below(
        f"blocks.{layer}.hook_resid_pre", saelens_files(layer)).items()}  # fmt: skip
    saelens = Repo(
        "jbloom/GPT2-Small-SAEs-Reformatted",
        {"README.md": b"---\nlicense: mit\n---\n# SAEs\n", **layers, "runner_cfg.json": b"{}"},
        card={"license": "mit", "library_name": "saelens", "base_model": "openai-community/gpt2"},
    )
    model = Repo(
        "openai-community/gpt2",
        {"config.json": b"{}", "model.safetensors": safetensors({"wte": np.zeros((64, 8), np.float32)})},
    )
    trainer = {"trainer": {"dict_class": "AutoEncoderTopK", "activation_dim": 16, "dict_size": 64, "k": 4, "layer": 3,
               "lm_name": "EleutherAI/pythia-70m-deduped"}, "buffer": {"ctx_len": 128}}  # fmt: skip
    state = {"encoder.weight": torch.zeros(64, 16), "encoder.bias": torch.zeros(64), "b_dec": torch.zeros(16),
             "decoder.weight": torch.zeros(16, 64), "k": torch.tensor(4), "threshold": torch.tensor(-1.0)}  # fmt: skip
    learned = Repo("canrager/lm_sae", below("sweep/resid_post_layer_3/trainer_0",
                   {"ae.pt": pickled(state), "config.json": as_json(trainer)}))  # fmt: skip
    return [
        saelens,
        model,
        learned,
        gemma_scope(),
        gemma_scope_2(),
        sparsify(),
        qwen_scope(),
        hostile(),
        Repo("google/gemma-2-2b", {"config.json": b"{}"}, gated="manual"),
        Repo("lab/gated-saes", below("sae", saelens_files(0)), gated="auto"),
        Repo("lab/private-saes", below("sae", saelens_files(0)), private=True),
        Repo("lab/texts", {"data.json": b"[]"}, kind="datasets"),
        Repo("lab/app", {"app.py": b""}, kind="spaces"),
        Repo("lab/one-sae", saelens_files(4, model_name="lab/unheard-of-model")),
        Repo("lab/unheard-of-model", {"config.json": b"{}"}, gated="auto"),
        Repo("lab/nothing", {"README.md": b"# Nothing yet\n"}),
    ]
