"""Datasets for the loopback hub, shaped like published ones."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hub.repos import Repo

WORDS = ("king river people whale sea ship truth man wife citizens senate house fortune story night day light "
         "water stone road").split()  # fmt: skip


def article(number: int, words: int = 40) -> str:
    """A short text that is different for every number."""
    return f"Article {number}. " + " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(words)) + "."


def parquet(columns: dict[str, Sequence[Any]], row_group: int = 8) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=row_group)
    return out.getvalue()


def wikipedia(editions: Sequence[str] = ("20231101.en", "20231101.de"), shards: int = 3, rows: int = 24) -> Repo:
    """`wikimedia/wikipedia` in small: a folder per edition, its shards, and a card that says which is which."""
    files: dict[str, bytes] = {}
    configs = "\n".join(f"- config_name: {e}\n  data_files:\n  - split: train\n    path: {e}/train-*" for e in editions)
    files["README.md"] = f"---\nconfigs:\n{configs}\n---\n# Wikipedia\n".encode()
    for place, edition in enumerate(editions):
        for shard in range(shards):
            numbers = [place * 100_000 + shard * rows + n for n in range(rows)]
            columns = {
                "id": [str(n) for n in numbers], "url": [f"https://example.org/{n}" for n in numbers],
                "title": [f"Article {n}" for n in numbers], "text": [article(n) for n in numbers],
            }  # fmt: skip
            files[f"{edition}/train-{shard:05d}-of-{shards:05d}.parquet"] = parquet(columns)
    return Repo("wikimedia/wikipedia", files, kind="datasets")


def lines(repo_id: str = "lab/lines", rows: int = 30, **more: Any) -> Repo:
    """JSON lines in two splits."""
    def made(start: int) -> bytes:
        return "".join(json.dumps({"text": article(start + n), "meta": {"n": n}}) + "\n" for n in range(rows)).encode()

    return Repo(repo_id, {"train.jsonl": made(0), "test.jsonl": made(1000)}, kind="datasets", **more)


def tables(repo_id: str = "lab/tables", rows: int = 40) -> Repo:
    """CSV, which only `datasets` itself reads."""
    text = "text,label\n" + "".join(f'"{article(n)}",{n}\n' for n in range(rows))
    return Repo(repo_id, {"train.csv": text.encode()}, kind="datasets")


def tokens(repo_id: str = "lab/tokens", rows: int = 20, size: int = 32) -> Repo:
    """As SAELens' PretokenizeRunner publishes one."""
    ids = [[(n * 31 + i) % 200 + 2 for i in range(size)] for n in range(rows)]
    metadata = {
        "sae_lens_version": "6.54.12", "tokenizer_name": "lab/other", "original_dataset": "lab/lines",
        "context_size": size, "shuffled": True, "seed": 0, "begin_batch_token": "bos",
    }  # fmt: skip
    data = parquet({"input_ids": ids})
    files = {"data/train-00000-of-00001.parquet": data, "sae_lens.json": json.dumps(metadata).encode()}
    return Repo(repo_id, files, kind="datasets")


def conversations(repo_id: str = "lab/chats", rows: int = 20, *, tables: bool = True) -> Repo:
    """Conversations in Parquet, or in JSON that only `datasets` reads."""
    def talk(n: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": article(n)}, {"role": "assistant", "content": article(n + 500)}]

    if tables:
        data = parquet({"id": list(range(rows)), "messages": [talk(n) for n in range(rows)]})
        return Repo(repo_id, {"train.parquet": data}, kind="datasets")
    talks = [{"id": n, "messages": talk(n)} for n in range(rows)]
    return Repo(repo_id, {"train.json": json.dumps(talks).encode()}, kind="datasets")
