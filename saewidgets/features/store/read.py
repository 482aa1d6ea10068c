"""Defines `FeatureStore`, an extraction on disk opened for reading. It is read lazily and never changed."""

import json
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from saewidgets.activations.packed import PackedTokens
from saewidgets.durable import crc32_of, read_sealed, seal_of
from saewidgets.errors import FormatError, NotFoundError
from saewidgets.features.store.layout import (
    BINS,
    CHECKSUMS,
    LOGIT_ARRAYS,
    LOGIT_VOCABULARY,
    LOGITS,
    MANIFEST,
    STORED,
    VERSION,
    VOCABULARY,
    WINDOW,
    Array,
    Manifest,
    check_shapes,
)
from saewidgets.lm.tokens import pieces_of

PEAKS = 3  # tokens that stand in for a label

Floats = npt.NDArray[np.floating[Any]]

_AGAIN = "Extract it again; labels are kept."
_MANIFEST = TypeAdapter(Manifest)
_OUTSIDE = "an example lies outside the text that was read"


class FeatureStore:
    """The results of an extraction. Arrays are memory-mapped and have the shapes of `layout.STORED`.

    Args:
        folder: the extraction's.
        tokens_folder: where the workspace keeps packed tokens.

    Raises:
        NotFoundError: there is no extraction; later also: the text that was read is gone.
        FormatError: a file is damaged, or was written by a newer version.
    """

    def __init__(self, folder: Path | str, tokens_folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._arrays = self._opened(STORED)
        self._tokens_folder = Path(tokens_folder)
        self._text = cache(self._whole_text)
        self._logits: dict[str, npt.NDArray[Any]] | None = None
        self._logit_words: dict[int, bytes] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def _opened(self, layout: Mapping[str, Array], under: str = "") -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {}
        for name, expected in layout.items():
            file = f"{under}{name}.npy"
            self._compare(file)
            try:
                array = np.load(self.folder / file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError, SyntaxError) as error:
                raise self._damaged(file, str(error)) from error
            if array.dtype != np.dtype(expected.dtype):
                raise self._damaged(file, f"its type is {array.dtype}, not {expected.dtype}")
            found[name] = np.asarray(array)  # still mapped; a plain view is sliced in a fraction of the time
        try:
            check_shapes(layout, {name: array.shape for name, array in found.items()}, self.manifest)
        except ValueError as error:
            raise self._damaged(MANIFEST, str(error)) from error
        return found

    def _compare(self, file: str) -> None:
        """Compare the checksum of a file, once in this process unless the file is written to."""
        folder, _, name = file.rpartition("/")
        sums = self.manifest.checksums if not folder else self._logit_sums()
        path = self.folder / file
        try:
            if name in sums and _crc32(path, path.stat().st_mtime_ns) != sums[name]:
                raise self._damaged(file, "its bytes differ from those written (the checksum does not match)")
        except OSError as error:
            raise self._damaged(file, str(error)) from error

    def _logit_sums(self) -> Mapping[str, Any]:
        path = self.folder / LOGITS / CHECKSUMS
        if not path.exists():  # an earlier version wrote the tables
            return {}
        if (found := read_sealed(path)) is None:
            raise self._damaged(f"{LOGITS}/{CHECKSUMS}", "its bytes differ from those written")
        return found

    def _damaged(self, file: str, why: str) -> FormatError:
        return FormatError(f"{file} of this extraction is damaged: {why}.", where=str(self.folder), hint=_AGAIN)

    def windows(self, name: str, index: int) -> npt.NDArray[np.float32]:
        """The windows of latent `index`, dense again: ``[k, w]`` of ``top``, ``[intervals, m, w]`` of ``interval``."""
        name = f"{name}_windows"
        counts = np.asarray(self._arrays[f"{name}_counts"][index])
        begin, end = self._arrays[f"{name}_starts"][index : index + 2].tolist()
        offsets = self._arrays[f"{name}_offsets"][begin:end].astype(np.int64) + WINDOW
        fits = 0 <= begin <= end and counts.sum() == len(offsets) and ((offsets >= 0) & (offsets <= 2 * WINDOW)).all()
        if not fits:
            raise self._damaged(f"{name}_counts.npy", "it does not fit the entries")
        dense = np.zeros((counts.size, 2 * WINDOW + 1), dtype=np.float32)
        dense[np.repeat(np.arange(counts.size), counts.ravel()), offsets] = self._arrays[f"{name}_values"][begin:end]
        return dense.reshape(*counts.shape, -1)

    @property
    def d_sae(self) -> int:
        return self.manifest.d_sae

    # --------------------------------------------------------------------------------------------- text

    @cached_property
    def packed(self) -> PackedTokens:
        """The packed tokens that were read. Raises `NotFoundError`: they are gone."""
        folder = self._tokens_folder / self.manifest.tokens
        if not (folder / "pack.json").is_file():
            raise NotFoundError(
                "The text that was read is no longer in the workspace.", where=str(folder),
                hint="Numbers can still be read; for examples, extract it again.",
            )
        packed = PackedTokens(folder)
        if packed.context_size != self.manifest.context_size:
            raise FormatError(
                f"The packed tokens have contexts of {packed.context_size}, not {self.manifest.context_size}.",
                where=str(folder), hint=_AGAIN,
            )
        contexts = self._arrays["contexts"]
        if len(contexts) and not (contexts.min() >= 0 and contexts.max() < packed.n_contexts):
            raise FormatError("It names contexts that the text does not have.", where=str(self.folder), hint=_AGAIN)
        return packed

    def tokens_at(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The token ids at stream positions (any shape; a position below 0 gives −1)."""
        at = np.asarray(positions, dtype=np.int64)
        if at.size and at.max() >= self.manifest.n_contexts * self.manifest.context_size:
            raise self._damaged(MANIFEST, _OUTSIDE)
        rows, offsets = np.divmod(np.maximum(at, 0), self.manifest.context_size)
        found: npt.NDArray[np.int64] = self.packed.at(self._arrays["contexts"][rows], offsets)
        found[at < 0] = -1
        return found

    def context(self, row: int) -> npt.NDArray[np.int64]:
        """The token ids of the `row`-th context that was read, ``[context_size]``."""
        if not 0 <= row < self.manifest.n_contexts:
            raise self._damaged(MANIFEST, _OUTSIDE)
        return self.packed.context(int(self._arrays["contexts"][row])).astype(np.int64)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.packed.facts.special_ids)

    @cached_property
    def _vocabulary(self) -> dict[int, bytes]:
        return self._words(self._arrays["vocabulary"], VOCABULARY)

    def _words(self, table: npt.NDArray[Any], file: str) -> dict[int, bytes]:
        """The bytes of each token of a vocabulary; `file` has them one after another."""
        self._compare(file)
        try:
            data = (self.folder / file).read_bytes()
        except OSError as error:
            raise self._damaged(file, str(error)) from error
        if len(table) and (table[:, 1].min() < 0 or table[:, 2].max() > len(data) or (np.diff(table[:, 0]) <= 0).any()):
            raise self._damaged(file, "it does not fit the array vocabulary")
        return {token: data[begin:end] for token, begin, end in table.tolist()}

    def bytes_of(self, token: int) -> bytes:
        """The UTF-8 bytes of a token that occurs (possibly only part of a character); an unknown one is `<id>`."""
        return self._vocabulary.get(token, f"<{token}>".encode())

    def pieces(self, tokens: npt.ArrayLike) -> list[str]:
        """One string per token; together they are the text (see `saewidgets.lm.tokens.pieces_of`)."""
        ids = np.asarray(tokens).ravel().tolist()
        texts = [text for token in ids if (text := self._text(token)) is not None]
        return texts if len(texts) == len(ids) else pieces_of(map(self.bytes_of, ids))  # several share a character

    def _whole_text(self, token: int) -> str | None:
        """The text of a token; None if its bytes are not whole characters."""
        try:
            return self.bytes_of(token).decode("utf-8")
        except UnicodeDecodeError:
            return None

    def text_of(self, token: int) -> str:
        return self.bytes_of(token).decode("utf-8", "replace")

    @cached_property
    def casefolded(self) -> list[tuple[int, str]]:
        """(token id, its text in lower case) of every token that occurs, for searches."""
        return [(token, self.text_of(token).casefold()) for token in self._vocabulary]

    # --------------------------------------------------------------------------------------------- columns

    @cached_property
    def fired(self) -> npt.NDArray[np.int64]:
        """Counted positions on which each latent fired, ``[d_sae]``."""
        return np.asarray(self._arrays["firing_counts"], dtype=np.int64)

    @cached_property
    def density(self) -> npt.NDArray[np.float64]:
        """Share of the counted positions on which each latent fired, ``[d_sae]``."""
        return self.fired / max(1, self.manifest.n_tokens)

    @cached_property
    def max(self) -> npt.NDArray[np.float32]:
        """Largest activation, ``[d_sae]``; 0 for a latent that did not fire."""
        return np.asarray(self._arrays["max"], dtype=np.float32)

    @cached_property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean activation over the positions where the latent fired, ``[d_sae]``."""
        return np.asarray(self._arrays["sums"], dtype=np.float64) / np.maximum(self.fired, 1)

    @cached_property
    def peak_tokens(self) -> npt.NDArray[np.int32]:
        """The commonest tokens at which the top examples of a latent peak, ``[d_sae, 3]``; −1 where there are fewer.

        Ties go to the token of the larger activation. Computed once and kept beside the arrays.
        """
        kept = self.folder / "peak_tokens.npy"
        try:
            array = np.load(kept, mmap_mode="r", allow_pickle=False)
            if array.shape == (self.d_sae, PEAKS) and array.dtype == np.int32:
                return np.asarray(array)
        except (OSError, ValueError):
            pass  # not computed yet, or cut off: it is derived from the others
        array = _commonest(self.tokens_at(self._arrays["top_positions"]), PEAKS).astype(np.int32)
        try:
            draft = self.folder / ".peak_tokens.npy"
            np.save(draft, array, allow_pickle=False)
            draft.replace(kept)
        except OSError:
            pass  # a folder that may only be read
        return array

    @property
    def logits(self) -> dict[str, npt.NDArray[Any]] | None:
        """`LOGIT_ARRAYS`, where they were computed for all latents; else None, until they are."""
        if self._logits is None and (self.folder / LOGITS).is_dir():
            arrays = self._opened(LOGIT_ARRAYS, f"{LOGITS}/")
            if (self.folder / LOGITS / "vocabulary.npy").exists():  # tables made before there was one have none
                table = self._opened({"vocabulary": LOGIT_VOCABULARY}, f"{LOGITS}/")["vocabulary"]
                self._logit_words = self._words(table, f"{LOGITS}/{VOCABULARY}")
            self._logits = arrays
        return self._logits

    def logit_text(self, token: int) -> str:
        """One token of the logit tables, which may not occur in the text."""
        found = self._logit_words.get(token) if self.logits is not None else None
        return self.text_of(token) if found is None else found.decode("utf-8", "replace")

    @property
    def size_bytes(self) -> int:
        """The bytes of its files, without the text."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def __repr__(self) -> str:
        m = self.manifest
        return f"<Store {m.model} {m.hook_name} · {m.d_sae:,} latents, {m.n_tokens:,} tokens>"


def read_manifest(folder: Path | str) -> Manifest:
    """What `extraction.json` says. Raises `NotFoundError` and `FormatError`."""
    path = Path(folder) / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        version = data.get("version") if isinstance(data, dict) else None
        if not (isinstance(version, int) and version > VERSION):
            if isinstance(data, dict) and "sha256" in data and data["sha256"] != seal_of(data):
                raise ValueError("its bytes differ from those written (the checksum does not match)")
            return _MANIFEST.validate_python(data)
    except FileNotFoundError as error:
        raise NotFoundError("There is no extraction here.", where=str(path.parent), hint=_AGAIN) from error
    except (OSError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{first['loc'][0] if first['loc'] else 'it'}: {first['msg']}" if first else str(error)
        raise FormatError(f"The extraction's manifest is damaged: {why}.", where=str(path), hint=_AGAIN) from error
    raise FormatError(
        f"The extraction was written by a newer version (layout {version}, known: {VERSION}).", where=str(path),
        hint="Upgrade saewidgets.",
    )


@lru_cache(maxsize=4096)
def _crc32(path: Path, changed: int) -> str:
    """The checksum of a file that was written to at the time `changed`."""
    return crc32_of(path)


def _commonest(tokens: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """The `n` commonest values of each row, ``[rows, n]``; −1 does not count. Ties: the one that comes first."""
    rows, k = tokens.shape
    order = np.argsort(tokens, axis=1, kind="stable")
    ordered = np.take_along_axis(tokens, order, 1)
    begins = np.ones((rows, k), dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(begins.ravel())
    lengths = np.diff(np.append(starts, rows * k))  # of the runs of equal values
    # More first; among equals the earliest example (stable sorting keeps the first of a run first).
    weight = np.zeros(rows * k, dtype=np.int64)
    weight[starts] = lengths * k + (k - 1 - order.ravel()[starts])
    weight = np.where(ordered < 0, 0, weight.reshape(rows, k))
    best = np.argsort(-weight, axis=1, kind="stable")[:, :n]
    found = np.where(np.take_along_axis(weight, best, 1) > 0, np.take_along_axis(ordered, best, 1), -1)
    return np.pad(found, ((0, 0), (0, n - best.shape[1])), constant_values=-1)


def bin_edges(scale: int) -> Floats:
    """The edges of a latent's histogram, ``[BINS + 1]``."""
    return np.arange(BINS + 1) * (2.0**scale / BINS)
