"""Defines `Document`, `Chunk` and `Corpus`, which every reader of text returns, and `read_rows`: files with a document
per row (JSON lines, Parquet and Arrow), read forward from any `ShardPosition`.

A place is kept beside packed tokens. In Parquet it names the row group, in JSON lines the byte, so that what is before
it is not read again (a packed file has to be unpacked from its beginning).
"""

import codecs
import gzip
import io
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError

Position = Mapping[str, Any]
"""Where a corpus goes on reading: plain JSON data, kept beside the packed tokens."""

PIECE_CHARACTERS = 1 << 18  # longest piece handed to the tokenizer
CHARACTERS_PER_TOKEN = 4  # so that chunks of ids are as large as chunks of text
CHUNK_CHARACTERS = 1 << 19  # characters per call of the tokenizer


class Turn(NamedTuple):
    """What one side says in a conversation."""

    role: str  # "system", "user", "assistant", … as the chat template of a tokenizer wants it
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a piece of one."""

    text: str  # empty where `ids` or `turns` are given
    source: str  # where it is from (a file, a row, "string 3"), for messages
    continues: bool = False  # this piece follows the previous one without a break
    ids: npt.NDArray[np.int64] | None = None  # of text that was tokenised before, one-dimensional
    turns: tuple[Turn, ...] = ()  # of a conversation: who says what, in place of a text
    held_out: bool = False  # its corpus wants it evaluated on, not trained on

    @property
    def size(self) -> int:
        """The number of characters; for token ids an estimate."""
        if self.ids is not None:
            return len(self.ids) * CHARACTERS_PER_TOKEN
        return len(self.text) + sum(len(turn.content) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Documents that are worth a call of the tokenizer, and where to go on behind them."""

    documents: list[Document]
    position: Position


class Corpus(ABC):
    """Text to read."""

    label: str  # its name on the screen
    facts: Mapping[str, Any]  # what a run records of it, JSON data; "held_out": it brings its own validation documents
    is_long: bool = True  # it is packed as far as a run needs it; else to its end
    whole_rows: bool = False  # every document is one context already, tokenised elsewhere
    chat: bool = False  # its documents are conversations
    tokenizer_said: str | None = None  # the tokenizer that made its ids, according to the person who uses it

    @abstractmethod
    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        """The text from the beginning or from a `Chunk.position` on, in a fixed order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the text: equal for equal corpora, wherever they lie."""

    def documents(self) -> Iterator[Document]:
        for chunk in self.chunks():
            yield from (document for document in chunk.documents if not document.held_out)


Read = Iterator[tuple[list[Document] | None, Callable[[], Position]]]
"""What a reader yields: documents (None: a file has ended), and a function that returns the position after them."""


def chunked(read: Read) -> Iterator[Chunk]:
    """Chunks of what a reader yields. A file that has ended ends its chunk, so that a reader that
    continues there does not open the file again."""
    documents: list[Document] = []
    size = 0
    position: Callable[[], Position] = dict
    for found, position in read:
        documents += found or ()
        size += sum(document.size for document in found or ())
        if documents and (found is None or size >= CHUNK_CHARACTERS):
            yield Chunk(documents, position())
            documents, size = [], 0
    if documents:
        yield Chunk(documents, position())


def pieces(text: str, source: str) -> Iterator[Document]:
    """A document in pieces no longer than `PIECE_CHARACTERS`; nothing for an empty text."""
    continues = False
    while len(text) > PIECE_CHARACTERS:
        at = cut(text)
        yield Document(text[:at], source, continues)
        text, continues = text[at:], True
    if text:
        yield Document(text, source, continues)


def cut(text: str) -> int:
    """Where to end a piece: after a line end that text follows, where tokenizers break anyway; else at the limit."""
    at = PIECE_CHARACTERS
    floor = PIECE_CHARACTERS // 2
    while (at := text.rfind("\n", floor, at)) != -1:
        if not text[at + 1].isspace():
            return at + 1
    return PIECE_CHARACTERS


Kind = Literal["jsonl", "parquet", "arrow"]
What = Literal["text", "tokens", "chat"]

_TEXT = ("text", "content", "document", "raw_content", "body", "article", "story", "passage", "sentence", "code")
_TALKS = ("conversation", "conversations", "messages", "chat")
# What is read → usual names of its columns, what they hold, and the setting that names one. Where conversations are
# read, strings count as what a user says.
_COLUMNS: dict[What, tuple[tuple[str, ...], str, str]] = {
    "text": (_TEXT, "text", "text_field"),
    "chat": ((*_TALKS, "text"), "conversations", "text_field"),
    "tokens": (("input_ids", "tokens", "token_ids", "ids"), "token ids", "column"),
}


def choose_column(what: What, columns: Mapping[str, str | None], wanted: str | None, where: str) -> str:
    """The column to read: the one `wanted`, else the first of the usual names, else the only one that fits. `columns`:
    name → None if it may hold `what`, else its type."""
    usual, called, field = _COLUMNS[what]
    fitting = [name for name, other in columns.items() if other is None]
    talks = [name for name in _TALKS if columns.get(name) is not None]
    if what == "text" and wanted is None and talks and not any(name in fitting for name in usual):
        raise ConfigError(
            f"{where} has no known column of text, but one of conversations, {talks[0]!r}.",
            where="corpus.chat", hint="Read these with chat=True, or name a column with text: text_field=….",
        )
    typed = [name if other is None else f"{name} ({other})" for name, other in columns.items()]
    has = f"Its columns: {_listed(typed)}." if columns else "It has no columns."
    if wanted is not None:
        if wanted not in columns:
            raise ConfigError(f"{where} has no column {wanted!r}.", where=f"corpus.{field}", hint=has)
        if wanted not in fitting:
            raise ConfigError(
                f"The column {wanted!r} of {where} holds no {called}, but {columns[wanted]}.", where=f"corpus.{field}",
                hint=f"Columns with {called}: {_listed(fitting)}." if fitting else has,
            )
        return wanted
    for name in usual:
        if name in fitting:
            return name
    if len(fitting) == 1:
        return fitting[0]
    raise ConfigError(
        f"{where} has {'several columns' if fitting else 'no column'} with {called}.", where=f"corpus.{field}",
        hint=f"{has} Say which one to read: {field}=…." if fitting else has,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)[:400]


LONGEST_LINE = 1 << 28  # bytes of one JSON line
LARGEST_GROUP = 1 << 33  # bytes of one column in one row group of a Parquet file, unpacked
_ROWS = 512  # rows turned into Python values at once
_SUFFIXES: dict[str, Kind] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonl.gz": "jsonl", ".ndjson.gz": "jsonl", ".jsonl.zst": "jsonl",
    ".ndjson.zst": "jsonl", ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: its name for messages and to find it again, how it is read, and its bytes from the beginning."""

    name: str
    kind: Kind
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """Where to go on in a shard."""

    row: int = 0  # rows that are before it
    at: int = 0  # byte of the line, or number of the row group or record batch
    skip: int = 0  # rows of the group that are before it


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A value of `column` (None: the row is a bare string), its number from 1 on, and the place behind it."""

    value: Any
    number: int
    after: ShardPosition
    column: str | None


def kind_of(name: str) -> Kind | None:
    """How a file of this name is read; None where it has no rows."""
    low = name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if low.endswith(suffix)), None)


def read_rows(shard: Shard, what: What, column: str | None, start: ShardPosition | None = None) -> Iterator[ShardRow]:
    """The rows from `start` on. The column is found by its name where it is None."""
    reader = {"jsonl": _jsonl, "parquet": _parquet, "arrow": _arrow}[shard.kind]
    number = (start or ShardPosition()).row
    try:
        for row in reader(shard, what, column, start or ShardPosition()):
            number = row.number
            yield row
    except SAEWidgetsError:
        raise
    except (OSError, EOFError, ValueError, NotImplementedError, zlib.error) as error:
        # An error of the system or the network has a number or a type of its own; the others are of gzip and pyarrow.
        if isinstance(error, OSError) and (type(error) not in (OSError, gzip.BadGzipFile) or error.errno is not None):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise FormatError(
            f"The file is damaged or ends too early, after row {number:,} ({first}).", where=shard.name,
            hint="Download or copy it again.",
        ) from error


def _jsonl(shard: Shard, what: What, column: str | None, start: ShardPosition) -> Iterator[ShardRow]:
    chosen = column
    if column is None and start.row:  # as when it was read from its beginning
        chosen = next((row.column for row in _jsonl(shard, what, None, ShardPosition())), None)
    with shard.open() as raw, _unpacked(shard.name, raw) as file:
        file.seek(start.at)
        number, at = start.row, start.at
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise _damaged(shard, number + 1, f"is longer than {LONGEST_LINE >> 20} MB")
            number, at = number + 1, at + len(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            except UnicodeDecodeError as error:
                hint = "The file is UTF-16. Save it as UTF-8." if is_utf16(line) else "Correct or remove this row."
                raise _damaged(shard, number, f"is not UTF-8 (byte {error.start + 1} of the line)", hint) from error
            except (ValueError, RecursionError) as error:
                raise _damaged(shard, number, f"is not JSON ({error})") from error
            if isinstance(row, str) and what != "tokens" and column is None:
                yield ShardRow(row, number, ShardPosition(number, at), None)
                continue
            if not isinstance(row, dict):
                raise _damaged(shard, number, f"is {_kind(row)}, not an object with a {what} column")
            if chosen is None or (number == 1 and chosen not in row):
                chosen = choose_column(
                    what, {name: other_type(what, value) for name, value in row.items()}, column, shard.name
                )
            if chosen not in row:
                raise _damaged(shard, number, f"has no {chosen!r}", hint=f"It has {', '.join(row)[:200]}.")
            yield ShardRow(row[chosen], number, ShardPosition(number, at), chosen)


def is_utf16(data: bytes) -> bool:
    """Whether text begins with the byte-order mark of UTF-16, or every other byte of it is null."""
    head = data[:64]
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or head.count(0) * 5 >= len(head) * 2 > 2


def _unpacked(name: str, raw: IO[bytes]) -> Any:
    if name.endswith(".gz"):
        return gzip.open(raw, "rb")
    if name.endswith(".zst"):
        import pyarrow as pa  # a tenth of a second to import, and only for such files

        return _Forward(pa.CompressedInputStream(raw, "zstd"))
    return raw


class _Forward(io.BufferedReader):
    """A stream that can only be read: a place further on is reached by reading up to it."""

    def seek(self, target: int, whence: int = 0) -> int:
        left = target
        while left and (block := self.read(min(left, 1 << 20))):
            left -= len(block)
        return target - left


def _parquet(shard: Shard, what: What, column: str | None, start: ShardPosition) -> Iterator[ShardRow]:
    import pyarrow.parquet as pq  # a second to import, and only for such files

    with shard.open() as raw:
        file = pq.ParquetFile(raw)
        chosen = choose_column(what, arrow_columns(file.schema_arrow, what, column), column, shard.name)
        row, skip = start.row, start.skip
        for group in range(start.at, file.num_row_groups):
            _check_group(shard, file.metadata.row_group(group), chosen)
            in_group = 0
            for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group], columns=[chosen]):
                begin = min(len(batch), max(0, skip - in_group))
                in_group += begin
                for value in batch.column(0).slice(begin).to_pylist():
                    row, in_group = row + 1, in_group + 1
                    yield ShardRow(value, row, ShardPosition(row, group, in_group), chosen)
            skip = 0


def _arrow(shard: Shard, what: What, column: str | None, start: ShardPosition) -> Iterator[ShardRow]:
    """A stream of record batches, as `datasets` saves one."""
    import pyarrow as pa  # a second to import, and only for such files

    with shard.open() as raw:
        stream = pa.ipc.open_stream(raw)
        chosen = choose_column(what, arrow_columns(stream.schema, what, column), column, shard.name)
        row = 0
        for batch in stream:
            if row + len(batch) <= start.row:
                row += len(batch)
                continue
            values = batch.column(chosen)
            for begin in range(max(0, start.row - row), len(values), _ROWS):
                for number, value in enumerate(values.slice(begin, _ROWS).to_pylist(), start=row + begin + 1):
                    yield ShardRow(value, number, ShardPosition(number), chosen)
            row += len(batch)


def arrow_columns(schema: Any, what: What, wanted: str | None = None) -> dict[str, str | None]:
    """Column → None if it may hold `what`, else its type. Bytes count as text in the column `wanted`, in one with a
    usual name, or if there are no strings: Spark writes text so, but images are bytes as well."""
    import pyarrow.types as kinds  # loaded here for long

    def is_string(kind: Any) -> bool:
        if kinds.is_dictionary(kind):  # categories of pandas
            kind = kind.value_type
        return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or str(kind) == "string_view")

    strings = any(is_string(field.type) for field in schema)

    def fits(name: str, kind: Any) -> bool:
        is_bytes = kinds.is_binary(kind) or kinds.is_large_binary(kind) or str(kind) == "binary_view"
        if what == "text":
            return is_string(kind) or bool(is_bytes and (name in (wanted, *_TEXT) or not strings))
        listed = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
        if what == "chat":
            return is_string(kind) or bool(listed and kinds.is_struct(kind.value_type))
        return bool(listed and kinds.is_integer(kind.value_type))

    return {field.name: None if fits(field.name, field.type) else str(field.type) for field in schema}


def _check_group(shard: Shard, group: Any, column: str) -> None:
    """Checks the declared sizes of a row group before memory is allocated for it."""
    for number in range(group.num_columns):
        found = group.column(number)
        own = found.path_in_schema == column or found.path_in_schema.startswith(f"{column}.")
        if own and found.total_uncompressed_size > LARGEST_GROUP:
            raise FormatError(
                f"A row group of the column {column!r} unpacks to {found.total_uncompressed_size:,} bytes.",
                where=shard.name, hint="Write the file with smaller row groups.",
            )


def other_type(what: What, value: Any) -> str | None:
    """None if the column of this value may hold `what`, else the type of the value."""
    items = value if isinstance(value, list) else [None]
    if what == "tokens":
        fitting = isinstance(value, list) and all(type(item) is int for item in items)
    else:
        talk = what == "chat" and isinstance(value, list) and all(isinstance(item, dict) for item in items)
        fitting = value is None or isinstance(value, str) or talk
    return None if fitting else _kind(value)


_KINDS = {
    "dict": "an object", "list": "a list", "int": "a number", "float": "a number", "str": "a string",
    "bool": "a truth value",
}  # fmt: skip


def _kind(value: Any) -> str:
    return _KINDS.get(type(value).__name__, "nothing")


def _damaged(shard: Shard, number: int, what: str, hint: str = "Correct or remove this row.") -> FormatError:
    return FormatError(f"Row {number:,} {what}.", where=f"{shard.name}:{number}", hint=hint)
