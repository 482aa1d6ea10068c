"""Numbers of features as files: a table (`export_table`) and the rows of the decoder (`export_vectors`).

All exports share its helpers for the chosen features, their texts and numbers.
"""

import csv
import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from saewidgets.config.names import shown_model
from saewidgets.durable import whole_file, whole_folder
from saewidgets.errors import ConfigError
from saewidgets.feature_records import check_index
from saewidgets.features.labels.evidence import visible
from saewidgets.features.labels.label_files import guarded
from saewidgets.features.store.feature_data import StoredExample
from saewidgets.features.store.query import LatentNote
from saewidgets.features.store.read import FeatureStore
from saewidgets.sae import SAE

Notes = Mapping[int, LatentNote]
"""Labels, scores and stars by feature."""

NOBODY = LatentNote()
COLUMNS = (
    "index", "label", "score", "starred", "fired", "density", "max", "mean", "documents", "contexts", "token_1",
    "token_2", "token_3",
)  # fmt: skip
VECTORS, INDEX = "vectors.safetensors", "vectors.json"


def selected(store: FeatureStore, indices: Iterable[int] | None, sae: SAE | None = None) -> list[int]:
    """The features to export, each once, in the order given; None: all of them.

    Raises:
        ConfigError: there is none, the SAE does not have one of them, or `sae` is another one than was extracted.
    """
    if sae is not None and (sae.d_sae, sae.d_in) != (store.d_sae, store.manifest.d_in):
        raise ConfigError(
            f"The SAE is {sae.d_sae:,} × {sae.d_in:,}; the extraction is of an SAE with {store.d_sae:,} × "
            f"{store.manifest.d_in:,}.", where="sae", hint="Give the SAE that was extracted.",
        )
    if indices is None:
        return list(range(store.d_sae))
    try:
        found = list(dict.fromkeys(operator.index(index) for index in indices))
    except TypeError as error:
        raise ConfigError(
            f"These are not feature numbers: {error}.", where="indices", hint="Give whole numbers."
        ) from error
    if not found:
        raise ConfigError("No feature is chosen.", where="indices", hint="Choose at least one.")
    return [check_index(index, store.d_sae) for index in found]


def peak_texts(store: FeatureStore, index: int) -> list[str]:
    """The commonest tokens of a feature's top examples, at most three."""
    return [store.text_of(int(token)) for token in store.peak_tokens[index] if token >= 0]


def whole_characters(example: StoredExample) -> tuple[list[tuple[str, float]], int]:
    """(text, activation) per piece that has a text, and which is the peak's.

    A character that several tokens share is one piece, with the largest of their activations.
    """
    pieces: list[tuple[str, float]] = []
    peak = 0
    for place, (text, value) in enumerate(zip(example.pieces, example.activations.tolist(), strict=True)):
        if text or not pieces:
            pieces.append((text, value))
        else:
            pieces[-1] = (pieces[-1][0], max(pieces[-1][1], value))
        if place == example.peak:
            peak = len(pieces) - 1
    return pieces, peak


def clean(text: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold: null characters and halves of surrogate pairs become U+FFFD."""
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def rounded(values: Iterable[float] | npt.NDArray[np.floating], digits: int = 5) -> list[float]:
    """Numbers with so many significant digits. Raises `ConfigError`: one of them is NaN or infinite."""
    array = np.asarray(list(values), dtype=np.float64)
    if not np.isfinite(array).all():
        raise ConfigError(
            "A number to be exported is NaN or infinite.", where="values", hint="Extract the features again."
        )
    return [float(f"{value:.{digits}g}") for value in array.tolist()]


def centres(edges: npt.NDArray[np.floating] | Sequence[float]) -> list[float]:
    """The middle of every bin of a histogram."""
    array = np.asarray(edges, dtype=np.float64)
    return rounded((array[:-1] + array[1:]) / 2)


def decoder_rows(sae: SAE, indices: list[int]) -> npt.NDArray[np.float32]:
    """Rows of ``W_dec`` in float32, ``[n, d_out]``."""
    index = torch.as_tensor(indices, dtype=torch.long, device=sae.W_dec.device)
    return np.ascontiguousarray(sae.W_dec.detach()[index].float().cpu().numpy())


def export_table(
    store: FeatureStore, indices: Iterable[int] | None, notes: Notes | None, path: str | PathLike[str]
) -> Path:
    """Write one line per feature: its statistics, label, score, star, and the tokens at which its examples peak.

    UTF-8 with a line of names. A text that a spreadsheet would take for a formula gets an apostrophe in front, and
    invisible characters are shown by number. Numbers are exact; what is not known is empty.

    Arguments and errors: as of `export_html`; `indices` None takes all.
    """
    chosen = selected(store, indices)
    documents, contexts = store["document_counts"], store["context_counts"]
    with whole_file(Path(path)) as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for index in chosen:
            noted = (notes or {}).get(index, NOBODY)
            tokens = [guarded(visible(text)) for text in peak_texts(store, index)]
            writer.writerow([
                index, guarded(visible(noted.label)), "" if noted.score is None else repr(noted.score),
                int(noted.starred), int(store.fired[index]), repr(float(store.density[index])),
                repr(float(store.max[index])), repr(float(store.mean[index])), int(documents[index]),
                int(contexts[index]), *tokens, *[""] * (3 - len(tokens)),
            ])  # fmt: skip
    return Path(path)


def export_vectors(
    store: FeatureStore, sae: SAE, indices: Iterable[int] | None, notes: Notes | None, path: str | PathLike[str]
) -> Path:
    """Write a folder with ``vectors.safetensors`` (``vectors``, float32 ``[n, d_out]``) and ``vectors.json``.

    The index says what each row is: the feature's number, label, largest and mean activation, density, and the norm of
    the row; and where the vectors belong: model, hook name, d_sae. A row is not normalised: a feature with activation a
    adds ``a · row``.

    Args:
        path: the folder; new, empty, or one of the same two files, which are replaced.

    Other arguments and errors: as of `export_neuronpedia`; rows that are not finite are refused.
    """
    chosen = selected(store, indices, sae)
    rows = decoder_rows(sae, chosen)
    if not np.isfinite(rows).all():
        bad = chosen[int(np.flatnonzero(~np.isfinite(rows).all(1))[0])]
        raise ConfigError(f"The decoder row of feature {bad} is NaN or infinite.", where="W_dec")
    m = store.manifest
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    features = [
        {
            "row": row, "index": index, "label": clean((notes or {}).get(index, NOBODY).label),
            "max": float(store.max[index]), "mean": float(store.mean[index]), "density": float(store.density[index]),
            "norm": float(norms[row]),
        }
        for row, index in enumerate(chosen)
    ]
    about: dict[str, Any] = {
        "format": "saewidgets-vectors", "version": 1, "model": clean(shown_model(m.model)), "hook_name": m.hook_name,
        "architecture": m.architecture, "d_sae": m.d_sae, "d_out": rows.shape[1], "file": VECTORS, "tensor": "vectors",
        "features": features,
    }
    with whole_folder(Path(path), (VECTORS, INDEX)) as draft:
        save_file({"vectors": rows}, str(draft / VECTORS), metadata={"format": "pt", "index": INDEX})
        (draft / INDEX).write_text(json.dumps(about, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Path(path)
