"""Corpora: what is read, in which order, rows and conversations included, and what is refused."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saewidgets.activations import documents, open_corpus, pack, text_files
from saewidgets.activations.documents import Chunk, Shard, read_rows
from saewidgets.activations.text_files import local_shard
from saewidgets.config import TextCorpus, TokensCorpus, TrainingConfig
from saewidgets.config.packing import Packing
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.lm import LoadedModel


def _texts(config: TextCorpus) -> list[str]:
    return [d.text for d in open_corpus(config).documents()]


def test_files_folders_and_strings_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name, text in {
        "b.txt": "B",
        "a.md": "A",
        "deep/c.TXT": "C",
        ".git/d.txt": "no",
        ".hidden.txt": "no",
        "e.csv": "no",
        "empty.txt": "",
    }.items():
        (folder / name).write_text(text)
    one = tmp_path / "one.csv"
    one.write_text("a file named outright is read whatever its name")
    assert _texts(TextCorpus(files=(one, folder), strings=("last",))) == [
        "a file named outright is read whatever its name",
        "A",
        "B",
        "C",
        "last",
    ]


def test_line_ends_and_byte_order_mark_are_normalised(tmp_path: Path) -> None:
    file = tmp_path / "dos.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert _texts(TextCorpus(file)) == ["one\ntwo\nthree\n"]


def test_a_long_file_comes_in_pieces_cut_where_a_line_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PIECE_CHARACTERS", 80)
    text = "".join(f"line number {n}\n{'  in' if n % 3 == 0 else ''}" for n in range(40)) + "x" * 130
    file = tmp_path / "long.txt"
    file.write_text(text)
    for config in (TextCorpus(file), TextCorpus(strings=(text,))):
        pieces = list(open_corpus(config).documents())
        assert "".join(piece.text for piece in pieces) == text
        assert [piece.continues for piece in pieces] == [False] + [True] * (len(pieces) - 1)
        assert all(len(piece.text) <= 80 for piece in pieces)
        inner = [piece.text for piece in pieces if "x" not in piece.text]
        assert len(inner) > 5
        assert all(piece.endswith("\n") for piece in inner)


def test_fingerprints_follow_the_text_and_not_the_place(tmp_path: Path) -> None:
    here, there, other = tmp_path / "here.txt", tmp_path / "there.txt", tmp_path / "other.txt"
    here.write_text("some text")
    there.write_text("some text")
    other.write_text("some texT")
    prints = [open_corpus(TextCorpus(path)).fingerprint() for path in (here, there, other)]
    assert prints[0] == prints[1] != prints[2]
    two = open_corpus(TextCorpus(strings=("some", " text"))).fingerprint()
    assert two != open_corpus(TextCorpus(strings=("some text",))).fingerprint()


@pytest.mark.parametrize("target", ["file", "folder"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    link = folder / "link.txt"
    link.symlink_to(outside / "secret.txt" if target == "file" else outside)
    with pytest.raises(StorageError, match="leads out of the folder") as caught:
        open_corpus(TextCorpus(folder))
    assert caught.value.where == str(link)


@pytest.mark.parametrize("before", [0, 5, 100_000, 1 << 20])
def test_undecodable_bytes_are_named_with_their_place(tmp_path: Path, before: int) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(("é" * (before // 2) + "a" * (before % 2)).encode() + b"\xff tail")
    with pytest.raises(FormatError, match=rf"Byte 0xff at position {before:,} is not utf-8") as caught:
        _texts(TextCorpus(file))
    assert caught.value.where == str(file)
    assert "latin-1" in (caught.value.hint or "")
    assert _texts(TextCorpus(file, encoding="latin-1"))[-1].endswith("ÿ tail")


def test_half_characters_are_refused_before_they_reach_a_database() -> None:
    with pytest.raises(ConfigError, match=r"String 2 holds half a character .* position 1"):
        TextCorpus(strings=("fine", "a\ud800b"))


TEXTS = [f"Text number {n} of the whale." + " Ünïcödé 😀" * (n % 3) for n in range(23)]


def _jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(TEXTS)))


def _gz(path: Path) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"content": text}, ensure_ascii=False) + "\n" for text in TEXTS)


def _zst(path: Path) -> None:
    data = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    with pa.OSFile(str(path), "wb") as sink, pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)


def _parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": range(23), "title": ["t"] * 23, "text": TEXTS}), path, row_group_size=5)


def _arrow(path: Path) -> None:
    batch = pa.record_batch({"text": TEXTS})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as out:
        for start in range(0, 23, 6):
            out.write_batch(batch.slice(start, 6))


MADE: dict[str, Callable[[Path], None]] = {
    "a.jsonl": _jsonl, "a.jsonl.gz": _gz, "a.jsonl.zst": _zst, "a.parquet": _parquet, "a.arrow": _arrow,
}  # fmt: skip


def _shard(folder: Path, name: str) -> Shard:
    MADE[name](folder / name)
    shard = local_shard(folder / name)
    assert shard is not None
    return shard


@pytest.mark.parametrize("name", MADE)
def test_every_row_and_from_every_place(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_ROWS", 4)
    shard = _shard(tmp_path, name)
    rows = list(read_rows(shard, "text", None))
    assert [row.value for row in rows] == TEXTS
    assert [row.number for row in rows] == list(range(1, 24))
    for row in rows:
        again = list(read_rows(shard, "text", None, row.after))
        assert [r.value for r in again] == TEXTS[row.number :]
        assert again == rows[row.number :], "and places are the same ones"


@pytest.mark.parametrize("name", MADE)
def test_chunks_go_on_at_the_right_document(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CHUNK_CHARACTERS", 90)
    (tmp_path / "b").mkdir()
    both = [_shard(tmp_path, name), _shard(tmp_path / "b", name)]

    def read(position: Any) -> list[Chunk]:
        return list(documents.chunked(text_files.read_documents(both, "text", None, position)))

    chunks = read(None)
    assert [d.text for c in chunks for d in c.documents] == TEXTS * 2
    assert len(chunks) > 10
    for number, chunk in enumerate(chunks):
        position = json.loads(json.dumps(chunk.position))
        assert read(position) == chunks[number + 1 :]


def test_parquet_reads_only_the_row_groups_behind_a_place(tmp_path: Path) -> None:
    shard = _shard(tmp_path, "a.parquet")
    place = list(read_rows(shard, "text", None))[12].after
    assert (place.row, place.at, place.skip) == (13, 2, 3)
    with shard.open() as raw:
        column = pq.ParquetFile(raw).metadata.row_group(2).column(2)
    start = column.dictionary_page_offset or column.data_page_offset
    seen: list[int] = []
    counted = _Counted(tmp_path / "a.parquet", seen)
    found = list(read_rows(Shard("x", "parquet", lambda: counted), "text", None, place))
    assert [row.value for row in found] == TEXTS[13:]
    assert min(at for at in seen if at) >= start, "at 0 the footer is looked for"


class _Counted:
    """A file that notes where it is read from."""

    def __init__(self, path: Path, seen: list[int]) -> None:
        self._file, self._seen = path.open("rb"), seen
        self.closed = False

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, count: int = -1) -> bytes:
        self._seen.append(self._file.tell())
        return self._file.read(count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "ok"', "is not JSON"), ("[1]", "is a list, not an object"), ("3", "is a number, not an object"),
        ('{"txt": 1}', "has no 'text'"), ('{"text": ["a"]}', "holds list where text is expected"),
        ("null", "is nothing, not an object"), ("\udcff", "is not UTF-8"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{{"text": "one"}}\n\n{line}\n', errors="surrogateescape")
    with pytest.raises(FormatError, match=said) as caught:
        list(open_corpus(TextCorpus(path)).documents())
    assert caught.value.where == f"{path}:3"


def test_a_very_long_line_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "long.jsonl"
    path.write_text('{"text": "' + "x" * (1 << 20) + '"}\n')
    with pytest.raises(FormatError, match="longer than 1 MB"):
        list(open_corpus(TextCorpus(path)).documents())


def test_a_row_group_that_unpacks_to_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LARGEST_GROUP", 100)
    _parquet(tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="unpacks to"):
        list(open_corpus(TextCorpus(tmp_path / "a.parquet")).documents())


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.arrow"])
def test_a_truncated_or_damaged_file(tmp_path: Path, name: str) -> None:
    MADE[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for damaged in (data[: len(data) // 2], b"\0" * len(data)):
        (tmp_path / name).write_bytes(damaged)
        shard = local_shard(tmp_path / name)
        assert shard is not None
        with pytest.raises(FormatError) as caught:
            list(read_rows(shard, "text", None))
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.hint


def test_which_column(tmp_path: Path) -> None:
    def corpus(columns: dict[str, Any], **more: Any) -> list[str]:
        pq.write_table(pa.table(columns), tmp_path / "c.parquet")
        return [d.text for d in open_corpus(TextCorpus(tmp_path / "c.parquet", **more)).documents()]

    assert corpus({"title": ["t"], "content": ["c"], "text": ["x"]}) == ["x"]
    assert corpus({"title": ["t"], "content": ["c"]}) == ["c"]
    assert corpus({"n": [1], "anything": ["a"]}) == ["a"], "the only one with text"
    assert corpus({"title": ["t"], "text": ["x"]}, text_field="title") == ["t"]
    for columns, more, said in (
        ({"n": [1]}, {}, "no column with text"),
        ({"a": ["x"], "b": ["y"]}, {}, "several columns with text"),
        ({"text": ["x"]}, {"text_field": "txt"}, "no column 'txt'"),
        ({"text": ["x"], "n": [1]}, {"text_field": "n"}, "holds no text"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            corpus(columns, **more)
        assert caught.value.where == "corpus.text_field"


def test_empty_rows_are_skipped_and_lone_surrogates_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}\n{"text": ""}\n{"text": "a\\ud800b"}\n"bare"\n')
    with pytest.raises(FormatError, match="a string"):
        list(open_corpus(TextCorpus(path, text_field="text")).documents())
    assert [d.text for d in open_corpus(TextCorpus(path)).documents()] == ["a\ufffdb", "bare"]


def test_folders_hold_text_and_rows(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("plain")
    _parquet(tmp_path / "a.parquet")
    _jsonl(tmp_path / "b.jsonl")
    found = [d.text for d in open_corpus(TextCorpus(tmp_path)).documents()]
    assert found == [*TEXTS, *TEXTS, "plain"]
    with pytest.raises(NotFoundError, match="no such file or folder") as caught:
        open_corpus(TextCorpus(tmp_path / "none.parquet"))
    assert caught.value.where == str(tmp_path / "none.parquet")


def _chunks(corpus: Any, position: Any = None) -> list[Chunk]:
    return list(corpus.chunks(position))


def test_long_files_are_a_corpus_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONG", 1000)
    monkeypatch.setattr(text_files, "HASHED", 1000)
    monkeypatch.setattr(documents, "CHUNK_CHARACTERS", 120)
    monkeypatch.setattr(documents, "PIECE_CHARACTERS", 50)
    _parquet(tmp_path / "a.parquet")
    (tmp_path / "b.txt").write_text("\n".join(TEXTS))
    _jsonl(tmp_path / "c.jsonl")
    config = TextCorpus(tmp_path, strings=["first string", "second string"])
    corpus: Any = open_corpus(config)
    assert corpus.is_long
    chunks = _chunks(corpus)
    assert [d for c in chunks for d in c.documents] == list(corpus.documents())
    assert "".join(d.text for d in corpus.documents()).endswith("first stringsecond string")
    for number, chunk in enumerate(chunks):
        position = json.loads(json.dumps(chunk.position))
        assert _chunks(open_corpus(config), position) == chunks[number + 1 :]
    before = corpus.fingerprint()
    assert open_corpus(config).fingerprint() == before
    (tmp_path / "c.jsonl").write_text("{}")
    assert open_corpus(config).fingerprint() != before


TEMPLATE = (
    "{% for turn in messages %}{% if turn.role == 'tool' %}{{ raise_exception('No tools here.') }}{% endif %}"
    "[{{ turn.role }}] {{ turn.content }}<|eos|>{% endfor %}"
)
TALKS = [
    [{"role": "user", "content": f"Who is king number {n}?"}, {"role": "assistant", "content": "He who went down."}]
    for n in range(12)
]


@pytest.fixture
def tokenizer(lm: LoadedModel) -> Any:
    found = copy.deepcopy(lm.tokenizer)
    found.chat_template = TEMPLATE
    return found


@pytest.fixture
def packed_ids(tokenizer: Any, tmp_path: Path) -> Callable[..., list[int]]:
    def ids(corpus: Any) -> list[int]:
        packing = Packing(prepend_bos=False, separator="none")
        packed = pack(open_corpus(corpus), tokenizer, folder=tmp_path / "tokens", context_size=4, packing=packing)
        found: list[int] = packed.contexts(np.arange(packed.n_contexts)).reshape(-1).tolist()
        return found

    return ids


def _lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _expected(tokenizer: Any, talks: list[Any]) -> list[int]:
    """What transformers itself makes of them, one after the other."""
    return [i for talk in talks for i in tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)]


def _same(found: list[int], expected: list[int]) -> bool:
    return found == expected[: len(found)] and len(expected) - len(found) < 4


@pytest.mark.parametrize("column", ["messages", "chat"])
def test_json_lines(tokenizer: Any, packed_ids: Any, tmp_path: Path, column: str) -> None:
    path = _lines(tmp_path / "talks.jsonl", [{"id": n, column: talk} for n, talk in enumerate(TALKS)])
    found = packed_ids(TextCorpus(path, chat=True))
    assert _same(found, _expected(tokenizer, TALKS))
    assert tokenizer.eos_token_id in found  # the marks of the template are real ones


def test_parquet_also_where_it_is_too_long_to_be_read_whole(
    tokenizer: Any, packed_ids: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"source": ["x"] * 12, "messages": TALKS}), tmp_path / "talks.parquet")
    corpus = TextCorpus(tmp_path / "talks.parquet", chat=True)
    expected = _expected(tokenizer, TALKS)
    assert _same(packed_ids(corpus), expected)
    monkeypatch.setattr(text_files, "LONG", 1)
    assert _same(packed_ids(corpus), expected)


def test_plain_text_is_what_a_user_says(tokenizer: Any, packed_ids: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Call me Ishmael.")
    rows = [{"text": "The king."}, "The sea."]
    corpus = TextCorpus([tmp_path / "a.txt", _lines(tmp_path / "t.jsonl", rows)], strings=["The river."], chat=True)
    said = ["Call me Ishmael.", "The king.", "The sea.", "The river."]
    assert _same(packed_ids(corpus), _expected(tokenizer, [[{"role": "user", "content": text}] for text in said]))


def test_a_tokenizer_without_a_template(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = open_corpus(TextCorpus(_lines(tmp_path / "t.jsonl", [{"messages": TALKS[0]}]), chat=True))
    with pytest.raises(ConfigError, match="no chat template") as caught:
        pack(corpus, lm.tokenizer, folder=tmp_path / "tokens", context_size=8)
    assert caught.value.where == "corpus.chat"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"role": "user"}], "Row 2 is not a conversation"), (["a"], "Row 2 is not a conversation"),
        ([{"role": "user", "content": [{"type": "image"}]}], "Row 2 is not a conversation"), (7, "Row 2 is not a conv"),
        ([{"role": "tool", "content": "x"}], "No tools here"),
    ],
)  # fmt: skip
def test_rows_that_are_none(packed_ids: Any, tmp_path: Path, value: Any, said: str) -> None:
    path = _lines(tmp_path / "t.jsonl", [{"messages": TALKS[0]}, {"messages": value}])
    with pytest.raises(FormatError, match=said) as caught:
        packed_ids(TextCorpus(path, chat=True))
    assert "t.jsonl:2" in str(caught.value)


def test_conversations_are_not_mistaken_for_text(packed_ids: Any, tmp_path: Path) -> None:
    path = _lines(tmp_path / "t.jsonl", [{"source": "somewhere", "messages": talk} for talk in TALKS])
    with pytest.raises(ConfigError, match="one of conversations, 'messages'") as caught:
        packed_ids(TextCorpus(path))
    assert caught.value.where == "corpus.chat"
    assert packed_ids(TextCorpus(path, text_field="source"))


def test_reading_a_file_another_way_gives_another_fingerprint(tokenizer: Any, tmp_path: Path) -> None:
    path = _lines(tmp_path / "t.jsonl", [{"messages": talk} for talk in TALKS])
    corpus = open_corpus(TextCorpus(path, chat=True))
    folders = set()
    for template in (TEMPLATE, TEMPLATE.replace("[", "(")):
        tokenizer.chat_template = template
        folders.add(pack(corpus, tokenizer, folder=tmp_path / "tokens", context_size=8).folder)
    assert len(folders) == 2
    path = _lines(tmp_path / "u.jsonl", [{"text": "The king."}])
    assert open_corpus(TextCorpus(path)).fingerprint() != open_corpus(TextCorpus(path, chat=True)).fingerprint()


def test_the_form_of_sharegpt(tokenizer: Any, packed_ids: Any, tmp_path: Path) -> None:
    names = {"user": "human", "assistant": "gpt"}
    rows = [{"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in talk]} for talk in TALKS]
    assert _same(packed_ids(TextCorpus(_lines(tmp_path / "t.jsonl", rows), chat=True)), _expected(tokenizer, TALKS))


def test_text_columns_that_other_tools_write(tmp_path: Path) -> None:
    """Categories of pandas, string views of polars and DuckDB, bytes of Spark."""

    file = tmp_path / "rows.parquet"
    texts = ["one day", "two days"]
    image = pa.array([b"\xff", b"\xfe"], pa.binary())
    for column in (
        pa.array(texts).dictionary_encode(), pa.array(texts, pa.string_view()), pa.array(texts, pa.large_string()),
        pa.array([text.encode() for text in texts], pa.binary()),
    ):
        pq.write_table(pa.table({"text": column, "number": [1, 2]}), file)
        assert [document.text for document in open_corpus(TextCorpus(file)).documents()] == texts
    pq.write_table(pa.table({"url": ["a", "b"], "text": [text.encode() for text in texts]}), file)
    assert [document.text for document in open_corpus(TextCorpus(file)).documents()] == texts
    pq.write_table(pa.table({"caption": texts, "image": image}), file)
    assert len(list(open_corpus(TextCorpus(file)).documents())) == 2
    with pytest.raises(FormatError, match="Row 1 holds bytes that are not UTF-8"):
        list(open_corpus(TextCorpus(file, text_field="image")).documents())
    pq.write_table(pa.table({"text": [1, 2]}), file)
    with pytest.raises(ConfigError, match=r"no column with text.*text \(int64\)"):
        list(open_corpus(TextCorpus(file)).documents())


def test_what_people_pass_for_a_corpus(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    dataset = Dataset.from_dict({"text": ["one", "two"]})
    for take in (lambda data: TrainingConfig(corpus=data), TextCorpus, TokensCorpus):
        with pytest.raises(ConfigError, match=r"Dataset object is not a corpus.*save_to_disk"):
            take(dataset)
    dataset.save_to_disk(tmp_path / "saved")
    assert [d.text for d in open_corpus(TextCorpus(tmp_path / "saved")).documents()] == ["one", "two"]
    DatasetDict(train=dataset, test=dataset).save_to_disk(tmp_path / "splits")
    with pytest.raises(ConfigError, match=r"several splits.*test, train"):
        open_corpus(TextCorpus(tmp_path / "splits"))
    for encoding in ("utf-16", "utf-16-le"):  # with and without a byte-order mark
        (tmp_path / "wide.txt").write_text("wide", encoding=encoding)
        with pytest.raises(FormatError, match=r"UTF-16.*encoding=\"utf-16\""):
            list(open_corpus(TextCorpus(tmp_path / "wide.txt")).documents())
        (tmp_path / "wide.jsonl").write_text('{"text": "wide"}\n', encoding=encoding)
        with pytest.raises(FormatError, match=r"UTF-16. Save it as UTF-8"):
            list(open_corpus(TextCorpus(tmp_path / "wide.jsonl")).documents())
