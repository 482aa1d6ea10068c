"""Remake tests/golden/saelens_loaders: what sae-lens computes with files laid out as other repositories lay them out.

Run inside an environment with sae-lens (`make peers` builds it):

    .venvs/saelens/bin/python tools/golden_saelens_loaders.py

Per loader of sae-lens, a small repository with random weights, an input, and what the SAE computes that the loader
makes of it. The loaders ask for files of the hub; they are given those here.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.saes.sae import SAE
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "saelens_loaders"
D_IN, D_SAE, ROWS, HEADS = 16, 48, 24, 4
SIZES = {"d_in": D_IN, "d_sae": D_SAE}  # those of two loaders are fixed numbers
KISSANE = "gpt2-small_L5_Hcat_z_lr1.20e-03_l11.00e+00_ds49152_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9.pt"


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(shape) * 0.4


def plain() -> dict[str, torch.Tensor]:
    return {"W_enc": rand(D_IN, D_SAE), "b_enc": rand(D_SAE), "W_dec": rand(D_SAE, D_IN), "b_dec": rand(D_IN)}


def linear(end: str) -> dict[str, torch.Tensor]:
    return {
        f"encoder{end}.weight": rand(D_SAE, D_IN), f"encoder{end}.bias": rand(D_SAE),
        f"decoder{end}.weight": rand(D_IN, D_SAE), f"decoder{end}.bias": rand(D_IN),
    }


def record(repo: str, path: str, loader: str, x: torch.Tensor, **overrides: Any) -> None:
    """Latents and reconstruction of what `loader` makes of `path` in `repo`."""
    root = OUT / repo

    def here(repo_id: str, filename: str, **_: Any) -> str:
        if not (root / filename).exists():
            raise loaders.EntryNotFoundError(f"no {filename} in {repo_id}")
        return str(root / filename)

    loaders.hf_hub_download = here
    data, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](
        repo_id=repo, folder_name=path, device="cpu", cfg_overrides={"dtype": "float32", "device": "cpu", **overrides}
    )
    data = loaders.handle_config_defaulting(data)
    config = SAE.get_sae_config_class_for_architecture(data["architecture"]).from_dict(data)
    sae = SAE.get_sae_class_for_architecture(config.architecture())(config)
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    with torch.no_grad():
        tensors = {"x": x, "f": sae.encode(x).contiguous(), "y": sae(x).contiguous()}
    save_file(tensors, root / "expected.safetensors")
    facts = {
        "loader": loader, "path": path, "hook_name": sae.cfg.metadata.hook_name, "model": sae.cfg.metadata.model_name,
    }
    (root / "golden.json").write_text(json.dumps(facts, indent=2) + "\n")


def folder(repo: str, path: str = "") -> Path:
    made = OUT / repo / path
    made.mkdir(parents=True)
    return made


def temporal(repo: str, x: torch.Tensor, *, tied: bool) -> None:
    path = "gemma-2-2B/layer_12/temporal"
    place, narrow = folder(repo, path), D_SAE // 4
    config = {
        "llm": {"dimin": D_IN}, "data": {"dtype": "float32"},
        "sae": {
            "exp_factor": D_SAE / D_IN, "n_heads": 2, "n_attn_layers": 2, "bottleneck_factor": 4,
            "sae_diff_type": "topk" if tied else "relu", "kval_topk": 6 if tied else None, "tied_weights": tied,
            "scaling_factor": 0.5,
        },
    }
    (place / "conf.yaml").write_text(yaml.safe_dump(config))
    tensors = {"D": rand(D_SAE, D_IN), "b": rand(D_IN)} | ({} if tied else {"E": rand(D_IN, D_SAE)})
    for i in range(2):
        for name, width in (("k_ctx", narrow), ("q_target", narrow), ("v_ctx", D_SAE), ("c_proj", D_SAE)):
            tensors[f"attn_layers.{i}.{name}.weight"] = rand(width, D_SAE)
            tensors[f"attn_layers.{i}.{name}.bias"] = rand(width)
    save_file(tensors, place / "latest_ckpt.safetensors")
    record(repo, path, "temporal", x)


def main() -> None:
    torch.manual_seed(0)
    shutil.rmtree(OUT, ignore_errors=True)
    x = torch.randn(ROWS, D_IN) * 2
    repo, file = "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", "Llama-3.1-8B-Instruct-SAE-l19.pth"
    torch.save(linear("_linear"), folder(repo) / file)
    record(repo, file, "goodfire", x, **SIZES)
    repo, file = "Goodfire/Llama-3.3-70B-Instruct-SAE-l50", "Llama-3.3-70B-Instruct-SAE-l50.pt"
    torch.save({name: tensor.bfloat16() for name, tensor in linear("_linear").items()}, folder(repo) / file)
    record(repo, file, "goodfire", x, **SIZES)
    repo, file = "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19", "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    torch.save(linear(""), folder(repo) / file)
    record(repo, file, "deepseek_r1", x, **SIZES)
    repo = "ckkissane/attn-saes-gpt2-small-all-layers"
    torch.save(plain(), folder(repo) / KISSANE)
    config = {"act_size": D_IN, "dict_size": D_SAE, "act_name": "blocks.5.attn.hook_z", "site": "z", "layer": 5}
    (OUT / repo / KISSANE.replace(".pt", "_cfg.json")).write_text(json.dumps(config))
    record(repo, KISSANE, "connor_rob_hook_z", x.reshape(ROWS, HEADS, -1).contiguous())
    for repo in ("mwhanna/qwen3-4b-transcoders", "mwhanna/qwen3-14b-transcoders-lowl0"):
        place, tensors = folder(repo), plain()
        save_file(tensors | {"W_enc": tensors["W_enc"].T.contiguous()}, place / "layer_7.safetensors")
        wandb = {"d_model": {"value": D_IN}, "d_feature": {"value": D_SAE}, "batch_size": {"value": 2048}}
        (place / ("wandb-config.yaml" if "4b-" in repo else "wanb-config.yaml")).write_text(yaml.safe_dump(wandb))
        if "14b" not in repo:  # which has none
            config = {
                "model_name": "Qwen/Qwen3-4B", "model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in",
                "feature_output_hook": "hook_mlp_out",
            }
            (place / "config.yaml").write_text(yaml.safe_dump(config))
        record(repo, "layer_7.safetensors", "mwhanna_transcoder", x)
    contexts = x.reshape(3, ROWS // 3, D_IN).contiguous()
    temporal("canrager/temporalSAEs", contexts, tied=True)
    temporal("canrager/temporalSAEs-untied", contexts, tied=False)
    versions = {name: version(name) for name in ("sae-lens", "torch")}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {size:,} bytes with {versions}")


if __name__ == "__main__":
    main()
