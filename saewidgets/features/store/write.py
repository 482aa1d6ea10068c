"""Writing an extraction's folder: every array whole, the manifest last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.durable import storage_errors, sync, whole_file, whole_folder
from saewidgets.errors import StorageError
from saewidgets.features.store.layout import (
    ARRAYS,
    BINS,
    INTERVALS,
    LOGIT_ARRAYS,
    LOGIT_VOCABULARY,
    STORED,
    WINDOW,
    WINDOWS,
    Array,
    Manifest,
)

MANIFEST = "extraction.json"
VOCABULARY = "vocabulary.bin"
LOGITS = "logits"
_ROWS = 1 << 12  # latents at a time


def write_store(
    folder: Path | str, arrays: Mapping[str, npt.NDArray[Any]], manifest: Manifest, vocabulary: bytes
) -> None:
    """Fill `folder` (made when it is missing; what else is in it stays).

    Args:
        folder: the extraction's.
        arrays: exactly those of `ARRAYS`, of any type that the named one can hold.
        manifest: what `extraction.json` says.
        vocabulary: the bytes that the array `vocabulary` points into.

    Raises:
        ValueError: an array is missing, unknown or has another shape (a mistake of the caller).
        StorageError: the disk refuses. Without a manifest the folder is no extraction.
    """
    folder = Path(folder)
    if set(arrays) != set(ARRAYS):
        raise ValueError(f"arrays that differ from the layout: {sorted(set(arrays) ^ set(ARRAYS))}")
    check_shapes(ARRAYS, {name: array.shape for name, array in arrays.items()}, sizes_of(manifest))
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
            with whole_file(folder / MANIFEST) as file:
                json.dump(asdict(manifest), file, indent=1, allow_nan=False)
        except OSError:
            for path in written:
                with suppress(OSError):  # what cannot be deleted is no extraction without a manifest
                    path.unlink(missing_ok=True)
            raise
        sync(folder)


def write_logits(
    folder: Path | str, arrays: Mapping[str, npt.NDArray[Any]], vocabulary: npt.NDArray[np.int64], text: bytes
) -> None:
    """Put the logit tables of all latents into the folder of an extraction, whole or not at all; old ones go.

    Args:
        folder: the extraction's; it is there.
        arrays: exactly those of `LOGIT_ARRAYS`.
        vocabulary: of every token in them id, where its bytes begin and end in `text`, ``[v, 3]``, ids ascending.
        text: those bytes.

    Raises:
        ValueError: an array is missing, unknown or has another shape (a mistake of the caller).
        StorageError: the disk refuses, or the folder is gone; what was there before is still there.
    """
    folder = Path(folder)
    if set(arrays) != set(LOGIT_ARRAYS):
        raise ValueError(f"arrays that differ from the layout: {sorted(set(arrays) ^ set(LOGIT_ARRAYS))}")
    layout = {**LOGIT_ARRAYS, "vocabulary": LOGIT_VOCABULARY}
    values = {**arrays, "vocabulary": vocabulary}
    check_shapes(layout, {name: array.shape for name, array in values.items()}, {})
    if not folder.is_dir():
        raise StorageError("The extraction is gone.", where=str(folder), hint="Extract it again; labels are kept.")
    for left in folder.glob(f".{LOGITS}.*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with whole_folder(folder / LOGITS, [VOCABULARY, *(f"{name}.npy" for name in layout)]) as draft:
        for name, array in values.items():
            _save(draft / f"{name}.npy", array, layout[name].dtype)
        (draft / VOCABULARY).write_bytes(text)


def sparse_windows(name: str, windows: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """What is stored of dense windows ``[d, …, 2 · WINDOW + 1]``: counts, starts, offsets and values."""
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


def sizes_of(manifest: Manifest) -> dict[str, int]:
    """The letters of the layout that a manifest fixes."""
    return {
        "d": manifest.d_sae, "n": manifest.n_contexts, "k": manifest.examples, "m": manifest.per_interval,
        "w": 2 * WINDOW + 1, "bins": BINS, "intervals": INTERVALS,
    }


def check_shapes(layout: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, int]) -> None:
    """Compare shapes with the layout; letters that `known` does not fix have to agree with each other.

    Raises:
        ValueError: naming the first array that does not fit, what it has and what is expected.
    """
    letters = dict(known)
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
