"""Packing: documents → contexts of equal length in a memory-mapped file.

Documents are tokenised one after another and joined with a separator (the end-of-sequence token); the stream is cut
into contexts. With `prepend_bos` every context starts with the beginning-of-sequence token, so that the position whose
activation is an outlier holds the same special token everywhere and can be left out. Nothing is padded: what does not
fill the last context is dropped.

The file is shared: the same text, tokenizer and settings are packed once. A folder appears whole or not at all.

    <folder>/<fingerprint>/tokens.bin    n_contexts × context_size ids, little endian; uint16, or uint32 where the
                                         vocabulary has more than 65,536 entries
    <folder>/<fingerprint>/pack.json     the settings and counts
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.activations.corpus import Corpus, Document, Split
from saewidgets.errors import ConfigError, FormatError, StorageError
from saewidgets.lm import SpecialTokens, special_tokens

FORMAT = 2  # 1: special tokens spelled out in a text were taken for real ones
_TOKENISE_CHARACTERS = 1 << 19  # characters per call of the tokenizer
_STALE_SECONDS = 24 * 3600

Tokens = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What `pack.json` says."""

    format: int
    fingerprint: str
    context_size: int
    prepend_bos: bool
    dtype: str
    n_contexts: int
    n_held_out: int  # contexts at the end that the corpus itself holds out
    n_documents: int
    n_dropped_tokens: int
    largest_id: int
    special_ids: tuple[int, ...]
    bos: int | None
    separator: int | None
    corpus: str
    tokenizer: str


class PackedTokens:
    """Contexts on disk.

    Args:
        folder: one that `pack` wrote.
        validation_share: share of the contexts to hold out, where the corpus has no held-out documents of its own.

    Attributes:
        folder, facts: where it is and what `pack.json` says.
        train, validation: context numbers of each split, ``int64``, ascending. Disjoint; every context is in one.
    """

    def __init__(self, folder: Path | str, validation_share: float = 0.02) -> None:
        self.folder = Path(folder)
        self.facts = _read_facts(self.folder)
        facts = self.facts
        try:
            self._tokens = np.memmap(
                self.folder / "tokens.bin", dtype=np.dtype(facts.dtype), mode="r",
                shape=(facts.n_contexts, facts.context_size),
            )
        except (OSError, ValueError) as error:
            raise FormatError(
                f"The packed tokens cannot be read: {error}.", where=str(self.folder),
                hint="Delete this folder; it is rebuilt.",
            ) from error
        self.train, self.validation = _split(facts.n_contexts, facts.n_held_out, validation_share)
        self._special = np.zeros(int(np.iinfo(facts.dtype).max) + 1 if facts.dtype == "<u2" else 0, dtype=bool)
        if self._special.size:
            self._special[list(facts.special_ids)] = True

    @property
    def n_contexts(self) -> int:
        """Contexts in both splits."""
        return self.facts.n_contexts

    @property
    def context_size(self) -> int:
        """Tokens per context."""
        return self.facts.context_size

    @property
    def fingerprint(self) -> str:
        """Hash of text, tokenizer and settings."""
        return self.facts.fingerprint

    def context(self, index: int) -> Tokens:
        """The ids of one context, ``[context_size]``."""
        return np.asarray(self._tokens[index])

    def contexts(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The ids of several contexts, ``[n, context_size]`` as int64 (a copy)."""
        return self._tokens[np.asarray(indices, dtype=np.int64)].astype(np.int64)

    def at(self, contexts: npt.ArrayLike, offsets: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The ids at single places: context numbers and offsets of one shape, which the answer has too."""
        at = np.asarray(contexts, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
        return np.asarray(self._tokens[at], dtype=np.int64)

    def kept(self, tokens: Tokens, exclude_special_tokens: bool = True) -> npt.NDArray[np.bool_]:
        """Which positions take part in training and metrics: all, or those that hold no special token."""
        if not exclude_special_tokens:
            return np.ones(tokens.shape, dtype=bool)
        if self._special.size:
            return ~self._special[tokens]
        return ~np.isin(tokens, self.facts.special_ids)

    def kept_counts(self, indices: npt.NDArray[np.int64], exclude_special_tokens: bool = True) -> npt.NDArray[np.int64]:
        """Kept positions of each context, ``[n]``."""
        counts = np.empty(len(indices), dtype=np.int64)
        for start in range(0, len(indices), 4096):
            part = indices[start : start + 4096]
            counts[start : start + 4096] = self.kept(self._tokens[part], exclude_special_tokens).sum(axis=1)
        return counts

    def evaluation_contexts(self, n_tokens: int) -> npt.NDArray[np.int64]:
        """Held-out contexts with about `n_tokens` tokens, ``[n, context_size]``; the same for every run and seed.

        They are drawn from all over the held-out text. Without held-out contexts they come from the training text.
        """
        pool = self.validation if len(self.validation) else self.train
        count = min(len(pool), max(1, -(-n_tokens // self.context_size)))
        chosen = np.random.default_rng(0).permutation(len(pool))[:count]
        return self.contexts(pool[np.sort(chosen)])


def pack(
    corpus: Corpus,
    tokenizer: Any,
    *,
    folder: Path | str,
    context_size: int,
    prepend_bos: bool = True,
    validation_share: float = 0.02,
    check: Callable[[], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PackedTokens:
    """Tokenise `corpus` into contexts, or open them where that was done before.

    Args:
        corpus: from `open_corpus`.
        tokenizer: a transformers tokenizer.
        folder: holds one subfolder per packing; may be shared by many runs and processes.
        context_size: tokens per context, the BOS included.
        prepend_bos: start every context with BOS (with EOS where the tokenizer has no BOS, as GPT-2; without either,
            with nothing). For the tokenizer of an encoder: put every context between [CLS] and [SEP].
        validation_share: see `PackedTokens`.
        check: called between batches of documents; what it raises ends the packing and leaves nothing behind.
        on_progress: called with the number of tokens so far.

    Raises:
        ConfigError: the corpus is empty, or too small for one context.
        StorageError: the folder cannot be written.
        FormatError, NotFoundError: from reading the corpus.
    """
    folder = Path(folder)
    special = special_tokens(tokenizer)
    settings = {
        "format": FORMAT, "context_size": context_size, "prepend_bos": prepend_bos, "corpus": corpus.fingerprint(),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        # Only encoders have a closing token: what was packed for others before there was one stays good.
        "special": {key: value for key, value in asdict(special).items() if (key, value) != ("closing", None)},
    }
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    target = folder / fingerprint
    if (target / "pack.json").is_file():
        return PackedTokens(target, validation_share)
    tokenizer = copy.deepcopy(tokenizer)  # a fast tokenizer refuses to be used by two threads with different settings
    partial = folder / f".partial-{fingerprint}-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        partial.mkdir()
        facts = _write(
            partial, corpus, tokenizer, special, fingerprint, context_size, prepend_bos, check or (lambda: None),
            on_progress,
        )
        _publish(partial, target, facts)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The tokens cannot be written: {error.strerror or error}.", where=str(folder),
            hint="Free some disk space, or choose another workspace folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # already renamed when all went well
    return PackedTokens(target, validation_share)


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hash of a tokenizer's vocabulary and rules."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Truncation and padding belong to the last call, not to the tokenizer.
        data = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    else:
        data = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _write(
    partial: Path,
    corpus: Corpus,
    tokenizer: Any,
    special: SpecialTokens,
    fingerprint: str,
    context_size: int,
    prepend_bos: bool,
    check: Callable[[], None],
    on_progress: Callable[[int], None] | None,
) -> PackFacts:
    bos = special.bos if prepend_bos else None
    closing = special.closing if prepend_bos else None
    room = context_size - (bos is not None) - (closing is not None)
    if room < 1:
        raise ConfigError(
            f"A context of {context_size:,} tokens has no room for text between its special tokens.",
            where="context_size", hint="Use longer contexts.",
        )
    dtype = np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<u4")
    counts = {"train": 0, "validation": 0}
    documents = dropped = largest = 0
    splits: tuple[Split, ...] = ("train", "validation") if corpus.held_out else ("train",)
    with (partial / "tokens.bin").open("wb") as stream:
        for split in splits:
            rest = np.empty(0, dtype=dtype)
            for ids, started in _tokenised(corpus.documents(split), tokenizer, special.separator, dtype):
                check()
                documents += started
                largest = max(largest, int(ids.max()))
                rest = np.concatenate([rest, ids])
                full = len(rest) // room
                rows = rest[: full * room].reshape(full, room)
                if bos is not None:
                    rows = np.concatenate([np.full((full, 1), bos, dtype=dtype), rows], axis=1)
                if closing is not None:
                    rows = np.concatenate([rows, np.full((full, 1), closing, dtype=dtype)], axis=1)
                stream.write(rows.tobytes())
                rest = rest[full * room :]
                counts[split] += full
                if on_progress is not None:
                    on_progress(sum(counts.values()) * context_size)
            dropped += len(rest)
        stream.flush()
        os.fsync(stream.fileno())
    if documents == 0:
        raise ConfigError(
            "The corpus holds no text.", where="corpus", hint="Choose a file or folder with some text in it."
        )
    if counts["train"] == 0:
        raise ConfigError(
            f"The corpus has {dropped:,} tokens, less than one context of {context_size:,}.", where="corpus",
            hint="Give more text, or lower Context length.",
        )
    return PackFacts(
        format=FORMAT, fingerprint=fingerprint, context_size=context_size, prepend_bos=bos is not None, dtype=dtype.str,
        n_contexts=sum(counts.values()), n_held_out=counts["validation"], n_documents=documents,
        n_dropped_tokens=dropped, largest_id=largest, special_ids=special.all, bos=special.bos,
        separator=special.separator, corpus=corpus.label,
        tokenizer=str(getattr(tokenizer, "name_or_path", "")).replace("\\", "/").rstrip("/").split("/")[-1],
    )


def _tokenised(
    documents: Iterator[Document], tokenizer: Any, separator: int | None, dtype: np.dtype[Any]
) -> Iterator[tuple[Tokens, int]]:
    """(ids of a batch of documents joined by `separator`, documents begun in it)."""
    encode = text_encoder(tokenizer)
    for batch in _batched(documents):
        ids = encode([d.text for d in batch])
        parts: list[Tokens] = []
        for document, own in zip(batch, ids, strict=True):
            if separator is not None and not document.continues:
                parts.append(np.array([separator], dtype=dtype))
            parts.append(np.asarray(own, dtype=dtype))
        yield np.concatenate(parts), sum(not d.continues for d in batch)


def text_encoder(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """Texts → ids, no special token among them: one that is spelled out in a text is text, or anybody's words could
    begin a document. Fast tokenizers are asked directly (without character offsets), and keep these settings: give a
    copy of one that others use."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return lambda texts: [
            tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False) for text in texts
        ]
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return lambda texts: [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _batched(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        if not document.text:
            continue
        batch.append(document)
        size += len(document.text)
        if size >= _TOKENISE_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _publish(partial: Path, target: Path, facts: PackFacts) -> None:
    """Make the finished folder appear under its name. Where another process did so meanwhile, its copy stays."""
    with (partial / "pack.json").open("w", encoding="utf-8") as stream:
        json.dump(asdict(facts), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        partial.rename(target)
    except OSError:
        if not (target / "pack.json").is_file():
            raise


def _remove_stale(folder: Path) -> None:
    """Remove what a killed process left a day or more ago."""
    for leftover in folder.glob(".partial-*"):
        try:
            old = time.time() - leftover.stat().st_mtime > _STALE_SECONDS
        except FileNotFoundError:  # its owner just finished
            continue
        if old:
            shutil.rmtree(leftover, ignore_errors=True)


def _read_facts(folder: Path) -> PackFacts:
    try:
        data = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        facts = PackFacts(**{**data, "special_ids": tuple(data["special_ids"])})
        if facts.dtype not in ("<u2", "<u4"):
            raise ValueError(f"unknown number format {facts.dtype!r}")
        size = (folder / "tokens.bin").stat().st_size
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FormatError(
            f"These are not packed tokens: {error}.", where=str(folder), hint="Delete this folder; it is rebuilt."
        ) from error
    expected = facts.n_contexts * facts.context_size * np.dtype(facts.dtype).itemsize
    if size != expected:
        raise FormatError(
            f"tokens.bin has {size:,} bytes where {expected:,} are expected.", where=str(folder),
            hint="Delete this folder; it is rebuilt.",
        )
    return facts


def _split(n: int, held_out: int, share: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(training, validation) context numbers. Held-out contexts are spread evenly over a corpus that names none."""
    everything = np.arange(n, dtype=np.int64)
    if held_out:
        return everything[: n - held_out], everything[n - held_out :]
    count = 0 if share <= 0 or n < 2 else min(n - 1, max(1, round(n * share)))
    chosen = ((2 * np.arange(count, dtype=np.int64) + 1) * n) // (2 * max(count, 1))
    return np.setdiff1d(everything, chosen), chosen
