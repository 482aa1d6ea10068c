"""Lines of a file that may be gzipped: bounded while they are unpacked, so that a small file cannot fill the memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from saewidgets.errors import FormatError

MAX_LINE = 4_000_000  # bytes
MAX_UNPACKED = 1 << 32  # bytes
MAX_RATIO = 200
"""Text packs about tenfold, and not more than this."""
_PIECE = 1 << 20


def lines(file: BinaryIO, name: str, max_unpacked: int = MAX_UNPACKED) -> Iterator[bytes]:
    """The lines of `file`, with their ends; whether it is gzipped is seen from its first bytes.

    Args:
        file: at its beginning; it can seek.
        name: what errors call it.
        max_unpacked: most bytes that are read.

    Raises:
        FormatError: it is damaged or cut off, a line is too long, or it unpacks to more than is plausible.
    """
    magic = file.read(2)
    file.seek(0)
    is_packed = magic == b"\x1f\x8b"
    source = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file
    rest, total = b"", 0
    while piece := _read(source, name):
        total += len(piece)
        if total > max_unpacked:
            raise FormatError(f"The file holds more than {max_unpacked:,} bytes.", where=name)
        if is_packed and total > _PIECE and total > MAX_RATIO * file.tell():
            raise FormatError(
                f"The file unpacks to more than {MAX_RATIO} times its size, which text does not.", where=name,
                hint="It may be made to fill the memory; get it from its source again.",
            )
        *whole, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in whole):
            raise FormatError(f"A line is longer than {MAX_LINE:,} bytes.", where=name)
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def _read(source: BinaryIO, name: str) -> bytes:
    try:
        return source.read(_PIECE)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"The file is damaged or cut off ({error}).", where=name, hint="Get it again.") from error
