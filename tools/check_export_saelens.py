"""Does the real `sae-lens` package open what we export, and compute the same?

Two steps, since the two packages live in environments of their own:

    .venv/bin/python tools/check_export_saelens.py export [FOLDER]          # here: SAEs, an input, our results
    .venvs/saelens/bin/python tools/check_export_saelens.py check [FOLDER]  # there: the largest differences

Without a FOLDER it is `tests/golden/exports`, which this remakes: per architecture, the trained tensors, what we export
of them, and (written by `check`) what sae-lens computes with it. Folders called ``loaded_…`` hold SAEs as they are
loaded from elsewhere, of every architecture that sae-lens has. `check` ends with exit code 1 if a relative difference
is above 1e-5, and then writes nothing.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "standard": {"l1_coefficient": 2.0},
    "topk": {"k": 8},
    "batchtopk": {"k": 8},
    "jumprelu": {"initial_threshold": 0.3},
    "matryoshka": {"k": 8},
    "gated": {"l1_coefficient": 2.0},
    "skip": {"l1_coefficient": 2.0, "learn_skip": True},
    "transcoder": {"l1_coefficient": 2.0, "d_out": 20},
    "skip_transcoder": {"l1_coefficient": 2.0, "d_out": 20},
}
# name → architecture, more settings; tensors are random
LOADED: dict[str, tuple[str, dict[str, Any]]] = {
    "standard_hook_z": ("standard", {"reshape_activations": "hook_z"}),
    "standard_layer_norm": ("standard", {"normalize_activations": "layer_norm"}),
    "gated": ("gated", {}),
    "gated_layer_norm": ("gated", {"normalize_activations": "layer_norm", "apply_b_dec_to_input": False}),
    "topk_layer_norm": ("topk", {"k": 5, "normalize_activations": "layer_norm"}),
    "abstopk": ("abstopk", {"k": 5}),
    "abstopk_constant_norm": ("abstopk", {"k": 5, "normalize_activations": "constant_norm_rescale"}),
    "jumprelu_constant_norm": ("jumprelu", {"normalize_activations": "constant_norm_rescale"}),
    "transcoder": ("transcoder", {"d_out": 20}),
    "skip_transcoder": ("skip_transcoder", {"d_out": 20, "normalize_activations": "layer_norm"}),
    "jumprelu_transcoder": ("jumprelu_transcoder", {"d_out": 20}),
    "jumprelu_skip_transcoder": ("jumprelu_skip_transcoder", {"d_out": 20}),
    "matching_pursuit": ("matching_pursuit", {"max_iterations": 5}),
    "matching_pursuit_hook_z": (
        "matching_pursuit", {"max_iterations": 4, "residual_threshold": 0.5, "reshape_activations": "hook_z"},
    ),
    "temporal": ("temporal", {"n_heads": 4, "bottleneck_factor": 4, "kval_topk": 6}),
    "temporal_untied": (
        "temporal",
        {"n_heads": 2, "bottleneck_factor": 8, "sae_diff_type": "relu", "tied_weights": False, "n_attn_layers": 2},
    ),
    "standard_head": ("standard", {}),
}
HEAD = 3  # which one it is of, where the name says so
TOLERANCE = 1e-5
GOLDEN = ROOT / "tests" / "golden" / "exports"
OURS, THEIRS = "ours.safetensors", "expected.safetensors"
METADATA = {
    "model_name": "gpt2", "hook_name": "blocks.6.hook_resid_post", "context_size": 128, "prepend_bos": True,
    "dataset_path": "demo", "l0": float("nan"),
}
SCALE, SCALE_OUT = 1.7, 0.6  # the second is for the outputs of transcoders
D_IN, D_SAE, ROWS = 24, 96, 24
LOADED_D_SAE = 32


def export(folder: Path) -> None:
    """Train every architecture for a few steps, fold a scale in, save."""
    sys.path.insert(0, str(ROOT))
    from saewidgets.formats import save_sae
    from saewidgets.sae import create_sae

    if folder == GOLDEN:
        shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(0)
    for name, settings in SETTINGS.items():
        for centred in (True, False) if "transcoder" not in name else (False,):
            sae = create_sae(name, D_IN, d_sae=D_SAE, apply_b_dec_to_input=centred, **settings)
            optimizer = torch.optim.Adam(sae.param_groups(1e-2))
            for _ in range(20):
                optimizer.zero_grad()
                x = torch.randn(256, D_IN, generator=generator) + 0.3
                sae.loss(x, x[:, : sae.d_out].sin() if sae.is_transcoder else None).total.backward()
                sae.before_step()
                optimizer.step()
                sae.after_step()
            trained = {key: tensor.detach().clone() for key, tensor in sae.state_dict().items()}
            sae.fold_scales(SCALE, SCALE_OUT if sae.is_transcoder else SCALE)
            sae.metadata = dict(METADATA)
            target = save_sae(sae, folder / f"{name}{'' if centred or sae.is_transcoder else '_raw_input'}", "saelens")
            settings_of = {"architecture": name, "d_sae": D_SAE, "apply_b_dec_to_input": centred, **settings}
            (target / "trained.json").write_text(json.dumps(settings_of, indent=2) + "\n")
            save_file(trained, target / "trained.safetensors")
            x = torch.randn(ROWS, D_IN, generator=generator)
            sae.eval()
            with torch.no_grad():
                f = sae.encode(x)
                save_file({"x": x, "f": f.contiguous(), "y": sae(x).contiguous()}, target / OURS)
    export_loaded(folder, generator)
    print(f"exported to {folder}")


def export_loaded(folder: Path, generator: torch.Generator) -> None:
    """SAEs as they are loaded from elsewhere, and what they compute here."""
    from saewidgets.formats import save_sae
    from saewidgets.sae import inference_sae
    from saewidgets.sae.architectures import lookup_inference

    for name, (architecture, settings) in LOADED.items():
        sae_class, config_class = lookup_inference(architecture)
        with torch.device("meta"):
            empty = sae_class(config_class(d_sae=LOADED_D_SAE, **settings), D_IN, initialise=False)
        tensors = {
            key: torch.randn(tensor.shape, generator=generator) * 0.3 for key, tensor in empty.state_dict().items()
        }
        if "threshold" in tensors:
            tensors["threshold"].abs_()
        if architecture == "matching_pursuit":
            tensors["W_dec"] /= tensors["W_dec"].norm(dim=1, keepdim=True)
        sae = inference_sae(architecture, D_IN, tensors, d_sae=LOADED_D_SAE, **settings)
        hook = "blocks.6.attn.hook_z" if "hook_z" in name else METADATA["hook_name"]
        hook = f"blocks.6.attn.hook_z.{HEAD}" if "head" in name else hook
        sae.metadata = METADATA | {"hook_name": hook, "notes": ["from elsewhere"]}
        target = save_sae(sae, folder / f"loaded_{name}")
        shape = (2, ROWS // 2, 4, D_IN // 4) if "hook_z" in name else (2, ROWS // 2, D_IN)
        x = torch.randn(shape, generator=generator) * 2 + 0.3
        save_file({"x": x, "f": sae.encode(x).contiguous(), "y": sae(x).contiguous()}, target / OURS)


def check(folder: Path) -> None:
    """Open every export with sae-lens, compare, and keep what it computed."""
    import sae_lens

    worst, computed = 0.0, {}
    for target in sorted(path for path in folder.iterdir() if path.is_dir()):
        sae = sae_lens.SAE.load_from_disk(target, device="cpu")
        ours = load_file(target / OURS)
        if "_head" in target.name:  # which SAELens keeps beside the hook name
            place = (sae.cfg.metadata.hook_name, sae.cfg.metadata.hook_head_index)
            assert place == ("blocks.6.attn.hook_z", HEAD), place
        with torch.no_grad():
            f = sae.encode(ours["x"])
            differences = {"encode": (f, "f"), "forward": (sae(ours["x"]), "y")}
            y = differences["forward"][0]
            if "skip" not in target.name and not target.name.startswith("loaded_"):  # decode alone is not all of those
                differences["decode"] = (sae.decode(f), "y")
            relative = {
                what: float((found - ours[key]).norm() / ours[key].norm())
                for what, (found, key) in differences.items()
            }
        computed[target] = {"x": ours["x"], "f": f.contiguous(), "y": y.contiguous()}
        worst = max(worst, *relative.values())
        shown = ", ".join(f"{what} {value:.1e}" for what, value in relative.items())
        active = int((f != 0).sum(-1).float().mean())
        print(f"{target.name:32} {type(sae).__name__:12} {sae.cfg.metadata.hook_name} l0 {active}: {shown}")
    print(f"sae-lens {sae_lens.__version__}: worst relative difference {worst:.1e}, allowed {TOLERANCE:.0e}")
    if not computed or worst > TOLERANCE:
        sys.exit(1)
    for target, tensors in computed.items():
        save_file(tensors, target / THEIRS)
        (target / OURS).unlink()
    versions = {"sae_lens": sae_lens.__version__, "torch": torch.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in ("export", "check"):
        sys.exit(__doc__)
    {"export": export, "check": check}[sys.argv[1]](Path(sys.argv[2]) if len(sys.argv) == 3 else GOLDEN)
