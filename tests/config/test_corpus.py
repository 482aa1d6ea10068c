"""What a person may write for a corpus and a hook name, and what is refused before anything is read."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.cli.configfile import build_config
from saewidgets.config import DemoCorpus, HubCorpus, TextCorpus, TokensCorpus, TrainingConfig, TranscoderConfig
from saewidgets.config.corpus import parsed, typed
from saewidgets.config.hook_names import computed_before
from saewidgets.errors import ConfigError
from saewidgets.lm import capture, hook_points
from tests.lm.models import FAMILIES, LAYERS, family


def _corpus(value: Any) -> Any:
    return TrainingConfig(corpus=value).corpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo", DemoCorpus()),
        (" demo ", DemoCorpus()),
        ("data/notes.txt", TextCorpus("data/notes.txt")),
        ("./owner/name", TextCorpus("./owner/name")),
        ("/owner/name", TextCorpus("/owner/name")),
        ("~/name", TextCorpus("~/name")),
        ("a/b/c", TextCorpus("a/b/c")),
        ("notes", TextCorpus("notes")),
        ("owner/name", HubCorpus("owner/name")),
        ("wikimedia/wikipedia:20231101.en", HubCorpus.wikipedia()),
        ("owner/name@refs/convert/parquet", HubCorpus("owner/name", revision="refs/convert/parquet")),
        ("owner/name:de:test", HubCorpus("owner/name", name="de", split="test")),
        ("owner/name::test", HubCorpus("owner/name", split="test")),
        ("hf://datasets/owner/name@main:de", HubCorpus("owner/name", revision="main", name="de")),
        ("tokens:ids.npy", TokensCorpus("ids.npy")),
        ("tokens:owner/name@main:de:test", TokensCorpus("owner/name", revision="main", name="de", split="test")),
    ],
)
def test_parses_typed_corpora(text: str, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = _corpus(text)
    assert found == expected
    again = typed(found.to_data())
    assert again is not None
    assert _corpus(again) == found
    assert type(found).from_data(found.to_data()) == found


def test_a_local_folder_takes_precedence_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _corpus("owner/name") == HubCorpus("owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert _corpus("owner/name") == TextCorpus("owner/name")
    assert _corpus("hf://datasets/owner/name") == HubCorpus("owner/name")


def test_paths_and_lists() -> None:
    assert _corpus(Path("owner/name")) == TextCorpus("owner/name")
    assert _corpus(["a.txt", Path("b")]) == TextCorpus(["a.txt", "b"])
    assert typed(TextCorpus(["a", "b"]).to_data()) is None
    assert typed(TextCorpus("a", text_field="body").to_data()) is None
    assert typed(HubCorpus("a/b", text_field="body").to_data()) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: _corpus(""), "dataset is missing"),
        (lambda: _corpus("hf://owner/name"), "not the address of a dataset"),
        (lambda: _corpus("hf://datasets/owner/name/file.parquet"), "not the address of a dataset"),
        *[(lambda wrong=wrong: TextCorpus(wrong), "files: Expected a list of file") for wrong in (5, b"x", {"a": 1})],
        (lambda: _corpus(["a.txt", 5]), "corpus.files.1: .* is 5"),
        (lambda: HubCorpus("name"), "not the name of a dataset"),
        (lambda: HubCorpus("../../etc"), "not the name of a dataset"),
        (lambda: HubCorpus("a--b/c"), "not the name of a dataset"),
        (lambda: HubCorpus("a/b", revision="../x"), "not a branch, tag or commit"),
        (lambda: HubCorpus("a/b", split="train[:10]"), "split"),
        (lambda: HubCorpus("a/b", trust_remote_code=True), "trust_remote_code"),
        (lambda: HubCorpus.wikipedia("English"), "not a language code"),
        (lambda: HubCorpus.wikipedia(date="2023"), "not a date"),
        (lambda: TokensCorpus(" "), "dataset is missing"),
        (lambda: TokensCorpus("a.npy", name="x"), "has no configuration"),
    ],
)
def test_rejects_invalid_corpora(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_wikipedia_in_other_languages() -> None:
    corpus = HubCorpus.wikipedia("simple", "20220301", revision="a" * 40)
    assert (corpus.path, corpus.name, corpus.commit) == ("wikimedia/wikipedia", "20220301.simple", "a" * 40)
    assert HubCorpus("a/b", revision="main").commit is None


def test_tokens_of_the_hub_and_of_this_machine(tmp_path: Path) -> None:
    corpus = TokensCorpus("owner/name:small", column="ids", revision="v2", split="test")
    assert corpus.hub == HubCorpus("owner/name", name="small", split="test", revision="v2", text_field="ids")
    assert corpus.label == "owner/name:small:test"
    assert TokensCorpus(tmp_path / "a.npy").hub is None
    assert TokensCorpus(tmp_path / "a.npy").label == "a.npy"
    assert parsed("a.npy")["kind"] == "text"


def test_settings_inside_a_corpus_that_was_typed() -> None:
    made = build_config({}, [("corpus", "owner/name:de"), ("corpus.text_field", "body")])
    assert made.corpus == HubCorpus("owner/name", name="de", text_field="body")


ATTENTION = ("attn.hook_z", "hook_attn_out")


@pytest.mark.parametrize("name", FAMILIES)
def test_models_compute_their_hook_points_in_this_order(name: str) -> None:
    model = family(name)
    names = hook_points(model, published=True)
    wanted = [each for each in names if each.startswith("blocks.")]
    order = list(capture(model, wanted, torch.arange(1, 9)[None], stop_early=False))
    assert {int(each.split(".")[1]) for each in order} == set(range(LAYERS))
    for first, second in itertools.combinations(order, 2):
        assert not computed_before(second, first), (first, second)


def test_the_order_of_norm_and_attention_is_unknown_without_the_model() -> None:
    for site in ATTENTION:
        pair = ("blocks.1.ln2.hook_normalized", f"blocks.1.{site}")
        assert not computed_before(*pair)
        assert not computed_before(*reversed(pair))
    assert computed_before("blocks.1.ln2.hook_normalized", "blocks.2.hook_attn_out")


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("blocks.1.hook_resid_post", "blocks.1.hook_mlp_out"),
        ("blocks.1.hook_mlp_out", "blocks.1.mlp.hook_in"),
        ("blocks.2.hook_resid_pre", "blocks.1.hook_resid_post"),
    ],
)
def test_a_transcoder_cannot_reconstruct_earlier_activations(read: str, written: str) -> None:
    with pytest.raises(ConfigError, match=rf"computes {written} before {read}\. .*blocks\.\d\.mlp\.hook_in") as caught:
        TrainingConfig(hook_name=read, hook_name_out=written, sae=TranscoderConfig(d_sae=64))
    assert caught.value.where == "hook_name_out"


def test_the_example_for_a_missing_output_is_of_the_layer_that_is_read() -> None:
    with pytest.raises(ConfigError, match=r"blocks\.3\.mlp\.hook_in and blocks\.3\.hook_mlp_out"):
        TrainingConfig(hook_name="blocks.3.hook_resid_pre", sae=TranscoderConfig(d_sae=64))
