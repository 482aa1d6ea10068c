"""The form is the configuration's schema: labels, bounds and defaults of the models, in the form's sections."""

from typing import Any

import pytest

from saewidgets.config import TextCorpus, TrainingConfig, validate
from saewidgets.config.base import nested
from saewidgets.records import DeviceInfo
from saewidgets.widgets.training_panel.form import GROUPS, SECTIONS, architectures, flatten, form_data, form_fields
from saewidgets.workspace.trainings import demo_config

# The wording of the specification: tests and screen readers find fields by it.
LABELS = {
    "model": "Model", "corpus": "Dataset", "context_size": "Context length", "precision": "Precision",
    "hook_name": "Hook name", "sae.architecture": "Architecture", "sae.d_sae": "Latents (d_sae)",
    "sae.k": "Active latents (k)", "name": "Name", "tokens": "Tokens", "batch_size": "Batch size",
    "optimizer.lr": "Learning rate", "device": "Device", "seed": "Seed", "sae.l1_coefficient": "Sparsity coefficient",
    "sae.l0_coefficient": "Sparsity coefficient", "sae.bandwidth": "Bandwidth", "sae.aux_k": "Auxiliary k",
}  # fmt: skip


def by_name() -> dict[str, Any]:
    return {field.name: field for field in form_fields()}


def test_labels_are_those_of_the_specification() -> None:
    found = by_name()
    assert {name: found[name].label for name in LABELS} == LABELS


def test_every_setting_of_the_configuration_is_in_the_form_once() -> None:
    names = [field.name for field in form_fields()]
    assert len(names) == len(set(names))
    wanted = set()
    for name, model in architectures().items():
        sae = model(architecture=name)
        read, written = "blocks.2.mlp.hook_in", "blocks.2.hook_mlp_out"
        hooks = (read, written) if sae.is_transcoder else (read, None)
        config = TrainingConfig(sae=sae, hook_name=hooks[0], hook_name_out=hooks[1])
        wanted |= set(flatten(config.to_data()))
    never_asked = {"version", "sae.normalize_activations", "sae.reshape_activations", "sae.d_out"}
    assert set(names) == wanted - never_asked


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sae.k", {"architectures": ("topk", "batchtopk", "matryoshka")}),
        ("sae.l1_coefficient", {"architectures": ("standard", "gated", "skip", "transcoder", "skip_transcoder")}),
        ("sae.bandwidth", {"architectures": ("jumprelu",)}),
        ("sae.d_sae", {"architectures": ()}),
        ("sae.tanh_scale", {"needs": "sae.sparsity_loss=tanh"}),
        ("activations.prepend_bos", {"needs": "text"}),
        ("tokens", {"type": "integer", "minimum": 1}),
        ("optimizer.lr", {"type": "number", "maximum": 1}),
        ("optimizer.grad_clip", {"optional": True}),
        ("activations.prepend_bos", {"type": "boolean"}),
        ("seed", {"maximum": None}),  # 2**63 - 1 is not a number the page can hold
        ("context_size", {"maximum": None}),  # how much that is depends on the model
        ("precision", {"choices": ("float32", "bfloat16", "float16"), "words": ("fp32", "bf16", "fp16")}),
        ("sae.sparsity_loss", {"words": ("Step (L0)", "Tanh", "L1", "Quadratic (target L0)")}),
        ("checkpoints.best_metric", {"words": ("FVU", "Loss", "CE recovered", "MSE")}),
        ("sae.widths", {"type": "text", "optional": True, "architectures": ("matryoshka",)}),
        ("model_device", {"empty": "the same"}),
        ("model_compile", {"empty": "not compiled"}),
        ("activations.buffer_device", {"empty": "with the SAE"}),
    ],
)
def test_what_a_field_is(name: str, shown: dict[str, Any]) -> None:
    field = by_name()[name]
    assert {key: getattr(field, key) for key in shown} == shown
    assert field.help.endswith(".")
    assert "empty" not in shown or "Empty" not in field.help  # a list has a choice for it


def test_every_field_has_help_and_a_word_for_each_choice() -> None:
    assert [field.name for field in form_fields() if not field.help or len(field.words) != len(field.choices)] == []
    assert "transcoder" not in by_name()["sae.apply_b_dec_to_input"].architectures
    assert by_name()["from_pretrained"].help.endswith("Empty: random weights.")  # a field to write in


def test_fields_shared_by_architectures_mean_the_same_in_each() -> None:
    for field in form_fields():
        if not field.name.startswith("sae.") or field.name == "sae.architecture":
            continue
        key = field.name.removeprefix("sae.")
        owners = [model for name, model in architectures().items() if name in (field.architectures or architectures())]
        assert len({(m.model_fields[key].title, repr(m.model_fields[key].default)) for m in owners}) == 1, field.name


def test_the_form_starts_with_a_valid_configuration() -> None:
    data = form_data((DeviceInfo(id="cpu", label="cpu"),), {"model": ["demo", "gpt2"]})
    shown = [each.name for each in data.fields if not each.architectures or "topk" in each.architectures]
    config = TrainingConfig().replace(**{name: data.defaults[name] for name in shown})
    demo = demo_config()
    suggested = ("sae.d_sae", "tokens", "batch_size", "optimizer.lr")
    assert config == TrainingConfig().replace(**{name: flatten(demo.to_data())[name] for name in suggested})
    assert config == TrainingConfig.from_data(nested({name: data.defaults[name] for name in shown}))  # of version 2
    assert data.suggestions["model"] == ("demo", "gpt2")
    named = form_data((), {"corpus": ["demo", "acts_1"]}, None, {"acts_1": "wiki", "acts_2": "other"})
    assert named.stores == {"acts_1": "wiki"}


def test_the_form_suggests_quick_settings_for_the_demo_model() -> None:
    data = form_data((), {})
    assert (data.defaults["model"], data.defaults["sae.d_sae"], data.defaults["tokens"]) == ("demo", 4096, 2_600_000)
    assert (TrainingConfig().sae.d_sae, TrainingConfig().tokens) == (16_384, 10_000_000)  # of other models
    retried = form_data((), {}, TrainingConfig(tokens=70_000).to_data())
    assert (retried.defaults["tokens"], retried.of_model) == (70_000, {})


def test_lists_of_numbers_are_text_on_the_page() -> None:
    config = TrainingConfig(sae={"architecture": "matryoshka", "d_sae": 1024, "widths": [64, 256]})
    shown = form_data((), {}, config.to_data()).defaults["sae.widths"]
    assert shown == "64, 256"
    assert config.replace(**{"sae.widths": shown}) == config
    _, errors = validate({"sae": {"architecture": "matryoshka", "widths": "64, many"}})
    assert list(errors) == ["sae.widths"]


def test_edit_and_retry_starts_with_the_runs_values() -> None:
    config = TrainingConfig(seed=7, corpus="notes.txt").replace(**{"sae.k": 5})
    defaults = form_data((), {}, config.to_data()).defaults
    assert (defaults["seed"], defaults["corpus"], defaults["sae.k"]) == (7, "notes.txt", 5)
    strings = TrainingConfig(corpus=TextCorpus(strings=["x"]))  # have no text of their own
    assert form_data((), {}, strings.to_data()).defaults["corpus"] == ""


def test_settings_need_settings_that_there_are() -> None:
    found = by_name()
    for field in form_fields():
        other, _, value = field.needs.partition("=")
        other = other.removesuffix("!")
        assert other in {"", "text", *found}
        assert not value or value in found[other].choices


def test_advanced_settings_stand_under_headings_one_after_another() -> None:
    found = by_name()
    assert {name: found[name].section for name in SECTIONS} == SECTIONS
    for name, field in found.items():
        assert (name in SECTIONS) == (field.section != "advanced") == (not field.group), name
    headings = [field.group for field in form_fields() if field.section == "advanced"]
    assert sorted(headings, key=list(dict.fromkeys(GROUPS.values())).index) == headings
    assert found["dead_window_tokens"].group == found["resampling.every_steps"].group == "Dead latents"
