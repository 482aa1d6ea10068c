"""What the tests of exports say about features, and tokens that are meant to break something."""

from typing import Any

import numpy as np

from saewidgets.features.export import Effects
from saewidgets.features.export.html_page import Section, section_of
from saewidgets.features.export.table_and_vectors import NOBODY
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample
from saewidgets.features.store.query import LatentNote

EVIL = '</script></style><img src=x onerror="alert(1)">'
NOTES = {
    3: LatentNote("kings & queens", 0.86, True), 5: LatentNote(EVIL), 6: LatentNote("=HYPERLINK(1)"),
    99: LatentNote("not here"),
}

HOSTILE = (EVIL.encode(), "\u202egnal\u2066".encode(), b"\0\x1b[2J", b"x" * 10_000, b"\xff\xfe", b"=1+1")


def example(*pieces: tuple[str, float], peak: int = 0, **changes: Any) -> StoredExample:
    """An example of these texts and activations."""
    values = np.array([value for _, value in pieces], dtype=np.float32)
    known = {"value": float(values[peak]), "before": False, "after": False, "tokens": np.arange(len(pieces))} | changes
    texts = [text for text, _ in pieces]
    return StoredExample(position=0, row=0, offset=0, context=0, pieces=texts, activations=values, peak=peak, **known)


def section(
    index: int = 7, noted: LatentNote = NOBODY, effects: Effects | None = None, examples: Any = None, **changes: Any
) -> Section:
    """A feature of one example."""
    king = example(("a ", 0.0), (" kin", 1.0), (" king", 4.0), (" <b>", 0.00001), ("s", 0.5), peak=2, before=True)
    known: dict[str, Any] = {
        "fired": 12, "density": 0.0021, "max": 4.0, "mean": 1.5, "n_documents": 1, "n_contexts": 1,
        "counts": np.array([6, 0, 4, 2]), "edges": np.array([0.0, 1.0, 2.0, 3.0, 4.0]),
        "groups": [Group("top", 0.0, 4.0, 12, 1.0, 0.1, examples or [king])],
    }  # fmt: skip
    return section_of(FeatureData(index=index, **known | changes), [" king"], noted, effects)
