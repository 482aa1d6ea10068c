"""Does the real `sparsify` package open what we write in its format, and compute the same?

Two steps, since the two packages live in environments of their own:

    .venv/bin/python tools/check_export_sparsify.py export FOLDER           # here: SAEs, an input, our results
    .venvs/sparsify/bin/python tools/check_export_sparsify.py check FOLDER  # there: the largest differences

`check` ends with exit code 1 if a relative difference is above 1e-5.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-5
D_IN, D_SAE, ROWS = 24, 96, 24
KINDS = {
    "topk": {"k": 8}, "groupmax": {"k": 8}, "topk_transcoder": {"k": 8}, "topk_skip_transcoder": {"k": 8},
    "groupmax_skip_transcoder": {"k": 8},
}


def export(folder: Path) -> None:
    """A top-k SAE trained for a few steps, and one of every other kind in general position."""
    sys.path.insert(0, str(ROOT))
    from saewidgets.formats import save_sae
    from saewidgets.sae import SAE, create_sae, inference_sae

    torch.manual_seed(0)
    trained = create_sae("topk", D_IN, d_sae=D_SAE, k=8)
    optimizer = torch.optim.Adam(trained.param_groups(1e-2))
    for _ in range(20):
        optimizer.zero_grad()
        trained.loss(torch.randn(256, D_IN) + 0.3).total.backward()
        trained.before_step()
        optimizer.step()
        trained.after_step()
    saes: dict[str, SAE] = {"trained": trained.eval()}
    for name, settings in KINDS.items():
        tensors = {
            "W_enc": torch.randn(D_IN, D_SAE), "b_enc": torch.randn(D_SAE), "W_dec": torch.randn(D_SAE, D_IN),
            "b_dec": torch.randn(D_IN),
        }
        if "skip" in name:
            tensors["W_skip"] = torch.randn(D_IN, D_IN)
        saes[name] = inference_sae(name, D_IN, tensors, **settings)
    for name, sae in saes.items():
        target = save_sae(sae, folder / name / "layers.3", "sparsify")
        x = torch.randn(ROWS, D_IN)
        with torch.no_grad():
            save_file({"x": x, "f": sae.encode(x), "y": sae(x)}, target / "ours.safetensors")
    print(f"exported to {folder}")


def check(folder: Path) -> None:
    """Open every export with sparsify and compare."""
    from sparsify import SparseCoder

    worst, count = 0.0, 0
    for target in sorted(folder.glob("*/layers.3")):
        sae, ours = SparseCoder.load_from_disk(target), load_file(target / "ours.safetensors")
        with torch.no_grad():
            code = sae.encode(ours["x"])
            f = torch.zeros_like(ours["f"]).scatter_(1, code.top_indices, code.top_acts)
            y = sae(ours["x"]).sae_out
        relative = {"encode": (f - ours["f"]).norm() / ours["f"].norm(), "forward": (y - ours["y"]).norm() / y.norm()}
        worst, count = max(worst, *map(float, relative.values())), count + 1
        print(f"{target.parent.name:26} " + ", ".join(f"{what} {value:.1e}" for what, value in relative.items()))
    print(f"worst relative difference {worst:.1e} of {count} SAEs, allowed {TOLERANCE:.0e}")
    if not count or worst > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("export", "check"):
        sys.exit(__doc__)
    {"export": export, "check": check}[sys.argv[1]](Path(sys.argv[2]))
