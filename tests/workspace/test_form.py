"""Checking a form: errors by field, hints, estimate; nothing is started."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import NotFoundError
from saewidgets.lm import ModelFacts
from saewidgets.widgets.messages.training import CheckResult
from saewidgets.workspace import Workspace
from saewidgets.workspace.training import form


def test_a_good_form_has_facts_and_an_estimate(ws: Workspace, config: TrainingConfig) -> None:
    result = CheckResult.model_validate(ws.trainings.validate(config.to_data()))
    assert result.fields == {}
    assert result.model is not None
    assert (result.model.layers, result.model.d_model, result.model.context) == (2, 32, 64)
    assert result.hints["layer"] == "0 to 1; several: 0, 1"
    assert result.hints["hook_name"] == "d_in 32"
    assert result.hints["sae.d_sae"] == "2 × d_in"
    assert result.estimate is not None
    assert result.estimate.memory_total_bytes == sum(part.bytes for part in result.estimate.memory)
    assert result.estimate.basis == "estimated"  # nothing was measured here yet
    assert result.estimate.seconds is not None
    assert 0 < result.estimate.seconds < 60
    assert (result.estimate.queue, result.estimate.queue_seconds) == (0, None)
    assert result.hints["device"] == "no training runs on it"
    assert result.pending == ()
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
    data["optimizer"] = {"lr": 1e30}
    result = ws.trainings.validate(data)
    fields = result["fields"]
    assert fields["sae.k"].startswith("k is 65 but d_sae is 64")
    assert fields["optimizer.lr"].startswith("Learning rate is 1e30")
    assert set(fields) == {"hook_name", "context_size", "corpus", "device", "sae.k", "optimizer.lr"}
    assert result["hints"]["tokens"] == "12 steps"
    assert result["hints"]["sae.d_sae"] == "2 × d_in"
    assert "name" not in result  # k stands in it
    fields = ws.trainings.validate(config.to_data() | {"model_revision": "main"})["fields"]
    hint = "Leave Model revision empty, or name the model of the hub."
    assert fields == {"model_revision": f"{config.model} is a folder, which has no revisions. {hint}"}
    assert "embedded" in ws.trainings.validate({"model_revision": "main"})["fields"]["model_revision"]


@pytest.mark.parametrize("wrong", [{"optimizer": {"lr": 1e30}}, {"optimizer": 5}, {"seed": -1}, {"unknown": 1}])
def test_a_value_out_of_range_hides_nothing_else(
    ws: Workspace, config: TrainingConfig, wrong: dict[str, Any]
) -> None:
    good = ws.trainings.validate(config.to_data())
    result = ws.trainings.validate(config.to_data() | wrong)
    assert len(result["fields"]) == 1
    assert {**result["hints"], "device": ""} == {**good["hints"], "device": ""}
    assert (result["name"], result["model"]) == (good["name"], good["model"])
    assert "estimate" not in result
    both = ws.trainings.validate(config.to_data() | wrong | {"gradient_accumulation": 3})
    assert len(both["fields"]) == 2
    assert both["fields"]["gradient_accumulation"].startswith("A batch of 64 cannot be split into 3")


@pytest.mark.parametrize("value", [1, 2_000_000, "many"])
def test_hint_and_error_of_the_context_length_name_the_same_limit(
    ws: Workspace, config: TrainingConfig, value: Any
) -> None:
    result = ws.trainings.validate(config.to_data() | {"context_size": value})
    assert result["hints"]["context_size"] == "at most 64"
    assert result["fields"]["context_size"].endswith(" Enter a whole number from 2 to 64.")


def test_a_rule_about_two_fields_waits_for_the_other_one(ws: Workspace, config: TrainingConfig) -> None:
    result = ws.trainings.validate(config.to_data() | {"batch_size": -5})  # 768 tokens do fill a batch of nothing known
    assert set(result["fields"]) == {"batch_size"}
    assert "tokens" not in result["hints"]
    assert result["name"]
    data = config.to_data()
    data["sae"] = {"architecture": "batchtopk", "d_sae": 0, "k": 4}
    result = ws.trainings.validate(data)
    assert set(result["fields"]) == {"sae.d_sae"}
    assert result["name"].endswith("batchtopk-k4")
    data["sae"] = {"architecture": "topk", "d_sae": 8, "k": 0}  # the default k does not fit either
    assert set(ws.trainings.validate(data)["fields"]) == {"sae.k"}
    assert set(ws.trainings.validate({"sae": 5, "corpus": 5, "model": ""})["fields"]) == {"sae", "corpus", "model"}


def test_an_unknown_model_is_said_at_its_field(ws: Workspace, config: TrainingConfig) -> None:
    data = config.to_data() | {"model": "no/such-model"}
    result = settled(ws, data)
    assert result["fields"]["model"].startswith("no/such-model: ")
    assert "the model is not on this machine" in result["fields"]["model"]
    assert "estimate" not in result


def test_heads_are_counted_and_a_single_one_is_narrower(ws: Workspace, config: TrainingConfig) -> None:
    data = config.to_data()
    found = CheckResult.model_validate(ws.trainings.validate(data | {"hook_name": "blocks.1.attn.hook_z.1"}))
    assert found.fields == {}
    assert found.model is not None
    assert (found.model.heads, found.model.d_in) == (2, 16)
    assert (found.hints["head"], found.hints["hook_name"]) == ("0 to 1; empty: all", "d_in 16")
    wrong = ws.trainings.validate(data | {"hook_name": "blocks.1.attn.hook_z.2"})["fields"]
    assert wrong.keys() == {"hook_name"}
    assert wrong["hook_name"].startswith("Head 2 does not exist")


def settled(ws: Workspace, data: dict[str, Any]) -> dict[str, Any]:
    """As a page does: ask again while something is being looked up."""
    deadline = time.monotonic() + 120
    while (result := ws.trainings.validate(data)).get("pending"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


class SlowHub:
    """In place of `model_facts`: every question takes until `answer` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()
        self.fails = True
        monkeypatch.setattr("saewidgets.lm.model_facts", self)
        monkeypatch.setattr(form, "_facts", form._FactsCache())
        monkeypatch.setattr(form, "_PATIENCE", 0.05)

    def __call__(self, name: str, *, revision: str | None = None) -> ModelFacts:
        self.asked.append(name)
        self.answer.wait(60)
        if self.fails:
            raise NotFoundError("Hugging Face cannot be reached.", where=name, hint="Connect to the network.")
        return ModelFacts(name, "gpt2", 6, 64, 1000, 128, 500_000)


def test_a_slow_hub_holds_nothing_else_up(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = SlowHub(monkeypatch)
    data = config.to_data() | {"model": "some/model", "corpus": "no-such.txt", "seed": -1}
    begin = time.monotonic()
    result = CheckResult.model_validate(ws.trainings.validate(data))
    assert time.monotonic() - begin < 5
    assert result.hints["model"] == "looking up some/model …"
    assert result.pending == ("model",)
    assert set(result.fields) == {"corpus", "seed"}
    assert result.hints["tokens"] == "12 steps"
    ws.trainings.validate(data)
    assert hub.asked == ["some/model"]
    hub.answer.set()
    result = CheckResult.model_validate(settled(ws, data))
    assert result.pending == ()
    assert result.fields["model"] == "some/model: Hugging Face cannot be reached. Connect to the network."
    assert hub.asked == ["some/model"]
