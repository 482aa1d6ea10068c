"""The embedded default: what ships loads as it is, has the promised sizes, and is as good as its page says."""

from pathlib import Path

import pytest

from saewidgets import demo
from saewidgets.errors import NotFoundError

DATA = Path(demo.__file__).parent / "data"
CONTEXT = 256
LOSS_BOUND = 3.75
"""Nats per token. docs/demo-model.md states 3.17 over all held-out text; the margin covers the small sample."""


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(demo.model_path())


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(demo.model_path()).eval()


def test_files_are_complete() -> None:  # tests/test_packaging.py has their limits
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {p.name for p in demo.model_path().iterdir()} == names


def test_missing_weights_raise_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("saewidgets.demo.model._FOLDER", tmp_path)
    with pytest.raises(NotFoundError, match="Install saewidgets from its wheel"):
        demo.model_path()


def test_model_loads_in_float32_with_the_stated_shape(model, tokenizer) -> None:
    import torch

    assert {p.dtype for p in model.parameters()} == {torch.float32}
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.max_position_embeddings) == (4, 256, CONTEXT)
    assert config.vocab_size == len(tokenizer) == 4096
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize(
    "text",
    [
        "",
        " leading and trailing  blanks \n\n",
        "naïve café, Ελληνικά, 日本語, العربية",
        "👩‍🚀🏽 e\u0301 \u200b \ufeff \u0000 \x7f",
        'don \'t  stop , now !  He said : " yes " .',
        "def f(x):\n\treturn x**2  # 3.14159",
        "<b>&amp;</b> <|endof text|>",
    ],
)
def test_any_string_comes_back_unchanged(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[demo.Document]]:
    """Both splits, unpacked once."""
    return {split: list(demo.documents(split)) for split in ("train", "validation")}


def test_documents_are_in_a_fixed_order_and_splits_are_disjoint(corpus: dict[str, list[demo.Document]]) -> None:
    assert list(demo.documents("validation")) == corpus["validation"]
    titles = {split: {d.title.split(" [")[0] for d in documents} for split, documents in corpus.items()}
    assert not titles["train"] & titles["validation"]
    every = sum(1 for _ in demo.documents("all"))
    assert every == sum(map(len, corpus.values())) == demo.corpus_info().documents


def test_stated_token_counts_are_those_of_the_tokenizer(corpus: dict[str, list[demo.Document]]) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(demo.model_path() / "tokenizer.json"))

    def tokens(documents: list[demo.Document]) -> int:
        return sum(len(e.ids) - 1 for e in tokenizer.encode_batch_fast([d.text for d in documents]))

    texts: dict[str, list[demo.Document]] = {}
    for document in corpus["validation"]:
        texts.setdefault(document.source, []).append(document)
    info = demo.corpus_info()
    assert {k: tokens(v) for k, v in texts.items()} == {s.key: s.tokens_validation for s in info.sources}

    # Encoding all of the training split takes long; an even sample of it must agree with the stated total.
    assert tokens(corpus["train"][::32]) * 32 == pytest.approx(info.tokens["train"], rel=0.05)
    assert info.tokens["train"] >= 2_000_000
    assert info.tokens["all"] == info.tokens["train"] + info.tokens["validation"]


def test_every_source_states_package_and_licence(corpus: dict[str, list[demo.Document]]) -> None:
    page = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    info = demo.corpus_info()
    assert {d.source for d in corpus["validation"]} == {s.key for s in info.sources}
    for source in info.sources:
        assert source.package in page
        assert source.licence.startswith("public domain")
        assert source.licence in page


def test_model_predicts_held_out_text_as_well_as_stated(model, tokenizer, corpus) -> None:
    import torch

    ids: list[int] = []
    for document in corpus["validation"]:
        ids += tokenizer(document.text).input_ids
        if len(ids) > 24 * CONTEXT:
            break
    batch = torch.tensor(ids[: 24 * CONTEXT]).view(24, CONTEXT)
    with torch.no_grad():
        loss = model(input_ids=batch, labels=batch).loss.item()
    assert loss < LOSS_BOUND
