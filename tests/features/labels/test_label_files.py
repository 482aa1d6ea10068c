"""Labels are merged so that nothing is lost, tables and Neuronpedia's exports come in exactly, and damage is named."""

import csv
import gzip
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.feature_records import LabelSource
from saewidgets.features.labels import (
    Imported,
    Label,
    RequestError,
    Score,
    fetch_neuronpedia,
    label_files,
    merge,
    read_labels,
    shown,
    write_labels,
)
from saewidgets.features.labels.label import HEURISTIC, ranked
from tests.features.labels.server import Answer, Asked, serving

SOURCES = get_args(LabelSource)

# --- labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"index": -1}, "index"), ({"index": True}, "index"), ({"index": 2**40}, "index"),
        ({"text": " "}, "text"), ({"text": None}, "text"), ({"text": "a\0b"}, "text"), ({"text": "\ud800"}, "text"),
        ({"text": "a" * 1001}, "text"), ({"source": "god"}, "source"), ({"created_at": math.nan}, "created_at"),
        ({"created_at": "now"}, "created_at"), ({"scores": {}}, "scores"), ({"scores": [3]}, "scores"),
        ({"scores": [{"scorer": "x"}]}, "scores.value"),
        ({"scores": [{"scorer": "x", "value": 10**400}]}, "scores.value"),
        ({"scores": [{"scorer": "x", "value": 1, "tp": -1}]}, "scores.tp"),
    ],
)  # fmt: skip
def test_wrong_data_names_its_field(data: dict[str, object], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Label.from_data({"index": 1, "text": "a", **data})
    assert caught.value.where == where


def test_what_a_label_says_of_its_score() -> None:
    score = Score("detection", 0.75, "gpt", 9, 10, tp=3, fp=1, tn=3, fn=2, created_at=13.5)
    label = Label(3, "‘king’", source="auto", model="gpt", scores=(score,))
    assert (label.by, label.n_judged, label.n_asked) == ("gpt, detection 0.75, 9 of 10 judged", 9, 10)
    assert (score.precision, score.recall, score.specificity, score.f1) == (0.75, 0.6, 0.75, 6 / 9)
    empty = Score("detection", None, tp=0, fp=0, tn=0, fn=0)
    assert (empty.precision, empty.recall, empty.specificity, empty.f1) == (None, None, None, None)
    assert Score("np", 0.3).f1 is None


MADE = st.lists(
    st.builds(
        lambda index, text, source, model, created, error: Label(
            index, "" if error else text, source=source, model=model if source != "user" else "", method="m",
            created_at=created, error="failed" if error else "",
        ),
        st.integers(0, 3), st.sampled_from(["king", "queen", "ship"]), st.sampled_from(SOURCES),
        st.sampled_from(["gpt", HEURISTIC]), st.integers(0, 5).map(float), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@given(MADE, MADE)
def test_merging_keeps_one_version_of_each(kept: list[Label], new: list[Label]) -> None:
    both = merge(kept, new)
    assert sorted(repr(x.identity) for x in both) == sorted({repr(x.identity) for x in (*kept, *new)})
    assert merge(both, []) == merge(both, both) == merge([], both) == both
    for label in both:
        versions = [x for x in (*kept, *new) if x.identity == label.identity]
        good = [x for x in versions if not x.error]
        assert label.created_at == max(x.created_at for x in good or versions)
        assert bool(label.error) == (not good)


@given(MADE)
def test_a_person_wins(labels: list[Label]) -> None:
    for index in range(4):
        of_latent = [x for x in merge([], labels) if x.index == index]
        assert sorted(map(repr, ranked(of_latent))) == sorted(map(repr, of_latent))
        best, good = shown(of_latent), [x for x in of_latent if not x.error]
        assert (best is None) == (not good)
        if best is not None:
            ranks = {"user": 0, "imported": 1, "auto": 1}
            assert best.rank == min(2 if x.model == HEURISTIC and x.source == "auto" else ranks[x.source] for x in good)


def test_scores_stay_while_the_text_is_the_same() -> None:
    score, other = Score("detection", 0.9, "gpt", created_at=1.0), Score("fuzzing", 0.7, "gpt", created_at=2.0)
    old = Label(1, "king", source="auto", model="gpt", prompt_hash="h", created_at=1.0, scores=(score,))
    new = replace(old, created_at=2.0, scores=(other,))
    assert merge([old], [new])[0].scores == merge([new], [old])[0].scores == (score, other)
    assert merge([old], [replace(new, text="queen")])[0].scores == (other,)
    again = replace(score, value=0.95, created_at=3.0)
    assert merge([], [new])[0].with_score(score).with_score(again).scores == (other, again)


# --- tables ---------------------------------------------------------------------------------------------

TEXT = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from("=+-@'\",;\t\r\n")
    ),
    max_size=30,
)
PHRASE = TEXT.filter(lambda text: bool(text.strip()))
NUMBER = st.floats(-1e12, 1e12, allow_nan=False)
COUNT = st.none() | st.integers(0, 100)
SCORES = st.builds(Score, PHRASE, st.none() | NUMBER, TEXT, COUNT, COUNT, COUNT, created_at=NUMBER)
LABELS = st.lists(
    st.builds(
        Label, st.integers(0, 99), PHRASE, TEXT, st.sampled_from(SOURCES), TEXT, TEXT, TEXT, NUMBER,
        st.lists(SCORES, max_size=2).map(tuple), TEXT,
    ),
    max_size=5,
)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@given(labels=LABELS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_label_comes_back(tmp_path: Path, suffix: str, labels: list[Label]) -> None:
    path = write_labels(labels, tmp_path / f"labels{suffix}")
    assert read_labels(path, 100).labels == labels


def test_formulas_in_a_file(tmp_path: Path) -> None:
    evil = ['=cmd|"/c calc"!A1', "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "'king'"]
    path = write_labels([Label(i, text) for i, text in enumerate(evil)], tmp_path / "labels.csv")
    with path.open(newline="", encoding="utf-8") as file:
        assert [row[1] for row in csv.reader(file)][1:] == [f"'{text}" for text in evil[:7]] + ["'king'"]
    assert [label.text for label in read_labels(path).labels] == evil


def test_a_number_and_a_text_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("\ufeffIndex,Text,Description\r\n3,König,mehr\r\n\r\n4,Schiff,\r\n".encode())
    assert [(x.index, x.text, x.description, x.source) for x in read_labels(path).labels] == [
        (3, "König", "mehr", "imported"), (4, "Schiff", "", "imported")
    ]
    lines = tmp_path / "labels.jsonl.gz"
    lines.write_bytes(gzip.compress(b'{"index": 5, "text": "kings", "more": [1]}\n\n{"index": 6, "text": "ships"}'))
    assert [(x.index, x.text) for x in read_labels(lines).labels] == [(5, "kings"), (6, "ships")]


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("x,a,", "line 3, index"), ("-1,a,", "line 3, index"), ("1.0,a,", "line 3, index"), (",a,", "line 3, index"),
        ("9999999999,a,", "line 3, index"), ("1,,", "line 3, text"), ("1,a,boss", "line 3, source"),
        ("1,a,user,more", "line 3, line"), (f"1,{'a' * 1001},", "line 3, text"), ("1,a\0b,", "line 3, text"),
        (f"1,{'a' * 200_000},", "line 3, line"), ('1,"a"b,', "line 3, line"), ('1,"a\nb",\nx,d,', "line 5, index"),
    ],
)
def test_a_wrong_line_names_itself(tmp_path: Path, line: str, where: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f'index,text,source\n0,ok,user\n{line}\n2,"two\nlines",auto\n9,late,auto\n')
    with pytest.raises(FormatError, match=where):
        read_labels(path)
    found = read_labels(path, on_error="skip")
    assert [str(p).startswith(f"labels.csv, {where}:") for p in found.problems] == [True]
    good = [0] if where.endswith("line 3, line") and "more" not in line else [0, 2, 9]
    assert [x.index for x in found.labels if x.index != 1] == good


@pytest.mark.parametrize(
    ("line", "field"),
    [("nonsense", "line"), ("[1]", "line"), ("[" * 100_000, "line"),
     ('{"index": 1}', "text"), ('{"text": "a"}', "index"), ('{"index": "1", "text": "a"}', "index"),
     ('{"index": 1, "text": "\\ud800"}', "text"),
     ('{"index": 1, "text": "a", "scores": [{"value": 1}]}', "scores.scorer")],
)
def test_a_wrong_json_line_names_itself(tmp_path: Path, line: str, field: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{{"index": 0, "text": "a"}}\n{line}\n')
    with pytest.raises(FormatError, match=f"line 2, {field}"):
        read_labels(path)
    assert [x.index for x in read_labels(path, on_error="skip").labels] == [0]


def test_labels_of_another_sae_are_never_skipped(tmp_path: Path) -> None:
    path = write_labels([Label(i, "a") for i in (3, 4, 5)], tmp_path / "labels.csv")
    assert len(read_labels(path, 6).labels) == 3
    for on_error in ("raise", "skip"):
        with pytest.raises(FormatError, match=r"line 3, index: 4 is outside the SAE's 4 latents") as caught:
            read_labels(path, 4, on_error=on_error)  # type: ignore[arg-type] # one of the two
        assert "another SAE" in str(caught.value.hint)
        assert ".." not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"a,b\n1,2\n", "no column 'index'"), (b"index,b\n1,2\n", "no column 'text'"),
     (b"index,text,text\n", "same name"), (b"index,text\n1,\xff\xfe\n", "Line 2 is not UTF-8"),
     (b"index,text\n" + b"x,a\n" * 20, r"20 of the lines.*and 15 more")],
)
def test_rejects_files_without_a_table_of_labels(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=said):
        read_labels(path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_labels([Label(1, "a")], tmp_path / "labels.jsonl")
    before = path.read_bytes()

    def breaking():  # type: ignore[no-untyped-def] # a generator that fails
        yield Label(2, "b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_labels(breaking(), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.jsonl"]
    with pytest.raises(ConfigError, match="neither"):
        write_labels([], tmp_path / "labels.xlsx")
    with pytest.raises(StorageError):
        write_labels([], path / "labels.csv")
    with pytest.raises(NotFoundError):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="on_error"):
        read_labels(path, on_error="ignore")  # type: ignore[arg-type] # on purpose


# --- Neuronpedia's exports ------------------------------------------------------------------------------

MODEL, SOURCE = "gemma-2-2b", "20-gemmascope-res-16k"
BOMB = gzip.compress((b'"' + b"a" * 9_999 + b'"\n') * 500)


def _line(index: int, description: Any = "words about kings", **more: Any) -> dict[str, Any]:
    return {
        "id": "clx", "modelId": MODEL, "layer": SOURCE, "index": str(index), "description": description,
        "authorId": "np", "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini",
        "embedding": [0.25] * 4, "createdAt": "2024-07-30T18:21:10.500Z", **more,
    }


def _packed(*lines: dict[str, Any]) -> bytes:
    return gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())


def test_a_label_has_the_fields_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "batch-0.jsonl"
    scores = [{"value": 0.81, "explanationScoreTypeName": "eleuther_fuzz", "explanationScoreModelName": "gpt-4o"}]
    path.write_text(json.dumps(_line(12, " kings\nand \0queens ", scores=scores)))
    label = read_labels(path, 16_384).labels[0]
    assert (label.index, label.text, label.source) == (12, "kings and queens", "imported")
    assert (label.method, label.model, label.created_at) == ("oai_token-act-pair", "gpt-4o-mini", 1722363670.5)
    score = label.scores[0]
    assert (score.scorer, score.value, score.model, score.n_judged) == ("eleuther_fuzz", 0.81, "gpt-4o", None)
    assert label.by == "gpt-4o-mini, eleuther_fuzz 0.81"


def test_a_folder_in_the_order_of_its_batches(tmp_path: Path) -> None:
    folder = tmp_path / "explanations"
    folder.mkdir()
    with pytest.raises(NotFoundError, match="batch"):
        read_labels(folder)
    for n in (0, 1, 2, 10):
        (folder / f"batch-{n}.jsonl.gz").write_bytes(_packed(_line(2 * n), _line(2 * n + 1)))
    (folder / "config.json").write_text("{}")
    assert [x.index for x in read_labels(folder, 22).labels] == [0, 1, 2, 3, 4, 5, 20, 21]
    assert [x.index for x in read_labels(folder / "batch-10.jsonl.gz").labels] == [20, 21]
    (tmp_path / "secret").write_text("x")
    (folder / "batch-3.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match="leads out"):
        read_labels(folder)


def test_lines_that_cannot_be_taken_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "batch-0.jsonl"
    odd = [_line(2, ""), _line(3, None), _line(4) | {"index": "x"}, _line(5, scores={})]
    lines = [_line(1), *odd, _line(6, "b" * 1500)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\nnonsense\n[]\n")
    found = read_labels(path)
    assert [x.index for x in found.labels] == [1, 6]
    assert [(p.where, p.field) for p in found.problems] == [
        (f"batch-0.jsonl, line {n}", field)
        for n, field in [(2, "description"), (3, "description"), (4, "index"), (5, "scores"), (7, "line"), (8, "line")]
    ]
    assert (len(found.labels[1].text), found.labels[1].description) == (1000, "b" * 1500)
    with pytest.raises(FormatError, match="line 2, description"):
        read_labels(path, on_error="raise")
    path.write_text(json.dumps(_line(20_000)))
    with pytest.raises(FormatError, match="20,000 is outside the SAE's 16,384"):
        read_labels(path, 16_384)
    path.write_text(json.dumps(_line(1)) + "\n" + json.dumps(_line(2) | {"modelId": "gpt2"}))
    with pytest.raises(FormatError, match="line 2, modelId: This label is of 'gpt2', not of 'gemma-2-2b'"):
        read_labels(path)


def test_damaged_files_and_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _packed(*[_line(i, "word " * i) for i in range(50)])
    for content, said in (
        (whole[:-9], "damaged or cut off"), (whole[:100] + b"xxxx" + whole[104:], "damaged or cut off"),
        (BOMB, "200 times its size"), (gzip.compress(b"x" * 5_000_000, 0), "line is longer"),
    ):
        path = tmp_path / "batch-0.jsonl.gz"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=said):
            read_labels(path)
    monkeypatch.setattr(label_files, "MAX_UNPACKED", 1000)
    with pytest.raises(FormatError, match="more than 1,000 bytes"):
        read_labels(path)


def _bucket(files: dict[str, bytes], page: int = 2) -> Any:
    """A bucket with `files`, listed `page` at a time."""

    def answer(asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if parts.path == "/":
            names = sorted(name for name in files if name.startswith(query["prefix"]))
            start = int(query.get("continuation-token", 0))
            listed = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in names[start : start + page])
            more = start + page < len(names)
            token = f"<NextContinuationToken>{start + page}</NextContinuationToken>" if more else ""
            return Answer(f"<?xml version='1.0'?><ListBucketResult>{listed}{token}</ListBucketResult>".encode())
        body = files.get(parts.path.removeprefix("/"))
        return Answer(body) if body is not None else Answer(b"<Error/>", 404)

    return answer


PLACE = f"v1/{MODEL}/{SOURCE}"
FILES = {
    f"{PLACE}/explanations/batch-10.jsonl.gz": _packed(_line(4)),
    f"{PLACE}/explanations/batch-2.jsonl": json.dumps(_line(3)).encode(),
    f"{PLACE}/explanations/config.json": b"{}",
    f"{PLACE}/explanations-gpt/batch-0.jsonl.gz": _packed(_line(3, "kings", explanationModelName="gpt-5")),
    f"{PLACE}/features/batch-0.jsonl.gz": b"no",
    f"{PLACE}-more/explanations/batch-0.jsonl.gz": b"no",
}


def _fetched(url: str, model: str = MODEL, source: str = SOURCE) -> Imported:
    return fetch_neuronpedia(model, source, 16_384, url=url, sleep=lambda seconds: None)


def test_all_labels_of_a_source() -> None:
    with serving(_bucket(FILES)) as server:
        found = _fetched(server.url)
    assert [(x.index, x.model) for x in found.labels] == [(3, "gpt-4o-mini"), (4, "gpt-4o-mini"), (3, "gpt-5")]
    assert all(asked.path.split("?")[0] == "/" or "/explanations" in asked.path for asked in server.seen)


def _broken(asked: Asked) -> Answer:
    answer: Answer = _bucket(FILES)(asked)
    answer.cut = 5 if asked.path.startswith("/v1/") else 0
    return answer


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer({"error": "Rate limit exceeded."}, 429, {"Retry-After": "3600"}), RequestError, "Rate limit"),
        (_bucket({}), NotFoundError, "no export files"),
        (_bucket({f"{PLACE}/explanations/../../x/batch-0.jsonl": b""}), NotFoundError, "no export files"),
        (_bucket({f"{PLACE}/explanations/batch-0.jsonl.gz": BOMB}), FormatError, "200 times its size"),
        (_broken, RequestError, "cannot be reached"),
    ],
)
def test_what_a_bucket_can_say(answer: Any, error: type[Exception], said: str) -> None:
    with serving(answer) as server, pytest.raises(error, match=said):
        _fetched(server.url)


def test_nothing_leads_elsewhere() -> None:
    with serving(_bucket(FILES)) as other:
        with serving(Answer(b"", 302, {"Location": f"{other.url}/"})) as server:
            with pytest.raises(RequestError, match="302"):
                _fetched(server.url)
        assert other.seen == []

    def moved(asked: Asked) -> Answer:
        old, asked.path = asked.path, asked.path.removeprefix("/new")
        here: Answer = _bucket(FILES)(asked)
        return Answer(b"", 302, {"Location": f"/new{old}"}) if old == asked.path else here

    with serving(moved) as server:  # within the host it is
        assert len(_fetched(server.url).labels) == 3
    for name in ("..", "a/b", "", "a b", "a?b", "é", "a" * 300):
        for names in ((name, SOURCE), (MODEL, name)):
            with pytest.raises(ConfigError):
                _fetched("http://127.0.0.1:1", *names)
