"""Neuronpedia's export files and API: fields, labels of another source, damage, bombs; a server on this machine."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.features.labels import Imported, RequestError, fetch_neuronpedia, label_files, read_labels
from tests.features.labels.server import Answer, Asked, serving

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


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "explanations"
    folder.mkdir()
    for n in (0, 1, 2, 10):
        (folder / f"batch-{n}.jsonl.gz").write_bytes(_packed(_line(2 * n), _line(2 * n + 1)))
    (folder / "config.json").write_text("{}")
    return folder


def test_a_label_has_what_the_line_says(tmp_path: Path) -> None:
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
    folder = _folder(tmp_path)
    assert [x.index for x in read_labels(folder, 22).labels] == [0, 1, 2, 3, 4, 5, 20, 21]
    assert [x.index for x in read_labels(folder / "batch-10.jsonl.gz").labels] == [20, 21]


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


def test_labels_of_another_sae_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch-0.jsonl"
    path.write_text(json.dumps(_line(20_000)))
    with pytest.raises(FormatError, match="20,000 is outside the SAE's 16,384"):
        read_labels(path, 16_384)
    path.write_text(json.dumps(_line(1)) + "\n" + json.dumps(_line(2) | {"modelId": "gpt2"}))
    with pytest.raises(FormatError, match="line 2, modelId: This label is of 'gpt2', not of 'gemma-2-2b'"):
        read_labels(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "batch-0.jsonl.gz"
    whole = _packed(*[_line(i, "word " * i) for i in range(50)])
    for broken in (whole[:-9], whole[:100] + b"xxxx" + whole[104:]):
        path.write_bytes(broken)
        with pytest.raises(FormatError, match="damaged or cut off"):
            read_labels(path)
    with pytest.raises(NotFoundError):
        read_labels(tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="batch"):
        read_labels(tmp_path / "empty")


def test_a_bomb_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "batch-0.jsonl.gz"
    path.write_bytes(BOMB)
    with pytest.raises(FormatError, match="200 times its size"):
        read_labels(path)
    path.write_bytes(gzip.compress(b"x" * 5_000_000, 0))
    with pytest.raises(FormatError, match="line is longer"):
        read_labels(path)
    monkeypatch.setattr(label_files, "MAX_UNPACKED", 1000)
    with pytest.raises(FormatError, match="more than 1,000 bytes"):
        read_labels(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (tmp_path / "secret").write_text("x")
    (folder / "batch-3.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match="leads out"):
        read_labels(folder)


# ------------------------------------------------------------------------------------------------------ the server


def _bucket(files: dict[str, bytes], page: int = 2) -> Any:
    """A bucket with `files`, listed `page` at a time."""

    def answer(asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if parts.path == "/":
            names = sorted(name for name in files if name.startswith(query["prefix"]))
            start = int(query.get("continuation-token", 0))
            more = start + page < len(names)
            listed = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in names[start : start + page])
            token = f"<NextContinuationToken>{start + page}</NextContinuationToken>" if more else ""
            return Answer(f"<?xml version='1.0'?><ListBucketResult>{listed}{token}</ListBucketResult>".encode())
        body = files.get(parts.path.removeprefix("/"))
        return Answer(body) if body is not None else Answer(b"<Error/>", 404)

    return answer


FILES = {
    f"v1/{MODEL}/{SOURCE}/explanations/batch-10.jsonl.gz": _packed(_line(4)),
    f"v1/{MODEL}/{SOURCE}/explanations/batch-2.jsonl": json.dumps(_line(3)).encode(),
    f"v1/{MODEL}/{SOURCE}/explanations/config.json": b"{}",
    f"v1/{MODEL}/{SOURCE}/explanations-gpt/batch-0.jsonl.gz": _packed(_line(3, "kings", explanationModelName="gpt-5")),
    f"v1/{MODEL}/{SOURCE}/features/batch-0.jsonl.gz": b"no",
    f"v1/{MODEL}/{SOURCE}-more/explanations/batch-0.jsonl.gz": b"no",
}


def _fetched(url: str, model: str = MODEL, source: str = SOURCE) -> Imported:
    return fetch_neuronpedia(model, source, 16_384, url=url, sleep=lambda seconds: None)


def test_all_labels_of_a_source() -> None:
    with serving(_bucket(FILES)) as server:
        found = _fetched(server.url)
    assert [(x.index, x.model) for x in found.labels] == [(3, "gpt-4o-mini"), (4, "gpt-4o-mini"), (3, "gpt-5")]
    assert all(asked.path.split("?")[0] == "/" or "/explanations" in asked.path for asked in server.seen)


def test_what_a_server_can_say() -> None:
    limit = Answer({"error": "Rate limit exceeded for this endpoint."}, 429, {"Retry-After": "3600"})
    with serving(limit) as server, pytest.raises(RequestError, match="Rate limit"):
        _fetched(server.url)
    with serving(_bucket({})) as server, pytest.raises(NotFoundError, match="no export files"):
        _fetched(server.url)


def test_a_redirect_to_another_host_is_not_followed() -> None:
    with serving(_bucket(FILES)) as other:
        away = Answer(b"", 302, {"Location": f"{other.url}/"})
        with serving(away) as server, pytest.raises(RequestError, match="302"):
            _fetched(server.url)
        assert other.seen == []


def test_a_bomb_from_a_bucket() -> None:
    name = f"v1/{MODEL}/{SOURCE}/explanations/batch-0.jsonl.gz"
    with serving(_bucket({name: BOMB})) as server, pytest.raises(FormatError, match="200 times its size"):
        _fetched(server.url)


def test_a_download_that_breaks_is_an_error() -> None:
    files = _bucket(FILES)

    def broken(asked: Asked) -> Answer:
        answer: Answer = files(asked)
        if asked.path.startswith("/v1/"):
            answer.cut = 5
        return answer

    with serving(broken) as server, pytest.raises(RequestError, match="cannot be reached"):
        _fetched(server.url)


def test_names_cannot_lead_elsewhere() -> None:
    for name in ("..", "a/b", "", "a b", "a?b", "é", "a" * 300):
        with pytest.raises(ConfigError):
            _fetched("http://127.0.0.1:1", name)
        with pytest.raises(ConfigError):
            _fetched("http://127.0.0.1:1", MODEL, name)
    evil = {f"v1/{MODEL}/{SOURCE}/explanations/../../x/batch-0.jsonl": b""}
    with serving(_bucket(evil)) as server, pytest.raises(NotFoundError):
        _fetched(server.url)
