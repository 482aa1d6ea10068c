"""One training batch of each architecture against loss terms and gradients recorded from the real sae-lens package."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from saewidgets.sae import LossState, create_sae
from tests.sae.cases import gradients, plain, relative

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "saelens"
SETTINGS = {
    "standard": {"l1_coefficient": 0.7},
    "topk": {"k": 5, "aux_coefficient": 0.25},
    "batchtopk": {"k": 5, "aux_coefficient": 0.25},
    "jumprelu": {"l0_coefficient": 0.6, "bandwidth": 0.3},
}
TERMS = {"mse_loss": "mse", "l1_loss": "l1", "auxiliary_reconstruction_loss": "aux", "l0_loss": "l0_penalty"}


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
@pytest.mark.parametrize("name", SETTINGS)
def test_loss_and_gradients_are_those_of_sae_lens(name: str, kernels: bool) -> None:
    golden = load_file(GOLDEN / f"training_{name}.safetensors")
    sae = create_sae(name, golden["x"].shape[1], d_sae=golden["weight.b_enc"].numel(), **SETTINGS[name])
    if not kernels:
        plain(sae)
    state = {key: golden[f"weight.{key}"] for key in ("W_enc", "b_enc", "W_dec", "b_dec")}
    if name == "jumprelu":
        state["log_threshold"] = golden["weight.threshold"].log()
    sae.load_state_dict(state, strict=name != "batchtopk")

    loss = sae.loss(golden["x"], step=LossState(1.0, golden["dead"]))
    loss.total.backward()

    assert loss.total.item() == pytest.approx(golden["loss"].item(), rel=1e-5)
    assert relative(loss.reconstruction, golden["reconstruction"]) < 1e-5
    recorded = {key.removeprefix("term."): value.item() for key, value in golden.items() if key.startswith("term.")}
    assert {TERMS[key] for key in recorded} == set(loss.terms)
    for key, value in recorded.items():
        assert loss.terms[TERMS[key]].item() == pytest.approx(value, rel=1e-5), key
    found = gradients(sae)
    if name == "jumprelu":  # theirs is the gradient of the threshold, ours of its logarithm
        expected = golden["grad.threshold"] * golden["weight.threshold"]
        assert relative(found.pop("log_threshold"), expected) < 1e-5
    for key, grad in found.items():
        assert relative(grad, golden[f"grad.{key}"]) < 1e-5, key
