"""What the trainings of a group have in common, where that is no whole configuration by itself."""

from typing import Any

import pytest

from saewidgets.config import JumpReLUConfig, StandardConfig, TopKConfig, TrainingConfig
from saewidgets.config.group import base_of, expand
from saewidgets.errors import ConfigError

PAIRS = [[f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out"] for layer in (1, 3)]
OVER = {"hook_name, hook_name_out": PAIRS}
TRANSCODER: dict[str, Any] = {"sae": {"architecture": "transcoder", "d_sae": 64}}


def test_outputs_in_several_layers_get_different_names() -> None:
    over = {"hook_name_out": [f"blocks.{layer}.hook_mlp_out" for layer in (1, 2)]}
    configs = expand(base_of({**TRANSCODER, "hook_name": "blocks.1.mlp.hook_in"}, over), over)
    assert [config.name for config in configs] == [
        "demo-l1-transcoder-in-mlp_out", "demo-l1-transcoder-in-l2-mlp_out",
    ]  # fmt: skip


def test_architectures_that_change_complete_a_base_of_an_output_too() -> None:
    over = {"sae.architecture": ["transcoder", "skip_transcoder"]}
    data = {
        "hook_name": PAIRS[0][0],
        "hook_name_out": PAIRS[0][1],
        "sae": {"architecture": "topk", "d_sae": 32, "k": 4},
    }
    configs = expand(base_of(data, over), over)
    assert [(each.sae.architecture, each.sae.d_sae) for each in configs] == [
        ("transcoder", 32), ("skip_transcoder", 32),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "over", "where"),
    [
        (TRANSCODER, {}, "hook_name_out"),
        (TRANSCODER, {"sae.d_sae": [8, 16]}, "hook_name_out"),
        ({**TRANSCODER, "optimizer": {"lr": 0}}, OVER, "optimizer.lr"),
        (TRANSCODER, {"hook_name, hook_name_out": [["x", "blocks.1.hook_mlp_out"]]}, "hook_name"),
        (TRANSCODER, {"nothing": [1]}, "over"),
        (TRANSCODER, {"hook_name_out": []}, "over"),
        ({"sae": {"architecture": "transcoder"}, "hook_name": "x"}, {"hook_name.y": [1]}, "hook_name.y"),
    ],
)
def test_errors_left_in_the_base_are_named(data: dict[str, Any], over: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        base_of(data, over)
    assert caught.value.where == where


@pytest.mark.parametrize(
    "data",
    [
        {"tokens": 100}, {"batch_size": 0}, {"optimizer": {"lr": -1}}, {"foo": 3}, {"model_dtype": "foo"},
        {"tokens": 20_000, "sae": {"d_sae": 4}}, {"tokens": 100, "sae": {"architecture": "topk"}},
    ],
)  # fmt: skip
def test_errors_of_the_base_read_as_without_a_group(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as alone:
        TrainingConfig.from_data(data)
    with pytest.raises(ConfigError) as caught:
        base_of(data, {"sae.k": [4, 8]})
    assert str(caught.value) == str(alone.value)


def test_runs_of_one_architecture_are_named_by_their_differences() -> None:
    saes = [
        StandardConfig(d_sae=64), StandardConfig(d_sae=64, p_end=0.2), StandardConfig(d_sae=32),
        JumpReLUConfig(d_sae=64), TopKConfig(d_sae=64, k=4), TopKConfig(d_sae=64, k=8),
    ]  # fmt: skip
    names = [config.name for config in expand(TrainingConfig(model="demo"), {"sae": saes})]
    assert names == [
        "demo-l2-standard-d_sae64", "demo-l2-standard-d_sae64-p_end0.2", "demo-l2-standard-d_sae32",
        "demo-l2-jumprelu", "demo-l2-topk-k4", "demo-l2-topk-k8",
    ]  # fmt: skip
    targets: list[dict[str, float]] = [{"fvu": 0.5}, {"fvu": 0.2}]
    names = [config.name for config in expand(TrainingConfig(model="demo"), {"targets": targets})]
    assert len(set(names)) == 2
    assert "{" not in "".join(map(str, names))
