"""Checking a form: errors by field, hints, estimate; nothing is started."""

from __future__ import annotations

from pathlib import Path

from saewidgets.config import TrainingConfig
from saewidgets.widgets.messages import CheckResult
from saewidgets.workspace import Workspace


def test_a_good_form_has_facts_and_an_estimate(ws: Workspace, config: TrainingConfig) -> None:
    result = CheckResult.model_validate(ws.trainings.validate(config.to_data()))
    assert result.fields == {}
    assert result.model is not None
    assert (result.model.layers, result.model.d_model, result.model.context) == (2, 32, 64)
    assert result.hints["layer"] == "0 to 1"
    assert result.hints["hook_name"] == "d_in 32"
    assert result.hints["sae.d_sae"] == "2 × d_in"
    assert result.estimate is not None
    assert result.estimate.memory_total_bytes == sum(part.bytes for part in result.estimate.memory)
    assert result.estimate.seconds is None  # nothing was measured yet
    assert not ws.trainings.list()


def test_every_wrong_field_is_named_at_once(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    data = config.to_data() | {
        "hook_name": "blocks.7.hook_resid_post", "context_size": 999, "corpus": str(tmp_path / "none.txt"),
        "device": "cuda:7",
    }  # fmt: skip
    fields = ws.trainings.validate(data)["fields"]
    assert fields["hook_name"].startswith("Layer 7 does not exist")
    assert fields["context_size"].startswith("999 tokens do not fit")
    assert "none.txt" in fields["corpus"]
    assert "cuda:7" in fields["device"]
    data["sae"] = {"architecture": "topk", "d_sae": 64, "k": 65}
    assert ws.trainings.validate(data)["fields"]["sae.k"].startswith("k is 65 but d_sae is 64")


def test_an_unknown_model_is_said_at_its_field(ws: Workspace, config: TrainingConfig) -> None:
    result = ws.trainings.validate(config.to_data() | {"model": "no/such-model"})
    assert "the model is not on this machine" in result["fields"]["model"]
    assert "estimate" not in result


def test_the_estimate_uses_what_was_measured(ws: Workspace, config: TrainingConfig) -> None:
    run = ws.trainings.create(config)
    run.wait(240)
    estimate = ws.trainings.validate(config.to_data())["estimate"]
    if run.record.seconds_running > 1:
        assert estimate["seconds"] > 0
        assert estimate["basis"] == "measured on this device"
