"""A translated SAELens configuration trains as SAELens does: the same batches, the same losses, the same last weights.

The goldens are from the real `SAETrainer` (tools/golden_saelens_runs.py): loss, clipping, Adam, schedules, free norms.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saewidgets.config.translate import from_saelens
from saewidgets.events import Metrics
from saewidgets.sae import build_sae
from saewidgets.sae.scaler import RAW, Scaler, Whitening
from saewidgets.training.export import exported
from saewidgets.training.loop import Trainer
from tests.training.fakes import Recorder, Scripted

RUNS = Path(__file__).parents[1] / "golden" / "saelens_runs"


class Given:
    """A stream of recorded batches."""

    def __init__(self, batches):
        self._batches = batches

    def batches(self, start, check=None):
        for batch in self._batches[start:]:
            yield batch.clone()


NAMES = ["standard", "gated", "topk", "matryoshka", "layer_norm", "rescaled", "whitened", "whitened_gated", "dying"]


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_weights_are_those_of_saelens(tmp_path, name):
    golden = load_file(RUNS / f"{name}.safetensors")
    config = from_saelens(RUNS / f"{name}.json", log_every_steps=1).config
    d_in = golden["batches"].shape[-1]
    sae = build_sae(config.autoencoder, d_in, generator=torch.Generator().manual_seed(0))
    sae.load_state_dict({
        key: golden.get(f"before.{key}", golden.get("before.topk_threshold")) for key in sae.state_dict()
    })
    recorder = Recorder()
    scaler = RAW
    if config.activations.normalize == "covariance_whitening":
        scaler = Scaler(whitening=Whitening.of_tensors({
            key.removeprefix("whitening."): value for key, value in golden.items() if key.startswith("whitening.")
        }))
    trainer = Trainer(config, sae, Given(golden["batches"]), tmp_path, scaler=scaler, emit=recorder, control=Scripted())
    trainer.run()
    losses = [event.values["loss"] for event in recorder.of(Metrics)]
    assert losses == pytest.approx(golden["losses"].tolist(), rel=1e-4)
    for key, parameter in sae.named_parameters():
        difference = (parameter.detach() - golden[f"after.{key}"]).norm() / golden[f"after.{key}"].norm()
        assert difference < 1e-3, key
    left = exported(sae, scaler).inference_tensors()
    for key in (key for key in golden if key.startswith("folded.")):
        ours = left[key.removeprefix("folded.")]
        assert (ours - golden[key]).norm() / golden[key].norm() < 1e-3, key
