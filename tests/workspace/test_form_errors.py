"""What a form says about a wrong value: the field by its title, the value, what would be right."""

from __future__ import annotations

import math
from typing import Any

import pytest

from saewidgets.config import OptimizerConfig, validate
from saewidgets.errors import ConfigError


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
        ("optimizer.lr", 1e30, "Learning rate is 1e30. Enter a number above 0, at most 1; 3e-4 is usual."),
        ("optimizer.lr", 0, "Learning rate is 0. Enter a number above 0, at most 1; 3e-4 is usual."),
        ("optimizer.lr", 1.0000001, "Learning rate is 1.0000001. Enter a number above 0, at most 1; 3e-4 is usual."),
        ("optimizer.lr", "abc", 'Learning rate is "abc". Enter a number above 0, at most 1; 3e-4 is usual.'),
        ("optimizer.lr", None, "Learning rate is empty. Enter a number above 0, at most 1; 3e-4 is usual."),
        ("optimizer.lr", math.inf, "Learning rate is inf. Enter a number above 0, at most 1; 3e-4 is usual."),
        ("optimizer.beta1", 1, "Beta 1 is 1. Enter a number of at least 0, below 1; 0.9 is usual."),
        ("optimizer.grad_clip", -1, "Gradient clip is -1. Enter a number above 0, or leave it empty; 1 is usual."),
        ("tokens", 0, "Tokens is 0. Enter a whole number of at least 1; 10,000,000 is usual."),
        ("tokens", 1.5, "Tokens is 1.5. Enter a whole number of at least 1; 10,000,000 is usual."),
        ("tokens", 1e30, "Tokens is too large. Enter a whole number of at least 1; 10,000,000 is usual."),
        ("tokens", 10**400, "Tokens is too large. Enter a whole number of at least 1; 10,000,000 is usual."),
        ("seed", 2**70, "Seed is too large. Enter a whole number of at least 0; 0 is usual."),
        ("context_size", 1, "Context length is 1. Enter a whole number from 2 to 1,048,576; 256 is usual."),
        ("sae.k", 0, "Active latents (k) is 0. Enter a whole number of at least 1; 32 is usual."),
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
def test_a_wrong_value_is_named_with_what_would_be_right(name: str, value: Any, text: str) -> None:
    assert sentence(name, value) == text


def test_a_part_built_in_python_says_the_same() -> None:
    with pytest.raises(ConfigError, match=r"Learning rate is 30. Enter a number above 0") as caught:
        OptimizerConfig(lr=30)
    assert caught.value.where == "lr"
