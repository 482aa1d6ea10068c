"""Does the real `sae-lens` package open what we export, and compute the same?

Two steps, since the two packages live in environments of their own:

    .venv/bin/python tools/check_export_saelens.py export FOLDER          # here: SAEs, an input, our results
    .venvs/saelens/bin/python tools/check_export_saelens.py check FOLDER  # there: the largest differences

`check` ends with exit code 1 if any relative difference is above 1e-5.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "standard": {"l1_coefficient": 2.0},
    "topk": {"k": 8},
    "batchtopk": {"k": 8},
    "jumprelu": {"initial_threshold": 0.3},
}
TOLERANCE = 1e-5


def export(folder: Path) -> None:
    """Train every architecture for a few steps, fold a scale in, save."""
    sys.path.insert(0, str(ROOT))
    from saewidgets.formats import save_sae
    from saewidgets.sae import create_sae

    generator = torch.Generator().manual_seed(0)
    for name, settings in SETTINGS.items():
        for centred in (True, False):
            sae = create_sae(name, 64, d_sae=512, apply_b_dec_to_input=centred, **settings)
            optimizer = torch.optim.Adam(sae.param_groups(1e-2))
            for _ in range(20):
                optimizer.zero_grad()
                sae.loss(torch.randn(256, 64, generator=generator) + 0.3).total.backward()
                sae.before_step()
                optimizer.step()
                sae.after_step()
            sae.fold_scale(1.7)
            sae.metadata = {
                "model_name": "gpt2", "hook_name": "blocks.6.hook_resid_post", "context_size": 128,
                "prepend_bos": True, "dataset_path": "demo", "l0": float("nan"),
            }
            target = save_sae(sae, folder / f"{name}{'' if centred else '_raw_input'}")
            x = torch.randn(200, 64, generator=generator)
            sae.eval()
            with torch.no_grad():
                f = sae.encode(x)
                expected = {"x": x, "f": f.contiguous(), "y": sae.decode(f).contiguous()}
                save_file(expected, folder / f"{target.name}.expected")
    print(f"exported to {folder}")


def check(folder: Path) -> None:
    """Open every export with sae-lens and compare."""
    import sae_lens

    worst = 0.0
    for target in sorted(path for path in folder.iterdir() if path.is_dir()):
        sae = sae_lens.SAE.load_from_disk(target, device="cpu")
        expected = load_file(folder / f"{target.name}.expected")
        with torch.no_grad():
            f = sae.encode(expected["x"])
            differences = {"encode": (f, "f"), "decode": (sae.decode(f), "y"), "forward": (sae(expected["x"]), "y")}
            relative = {
                what: float((found - expected[key]).norm() / expected[key].norm())
                for what, (found, key) in differences.items()
            }
        worst = max(worst, *relative.values())
        shown = ", ".join(f"{what} {value:.1e}" for what, value in relative.items())
        active = int((f > 0).sum(1).float().mean())
        print(f"{target.name:22} {type(sae).__name__:12} {sae.cfg.metadata.hook_name} l0 {active}: {shown}")
    print(f"sae-lens {sae_lens.__version__}: worst relative difference {worst:.1e}, allowed {TOLERANCE:.0e}")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("export", "check"):
        sys.exit(__doc__)
    {"export": export, "check": check}[sys.argv[1]](Path(sys.argv[2]))
