"""One training batch of each architecture against loss terms and gradients recorded from the real sae-lens package."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from saewidgets.sae import LossState, create_sae
from tests.sae.cases import PATHS, by, gradients, relative

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "saelens"
SETTINGS: dict[str, dict[str, Any]] = {
    "standard": {"l1_coefficient": 0.7},
    "topk": {"k": 5, "aux_coefficient": 0.25},
    "batchtopk": {"k": 5, "aux_coefficient": 0.25},
    "jumprelu": {"l0_coefficient": 0.6, "bandwidth": 0.3},
    "standard_lp": {"l1_coefficient": 0.7, "lp_norm": 0.6},
    "gated": {"l1_coefficient": 0.7},
    "matryoshka": {"k": 5, "aux_coefficient": 0.25, "widths": (10, 30)},
    "matryoshka_aux_per_width": {"k": 5, "aux_coefficient": 0.25, "widths": (10, 30), "aux_per_width": True},
    "jumprelu_tanh": {"l0_coefficient": 0.6, "bandwidth": 0.3, "sparsity_loss": "tanh"},
    "jumprelu_anthropic": {
        "l0_coefficient": 0.6, "bandwidth": 0.3, "sparsity_loss": "tanh", "pre_act_coefficient": 0.2,
        "ste_to_input": True,
    },
    "jumprelu_quadratic": {
        "l0_coefficient": 0.6, "bandwidth": 0.3, "sparsity_loss": "quadratic", "target_l0": 6, "ste_to_input": True
    },
    "standard_layer_norm": {"l1_coefficient": 0.7, "normalize_activations": "layer_norm"},
    "standard_rescaled": {"l1_coefficient": 0.7, "normalize_activations": "constant_norm_rescale"},
    "jumprelu_layer_norm": {"l0_coefficient": 0.6, "bandwidth": 0.3, "normalize_activations": "layer_norm"},
    "jumprelu_rescaled": {"l0_coefficient": 0.6, "bandwidth": 0.3, "normalize_activations": "constant_norm_rescale"},
    "topk_layer_norm": {"k": 5, "aux_coefficient": 0.25, "normalize_activations": "layer_norm"},
    "batchtopk_rescaled": {"k": 5, "aux_coefficient": 0.25, "normalize_activations": "constant_norm_rescale"},
}  # fmt: skip
TERMS = {
    "mse_loss": "mse", "l1_loss": "l1", "auxiliary_reconstruction_loss": "aux", "l0_loss": "l0_penalty",
    "pre_act_loss": "pre_act", "inner_mse_loss_10": "inner_mse", "inner_mse_loss_30": "inner_mse",
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("name", "more"),
    [(name, more) for name, settings in SETTINGS.items() for more in (
        [{"threshold_parameter": "linear"}, {"threshold_parameter": "log"}] if "bandwidth" in settings else [{}]
    )],
)  # fmt: skip
def test_loss_and_gradients_are_those_of_sae_lens(name: str, more: dict[str, Any], path: str) -> None:
    golden = load_file(GOLDEN / f"training_{name}.safetensors")
    architecture = name.split("_")[0]
    settings = ({} if "k" in SETTINGS[name] else {"pre_act_coefficient": None}) | SETTINGS[name] | more
    sae = create_sae(architecture, golden["x"].shape[1], d_sae=golden["weight.W_dec"].shape[0], **settings)
    by(path, sae)
    state = {key: golden.get(f"weight.{key}") for key, _ in sae.named_parameters()}
    if "log_threshold" in state:
        state["log_threshold"] = golden["weight.threshold"].log()
    sae.load_state_dict(state | dict(sae.named_buffers()))

    loss = sae.loss(golden["x"], step=LossState(1.0, golden["dead"]))
    loss.total.backward()

    assert loss.total.item() == pytest.approx(golden["loss"].item(), rel=1e-5)
    assert relative(loss.reconstruction, golden["reconstruction"]) < 1e-5
    recorded: dict[str, float] = {}
    for key, value in golden.items():
        if key.startswith("term."):
            ours = TERMS[key.removeprefix("term.")]
            recorded[ours] = recorded.get(ours, 0.0) + value.item()
    assert {key: term.item() for key, term in loss.terms.items()} == pytest.approx(recorded, rel=1e-5)
    found = gradients(sae)
    if "log_threshold" in found:  # theirs is the gradient of the threshold, ours of its logarithm
        expected = golden["grad.threshold"] * golden["weight.threshold"]
        assert relative(found.pop("log_threshold"), expected) < 1e-5
    for key, grad in found.items():
        assert relative(grad, golden[f"grad.{key}"]) < 1e-5, key
