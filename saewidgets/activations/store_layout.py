"""What a store of activations is on disk.

    <folder>/store.json                     what it holds; there once everything is whole
    <folder>/capture.json                   instead of it while it is being written: how far it is
    <folder>/tokens.bin                     ids of the tokens, n_contexts × context_size, little endian
    <folder>/special.bin                    one byte per token: 1 where it is a special one
    <folder>/<hook_name>/00000.bin …        rows [n, width] of that hook point, little endian, without a header

Row r of every hook point belongs to token r: position ``r % context_size`` of context ``r // context_size``. A store of
imported hidden states has no tokens; its contexts are only blocks of rows that are read together, the last one maybe
shorter. bfloat16 is stored as its 16 bits.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from saewidgets.config.hook_names import head_of, without_head
from saewidgets.durable import seal_of, sealed, sync
from saewidgets.errors import FormatError, NotFoundError, SAEWidgetsError

FORMAT = 1
STORE, PROGRESS, TOKENS, SPECIAL = "store.json", "capture.json", "tokens.bin", "special.bin"
SHARD_BYTES = 1 << 28  # about; a shard holds whole contexts
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKEN_DTYPES = ("<u2", "<u4")
HOOK_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,200}")
TMP = ".tmp-"
_JSON_BYTES = 64 * 2**20
_COUNT = 1 << 53
_AGAIN = "Capture or import it again."


@dataclass(frozen=True, slots=True)
class StoredHook:
    """One hook point of a store: its width and the mean norm of its rows, special tokens left out; of
    ``attn.hook_z`` also how many heads lie side by side in a row, where the model said so."""

    width: int
    mean_norm: float
    heads: int | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a store has the rows of a hook point: part of each row in the files of `files`.

    Attributes:
        files: the hook name that the files are of.
        row: numbers per row of these.
        first, width: which of them, one after the other.
    """

    files: str
    row: int
    first: int
    width: int


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What `store.json` says.

    Attributes:
        source: ``"captured"`` from a model, or ``"imported"``.
        model, model_revision, model_class, model_fingerprint, model_dtype: the language model, as far as known.
        tokenizer, tokenizer_fingerprint: what made the tokens.
        corpus, corpus_fingerprint: label of the text; hash of text, tokenizer and packing.
        context_size: tokens per context; of imported states the rows of a block.
        prepend_bos: contexts start with BOS; None where there are no tokens.
        special_ids: ids that `special.bin` marks.
        tokens: number format of `tokens.bin`; None where there is none.
        dtype: number format of the rows.
        n_contexts, n_rows: rows are whole contexts, but for the last of imported states.
        n_held_out: so many contexts at the beginning were named as held out by the corpus.
        n_special: rows of special tokens.
        rows_per_shard: rows of every file of a hook point but the last.
        hooks: hook name → width and mean norm.
        files: name → ``{"size": bytes, "sha256": …}``.
        fingerprint: SHA-256 of all of the above.
    """

    source: Literal["captured", "imported"]
    model: str | None
    model_revision: str | None
    model_class: str | None
    model_fingerprint: str | None
    model_dtype: str | None
    tokenizer: str | None
    tokenizer_fingerprint: str | None
    corpus: str
    corpus_fingerprint: str | None
    context_size: int
    prepend_bos: bool | None
    special_ids: tuple[int, ...]
    tokens: str | None
    dtype: str
    n_contexts: int
    n_rows: int
    n_held_out: int
    n_special: int
    rows_per_shard: int
    hooks: Mapping[str, StoredHook]
    files: Mapping[str, Mapping[str, Any]]
    fingerprint: str = ""

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but `store.json`."""
        return sum(int(file["size"]) for file in self.files.values())

    def columns(self, hook_name: str) -> Columns | None:
        """Where the rows of a hook point are, also those of one head of a stored ``attn.hook_z``; None: nowhere."""
        if (hook := self.hooks.get(hook_name)) is not None:
            return Columns(hook_name, hook.width, 0, hook.width)
        whole, head = self.hooks.get(without_head(hook_name)), head_of(hook_name)
        if whole is None or whole.heads is None or head is None or head >= whole.heads:
            return None
        width = whole.width // whole.heads
        return Columns(without_head(hook_name), whole.width, head * width, width)

    def shards(self, hook_name: str) -> list[str]:
        """Names of the files of a hook point, in order."""
        return [shard_name(hook_name, number) for number in range(-(-self.n_rows // self.rows_per_shard))]


def shard_name(hook_name: str, number: int) -> str:
    """Name of a file of a hook point below the store's folder."""
    return f"{hook_name}/{number:05d}.bin"


def rows_per_shard(context_size: int, width: int, dtype: str) -> int:
    """Rows in one file: whole contexts of about `SHARD_BYTES`."""
    return context_size * max(1, SHARD_BYTES // (context_size * width * DTYPES[dtype].itemsize))


def write_facts(folder: Path, facts: StoreFacts) -> StoreFacts:
    """Write `store.json`, whole or not at all; returns what it says."""
    data = {"format": FORMAT, **asdict(facts)}
    del data["fingerprint"]
    for hook in data["hooks"].values():
        if hook["heads"] is None:
            del hook["heads"]
    whole = sealed(data)
    write_json(folder / STORE, whole)
    return _facts(whole)


def facts_if_whole(folder: Path) -> StoreFacts | None:
    """What `store.json` in `folder` says; None where there is no store that is whole."""
    try:
        return read_facts(folder)
    except SAEWidgetsError:
        return None


def read_facts(folder: Path) -> StoreFacts:
    """What `store.json` in `folder` says, checked: nothing it claims leads out of the folder.

    Raises:
        NotFoundError: there is no such folder, or no store in it.
        FormatError: it is damaged, or not a store; an unfinished one says so.
    """
    if not (folder / STORE).is_file():
        if (folder / PROGRESS).is_file():
            raise FormatError(
                "This store is incomplete: its capture has not ended.", where=str(folder), hint="Resume the capture."
            )
        raise NotFoundError("There is no store of activations.", where=str(folder), hint=_AGAIN)
    data = read_json(folder / STORE)
    if data is None:
        raise FormatError("The file is damaged.", where=str(folder / STORE), hint=_AGAIN)
    if data.get("format") != FORMAT:
        raise FormatError(
            f"This is a store of format {str(data.get('format'))[:20]}, not {FORMAT}.", where=str(folder / STORE),
            hint="Update saewidgets.",
        )
    try:
        facts = _facts(data)
        _check(facts)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise FormatError(
            f"This is not what a store says ({error}).", where=str(folder / STORE), hint=_AGAIN
        ) from error
    return facts


def read_json(path: Path) -> dict[str, Any] | None:
    """A sealed JSON file; None if it is not there, not whole, or was changed."""
    try:
        if path.stat().st_size > _JSON_BYTES:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("sha256") == seal_of(data) else None


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` under this name, whole or not at all, and flush it to the disk."""
    temporary = path.with_name(f"{TMP}{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _facts(data: Mapping[str, Any]) -> StoreFacts:
    rest = {key: value for key, value in data.items() if key not in ("format", "sha256")}
    hooks = {str(name): StoredHook(**hook) for name, hook in rest.pop("hooks").items()}
    special = tuple(int(each) for each in rest.pop("special_ids"))
    return StoreFacts(**rest, hooks=hooks, special_ids=special, fingerprint=str(data["sha256"])[:24])


def _check(facts: StoreFacts) -> None:
    counts = (
        facts.context_size, facts.n_contexts, facts.n_rows, facts.rows_per_shard,
        *(hook.width for hook in facts.hooks.values()),
    )
    if not all(type(n) is int and 0 < n < _COUNT for n in counts) or not facts.hooks:
        raise ValueError("a size that cannot be")
    whole = facts.n_contexts * facts.context_size
    if not whole - facts.context_size < facts.n_rows <= whole or not 0 <= facts.n_held_out < facts.n_contexts:
        raise ValueError("rows that are not its contexts")
    if facts.dtype not in DTYPES or facts.tokens not in (None, *TOKEN_DTYPES):
        raise ValueError("an unknown number format")
    if facts.rows_per_shard % facts.context_size:
        raise ValueError("files of broken contexts")
    if any(not HOOK_FOLDER.fullmatch(name) for name in facts.hooks):
        raise ValueError("a hook name that cannot be one")
    heads = [(hook.width, hook.heads) for hook in facts.hooks.values() if hook.heads is not None]
    if not all(type(n) is int and 0 < n <= width and width % n == 0 for width, n in heads):
        raise ValueError("a number of heads that cannot be")
    if -(-facts.n_rows // facts.rows_per_shard) * len(facts.hooks) > len(facts.files):  # before any list is made
        raise ValueError("too few files for its rows")
    if expected_sizes(facts) != {name: file["size"] for name, file in facts.files.items()}:
        raise ValueError("files that do not fit its rows")


def expected_sizes(facts: StoreFacts) -> dict[str, int]:
    """File → bytes, from the counts alone."""
    sizes = {}
    if facts.tokens is not None:
        sizes = {TOKENS: facts.n_rows * int(facts.tokens[-1]), SPECIAL: facts.n_rows}
    for name, hook in facts.hooks.items():
        row = hook.width * facts.torch_dtype.itemsize
        left = facts.n_rows
        for shard in facts.shards(name):
            sizes[shard] = min(left, facts.rows_per_shard) * row
            left -= facts.rows_per_shard
    return sizes
