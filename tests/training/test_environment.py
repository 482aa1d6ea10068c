"""Whether a resumed run may go on, and what it says when its bits will differ."""

import json

import pytest

from saewidgets.config import TextCorpus, TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.training.environment import compare, describe_environment, recorded
from saewidgets.training.schedules import with_epochs

CONFIG = TrainingConfig()
NEW = ("start_from_data", "target_l0", "pre_act_coefficient", "threshold_parameter", "unit_norm_from")  # new in 2
HERE = describe_environment("cpu", {"stream": 1, "tokens": "abc", "model_batch_size": 16})


def _state(config=CONFIG, environment=HERE):
    return json.loads(json.dumps({"config": recorded(config), "environment": environment}))


FORMER = {
    "topk": {"unit_norm_from": None},
    "gated": {"l1_coefficient": 1.0, "pre_act_coefficient": None},
    "jumprelu": {
        "l0_coefficient": 1.0, "pre_act_coefficient": None, "threshold_parameter": "log", "initial_threshold": 0.01
    },
}  # fmt: skip


@pytest.mark.parametrize("architecture", FORMER)
def test_a_run_of_before_version_2_keeps_its_numbers_and_resumes(architecture):
    former, said = FORMER[architecture], {"sae": {"architecture": architecture}}
    config = TrainingConfig(version=1, **said)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.normalize_decoder_every, optimizer.project_decoder_grad) == (3e-4, 1, True)
    assert (config.learning_rate, config.dead_window, config.sae.start_from_data) == (3e-4, 1_000_000, False)
    assert config.sae.to_data().items() >= former.items()
    state = _state(config)
    del state["config"]["version"]
    state["config"]["sae"] = {name: value for name, value in state["config"]["sae"].items() if name not in NEW}
    assert TrainingConfig.from_data(state["config"]) == config
    assert compare(state, config, HERE) is None
    assert TrainingConfig.from_data(config.replace(seed=3).to_data()).replace(seed=0) == config
    new = TrainingConfig.from_data({**said, "optimizer": {"lr": 1e-3}, "seed": 1})  # no version, not every setting
    assert (new.version, new.optimizer.normalize_decoder_every, new.sae.start_from_data) == (2, None, True)
    assert all(new.sae.to_data()[name] != value for name, value in former.items())


def test_an_earlier_run_in_epochs_has_the_momentum_of_its_length():
    sae = {"architecture": "batchtopk", "threshold_momentum": None}
    queued = TrainingConfig.from_data({"version": 1, "epochs": 0.5, "batch_size": 100, "sae": sae})
    config = with_epochs(queued, 100_000)
    assert (queued.sae.threshold_momentum, config.sae.threshold_momentum) == (None, 1 - 10 / 500)
    before = _state(config)
    before["config"]["sae"]["threshold_momentum"] = None  # as that version recorded it
    assert compare(before, config, HERE) is None
    assert with_epochs(queued.replace(**{"sae.threshold_momentum": 0.9}), 100_000).sae.threshold_momentum == 0.9
    assert TrainingConfig(version=1).optimizer.lr == 3e-4  # nothing else need be given


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"}, {"tokens": 20_000_000}, {"log_every_steps": 3}, {"evaluation.tokens": 512},
        {"checkpoints.keep_every": True}, {"model_device": "cuda:1"}, {"activations.buffer_device": "cpu"},
        {"activations.read_ahead": "on"}, {"model_compile": "default"},
    ],
)
def test_what_only_decides_about_showing_and_keeping_may_change(changes):
    assert compare(_state(), CONFIG.replace(**changes), HERE) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "gpt2"), ("batch_size", 2048), ("seed", 5), ("hook_name", "blocks.1.hook_mlp_out"),
        ("sae.d_sae", 8192), ("activations.prepend_bos", False), ("corpus.files", ("a.txt",)),
    ],
)
def test_what_would_make_it_another_run_is_refused(field, value):
    changed = CONFIG.replace(corpus="b.txt") if field == "corpus.files" else CONFIG.replace(**{field: value})
    before = CONFIG.replace(corpus="a.txt") if field == "corpus.files" else CONFIG
    with pytest.raises(ConfigError) as caught:
        compare(_state(before), changed, HERE)
    assert caught.value.where == field
    assert "Start a new training" in caught.value.hint


def test_text_held_in_memory_is_recorded_by_its_hash():
    text = "a long novel " * 100_000
    before = CONFIG.replace(corpus=TextCorpus(strings=(text, "b")))
    assert len(json.dumps(recorded(before))) < 10_000
    assert compare(_state(before), before, HERE) is None
    for other in ((text, "c"), (text + "b",), ("b", text)):
        with pytest.raises(ConfigError) as caught:
            compare(_state(before), CONFIG.replace(corpus=TextCorpus(strings=other)), HERE)
        assert caught.value.where == "corpus.strings"


def test_a_changed_sae_device_or_compilation_is_named():
    layout = {"device": "cuda", "device_name": "H200"}
    here = describe_environment("cpu", layout)
    assert compare(_state(environment=here), CONFIG, here) is None
    note = compare(_state(environment={**here, "sae_device": "H200"}), CONFIG, here)
    assert note == f"The continuation will not be bit-identical: sae_device was H200 and is {here['sae_device']}."
    note = compare(_state(environment=here), CONFIG, describe_environment("cpu", layout, "default"))
    assert "model_compiled was no and is default" in note
    older = {name: value for name, value in here.items() if name not in ("sae_device", "model_compiled")}
    assert compare(_state(environment=older), CONFIG, here) is None
