"""Datasets of the hub through the real `datasets` and huggingface_hub, from a hub on the loopback interface."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.activations import documents, pack, packing
from saewidgets.activations.corpus import is_exact, with_exact_revision
from saewidgets.activations.documents import Chunk
from saewidgets.activations.hubcorpus import Dataset, open_hub_corpus
from saewidgets.config import HubCorpus, TokensCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ConnectionLostError,
    GatedRepositoryError,
    HubOfflineError,
    HubServerError,
    RateLimitError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    TruncatedFileError,
)
from saewidgets.lm import LoadedModel
from tests.hub.datasets_made import article, conversations, lines, parquet, tables, tokens, wikipedia
from tests.hub.loopback import ask_loopback
from tests.hub.repos import Repo
from tests.hub.server import TOKENS, Hub

ARTICLES = [article(n) for n in range(72)]


@pytest.fixture
def hub() -> Iterator[Hub]:
    talks = conversations("lab/talks", tables=False)
    with Hub([wikipedia(), lines(), tables(), tokens(), conversations(), talks]) as server:
        yield server


@pytest.fixture(autouse=True)
def _online(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_loopback(hub, monkeypatch)
    monkeypatch.setattr(documents, "CHUNK_CHARACTERS", 1500)


@pytest.fixture
def client_of(hub: Hub, tmp_path: Path) -> Callable[..., HubClient]:
    def make(token: str | None = None) -> HubClient:
        client = HubClient(token, hub.endpoint, cache_dir=tmp_path / "cache", timeout=2.0)
        client.first_wait = 0.01
        return client

    return make


@pytest.fixture
def opened(client_of: Callable[..., HubClient]) -> Callable[[HubCorpus], Dataset]:
    return lambda config: open_hub_corpus(config, client=client_of())


def _texts(corpus: Any) -> list[str]:
    return [d.text for d in corpus.documents()]


def _shards(hub: Hub) -> list[str]:
    """Numbers of the Parquet files that were read, as often as they were."""
    return [seen.path.split("train-")[1][:5] for seen in hub.requests(r"^/storage/.*parquet") if seen.method == "GET"]


def test_wikipedia_by_language_and_date(hub: Hub, opened: Any) -> None:
    corpus = opened(HubCorpus.wikipedia())
    assert _texts(corpus) == ARTICLES
    commit = hub.state.repos["wikimedia/wikipedia"].branches["main"]
    assert corpus.facts == {
        "kind": "hub", "path": "wikimedia/wikipedia", "name": "20231101.en", "split": "train", "revision": commit,
    }  # fmt: skip
    assert corpus.label == "wikimedia/wikipedia:20231101.en"
    german = opened(HubCorpus.wikipedia("de"))
    assert _texts(german)[0] == article(100_000)
    assert german.fingerprint() != corpus.fingerprint()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HubCorpus("lab/lines"), [article(n) for n in range(30)]),
        (HubCorpus("lab/lines", split="test"), [article(1000 + n) for n in range(30)]),
        (HubCorpus("lab/tables"), [article(n) for n in range(40)]),
    ],
)
def test_other_kinds_of_files(opened: Any, config: HubCorpus, expected: list[str]) -> None:
    corpus = opened(config)
    chunks: list[Chunk] = list(corpus.chunks())
    assert [d.text for c in chunks for d in c.documents] == expected
    assert len(chunks) > 3
    for number in (0, 2, len(chunks) - 1):
        position = json.loads(json.dumps(chunks[number].position))
        rest = [d.text for c in opened(config).chunks(position) for d in c.documents]
        assert rest == [d.text for c in chunks[number + 1 :] for d in c.documents]


def test_going_on_reads_neither_earlier_files_nor_earlier_articles(hub: Hub, opened: Any) -> None:
    chunks = list(opened(HubCorpus.wikipedia()).chunks())
    half = next(c for c in chunks if c.position["shard"] == 1)
    hub.forget()
    rest = [d.text for c in opened(HubCorpus.wikipedia()).chunks(half.position) for d in c.documents]
    done = [d.text for c in chunks[: chunks.index(half) + 1] for d in c.documents]
    assert done + rest == ARTICLES
    assert _shards(hub) == ["00001", "00002"]


def _forget(hub: Hub) -> None:
    """Requests from now on; a read ahead that is still under way ends first."""
    for thread in threading.enumerate():
        if thread.name == "saewidgets-reading":
            thread.join(10)
    hub.forget()


def test_a_run_reads_only_what_it_needs(hub: Hub, opened: Any, lm: LoadedModel, tmp_path: Path) -> None:
    corpus = opened(HubCorpus.wikipedia())
    found = pack(corpus, lm.tokenizer, folder=tmp_path / "t", context_size=16, wanted=300)
    assert found.source["revision"] == corpus.commit
    assert "00002" not in _shards(hub), "one file, and what is read ahead"
    _forget(hub)
    again = pack(opened(HubCorpus.wikipedia()), lm.tokenizer, folder=tmp_path / "t", context_size=16, wanted=300)
    assert np.array_equal(again.contexts(again.train), found.contexts(found.train))
    assert len(hub.requests()) == 1, "which commit it is; nothing else"


def test_what_was_packed_needs_no_hub(
    hub: Hub, opened: Any, lm: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pack(opened(HubCorpus.wikipedia()), lm.tokenizer, folder=tmp_path / "t", context_size=16, wanted=300)
    _forget(hub)
    ask_loopback(hub, monkeypatch, offline=True)
    corpus = opened(HubCorpus.wikipedia())
    again = pack(corpus, lm.tokenizer, folder=tmp_path / "t", context_size=16, wanted=300)
    assert np.array_equal(again.contexts(again.train), found.contexts(found.train))
    with pytest.raises(HubOfflineError, match="Offline mode"):
        pack(corpus, lm.tokenizer, folder=tmp_path / "t", context_size=16, wanted=10**6)
    with pytest.raises(HubOfflineError):
        opened(HubCorpus("lab/lines"))
    assert hub.requests() == []


def test_an_exact_revision_is_found_once_and_kept(hub: Hub, client_of: Callable[..., HubClient]) -> None:
    first = with_exact_revision(HubCorpus("lab/lines"), client_of())
    assert is_exact(first)
    repo = hub.state.repos["lab/lines"]
    assert first.revision == repo.branches["main"]
    repo.commit({"train.jsonl": b'{"text": "new"}\n'})
    assert with_exact_revision(first, client_of()) is first
    assert _texts(open_hub_corpus(first, client=client_of()))[0] == article(0)
    assert _texts(open_hub_corpus(HubCorpus("lab/lines"), client=client_of())) == ["new"]
    exact = with_exact_revision(TokensCorpus("lab/tokens"), client_of())
    assert exact.commit == hub.state.repos["lab/tokens"].branches["main"]


@pytest.mark.parametrize(
    ("config", "kind", "said"),
    [
        (HubCorpus("lab/none"), RepositoryNotFoundError, r"no dataset lab/none.*\./lab/none"),
        (HubCorpus("lab/lines", revision="v9"), RevisionNotFoundError, "no such revision"),
        (HubCorpus("lab/lines", split="dev"), ConfigError, r"no split 'dev'.*test"),
        (HubCorpus("lab/lines", name="fr"), NotFoundError, r"no configuration 'fr'.*default"),
        (HubCorpus("wikimedia/wikipedia"), NotFoundError, r"several configurations.*20231101\.en"),
        (HubCorpus("wikimedia/wikipedia", name="2024.en"), NotFoundError, r"no configuration '2024.en'.*20231101\.de"),
        (HubCorpus("lab/lines", text_field="body"), ConfigError, r"no column 'body'.*text"),
        (HubCorpus("lab/tables", text_field="label"), ConfigError, r"'label' of lab/tables holds no text"),
        (HubCorpus("lab/gated"), GatedRepositoryError, r"gated.*accept the licence"),
        (HubCorpus("lab/script"), FormatError, r"code from its repository, which is never run"),
        (HubCorpus("lab/empty"), NotFoundError, "no files that can be read"),
        (HubCorpus("lab/leads-out"), FormatError, "a file that is not in it"),
        (HubCorpus("lab/broken"), FormatError, "damaged or ends too early"),
        (HubCorpus("lab/images"), FormatError, "not text"),
    ],
    ids=lambda value: value.label if isinstance(value, HubCorpus) else "",
)
def test_errors_in_words(
    hub: Hub, opened: Any, config: HubCorpus, kind: type[Exception], said: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"text": "secret"}\n')
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {secret}\n---\n"
    hub.state.add(
        [
            Repo("lab/gated", {"train.jsonl": b'{"text": "a"}', "README.md": b"# A"}, gated="manual", kind="datasets"),
            Repo("lab/script", {"script.py": b"import os\nos.abort()\n"}, kind="datasets"),
            Repo("lab/empty", {"README.md": b"# Nothing"}, kind="datasets"),
            Repo("lab/leads-out", {"README.md": card.encode(), "train.jsonl": b"{}"}, kind="datasets"),
            Repo("lab/broken", {"train.parquet": b"PAR1" + b"\0" * 100 + b"PAR1"}, kind="datasets"),
            Repo("lab/images", {"train/a.png": b"\x89PNG", "train/b.png": b"\x89PNG"}, kind="datasets"),
        ]
    )
    with pytest.raises(kind, match=rf"(?s){said}") as caught:
        _texts(opened(config))
    assert "secret" not in str(caught.value).replace(str(secret), "")


def test_a_row_that_is_malformed_is_named(hub: Hub, opened: Any) -> None:
    hub.state.add([Repo("lab/bad", {"train.jsonl": b'{"text": "a"}\n{"text": }\n'}, kind="datasets")])
    with pytest.raises(FormatError, match="is not JSON") as caught:
        _texts(opened(HubCorpus("lab/bad")))
    assert caught.value.where == "lab/bad/train.jsonl:2"


@pytest.mark.parametrize(("kind", "value"), [("status", 503), ("cut", 300), ("hang", 0.05)])
def test_what_passes_is_tried_again(hub: Hub, opened: Any, kind: str, value: float) -> None:
    hub.fail(r"train-0000[12].*parquet", kind, value, times=3)
    hub.state.latency = 0.002
    assert _texts(opened(HubCorpus.wikipedia())) == ARTICLES


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("status", 500, HubServerError), ("status", 429, RateLimitError), ("cut", 300, ConnectionLostError),
        ("short", 50, TruncatedFileError),
    ],
)  # fmt: skip
def test_raises_lasting_failures_and_continues_after_them(
    hub: Hub, client_of: Callable[..., HubClient], kind: str, value: int, expected: type[Exception], lm: LoadedModel,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(packing, "COUNT_EVERY", 64)
    client = client_of()
    client.retries = 1
    hub.fail(r"storage.*train-00001.*parquet", kind, value)
    settings: dict[str, Any] = {"folder": tmp_path / "t", "context_size": 16, "wanted": None}
    with pytest.raises(expected):
        pack(open_hub_corpus(HubCorpus.wikipedia(), client=client), lm.tokenizer, **settings)
    hub.heal()
    hub.forget()
    found = pack(open_hub_corpus(HubCorpus.wikipedia(), client=client), lm.tokenizer, **settings)
    assert "00000" not in _shards(hub)
    assert found.facts.n_documents == 72


def test_a_cached_copy_is_read_in_place_of_the_hub(
    hub: Hub, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download("wikimedia/wikipedia", repo_type="dataset", cache_dir=tmp_path / "cache", endpoint=hub.endpoint)
    hub.forget()
    assert _texts(opened(HubCorpus.wikipedia())) == ARTICLES
    assert _shards(hub) == []
    hub.forget()
    ask_loopback(hub, monkeypatch, offline=True)
    corpus = opened(HubCorpus.wikipedia())
    assert _texts(corpus) == ARTICLES
    for name, said in (("20231101.xx", "no configuration '20231101.xx'"), (None, "several configurations")):
        with pytest.raises(NotFoundError, match=said):
            _texts(opened(HubCorpus("wikimedia/wikipedia", name=name)))
    assert hub.requests() == []
    copy = tmp_path / "cache" / "datasets--wikimedia--wikipedia" / "snapshots" / corpus.commit
    (copy / "20231101.en" / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(HubOfflineError, match="Of the 3 files of this split of wikimedia/wikipedia the cache has 2"):
        _texts(opened(HubCorpus.wikipedia()))


def test_tokens_that_saelens_made(
    hub: Hub, client_of: Callable[..., HubClient], lm: LoadedModel, tmp_path: Path
) -> None:
    def opened(path: str = "lab/tokens", **more: Any) -> Dataset:
        config = TokensCorpus(path, **more)
        assert config.hub is not None
        return open_hub_corpus(config.hub, tokens=config, client=client_of())

    corpus = opened()
    assert corpus.whole_rows
    assert corpus.facts["tokenizer"] == "lab/other"
    assert corpus.facts["pretokenized"]["sae_lens_version"] == "6.54.12"
    with pytest.raises(ConfigError, match="tokenizer of lab/other, not of"):
        pack(corpus, lm.tokenizer, folder=tmp_path, context_size=32)
    name = str(lm.tokenizer.name_or_path)
    found = pack(opened(tokenizer=name), lm.tokenizer, folder=tmp_path, context_size=32)
    expected = [[(n * 31 + i) % 200 + 2 for i in range(32)] for n in range(20)]
    assert np.array_equal(found.contexts(range(20)), expected)
    hub.state.add([Repo("lab/floats", {"train.parquet": parquet({"input_ids": [[0.5]]})}, kind="datasets")])
    with pytest.raises(ConfigError, match="no column with token ids"):
        list(opened("lab/floats").chunks())


@pytest.mark.parametrize("path", ["lab/chats", "lab/talks"])
def test_conversations(opened: Any, path: str) -> None:
    found = list(opened(HubCorpus(path, chat=True)).documents())
    assert [turn.role for turn in found[3].turns] == ["user", "assistant"]
    assert [turn.content for document in found for turn in document.turns[:1]] == [article(n) for n in range(20)]
    assert opened(HubCorpus("lab/lines", chat=True)).fingerprint() != opened(HubCorpus("lab/lines")).fingerprint()


def test_private_datasets_need_a_token(
    hub: Hub, client_of: Callable[..., HubClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.state.add([lines("lab/private", private=True)])
    with pytest.raises(RepositoryNotFoundError):
        open_hub_corpus(HubCorpus("lab/private"), client=client_of())
    monkeypatch.setenv("HF_TOKEN", token := next(iter(TOKENS)))
    assert _texts(open_hub_corpus(HubCorpus("lab/private"), client=client_of(token)))[0] == article(0)
