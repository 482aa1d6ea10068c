"""The layout of an extraction's folder (names, types and shapes of its arrays, its manifest), and how it is written.

    <folder>/extraction.json     the manifest; written last, so that a folder without it is not an extraction
    <folder>/<name>.npy          one file per array of `STORED`, memory-mapped when read
    <folder>/vocabulary.bin      the UTF-8 bytes of every token that occurs, see `vocabulary.npy`
    <folder>/logits/             `LOGIT_ARRAYS`, once they were computed for all latents (optional), with a
                                 `vocabulary.npy` (`LOGIT_VOCABULARY`) and `vocabulary.bin` of the tokens they name

The text itself is not copied: contexts are rows of the packed tokens that the manifest names (`PackedTokens`). A place
in the text is a *stream position*: ``row · context_size + offset``, where `row` counts the contexts that were read, in
order, and `contexts.npy` says which context of the packing that was.

A pass hands over `ARRAYS`; on disk the windows, which are mostly zeros, are kept as what is not zero (`STORED`).

Shapes use d = latents, n = contexts read, k = examples kept per latent, m = examples kept per interval,
w = 2 · `WINDOW` + 1 positions around an example, v = distinct tokens, t = tokens of the co-activation sample, and e, f,
g for numbers of entries.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from saewidgets.durable import crc32_of, sealed, storage_errors, sync, whole_folder, write_json
from saewidgets.errors import StorageError

if TYPE_CHECKING:
    from saewidgets.lm import TokenText

VERSION = 1
MANIFEST = "extraction.json"
VOCABULARY = "vocabulary.bin"
LOGITS = "logits"
CHECKSUMS = "checksums.json"  # of the files in `LOGITS`
WINDOW = 16  # positions kept on either side of an example, with the latent's activation at each
BINS = 64  # of a latent's histogram of non-zero activations: equal, from 0 to ``2 ** scale``
INTERVALS = 16  # of activations: each is ``BINS // INTERVALS`` neighbouring bins of the histogram
COACTIVATION_ENTRIES = 16_000_000  # most (token, latent) pairs in the co-activation sample
MAX_POSITION = 2**31 - 1  # largest stream position; an extraction reads fewer tokens
LOGIT_TOKENS = 10  # on either side
_ROWS = 1 << 12  # latents at a time


@dataclass(frozen=True, slots=True)
class Array:
    """dtype (numpy's name, little endian), shape in the letters above, and its meaning."""

    dtype: str
    shape: tuple[str, ...]
    about: str


ARRAYS: Mapping[str, Array] = {
    "contexts": Array("<i8", ("n",), "numbers of the contexts in the packed tokens, in the order they were read"),
    "firing_counts": Array("<i8", ("d",), "counted positions on which the latent was above zero"),
    "context_counts": Array("<i8", ("d",), "contexts in which it fired"),
    "document_counts": Array("<i8", ("d",), "documents in which it fired"),
    "sums": Array("<f8", ("d",), "sum of its activations"),
    "max": Array("<f4", ("d",), "its largest activation; 0 for a latent that did not fire"),
    "scale": Array("<i2", ("d",), "the histogram goes from 0 to 2 ** scale; the least such that max <= 2 ** scale"),
    "histogram": Array("<i4", ("d", "bins"), "positions whose activation is in ((b) , (b + 1)] · 2 ** scale / BINS"),
    "top_values": Array("<f4", ("d", "k"), "largest activations, descending; 0 where there are fewer"),
    "top_positions": Array("<i4", ("d", "k"), "their stream positions; -1 where there are fewer"),
    "top_windows": Array("<f2", ("d", "k", "w"), "the latent's activation around each; 0 outside its context"),
    "interval_values": Array("<f4", ("d", "intervals", "m"), "a uniform sample of the firings in each interval"),
    "interval_positions": Array("<i4", ("d", "intervals", "m"), "their stream positions; -1 where there are fewer"),
    "interval_windows": Array("<f2", ("d", "intervals", "m", "w"), "the latent's activation around each"),
    "sample_positions": Array("<i4", ("t",), "stream positions of the co-activation sample, ascending"),
    "sample_offsets": Array("<i8", ("t+1",), "where each sampled token's latents begin in sample_latents"),
    "sample_latents": Array("<i4", ("e",), "the latents that fired on each sampled token, ascending"),
    "vocabulary": Array("<i8", ("v", "3"), "token id, where its bytes begin and end in vocabulary.bin; ids ascending"),
}

WINDOWS = ("top_windows", "interval_windows")
"""The arrays that are stored as three: per example how many values are not zero, per latent where its own begin, and
offset (from −`WINDOW`) and value of each."""


def _stored() -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, array in ARRAYS.items():
        if name not in WINDOWS:
            found[name] = array
            continue
        entries = "f" if name == "top_windows" else "g"
        about = f"of {name}: "
        found |= {
            f"{name}_counts": Array("|u1", array.shape[:-1], about + "values that are not zero, per example"),
            f"{name}_starts": Array("<i8", ("d+1",), about + "where each latent's entries begin"),
            f"{name}_offsets": Array("|i1", (entries,), about + "offset from the peak"),
            f"{name}_values": Array("<f2", (entries,), about + "the activation there"),
        }
    return found


STORED: Mapping[str, Array] = _stored()

LOGIT_ARRAYS: Mapping[str, Array] = {
    "top_tokens": Array("<i4", ("d", "10"), "tokens whose logit the decoder direction raises most, descending"),
    "top_logits": Array("<f4", ("d", "10"), "by how much, per unit of activation"),
    "bottom_tokens": Array("<i4", ("d", "10"), "tokens whose logit it lowers most, the lowest first"),
    "bottom_logits": Array("<f4", ("d", "10"), "by how much"),
}
"""Where the model's vocabulary has fewer tokens, −1 and 0 take their place."""

LOGIT_VOCABULARY = Array("<i8", ("v", "3"), "of the tokens in LOGIT_ARRAYS what `vocabulary` has of those in the text")

Size = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`extraction.json`.

    Attributes:
        version: of this layout.
        d_sae, d_in: of the SAE.
        hook_name, model, architecture: where it reads, of which model, which kind it is.
        tokens: fingerprint of the packed tokens (a folder of that name among the workspace's).
        context_size: tokens per context.
        n_contexts, n_documents: read (a document that goes on in the next context read counts once).
        n_tokens: counted positions: without special tokens and those left out by their norm.
        n_excluded_special, n_excluded_norm: positions that were left out.
        norm_limit: largest norm that was counted; None where none was.
        examples, per_interval, per_document: how many were kept.
        min_activation: share of a latent's largest activation below which no interval example is kept.
        coactivation_rate: share of the counted positions in the co-activation sample, a power of 1/2.
        settings: the whole configuration it was made with.
        facts: of the SAE and the run, for the reader: name, source, seconds, device …
        checksums: CRC-32 of each file; empty where an earlier version wrote them.
    """

    version: int
    d_sae: Size
    d_in: Count
    hook_name: str
    model: str
    architecture: str
    tokens: Annotated[str, Field(pattern=r"^[^\W_]+$")]
    context_size: Size
    n_contexts: Count
    n_documents: int
    n_tokens: Count
    n_excluded_special: int
    n_excluded_norm: int
    norm_limit: float | None
    examples: Count
    per_interval: Count
    per_document: int
    min_activation: float
    coactivation_rate: float
    settings: dict[str, Any]
    facts: dict[str, Any]
    checksums: dict[str, str] = field(default_factory=dict, compare=False)


def write_store(
    folder: Path | str, arrays: Mapping[str, npt.NDArray[Any]], manifest: Manifest, vocabulary: bytes
) -> None:
    """Fill `folder` (made when it is missing; what else is in it stays).

    `arrays` are exactly those of `ARRAYS`, of any type that the named one can hold; `vocabulary` are the bytes that the
    array `vocabulary` points into. Where the disk refuses (`StorageError`), the folder has no manifest.
    """
    folder = Path(folder)
    check_shapes(ARRAYS, {name: array.shape for name, array in arrays.items()}, manifest)
    with storage_errors("The extraction cannot be written", folder, "Free some disk space, then resume it."):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        written = [folder / VOCABULARY]
        try:
            for name, array in arrays.items():
                parts = sparse_windows(name, array) if name in WINDOWS else {name: array}
                for part, values in parts.items():
                    written.append(folder / f"{part}.npy")
                    _save(written[-1], values, STORED[part].dtype)
            written[0].write_bytes(vocabulary)
            for path in written:
                sync(path)
            sums = {path.name: crc32_of(path) for path in written}
            write_json(folder / MANIFEST, sealed({**asdict(manifest), "checksums": sums}))
        except OSError:
            for path in written:
                with suppress(OSError):  # if it cannot be deleted: without a manifest it is not an extraction
                    path.unlink(missing_ok=True)
            raise


def write_logits(
    folder: Path | str, arrays: Mapping[str, npt.NDArray[Any]], vocabulary: npt.NDArray[np.int64], text: bytes
) -> None:
    """Put the logit tables of all latents into the folder of an extraction, whole or not at all; old ones go.

    `arrays` are exactly those of `LOGIT_ARRAYS`, `vocabulary` a `LOGIT_VOCABULARY` of their tokens, `text` its bytes.
    Where the disk refuses or the folder is gone (`StorageError`), what was there before is still there.
    """
    folder = Path(folder)
    layout = {**LOGIT_ARRAYS, "vocabulary": LOGIT_VOCABULARY}
    values = {**arrays, "vocabulary": vocabulary}
    check_shapes(layout, {name: array.shape for name, array in values.items()})
    if not folder.is_dir():
        raise StorageError("The extraction is gone.", where=str(folder), hint="Extract it again; labels are kept.")
    for left in folder.glob(f".{LOGITS}.*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with whole_folder(folder / LOGITS, [VOCABULARY, CHECKSUMS, *(f"{name}.npy" for name in layout)]) as draft:
        for name, array in values.items():
            _save(draft / f"{name}.npy", array, layout[name].dtype)
        (draft / VOCABULARY).write_bytes(text)
        write_json(draft / CHECKSUMS, sealed({path.name: crc32_of(path) for path in draft.iterdir()}))


def vocabulary_of(tokens: Iterable[int], text: TokenText) -> tuple[npt.NDArray[np.int64], bytes]:
    """For tokens in ascending order: id, begin and end of its bytes, ``[v, 3]``; and the bytes."""
    ids = list(tokens)
    pieces = [text.bytes(token) for token in ids]
    ends = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    return np.stack([np.asarray(ids, np.int64), ends[:-1], ends[1:]], axis=1), b"".join(pieces)


def sparse_windows(name: str, windows: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """The stored form of dense windows ``[d, …, 2 · WINDOW + 1]``: counts, starts, offsets and values."""
    flat = windows.reshape(len(windows), -1, windows.shape[-1])
    counts = np.empty(flat.shape[:2], dtype=np.uint8)
    offsets, values = [np.empty(0, np.int8)], [np.empty(0, np.float16)]
    for begin in range(0, len(flat), _ROWS):
        part = np.asarray(flat[begin : begin + _ROWS], dtype=np.float16)
        at = np.nonzero(part)
        counts[begin : begin + _ROWS] = (part != 0).sum(-1)
        offsets.append((at[2] - WINDOW).astype(np.int8))
        values.append(part[at])
    starts = np.concatenate([[0], np.cumsum(counts.sum(1, dtype=np.int64))])
    return {
        f"{name}_counts": counts.reshape(windows.shape[:-1]), f"{name}_starts": starts,
        f"{name}_offsets": np.concatenate(offsets), f"{name}_values": np.concatenate(values),
    }


def _save(path: Path, array: npt.NDArray[Any], dtype: str) -> None:
    stored = np.ascontiguousarray(array, dtype=dtype)
    if stored.dtype.kind in "iu" and array.size and (stored.min() != array.min() or stored.max() != array.max()):
        raise ValueError(f"{path.stem} has values that {dtype} cannot hold")
    np.save(path, stored, allow_pickle=False)


def check_shapes(
    layout: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], manifest: Manifest | None = None
) -> None:
    """Compare shapes with the layout; letters that the manifest does not fix have to agree with each other.

    Raises:
        ValueError: naming the first array that does not fit, what it has and what is expected.
    """
    if set(shapes) != set(layout):
        raise ValueError(f"arrays that differ from the layout: {sorted(set(shapes) ^ set(layout))}")
    letters = {"w": 2 * WINDOW + 1, "bins": BINS, "intervals": INTERVALS}
    if manifest is not None:
        letters |= {
            "d": manifest.d_sae, "n": manifest.n_contexts, "k": manifest.examples, "m": manifest.per_interval
        }
    for name, array in layout.items():
        shape = shapes[name]
        if len(shape) != len(array.shape):
            raise ValueError(f"{name} has {len(shape)} dimensions, {len(array.shape)} are expected")
        for size, letter in zip(shape, array.shape, strict=True):
            plus = letter.endswith("+1")
            key = letter.removesuffix("+1")
            expected = int(key) if key.isdigit() else letters.setdefault(key, size - plus)
            if size != expected + plus:
                raise ValueError(f"{name} has shape {shape}, {expected + plus} is expected for {letter}")
