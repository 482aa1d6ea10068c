"""The table of features as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from saewidgets.durable import whole_file
from saewidgets.features.export.selection import noted_of, peak_texts, selected
from saewidgets.features.labels.escaping import visible
from saewidgets.features.labels.label_files import guarded
from saewidgets.features.store.query import Noted
from saewidgets.features.store.read import Store

COLUMNS = (
    "index", "label", "score", "starred", "fired", "density", "max", "mean", "documents", "contexts", "token_1",
    "token_2", "token_3",
)  # fmt: skip


def export_table(
    store: Store, indices: Iterable[int] | None, notes: Mapping[int, Noted] | None, path: str | PathLike[str]
) -> Path:
    """Write one line per feature: its statistics, label, score, star, and the tokens at which its examples peak.

    UTF-8 with a line of names. A text that a spreadsheet would take for a formula gets an apostrophe in front, and
    invisible characters are shown by number. Numbers are exact; what is not known is empty.

    Args:
        store: the extraction.
        indices: the features; None takes all.
        notes: labels, scores and stars by feature.
        path: the file.

    Raises:
        ConfigError: no feature, or an unknown one.
        StorageError: the file cannot be written.
    """
    chosen = selected(store, indices)
    documents, contexts = store["document_counts"], store["context_counts"]
    with whole_file(Path(path)) as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for index in chosen:
            noted = noted_of(notes, index)
            tokens = [guarded(visible(text)) for text in peak_texts(store, index)]
            writer.writerow([
                index, guarded(visible(noted.label)), "" if noted.score is None else repr(noted.score),
                int(noted.starred), int(store.fired[index]), repr(float(store.density[index])),
                repr(float(store.max[index])), repr(float(store.mean[index])), int(documents[index]),
                int(contexts[index]), *tokens, *[""] * (3 - len(tokens)),
            ])  # fmt: skip
    return Path(path)
