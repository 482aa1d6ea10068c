"""Labels from whatever holds some: a table of ours or of others, or an export of Neuronpedia's."""

from __future__ import annotations

import os
from pathlib import Path

from saewidgets.features.labels.imported import Imported, OnError
from saewidgets.features.labels.neuronpedia import looks_like_export, read_neuronpedia
from saewidgets.features.labels.tables import read_table


def read_labels(
    path: str | os.PathLike[str], d_sae: int | None = None, *, on_error: OnError | None = None
) -> Imported:
    """Labels from a ``.csv`` or ``.jsonl`` table (`read_table`) or an export of Neuronpedia's (`read_neuronpedia`).

    Args:
        path: a file, or an export's folder.
        d_sae: latents of the SAE that they are for; None: not checked.
        on_error: what wrong lines are; None: an error in a table, skipped in a published export.

    Raises:
        NotFoundError, FormatError: as of the two.
    """
    if Path(path).is_dir() or (Path(path).suffix.lower() not in (".csv", ".tsv") and looks_like_export(path)):
        return read_neuronpedia(path, d_sae, on_error=on_error or "skip")
    return read_table(path, d_sae, on_error=on_error or "raise")
