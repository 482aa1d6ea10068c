"""Does the real `dictionary-learning` package open what we write in its format, and compute the same?

Three steps, since the packages live in environments of their own:

    .venv/bin/python tools/check_export_dictionary_learning.py export [FOLDER]
    .venvs/dictionary_learning/bin/python tools/check_export_dictionary_learning.py check [FOLDER]
    .venvs/saelens/bin/python tools/check_export_dictionary_learning.py saelens [FOLDER]

`export` makes SAEs, an input and our results; `check` writes what the package computes beside them, and `saelens` only
compares: sae-lens reads these files too, but for AutoEncoderNew. Without a FOLDER it is
`tests/golden/dictionary_learning_exports`, which this remakes. Exit code 1 if a relative difference is above 1e-5.
"""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "dictionary_learning_exports"
TOLERANCE = 1e-5
D_IN, D_SAE, ROWS = 16, 48, 24
TRAINED: dict[str, dict[str, Any]] = {
    "standard": {"l1_coefficient": 1.0}, "topk": {"k": 5}, "batchtopk": {"k": 5},
    "jumprelu": {"initial_threshold": 0.3},
}
# name → architecture, settings, metadata: SAEs as they are loaded from elsewhere
LOADED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "standard_long_rows": ("standard", {}, {}),
    "gated": ("gated", {}, {}),
    "gated_raw_input": ("gated", {"apply_b_dec_to_input": False}, {}),
    "jumprelu_centred": ("jumprelu", {}, {}),
    "matryoshka": (
        "jumprelu", {},
        {"training_architecture": "matryoshka_batchtopk", "training_architecture_details": {"k": 5}},
    ),
}
METADATA = {"model_name": "EleutherAI/pythia-70m-deduped", "hook_name": "blocks.3.hook_resid_post", "context_size": 128}


def export(folder: Path) -> None:
    """What is trained here, with and without a centred input, and what is loaded."""
    sys.path.insert(0, str(ROOT))
    from saewidgets.formats import save_sae
    from saewidgets.sae import create_sae, inference_sae

    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)

    def keep(sae: Any, name: str, metadata: dict[str, Any]) -> None:
        sae.metadata = METADATA | metadata
        target = save_sae(sae, folder / name, "dictionary_learning")
        x, frozen = torch.randn(ROWS, D_IN) + 0.3, sae.to_inference()
        with torch.no_grad():
            save_file({"x": x, "f": frozen.encode(x), "y": frozen(x)}, target / "ours.safetensors")

    for name, settings in TRAINED.items():
        for centred in (True, False):
            sae = create_sae(name, D_IN, d_sae=D_SAE, apply_b_dec_to_input=centred, **settings)
            optimizer = torch.optim.Adam(sae.param_groups(1e-2))
            for _ in range(20):
                optimizer.zero_grad()
                sae.loss(torch.randn(256, D_IN) + 0.3).total.backward()
                sae.before_step()
                optimizer.step()
                sae.after_step()
            keep(sae.eval(), name if centred else f"{name}_raw_input", {})
    for name, (architecture, settings, metadata) in LOADED.items():
        tensors = {
            "W_enc": torch.randn(D_IN, D_SAE) * 0.4, "W_dec": torch.randn(D_SAE, D_IN) * 0.4,
            "b_dec": torch.randn(D_IN) * 0.4,
        }
        biases = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",)
        tensors |= {bias: torch.randn(D_SAE) * 0.4 for bias in biases}
        if architecture == "jumprelu":
            tensors["threshold"] = torch.full((D_SAE,), 0.4) if metadata else torch.rand(D_SAE)
        keep(inference_sae(architecture, D_IN, tensors, **settings), name, metadata)
    print(f"exported to {folder}")


def compare(folder: Path, load: Callable[[Path], Any], *, keep: bool) -> None:
    """Open every export with `load`, which gives something with encode and decode."""
    worst, results = 0.0, {}
    for target in sorted(path for path in folder.iterdir() if path.is_dir()):
        ae = load(target)
        if ae is None:
            continue
        ours = load_file(target / "ours.safetensors")
        with torch.no_grad():
            f = ae.encode(ours["x"])
            results[target] = {"f": f.contiguous(), "y": ae.decode(f).contiguous()}
        relative = {key: float((value - ours[key]).norm() / ours[key].norm()) for key, value in results[target].items()}
        worst = max(worst, *relative.values())
        print(f"{target.name:26} {type(ae).__name__:22} encode {relative['f']:.1e}, decode {relative['y']:.1e}")
    print(f"worst relative difference {worst:.1e} of {len(results)} SAEs, allowed {TOLERANCE:.0e}")
    if not results or not worst <= TOLERANCE:
        sys.exit(1)
    if keep:
        for target, tensors in results.items():
            save_file(tensors, target / "expected.safetensors")
        names = ("dictionary-learning", "torch")
        (folder / "versions.json").write_text(json.dumps({name: version(name) for name in names}, indent=2) + "\n")


def check(folder: Path) -> None:
    """With the package's own `load_dictionary`."""
    from dictionary_learning.utils import load_dictionary

    compare(folder, lambda target: load_dictionary(str(target), "cpu")[0], keep=True)


def saelens(folder: Path) -> None:
    """With sae-lens' loader for these repositories, which finds the files here instead of on the hub."""
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.saes.sae import SAE

    def load(target: Path) -> Any:
        if json.loads((target / "config.json").read_text())["trainer"]["dict_class"] == "AutoEncoderNew":
            return None  # taken for an SAE that subtracts b_dec, of which it has none
        loaders.hf_hub_download = lambda repo_id, filename, **_: str(target.parent / filename)
        data, state, _ = loaders.dictionary_learning_sae_huggingface_loader_1("here", target.name)
        data = loaders.handle_config_defaulting(data)
        config = SAE.get_sae_config_class_for_architecture(data["architecture"]).from_dict(data)
        sae = SAE.get_sae_class_for_architecture(config.architecture())(config)
        sae.load_state_dict(state)
        return sae

    compare(folder, load, keep=False)


if __name__ == "__main__":
    steps = {"export": export, "check": check, "saelens": saelens}
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in steps:
        sys.exit(__doc__)
    steps[sys.argv[1]](Path(sys.argv[2]) if len(sys.argv) == 3 else GOLDEN)
