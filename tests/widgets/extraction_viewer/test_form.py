"""The dialog Start extraction: what it starts with, and what was typed as a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TextCorpus
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.widgets.extraction_viewer.form import (
    decimal,
    form_fields,
    read_values,
    refuse,
    share,
    shown_share,
    whole,
)


def values_of(**kwargs: Any) -> dict[str, str | bool]:
    return {field.name: field.value for field in form_fields(**kwargs)}


def test_the_fields_have_the_names_of_the_specification() -> None:
    assert [field.label for field in form_fields()] == [
        "Corpus", "Tokens", "Context length", "Examples per feature", "Per interval", "Minimum activation",
        "Skip special tokens", "Skip tokens with norm above 10 × median",
    ]  # fmt: skip
    assert all(field.help for field in form_fields())


def test_they_start_with_the_defaults() -> None:
    found = values_of()
    assert (found["tokens"], found["min_activation"], found["max_norm_ratio"]) == ("1,000,000", "1 % of max", True)
    assert (found["corpus"], found["context_size"]) == ("", "")
    assert read_values(found) == (ExtractionConfig(), {})


def test_they_start_with_what_is_known_of_the_sae() -> None:
    defaults = ExtractionConfig(corpus="demo", context_size=256).to_data()
    found = values_of(defaults=defaults, needs_model=True)
    assert (found["corpus"], found["context_size"], found["model"]) == ("demo", "256", "")


def test_an_extraction_that_is_tried_again_has_more_fields() -> None:
    config = ExtractionConfig(batch_size=64, device="cuda:0", max_norm_ratio=None, min_activation=0.07)
    found = values_of(defaults=config.to_data(), again=True)
    assert (found["batch_size"], found["device"], found["max_norm_ratio"]) == ("64", "cuda:0", False)
    read, errors = read_values(found)
    assert errors == {}
    assert read == config


def test_what_was_typed_is_read(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("a ship", "utf-8")
    config, errors = read_values(
        {
            "corpus": f" {text} ", "tokens": "1M", "context_size": "", "examples": "1,000", "per_interval": "0",
            "min_activation": "5 % of max", "exclude_special_tokens": False, "max_norm_ratio": False,
        }
    )  # fmt: skip
    assert errors == {}
    assert config is not None
    assert config.corpus == TextCorpus(str(text))
    assert (config.tokens, config.examples, config.min_activation) == (1_000_000, 1000, 0.05)
    assert (config.context_size, config.exclude_special_tokens, config.max_norm_ratio) == (None, False, None)


@pytest.mark.parametrize(
    ("name", "typed", "sentence"),
    [
        ("tokens", "0", "Tokens is 0. Enter a whole number of at least 1; 1,000,000 is usual."),
        ("tokens", "", "Tokens is missing. 1,000,000 is usual."),
        ("tokens", "many", "“many” is not a whole number. 1,000,000 is usual."),
        ("examples", "1M", "Examples per feature is 1,000,000. Enter a whole number from 1 to 1,000; 20 is usual."),
        ("context_size", "1.5", "“1.5” is not a whole number. 128 is usual."),
        ("min_activation", "much", "“much” is not a share. Enter one such as 1 % of max, or 0."),
        ("min_activation", "100 %", "Minimum activation is 1. Enter a number of at least 0, below 1; 0.01 is usual."),
        ("corpus", "a\0b", 'Corpus is "a\\x00b", which holds a null character. Remove it.'),
        ("model", "a\0b", 'Model is "a\\x00b", which holds a null character. Remove it.'),
        ("model", "a\ud800", "Model holds half a surrogate pair. Remove it."),
        ("made_up", "1", "There is no such setting."),
    ],
)
def test_errors_stand_at_their_field(name: str, typed: Any, sentence: str) -> None:
    config, errors = read_values({"corpus": "demo", name: typed})
    assert config is None
    assert errors == {name: sentence}


def test_all_errors_are_told_at_once() -> None:
    config, errors = read_values({"corpus": "/nowhere/text.txt", "tokens": "x", "examples": "0"})
    assert config is None
    assert set(errors) == {"corpus", "tokens", "examples"}
    assert 'no file or folder "/nowhere/text.txt"' in errors["corpus"]
    error = refuse(errors)
    assert error.what == "3 fields need attention."
    assert error.fields == errors
    assert refuse({"a": "b"}).what == "1 field needs attention."


def test_hostile_text_is_an_error_and_is_shown_harmlessly() -> None:
    for typed in ("a\0b", "~nobody/x", "x" * 5000, "\x1b[31m/nowhere"):
        config, errors = read_values({"corpus": typed})
        assert config is None
        assert "\x1b" not in errors["corpus"]
        assert len(errors["corpus"]) < 400


def test_a_corpus_that_no_text_stands_for_stays() -> None:
    before = ExtractionConfig(corpus=TextCorpus(strings=["a ship"])).to_data()
    config, errors = read_values({"corpus": ""}, before)
    assert errors == {}
    assert config is not None
    assert config.corpus == TextCorpus(strings=["a ship"])


# What is typed means the same here as on the page (`js/tests/lib/format.test.ts`).


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000,000", 1_000_000), (" 1M ", 1_000_000), ("1.5k", 1500), ("16_384", 16_384), ("16 384", 16_384),
        ("-3", -3), ("1.5", None), ("", None), ("abc", None), ("1e6", 1_000_000), ("2.5E+3", 2500),
        ("1e-3", None), ("1,5M", None), ("16, 32", None), ("1,2", None), ("1,0000", None), ("0,001", None),
        ("9" * 17, None), ("9" * 5000, None),
        ("0.0000001m", None), ("²", None),
    ],
)  # fmt: skip
def test_whole_numbers(text: str, value: int | None) -> None:
    assert whole(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4), ("1,000.5", 1000.5), (".5", 0.5), ("5.", 5.0), ("0,001", None), ("2,5", None),
        ("1,000,00", None), ("1.1,000", None), ("nan", None), ("1e99999", None),
    ],
)  # fmt: skip
def test_numbers(text: str, value: float | None) -> None:
    assert decimal(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 % of max", 0.01), ("1%", 0.01), ("0.01", 0.01), ("0.01 of max", 0.01), ("2.5 % of the maximum", 0.025),
        ("0", 0.0), ("7 % of max", 0.07), ("% of max", None), ("1 % of mean", None), ("", None), ("of max", None),
    ],
)  # fmt: skip
def test_shares(text: str, value: float | None) -> None:
    assert share(text) == value


@pytest.mark.parametrize("value", [0.01, 0.07, 0.3, 0.0, 1e-5, 0.123456])
def test_a_share_that_is_shown_is_read_again(value: float) -> None:
    assert share(shown_share(value)) == value
