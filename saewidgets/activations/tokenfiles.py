"""Defines `open_token_files`, which reads text tokenised earlier from arrays, tables and saved `datasets`.

Nothing is unpickled. An array of two dimensions has one context per row; an array of one dimension is one long text.
Rows of a table that are all of one length are contexts, too; else each is a document.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from saewidgets.activations.documents import Chunk, Corpus, Document, Position, Shard, choose_column, chunked, read_rows
from saewidgets.activations.text_files import find_files, local_shard, read_documents, readable
from saewidgets.config import TokensCorpus
from saewidgets.errors import FormatError, NotFoundError, SAEWidgetsError

LARGEST = 1 << 36  # bytes of an array that has to be unpacked into memory
_CHUNK_IDS = 1 << 17  # ids handed out together
_AGAIN = "Write it again with numpy.save, numpy.savez or safetensors."

Array = npt.NDArray[np.integer[Any]]


def _open_array(path: Path, config: TokensCorpus) -> TokenArray:
    with readable(path):
        try:
            if path.suffix.lower() == ".npy":
                array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
            elif path.suffix.lower() == ".npz":
                array = _of_archive(path, config.column)
            else:
                with safe_open(path, "np") as file:
                    array = file.get_tensor(_name_of(list(file.keys()), config.column, path))
        except SAEWidgetsError:
            raise
        except (ValueError, EOFError, zipfile.BadZipFile, KeyError, SafetensorError, TypeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise FormatError(f"The array cannot be read ({first}).", where=str(path), hint=_AGAIN) from error
    if not np.issubdtype(array.dtype, np.integer) or array.ndim not in (1, 2) or array.size == 0:
        raise FormatError(
            f"An array of {array.dtype} with the shape {list(array.shape)} does not hold token ids.", where=str(path),
            hint="Token ids are whole numbers, [contexts, tokens] or [tokens].",
        )
    return TokenArray(path, config, array)


class TokenArray(Corpus):
    """An array of token ids: [contexts, tokens], or [tokens] of one long text."""

    def __init__(self, path: Path, config: TokensCorpus, array: Array) -> None:
        self.label = config.label
        self.whole_rows = array.ndim == 2
        self.tokenizer_said = config.tokenizer
        self.facts: Mapping[str, Any] = {"kind": "tokens", "label": self.label, "tokenizer": config.tokenizer}
        self._path, self._array, self._column = path, array, config.column

    def fingerprint(self) -> str:
        stat = self._path.stat()
        shape = [self._array.dtype.str, *self._array.shape]
        facts = [self._path.name, stat.st_size, stat.st_mtime_ns, self._column, shape]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        start, end = int((position or {}).get("row", 0)), len(self._array)
        step = max(1, _CHUNK_IDS // self._array.shape[1]) if self.whole_rows else _CHUNK_IDS
        for row in range(start, end, step):
            part = np.asarray(self._array[row : row + step])
            ids = part.astype(np.int64)  # packing refuses those that no tokenizer has
            if self.whole_rows:
                found = [Document("", f"{self._path}: row {row + n:,}", ids=own) for n, own in enumerate(ids, start=1)]
            else:
                found = [Document("", f"{self._path}: from id {row + 1:,}", continues=True, ids=ids)]
            yield Chunk(found, {"row": row + len(part)})


def _of_archive(path: Path, column: str | None) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        name = _name_of(list(members), column, path)
        size = members[name].file_size
        if size > LARGEST:
            raise FormatError(
                f"The array {name!r} unpacks to {size:,} bytes.", where=str(path),
                hint="Write it with numpy.save: it is then read in parts.",
            )
        with archive.open(members[name]) as file:  # numpy takes the memory that a header claims before it reads
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"version {version} of the format is not known")
            shape, _, dtype = readers[version](file)
            if math.prod(shape) * dtype.itemsize > size:
                raise ValueError(f"it declares the shape {list(shape)}, more than its {size:,} bytes hold")
        with archive.open(members[name]) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _name_of(arrays: list[str], column: str | None, path: Path) -> str:
    if column is None and len(arrays) == 1:
        return arrays[0]
    return choose_column("tokens", dict.fromkeys(arrays), column, str(path))


METADATA = "sae_lens.json"  # written by SAELens' PretokenizeRunner
_LARGEST_METADATA = 1 << 20  # bytes
_ARRAYS = (".npy", ".npz", ".safetensors")
_ROWS = (".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".jsonl.zst")
_LOOKED_AT = 64  # rows from which is seen whether all have one length


def open_token_files(config: TokensCorpus) -> TokenFiles | TokenArray:
    """The tokens that `config` names."""
    path = Path(config.source).expanduser().absolute()
    if path.is_file() and path.suffix.lower() in _ARRAYS:
        return _open_array(path, config)
    if (path / "dataset_dict.json").is_file():  # several splits, as `datasets` saves them
        path = path / config.split
    files = find_files(path, _ROWS)
    shards = [shard for file in files if (shard := local_shard(file)) is not None]
    if not shards:
        raise NotFoundError(
            "This is not a file with token ids.", where=str(path),
            hint=f"Files ending in {', '.join((*_ARRAYS, *_ROWS))} are read, and folders of them.",
        )
    return TokenFiles(config, path, files, shards)


class TokenFiles(Corpus):
    """Files with a list of token ids per row."""

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

    def fingerprint(self) -> str:
        facts = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in self._files]
        return hashlib.sha256(json.dumps([facts, self._config.column]).encode()).hexdigest()

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        with readable(self._files[0]):
            yield from chunked(read_documents(self._shards, "tokens", self._config.column, position))


def equal_lengths(shard: Shard, column: str | None) -> bool:
    """Whether the first rows have equal lengths: then they are contexts already."""
    lengths = {
        len(row.value) for row in islice(read_rows(shard, "tokens", column), _LOOKED_AT) if isinstance(row.value, list)
    }
    return len(lengths) == 1


def read_metadata(folder: Path) -> dict[str, Any]:
    """What SAELens' PretokenizeRunner wrote beside the tokens; nothing where it did not."""
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
        raise FormatError("This is not metadata of SAELens.", where=where, hint="Tokenise the dataset again.")
    return {str(key): value for key, value in found.items() if isinstance(value, str | int | bool | None)}
