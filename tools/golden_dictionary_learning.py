"""Remake tests/golden/dictionary_learning: what the `dictionary-learning` package saves and computes.

Run inside an environment with dictionary-learning (`make peers` builds it):

    .venvs/dictionary_learning/bin/python tools/golden_dictionary_learning.py

Written are, per class, an autoencoder as its trainer saves it, an input, and latents and reconstruction of what the
package's own `load_dictionary` makes of the files; and a backup as it is written while a training goes on.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from dictionary_learning import AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.dictionary import AutoEncoderNew
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "dictionary_learning"
D_IN, D_SAE, ROWS, K = 16, 48, 24, 5
NORM_FACTOR = 2.5


def classes() -> dict[str, torch.nn.Module]:
    unset = BatchTopKSAE(D_IN, D_SAE, K)
    batchtopk, matryoshka = BatchTopKSAE(D_IN, D_SAE, K), MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [16, 32])
    batchtopk.threshold.fill_(0.6)
    matryoshka.threshold.fill_(0.4)
    return {
        "standard": AutoEncoder(D_IN, D_SAE), "april_update": AutoEncoderNew(D_IN, D_SAE),
        "gated": GatedAutoEncoder(D_IN, D_SAE), "topk": AutoEncoderTopK(D_IN, D_SAE, K), "batchtopk": batchtopk,
        "batchtopk_unset": unset, "matryoshka": matryoshka, "jumprelu": JumpReluAutoEncoder(D_IN, D_SAE),
    }


def shake(ae: torch.nn.Module) -> None:
    """Weights in general position."""
    with torch.no_grad():
        for name, parameter in ae.named_parameters():
            noise = 0.4 * torch.randn_like(parameter)
            parameter.copy_(0.3 + 0.2 * noise.abs() if name == "threshold" else noise)


def config(ae: torch.nn.Module) -> dict[str, Any]:
    trainer = {
        "dict_class": type(ae).__name__, "trainer_class": "Trainer", "activation_dim": D_IN, "dict_size": D_SAE,
        "lr": 1e-3, "steps": 10, "seed": 0, "device": "cpu", "layer": 3, "lm_name": "EleutherAI/pythia-70m-deduped",
        "wandb_name": "run", "submodule_name": "resid_post_layer_3",
    }
    return {"trainer": trainer | ({"k": K} if hasattr(ae, "k") else {}), "buffer": {"ctx_len": 128, "io": "out"}}


def write(name: str, ae: torch.nn.Module, content: dict[str, Any]) -> None:
    folder = OUT / name
    folder.mkdir(parents=True)
    torch.save(content, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps(config(ae), indent=4))


def record(name: str, ae: torch.nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        f = ae.encode(x)
        save_file({"x": x, "f": f.contiguous(), "y": ae.decode(f).contiguous()}, OUT / name / "expected.safetensors")


def main() -> None:
    torch.manual_seed(0)
    shutil.rmtree(OUT, ignore_errors=True)
    x = torch.randn(ROWS, D_IN)
    for name, ae in classes().items():
        shake(ae)
        write(name, ae, {key: value.cpu() for key, value in ae.state_dict().items()})
        record(name, load_dictionary(str(OUT / name), "cpu")[0], x)
    ae = JumpReluAutoEncoder(D_IN, D_SAE)
    shake(ae)
    optimizer = torch.optim.Adam(ae.parameters())
    ae(x).sum().backward()
    optimizer.step()
    write("backup", ae, {
        "step": 7, "ae": ae.state_dict(), "optimizer": optimizer.state_dict(), "config": config(ae)["trainer"],
        "norm_factor": NORM_FACTOR,
    })
    ae.scale_biases(NORM_FACTOR)  # what the end of a training does before it saves
    record("backup", ae, x)
    versions = {"dictionary-learning": version("dictionary-learning"), "torch": torch.__version__}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {size:,} bytes with {versions}")


if __name__ == "__main__":
    main()
