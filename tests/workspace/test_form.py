"""Checking a form: errors by field, hints, estimate, what a model does not have; nothing is started."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TrainingConfig, validate
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.lm import ModelFacts
from saewidgets.widgets.messages.training import CheckResult
from saewidgets.workspace import Workspace
from saewidgets.workspace.training import form
from tests.workspace.conftest import PATIENCE


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
    small = ws.trainings.validate({**data, "sae": {"architecture": "topk", "d_sae": 16, "k": 32}})["fields"]
    assert small["sae.d_sae"].startswith("d_sae is 16 but k is 32. Enter at least 32")  # k is the usual one
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


def test_heads_are_counted_and_a_single_one_is_narrower(ws: Workspace, config: TrainingConfig) -> None:
    data = config.to_data()
    found = CheckResult.model_validate(ws.trainings.validate(data | {"hook_name": "blocks.1.attn.hook_z.1"}))
    assert found.fields == {}
    assert found.model is not None
    assert (found.model.heads, found.model.d_in) == (2, 16)
    assert (found.hints["head"], found.hints["hook_name"]) == ("0 to 1; empty: all", "d_in 16")


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
        monkeypatch.setattr(form, "_lookups", {})
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


def sentence(name: str, value: Any) -> str:
    data: dict[str, Any] = {}
    target = data
    *path, last = name.split(".")
    for part in path:
        target = target.setdefault(part, {})
    target[last] = value
    if path == ["sae"] and last != "architecture":
        target["architecture"] = "topk"
    config, fields = validate(data)
    assert config is None
    return fields[name]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("optimizer.lr", 1e30, "Learning rate is 1e30. Enter a number above 0, at most 1, or leave it empty."),
        ("optimizer.lr", "abc", 'Learning rate is "abc". Enter a number above 0, at most 1, or leave it empty.'),
        ("optimizer.beta1", None, "Beta 1 is empty. Enter a number of at least 0, below 1; 0.9 is usual."),
        ("optimizer.grad_clip", -1, "Gradient clip is -1. Enter a number above 0, or leave it empty; 1 is usual."),
        ("tokens", 1.5, "Tokens is 1.5. Enter a whole number of at least 1; 10,000,000 is usual."),
        ("tokens", 10**400, "Tokens is too large. Enter a whole number of at least 1; 10,000,000 is usual."),
        ("context_size", 1, "Context length is 1. Enter a whole number from 2 to 1,048,576; 256 is usual."),
        ("precision", "foo", 'Precision is "foo". Choose float32, bfloat16 or float16.'),
        (
            "sae.architecture", "foo",
            (
                'Architecture is "foo". Choose standard, topk, batchtopk, matryoshka, jumprelu, gated, skip, '
                "transcoder or skip_transcoder."
            ),
        ),
        ("activations.prepend_bos", "maybe", 'Start contexts with BOS is "maybe". Enter yes or no.'),
        ("name", "x" * 200, "Name has 200 characters. Enter at most 120."),
        ("model", "", 'Model is empty. Enter some text; "demo" is usual.'),
    ],
)
def test_errors_suggest_valid_values(name: str, value: Any, text: str) -> None:
    assert sentence(name, value) == text


_PAIR = {"hook_name": "blocks.0.mlp.hook_in", "sae": {"architecture": "transcoder", "d_sae": 32}}


def untouched(ws: Workspace) -> bool:
    return not ws.trainings.list() and not ws.jobs.list() and not list(ws.folder.glob("trainings/*"))


@pytest.mark.parametrize(
    ("changes", "kind", "field", "words"),
    [
        ({"hook_name": "blocks.7.hook_resid_post"}, ConfigError, "hook_name", "Layer 7 does not exist: .* 0 to 1"),
        ({**_PAIR, "hook_name_out": "blocks.2.hook_mlp_out"}, ConfigError, "hook_name_out", "Layer 2 does not exist"),
        ({"context_size": 65}, ConfigError, "context_size", "65 tokens do not fit: .* at most 64"),
        ({"device": "cuda:9"}, ConfigError, "device", "There is no device 'cuda:9'"),
        ({"hook_name": "blocks.1.attn.hook_z.2"}, ConfigError, "hook_name", "Head 2 does not exist: .* has heads 0 to"),
    ],
)
def test_what_the_model_does_not_have_is_refused_without_its_weights(
    ws: Workspace, config: TrainingConfig, changes: dict[str, Any], kind: type[SAEWidgetsError], field: str, words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", refuse)
    with pytest.raises(kind, match=words) as caught:
        ws.trainings.create(config.replace(**changes))
    assert caught.value.where == field
    assert untouched(ws)


def test_a_model_that_was_handed_in_is_asked_itself(
    ws: Workspace, config: TrainingConfig, given: dict[str, Any]
) -> None:
    config = config.replace(model="a name of mine")
    with pytest.raises(ConfigError, match="a name of mine has layers 0 to 1"):
        ws.trainings.create(config.replace(hook_name="blocks.2.hook_resid_post"), **given)
    with pytest.raises(ConfigError, match="reads at most 64"):
        ws.trainings.create(config.replace(context_size=128), **given)
    assert untouched(ws)


def test_a_retry_whose_model_is_gone(ws: Workspace, config: TrainingConfig, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(config.model, folder)
    run = ws.trainings.create(config.replace(model=str(folder)))
    run.cancel()
    run.wait(PATIENCE)
    shutil.rmtree(folder)
    with pytest.raises(NotFoundError, match="There is no such folder"):
        run.retry()
    assert [record.id for record in ws.trainings.list()] == [run.id]


LONG = "some text of a few words " * 40  # no file system takes it for a name


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ([LONG, "more"], r"some text .*…'\. .* goes into TextCorpus\(strings=\[\.\.\.\]\)"),
        (LONG, r"TextCorpus\(strings"),
        (["two words"], r"no file or folder 'two words'.*TextCorpus\(strings"),
        ("a\0b", "no file or folder"),
        ({"kind": "tokens", "source": LONG}, "no file or folder"),
        ("./acts_nope", "no file or folder"),
        ("acts_nope", r"named by its whole id: see ws\.activations\.list\(\)"),
    ],
)
def test_a_text_in_place_of_its_path(ws: Workspace, config: TrainingConfig, corpus: Any, words: str) -> None:
    data = {**config.to_data(), "corpus": corpus}
    with pytest.raises(NotFoundError, match=words) as caught:
        ws.trainings.create(data)
    assert caught.value.where == "corpus"
    assert len(str(caught.value)) < 400
    assert ws.trainings.validate(data)["fields"] == {"corpus": f"{caught.value.what} {caught.value.hint}"}
    with pytest.raises(NotFoundError, match=words):
        ws.activations.capture(config.model, TrainingConfig(corpus=corpus).corpus, [config.hook_name], 512)
    assert untouched(ws)


def test_validate_and_create_take_the_same_arguments(ws: Workspace, config: TrainingConfig) -> None:
    own, of_data = ws.trainings.validate(config), ws.trainings.validate(config.to_data())
    for found in (own, of_data):
        assert found.pop("estimate")  # free memory changes from one to the other
    assert own == of_data
    assert own["fields"] == {}
    for wrong in (None, "demo", [config]):
        for takes in (ws.trainings.validate, ws.trainings.create):
            with pytest.raises(ConfigError, match="Give a TrainingConfig"):
                takes(wrong)  # type: ignore[arg-type]
    assert untouched(ws)


def test_many_slow_questions_do_not_pile_up_and_answers_are_kept_for_a_while(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = SlowHub(monkeypatch)
    for number in range(form._MOST_LOOKUPS + 3):
        result = ws.trainings.validate(config.to_data() | {"model": f"some/model-{number}"})
        assert result["pending"] == ("model",)
    assert len(hub.asked) == form._MOST_LOOKUPS
    hub.answer.set()
    data = config.to_data() | {"model": f"some/model-{number}"}
    assert "model" in settled(ws, data)["fields"]
    asked = len(hub.asked)
    monkeypatch.setattr(form, "_ERROR_MAX_AGE", -1.0)  # an error is asked about again, an answer is not
    hub.fails = False
    assert settled(ws, data)["model"]["layers"] == 6
    assert settled(ws, data)["fields"] == {}
    assert len(hub.asked) == asked + 1


@pytest.mark.parametrize(
    ("sae", "found"),
    [
        ({}, "8 in this run"),
        ({"target_l0": 5}, None),
        ({"target_l0": 5, "l1_coefficient": 2}, "of no effect: Sparsity coefficient is given"),
        ({"architecture": "jumprelu", "sparsity_loss": "quadratic", "l0_coefficient": 2}, "8 in this run"),
    ],
)
def test_the_hint_of_target_l0(ws: Workspace, sae: dict[str, Any], found: str | None) -> None:
    data = {"tokens": 2_000_000, "sae": {"architecture": "standard", "d_sae": 64, **sae}}
    checked = ws.trainings.validate(data)
    assert (checked["hints"].get("sae.target_l0"), checked["warned"]) == (found, ())
    if not sae:
        short = ws.trainings.validate({**data, "tokens": 100_000})
        assert short["hints"]["sae.target_l0"].startswith("Too few steps (24)")
        assert short["warned"] == ("sae.target_l0",)
