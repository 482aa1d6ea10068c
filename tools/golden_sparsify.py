"""Remake tests/golden/sparsify: what EleutherAI's `sparsify` package saves and computes.

Run inside an environment with eai-sparsify (`make peers` builds it):

    .venvs/sparsify/bin/python tools/golden_sparsify.py

Written are, per kind, an SAE saved by the package, an input, the latents spread over d_sae, and the reconstruction.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from sparsify import SparseCoder, SparseCoderConfig

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "sparsify"
D_IN, ROWS = 16, 24
KINDS = {
    # folder, called after the module it reads → settings
    "topk/layers.3": {"num_latents": 48, "k": 5},
    "expansion/h.2.attn": {"expansion_factor": 4, "k": 6},
    "groupmax/layers.1.mlp": {"num_latents": 48, "k": 6, "activation": "groupmax"},
    "skip/layers.0": {"num_latents": 48, "k": 5, "skip_connection": True},
    "transcoder/layers.4.mlp": {"num_latents": 48, "k": 5, "transcode": True},
    "skip_transcoder/layers.4.mlp": {"num_latents": 48, "k": 5, "transcode": True, "skip_connection": True},
    "groupmax_skip_transcoder/layers.4.mlp": {
        "num_latents": 48, "k": 6, "transcode": True, "skip_connection": True, "activation": "groupmax",
    },
}


def main() -> None:
    torch.manual_seed(0)
    shutil.rmtree(OUT, ignore_errors=True)
    x = torch.randn(ROWS, D_IN)
    for name, settings in KINDS.items():
        sae = SparseCoder(D_IN, SparseCoderConfig(**settings))
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(0.4 * torch.randn_like(parameter))
            folder = OUT / name
            sae.save_to_disk(folder)
            again = SparseCoder.load_from_disk(folder)
            code = again.encode(x)
            f = torch.zeros(ROWS, again.num_latents).scatter_(1, code.top_indices, code.top_acts)
            y = again(x).sae_out
        save_file({"x": x, "f": f, "y": y.contiguous()}, folder / "expected.safetensors")
    versions = {"eai-sparsify": version("eai-sparsify"), "torch": torch.__version__}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {size:,} bytes with {versions}")


if __name__ == "__main__":
    main()
