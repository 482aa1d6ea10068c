"""Text that was tokenised before, in files on this machine: arrays, Parquet, JSON lines, and what `datasets` saves.

Nothing is unpickled. An array of two dimensions has one context per row; an array of one dimension is one long text.
Rows of a table that are all of one length are contexts, too; else each is a document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from saewidgets.activations.arrays import TokenArray, open_array
from saewidgets.activations.documents import Chunk, Document, Position, Split
from saewidgets.activations.files import local_shard, readable
from saewidgets.activations.reading import read_chunks
from saewidgets.activations.shards import Shard, read_rows
from saewidgets.activations.textfiles import find_files
from saewidgets.config import TokensCorpus
from saewidgets.errors import FormatError, NotFoundError

METADATA = "sae_lens.json"  # written by SAELens' PretokenizeRunner
_LARGEST_METADATA = 1 << 20  # bytes
_ARRAYS = (".npy", ".npz", ".safetensors")
_ROWS = (".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".jsonl.zst")
_LOOKED_AT = 64  # rows from which is seen whether all have one length


def open_token_files(config: TokensCorpus) -> TokenFiles | TokenArray:
    """The tokens that `config` names, a `LongCorpus`.

    Raises:
        NotFoundError: there is no such file or folder, or no tokens in it.
        FormatError: a file is damaged or holds something else.
        ConfigError: the column is not there.
    """
    path = Path(config.source).expanduser().absolute()
    if path.is_file() and path.suffix.lower() in _ARRAYS:
        return open_array(path, config)
    if (path / "dataset_dict.json").is_file():  # several splits, as `datasets` saves them
        path = path / config.split
    files = find_files(path, _ROWS)
    shards = [shard for file in files if (shard := local_shard(file)) is not None]
    if not shards:
        raise NotFoundError(
            "This is no file with token ids.", where=str(path),
            hint=f"Files ending in {', '.join((*_ARRAYS, *_ROWS))} are read, and folders of them.",
        )
    return TokenFiles(config, path, files, shards)


class TokenFiles:
    """Files with a list of token ids per row."""

    held_out = False

    def __init__(self, config: TokensCorpus, path: Path, files: list[Path], shards: list[Shard]) -> None:
        self.label = config.label
        self._files, self._shards, self._config = files, shards, config
        metadata = read_metadata(path if path.is_dir() else path.parent)
        self.facts: Mapping[str, Any] = {
            "kind": "tokens", "label": self.label, "tokenizer": config.tokenizer or metadata.get("tokenizer_name"),
            **({"pretokenized": metadata} if metadata else {}),
        }  # fmt: skip
        self.tokenizer_said = self.facts["tokenizer"]
        with readable(files[0]):
            self.whole_rows = equal_lengths(shards[0], config.column)

    def documents(self, split: Split = "train") -> Iterator[Document]:
        for chunk in self.chunks() if split == "train" else ():
            yield from chunk.documents

    def fingerprint(self) -> str:
        """Of names, sizes and times of change."""
        facts = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in self._files]
        return hashlib.sha256(json.dumps([facts, self._config.column]).encode()).hexdigest()

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        """The rows from `position` on."""
        with readable(self._files[0]):
            yield from read_chunks(self._shards, "tokens", self._config.column, position)


def equal_lengths(shard: Shard, column: str | None) -> bool:
    """Whether the first rows have one length: then they are contexts that somebody has cut."""
    lengths = {
        len(row.value) for row in islice(read_rows(shard, "tokens", column), _LOOKED_AT) if isinstance(row.value, list)
    }
    return len(lengths) == 1


def read_metadata(folder: Path) -> dict[str, Any]:
    """What SAELens' PretokenizeRunner wrote beside the tokens; nothing where it did not.

    Raises:
        FormatError: the file is no JSON object, or absurdly large.
    """
    path = folder / METADATA
    if not path.is_file():
        return {}
    with readable(path), path.open("rb") as file:
        return parse_metadata(file.read(_LARGEST_METADATA + 1), str(path))


def parse_metadata(data: bytes, where: str) -> dict[str, Any]:
    """See `read_metadata`."""
    try:
        found = json.loads(data) if len(data) <= _LARGEST_METADATA else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FormatError("This is no metadata of SAELens.", where=where, hint="Tokenise the dataset again.")
    return {str(key): value for key, value in found.items() if isinstance(value, str | int | bool | None)}
