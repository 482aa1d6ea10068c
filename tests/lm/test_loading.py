"""Loading by name, taking a model as it is, and what is known of a model before its weights are."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub import errors as hub

from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.lm import (
    HookError,
    forward,
    hook_points,
    load_model,
    load_tokenizer,
    loading,
    model_config,
    model_facts,
    model_info,
    wrap_model,
)
from saewidgets.lm.model_config import ConfigSizes, stated_sizes
from tests.lm.models import CONFIGS, FAMILIES, LAYERS, build, family, token_ids


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def _response(status: int) -> object:
    return httpx.Response(status, request=httpx.Request("GET", "https://example.org"))


def test_a_local_folder(tiny_model_folder: Path) -> None:
    lm = load_model(str(tiny_model_folder))
    assert (lm.d_model, lm.n_layers, lm.context, lm.vocab_size) == (32, 2, 64, 300)
    assert lm.dtype == torch.float32
    assert lm.device == torch.device("cpu")
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert lm.tokenizer.bos_token_id == 0
    assert len(hook_points(lm.model)) == 8


def test_the_embedded_model_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # a folder is "./demo"
    lm, facts = load_model("demo"), model_facts("demo")
    assert (lm.name, lm.n_layers, lm.d_model) == (facts.name, facts.n_layers, facts.d_model) == ("demo", 4, 256)
    assert load_tokenizer("demo").vocab_size == lm.vocab_size == facts.vocab_size
    with pytest.raises(NotFoundError, match="not a saved model"):
        load_model("./demo")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_loads_from_its_folder(name: str, tiny_tokenizer_folder: Path, tmp_path: Path) -> None:
    model = family(name)
    model.save_pretrained(tmp_path)
    shutil.copytree(tiny_tokenizer_folder, tmp_path, dirs_exist_ok=True)
    lm, facts = load_model(str(tmp_path)), model_facts(str(tmp_path))
    assert type(lm.model) is type(model)
    assert lm.is_causal != facts.is_encoder
    assert (facts.n_layers, facts.d_model, facts.context) == (lm.n_layers, lm.d_model, lm.context)
    assert facts.parameters == sum(p.numel() for p in lm.model.parameters())
    assert facts.architecture == model.config.model_type
    torch.testing.assert_close(forward(lm.model, token_ids()).logits, forward(model, token_ids()).logits)


def test_loading_prints_nothing_and_leaves_bars_as_they_were(
    tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    load_model(str(tiny_model_folder))
    assert logging.is_progress_bar_enabled() == before
    assert capfd.readouterr().err == ""


def test_a_model_object_is_not_copied_moved_or_changed() -> None:
    model = build("gpt2").train()
    model.transformer.h[1].eval()
    modes = [m.training for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    tokenizer = object()
    lm = wrap_model(model, tokenizer)
    assert lm.model is model
    assert lm.tokenizer is tokenizer
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == grads
    assert (lm.d_model, lm.n_layers, lm.context, lm.name) == (32, 3, 64, "GPT2LMHeadModel")
    assert wrap_model(model, tokenizer, name="mine").name == "mine"


def test_of_a_compiled_model_the_model_inside_is_read() -> None:
    model = build("gpt2")
    assert wrap_model(torch.compile(model, backend="eager"), object()).model is model
    model.transformer.h[0].compile(backend="eager")
    with pytest.raises(ConfigError, match="was compiled in place"):
        wrap_model(model, object())


def test_what_cannot_be_wrapped() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=10, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)
    with pytest.raises(HookError, match="encoder and a decoder"):
        wrap_model(T5ForConditionalGeneration(config), object())


def test_the_fingerprint_follows_the_weights(tiny_model_folder: Path) -> None:
    lm, again = load_model(str(tiny_model_folder)), load_model(str(tiny_model_folder))
    assert lm.fingerprint() == again.fingerprint()
    with torch.no_grad():
        again.model.transformer.h[1].mlp.c_fc.bias[0] += 1  # type: ignore[union-attr,index]
    assert lm.fingerprint() != again.fingerprint()


@pytest.mark.parametrize("name", ["./nothing/here", "/nothing/here", "~/nothing-here", "a/b/c"])
def test_a_path_that_does_not_exist(name: str) -> None:
    with pytest.raises(NotFoundError, match="no such folder") as caught:
        load_model(name)
    assert caught.value.where == name


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (lambda: hub.GatedRepoError("gated", response=_response(403)), NotFoundError, "granted first.*hf auth login"),
        (
            lambda: hub.RepositoryNotFoundError("404", response=_response(404)),
            NotFoundError,
            "no such model on Hugging Face",
        ),
        (lambda: hub.RevisionNotFoundError("404", response=_response(404)), NotFoundError, "no such revision"),
        (lambda: hub.LocalEntryNotFoundError("offline"), NotFoundError, "cannot be reached"),
        (lambda: ValueError("please pass trust_remote_code=True"), FormatError, "not run unless you allow it"),
        (
            lambda: OSError("x does not appear to have a file named model.safetensors"),
            FormatError,
            "no safetensors weights",
        ),
        (lambda: OSError("something\nelse"), NotFoundError, "could not be loaded: something "),
    ],
)
def test_what_the_hub_raises_is_explained(raised: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught, loading.explained("owner/name"):
        raise raised()  # type: ignore[operator]
    assert str(caught.value).startswith("owner/name: ")


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.ones(1)}, folder / "pytorch_model.bin")
    with pytest.raises(FormatError, match="no safetensors weights; pickled weights can run code"):
        load_model(str(folder))


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(FormatError, match="cannot be read") as caught:
        load_model(str(folder))
    assert caught.value.where == str(folder)


@pytest.mark.parametrize("device", ["cuda:97", "gpu", "", "cpu:x"])
def test_a_device_that_is_not_here(tiny_model_folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="There is no device") as caught:
        load_model(str(tiny_model_folder), device=device)
    assert caught.value.where == "device"


def test_a_revision_is_that_one(tiny_model_folder: Path) -> None:
    """Two commits in Hugging Face's cache, one of them also a branch: nobody is asked, and each is what it is."""
    place = Path(constants.HF_HUB_CACHE) / "models--tests--two-revisions"
    commits = {"main": "a" * 40, "later": "b" * 40}
    try:
        for number, (branch, commit) in enumerate(commits.items()):
            folder = place / "snapshots" / commit
            shutil.copytree(tiny_model_folder, folder)
            model = load_model(str(folder)).model
            with torch.no_grad():
                next(model.parameters()).fill_(number)
            model.save_pretrained(folder)
            (place / "refs").mkdir(exist_ok=True)
            (place / "refs" / branch).write_text(commit)
        for revision, value in ((None, 0), ("main", 0), ("later", 1), ("a" * 40, 0), ("b" * 40, 1)):
            lm = load_model("tests/two-revisions", revision=revision)
            assert float(next(lm.model.parameters()).flatten()[0]) == value
            assert lm.name == "tests/two-revisions"
        with pytest.raises(NotFoundError, match="not on this machine"):
            load_model("tests/two-revisions", revision="other")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
def test_a_configuration_alone_gives_the_same_count(name: str) -> None:
    kind, settings = CONFIGS[name]
    model = build(name)
    assert model_info._from_config(kind(**settings)) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, (20).to_bytes(8, "little") + b"[1, 2]" + b" " * 40, b"\x05\0\0\0\0\0\0\0{{{{{}"]
)
def test_a_damaged_weight_file(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="not a safetensors file") as caught:
        model_facts(str(folder))
    assert caught.value.where == str(folder / "model.safetensors")


def test_a_damaged_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{ not json")
    with pytest.raises((FormatError, NotFoundError)) as caught:
        model_facts(str(folder))
    assert caught.value.where == str(folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_states_its_layers_and_no_other_context(name: str, tmp_path: Path) -> None:
    kind, settings = CONFIGS[name]
    kind(**settings).save_pretrained(tmp_path)
    stated, facts = stated_sizes(str(tmp_path)), model_facts(str(tmp_path))
    assert stated.n_layers == facts.n_layers == LAYERS
    assert stated.context in (facts.context, None)
    assert stated.n_heads == facts.n_heads == 4
    assert stated.d_model == facts.d_model


def test_a_model_that_also_sees(tmp_path: Path) -> None:
    found = {"num_hidden_layers": 99, "text_config": {"num_hidden_layers": 4, "max_position_embeddings": 64}}
    (tmp_path / "config.json").write_text(json.dumps(found))
    assert stated_sizes(str(tmp_path)) == ConfigSizes(4, 64)


@pytest.mark.parametrize("content", ["{", "[]", '{"n_layer": "two"}', '{"n_layer": 2, "num_layers": 3}', "[" * 100_000])
def test_what_says_nothing_clear_is_left_to_the_loading(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert stated_sizes(str(tmp_path)) == ConfigSizes()


def test_a_model_of_the_hub_is_known_once_it_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = model_config.try_to_load_from_cache
    monkeypatch.setattr(model_config, "try_to_load_from_cache", lambda *a, **k: real(*a, cache_dir=tmp_path, **k))
    assert stated_sizes("someone/some-model") == ConfigSizes()
    at = tmp_path / "models--someone--some-model"
    (at / "refs").mkdir(parents=True)
    (at / "refs" / "main").write_text("a" * 40)
    (at / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (at / "snapshots" / ("a" * 40) / "config.json").write_text('{"n_layer": 12, "n_positions": 1024}')
    assert stated_sizes("someone/some-model") == ConfigSizes(12, 1024)
    assert stated_sizes("someone/some-model", revision="other") == ConfigSizes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_format(tiny_model_folder: Path, dtype: str) -> None:
    assert load_model(str(tiny_model_folder), dtype=dtype).dtype == getattr(torch, dtype)
    assert torch.get_default_dtype() == torch.float32
    with pytest.raises(ConfigError, match="'float8' is not a number format"):
        load_model(str(tiny_model_folder), dtype="float8")
